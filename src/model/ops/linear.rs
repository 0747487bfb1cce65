use candle_core::{DType, Device, Result, Tensor};

use super::cpu::{hold, kernel};
use crate::model::ModelError;
use crate::model::kernels::{self, LinearShape};
use crate::model::loader::Loader;

/// `y = x W^T + b`, with `W` of shape (out, in) as checkpoints store it.
pub(in crate::model) struct Linear {
    /// (out, in), but (in, out) in f32 on the CPU, as the kernel wants it.
    weight: Tensor,
    bias: Option<Tensor>,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(in crate::model) fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let (outputs, inputs) = weight.dims2()?;
        let weight = if weight.device().is_cpu() && weight.dtype() == DType::F32 {
            let transposed = kernels::transpose(hold(&weight).f32()?, outputs, inputs);
            Tensor::from_vec(transposed, (inputs, outputs), &Device::Cpu)?
        } else {
            weight
        };
        Ok(Self { weight, bias, inputs, outputs })
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
        Ok(Self::new(weight, bias)?)
    }

    /// (rows, in) to (rows, out).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        if x.device().is_cpu() {
            let rows = x.dim(0)?;
            let mut y = vec![0.0; rows * self.outputs];
            self.apply(hold(x).f32()?, rows, &mut y)?;
            return Tensor::from_vec(y, (rows, self.outputs), &Device::Cpu);
        }
        let y = x.matmul(&self.weight.t()?)?;
        match &self.bias {
            Some(bias) => y.broadcast_add(bias),
            None => Ok(y),
        }
    }

    /// The same on slices, `rows` x in to `rows` x out.
    pub(super) fn apply(&self, x: &[f32], rows: usize, y: &mut [f32]) -> Result<()> {
        let shape = LinearShape { rows, in_features: self.inputs, out_features: self.outputs };
        let (weight, bias) = (hold(&self.weight), self.bias.as_ref().map(hold));
        let bias = bias.as_ref().map(|bias| bias.f32()).transpose()?;
        kernels::linear(x, weight.weight()?, shape, bias, y).map_err(kernel)
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }
}
