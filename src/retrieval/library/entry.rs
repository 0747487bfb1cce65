//! What a library knows about each embedding, and which rows count.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Serialize;

use super::content::ContentHash;
use crate::media::{MediaKind, TimeRange};
use crate::options::with_fields;
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
    /// That of no file.
    pub(crate) const UNKNOWN: Self = Self { size_bytes: 0, modified_nanoseconds: i64::MIN };

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
#[non_exhaustive]
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
    /// What all its bytes were; `None` in libraries of before there were such hashes.
    pub content: Option<ContentHash>,
    /// When it was taken, in seconds from the beginning of 1970 on the clock it was taken by: that of the
    /// camera for pictures, whose files as a rule name no time zone, and UTC for videos. `None` where it does
    /// not say.
    pub captured_seconds: Option<i64>,
    /// Width of the upright picture in pixels, where it is known.
    pub width: Option<u32>,
    /// Height of the upright picture in pixels, where it is known.
    pub height: Option<u32>,
}

impl LibraryEntry {
    /// It is of a state that its file has no more, whatever that is.
    pub(super) fn forget_state(&mut self) {
        (self.fingerprint, self.content) = (FileFingerprint::UNKNOWN, None);
    }

    /// The whole of a file of which no more is known.
    pub fn new(path: impl Into<PathBuf>, kind: MediaKind, fingerprint: FileFingerprint) -> Self {
        Self {
            path: path.into(),
            kind,
            time_range: None,
            fingerprint,
            content: None,
            captured_seconds: None,
            width: None,
            height: None,
        }
    }
}

with_fields!(LibraryEntry {
    with_time_range(time_range: Option<TimeRange>),
    with_content(content: Option<ContentHash>),
    with_captured_seconds(captured_seconds: Option<i64>),
    with_width(width: Option<u32>),
    with_height(height: Option<u32>),
});

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

/// Where a row was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    /// The number of the segment.
    pub(super) sequence: u64,
    /// The number of the row in it.
    pub(super) row: usize,
}

/// Which rows count, given all rows ever written in the order they were written, and where they were read.
///
/// A file's rows are those made from its newest state, which is the state of its last row. Of two rows for
/// the same state and time range the later counts. `forgotten` has the files that a segment has forgotten,
/// with its number: their rows in earlier segments do not count. Gives back which rows count, and of how many
/// files they are.
pub(super) fn live_rows(
    entries: &[LibraryEntry],
    places: &[Place],
    forgotten: &HashMap<&Path, u64>,
) -> (Vec<bool>, usize) {
    let range = |row: usize| entries[row].time_range.map(TimeRange::to_bits);
    // Of each file its last row, and by that the ranges of others that are live.
    let mut files: HashMap<&OsStr, usize> = HashMap::with_capacity(entries.len());
    let mut others: HashSet<(usize, Option<RangeBits>)> = HashSet::new();
    let mut live = vec![false; entries.len()];
    for (row, (entry, place)) in entries.iter().zip(places).enumerate().rev() {
        if forgotten.get(entry.path.as_path()).is_some_and(|by| place.sequence < *by) {
            continue;
        }
        let last = *files.entry(entry.path.as_os_str()).or_insert(row);
        let mut is_another = || range(last) != range(row) && others.insert((last, range(row)));
        live[row] = row == last || (entries[last].fingerprint == entry.fingerprint && is_another());
    }
    (live, files.len())
}

/// The bounds of a range, as they are compared.
type RangeBits = [Option<u64>; 2];

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
        let row = |path: &str, start: Option<f64>, modified_nanoseconds| {
            let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds };
            LibraryEntry::new(path, MediaKind::Video, fingerprint)
                .with_time_range(start.map(|start| TimeRange::between(start, start + 1.0)))
        };
        let cases = [
            (vec![], vec![], 0),
            (vec![row("a", None, 1), row("b", None, 1)], vec![true, true], 2),
            // A changed file: all rows of the old state go, whatever their ranges.
            (
                vec![row("a", Some(0.0), 1), row("a", Some(1.0), 1), row("a", Some(0.0), 2)],
                vec![false, false, true],
                1,
            ),
            // Written twice, as when a compaction was cut off between its two steps.
            (
                vec![row("a", Some(0.0), 1), row("a", Some(1.0), 1), row("a", Some(0.0), 1)],
                vec![false, true, true],
                1,
            ),
            // Back to an earlier state: the order of writing counts, not the time in the file system.
            (vec![row("a", None, 2), row("a", None, 1)], vec![false, true], 1),
        ];
        for (entries, live, files) in cases {
            let places = vec![Place { sequence: 1, row: 0 }; entries.len()];
            let found = live_rows(&entries, &places, &HashMap::new());
            assert_eq!(found, (live, files), "{entries:?}");
        }
    }

    #[test]
    fn files_are_forgotten_up_to_the_segment_that_says_so() {
        let row = |path: &str, modified_nanoseconds| {
            let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds };
            LibraryEntry::new(path, MediaKind::Image, fingerprint)
        };
        // Segment 3 forgets `a` and has rows of it all the same.
        let entries = [row("a", 1), row("b", 1), row("a", 2), row("a", 1), row("b", 1)];
        let places = [1, 1, 2, 3, 4].map(|sequence| Place { sequence, row: 0 });
        let live = |forgotten: &[(&str, u64)]| {
            let forgotten = forgotten.iter().map(|(path, by)| (Path::new(*path), *by)).collect();
            live_rows(&entries, &places, &forgotten).0
        };
        assert_eq!(live(&[]), [false, false, false, true, true]);
        assert_eq!(live(&[("a", 3)]), [false, false, false, true, true]);
        assert_eq!(live(&[("a", 4), ("b", 4)]), [false, false, false, false, true]);
        assert_eq!(live(&[("b", 5)]), [false, false, false, true, false]);
        assert_eq!(live(&[("a", 9), ("b", 9)]), [false; 5]);
    }
}
