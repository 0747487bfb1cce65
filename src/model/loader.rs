use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::adapter::{Folding, LoraAdapter, ModuleNames};
use super::kernels::{Floats, Int8Matrix, Products};
use super::ops::Lora;
use super::trainable::{Parameters, Recorder, Trainable};
use super::{Checkpoint, ModelError, WeightPrecision, memory};
use crate::device::available_memory;

/// Precision of weights and of activations. They differ on the CPU, where activations are f32
/// whatever the weights are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Precision {
    pub(super) weights: WeightPrecision,
    pub(super) activations: DType,
    /// Whether the checkpoint has linear layers in int8.
    has_int8: bool,
}

impl Precision {
    /// How activations are multiplied with each other on the CPU.
    pub(super) fn between_activations(self) -> Products {
        match self.weights {
            WeightPrecision::As(dtype) if dtype != DType::BF16 => Products::Exact,
            _ => self.products(),
        }
    }

    /// What half-precision weights are multiplied with.
    fn products(self) -> Products {
        match self.weights {
            // What is stored in int8 is used as what is rounded to it.
            WeightPrecision::Stored if !self.has_int8 => Products::Exact,
            _ => Products::Rounded,
        }
    }
}

/// What is done to tensors on their way into the model.
#[derive(Clone, Copy)]
struct Changes<'a> {
    /// An adapter to add to the weights it was trained for.
    folding: Option<&'a Folding<'a>>,
    /// Takes down what is to be trained.
    recorder: Option<&'a Recorder>,
}

impl Changes<'_> {
    /// Whether the checkpoint's tensor `name` is changed in f32.
    fn widens(&self, name: &str) -> bool {
        self.folding.is_some_and(|folding| folding.changes(name))
            || self.recorder.is_some_and(|recorder| recorder.trains(name))
    }
}

/// The weights of a checkpoint, and how they are to be taken from it.
pub(crate) struct Weights<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) precision: Precision,
    pub(super) device: &'a Device,
    changes: Changes<'a>,
}

impl<'a> Weights<'a> {
    /// Those whose names begin with `prefix`.
    pub(super) fn at(&self, prefix: &str) -> Loader<'a> {
        Loader {
            checkpoint: self.checkpoint,
            prefix: prefix.to_owned(),
            precision: self.precision,
            device: self.device.clone(),
            changes: self.changes,
        }
    }
}

/// What `load` makes of the weights in `model_dir` as `weights`. On the CPU activations are f32; elsewhere
/// they are as weights are.
fn load_changed<T>(
    model_dir: &Path,
    weights: WeightPrecision,
    device: &Device,
    changes: Changes<'_>,
    load: impl FnOnce(&Weights<'_>) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    let checkpoint = Checkpoint::open(model_dir)?;
    let activations = if device.is_cpu() { DType::F32 } else { weights.arithmetic() };
    if device.is_cpu() {
        let widened = |name: &str| changes.widens(name);
        memory::require(&checkpoint, weights, &widened, available_memory())?;
    }
    let precision = Precision { weights, activations, has_int8: checkpoint.has_int8() };
    load(&Weights { checkpoint: &checkpoint, precision, device, changes })
}

/// What `load` makes of the weights in `model_dir`, with `adapter` folded in before they are rounded to
/// `weights`.
pub(super) fn load_folded<T>(
    model_dir: &Path,
    weights: WeightPrecision,
    device: &Device,
    adapter: Option<&LoraAdapter>,
    load: impl FnOnce(&Weights<'_>) -> Result<T, ModelError>,
) -> Result<T, ModelError> {
    let folding = adapter.map(Folding::new);
    let changes = Changes { folding: folding.as_ref(), recorder: None };
    let model = load_changed(model_dir, weights, device, changes, load)?;
    if let Some(folding) = &folding {
        folding.require_embedding_bound()?;
    }
    Ok(model)
}

/// What `load` makes of the weights in `model_dir`, with what `trainable` says made trainable; also what is
/// trained, by name.
pub(super) fn load_trained<T>(
    model_dir: &Path,
    weights: WeightPrecision,
    device: &Device,
    trainable: Trainable,
    names: ModuleNames,
    load: impl FnOnce(&Weights<'_>) -> Result<T, ModelError>,
) -> Result<(T, Parameters), ModelError> {
    let recorder = Recorder::new(trainable, names);
    let changes = Changes { folding: None, recorder: Some(&recorder) };
    let model = load_changed(model_dir, weights, device, changes, load)?;
    Ok((model, recorder.into_parameters()))
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
    /// The same, one name deeper.
    pub(super) fn at(&self, name: impl std::fmt::Display) -> Self {
        Self { prefix: format!("{}.{name}", self.prefix), ..self.clone() }
    }

    /// A matrix that activations are multiplied with.
    pub(super) fn weight(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        let dtype = match self.precision.weights {
            WeightPrecision::As(dtype) => Some(dtype),
            WeightPrecision::Stored | WeightPrecision::Int8 => None,
        };
        self.tensor(name, shape, dtype)
    }

    /// A tensor that is added to activations or scales them.
    pub(super) fn activation(&self, name: &str, shape: &[usize]) -> Result<Tensor, ModelError> {
        self.tensor(name, shape, Some(self.precision.activations))
    }

    /// What half-precision weights are multiplied with.
    pub(super) fn products(&self) -> Products {
        self.precision.products()
    }

    /// Whether the linear layer whose weights are `name` holds them in int8 unless they are trained.
    pub(super) fn rounds_to_int8(&self, name: &str) -> bool {
        match self.precision.weights {
            WeightPrecision::Int8 => true,
            WeightPrecision::Stored => self.checkpoint.is_int8(&self.full(name)),
            WeightPrecision::As(_) => false,
        }
    }

    /// The weights of a linear layer, where they are stored in int8 and stay as they are.
    pub(super) fn int8(&self, name: &str, shape: &[usize]) -> Result<Option<Int8Matrix>, ModelError> {
        let full = self.full(name);
        if self.is_changed(&full) || !self.rounds_to_int8(name) || !self.checkpoint.is_int8(&full) {
            return Ok(None);
        }
        self.checkpoint.int8(&full, shape).map(Some)
    }

    /// What `make` makes of a matrix that activations are multiplied with as the checkpoint stores it, and of the type
    /// that it is to have: on the CPU, where the values are floats and stay what they are.
    pub(super) fn stored<T>(
        &self,
        name: &str,
        shape: &[usize],
        make: impl FnOnce(Floats<'_>, DType) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let full = self.full(name);
        if self.is_changed(&full) || !self.device.is_cpu() {
            return Ok(None);
        }
        let dtype = match self.precision.weights {
            WeightPrecision::As(dtype) => Some(dtype),
            WeightPrecision::Stored | WeightPrecision::Int8 => self.checkpoint.stored_as(&full),
        };
        let made =
            self.checkpoint.floats(&full, shape, |floats| make(floats, dtype.unwrap_or(DType::F32)))?;
        Ok(made.flatten())
    }

    /// Whether a tensor may become something else than the checkpoint has, on loading or afterwards.
    fn is_changed(&self, full: &str) -> bool {
        self.is_trained() || self.changes.folding.is_some_and(|folding| folding.changes(full))
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.prefix)
    }

    /// How activations are multiplied with each other on the CPU.
    pub(super) fn between_activations(&self) -> Products {
        self.precision.between_activations()
    }

    /// The adapter to be trained on the linear layer at this place, whose weights are `weight`, where there is to
    /// be one.
    pub(super) fn lora(&self, weight: &Tensor) -> Result<Option<Lora>, ModelError> {
        match self.changes.recorder {
            Some(recorder) => Ok(recorder.lora(&self.prefix, weight)?),
            None => Ok(None),
        }
    }

    /// Whether the model is loaded to be trained, in whatever part.
    pub(super) fn is_trained(&self) -> bool {
        self.changes.recorder.is_some()
    }

    /// Whether anything of what was loaded from this place on is trained.
    pub(super) fn trains(&self) -> bool {
        self.changes.recorder.is_some_and(|recorder| recorder.trains_in(&self.prefix))
    }

    /// A tensor as `dtype`, or else as it is stored; what is changed is f32 then.
    fn tensor(&self, name: &str, shape: &[usize], dtype: Option<DType>) -> Result<Tensor, ModelError> {
        let full = self.full(name);
        let load = |dtype| self.checkpoint.tensor(&full, shape, dtype, &self.device);
        if let Some(recorder) = self.changes.recorder
            && recorder.trains(&full)
        {
            // Updates are far smaller than the steps of a half-precision weight.
            return Ok(recorder.own(&full, &load(DType::F32)?)?);
        }
        let folded = match self.changes.folding {
            Some(folding) => folding.fold(&full, shape, &self.device, load)?,
            None => None,
        };
        match folded {
            Some(folded) => Ok(folded.to_dtype(dtype.unwrap_or(DType::F32))?),
            None => load(dtype.or_else(|| self.checkpoint.stored_as(&full)).unwrap_or(DType::F32)),
        }
    }
}
