use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_openai::error::OpenAIError;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::http::{Verdict, error_message, retry_after};

/// Why a try gave no answer, and what that means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether another try may do better.
    pub(super) is_transient: bool,
    /// Whether no other request will do better, should this one never succeed.
    pub(super) is_fatal: bool,
    /// Whether it is forbidden, be it for the key or for what the request shows: some servers say so of single pictures.
    pub(super) is_forbidden: bool,
    /// The wait that the server asks for.
    pub(super) retry_after: Option<Duration>,
}

impl Failure {
    /// Of one request, and no matter for others.
    pub(super) fn of_request(reason: impl Into<String>, is_transient: bool) -> Self {
        let reason = reason.into();
        Self { reason, is_transient, is_fatal: false, is_forbidden: false, retry_after: None }
    }

    pub(super) fn of(error: OpenAIError) -> Self {
        let failure = |reason: String, is_transient, is_fatal| Self {
            is_fatal,
            ..Self::of_request(reason, is_transient)
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
        let message = error_message(&response.text().await.unwrap_or_default());
        Err(OpenAIError::Boxed(Box::new(Self { status, message, retry_after })))
    }

    fn meaning(&self) -> Failure {
        let hint = match self.status.as_u16() {
            401 => "; check the key",
            403 => "; check the key, or it objects to what is shown",
            404 => "; check the base URL and the model's name",
            300..=399 => "; use the address it leads to as base URL",
            _ => "",
        };
        let verdict = Verdict::of(self.status.as_u16());
        let is_transient = matches!(verdict, Verdict::Fails | Verdict::Busy);
        let is_fatal = matches!(verdict, Verdict::Hopeless | Verdict::Busy);
        Failure {
            reason: format!("{self}{hint}"),
            is_transient,
            is_fatal,
            is_forbidden: self.status == StatusCode::FORBIDDEN,
            retry_after: self.retry_after,
        }
    }
}

impl fmt::Display for HttpFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pause = if self.message.is_empty() { "" } else { ": " };
        write!(f, "HTTP {}{pause}{}", self.status, self.message)
    }
}

impl Error for HttpFailure {}

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
}
