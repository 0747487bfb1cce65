use crate::embedder::EmbedError;
use crate::model::ModelError;

/// What can go wrong in training. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// A setting that makes no sense.
    #[error("{setting} is {got}, expected {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        got: String,
    },
    /// A saved state that is of another model or of other settings.
    #[error("the saved state does not fit: {reason}")]
    State {
        /// What is missing, unknown or misshapen.
        reason: String,
    },
    /// Tensors that do not fit together.
    #[error("{0}")]
    Shape(String),
    /// A model cannot be loaded, run or written.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An input cannot be prepared, or the device cannot be used.
    #[error(transparent)]
    Embed(#[from] EmbedError),
    /// A tensor operation failed: out of memory, an unsupported device, ...
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}
