//! When to try again, and when to give up.

use std::time::Duration;

/// Longest wait that a server is granted by its `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How often and how soon a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOptions {
    /// Tries after the first.
    pub retries: u32,
    /// Wait before the first of them; doubled each time.
    pub first_delay: Duration,
    /// Longest wait, unless the server asks for more.
    pub max_delay: Duration,
}

impl Default for RetryOptions {
    /// 6 more tries after 0.5, 1, 2, 4, 8 and 16 seconds.
    fn default() -> Self {
        Self { retries: 6, first_delay: Duration::from_millis(500), max_delay: Duration::from_secs(30) }
    }
}

impl RetryOptions {
    /// Wait before try `retry`, counted from 0: half of it fixed, half of it times `jitter` in [0, 1), so that
    /// clients that failed together do not come back together. Never less than the server's `retry_after`.
    pub(super) fn delay(&self, retry: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(retry)).min(self.max_delay);
        doubled.mul_f64(0.5 + jitter / 2.0).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// What an HTTP status means for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There is an answer.
    Accepted,
    /// This input is at fault.
    Refused,
    /// Nothing will ever be accepted.
    Hopeless,
    /// May pass. If not: the input is at fault.
    Fails,
    /// May pass. If not: the server has no room for us, whatever the input.
    Busy,
}

pub(super) fn verdict(status: u16) -> Verdict {
    match status {
        200..=299 => Verdict::Accepted,
        // Redirects too: a request with media and a key is not sent elsewhere.
        300..=399 | 401 | 403 | 404 => Verdict::Hopeless,
        429 | 503 => Verdict::Busy,
        408 | 500..=599 => Verdict::Fails,
        _ => Verdict::Refused,
    }
}

/// The wait in a `Retry-After` header, if it is given in seconds. A date is rare and leaves the wait to us.
pub(super) fn retry_after(header: &str) -> Option<Duration> {
    let seconds: f64 = header.trim().parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_yield_to_the_server() {
        let options = RetryOptions {
            retries: 9,
            first_delay: Duration::from_millis(500),
            max_delay: Duration::from_secs(5),
        };
        let seconds = |retry, after: Option<u64>, jitter| {
            options.delay(retry, after.map(Duration::from_secs), jitter).as_secs_f64()
        };
        for (retry, after, jitter, expected) in [
            (0, None, 0.0, 0.25),
            (0, None, 0.5, 0.375),
            (1, None, 0.0, 0.5),
            (3, None, 0.0, 2.0),
            (4, None, 0.0, 2.5),
            (99, None, 0.0, 2.5),
            (0, Some(3), 0.9, 3.0),
            (4, Some(1), 0.0, 2.5),
            (0, Some(1_000_000), 0.0, 600.0),
        ] {
            assert_eq!(seconds(retry, after, jitter), expected, "{retry} {after:?} {jitter}");
        }
    }

    #[test]
    fn statuses_are_sorted() {
        for (statuses, expected) in [
            (vec![200, 201], Verdict::Accepted),
            (vec![400, 402, 413, 415, 422], Verdict::Refused),
            (vec![301, 308, 401, 403, 404], Verdict::Hopeless),
            (vec![408, 500, 502, 504], Verdict::Fails),
            (vec![429, 503], Verdict::Busy),
        ] {
            for status in statuses {
                assert_eq!(verdict(status), expected, "{status}");
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
}
