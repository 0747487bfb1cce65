//! In which form the tensors of a checkpoint are written to a new one.

use candle_core::DType;
use safetensors::tensor::Dtype;
use serde_json::{Map, Value};

use super::Checkpoint;
use super::checkpoint::{StoredTensor, is_linear, scale_name};
use crate::settings_keys::INT8_STORAGE;

/// The form of a whole checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Storage {
    /// As it is.
    Kept,
    /// All values in floating point.
    Float(DType),
    /// Linear layers in 8-bit integers with a scale per output, all else as it is.
    Int8,
}

/// The form of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As it is.
    Kept,
    /// In floating point.
    Float(DType),
    /// The integers of a matrix.
    Int8,
    /// The scales that belong to them.
    Scales,
}

/// A tensor of the new checkpoint, and that of the old one which it is made of.
pub(super) struct Part<'a> {
    pub(super) stored: StoredTensor<'a>,
    pub(super) form: Form,
}

impl Storage {
    /// What a file of `checkpoint` that holds `tensors` becomes.
    pub(super) fn parts<'a>(self, checkpoint: &Checkpoint, tensors: Vec<StoredTensor<'a>>) -> Vec<Part<'a>> {
        let mut parts = Vec::with_capacity(tensors.len());
        let mut integers = Vec::new();
        for stored in tensors {
            let is_int8 = checkpoint.is_int8(&stored.name);
            let form = match self {
                Self::Float(_) if checkpoint.is_scale(&stored.name) => continue,
                Self::Float(dtype) if is_int8 || !stored.is_integer() => Form::Float(dtype),
                Self::Int8 if !stored.is_integer() && is_linear(&stored.name, &stored.shape) => {
                    integers.push(Part { stored: stored.clone(), form: Form::Int8 });
                    Form::Scales
                }
                _ => Form::Kept,
            };
            parts.push(Part { stored, form });
        }
        // Last, so that floats lie at multiples of their size.
        parts.extend(integers);
        parts
    }

    /// Writes it down in `config.json`.
    pub(super) fn tell(self, config: &mut Map<String, Value>) {
        const KEY: &str = "quantization_config";
        match self {
            Self::Kept => {}
            Self::Float(dtype) => {
                config.remove(KEY);
                // The key's name changed with transformers 4.56.
                let key = if config.contains_key("dtype") { "dtype" } else { "torch_dtype" };
                let name = match dtype {
                    DType::BF16 => "bfloat16",
                    DType::F16 => "float16",
                    _ => "float32",
                };
                config.insert(key.to_owned(), name.into());
            }
            Self::Int8 => {
                config.insert(KEY.to_owned(), serde_json::from_str(INT8_STORAGE).unwrap_or_default());
            }
        }
    }
}

impl Part<'_> {
    /// Name, type and shape of the tensor.
    pub(super) fn described(&self) -> (String, Dtype, Vec<usize>) {
        let Self { stored, form } = self;
        let (name, shape) = (stored.name.clone(), stored.shape.clone());
        match form {
            Form::Kept => (name, stored.stored, shape),
            Form::Float(DType::BF16) => (name, Dtype::BF16, shape),
            Form::Float(DType::F16) => (name, Dtype::F16, shape),
            Form::Float(_) => (name, Dtype::F32, shape),
            Form::Int8 => (name, Dtype::I8, shape),
            Form::Scales => (scale_name(&name), Dtype::F32, vec![shape[0], 1]),
        }
    }
}
