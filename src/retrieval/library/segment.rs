//! The segments of a library: Parquet files that are written once and never changed, named by a rising
//! number.

use std::fs;
use std::io::{ErrorKind, Write};
use std::iter::once;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::retrieval::RetrievalError;
use crate::store::{IoError, is_temporary, limited_file, rename, write_file};

const EXTENSION: &str = ".parquet";
/// What the name of a damaged segment gets when what is good in it has been written anew.
const DAMAGED_SUFFIX: &str = ".damaged";
/// Digits of a segment's number, at most: there is always a next one.
const MAX_DIGITS: usize = 18;
/// In the library's directory: the number of the newest segment, which nothing else would tell of once it is
/// gone. Libraries of before have none.
const NEWEST_FILE: &str = "library.newest";

/// A segment file in the directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(directory: &Path, sequence: u64) -> Self {
        Self { sequence, path: directory.join(format!("{sequence:08}{EXTENSION}")) }
    }

    /// The segments of a directory, oldest first. Files that are still being written do not count.
    pub(super) fn list(directory: &Path) -> Result<Vec<Self>, RetrievalError> {
        let mut segments = Vec::new();
        for path in file_paths(directory)? {
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(EXTENSION));
            if let Some(sequence) = name.and_then(number) {
                segments.push(Self { sequence, path });
            }
        }
        segments.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
        Ok(segments)
    }

    /// Removes what a killed writer left half-written. Only for the holder of the lock.
    pub(super) fn remove_temporary_files(directory: &Path) -> Result<(), RetrievalError> {
        for path in file_paths(directory)? {
            if is_temporary(&path) {
                fs::remove_file(&path).map_err(IoError::of("remove", &path))?;
            }
        }
        Ok(())
    }

    pub(super) fn remove(&self) -> Result<(), RetrievalError> {
        Ok(fs::remove_file(&self.path).map_err(IoError::of("remove", &self.path))?)
    }

    /// Takes a damaged segment out of the library without deleting it.
    pub(super) fn set_aside(&self) -> Result<(), RetrievalError> {
        let mut name = self.path.clone().into_os_string();
        name.push(DAMAGED_SUFFIX);
        Ok(rename(&self.path, Path::new(&name))?)
    }
}

fn number(text: &str) -> Option<u64> {
    let is_number = text.len() <= MAX_DIGITS && text.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| text.parse().ok()).flatten()
}

/// The number of the newest segment that was ever written, as far as is known.
pub(super) fn newest(library: &Path) -> Result<u64, RetrievalError> {
    let path = library.join(NEWEST_FILE);
    match limited_file::read(&path, 1 << 10) {
        Ok(text) => {
            std::str::from_utf8(&text).ok().and_then(|text| number(text.trim_end())).ok_or_else(|| {
                let reason = "it holds no number of a segment".to_owned();
                RetrievalError::DamagedSegment { path, reason }
            })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(IoError::of("read", path)(error).into()),
    }
}

/// Writes down that a segment is there.
pub(super) fn set_newest(library: &Path, sequence: u64) -> Result<(), RetrievalError> {
    Ok(write_file(library.join(NEWEST_FILE), |file| writeln!(file, "{sequence}"))?)
}

/// The numbers behind `after`, up to `newest` or the last of `present`, that are not among `present`, which
/// rises.
pub(super) fn gaps(present: impl Iterator<Item = u64>, after: u64, newest: u64) -> Vec<RangeInclusive<u64>> {
    let (mut next, mut gaps) = (after + 1, Vec::new());
    for sequence in present.chain(once(newest + 1)) {
        if sequence > next {
            gaps.push(next..=sequence - 1);
        }
        next = next.max(sequence + 1);
    }
    gaps
}

fn file_paths(directory: &Path) -> Result<Vec<PathBuf>, RetrievalError> {
    let list =
        || fs::read_dir(directory)?.map(|item| item.map(|i| i.path())).collect::<std::io::Result<Vec<_>>>();
    Ok(list().map_err(IoError::of("list", directory))?)
}
