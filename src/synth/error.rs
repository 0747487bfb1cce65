use std::path::PathBuf;

use crate::embedder::EmbedError;
use crate::retrieval::RetrievalError;
use crate::store::{Differences, IoError};
use crate::video::VideoError;

/// What can go wrong in making data. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SynthError {
    /// A setting that makes no sense.
    #[error("{setting} is {got}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        got: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file holds something else than it should.
    #[error("{}:{line}: {reason}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// The output folder belongs to a run with other settings or other videos.
    #[error(
        "{} belongs to another run ({}): give the same settings or another folder",
        path.display(), differences
    )]
    OtherRun {
        /// The folder.
        path: PathBuf,
        /// Each setting that differs, with both values.
        differences: Differences,
    },
    /// The output folder holds files that are no run's.
    #[error("{} holds files and no run.json: give another folder", path.display())]
    NotARun {
        /// The folder.
        path: PathBuf,
    },
    /// Another process works in the output folder.
    #[error("another process works in {}: wait for it to end", path.display())]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The chat endpoint is of no use: not there, not willing, or without sense.
    #[error("captioner {url}: {reason}")]
    Captioner {
        /// Its base URL.
        url: String,
        /// What it does instead of answering.
        reason: String,
    },
    /// A video cannot be written.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// Somebody asked to stop.
    #[error("stopped before the end")]
    Cancelled,
    /// Nothing can be embedded.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// The library of clips cannot be written or searched.
    #[error(transparent)]
    Retrieval(#[from] RetrievalError),
}
