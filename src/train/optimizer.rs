//! What moves the parameters along their gradients.

mod adamw;
mod muon;

use std::collections::HashMap;

use candle_core::{DType, Result, Tensor, Var};

use super::{Gradients, Parameters, TrainError};

pub use adamw::{AdamW, AdamWConfig};
pub use muon::{Muon, MuonConfig};

/// The optimiser of a run: AdamW, or Muon for the matrices of the layers and AdamW for what is left.
#[derive(Debug)]
pub struct Optimizer {
    muon: Muon,
    adamw: AdamW,
}

impl Optimizer {
    /// An optimiser at step 0; AdamW alone where `muon` is not given.
    ///
    /// # Errors
    /// A failing tensor operation.
    pub fn new(parameters: &Parameters, adamw: AdamWConfig, muon: Option<MuonConfig>) -> Result<Self> {
        // What reads the input is AdamW's, as Muon's author advises: pixels, and tokens, whose rows are
        // looked up one by one.
        let is_muons = |name: &str, var: &Var| var.rank() == 2 && !name.contains("embed");
        let (matrices, rest): (Parameters, Parameters) = parameters
            .iter()
            .map(|(name, var)| (name.clone(), var.clone()))
            .partition(|(name, var)| muon.is_some() && is_muons(name, var));
        Ok(Self { muon: Muon::new(&matrices, muon.unwrap_or_default())?, adamw: AdamW::new(&rest, adamw)? })
    }

    /// Moves every parameter that has a gradient.
    ///
    /// # Errors
    /// A failing tensor operation, such as a gradient of another shape than its parameter.
    pub fn step(&mut self, gradients: &Gradients, learning_rate: f64) -> Result<()> {
        self.muon.step(gradients, learning_rate)?;
        self.adamw.step(gradients, learning_rate)
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.adamw.steps()
    }

    /// All tensors of the optimiser's state; with [`steps`](Self::steps) that is all of it.
    pub fn state(&self) -> HashMap<String, Tensor> {
        let mut state = self.adamw.state();
        state.extend(self.muon.state());
        state
    }

    /// Takes over a state that [`state`](Self::state) gave; the parameters are not touched.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(
        &mut self,
        state: &HashMap<String, Tensor>,
        steps: u64,
    ) -> std::result::Result<(), TrainError> {
        self.muon.restore(state)?;
        self.adamw.restore(state, steps)
    }
}

/// The tensor of a saved state that takes the place of `tensor`.
fn saved(
    state: &HashMap<String, Tensor>,
    name: &str,
    tensor: &Tensor,
) -> std::result::Result<Tensor, TrainError> {
    let fits = |found: &&Tensor| found.dims() == tensor.dims() && found.dtype() == DType::F32;
    let found = state.get(name).filter(fits).ok_or_else(|| TrainError::State {
        reason: format!("no f32 `{name}` of shape {:?}", tensor.dims()),
    })?;
    Ok(found.to_device(tensor.device())?)
}

/// Scales all gradients so that their norm is at most `max_norm`, as `torch.nn.utils.clip_grad_norm_`; gives
/// the norm before.
///
/// # Errors
/// A failing tensor operation.
pub fn clip(gradients: &mut Gradients, max_norm: f64) -> Result<f64> {
    let norm = gradients.norm()?;
    let factor = max_norm / (norm + 1e-6);
    if factor < 1.0 {
        gradients.scale(factor)?;
    }
    Ok(norm)
}

#[cfg(test)]
mod tests;
