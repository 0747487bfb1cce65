use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use super::linear::Frozen;
use super::{Dropout, Magnitude, parameter};
use crate::model::kernels::{self, MatrixRef};

/// A low-rank adapter under training, `scale * drop(x) A^T B^T` (Hu et al. 2021), with `A` (r, in) and `B`
/// (out, r).
pub(in crate::model) struct Lora {
    a: Tensor,
    b: Tensor,
    scale: f64,
    /// Tells this layer's dropout from the others'.
    salt: u64,
    /// Of DoRA.
    magnitude: Option<Magnitude>,
}

impl Lora {
    pub(in crate::model) fn new(a: Tensor, b: Tensor, scale: f64, salt: u64) -> Self {
        Self { a, b, scale, salt, magnitude: None }
    }

    /// The same where the rows of the adapted weights have lengths of their own.
    pub(in crate::model) fn with_magnitude(self, magnitude: Option<Magnitude>) -> Self {
        Self { magnitude, ..self }
    }

    /// What tells this layer's dropout from the others'.
    #[cfg(test)]
    pub(in crate::model) fn salt(&self) -> u64 {
        self.salt
    }

    /// The adapted layer, (rows, in) to (rows, out).
    pub(super) fn forward(
        &self,
        frozen: &Arc<Frozen>,
        x: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let (a, b) = (parameter(&self.a, x)?, parameter(&self.b, x)?);
        if let Some(magnitude) = &self.magnitude {
            return self.with_lengths(magnitude, frozen, x, [&a, &b], dropout);
        }
        if x.device().is_cpu() {
            return self.on_kernels(Some(frozen), x, &a, &b, dropout);
        }
        self.on_tensors(frozen.forward(x)?, x, &a, &b, dropout)
    }

    /// With the rows of `W + scale B A` brought to the lengths of `magnitude`, as PEFT has it (`DoraLinearLayer`):
    /// where values are dropped, what the lengths change is computed of what is left of the input, and the
    /// frozen layer's share of all of it.
    fn with_lengths(
        &self,
        magnitude: &Magnitude,
        frozen: &Arc<Frozen>,
        x: &Tensor,
        [a, b]: [&Tensor; 2],
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let unbiased = frozen.unbiased();
        let factors = magnitude.factors(&unbiased, [a, b], self.scale, x)?;
        let Some(dropout) = dropout else {
            let y = match x.device().is_cpu() {
                true => self.on_kernels(Some(&unbiased), x, a, b, None)?,
                false => self.on_tensors(unbiased.forward(x)?, x, a, b, None)?,
            };
            let y = y.broadcast_mul(&factors)?;
            return match frozen.bias() {
                Some(bias) => y.broadcast_add(bias),
                None => Ok(y),
            };
        };
        let kept = (x * dropout.factors(self.salt, x.dim(1)?, x.device())?.to_dtype(x.dtype())?)?;
        let share = match x.device().is_cpu() {
            true => self.on_kernels(None, &kept, a, b, None)?,
            false => (kept.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scale)?,
        };
        let turned = unbiased.forward(&kept)?.broadcast_mul(&(&factors - 1.0)?)?;
        frozen.forward(x)? + turned + share.broadcast_mul(&factors)?
    }

    /// What the CPU runs: the layer, where there is one, with the adapter's share.
    fn on_kernels(
        &self,
        frozen: Option<&Arc<Frozen>>,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let op = LoraLinear {
            frozen: frozen.cloned(),
            scale: self.scale as f32,
            salt: self.salt,
            dropout: dropout.cloned(),
        };
        x.contiguous()?.apply_op3(a, b, op)
    }

    /// The tensor expression that GPUs run: `y` plus the adapter's share.
    fn on_tensors(
        &self,
        y: Tensor,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        dropout: Option<&Dropout>,
    ) -> Result<Tensor> {
        let x = match dropout {
            Some(dropout) => (x * dropout.factors(self.salt, x.dim(1)?, x.device())?.to_dtype(x.dtype())?)?,
            None => x.clone(),
        };
        y + (x.matmul(&a.t()?)?.matmul(&b.t()?)? * self.scale)?
    }
}

/// The layer and its adapter in one, which keeps nothing for the backward pass but its operands; or the adapter
/// alone.
struct LoraLinear {
    frozen: Option<Arc<Frozen>>,
    scale: f32,
    salt: u64,
    dropout: Option<Dropout>,
}

impl LoraLinear {
    /// What dropout leaves of `x`.
    fn left_of<'a>(&self, x: &'a [f32]) -> Result<Cow<'a, [f32]>> {
        let Some(dropout) = &self.dropout else { return Ok(Cow::Borrowed(x)) };
        let mut left = x.to_vec();
        dropout.apply(self.salt, &mut left)?;
        Ok(Cow::Owned(left))
    }
}

impl CustomOp3 for LoraLinear {
    fn name(&self) -> &'static str {
        "lora-linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, inputs) = x_layout.shape().dims2()?;
        let (outputs, rank) = b_layout.shape().dims2()?;
        let x = View::new(x, x_layout).f32()?;
        let a = MatrixRef::new(View::new(a, a_layout).f32()?, rank, inputs).map_err(kernel)?;
        let b = MatrixRef::new(View::new(b, b_layout).f32()?, outputs, rank).map_err(kernel)?;
        let mut y = vec![0.0; rows * outputs];
        if let Some(frozen) = &self.frozen {
            frozen.apply(x, rows, &mut y)?;
        }
        let left = self.left_of(x)?;
        let left = MatrixRef::new(&left, rows, inputs).map_err(kernel)?;
        let hidden = kernels::product(left, a.t(), 1.0, None).map_err(kernel)?;
        let hidden = MatrixRef::new(&hidden, rows, rank).map_err(kernel)?;
        kernels::matmul(hidden, b.t(), self.scale, true, &mut y).map_err(kernel)?;
        Ok((CpuStorage::F32(y), Shape::from((rows, outputs))))
    }

    fn bwd(
        &self,
        x: &Tensor,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let ((rows, inputs), (outputs, rank)) = (x.dims2()?, b.dims2()?);
        let (held_x, held_a, held_b, held_grad) = (hold(x), hold(a), hold(b), hold(&grad));
        let left = self.left_of(held_x.f32()?)?;
        let matrix = |values, rows, columns| MatrixRef::new(values, rows, columns).map_err(kernel);
        let left = matrix(&left, rows, inputs)?;
        let a = matrix(held_a.f32()?, rank, inputs)?;
        let b = matrix(held_b.f32()?, outputs, rank)?;
        let grad_y = matrix(held_grad.f32()?, rows, outputs)?;
        let product = |x, y, scale| kernels::product(x, y, scale, None).map_err(kernel);

        let hidden = product(left, a.t(), 1.0)?;
        let grad_b = product(grad_y.t(), matrix(&hidden, rows, rank)?, self.scale)?;
        let grad_hidden = product(grad_y, b, self.scale)?;
        let grad_hidden = matrix(&grad_hidden, rows, rank)?;
        let grad_a = product(grad_hidden.t(), left, 1.0)?;
        let grad_x = match (&self.frozen, &self.dropout) {
            (None, None) => product(grad_hidden, a, 1.0)?,
            (Some(frozen), None) => {
                let mut grad_x = frozen.backward_on_cpu(held_grad.f32()?, rows)?;
                kernels::matmul(grad_hidden, a, 1.0, true, &mut grad_x).map_err(kernel)?;
                grad_x
            }
            (frozen, Some(dropout)) => {
                // The mask scales the gradient as it scaled the input.
                let mut through = product(grad_hidden, a, 1.0)?;
                dropout.apply(self.salt, &mut through)?;
                if let Some(frozen) = frozen {
                    let of_frozen = frozen.backward_on_cpu(held_grad.f32()?, rows)?;
                    kernels::add(&mut through, &of_frozen).map_err(kernel)?;
                }
                through
            }
        };

        let on_cpu = |values, shape: (usize, usize)| Tensor::from_vec(values, shape, &Device::Cpu).map(Some);
        Ok((
            on_cpu(grad_x, (rows, inputs))?,
            on_cpu(grad_a, (rank, inputs))?,
            on_cpu(grad_b, (outputs, rank))?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;
    use crate::model::kernels::Products;
    use crate::model::ops::Linear;
    use crate::model::ops::elsewhere::elsewhere;

    const ROWS: usize = 9;
    const INPUTS: usize = 40;
    const OUTPUTS: usize = 24;

    fn random(shape: (usize, usize)) -> Tensor {
        Tensor::randn(0f32, 1.0, shape, &Device::Cpu).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    #[test]
    fn both_bodies_agree_in_value_and_gradient_with_and_without_dropout() {
        let (weight, bias) =
            (random((OUTPUTS, INPUTS)), Tensor::randn(0f32, 1.0, OUTPUTS, &Device::Cpu).unwrap());
        let frozen = Arc::new(Frozen::new(weight.clone(), Some(bias.clone()), Products::Exact).unwrap());
        let var = |shape| Var::from_tensor(&random(shape)).unwrap();
        let (x, a, b) = (var((ROWS, INPUTS)), var((3, INPUTS)), var((OUTPUTS, 3)));
        let direction = random((ROWS, OUTPUTS));
        let lora = Lora::new(a.as_tensor().clone(), b.as_tensor().clone(), 0.7, 11);
        for dropout in [None, Some(Dropout::new(0.4, 5, [(0, 4), (1, 5)]))] {
            let outcome = |y: Tensor| {
                let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
                let gradient = |var: &Var| grads.get(var).unwrap().clone();
                [y.detach(), gradient(&x), gradient(&a), gradient(&b)]
            };
            let kernel = outcome(lora.forward(&frozen, &x, dropout.as_ref()).unwrap());
            for elsewhere in elsewhere() {
                let [x, a, b] = [&x, &a, &b].map(|var| elsewhere.there(var));
                let (weight, bias) = (elsewhere.there(&weight), elsewhere.there(&bias));
                let y = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
                let y = lora.on_tensors(y, &x, &a, &b, dropout.as_ref()).unwrap();
                let names = ["value", "gradient of x", "gradient of A", "gradient of B"];
                for ((found, expected), name) in outcome(elsewhere.here(&y)).iter().zip(&kernel).zip(names) {
                    elsewhere.assert_near(found, expected, 1e-4, &format!("adapter, {name}"));
                }
            }
        }
    }

    #[test]
    fn frozen_and_trained_layers_are_those_of_the_cpu() {
        let (weight, bias) = (random((OUTPUTS, INPUTS)), random((1, OUTPUTS)).get(0).unwrap());
        let x = Var::from_tensor(&random((ROWS, INPUTS))).unwrap();
        let direction = random((ROWS, OUTPUTS));
        let outcome = |y: Tensor| {
            let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
            [y.detach(), grads.get(&x).unwrap().clone()]
        };
        let layer = |weight: Tensor, bias: Tensor| Linear::new(weight, Some(bias), Products::Exact).unwrap();
        let trained = |x: &Tensor| Var::from_tensor(x).unwrap().as_tensor().clone();
        let expected = outcome(layer(weight.clone(), bias.clone()).forward(&x).unwrap());
        // Activations on the CPU are f32.
        for elsewhere in elsewhere().filter(|elsewhere| !elsewhere.is_cpu() || elsewhere.dtype == DType::F32)
        {
            let (weight, bias) = (elsewhere.there(&weight), elsewhere.there(&bias));
            for (what, layer) in [
                ("frozen", layer(weight.clone(), bias.clone())),
                ("trained", layer(trained(&weight), trained(&bias))),
            ] {
                let found = outcome(elsewhere.here(&layer.forward(&elsewhere.there(&x)).unwrap()));
                for ((found, expected), name) in found.iter().zip(&expected).zip(["value", "gradient"]) {
                    elsewhere.assert_near(found, expected, 1e-4, &format!("{what} layer, {name}"));
                }
                let plain = layer.forward(&elsewhere.there(&x).detach()).unwrap();
                elsewhere.assert_near(&elsewhere.here(&plain), &expected[0], 1e-4, what);
            }
        }
    }

    /// What candle's own matmul leaves behind, and the frozen layer does not.
    #[test]
    fn frozen_weights_get_no_gradient() {
        let weight = random((OUTPUTS, INPUTS));
        let x = Var::from_tensor(&random((ROWS, INPUTS))).unwrap();
        let of_weights_size = |y: Tensor| {
            let grads = y.sum_all().unwrap().backward().unwrap();
            grads.get_ids().filter(|id| grads.get_id(**id).unwrap().elem_count() == OUTPUTS * INPUTS).count()
        };
        assert_eq!(of_weights_size(x.matmul(&weight.t().unwrap()).unwrap()), 1);
        for dtype in [DType::F32, DType::BF16, DType::F16] {
            let layer = Linear::new(weight.to_dtype(dtype).unwrap(), None, Products::Exact).unwrap();
            assert_eq!(of_weights_size(layer.forward(&x).unwrap()), 0);
        }
    }

    #[test]
    fn an_input_without_a_graph_records_none() {
        let frozen = Arc::new(Frozen::new(random((OUTPUTS, INPUTS)), None, Products::Exact).unwrap());
        let [a, b] = [(3, INPUTS), (OUTPUTS, 3)].map(|shape| Var::from_tensor(&random(shape)).unwrap());
        let lora = Lora::new(a.as_tensor().clone(), b.as_tensor().clone(), 1.0, 0);
        let x = random((ROWS, INPUTS));
        let plain = lora.forward(&frozen, &x, None).unwrap();
        assert!(!plain.track_op());
        let recorded = lora.forward(&frozen, &Var::from_tensor(&x).unwrap(), None).unwrap();
        assert!(recorded.track_op());
        assert_eq!(difference(&plain, &recorded), 0.0);
    }
}
