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
    /// A library that reads files panicked over this one.
    #[error("reading it panicked, which is a fault of a library: the file may be damaged")]
    Panicked,
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A video whose frames are so far apart that they cannot be laid beside those of others, as where a
    /// clock jumped.
    #[error(
        "it lasts {hours:.0} hours, expected at most {most:.0}: its clock may have jumped, which writing it anew mends"
    )]
    TooLong {
        /// How long it lasts.
        hours: f64,
        /// How long it may last.
        most: f64,
    },
}
