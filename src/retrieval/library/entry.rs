//! What a library knows about each embedding, and which rows count.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use crate::media::{MediaKind, TimeRange};
use crate::retrieval::{RetrievalError, dot};
use crate::store::IoError;

/// Tells whether a file has changed since it was embedded, without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FileFingerprint {
    /// Length of the file.
    pub size_bytes: u64,
    /// Time of the last change, in nanoseconds since 1970; 0 where the file system keeps none.
    pub modified_nanoseconds: i64,
}

impl FileFingerprint {
    /// Asks the file system.
    ///
    /// # Errors
    /// [`RetrievalError::Io`] if there is no such file.
    pub fn of_file(path: &Path) -> Result<Self, RetrievalError> {
        let metadata = fs::metadata(path).map_err(IoError::of("read", path))?;
        let modified = metadata.modified().ok().map(|time| match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()),
            Err(before) => i64::try_from(before.duration().as_nanos()).map(std::ops::Neg::neg),
        });
        let modified_nanoseconds = modified.and_then(Result::ok).unwrap_or(0);
        Ok(Self { size_bytes: metadata.len(), modified_nanoseconds })
    }
}

/// One row of a library, without its embedding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LibraryEntry {
    /// The file, as the indexer named it.
    pub path: PathBuf,
    /// What it is.
    pub kind: MediaKind,
    /// The part of the video this row stands for, all of it as a rule; `None` for an image, or where whoever
    /// added it did not say. Both of its bounds are known.
    pub time_range: Option<TimeRange>,
    /// State of the file when it was embedded.
    pub fingerprint: FileFingerprint,
}

/// One row of a library.
#[derive(Debug, Clone, PartialEq)]
pub struct LibraryRow {
    /// What was embedded.
    pub entry: LibraryEntry,
    /// Its embedding, L2-normalised, as wide as the manifest says.
    pub embedding: Vec<f32>,
}

/// How far the length of a stored embedding may be from 1. Wide enough for vectors rounded to 16 bits.
const LENGTH_TOLERANCE: f32 = 0.02;

/// Refuses an embedding that is not normalised, or holds NaN or infinity.
pub(super) fn check_length(embedding: &[f32]) -> Result<(), String> {
    let length = dot(embedding, embedding).sqrt();
    // Written so that NaN is refused.
    if (length - 1.0).abs() <= LENGTH_TOLERANCE {
        return Ok(());
    }
    Err(format!("its length is {length}, expected 1"))
}

/// Refuses a range of which a bound is open or no number: what a row stands for must not depend on how long
/// its file is.
pub(super) fn check_range(range: Option<TimeRange>) -> Result<(), String> {
    match range {
        Some(TimeRange { start_seconds: start, end_seconds: end })
            if range.and_then(TimeRange::bounds).is_none() =>
        {
            Err(format!("its time range is {start:?} to {end:?}"))
        }
        _ => Ok(()),
    }
}

/// Which rows count, given all rows ever written in the order they were written.
///
/// A file's rows are those made from its newest state, which is the state of its last row. Of two rows for
/// the same state and time range the later counts.
pub(super) fn live_rows(entries: &[LibraryEntry]) -> Vec<bool> {
    let newest = newest_fingerprints(entries);
    let mut last_of_range = HashMap::new();
    for (row, entry) in entries.iter().enumerate() {
        if newest.get(&entry.path) == Some(&entry.fingerprint) {
            let range = entry.time_range.map(TimeRange::to_bits);
            last_of_range.insert((&entry.path, range), row);
        }
    }
    let mut live = vec![false; entries.len()];
    for row in last_of_range.into_values() {
        live[row] = true;
    }
    live
}

/// The state in which each file was last embedded.
pub(super) fn newest_fingerprints(entries: &[LibraryEntry]) -> HashMap<PathBuf, FileFingerprint> {
    entries.iter().map(|entry| (entry.path.clone(), entry.fingerprint)).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_fingerprint_tells_states_apart_before_1970_too() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (nanoseconds, time) in [
            (1, UNIX_EPOCH + Duration::from_nanos(1)),
            (0, UNIX_EPOCH),
            (-1_000_000_000, UNIX_EPOCH - Duration::from_secs(1)),
            (1_600_000_000_000_000_001, UNIX_EPOCH + Duration::new(1_600_000_000, 1)),
        ] {
            file.as_file().set_modified(time).unwrap();
            let found = FileFingerprint::of_file(file.path()).unwrap();
            assert_eq!(found.modified_nanoseconds, nanoseconds);
        }
    }

    #[test]
    fn later_states_supersede_earlier_ones() {
        let row = |path: &str, start: Option<f64>, modified_nanoseconds| LibraryEntry {
            path: path.into(),
            kind: MediaKind::Video,
            time_range: start.map(|start| TimeRange::between(start, start + 1.0)),
            fingerprint: FileFingerprint { size_bytes: 1, modified_nanoseconds },
        };
        let cases = [
            (vec![], vec![]),
            (vec![row("a", None, 1), row("b", None, 1)], vec![true, true]),
            // A changed file: all rows of the old state go, whatever their ranges.
            (
                vec![row("a", Some(0.0), 1), row("a", Some(1.0), 1), row("a", Some(0.0), 2)],
                vec![false, false, true],
            ),
            // Written twice, as when a compaction was cut off between its two steps.
            (
                vec![row("a", Some(0.0), 1), row("a", Some(1.0), 1), row("a", Some(0.0), 1)],
                vec![false, true, true],
            ),
            // Back to an earlier state: the order of writing counts, not the time in the file system.
            (vec![row("a", None, 2), row("a", None, 1)], vec![false, true]),
        ];
        for (entries, expected) in cases {
            assert_eq!(live_rows(&entries), expected, "{entries:?}");
        }
    }
}
