//! Times: until when to wait, and whether a file rests.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::retrieval::FileFingerprint;

/// The moment so long after `start`; what a clock does not reach is thirty years away.
pub(super) fn after(start: Instant, time: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
    start.checked_add(time).unwrap_or_else(|| start + FAR)
}

/// Whether a file was not written for so long, as its date has it.
pub(super) fn is_at_rest(path: &Path, settle: Duration) -> bool {
    let Ok(FileFingerprint { modified_nanoseconds, .. }) = FileFingerprint::of_file(path) else {
        return false;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // A date to come says nothing, and neither does that of now.
    i128::try_from(now).is_ok_and(|now| now - i128::from(modified_nanoseconds) >= settle.as_nanos() as i128)
}
