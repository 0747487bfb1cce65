use std::path::PathBuf;

use crate::recipe::RecipeError;
use crate::store::IoError;

/// What can go wrong while loading a checkpoint or running the model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelError {
    /// Asked to stop; nothing was written.
    #[error("cancelled")]
    Cancelled,
    /// A file or folder of a checkpoint cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file that says how the model is used is at fault.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
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
    /// A file of an adapter is not what it should be.
    #[error("{}: {reason}", path.display())]
    Adapter {
        /// The file.
        path: PathBuf,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// Modules of an adapter that the model does not have.
    #[error(
        "{}: {bound} of the adapter's {total} modules are in this model; `{unbound}` is not: was it trained \
         for another model?",
        path.display()
    )]
    AdapterBinding {
        /// The adapter.
        path: PathBuf,
        /// Modules that found their weight.
        bound: usize,
        /// Modules in all.
        total: usize,
        /// The first that did not.
        unbound: String,
    },
    /// An adapter's module is in the model but has another shape there.
    #[error(
        "{}: the adapter changes `{tensor}` as {got:?}, the model has {expected:?}: was it trained for \
         another model?",
        path.display()
    )]
    AdapterShape {
        /// The adapter.
        path: PathBuf,
        /// The module.
        tensor: String,
        /// Shape of the model's weight.
        expected: Vec<usize>,
        /// Shape of the adapter's change.
        got: Vec<usize>,
    },
    /// Random weights of a family that is not made from nothing.
    #[error("models of this family are not made from nothing: start from a checkpoint that is trained")]
    Scratch,
    /// A reranker's scores come from a language head.
    #[error("{}: the model has no language head to score pairs with: {reason}", path.display())]
    NoHead {
        /// The model's directory.
        path: PathBuf,
        /// Why, or what is missing.
        reason: &'static str,
    },
    /// A family that does not compute sequences behind others.
    #[error("models of this family score no pairs")]
    NoPrefix,
    /// The batch handed to the model contradicts itself.
    #[error("malformed batch: {0}")]
    Batch(String),
    /// The weights do not fit into memory.
    #[error("{}: {reason}", path.display())]
    Memory {
        /// The model's directory.
        path: PathBuf,
        /// How much is needed and available, and what would fit.
        reason: String,
    },
    /// A tensor operation failed: out of memory, an unsupported device, ...
    #[error("tensor operation failed: {0}")]
    Tensor(candle_core::Error),
}

// Not derived, which would make it a source besides.
impl From<candle_core::Error> for ModelError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensor(error)
    }
}
