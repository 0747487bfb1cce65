use candle_core::{DType, Device, Tensor};

use super::{Checkpoint, ModelError};

/// Precision of weights and of activations. They differ on the CPU, where activations are f32
/// whatever the weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    pub(super) weights: DType,
    pub(super) activations: DType,
}

/// A place in a checkpoint, and how tensors are to be taken from it.
#[derive(Clone)]
pub(super) struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    precision: Precision,
    device: Device,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        prefix: &str,
        precision: Precision,
        device: &Device,
    ) -> Self {
        Self { checkpoint, prefix: prefix.to_owned(), precision, device: device.clone() }
    }

    /// The same, one name deeper.
    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}.{name}", self.prefix), ..self.clone() }
    }

    /// A matrix that activations are multiplied with.
    pub(super) fn weight(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.tensor(name, shape, self.precision.weights)
    }

    /// A tensor that is added to activations or scales them.
    pub(super) fn activation(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.tensor(name, shape, self.precision.activations)
    }

    fn tensor(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        self.checkpoint.tensor(&format!("{}.{name}", self.prefix), shape, dtype, &self.device)
    }
}
