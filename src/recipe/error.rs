use std::path::PathBuf;

use super::Widths;
use crate::store::IoError;

/// What can go wrong while a recipe is looked for, or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecipeError {
    /// A file of recipes cannot be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file of recipes is not what it should be.
    #[error("{}{}: {reason}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<usize>,
        /// What is wrong, and what was expected.
        reason: String,
    },
    /// A name that no recipe has.
    #[error("there is no recipe {name:?}, neither built in nor in a --models-file: there are {known}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// Names that there are.
        known: String,
    },
    /// Embeddings do not have as many values, or none were asked for.
    #[error("embeddings of {width} values cannot be cut to {dim}")]
    Width {
        /// Values asked for.
        dim: usize,
        /// Values there are.
        width: usize,
    },
    /// A width that a model was not trained for.
    #[error(
        "recipe {recipe} was not trained to be cut to {dim} of its {width} values (widths it was trained for: {widths}); \
         to cut it all the same, set force_dim (--force-dim)"
    )]
    Untrained {
        /// The recipe's name.
        recipe: String,
        /// Values asked for.
        dim: usize,
        /// Values of the model.
        width: usize,
        /// What it was trained for besides.
        widths: Widths,
    },
}
