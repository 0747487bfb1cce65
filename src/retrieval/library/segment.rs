//! The segments of a library: Parquet files that are written once and never changed, named by a rising
//! number.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::iter::once;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::retrieval::RetrievalError;
use crate::store::{IoError, is_temporary, limited_file, rename, write_file};

const EXTENSION: &str = ".parquet";
/// What the codes of a segment end in instead.
const CODES: &str = "codes";
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
            // One name for each number.
            let segment = Self::number_of(&path).map(|sequence| Self::new(directory, sequence));
            segments.extend(segment.filter(|segment| segment.path == path));
        }
        segments.sort_by(|a, b| (a.sequence, &a.path).cmp(&(b.sequence, &b.path)));
        Ok(segments)
    }

    /// The number that a segment file is named by.
    pub(super) fn number_of(path: &Path) -> Option<u64> {
        path.file_name()?.to_str()?.strip_suffix(EXTENSION).and_then(number)
    }

    /// Removes what a killed writer left half-written, and codes of segments that are gone. Only for the
    /// holder of the lock.
    pub(super) fn remove_temporary_files(directory: &Path) -> Result<(), RetrievalError> {
        for path in file_paths(directory)? {
            let is_orphan = path.extension().is_some_and(|extension| extension == CODES)
                && matches!(path.with_extension(&EXTENSION[1..]).try_exists(), Ok(false));
            if is_temporary(&path) || is_orphan {
                match fs::remove_file(&path) {
                    // A reader that keeps codes was faster.
                    Err(error) if error.kind() != ErrorKind::NotFound => {
                        return Err(IoError::of("remove", &path)(error).into());
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Where its codes lie: beside it.
    pub(super) fn codes(&self) -> PathBuf {
        self.path.with_extension(CODES)
    }

    /// Has its codes made anew, and for that all of it read.
    pub(super) fn remove_codes(&self) -> io::Result<()> {
        match fs::remove_file(self.codes()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&self) -> Result<(), RetrievalError> {
        self.remove_codes().map_err(IoError::of("remove", self.codes()))?;
        Ok(fs::remove_file(&self.path).map_err(IoError::of("remove", &self.path))?)
    }

    /// Takes a damaged segment out of the library without deleting it.
    pub(super) fn set_aside(&self) -> Result<(), RetrievalError> {
        self.remove_codes().map_err(IoError::of("remove", self.codes()))?;
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
                let got: String = String::from_utf8_lossy(&text).trim_end().chars().take(24).collect();
                let reason = format!("expected the number of a segment, got {got:?}");
                RetrievalError::DamagedNewest { path, reason }
            })
        }
        Err(error) if error.kind() == ErrorKind::FileTooLarge => {
            Err(RetrievalError::DamagedNewest { path, reason: error.to_string() })
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        Err(error) => Err(IoError::of("read", path)(error).into()),
    }
}

/// Writes down that a segment is there.
pub(super) fn set_newest(library: &Path, sequence: u64) -> Result<(), RetrievalError> {
    Ok(write_file(library.join(NEWEST_FILE), |file| writeln!(file, "{sequence}"))?)
}

/// The older segments whose rows that count are in a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Replaced {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Replaced {
    /// All up to this one.
    pub(super) fn through(last: u64) -> Self {
        Self { first: 1, last }
    }

    pub(super) fn contains(self, sequence: u64) -> bool {
        (self.first..=self.last).contains(&sequence)
    }

    /// As it stands in the metadata of segment number `by`: the last, or the first and the last.
    pub(super) fn parse(text: &str, by: u64) -> Option<Self> {
        let (first, last) = text.split_once("..").unwrap_or(("1", text));
        let replaced = Self { first: first.parse().ok()?, last: last.parse().ok()? };
        ((1..=replaced.last).contains(&replaced.first) && replaced.last < by).then_some(replaced)
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if *first == 1 { write!(f, "{last}") } else { write!(f, "{first}..{last}") }
    }
}

/// The numbers behind `after`, up to `newest` or the last that is accounted for, that are not among the
/// stretches that are.
pub(super) fn gaps(mut accounted: Vec<Replaced>, after: u64, newest: u64) -> Vec<RangeInclusive<u64>> {
    accounted.sort_by_key(|stretch| stretch.first);
    let (mut next, mut gaps) = (after + 1, Vec::new());
    for Replaced { first, last } in
        accounted.into_iter().chain(once(Replaced { first: newest + 1, last: newest + 1 }))
    {
        if first > next {
            gaps.push(next..=first - 1);
        }
        next = next.max(last + 1);
    }
    gaps
}

fn file_paths(directory: &Path) -> Result<Vec<PathBuf>, RetrievalError> {
    let list = || fs::read_dir(directory)?.map(|item| item.map(|i| i.path())).collect::<io::Result<Vec<_>>>();
    Ok(list().map_err(IoError::of("list", directory))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_nothing_accounts_for_are_gaps() {
        let gaps_of = |accounted: &[(u64, u64)], after, newest| {
            let accounted = accounted.iter().map(|&(first, last)| Replaced { first, last }).collect();
            gaps(accounted, after, newest)
        };
        assert_eq!(gaps_of(&[], 0, 0), []);
        assert_eq!(gaps_of(&[], 0, 2), [1..=2]);
        assert_eq!(gaps_of(&[(1, 1), (3, 3)], 0, 4), [2..=2, 4..=4]);
        assert_eq!(gaps_of(&[(9, 9), (1, 8)], 0, 9), []);
        assert_eq!(gaps_of(&[(9, 9), (3, 8), (1, 1)], 0, 9), [2..=2]);
        assert_eq!(gaps_of(&[(9, 9), (3, 8), (4, 5)], 2, 9), []);
    }

    #[test]
    fn what_is_replaced_comes_back_and_lies_before() {
        for replaced in [Replaced::through(7), Replaced { first: 3, last: 7 }] {
            assert_eq!(Replaced::parse(&replaced.to_string(), 8), Some(replaced));
            assert_eq!(Replaced::parse(&replaced.to_string(), 7), None);
        }
        assert_eq!(Replaced::through(7).to_string(), "7", "as releases of before have it");
        for text in ["", "..", "7..3", "0..3", "x", "3..", "-1"] {
            assert_eq!(Replaced::parse(text, 9), None, "{text}");
        }
    }
}
