//! Requests to a hub and to where it sends us.
//!
//! Not those of `hf-hub`, which hands the token to any host, follows a redirect to itself for ever, and
//! believes in lengths and names. Here every hop is a request of its own: the token goes to the hub's own
//! address alone, a redirect never leads out of https, and there are few of them. Nothing is waited for
//! without an end.

use std::io::{self, Read};
use std::time::Duration;

use serde::de::DeserializeOwned;
use ureq::http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, ETAG, LOCATION, RANGE, RETRY_AFTER,
};
use ureq::http::{HeaderMap, HeaderValue, Uri};
use ureq::{Agent, Proxy, SendBody};

use super::location::{is_origin_of, resolved};
use super::steady::{MIN_BYTES_PER_SECOND, Steady};
use super::{HubError, HubOptions};
use crate::http::{Proxies, Secrets, Verdict, error_message, redacted_url, retry_after};

const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// Longest silence of a server where the caller does not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a connection, and for the first answer where there is a copy to fall back on.
const SHORT_TIMEOUT: Duration = Duration::from_secs(10);
/// The hub needs one for a file in large file storage and another for a model that was renamed.
const MAX_REDIRECTS: usize = 8;
/// Longest list of a repository's files, in bytes: that of 100,000 files has a tenth.
const MAX_LISTING: u64 = 64 << 20;
/// Longest answer to what was sent, in bytes.
const MAX_REPLY: u64 = 16 << 20;

/// What can be asked of one hub, for one model.
pub(super) struct Transport {
    agent: Agent,
    proxies: Proxies,
    /// Without a slash at its end.
    endpoint: String,
    hub: Uri,
    authorization: Option<String>,
    secrets: Secrets,
    timeout: Duration,
    id: String,
}

/// Why there is nothing, and whether trying again may help.
pub(super) struct Failure {
    pub(super) error: HubError,
    /// The wait that the server asks for.
    pub(super) retry_after: Option<Duration>,
    /// The status of an answer that is not what was asked for.
    pub(super) status: Option<u16>,
}

impl From<HubError> for Failure {
    fn from(error: HubError) -> Self {
        Self { error, retry_after: None, status: None }
    }
}

/// How something is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Post,
    Put,
}

/// What is sent.
pub(super) struct Outgoing<'a> {
    pub(super) method: Method,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a mut dyn Read,
    /// Its length.
    pub(super) bytes: u64,
    /// How long the answer is waited for where the timeout is shorter.
    pub(super) least_wait: Duration,
}

/// The answer to what was sent, whatever it says.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) body: Vec<u8>,
}

/// One answer: a redirect or what was asked for, never an error.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// Where it came from.
    pub(super) uri: Uri,
    pub(super) body: Steady<ureq::BodyReader<'static>>,
}

impl Answer {
    pub(super) fn is_redirect(&self) -> bool {
        is_redirect(self.status)
    }

    /// The text of a header; one that is no text is none.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok().map(str::trim)
    }
}

impl Transport {
    /// `has_copy`: whether there is something to fall back on, so that it is not worth waiting long.
    pub(super) fn new(
        options: &HubOptions,
        token: Option<&str>,
        id: &str,
        has_copy: bool,
    ) -> Result<Self, HubError> {
        let endpoint = options.endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT).trim().trim_end_matches('/');
        let invalid = |reason: &str| HubError::Response {
            id: id.to_owned(),
            url: redacted_url(endpoint),
            reason: reason.to_owned(),
        };
        let hub: Uri = endpoint.parse().map_err(|_| invalid("this is no address of a hub"))?;
        if !matches!(hub.scheme_str(), Some("http" | "https")) || hub.host().is_none_or(str::is_empty) {
            return Err(invalid("the address of a hub begins with https:// or http://"));
        }
        let authorization = token.map(|token| format!("Bearer {token}"));
        if authorization.as_ref().is_some_and(|text| text.bytes().any(|b| !(b' '..=b'~').contains(&b))) {
            return Err(invalid("the token has characters that no token has"));
        }
        let timeout = options.timeout.unwrap_or(TIMEOUT);
        let secrets = Secrets::default().and(token.unwrap_or_default()).and_url(endpoint);
        let secrets = secrets.and_proxies(&options.proxies);
        let agent = Agent::config_builder()
            // Else the environment's. Each request has its own.
            .proxy(None)
            .user_agent(concat!("unknown/None; gve/", env!("CARGO_PKG_VERSION"), "; rust/unknown"))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(timeout.min(SHORT_TIMEOUT)))
            .timeout_connect(Some(timeout.min(SHORT_TIMEOUT)))
            .timeout_send_request(Some(timeout))
            .timeout_recv_response(Some(if has_copy { timeout.min(SHORT_TIMEOUT) } else { timeout }))
            .timeout_per_read(Some(timeout))
            .timeout_per_write(Some(timeout))
            .build()
            .new_agent();
        Ok(Self {
            agent,
            proxies: options.proxies.clone(),
            endpoint: endpoint.to_owned(),
            hub,
            authorization,
            secrets,
            timeout,
            id: id.to_owned(),
        })
    }

    /// The address of `path` on the hub.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/{path}", self.endpoint)
    }

    /// An address that the hub gives, of itself, at the mirror that is asked in its place.
    pub(super) fn on_mirror(&self, url: &str) -> String {
        match url.strip_prefix(DEFAULT_ENDPOINT).filter(|rest| rest.starts_with('/')) {
            Some(rest) => format!("{}{rest}", self.endpoint),
            None => url.to_owned(),
        }
    }

    /// The answer at the end of all redirects, with a status of success.
    pub(super) fn get(&self, url: &str, range: Option<&str>) -> Result<Answer, Failure> {
        let first = self.hop(&self.parsed(url)?, range)?;
        self.follow(first, range, |_| false)
    }

    /// What the hub says in JSON at the end of all redirects, and the answer's `Link`.
    pub(super) fn json<T: DeserializeOwned>(&self, url: &str) -> Result<(T, Option<String>), Failure> {
        let mut answer = self.get(url, None)?;
        let link = answer.header("link").map(str::to_owned);
        let bytes = match answer.body.read_to_limit(MAX_LISTING) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
                return Err(self.wrong(&answer.uri, format!("its list of files has {e}")).into());
            }
            Err(e) => return Err(self.body_failure(&answer.uri, &e).into()),
        };
        let said = serde_json::from_slice(&bytes).map_err(|error| self.no_hub(&answer.uri, &error))?;
        Ok((said, link))
    }

    /// From `answer` on to the end of all redirects, or to the first answer that is `enough`.
    pub(super) fn follow(
        &self,
        mut answer: Answer,
        range: Option<&str>,
        enough: impl Fn(&Answer) -> bool,
    ) -> Result<Answer, Failure> {
        for _ in 0..=MAX_REDIRECTS {
            if !answer.is_redirect() || enough(&answer) {
                return Ok(answer);
            }
            let next = self.next(&answer)?;
            answer = self.hop(&next, range)?;
        }
        Err(self.wrong(&answer.uri, format!("more than {MAX_REDIRECTS} redirects in a row")).into())
    }

    /// One request, without following where it leads. `range`: the value of that header.
    pub(super) fn hop(&self, uri: &Uri, range: Option<&str>) -> Result<Answer, Failure> {
        // As it is stored: a length is then that of the file.
        let proxy = self.proxy(uri)?;
        let request = self.agent.get(uri).config().proxy(proxy).build();
        let mut request = request.header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let is_hub = is_origin_of(&self.hub, uri);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_hub) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let response = request.call().map_err(|e| self.request_failure(uri, &e))?;
        let status = response.status().as_u16();
        if !is_redirect(status) {
            let wait =
                response.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?));
            self.accept(uri, status, is_hub).map_err(|error| Failure {
                error,
                retry_after: wait,
                status: Some(status),
            })?;
        }
        let (parts, body) = response.into_parts();
        let body = Steady::new(body.into_reader(), self.timeout);
        Ok(Answer { status, headers: parts.headers, uri: uri.clone(), body })
    }

    /// Sends something, once, and does not follow where the answer leads. What goes elsewhere than to the hub has no token.
    pub(super) fn send(&self, outgoing: Outgoing<'_>) -> Result<Reply, HubError> {
        let uri = self.parsed(outgoing.url)?;
        if self.hub.scheme_str() == Some("https") && uri.scheme_str() != Some("https") {
            return Err(self.wrong(&uri, "the hub wants a file sent there, out of https".to_owned()));
        }
        let request = match outgoing.method {
            Method::Post => self.agent.post(&uri),
            Method::Put => self.agent.put(&uri),
        };
        let longest = self.timeout + Duration::from_secs_f64(outgoing.bytes as f64 / MIN_BYTES_PER_SECOND);
        let wait = self.timeout.max(outgoing.least_wait);
        let config = request.config().proxy(self.proxy(&uri)?).timeout_send_body(Some(longest));
        let config = config.timeout_recv_response(Some(wait)).timeout_per_read(Some(wait));
        let mut request = config.build().header(CONTENT_LENGTH, outgoing.bytes);
        for (name, value) in outgoing.headers {
            request = request.header(*name, *value);
        }
        let is_hub = is_origin_of(&self.hub, &uri);
        if let Some(authorization) = self.authorization.as_ref().filter(|_| is_hub) {
            request = request.header(AUTHORIZATION, authorization);
        }
        let sent = request.send(SendBody::from_reader(outgoing.body));
        let (parts, body) = sent.map_err(|error| self.request_failure(&uri, &error))?.into_parts();
        let text = |name| parts.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let mut body = Steady::new(body.into_reader(), self.timeout);
        let body = match body.read_to_limit(MAX_REPLY) {
            Ok(body) => body,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(self.wrong(&uri, format!("its answer has {error}")));
            }
            Err(error) => return Err(self.body_failure(&uri, &error)),
        };
        Ok(Reply {
            status: parts.status.as_u16(),
            etag: text(ETAG).map(str::to_owned),
            retry_after: text(RETRY_AFTER).and_then(retry_after),
            body,
        })
    }

    /// Whether an address is one of the hub itself.
    pub(super) fn is_hub(&self, url: &str) -> bool {
        url.parse().is_ok_and(|uri| is_origin_of(&self.hub, &uri))
    }

    /// Whom `uri` is asked through.
    fn proxy(&self, uri: &Uri) -> Result<Option<Proxy>, HubError> {
        let address =
            self.proxies.of(&uri.to_string()).map_err(|e| self.wrong(uri, self.said(&e.to_string())))?;
        let proxy = address.map(|address| Proxy::new(&address)).transpose();
        proxy.map_err(|e| self.request_failure(uri, &e))
    }

    pub(super) fn parsed(&self, url: &str) -> Result<Uri, HubError> {
        url.parse().map_err(|_| HubError::Response {
            id: self.id.clone(),
            url: redacted_url(url),
            reason: "this is no address".to_owned(),
        })
    }

    /// Where a redirect leads.
    fn next(&self, answer: &Answer) -> Result<Uri, HubError> {
        let Some(location) = answer.header(LOCATION.as_str()) else {
            let reason = format!("status {} without saying where to go", answer.status);
            return Err(self.wrong(&answer.uri, reason));
        };
        let wrong = |fault: &str| {
            let shown = self.said(&redacted_url(location));
            self.wrong(&answer.uri, format!("it leads to {shown:?}, {fault}"))
        };
        let next =
            resolved(&answer.uri, location).ok_or_else(|| wrong("which is no http or https address"))?;
        if answer.uri.scheme_str() == Some("https") && next.scheme_str() == Some("http") {
            return Err(wrong("out of https"));
        }
        // The user and password of the hub's address go with every request to it.
        let user_info = self.hub.authority().and_then(|a| a.as_str().rsplit_once('@')).map(|(user, _)| user);
        match (user_info, next.authority()) {
            (Some(user), Some(authority))
                if is_origin_of(&self.hub, &next) && !authority.as_str().contains('@') =>
            {
                let path = next.path_and_query().map_or("/", |path| path.as_str());
                let scheme = next.scheme_str().unwrap_or("https");
                format!("{scheme}://{user}@{authority}{path}")
                    .parse()
                    .map_err(|_| wrong("which is no address"))
            }
            _ => Ok(next),
        }
    }

    fn accept(&self, uri: &Uri, status: u16, is_hub: bool) -> Result<(), HubError> {
        let (id, url) = (self.id.clone(), self.shown(uri));
        let reason = format!("status {status}");
        match (Verdict::of(status), status) {
            (Verdict::Accepted, _) => Ok(()),
            (_, 401 | 403) if is_hub => {
                let has_token = self.authorization.is_some();
                Err(HubError::AccessDenied { id, url, status, has_token })
            }
            // Of storage that the hub sends us to: its signature ran out, and the next one may be good.
            (Verdict::Busy | Verdict::Fails, _) | (_, 401 | 403) => {
                Err(HubError::Network { id, url, reason })
            }
            _ => Err(HubError::Response { id, url, reason }),
        }
    }

    fn request_failure(&self, uri: &Uri, error: &ureq::Error) -> HubError {
        let reason = self.said(&error.to_string());
        match error {
            ureq::Error::Io(e) if e.kind() != io::ErrorKind::InvalidData => self.unreachable(uri, reason),
            ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::BodyStalled
            | ureq::Error::ConnectProxyFailed(_)
            | ureq::Error::Protocol(_) => self.unreachable(uri, reason),
            // What is left is about addresses, proxies, certificates and headers without an end.
            _ => self.wrong(uri, reason),
        }
    }

    /// A connection that broke in the middle of a body.
    pub(super) fn body_failure(&self, uri: &Uri, error: &io::Error) -> HubError {
        self.unreachable(uri, self.said(&error.to_string()))
    }

    /// May pass.
    pub(super) fn unreachable(&self, uri: &Uri, reason: String) -> HubError {
        HubError::Network { id: self.id.clone(), url: self.shown(uri), reason }
    }

    /// Stays wrong.
    pub(super) fn wrong(&self, uri: &Uri, reason: String) -> HubError {
        HubError::Response { id: self.id.clone(), url: self.shown(uri), reason }
    }

    /// An answer that is not in the form of a hub's.
    pub(super) fn no_hub(&self, uri: impl ToString, error: &serde_json::Error) -> HubError {
        let reason = format!("it does not answer as a hub does: {}", self.said(&error.to_string()));
        HubError::Response { id: self.id.clone(), url: self.shown(uri), reason }
    }

    /// An address as messages show it.
    pub(super) fn shown(&self, uri: impl ToString) -> String {
        self.secrets.redact(&uri.to_string())
    }

    /// What others say, on one line of bounded length and without secrets.
    pub(super) fn said(&self, text: &str) -> String {
        error_message(text, &self.secrets)
    }
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn whoever_stops_reading_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let url = format!("{endpoint}/store");
        let options = HubOptions::default().with_timeout(Some(Duration::from_millis(300)));
        let options = options.with_endpoint(Some(endpoint));
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let transport = Transport::new(&options, None, "o/m", false).unwrap();
            // More than connections hold.
            let bytes = 256 << 20;
            let body = &mut io::repeat(0).take(bytes);
            let (method, headers, least_wait) = (Method::Put, &[][..], Duration::ZERO);
            let sent = transport.send(Outgoing { method, url: &url, headers, body, bytes, least_wait });
            tell.send(sent.err().map(|error| error.to_string())).unwrap();
        });
        // Connected all the same, by the system.
        let error = told.recv_timeout(Duration::from_secs(20)).unwrap().unwrap();
        assert!(error.contains("timeout"), "{error}");
    }
}
