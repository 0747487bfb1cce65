//! What is the same for every server that is asked for something: through whom it is asked, when to ask again,
//! and what it says when it refuses.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use serde_json::Value;

use crate::options::with_fields;

mod proxies;
mod secrets;

pub(crate) use proxies::EXPECTED_PROXY;
pub use proxies::{Proxies, ProxyError};
pub use secrets::{Secrets, redacted_url};

/// Longest message of a server that is passed on, in characters.
const MAX_MESSAGE: usize = 300;
/// Longest wait that a server is granted by its `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How often and how soon a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetrySettings {
    /// Tries after the first.
    pub retries: u32,
    /// Wait before the first of them; doubled each time.
    pub first_delay: Duration,
    /// Longest wait, unless the server asks for more.
    pub max_delay: Duration,
}

with_fields!(RetrySettings {
    with_retries(retries: u32),
    with_first_delay(first_delay: Duration),
    with_max_delay(max_delay: Duration),
});

impl Default for RetrySettings {
    /// 6 more tries after 1, 2, 4, 8, 16 and 32 seconds.
    fn default() -> Self {
        Self { retries: 6, first_delay: Duration::from_secs(1), max_delay: Duration::from_secs(60) }
    }
}

impl RetrySettings {
    /// The wait before retry number `retry`, from 0: half of it fixed and half of it random, so that requests
    /// that failed together do not come back together. Never less than the server's `retry_after`, up to ten
    /// minutes.
    pub fn delay(&self, retry: u32, retry_after: Option<Duration>) -> Duration {
        self.delay_with(jitter(), retry, retry_after)
    }

    /// `jitter` lies in [0, 1).
    fn delay_with(&self, jitter: f64, retry: u32, retry_after: Option<Duration>) -> Duration {
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(retry)).min(self.max_delay);
        doubled.mul_f64(0.5 + jitter / 2.0).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// A number in [0, 1) that differs between calls and processes.
fn jitter() -> f64 {
    f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / (1_u64 << 32) as f64
}

/// What the status of an answer means for a client that sends many requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// There is an answer.
    Accepted,
    /// This request is at fault.
    Refused,
    /// No request will ever be accepted.
    Hopeless,
    /// May pass. If not: the request is at fault.
    Fails,
    /// May pass. If not: the server has no room for us, whatever the request.
    Busy,
}

impl Verdict {
    /// The meaning of an HTTP status.
    pub fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Accepted,
            // Redirects too: a request with media and a key is not sent elsewhere.
            // 407: the proxy wants another password.
            300..=399 | 401..=404 | 407 => Self::Hopeless,
            429 | 503 => Self::Busy,
            408 | 500..=599 => Self::Fails,
            _ => Self::Refused,
        }
    }
}

/// The wait in a `Retry-After` header, if it is given in seconds. A date is rare and leaves the wait to us.
pub fn retry_after(header: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(header.trim().parse().ok()?).ok()
}

/// What a server says in the body of an error: the message of OpenAI's or FastAPI's form, else the body
/// itself, as one line of at most 300 characters, and without the `secrets` that it may repeat.
pub fn error_message(body: &str, secrets: &Secrets) -> String {
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let places = ["/error/message", "/message", "/detail", "/error"];
    let message = places.iter().find_map(|place| json.pointer(place)?.as_str()).unwrap_or(body);
    // Before it is cut: half a key is not shown either.
    let line = secrets.redact(message).split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_MESSAGE) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_yield_to_the_server() {
        let settings = RetrySettings {
            retries: 9,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(10),
        };
        for (retry, after, jitter, expected) in [
            (0, None, 0.0, 0.5),
            (0, None, 0.5, 0.75),
            (2, None, 0.0, 2.0),
            (4, None, 0.0, 5.0),
            (99, None, 0.0, 5.0),
            (0, Some(3), 0.9, 3.0),
            (4, Some(1), 0.0, 5.0),
            (0, Some(1_000_000), 0.0, 600.0),
        ] {
            let delay = settings.delay_with(jitter, retry, after.map(Duration::from_secs));
            assert_eq!(delay.as_secs_f64(), expected, "{retry} {after:?} {jitter}");
        }
    }

    #[test]
    fn jitter_varies_within_its_bounds() {
        let values: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)) && values[0] != values[1]);
    }

    #[test]
    fn statuses_are_sorted() {
        for (statuses, expected) in [
            (vec![200, 201], Verdict::Accepted),
            (vec![400, 413, 415, 422], Verdict::Refused),
            (vec![301, 308, 401, 402, 403, 404, 407], Verdict::Hopeless),
            (vec![408, 500, 502, 504], Verdict::Fails),
            (vec![429, 503], Verdict::Busy),
        ] {
            for status in statuses {
                assert_eq!(Verdict::of(status), expected, "{status}");
            }
        }
    }

    #[test]
    fn retry_after_is_seconds_or_nothing() {
        for (header, expected) in
            [("2", Some(2.0)), (" 0.5 ", Some(0.5)), ("-1", None), ("soon", None), ("inf", None)]
        {
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
            assert_eq!(error_message(body, &Secrets::default()), expected);
        }
        assert_eq!(error_message(&"ä".repeat(400), &Secrets::default()).chars().count(), MAX_MESSAGE + 3);
    }

    #[test]
    fn the_message_of_an_error_shows_no_secret() {
        let secrets = Secrets::default().and("sk-secret");
        let cut = format!("{} sk-secret", "x".repeat(MAX_MESSAGE - 5));
        for body in [r#"{"error": {"message": "bad key sk-\u0073ecret"}}"#, "bad sk-secret", &cut] {
            let message = error_message(body, &secrets);
            assert!(!message.contains("sk-") && message.contains("*"), "{message}");
        }
    }
}
