use std::time::Duration;

/// What a hub may do wrong, or somebody else meanwhile.
#[derive(Default)]
pub struct PushFaults {
    /// Answers requests whose method and path begin so with this status and body, each so many times.
    pub refusals: Vec<(&'static str, u16, &'static str, usize)>,
    /// Hangs up in the middle of so many PUTs.
    pub dropped_puts: usize,
    /// Answers requests whose method and path begin so that much later.
    pub slow: Option<(&'static str, Duration)>,
    /// Hangs up in place of the answer to so many commits, which are made.
    pub lost_commits: usize,
    /// Before so many commits somebody else's comes in.
    pub rival_commits: usize,
    /// Makes repositories public, whatever it is asked for.
    pub makes_public: bool,
}

impl PushFaults {
    /// Whether one more of so many is to happen.
    pub(super) fn take(left: &mut usize) -> bool {
        let is_due = *left > 0;
        *left = left.saturating_sub(1);
        is_due
    }
}
