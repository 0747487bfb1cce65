use candle_core::{Result, Tensor};

use crate::model::loader::Loader;
use crate::model::ModelError;

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
        candle_nn::ops::rms_norm(x, &self.weight, self.eps)
    }
}
