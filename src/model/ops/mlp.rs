use candle_core::{Result, Tensor};

use super::Linear;
use crate::model::loader::Loader;
use crate::model::ModelError;

/// The gated feed-forward layer `down(silu(gate(x)) * up(x))`.
pub(in crate::model) struct GatedMlp {
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl GatedMlp {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        hidden: usize,
        intermediate: usize,
        bias: bool,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            gate: Linear::load(&loader.at("gate_proj"), hidden, intermediate, bias)?,
            up: Linear::load(&loader.at("up_proj"), hidden, intermediate, bias)?,
            down: Linear::load(&loader.at("down_proj"), intermediate, hidden, bias)?,
        })
    }

    /// (rows, hidden) to (rows, hidden).
    pub(in crate::model) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let gated = (self.gate.forward(x)?.silu()? * self.up.forward(x)?)?;
        self.down.forward(&gated)
    }
}
