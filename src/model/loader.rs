use candle_core::{DType, Device, Tensor};

use super::adapter::Folding;
use super::ops::Lora;
use super::trainable::Recorder;
use super::{Checkpoint, ModelError};

/// Precision of weights and of activations. They differ on the CPU, where activations are f32
/// whatever the weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    pub(super) weights: DType,
    pub(super) activations: DType,
}

/// What is done to tensors on their way into the model.
#[derive(Clone, Copy, Default)]
pub(super) struct Changes<'a> {
    /// An adapter to add to the weights it was trained for.
    pub(super) folding: Option<&'a Folding<'a>>,
    /// Takes down what is to be trained.
    pub(super) recorder: Option<&'a Recorder>,
}

/// A place in a checkpoint, and how tensors are to be taken from it.
#[derive(Clone)]
pub(super) struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    prefix: String,
    precision: Precision,
    device: Device,
    changes: Changes<'a>,
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        prefix: &str,
        precision: Precision,
        device: &Device,
        changes: Changes<'a>,
    ) -> Self {
        Self { checkpoint, prefix: prefix.to_owned(), precision, device: device.clone(), changes }
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

    /// The adapter to be trained on the linear layer at this place, where there is to be one.
    pub(super) fn lora(&self, inputs: usize, outputs: usize) -> Result<Option<Lora>, ModelError> {
        match self.changes.recorder {
            Some(recorder) => Ok(recorder.lora(&self.prefix, inputs, outputs, &self.device)?),
            None => Ok(None),
        }
    }

    fn tensor(&self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor, ModelError> {
        let full = format!("{}.{name}", self.prefix);
        let load = |dtype| self.checkpoint.tensor(&full, shape, dtype, &self.device);
        if let Some(recorder) = self.changes.recorder
            && recorder.trains(&full)
        {
            // Updates are far smaller than the steps of a half-precision weight.
            return Ok(recorder.parameter(&full, &load(DType::F32)?)?);
        }
        let delta = match self.changes.folding {
            Some(folding) if name == "weight" => folding.delta(&self.prefix, shape, &self.device)?,
            _ => None,
        };
        match delta {
            Some(delta) => Ok((load(DType::F32)? + delta)?.to_dtype(dtype)?),
            None => load(dtype),
        }
    }
}
