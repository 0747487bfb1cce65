use candle_core::{Device, Result, Tensor};

use super::cpu::{hold, kernel};
use crate::model::ModelError;
use crate::model::kernels;
use crate::model::loader::Loader;

/// Root-mean-square norm over the last dimension, scaled by a learned weight.
pub(in crate::model) struct RmsNorm {
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        width: usize,
        eps: f64,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self { weight: loader.activation("weight", &[width])?, eps: eps as f32 })
    }

    /// Shape is kept.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            let mut y = vec![0.0; x.elem_count()];
            kernels::rms_norm(hold(x).f32()?, hold(&self.weight).f32()?, self.eps, &mut y).map_err(kernel)?;
            return Tensor::from_vec(y, x.shape(), &Device::Cpu);
        }
        candle_nn::ops::rms_norm(x, &self.weight, self.eps)
    }
}
