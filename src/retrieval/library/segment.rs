//! The segments of a library: Parquet files that are written once and never changed, named by a rising
//! number.

use std::fs;
use std::path::{Path, PathBuf};

use crate::retrieval::RetrievalError;
use crate::store::{IoError, is_temporary, rename};

const EXTENSION: &str = ".parquet";
/// What the name of a damaged segment gets when what is good in it has been written anew.
const DAMAGED_SUFFIX: &str = ".damaged";
/// Digits of a segment's number, at most: there is always a next one.
const MAX_DIGITS: usize = 18;

/// A segment file in the directory.
#[derive(Debug, Clone)]
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
            let digits = name.filter(|n| n.len() <= MAX_DIGITS && n.bytes().all(|b| b.is_ascii_digit()));
            if let Some(sequence) = digits.and_then(|n| n.parse().ok()) {
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

fn file_paths(directory: &Path) -> Result<Vec<PathBuf>, RetrievalError> {
    let list =
        || fs::read_dir(directory)?.map(|item| item.map(|i| i.path())).collect::<std::io::Result<Vec<_>>>();
    Ok(list().map_err(IoError::of("list", directory))?)
}
