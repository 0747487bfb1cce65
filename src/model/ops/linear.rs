use candle_core::{Result, Tensor};

use crate::model::loader::Loader;
use crate::model::ModelError;

/// `y = x W^T + b`, with `W` of shape (out, in) as checkpoints store it.
pub(in crate::model) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    pub(in crate::model) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self { weight, bias }
    }

    /// Loads `weight`, and `bias` where the layer has one.
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        let weight = loader.weight("weight", &[outputs, inputs])?;
        let bias = bias.then(|| loader.activation("bias", &[outputs])).transpose()?;
        Ok(Self::new(weight, bias))
    }

    /// (rows, in) to (rows, out).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = x.matmul(&self.weight.to_dtype(x.dtype())?.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }
}
