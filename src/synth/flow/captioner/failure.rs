use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_openai::error::OpenAIError;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};
use serde_json::Value;

/// Longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 300;

/// Why a try gave no answer, and what that means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether another try may do better.
    pub(super) is_transient: bool,
    /// Whether no other request will do better, should this one never succeed.
    pub(super) is_fatal: bool,
    /// The wait that the server asks for.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    pub(super) fn of(error: OpenAIError) -> Self {
        let failure = |reason: String, is_transient, is_fatal| Self {
            reason,
            is_transient,
            is_fatal,
            retry_after: None,
        };
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<HttpFailure>() {
                Ok(http) => http.meaning(),
                Err(error) => failure(one_line(&*error), false, true),
            },
            // A connection that is never made is no fault of the request; one that breaks, or an answer that does
            // not come, may be.
            OpenAIError::Reqwest(error) => {
                failure(one_line(&error), !error.is_builder(), error.is_connect() || error.is_builder())
            }
            OpenAIError::JSONDeserialize(error, _) => {
                failure(format!("its answer is no chat completion: {error}"), true, false)
            }
            error => failure(one_line(&error), false, true),
        }
    }
}

/// An answer with a status that is no success.
#[derive(Debug)]
pub(super) struct HttpFailure {
    status: StatusCode,
    message: String,
    retry_after: Option<Duration>,
}

impl HttpFailure {
    /// Lets a success through.
    pub(super) async fn check(response: Response) -> Result<Response, OpenAIError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(retry_after);
        // A status says enough even where its body does not arrive.
        let message = message(&response.text().await.unwrap_or_default());
        Err(OpenAIError::Boxed(Box::new(Self { status, message, retry_after })))
    }

    fn meaning(&self) -> Failure {
        let hint = match self.status.as_u16() {
            401 | 403 => "; check the key",
            404 => "; check the base URL and the model's name",
            300..=399 => "; use the address it leads to as base URL",
            _ => "",
        };
        let (is_transient, is_fatal) = match self.status.as_u16() {
            // No room for us, whatever the request.
            429 | 503 => (true, true),
            408 | 500..=599 => (true, false),
            300..=399 | 401 | 402 | 403 | 404 => (false, true),
            _ => (false, false),
        };
        Failure { reason: format!("{self}{hint}"), is_transient, is_fatal, retry_after: self.retry_after }
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = if self.message.is_empty() { "" } else { ": " };
        write!(f, "HTTP {}{pause}{}", self.status, self.message)
    }
}

impl Error for HttpFailure {}

/// The wait in a `Retry-After` header, if it is given in seconds. A date is rare and leaves the wait to us.
fn retry_after(header: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(header.trim().parse().ok()?).ok()
}

/// What a server says in the body of an error, as one line of bounded length.
fn message(body: &str) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/message", "/message", "/detail", "/error"];
    let message = places.iter().find_map(|place| json.pointer(place)?.as_str()).unwrap_or(body);
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(MAX_MESSAGE) {
        line.truncate(end);
        line.push_str("...");
    }
    line
}

/// An error with its causes.
pub(super) fn one_line(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_mean_what_they_say() {
        let meaning = |status| {
            let status = StatusCode::from_u16(status).unwrap();
            let http = HttpFailure { status, message: "why".to_owned(), retry_after: None };
            let failure = Failure::of(OpenAIError::Boxed(Box::new(http)));
            assert!(failure.reason.contains("why") && failure.reason.contains(status.as_str()));
            (failure.is_transient, failure.is_fatal)
        };
        for (statuses, expected) in [
            (vec![400, 413, 422], (false, false)),
            (vec![301, 308, 401, 402, 403, 404], (false, true)),
            (vec![408, 500, 502, 504], (true, false)),
            (vec![429, 503], (true, true)),
        ] {
            for status in statuses {
                assert_eq!(meaning(status), expected, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_nothing() {
        for (header, expected) in [("2", Some(2.0)), (" 0.5 ", Some(0.5)), ("-1", None), ("soon", None)] {
            assert_eq!(retry_after(header).map(|wait| wait.as_secs_f64()), expected, "{header}");
        }
    }

    #[test]
    fn the_message_of_an_error_is_found() {
        for (body, expected) in [
            (r#"{"error": {"message": "too\nlong", "type": "BadRequest"}}"#, "too long"),
            (r#"{"object": "error", "message": "no such model"}"#, "no such model"),
            (r#"{"detail": "Not Found"}"#, "Not Found"),
            (r#"{"error": "model not loaded"}"#, "model not loaded"),
            ("<h1>Bad\n gateway</h1>", "<h1>Bad gateway</h1>"),
            ("", ""),
        ] {
            assert_eq!(message(body), expected);
        }
        assert_eq!(message(&"ä".repeat(400)).chars().count(), MAX_MESSAGE + 3);
    }
}
