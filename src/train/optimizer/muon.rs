//! Muon.

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, Var};
use rayon::prelude::*;

use super::super::{Gradients, Parameters, TrainError};
use super::saved;
use crate::options::with_fields;

/// Settings of [`Muon`]; the defaults are `torch.optim.Muon`'s.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MuonConfig {
    /// Share of the mean of gradients that a step keeps.
    pub momentum: f64,
    /// Share of a weight, times the learning rate, that each step takes off it.
    pub weight_decay: f64,
}

with_fields!(MuonConfig {
    with_momentum(momentum: f64),
    with_weight_decay(weight_decay: f64),
});

impl Default for MuonConfig {
    fn default() -> Self {
        Self { momentum: 0.95, weight_decay: 0.1 }
    }
}

/// Muon (Keller Jordan, <https://kellerjordan.github.io/posts/muon/>): momentum whose directions all count
/// the same, for matrices in f32.
///
/// As `torch.optim.Muon` with `nesterov` and `adjust_lr_fn="match_rms_adamw"` computes it, but in f32
/// throughout: an update is as large as one of AdamW's, so that both do with one learning rate.
#[derive(Debug)]
pub struct Muon {
    config: MuonConfig,
    slots: Vec<Slot>,
}

/// A matrix and its momentum.
#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    momentum: Tensor,
}

impl Muon {
    /// An optimiser at step 0 of `parameters`, all of them matrices.
    ///
    /// # Errors
    /// A parameter of another rank, a failing tensor operation.
    pub fn new(parameters: &Parameters, config: MuonConfig) -> Result<Self> {
        let slot = |(name, var): (&String, &Var)| {
            var.dims2()?;
            let momentum = Tensor::zeros(var.shape(), DType::F32, var.device())?;
            Ok(Slot { name: name.clone(), var: var.clone(), momentum })
        };
        Ok(Self { config, slots: parameters.iter().map(slot).collect::<Result<_>>()? })
    }

    /// Moves every matrix that has a gradient.
    ///
    /// # Errors
    /// A failing tensor operation, such as a gradient of another shape than its parameter.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let MuonConfig { momentum, weight_decay } = self.config;
        let step = |slot: &mut Slot| -> Result<()> {
            let Some(gradient) = gradients.get(&slot.name) else { return Ok(()) };
            slot.momentum = mix(&slot.momentum, gradient, 1.0 - momentum)?;
            let direction = orthogonalized(&mix(gradient, &slot.momentum, momentum)?)?;
            let (rows, columns) = direction.dims2()?;
            let size = 0.2 * (rows.max(columns) as f64).sqrt();
            let kept = (slot.var.as_detached_tensor() * (1.0 - learning_rate * weight_decay))?;
            slot.var.set(&(kept - (direction * (learning_rate * size))?)?)
        };
        if self.slots.iter().all(|slot| slot.var.device().is_cpu()) {
            // Each matrix is too small for several cores.
            self.slots.par_iter_mut().try_for_each(step)
        } else {
            // On a GPU every thread has a stream of its own, which waits for nothing that this thread has
            // begun.
            self.slots.iter_mut().try_for_each(step)
        }
    }

    /// All tensors of the optimiser's state.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let momentum = |slot: &Slot| (format!("momentum.{}", slot.name), slot.momentum.clone());
        self.slots.iter().map(momentum).collect()
    }

    /// Takes over a state that [`state`](Self::state) gave; the parameters are not touched.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(&mut self, state: &HashMap<String, Tensor>) -> std::result::Result<(), TrainError> {
        for slot in &mut self.slots {
            slot.momentum = saved(state, &format!("momentum.{}", slot.name), &slot.momentum)?;
        }
        Ok(())
    }
}

/// What lies between two tensors.
fn mix(from: &Tensor, to: &Tensor, share: f64) -> Result<Tensor> {
    (from * (1.0 - share))? + (to * share)?
}

/// Newton-Schulz steps of an orthogonalization, and the polynomial that each applies to the singular values.
/// It is chosen to rise steeply from 0: after five steps they lie about 1, between 0.7 and 1.2.
const STEPS: usize = 5;
const POLYNOMIAL: [f64; 3] = [3.4445, -4.775, 2.0315];

/// A matrix with the singular vectors of `matrix`, all of whose singular values are about 1.
fn orthogonalized(matrix: &Tensor) -> Result<Tensor> {
    let (rows, columns) = matrix.dims2()?;
    // The smaller side's products are the cheaper ones.
    let upright = rows > columns;
    let mut x = if upright { matrix.t()?.contiguous()? } else { matrix.clone() };
    let norm = f64::from(x.sqr()?.sum_all()?.to_scalar::<f32>()?).sqrt();
    x = (x / norm.max(1e-7))?;
    let [first, third, fifth] = POLYNOMIAL;
    for _ in 0..STEPS {
        let gram = x.matmul(&x.t()?)?;
        let even = ((&gram * third)? + (gram.matmul(&gram)? * fifth)?)?;
        x = ((&x * first)? + even.matmul(&x)?)?;
    }
    if upright { x.t()?.contiguous() } else { Ok(x) }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn singular_values_squared(matrix: &Tensor) -> Vec<f32> {
        let (rows, columns) = matrix.dims2().unwrap();
        let gram = if rows > columns {
            matrix.t().unwrap().matmul(matrix)
        } else {
            matrix.matmul(&matrix.t().unwrap())
        };
        let gram = gram.unwrap();
        (0..rows.min(columns)).map(|i| gram.get(i).unwrap().get(i).unwrap().to_scalar().unwrap()).collect()
    }

    /// A diagonal matrix stays one, so that its singular values can be read off.
    #[test]
    fn singular_values_come_close_to_one() {
        for (rows, columns) in [(3, 5), (5, 3), (3, 3)] {
            let mut values = vec![0f32; rows * columns];
            for (i, value) in [9.0, -1.0, 0.3].into_iter().enumerate() {
                values[i * columns + i] = value;
            }
            let matrix = Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap();
            let made = orthogonalized(&matrix).unwrap();
            assert_eq!(made.dims2().unwrap(), (rows, columns));
            for square in singular_values_squared(&made) {
                assert!((0.4..1.6).contains(&square), "{square}");
            }
            let second: f32 = made.get(1).unwrap().get(1).unwrap().to_scalar().unwrap();
            assert!(second < 0.0, "{second}");
        }
        let nothing = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(singular_values_squared(&orthogonalized(&nothing).unwrap()), [0.0; 2]);
    }

    /// As the definition gives it in float64, in another program. `torch.optim.Muon` of torch 2.15, which
    /// orthogonalizes in bf16, is within 1.1e-3 of these.
    #[test]
    fn steps_are_the_definitions() {
        let gradients = [
            [[0.1f32, -0.2, 0.3], [3.0, 0.0, -0.5]],
            [[-1e-2, 1.0, 0.25], [0.2, -0.4, 0.1]],
            [[0.3, 0.3, -0.3], [-0.1, 0.0, 0.7]],
        ];
        let expected = [
            [[0.486_255f32, -0.966_769_3, 1.939_675_6], [0.955_961_9, 0.244_808_6, -0.485_690_7]],
            [[0.480_278_4, -0.968_614_3, 1.915_498_2], [0.930_135_1, 0.246_325_2, -0.479_768_3]],
            [[0.476_46, -0.970_705_6, 1.909_062_8], [0.921_804_3, 0.246_701_3, -0.480_313_8]],
        ];
        let var = Var::new(&[[0.5f32, -1.0, 2.0], [1.0, 0.25, -0.5]], &Device::Cpu).unwrap();
        let config = MuonConfig { momentum: 0.9, weight_decay: 0.2 };
        let mut muon = Muon::new(&Parameters::from([("w".to_owned(), var.clone())]), config).unwrap();
        for ((gradient, rate), expected) in gradients.iter().zip([0.1, 0.05, 0.02]).zip(expected) {
            let mut gradients = Gradients::default();
            gradients.add("w", &Tensor::new(gradient, &Device::Cpu).unwrap()).unwrap();
            muon.step(&gradients, rate).unwrap();
            let got: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
            for (got, expected) in got.into_iter().zip(expected.into_iter().flatten()) {
                assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
            }
        }
    }

    #[test]
    fn a_vector_is_no_matrix() {
        let var = Var::new(&[0.5f32, -1.0], &Device::Cpu).unwrap();
        assert!(Muon::new(&Parameters::from([("w".to_owned(), var)]), MuonConfig::default()).is_err());
    }
}
