use candle_core::{CpuStorage, CustomOp2, D, DType, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use super::{cuda, parameter};
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
        let weight = parameter(&self.weight, x)?;
        if x.device().is_cpu() {
            x.contiguous()?.apply_op2(&weight, Fused { eps: self.eps })
        } else if x.track_op() {
            on_tensors(x, &weight, self.eps)
        } else if cuda::runs_on(x.device()) {
            x.contiguous()?.apply_op2_no_bwd(&weight, &cuda::RmsNorm { eps: self.eps })
        } else {
            // Has no backward pass, and would silently cut a graph.
            candle_nn::ops::rms_norm(x, &weight, self.eps)
        }
    }
}

/// The norm as tensor expressions, in f32.
fn on_tensors(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = wide.broadcast_div(&(mean_square + f64::from(eps))?.sqrt()?)?;
    normed.to_dtype(x.dtype())?.broadcast_mul(weight)
}

/// The norm on the CPU.
struct Fused {
    eps: f32,
}

impl CustomOp2 for Fused {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight) = (View::new(x, layout).f32()?, View::new(weight, weight_layout).f32()?);
        let mut y = vec![0.0; x.len()];
        kernels::rms_norm(x, weight, self.eps, &mut y).map_err(kernel)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let mut grad_x = vec![0.0; x.elem_count()];
        let mut grad_weight = weight.track_op().then(|| vec![0.0; weight.elem_count()]);
        kernels::rms_norm_backward(
            hold(x).f32()?,
            hold(weight).f32()?,
            self.eps,
            hold(&grad).f32()?,
            &mut grad_x,
            grad_weight.as_deref_mut(),
        )
        .map_err(kernel)?;
        let grad_weight = grad_weight.map(|values| Tensor::from_vec(values, weight.shape(), &Device::Cpu));
        Ok((Some(Tensor::from_vec(grad_x, x.shape(), &Device::Cpu)?), grad_weight.transpose()?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    #[test]
    fn all_bodies_agree_in_value_and_gradient() {
        let x = Var::randn(0f32, 1.0, (7, 24), &Device::Cpu).unwrap();
        let weight = Var::randn(1f32, 0.1, 24, &Device::Cpu).unwrap();
        let direction = Tensor::randn(0f32, 1.0, (7, 24), &Device::Cpu).unwrap();
        let gradients = |y: Tensor| {
            let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
            [y.detach(), grads.get(&x).unwrap().clone(), grads.get(&weight).unwrap().clone()]
        };
        let kernel = gradients(x.apply_op2(&weight, Fused { eps: 1e-6 }).unwrap());
        for elsewhere in elsewhere() {
            let (there_x, there_weight) = (elsewhere.there(&x), elsewhere.there(&weight));
            let y = on_tensors(&there_x, &there_weight, 1e-6).unwrap();
            let names = ["rms norm", "rms norm, gradient of x", "rms norm, gradient of the weight"];
            for ((found, expected), name) in gradients(elsewhere.here(&y)).iter().zip(&kernel).zip(names) {
                elsewhere.assert_near(found, expected, 1e-5, name);
            }
            let fused = candle_nn::ops::rms_norm(&there_x.detach(), &there_weight.detach(), 1e-6).unwrap();
            elsewhere.assert_near(&elsewhere.here(&fused), &kernel[0], 1e-5, "rms norm, fused");
            if !elsewhere.is_cpu() {
                let (x, weight) = (there_x.detach(), there_weight.detach());
                let normed = x.apply_op2_no_bwd(&weight, &cuda::RmsNorm { eps: 1e-6 }).unwrap();
                elsewhere.assert_near(&elsewhere.here(&normed), &kernel[0], 1e-5, "rms norm, by our kernel");
            }
        }
    }
}
