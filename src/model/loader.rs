use candle_core::{DType, Device, Tensor};

use super::adapter::Folding;
use super::kernels::Products;
use super::ops::Lora;
use super::trainable::Recorder;
use super::{Checkpoint, ModelError};

/// The precision of weights in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightPrecision {
    /// This one. On processors that multiply bf16, activations that meet bf16 weights are rounded to bf16.
    As(DType),
    /// Each tensor as its file has it, and everything is computed in f32: the results are those of weights in f32, in the memory of the file. For the
    /// CPU only.
    Stored,
}

impl From<DType> for WeightPrecision {
    fn from(dtype: DType) -> Self {
        Self::As(dtype)
    }
}

/// That of a setting on the CPU.
impl From<crate::DType> for WeightPrecision {
    fn from(dtype: crate::DType) -> Self {
        dtype.weights_on(&Device::Cpu)
    }
}

impl WeightPrecision {
    /// The precision that results have.
    pub(super) fn arithmetic(self) -> DType {
        match self {
            Self::As(dtype) => dtype,
            Self::Stored => DType::F32,
        }
    }
}

/// Precision of weights and of activations. They differ on the CPU, where activations are f32
/// whatever the weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    pub(super) weights: WeightPrecision,
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

impl Changes<'_> {
    /// Whether the checkpoint's tensor `name` is changed in f32.
    pub(super) fn widens(&self, name: &str) -> bool {
        let is_adapted =
            |folding: &Folding<'_>| name.strip_suffix(".weight").is_some_and(|module| folding.adapts(module));
        self.folding.is_some_and(is_adapted) || self.recorder.is_some_and(|recorder| recorder.trains(name))
    }
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
        let dtype = match self.precision.weights {
            WeightPrecision::As(dtype) => Some(dtype),
            WeightPrecision::Stored => None,
        };
        self.tensor(name, shape, dtype)
    }

    /// A tensor that is added to activations or scales them.
    pub(super) fn activation(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.tensor(name, shape, Some(self.precision.activations))
    }

    /// What half-precision weights are multiplied with.
    pub(super) fn products(&self) -> Products {
        match self.precision.weights {
            WeightPrecision::As(_) => Products::Rounded,
            WeightPrecision::Stored => Products::Exact,
        }
    }

    /// The adapter to be trained on the linear layer at this place, where there is to be one.
    pub(super) fn lora(&self, inputs: usize, outputs: usize) -> Result<Option<Lora>, ModelError> {
        match self.changes.recorder {
            Some(recorder) => Ok(recorder.lora(&self.prefix, inputs, outputs, &self.device)?),
            None => Ok(None),
        }
    }

    /// A tensor as `dtype`, or else as it is stored; what is changed is f32 then.
    fn tensor(&self, name: &str, shape: &[usize], dtype: Option<DType>) -> Result<Tensor, ModelError> {
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
            Some(delta) => Ok((load(DType::F32)? + delta)?.to_dtype(dtype.unwrap_or(DType::F32))?),
            None => load(dtype.or_else(|| self.checkpoint.stored_as(&full)).unwrap_or(DType::F32)),
        }
    }
}
