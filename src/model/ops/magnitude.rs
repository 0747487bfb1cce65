use std::sync::Arc;

use candle_core::{DType, Result, Tensor};

use super::linear::Frozen;
use super::parameter;

/// Lengths of the rows of an adapted layer's weights, which DoRA trains apart from their directions (Liu et al.
/// 2024): row `i` of `W + scale B A` is brought to the length `m[i]`.
pub(in crate::model) struct Magnitude {
    /// `m`, (out).
    lengths: Tensor,
    /// Squares of the lengths of the rows of `W`, (out) in f32.
    squares: Tensor,
}

impl Magnitude {
    /// The lengths of the rows of `weight`, (out, in), in f32: what `m` starts as.
    pub(in crate::model) fn of(weight: &Tensor) -> Result<Tensor> {
        squares(weight)?.sqrt()
    }

    /// With `lengths` for the rows of a layer whose weights are `weight`.
    pub(in crate::model) fn new(lengths: Tensor, weight: &Tensor) -> Result<Self> {
        Ok(Self { lengths, squares: squares(weight)? })
    }

    /// `m / |W + scale B A|`, (out), as a pass over `x` has to see it. As in PEFT the lengths below the line are
    /// no part of the graph. The sum is never made: a row's square is that of `W`, that of the change, and twice
    /// their product.
    pub(super) fn factors(
        &self,
        unbiased: &Arc<Frozen>,
        [a, b]: [&Tensor; 2],
        scale: f64,
        x: &Tensor,
    ) -> Result<Tensor> {
        let a = a.detach();
        let crossed = unbiased.forward(&a)?.to_dtype(DType::F32)?;
        let (a, b) = (a.to_dtype(DType::F32)?, b.detach().t()?.to_dtype(DType::F32)?.contiguous()?);
        let changed = (&b * a.matmul(&a.t()?)?.matmul(&b)?)?.sum(0)?;
        let mixed = (&b * crossed)?.sum(0)?;
        let squares = ((&self.squares + (mixed * (2.0 * scale))?)? + (changed * scale.powi(2))?)?;
        parameter(&self.lengths, x)?.to_dtype(DType::F32)?.div(&squares.sqrt()?)?.to_dtype(x.dtype())
    }
}

/// Squares of the lengths of the rows of (out, in), in f32.
fn squares(weight: &Tensor) -> Result<Tensor> {
    weight.to_dtype(DType::F32)?.sqr()?.sum(1)
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::model::kernels::Products;
    use crate::model::ops::elsewhere::elsewhere;
    use crate::model::ops::{Dropout, Lora};

    /// One layer with DoRA in PEFT, by `tests/golden/make_adapters.py`.
    const GOLDEN: &str =
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/adapters/dora.safetensors");
    const NAMES: [&str; 4] = ["x", "a", "b", "magnitude"];
    /// `alpha / sqrt(r)` there.
    const SCALE: f64 = 2.886_751_345_948_129;

    fn golden(name: &str) -> Tensor {
        candle_core::safetensors::load(GOLDEN, &Device::Cpu).unwrap().remove(name).unwrap()
    }

    fn difference(a: &Tensor, b: &Tensor) -> f32 {
        assert_eq!(a.dims(), b.dims());
        (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
    }

    /// The layer of `parts` with its weights on the device and in the precision of these.
    fn forward(parts: &[Tensor; 4], dropout: Option<&Dropout>) -> Tensor {
        let [x, a, b, magnitude] = parts;
        let like = |name: &str| golden(name).to_device(x.device()).unwrap().to_dtype(x.dtype()).unwrap();
        let (weight, bias) = (like("weight"), like("bias"));
        let magnitude = Magnitude::new(magnitude.clone(), &weight).unwrap();
        let frozen = Arc::new(Frozen::new(weight, Some(bias), Products::Exact).unwrap());
        let lora = Lora::new(a.clone(), b.clone(), SCALE, 5).with_magnitude(Some(magnitude));
        lora.forward(&frozen, x, dropout).unwrap()
    }

    /// What PEFT computes, written out: the sum of the weights is made, and its lengths are constants.
    fn written_out(parts: &[Tensor; 4], dropout: &Dropout) -> Tensor {
        let [x, a, b, magnitude] = parts;
        let (weight, bias) = (golden("weight"), golden("bias"));
        let sum = (&weight + (b.matmul(a).unwrap() * SCALE).unwrap()).unwrap();
        let factors = (magnitude / sum.detach().sqr().unwrap().sum(1).unwrap().sqrt().unwrap()).unwrap();
        let kept = (x * dropout.factors(5, x.dim(1).unwrap(), &Device::Cpu).unwrap()).unwrap();
        let base = kept.matmul(&weight.t().unwrap()).unwrap();
        let share = kept.matmul(&a.t().unwrap()).unwrap().matmul(&b.t().unwrap()).unwrap();
        let turned = base.broadcast_mul(&(&factors - 1.0).unwrap()).unwrap();
        let changed = (turned + (share.broadcast_mul(&factors).unwrap() * SCALE).unwrap()).unwrap();
        let y = x.matmul(&weight.t().unwrap()).unwrap().broadcast_add(&bias).unwrap();
        (y + changed).unwrap()
    }

    fn variables() -> [Var; 4] {
        NAMES.map(|name| Var::from_tensor(&golden(name)).unwrap())
    }

    /// The value, and the gradients of its product with the golden direction.
    fn outcome(y: &Tensor, variables: &[Var; 4]) -> Vec<Tensor> {
        let grads = (y * golden("direction")).unwrap().sum_all().unwrap().backward().unwrap();
        let gradients = variables.iter().map(|var| grads.get(var).unwrap().clone());
        std::iter::once(y.detach()).chain(gradients).collect()
    }

    #[test]
    fn value_and_gradients_are_those_of_peft() {
        let variables = variables();
        let found =
            outcome(&forward(&variables.each_ref().map(|var| var.as_tensor().clone()), None), &variables);
        let names = ["y"].into_iter().map(str::to_owned).chain(NAMES.map(|name| format!("grad.{name}")));
        for (found, name) in found.iter().zip(names) {
            let off = difference(found, &golden(&name));
            assert!(off < 2e-5, "{name} is off by {off}");
        }
    }

    #[test]
    fn dropped_inputs_are_those_of_peft_on_every_device() {
        let dropout = Dropout::new(0.4, 5, [(0, 4), (1, 3)]);
        let variables = variables();
        let tensors = variables.each_ref().map(|var| var.as_tensor().clone());
        let expected = outcome(&written_out(&tensors, &dropout), &variables);
        let names = ["value", "gradient of x", "gradient of A", "gradient of B", "gradient of m"];
        for elsewhere in elsewhere().filter(|elsewhere| !elsewhere.is_cpu() || elsewhere.dtype == DType::F32)
        {
            let there = tensors.each_ref().map(|tensor| elsewhere.there(tensor));
            let found = outcome(&elsewhere.here(&forward(&there, Some(&dropout))), &variables);
            for ((found, expected), name) in found.iter().zip(&expected).zip(names) {
                elsewhere.assert_near(found, expected, 2e-5, &format!("DoRA, {name}"));
            }
            let without = outcome(&elsewhere.here(&forward(&there, None)), &variables);
            elsewhere.assert_near(&without[0], &golden("y"), 2e-5, "DoRA");
        }
    }

    #[test]
    fn lengths_are_those_of_the_sum() {
        let (weight, a, b) = (golden("weight"), golden("a"), golden("b"));
        let sum = (&weight + (b.matmul(&a).unwrap() * SCALE).unwrap()).unwrap();
        let lengths = Magnitude::of(&sum).unwrap();
        let frozen = Arc::new(Frozen::new(weight.clone(), None, Products::Exact).unwrap());
        let factors =
            Magnitude::new(lengths, &weight).unwrap().factors(&frozen, [&a, &b], SCALE, &a).unwrap();
        assert!(difference(&factors, &factors.ones_like().unwrap()) < 1e-5);
    }
}
