//! AdamW.

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::super::{Gradients, Parameters, TrainError};
use super::saved;
use crate::options::with_fields;

/// Settings of [`AdamW`]; the defaults are `torch.optim.AdamW`'s, with the published weight decay.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct AdamWConfig {
    /// Decay of the mean of gradients.
    pub beta1: f64,
    /// Decay of the mean of squared gradients.
    pub beta2: f64,
    /// Keeps the division from 0.
    pub eps: f64,
    /// Share of a weight, times the learning rate, that each step takes off it.
    pub weight_decay: f64,
}

with_fields!(AdamWConfig {
    with_beta1(beta1: f64),
    with_beta2(beta2: f64),
    with_eps(eps: f64),
    with_weight_decay(weight_decay: f64),
});

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.1 }
    }
}

/// AdamW with decoupled weight decay (arXiv 1711.05101), as `torch.optim.AdamW` computes it, on parameters in
/// f32.
#[derive(Debug)]
pub struct AdamW {
    config: AdamWConfig,
    pub(super) slots: Vec<Slot>,
    steps: u64,
}

/// A parameter and its state.
#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    pub(super) var: Var,
    mean: Tensor,
    square: Tensor,
    /// Steps that had a gradient for it, a scalar on the CPU: the moments know no others, and neither must
    /// their correction.
    steps: Tensor,
}

impl AdamW {
    /// An optimiser at step 0.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn new(parameters: &Parameters, config: AdamWConfig) -> Result<Self> {
        let slot = |(name, var): (&String, &Var)| {
            let zeros = Tensor::zeros(var.shape(), DType::F32, var.device())?;
            let steps = Tensor::zeros((), DType::F32, &Device::Cpu)?;
            Ok(Slot { name: name.clone(), var: var.clone(), mean: zeros.clone(), square: zeros, steps })
        };
        let slots = parameters.iter().map(slot).collect::<Result<_>>()?;
        Ok(Self { config, slots, steps: 0 })
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// A failing tensor operation, such as a gradient of another shape than its parameter.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        let AdamWConfig { beta1, beta2, eps, weight_decay } = self.config;
        self.steps += 1;
        for slot in &mut self.slots {
            let Some(gradient) = gradients.get(&slot.name) else { continue };
            slot.steps = (&slot.steps + 1.0)?;
            let steps = f64::from(slot.steps.to_scalar::<f32>()?);
            let correction = |beta: f64| 1.0 - beta.powf(steps);
            let (mean_correction, square_correction) = (correction(beta1), correction(beta2));
            slot.mean = ((&slot.mean * beta1)? + (gradient * (1.0 - beta1))?)?;
            slot.square = ((&slot.square * beta2)? + (gradient.sqr()? * (1.0 - beta2))?)?;
            let scale = ((slot.square.sqrt()? / square_correction.sqrt())? + eps)?;
            let update = (slot.mean.div(&scale)? * (learning_rate / mean_correction))?;
            let kept = (slot.var.as_detached_tensor() * (1.0 - learning_rate * weight_decay))?;
            slot.var.set(&(kept - update)?)?;
        }
        Ok(())
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// All tensors of the optimiser's state; with [`steps`](Self::steps) that is all of it.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let tensors = |slot: &Slot| {
            [("exp_avg", &slot.mean), ("exp_avg_sq", &slot.square), ("step", &slot.steps)]
                .map(|(kind, tensor)| (format!("{kind}.{}", slot.name), tensor.clone()))
        };
        self.slots.iter().flat_map(tensors).collect()
    }

    /// Takes over a state that [`state`](Self::state) gave; the parameters are not touched. In a state of
    /// before steps were counted for each parameter, all have taken `steps`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(
        &mut self,
        state: &HashMap<String, Tensor>,
        steps: u64,
    ) -> std::result::Result<(), TrainError> {
        for slot in &mut self.slots {
            for (kind, tensor) in [("exp_avg", &mut slot.mean), ("exp_avg_sq", &mut slot.square)] {
                *tensor = saved(state, &format!("{kind}.{}", slot.name), tensor)?;
            }
            let name = format!("step.{}", slot.name);
            slot.steps = if state.contains_key(&name) {
                saved(state, &name, &slot.steps)?
            } else {
                Tensor::new(steps as f32, &Device::Cpu)?
            };
        }
        self.steps = steps;
        Ok(())
    }
}
