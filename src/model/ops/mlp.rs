use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use super::feed_forward::forward_in_blocks;
use super::linear::Frozen;
use super::{Dropout, Linear, cuda};
use crate::model::ModelError;
use crate::model::kernels::{self, Activation};
use crate::model::loader::Loader;

/// The gated feed-forward layer `down(activation(gate(x)) * up(x))`.
pub(in crate::model) struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
    activation: Activation,
}

impl GatedMlp {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        hidden: usize,
        intermediate: usize,
        bias: bool,
        activation: Activation,
    ) -> std::result::Result<Self, ModelError> {
        let gate = Linear::load(&loader.at("gate_proj"), hidden, intermediate, bias)?;
        let up = Linear::load(&loader.at("up_proj"), hidden, intermediate, bias)?;
        let down = Linear::load(&loader.at("down_proj"), intermediate, hidden, bias)?;
        let on_cuda = |layer: &Linear| layer.frozen().is_some_and(Frozen::is_on_cuda);
        if intermediate.is_multiple_of(cuda::ALIGNED) || ![&gate, &up, &down].into_iter().all(on_cuda) {
            return Ok(Self { gate, up, down, activation });
        }
        // The activation of zero is zero, or what it is multiplied with is.
        let wide = intermediate.next_multiple_of(cuda::ALIGNED);
        let (gate, up) = (gate.widened(wide, hidden)?, up.widened(wide, hidden)?);
        Ok(Self { gate, up, down: down.widened(hidden, wide)?, activation })
    }

    /// (rows, hidden) to (rows, hidden).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_dropping(x, None)
    }

    /// As [`forward`](Self::forward), with dropout on the inputs of adapters.
    pub(in crate::model) fn forward_dropping(&self, x: &Tensor, dropout: Option<&Dropout>) -> Result<Tensor> {
        let on_cpu = x.device().is_cpu();
        if let (Some(gate), Some(up), Some(down)) = (self.gate.frozen(), self.up.frozen(), self.down.frozen())
            && on_cpu
            && !x.track_op()
        {
            return forward_in_blocks(gate, Some(up), down, self.activation, x);
        }
        let (gate, up) = (self.gate.forward_dropping(x, dropout)?, self.up.forward_dropping(x, dropout)?);
        if cuda::runs_on(x.device()) && !x.track_op() {
            gate.inplace_op2(&up, &cuda::GatedMul(self.activation))?;
            return self.down.forward_dropping(&gate, dropout);
        }
        let gated = if on_cpu {
            gate.apply_op2(&up, GatedMul(self.activation))?
        } else {
            (on_tensors(self.activation, &gate)? * up)?
        };
        self.down.forward_dropping(&gated, dropout)
    }
}

/// The activation as tensor expressions.
pub(super) fn on_tensors(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::QuickGelu => x * candle_nn::ops::sigmoid(&(x * 1.702)?)?,
        Activation::Relu => x.relu(),
    }
}

/// `activation(gate) * up` on the CPU as part of a graph.
struct GatedMul(Activation);

impl CustomOp2 for GatedMul {
    fn name(&self) -> &'static str {
        "gated-mul"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let mut y = View::new(gate, layout).f32()?.to_vec();
        kernels::gated_mul(self.0, &mut y, View::new(up, up_layout).f32()?).map_err(kernel)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (mut grad_gate, mut grad_up) = (vec![0.0; gate.elem_count()], vec![0.0; up.elem_count()]);
        kernels::gated_mul_backward(
            self.0,
            hold(gate).f32()?,
            hold(up).f32()?,
            hold(&grad).f32()?,
            &mut grad_gate,
            &mut grad_up,
        )
        .map_err(kernel)?;
        let on_cpu = |values| Tensor::from_vec(values, gate.shape(), &Device::Cpu).map(Some);
        Ok((on_cpu(grad_gate)?, on_cpu(grad_up)?))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    #[test]
    fn both_bodies_agree_in_value_and_gradient() {
        for activation in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::QuickGelu,
            Activation::Relu,
        ] {
            let var = || Var::randn(0f32, 2.0, (7, 33), &Device::Cpu).unwrap();
            let (gate, up, direction) = (var(), var(), var());
            let outcome = |y: Tensor| {
                let grads = (&y * direction.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                [y.detach(), grads.get(&gate).unwrap().clone(), grads.get(&up).unwrap().clone()]
            };
            let kernel = outcome(gate.apply_op2(&up, GatedMul(activation)).unwrap());
            for elsewhere in elsewhere() {
                let (gate, up) = (elsewhere.there(&gate), elsewhere.there(&up));
                let y = (on_tensors(activation, &gate).unwrap() * &up).unwrap();
                let names = ["value", "gradient of the gate", "gradient of what is gated"];
                for ((found, expected), name) in outcome(elsewhere.here(&y)).iter().zip(&kernel).zip(names) {
                    // Values reach about fifty.
                    elsewhere.assert_near(found, expected, 2e-4, &format!("gated {activation:?}, {name}"));
                }
                if !elsewhere.is_cpu() {
                    let gate = gate.detach().copy().unwrap();
                    gate.inplace_op2(&up.detach(), &cuda::GatedMul(activation)).unwrap();
                    elsewhere.assert_near(&elsewhere.here(&gate), &kernel[0], 2e-4, "gated, in place");
                }
            }
        }
    }
}
