//! Linear layers stored in int8 as the library compressed-tensors does (`int-quantized`): `NAME` of (out, in)
//! and `NAME_scale` of (out, 1), by which a row is multiplied.

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, TensorInfo};

use super::{Checkpoint, Shard};
use crate::model::ModelError;
use crate::model::kernels::Int8Matrix;

const SCALE: &str = "_scale";

/// The name of the scales of the int8 matrix `name`.
pub(in crate::model) fn scale_name(name: &str) -> String {
    format!("{name}{SCALE}")
}

/// Whether the tensor of this name and shape is the matrix of a linear layer, and no table that rows are
/// looked up in. The head makes no embedding.
pub(in crate::model) fn is_linear(name: &str, shape: &[usize]) -> bool {
    shape.len() == 2 && name.ends_with(".weight") && !name.contains("embed") && !name.starts_with("lm_head.")
}

impl Checkpoint {
    /// Whether tensor `name` is a matrix in int8.
    pub(in crate::model) fn is_int8(&self, name: &str) -> bool {
        self.stored_type(name) == Some(Dtype::I8) && self.has(&scale_name(name))
    }

    /// Whether any matrix is.
    pub(in crate::model) fn has_int8(&self) -> bool {
        self.shard_of.keys().any(|name| self.is_int8(name))
    }

    /// Whether tensor `name` holds the scales of a matrix in int8.
    pub(in crate::model) fn is_scale(&self, name: &str) -> bool {
        name.strip_suffix(SCALE).is_some_and(|matrix| self.is_int8(matrix))
    }

    /// The matrix `name`, (out, in), which is stored in int8.
    ///
    /// # Errors
    /// As [`tensor`](Self::tensor).
    pub(in crate::model) fn int8(&self, name: &str, expected: &[usize]) -> Result<Int8Matrix, ModelError> {
        let (shard, info) = self.find(name, expected)?;
        self.int8_of(name, shard, info)
    }

    pub(super) fn int8_of(
        &self,
        name: &str,
        shard: &Shard,
        info: &TensorInfo,
    ) -> Result<Int8Matrix, ModelError> {
        let (&[outputs, inputs], Dtype::I8) = (&info.shape[..], info.dtype) else {
            return Err(shard.damaged(format!("tensor `{name}` is no matrix of 8-bit integers")));
        };
        let scales = self.tensor(&scale_name(name), &[outputs, 1], DType::F32, &Device::Cpu)?;
        let scales = scales.flatten_all()?.to_vec1::<f32>()?;
        let bytes = shard.bytes_of(name, info)?;
        let matrix = Int8Matrix::pack(inputs, outputs, |output, row| {
            let bytes = &bytes[output * inputs..(output + 1) * inputs];
            row.iter_mut().zip(bytes).for_each(|(value, byte)| *value = byte.cast_signed());
            scales[output]
        });
        shard.forget_pages(shard.data_start + info.data_offsets.0, shard.data_start + info.data_offsets.1);
        Ok(matrix)
    }

    /// The matrix `name` in floating point.
    pub(super) fn widened(
        &self,
        name: &str,
        shard: &Shard,
        info: &TensorInfo,
        device: &Device,
    ) -> Result<Tensor, ModelError> {
        let matrix = self.int8_of(name, shard, info)?;
        let inputs = info.shape[1];
        let mut values = vec![0.0; matrix.len()];
        for (output, row) in values.chunks_mut(inputs.max(1)).enumerate() {
            matrix.widen(output, 0, row);
        }
        Ok(Tensor::from_vec(values, &info.shape[..], device)?)
    }

    fn stored_type(&self, name: &str) -> Option<Dtype> {
        let shard = self.shards.get(*self.shard_of.get(name)?)?;
        Some(shard.metadata.info(name)?.dtype)
    }
}
