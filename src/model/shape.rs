use std::path::Path;

use super::ModelError;
use super::family;

/// What a model is, in numbers: for people to look at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ModelShape {
    /// Values in an embedding.
    pub dim: usize,
    /// What reads texts, and sequences of texts and pictures.
    pub text: TextShape,
    /// What reads pictures.
    pub vision: VisionShape,
}

/// Shape of what reads texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextShape {
    /// Layers.
    pub layers: usize,
    /// Attention heads of queries.
    pub heads: usize,
    /// Attention heads of keys and values.
    pub key_value_heads: usize,
    /// Tokens in the vocabulary.
    pub vocab: usize,
}

/// Shape of what reads pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VisionShape {
    /// Blocks.
    pub blocks: usize,
    /// Width.
    pub hidden: usize,
    /// Side of a patch in pixels.
    pub patch: usize,
    /// Side of an attention window in pixels, where not all of a frame attends to all of it.
    pub window: Option<usize>,
}

impl ModelShape {
    /// That of the model in `model_dir`, by its `config.json`.
    ///
    /// # Errors
    /// [`ModelError::Io`] without the file, [`ModelError::Config`] for a model type that is not built in or
    /// numbers that do not fit together.
    pub fn read(model_dir: &Path) -> Result<Self, ModelError> {
        Ok(family::open(model_dir)?.shape())
    }
}
