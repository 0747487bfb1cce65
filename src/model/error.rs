use std::path::PathBuf;

/// What can go wrong while loading a checkpoint or running the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// A file of the checkpoint cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// `config.json` does not describe a model this crate runs.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A safetensors file or its index is damaged.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint lacks a tensor the configuration asks for.
    #[error("{}: the checkpoint has no tensor `{tensor}` (expected shape {expected:?})", path.display())]
    MissingTensor {
        /// The checkpoint's directory.
        path: PathBuf,
        /// The tensor's name in the checkpoint's own layout.
        tensor: String,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor's shape disagrees with the configuration.
    #[error("{}: tensor `{tensor}` has shape {got:?}, config.json asks for {expected:?}", path.display())]
    Shape {
        /// The file that holds the tensor.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape found.
        got: Vec<usize>,
    },
    /// The batch handed to the model contradicts itself.
    #[error("malformed batch: {0}")]
    Batch(String),
    /// A tensor operation failed: out of memory, an unsupported device, ...
    #[error("tensor operation failed: {0}")]
    Tensor(#[from] candle_core::Error),
}
