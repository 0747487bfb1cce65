use std::path::PathBuf;

use crate::store::IoError;

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
    #[error(transparent)]
    Io(#[from] IoError),
}
