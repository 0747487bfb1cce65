//! What indexing tells.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use super::IndexError;

/// Something that happened to one file during [`index`](super::index).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum IndexEvent {
    /// The library has it already, unchanged, or with nothing changed but its date.
    Unchanged(PathBuf),
    /// The library had what it holds under another path, where it is no more: its rows are of this path now.
    Moved {
        /// Where it was.
        from: PathBuf,
        /// Where it is.
        to: PathBuf,
    },
    /// The library has what it holds under another path as well: it has the same rows.
    Copied {
        /// The other.
        from: PathBuf,
        /// The file.
        to: PathBuf,
    },
    /// It is embedded and safe on disk; the strings are warnings about it.
    Done(PathBuf, Vec<String>),
    /// It could not be embedded or kept; everything else goes on.
    Failed(PathBuf, Arc<IndexError>),
    /// The library has it no more: it failed, and is no longer what it was when the library got it, or it is
    /// gone.
    Forgotten(PathBuf),
}

impl IndexEvent {
    pub(super) fn failed(path: PathBuf, error: impl Into<IndexError>) -> Self {
        Self::Failed(path, Arc::new(error.into()))
    }
}

/// How many files met which fate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct IndexTotals {
    /// Files that were embedded.
    pub added: usize,
    /// Files that the library had.
    pub unchanged: usize,
    /// Files that took over the rows of where they were.
    pub moved: usize,
    /// Files that have the rows of another as well.
    pub copied: usize,
    /// Files that could not be embedded or kept.
    pub failed: usize,
    /// Files that the library has no more; one that failed and is forgotten for that is counted twice.
    pub forgotten: usize,
}

impl IndexTotals {
    /// Counts what happened to a file.
    pub fn count(&mut self, event: &IndexEvent) {
        *match event {
            IndexEvent::Unchanged(_) => &mut self.unchanged,
            IndexEvent::Moved { .. } => &mut self.moved,
            IndexEvent::Copied { .. } => &mut self.copied,
            IndexEvent::Done(..) => &mut self.added,
            IndexEvent::Failed(..) => &mut self.failed,
            IndexEvent::Forgotten(_) => &mut self.forgotten,
        } += 1;
    }
}
