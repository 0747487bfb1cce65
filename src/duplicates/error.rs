use crate::preprocess::PreprocessError;
use crate::store::IoError;
use crate::video::VideoError;

/// Why no fingerprint could be had, or no comparison made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DuplicatesError {
    /// A video that cannot be read.
    #[error(transparent)]
    Video(#[from] VideoError),
    /// An image that cannot be read.
    #[error(transparent)]
    Image(#[from] PreprocessError),
    /// A file that is not there, or a cache that cannot be written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
}
