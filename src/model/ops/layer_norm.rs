use candle_core::{CpuStorage, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use super::parameter;
use super::recycling::buffer;
use crate::model::ModelError;
use crate::model::kernels;
use crate::model::loader::Loader;

/// Layer norm over the last dimension, with a learned weight and bias.
pub(in crate::model) struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    eps: f32,
}

impl LayerNorm {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        width: usize,
        eps: f64,
    ) -> std::result::Result<Self, ModelError> {
        let tensor = |name| loader.activation(name, &[width]);
        Ok(Self { weight: tensor("weight")?, bias: tensor("bias")?, eps: eps as f32 })
    }

    /// Shape is kept.
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (weight, bias) = (parameter(&self.weight, x)?, parameter(&self.bias, x)?);
        if x.device().is_cpu() {
            x.contiguous()?.apply_op3(&weight, &bias, Fused { eps: self.eps })
        } else if x.track_op() {
            on_tensors(x, &weight, &bias, self.eps)
        } else {
            // Has no backward pass, and would silently cut a graph.
            candle_nn::ops::layer_norm(&x.contiguous()?, &weight, &bias, self.eps)
        }
    }
}

/// The norm as tensor expressions, in f32.
fn on_tensors(x: &Tensor, weight: &Tensor, bias: &Tensor, eps: f32) -> Result<Tensor> {
    let wide = x.to_dtype(DType::F32)?;
    let centred = wide.broadcast_sub(&wide.mean_keepdim(D::Minus1)?)?;
    let variance = centred.sqr()?.mean_keepdim(D::Minus1)?;
    let normed = centred.broadcast_div(&(variance + f64::from(eps))?.sqrt()?)?;
    normed.to_dtype(x.dtype())?.broadcast_mul(weight)?.broadcast_add(bias)
}

/// The norm on the CPU.
struct Fused {
    eps: f32,
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = View::new(x, layout).f32()?;
        let (weight, bias) = (View::new(weight, weight_layout).f32()?, View::new(bias, bias_layout).f32()?);
        let mut y = buffer(x.len());
        kernels::layer_norm(x, weight, bias, self.eps, &mut y).map_err(kernel)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let mut grad_x = vec![0.0; x.elem_count()];
        let trained = weight.track_op() || bias.track_op();
        let width = if trained { weight.elem_count() } else { 0 };
        let (mut grad_weight, mut grad_bias) = (vec![0.0; width], vec![0.0; width]);
        kernels::layer_norm_backward(
            hold(x).f32()?,
            hold(weight).f32()?,
            self.eps,
            hold(&grad).f32()?,
            &mut grad_x,
            trained.then_some([&mut grad_weight, &mut grad_bias]),
        )
        .map_err(kernel)?;
        let on_cpu = |values, shape: &Shape| Tensor::from_vec(values, shape, &Device::Cpu);
        let of_parameter = |values| trained.then(|| on_cpu(values, weight.shape())).transpose();
        Ok((Some(on_cpu(grad_x, x.shape())?), of_parameter(grad_weight)?, of_parameter(grad_bias)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    #[test]
    fn all_bodies_agree_in_value_and_gradient() {
        let x = Var::randn(2f32, 1.0, (7, 24), &Device::Cpu).unwrap();
        let weight = Var::randn(1f32, 0.1, 24, &Device::Cpu).unwrap();
        let bias = Var::randn(0f32, 0.3, 24, &Device::Cpu).unwrap();
        let direction = Tensor::randn(0f32, 1.0, (7, 24), &Device::Cpu).unwrap();
        let outcome = |y: Tensor| {
            let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = |var: &Var| grads.get(var).unwrap().clone();
            [y.detach(), gradient(&x), gradient(&weight), gradient(&bias)]
        };
        let kernel = outcome(x.apply_op3(&weight, &bias, Fused { eps: 1e-6 }).unwrap());
        for elsewhere in elsewhere() {
            let [x, weight, bias] = [&x, &weight, &bias].map(|var| elsewhere.there(var));
            let y = on_tensors(&x, &weight, &bias, 1e-6).unwrap();
            let names = ["value", "gradient of x", "gradient of the weight", "gradient of the bias"];
            for ((found, expected), name) in outcome(elsewhere.here(&y)).iter().zip(&kernel).zip(names) {
                elsewhere.assert_near(found, expected, 1e-5, &format!("layer norm, {name}"));
            }
            let [x, weight, bias] = [x, weight, bias].map(|x| x.detach());
            let fused = candle_nn::ops::layer_norm(&x, &weight, &bias, 1e-6).unwrap();
            elsewhere.assert_near(&elsewhere.here(&fused), &kernel[0], 1e-5, "layer norm, fused");
        }
    }
}
