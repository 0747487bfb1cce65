use std::path::PathBuf;

use crate::store::IoError;

/// Why nothing could be imported. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file that cannot be read on, as a whole.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A setting that is needed, or makes no sense.
    #[error("{place}: {reason}")]
    Setting {
        /// The row that needs it, or the setting.
        place: String,
        /// What is needed.
        reason: String,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Somebody asked to stop.
    #[error("stopped on request")]
    Cancelled,
}

/// A name that is no format.
#[derive(Debug, thiserror::Error)]
#[error("no format is called `{name}`: expected {known}")]
pub struct UnknownFormat {
    /// The name.
    pub name: String,
    /// Those there are.
    pub known: String,
}

/// What ends the reading of a row.
pub(super) enum Fault {
    /// The row is no pair; others go on.
    Row(String),
    /// Nothing goes on.
    All(ImportError),
}

impl From<String> for Fault {
    fn from(reason: String) -> Self {
        Self::Row(reason)
    }
}

/// What ends the reading of files.
pub(super) enum Halt {
    /// As many pairs as were wanted.
    Enough,
    /// Nothing goes on.
    Failed(ImportError),
}

impl<E: Into<ImportError>> From<E> for Halt {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
