use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_openai::error::OpenAIError;
use reqwest::header::RETRY_AFTER;
use reqwest::{Response, StatusCode};

use crate::http::{Secrets, Verdict, error_message, retry_after};

/// Longest answer that is read, in bytes: a thousand times what is asked for.
const MAX_BODY: usize = 4 << 20;

/// Why a try gave no answer, and what that means.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Whether another try may do better.
    pub(super) is_transient: bool,
    /// Whether no other request will do better, should this one never succeed.
    pub(super) is_fatal: bool,
    /// Whether it is forbidden, be it for the key or for what the request shows: some servers say so of
    /// single pictures.
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

    /// Of a status that is no success.
    fn of_status(status: StatusCode, message: &str, retry_after: Option<Duration>) -> Self {
        let hint = match status.as_u16() {
            401 => "; check the key",
            403 => "; check the key, or it objects to what is shown",
            404 => "; check the base URL and the model's name",
            407 => "; check the user and password of the proxy",
            300..=399 => "; use the address it leads to as base URL",
            _ => "",
        };
        let pause = if message.is_empty() { "" } else { ": " };
        let verdict = Verdict::of(status.as_u16());
        Self {
            reason: format!("HTTP {status}{pause}{message}{hint}"),
            is_transient: matches!(verdict, Verdict::Fails | Verdict::Busy),
            is_fatal: matches!(verdict, Verdict::Hopeless | Verdict::Busy),
            is_forbidden: status == StatusCode::FORBIDDEN,
            retry_after,
        }
    }

    /// Of what the client says, without `secrets`.
    pub(super) fn of(error: OpenAIError, secrets: &Secrets) -> Self {
        let failure = |reason: String, is_transient, is_fatal| Self {
            is_fatal,
            ..Self::of_request(secrets.redact(&reason), is_transient)
        };
        match error {
            OpenAIError::Boxed(error) => match error.downcast::<Self>() {
                Ok(failure) => *failure,
                Err(error) => failure(one_line(&*error), false, true),
            },
            // A connection that is never made is no fault of the request; one that breaks, or an answer that
            // does not come, may be.
            OpenAIError::Reqwest(error) => {
                failure(one_line(&error), !error.is_builder(), error.is_connect() || error.is_builder())
            }
            OpenAIError::JSONDeserialize(error, _) => {
                // The reason may quote the answer at any length.
                let reason = format!("its answer is no chat completion: {error}");
                failure(error_message(&reason, secrets), true, false)
            }
            error => failure(one_line(&error), false, true),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Error for Failure {}

/// The answer, if it is a success and of a length that makes sense. What it says otherwise is passed on
/// without `secrets`.
///
/// # Errors
/// A [`Failure`], boxed.
pub(super) async fn checked(mut response: Response, secrets: &Secrets) -> Result<Response, OpenAIError> {
    let status = response.status();
    if !status.is_success() {
        let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = header.and_then(retry_after);
        // A status says enough even where its body does not arrive.
        let body = read(&mut response).await.unwrap_or_default();
        let message = error_message(&String::from_utf8_lossy(&body), secrets);
        return Err(OpenAIError::Boxed(Box::new(Failure::of_status(status, &message, retry_after))));
    }
    let body = read(&mut response).await?;
    if body.len() > MAX_BODY {
        let reason = format!("its answer is longer than {} MiB", MAX_BODY >> 20);
        return Err(OpenAIError::Boxed(Box::new(Failure::of_request(reason, false))));
    }
    Ok(::http::Response::new(body).into())
}

/// The body of `response`; of one that is too long, so much that this can be seen.
async fn read(response: &mut Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() <= MAX_BODY
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
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
            let failure = Failure::of_status(status, "why", None);
            assert_eq!(
                Failure::of(OpenAIError::Boxed(Box::new(failure.clone())), &Secrets::default()),
                failure
            );
            assert!(failure.reason.contains("why") && failure.reason.contains(status.as_str()));
            (failure.is_transient, failure.is_fatal)
        };
        for (statuses, expected) in [
            (vec![400, 413, 422], (false, false)),
            (vec![301, 308, 401, 402, 403, 404, 407], (false, true)),
            (vec![408, 500, 502, 504], (true, false)),
            (vec![429, 503], (true, true)),
        ] {
            for status in statuses {
                assert_eq!(meaning(status), expected, "{status}");
            }
        }
    }
}
