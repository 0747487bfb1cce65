use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// Longest wait that a server is granted by its `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// How often and how soon a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySettings {
    /// Tries after the first.
    pub retries: u32,
    /// Wait before the first of them; doubled each time.
    pub first_delay: Duration,
    /// Longest wait, unless the server asks for more.
    pub max_delay: Duration,
}

impl Default for RetrySettings {
    /// 6 more tries after 1, 2, 4, 8, 16 and 32 seconds.
    fn default() -> Self {
        Self { retries: 6, first_delay: Duration::from_secs(1), max_delay: Duration::from_secs(60) }
    }
}

impl RetrySettings {
    /// The wait before the try after `retry` others: half of it fixed and half of it times `jitter` in [0, 1), so
    /// that requests that failed together do not come back together. Never less than the server's `retry_after`.
    pub(super) fn delay(&self, retry: u32, retry_after: Option<Duration>, jitter: f64) -> Duration {
        let doubled = self.first_delay.saturating_mul(2_u32.saturating_pow(retry)).min(self.max_delay);
        doubled.mul_f64(0.5 + jitter / 2.0).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
    }
}

/// A number in [0, 1) that differs between calls and processes.
pub(super) fn jitter() -> f64 {
    f64::from((RandomState::new().build_hasher().finish() >> 32) as u32) / (1_u64 << 32) as f64
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
            let delay = settings.delay(retry, after.map(Duration::from_secs), jitter);
            assert_eq!(delay.as_secs_f64(), expected, "{retry} {after:?} {jitter}");
        }
    }

    #[test]
    fn jitter_varies_within_its_bounds() {
        let values: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(values.iter().all(|value| (0.0..1.0).contains(value)) && values[0] != values[1]);
    }
}
