use std::io;
use std::path::{Path, PathBuf};

use crate::video::VideoError;

/// What can go wrong in writing a world. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A picture cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Image {
        /// What was to be written.
        path: PathBuf,
        /// Why not.
        source: image::ImageError,
    },
    /// A video cannot be written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// The directory holds something else.
    #[error("{}: holds {got}, not {expected}; choose another directory or remove this one", path.display())]
    OtherRun {
        /// The file that says what the directory holds.
        path: PathBuf,
        /// What was asked for.
        expected: String,
        /// What is there.
        got: String,
    },
    /// A pair does not say what it should.
    #[error("cannot write a pair to {}: {reason}", path.display())]
    Pair {
        /// The file of pairs.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The work was cancelled. What was finished is kept.
    #[error("cancelled")]
    Cancelled,
}

impl WorldError {
    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Write { path: path.to_owned(), source }
    }
}
