use std::path::{Path, PathBuf};

/// What can be wrong with files of pairs. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PairsError {
    /// A line that is no pair, or names what cannot be used.
    #[error("{}:{line}: {reason}", path.display())]
    Pair {
        /// The file of pairs.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The files hold nothing to train on.
    #[error("no training pairs in {0}")]
    NoPairs(String),
    /// Nobody has counted that many pairs.
    #[error("there is no pair {row} of task {task}")]
    NoSuchPair {
        /// The task, in the order of [`PairIndex::tasks`](super::PairIndex::tasks).
        task: usize,
        /// The pair, from 0.
        row: usize,
    },
    /// A file could not be read.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried, as a verb.
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
}

impl PairsError {
    /// Wraps an I/O error with what was tried on which path.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, action, source }
    }
}
