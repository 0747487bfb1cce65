//! One request, as often as it takes.

use std::io;
use std::time::Duration;

use gve::http::{RetrySettings, Secrets, Verdict, error_message, redacted_url, retry_after};
use ureq::http::Uri;
use ureq::{Agent, Body, Proxy};

use super::ServerOptions;
use crate::Error;
use crate::encoder::EncodeError;
use crate::encoder::parallel::Stop;

/// Longest answer that is read, in bytes: an embedding of a million values.
const MAX_ANSWER_BYTES: u64 = 32 << 20;
/// Longest time to make a connection. Shorter than that of a whole request, so that the two are told apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) struct Client {
    agent: Agent,
    url: String,
    authorization: Option<String>,
    /// What a server may repeat, and no message may show.
    secrets: Secrets,
    retry: RetrySettings,
}

/// Why a try gave no answer.
enum Failure {
    /// Passes on the wait that the server asked for.
    Transient { reason: String, retry_after: Option<Duration>, fatal: bool },
    /// No try will do better.
    Final { reason: String, fatal: bool },
}

impl Client {
    pub(super) fn new(options: &ServerOptions) -> Result<Self, Error> {
        let url = format!("{}/embeddings", options.base_url.trim_end_matches('/'));
        let uri: Option<Uri> = url.parse().ok();
        if !uri.is_some_and(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        {
            return Err(Error::Settings(format!(
                "`{}` is not a base URL: expected one such as http://localhost:8000/v1",
                redacted_url(&options.base_url)
            )));
        }
        let no_proxy = |error: &dyn std::error::Error| Error::Settings(error.to_string());
        let proxy = options.proxies.of(&url).map_err(|e| no_proxy(&e))?;
        let proxy = proxy.map(|address| Proxy::new(&address)).transpose().map_err(|e| no_proxy(&e))?;
        let agent = Agent::config_builder()
            .timeout_global(Some(options.timeout))
            .timeout_connect(Some(options.timeout.min(CONNECT_TIMEOUT)))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .max_idle_connections_per_host(options.concurrency)
            // Taken from the environment unless it is said, which libraries here do not read.
            .proxy(proxy)
            .build()
            .new_agent();
        let authorization = options.api_key.as_ref().map(|key| format!("Bearer {key}"));
        let secrets = Secrets::default().and_url(&options.base_url).and_proxies(&options.proxies);
        let secrets = options.api_key.iter().fold(secrets, |secrets, key| secrets.and(key));
        Ok(Self { agent, url, authorization, secrets, retry: options.retry })
    }

    /// A message without the key, and without what is secret in the address.
    pub(super) fn redact(&self, message: &str) -> String {
        self.secrets.redact(message)
    }

    /// The body of the answer to `body`, or why this request has none. `Err`: why no request has any.
    pub(super) fn post(&self, body: &[u8], stop: &Stop) -> Result<Result<String, EncodeError>, String> {
        let mut retry = 0;
        loop {
            let (reason, fatal) = match self.try_once(body) {
                Ok(text) => return Ok(Ok(text)),
                Err(Failure::Transient { retry_after, .. }) if retry < self.retry.retries => {
                    if stop.wait(self.retry.delay(retry, retry_after)) {
                        return Err("the job was ended".into());
                    }
                    retry += 1;
                    continue;
                }
                Err(Failure::Transient { reason, fatal, .. }) => {
                    (format!("{reason} ({} tries)", retry + 1), fatal)
                }
                Err(Failure::Final { reason, fatal }) => (reason, fatal),
            };
            let reason = EncodeError::new(self.redact(&format!("{}: {reason}", self.url)));
            return if fatal { Err(reason.0) } else { Ok(Err(reason)) };
        }
    }

    fn try_once(&self, body: &[u8]) -> Result<String, Failure> {
        let mut request = self.agent.post(&self.url).content_type("application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.send(body).map_err(transport_failure)?;
        let status = response.status();
        let retry_after =
            response.headers().get("retry-after").and_then(|value| retry_after(value.to_str().ok()?));
        let text = read(response.body_mut());
        let said = || {
            let said = text.as_deref().map(|text| error_message(text, &self.secrets)).unwrap_or_default();
            let pause = if said.is_empty() { "" } else { ": " };
            format!("HTTP {status}{pause}{said}")
        };
        match Verdict::of(status.as_u16()) {
            Verdict::Accepted => text.map_err(transport_failure),
            Verdict::Refused => Err(Failure::Final { reason: said(), fatal: false }),
            Verdict::Hopeless => Err(Failure::Final { reason: said() + hint(status.as_u16()), fatal: true }),
            Verdict::Fails => Err(Failure::Transient { reason: said(), retry_after, fatal: false }),
            Verdict::Busy => Err(Failure::Transient { reason: said(), retry_after, fatal: true }),
        }
    }
}

fn read(body: &mut Body) -> Result<String, ureq::Error> {
    body.with_config().limit(MAX_ANSWER_BYTES).lossy_utf8(true).read_to_string()
}

fn hint(status: u16) -> &'static str {
    match status {
        401 | 403 => "; check the API key",
        402 => "; the account has nothing left to spend",
        407 => "; check the user and password of the proxy",
        404 => "; check the base URL and the name of the model",
        _ => "; use the address it leads to as base URL",
    }
}

/// A connection that breaks may be the work of one input that brought the server down; one that is never made
/// is not.
fn transport_failure(error: ureq::Error) -> Failure {
    let reason = error.to_string();
    let transient = |fatal| Failure::Transient { reason: reason.clone(), retry_after: None, fatal };
    match &error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed | ureq::Error::ConnectProxyFailed(_) => {
            transient(true)
        }
        ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => transient(true),
        ureq::Error::Io(io) if is_unreachable(io) => transient(true),
        ureq::Error::Io(_) | ureq::Error::Timeout(_) | ureq::Error::Protocol(_) => transient(false),
        ureq::Error::BodyExceedsLimit(_) | ureq::Error::Decompress(..) => {
            Failure::Final { reason, fatal: false }
        }
        // What is left is about addresses and certificates.
        _ => Failure::Final { reason, fatal: true },
    }
}

/// Whether there is nobody at an address. What a resolver says has no kind of its own.
fn is_unreachable(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
        || error.to_string().starts_with("failed to lookup address information")
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn a_name_that_nobody_has_is_no_fault_of_a_request() {
        // Longer than names are, so that no server of names is asked.
        let error = ("a".repeat(300).as_str(), 80).to_socket_addrs().unwrap_err();
        assert!(is_unreachable(&error), "{error}");
        assert!(!is_unreachable(&io::ErrorKind::ConnectionReset.into()));
    }
}
