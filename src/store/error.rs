use std::io;
use std::path::PathBuf;

/// What could not be done with a file or folder, and why. Displays as one line, and its reason is no
/// [source](std::error::Error::source) besides: whoever prints a chain of errors says it once.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {}: {reason}", path.display())]
#[non_exhaustive]
pub struct IoError {
    /// What was tried, as a verb.
    pub what: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's reason.
    pub reason: io::Error,
}

impl IoError {
    /// For `map_err`: trying `what` on `path` failed.
    pub fn of(what: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |reason| Self { what, path, reason }
    }

    /// The kind of failure.
    pub fn kind(&self) -> io::ErrorKind {
        self.reason.kind()
    }
}
