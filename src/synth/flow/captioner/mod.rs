//! A multimodal model behind an OpenAI-compatible chat endpoint.

mod failure;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::CreateChatCompletionRequest;
use reqwest::redirect::Policy;
use reqwest::{Proxy, Url};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{EXPECTED_PROXY, Proxies, RetrySettings, Secrets, error_message, redacted_url};
use crate::options::shown_by;
use crate::synth::SynthError;

use failure::{Failure, checked, one_line};

/// Longest time to make a connection. Shorter than that of a whole request, so that the two are told apart.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a wait looks whether it is to end.
const STOP_INTERVAL: Duration = Duration::from_millis(100);

/// Where the captioner is, and how it is spoken to. Of these only the model decides what comes out.
#[derive(Clone)]
#[non_exhaustive]
pub struct CaptionerSettings {
    /// What `/chat/completions` is appended to, such as `http://localhost:8000/v1`. A query stays behind it.
    pub base_url: String,
    /// The model's name at the endpoint.
    pub model: String,
    /// Sent as a bearer token.
    pub api_key: Option<String>,
    /// Requests under way at a time.
    pub concurrency: usize,
    /// Longest time for a request and its answer.
    pub timeout: Duration,
    /// Through whom it is asked. HTTP proxies forward http, and are asked to `CONNECT` for https.
    pub proxies: Proxies,
    /// How often and how soon a request is tried again.
    pub retry: RetrySettings,
    /// Whether the schema is sent as `response_format`, which most servers hold the model to. The answer is
    /// checked either way.
    pub send_schema: bool,
}

shown_by!(CaptionerSettings |it| { base_url: redacted_url(&it.base_url), model: it.model, api_key: it.api_key.as_ref().map(|_| "***"), concurrency: it.concurrency, timeout: it.timeout, proxies: it.proxies, retry: it.retry, send_schema: it.send_schema });

impl CaptionerSettings {
    /// The settings for `model` at `base_url`: 4 requests at a time, 5 minutes each, no key, no
    /// proxy.
    pub fn new(base_url: impl Into<String>, model: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            model: model.into(),
            api_key: None,
            concurrency: 4,
            timeout: Duration::from_secs(300),
            proxies: Proxies::default(),
            retry: RetrySettings::default(),
            send_schema: true,
        }
    }

    fn secrets(&self) -> Secrets {
        let secrets = Secrets::default().and_url(&self.base_url).and_proxies(&self.proxies);
        self.api_key.iter().fold(secrets, |secrets, key| secrets.and(key))
    }
}

/// A client of the endpoint, which is not spoken to before the first question.
pub struct Captioner {
    client: Client<OpenAIConfig>,
    settings: CaptionerSettings,
    /// The key, and what opens the address: servers repeat them.
    secrets: Secrets,
}

shown_by!(Captioner |it| { settings: it.settings });

/// Why a request has no answer.
pub(super) enum NoAnswer {
    /// This one has none; others may.
    Request(String),
    /// None will have any.
    Endpoint(SynthError),
}

/// What the captioner says.
#[derive(Debug, PartialEq)]
pub(super) struct Answer {
    pub(super) text: String,
    /// Whether it had more to say and no room for it.
    pub(super) is_cut: bool,
}

/// What is read of an answer: servers differ in all the rest.
#[derive(Deserialize)]
struct Completion {
    #[serde(default)]
    choices: Vec<Choice>,
    /// Some gateways send errors under a status of success.
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    message: Message,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Message {
    content: Option<Content>,
    refusal: Option<String>,
    /// Thoughts, where the server keeps them apart, under either name.
    reasoning_content: Option<Value>,
    reasoning: Option<Value>,
}

/// Some servers give what is said in parts, and what is thought as parts of another type.
#[derive(Deserialize)]
#[serde(untagged)]
enum Content {
    Text(String),
    Parts(Vec<ContentPart>),
}

#[derive(Deserialize)]
struct ContentPart {
    r#type: String,
    text: Option<String>,
}

impl Content {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Parts(parts) => {
                let said = parts.into_iter().filter(|part| matches!(&*part.r#type, "text" | "output_text"));
                said.filter_map(|part| part.text).collect()
            }
        }
    }
}

impl Completion {
    fn into_answer(self, secrets: &Secrets) -> Result<Answer, Failure> {
        if let Some(error) = self.error {
            let said = error_message(&json!({ "error": error }).to_string(), secrets);
            return Err(Failure::of_request(format!("its answer is an error: {said}"), true));
        }
        let Some(Choice { message, finish_reason }) = self.choices.into_iter().next() else {
            return Err(Failure::of_request("its answer is no chat completion: it has no choices", true));
        };
        let Message { content, refusal, reasoning_content, reasoning } = message;
        match (content.map(Content::into_text), refusal) {
            (Some(text), _) if !text.trim().is_empty() => {
                Ok(Answer { text, is_cut: finish_reason.as_deref() == Some("length") })
            }
            (_, Some(refusal)) => {
                Err(Failure::of_request(format!("it refused: {}", error_message(&refusal, secrets)), false))
            }
            _ => {
                let ended = finish_reason.map(|reason| format!(" (finish_reason: {reason})"));
                let thought = reasoning_content.or(reasoning).map_or("", |_| ", only thoughts");
                let reason = format!("its answer has no text{thought}{}", ended.unwrap_or_default());
                Err(Failure::of_request(error_message(&reason, secrets), false))
            }
        }
    }
}

impl Captioner {
    /// # Errors
    /// [`SynthError::Setting`] for what is no base URL, no key, no proxy, or no number of requests.
    pub fn new(settings: CaptionerSettings) -> Result<Self, SynthError> {
        let url = check(&settings)?;
        let http = http_client(&settings, &url)?;
        let (base, query) = match settings.base_url.split_once('?') {
            Some((base, query)) => (base, Some(query.to_owned())),
            None => (&*settings.base_url, None),
        };
        // Organisation and project, too, come from the environment otherwise.
        let config = OpenAIConfig::new()
            .with_api_base(base.trim_end_matches('/'))
            .with_api_key(settings.api_key.clone().unwrap_or_default())
            .with_org_id("")
            .with_project_id("");
        // The client's own retries know neither time-outs nor broken answers, and end only when they want to.
        // Instead of them, statuses reach us as they are.
        let secrets = settings.secrets();
        let (transport, hidden) = (http.clone(), secrets.clone());
        let send = tower::service_fn(move |request: HttpRequestFactory| {
            let (http, hidden, query) = (transport.clone(), hidden.clone(), query.clone());
            async move {
                let mut request = request.build().await?;
                request.url_mut().set_query(query.as_deref());
                checked(http.execute(request).await?, &hidden).await
            }
        });
        Ok(Self { client: Client::build(http, config).with_http_service(send), settings, secrets })
    }

    pub(super) fn settings(&self) -> &CaptionerSettings {
        &self.settings
    }

    /// What no message and no report may show.
    pub(super) fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// An error of the endpoint as a whole.
    pub(super) fn of_no_use(&self, reason: String) -> SynthError {
        SynthError::Captioner { url: redacted_url(&self.settings.base_url), reason }
    }

    /// The answer to `request`, tried as often as the settings grant. `has_answered`: whether the endpoint
    /// ever answered with this key, so that what it forbids must be this request. Once `is_over`, an answer
    /// under way is waited for, and nothing else.
    pub(super) async fn complete(
        &self,
        request: &CreateChatCompletionRequest,
        has_answered: bool,
        is_over: &dyn Fn() -> bool,
    ) -> Result<Answer, NoAnswer> {
        let mut retry = 0;
        loop {
            if is_over() {
                return Err(NoAnswer::Endpoint(SynthError::Cancelled));
            }
            let answer = self.client.chat().create_byot(request).await;
            let answer = answer
                .map_err(|error| Failure::of(error, &self.secrets))
                .and_then(|completion: Completion| completion.into_answer(&self.secrets));
            let failure = match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            if failure.is_transient && retry < self.settings.retry.retries {
                let delay = self.settings.retry.delay(retry, failure.retry_after);
                wait(delay, is_over).await;
                retry += 1;
                continue;
            }
            let tries = if retry > 0 { format!(" ({} tries)", retry + 1) } else { String::new() };
            let reason = failure.reason + &tries;
            return Err(if failure.is_fatal && !(failure.is_forbidden && has_answered) {
                NoAnswer::Endpoint(self.of_no_use(reason))
            } else {
                NoAnswer::Request(reason)
            });
        }
    }
}

/// Waits for `delay`, or until all `is_over`.
async fn wait(delay: Duration, is_over: &dyn Fn() -> bool) {
    let end = Instant::now() + delay;
    while !is_over() && Instant::now() < end {
        tokio::time::sleep(STOP_INTERVAL.min(end.saturating_duration_since(Instant::now()))).await;
    }
}

fn http_client(settings: &CaptionerSettings, url: &Url) -> Result<reqwest::Client, SynthError> {
    let failed = |error: &dyn std::error::Error| SynthError::Captioner {
        url: redacted_url(&settings.base_url),
        reason: settings.secrets().redact(&one_line(error)),
    };
    // Certificates that are built in, as for downloads: a machine without any must still reach a server in
    // the house.
    let roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let builder = match proxy_for(settings, url)? {
        Some(proxy) => reqwest::Client::builder().proxy(proxy),
        // Taken from the environment otherwise, which libraries here do not read.
        None => reqwest::Client::builder().no_proxy(),
    };
    builder
        .tls_backend_preconfigured(tls)
        .timeout(settings.timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(settings.timeout / 2))
        // A request with pictures and a key is not sent elsewhere.
        .redirect(Policy::none())
        .build()
        .map_err(|error| failed(&error))
}

/// Whom the endpoint is asked through.
fn proxy_for(settings: &CaptionerSettings, url: &Url) -> Result<Option<Proxy>, SynthError> {
    let wrong = |got: &str| SynthError::Setting {
        setting: "the captioner's proxy",
        expected: EXPECTED_PROXY,
        got: format!("`{}`", redacted_url(got)),
    };
    let address = settings.proxies.of(url.as_str()).map_err(|error| wrong(&error.address))?;
    address.map(|address| Proxy::all(&address).map_err(|_| wrong(&address))).transpose()
}

/// The endpoint's address, of settings that make sense.
fn check(settings: &CaptionerSettings) -> Result<Url, SynthError> {
    let fault =
        |setting, expected, got: &str| Err(SynthError::Setting { setting, expected, got: got.to_owned() });
    let url = Url::parse(&settings.base_url).ok();
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host()) else {
        let expected = "a base URL such as http://localhost:8000/v1";
        return fault(
            "the captioner's address",
            expected,
            &format!("`{}`", redacted_url(&settings.base_url)),
        );
    };
    if settings.model.is_empty() {
        return fault("the captioner's model", "its name at the endpoint", "empty");
    }
    // The key itself is nobody's business.
    if settings
        .api_key
        .as_ref()
        .is_some_and(|key| key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()))
    {
        return fault("the captioner's key", "visible ASCII characters", "empty or has others");
    }
    if settings.concurrency == 0 {
        return fault("requests at a time", "at least 1", "0");
    }
    if settings.timeout.is_zero() {
        return fault("the time for a request", "more than 0 seconds", "0");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_secret_is_not_shown() {
        let mut settings = CaptionerSettings::new("http://me:hidden@localhost:8000/v1", "m");
        settings.api_key = Some("hidden".into());
        let shown = format!("{settings:?}");
        assert!(
            !shown.contains("hidden") && shown.contains("localhost:8000") && shown.contains("***"),
            "{shown}"
        );
    }

    #[test]
    fn senseless_settings_are_refused_before_anything_is_sent() {
        let refused = |change: fn(&mut CaptionerSettings)| {
            let mut settings = CaptionerSettings::new("https://example.org/v1/", "m");
            change(&mut settings);
            Captioner::new(settings).err().unwrap().to_string()
        };
        let mut good = CaptionerSettings::new("https://example.org/v1/", "m");
        good.api_key = Some("sk-1".to_owned());
        assert!(Captioner::new(good).is_ok());
        assert_eq!(
            refused(|s| s.base_url = "localhost:8000".to_owned()),
            "the captioner's address is `localhost:8000`, expected a base URL such as \
             http://localhost:8000/v1"
        );
        let message = refused(|s| s.base_url = "me:secret@example.org/v1?key=sk-1".to_owned());
        assert!(message.contains("is `***@example.org/v1?key=***`"), "{message}");
        assert!(refused(|s| s.base_url = "file:///v1".to_owned()).contains("expected a base URL"));
        assert!(refused(|s| s.model.clear()).contains("the captioner's model"));
        let message = refused(|s| s.api_key = Some("secret\n".to_owned()));
        assert!(message.contains("the captioner's key") && !message.contains("secret"), "{message}");
        assert!(refused(|s| s.concurrency = 0).contains("requests at a time is 0"));
        assert!(refused(|s| s.timeout = Duration::ZERO).contains("the time for a request"));
        let message = refused(|s| s.proxies.https = Some("gopher://me:secret@proxy:1".to_owned()));
        assert!(
            message.starts_with("the captioner's proxy is `gopher://***@proxy:1`, expected"),
            "{message}"
        );
    }
}
