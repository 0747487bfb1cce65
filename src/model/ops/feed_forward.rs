use std::cell::Cell;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use super::linear::Frozen;
use super::mlp::on_tensors;
use super::recycling::buffer;
use super::{Dropout, Linear, cuda};
use crate::model::ModelError;
use crate::model::kernels::{self, Activation, FeedForward};
use crate::model::loader::Loader;

/// Intermediate values that may exist at one time on the CPU. Fewer rows at a time would save
/// memory, but the weights are laid out anew for every block of rows.
const MAX_INTERMEDIATE: usize = 1 << 23;

thread_local! {
    /// Kept from layer to layer: the system has to clear fresh memory of this size each time.
    static SCRATCH: Cell<[Vec<f32>; 2]> = const { Cell::new([Vec::new(), Vec::new()]) };
}

/// The feed-forward layer `second(activation(first(x)))`, both with a bias.
pub(in crate::model) struct Mlp {
    first: Linear,
    second: Linear,
    activation: Activation,
}

impl Mlp {
    /// Takes the layers at `first` and `second`, of so many inputs, values between them, and outputs.
    pub(in crate::model) fn load(
        first: &Loader<'_>,
        second: &Loader<'_>,
        [inputs, intermediate, outputs]: [usize; 3],
        activation: Activation,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            first: Linear::load(first, inputs, intermediate, true)?,
            second: Linear::load(second, intermediate, outputs, true)?,
            activation,
        })
    }

    /// (rows, inputs) to (rows, outputs).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_dropping(x, None)
    }

    /// As [`forward`](Self::forward), with dropout on the inputs of adapters.
    pub(in crate::model) fn forward_dropping(&self, x: &Tensor, dropout: Option<&Dropout>) -> Result<Tensor> {
        let on_cpu = x.device().is_cpu();
        if let (Some(first), Some(second)) = (self.first.frozen(), self.second.frozen())
            && on_cpu
            && !x.track_op()
        {
            return forward_in_blocks(first, None, second, self.activation, x);
        }
        let x = self.first.forward_dropping(x, dropout)?;
        let x = if on_cpu {
            x.apply_op1(Activate(self.activation))?
        } else if cuda::runs_on(x.device()) && !x.track_op() {
            x.inplace_op1(&cuda::Activate(self.activation))?;
            x
        } else {
            on_tensors(self.activation, &x)?
        };
        self.second.forward_dropping(&x, dropout)
    }
}

/// A feed-forward layer that does not learn on an input that no graph needs, on the CPU: with a gate where
/// there is something `gated`.
pub(super) fn forward_in_blocks(
    first: &Frozen,
    gated: Option<&Frozen>,
    second: &Frozen,
    activation: Activation,
    x: &Tensor,
) -> Result<Tensor> {
    let (rows, inputs) = x.dims2()?;
    let outputs = second.outputs();
    let block = (MAX_INTERMEDIATE / first.outputs()).clamp(1, rows.max(1));
    let (held_first, held_gated, held_second) = (first.hold(), gated.map(Frozen::hold), second.hold());
    let mut scratch = SCRATCH.take();
    let mut y = buffer(rows * outputs);
    for (x, y) in hold(x).f32()?.chunks(block * inputs).zip(y.chunks_mut(block * outputs)) {
        let rows = x.len() / inputs;
        let layers = FeedForward {
            first: held_first.layer(rows)?,
            gated: held_gated.as_ref().map(|held| held.layer(rows)).transpose()?,
            activation,
            second: held_second.layer(rows)?,
        };
        kernels::feed_forward(x, layers, first.products(), &mut scratch, y).map_err(kernel)?;
    }
    SCRATCH.set(scratch);
    Tensor::from_vec(y, (rows, outputs), &Device::Cpu)
}

/// The activation on the CPU as part of a graph.
struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activate"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = View::new(x, layout).f32()?.to_vec();
        kernels::activate(self.0, &mut y);
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut values = hold(&grad.contiguous()?).f32()?.to_vec();
        kernels::activate_backward(self.0, hold(x).f32()?, &mut values).map_err(kernel)?;
        Tensor::from_vec(values, x.shape(), &Device::Cpu).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    #[test]
    fn both_bodies_agree_in_value_and_gradient() {
        for activation in [Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu] {
            let x = Var::randn(0f32, 2.0, (7, 33), &Device::Cpu).unwrap();
            let direction = Var::randn(0f32, 1.0, (7, 33), &Device::Cpu).unwrap();
            let outcome = |y: Tensor| {
                let grads = (&y * direction.as_tensor()).unwrap().sum_all().unwrap().backward().unwrap();
                [y.detach(), grads.get(&x).unwrap().clone()]
            };
            let kernel = outcome(x.apply_op1(Activate(activation)).unwrap());
            for elsewhere in elsewhere() {
                let y = elsewhere.here(&on_tensors(activation, &elsewhere.there(&x)).unwrap());
                for ((found, expected), name) in outcome(y).iter().zip(&kernel).zip(["value", "gradient"]) {
                    elsewhere.assert_near(found, expected, 2e-5, &format!("{activation:?}, {name}"));
                }
                if !elsewhere.is_cpu() {
                    let x = elsewhere.there(&x).detach().copy().unwrap();
                    x.inplace_op1(&cuda::Activate(activation)).unwrap();
                    elsewhere.assert_near(&elsewhere.here(&x), &kernel[0], 2e-5, "activation, in place");
                }
            }
        }
    }
}
