use std::cell::Cell;

use candle_core::{Device, Result, Tensor};

use super::Linear;
use super::cpu::{hold, kernel};
use crate::model::ModelError;
use crate::model::kernels;
use crate::model::loader::Loader;

/// Intermediate values that may exist at one time on the CPU. Fewer rows at a time would save
/// memory, but the weights are laid out anew for every block of rows.
const MAX_INTERMEDIATE: usize = 1 << 23;

thread_local! {
    /// Kept from layer to layer: the system has to clear fresh memory of this size each time.
    static SCRATCH: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
}

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
        if x.device().is_cpu() {
            return self.forward_cpu(x);
        }
        let gated = (self.gate.forward(x)?.silu()? * self.up.forward(x)?)?;
        self.down.forward(&gated)
    }

    fn forward_cpu(&self, x: &Tensor) -> Result<Tensor> {
        let (rows, hidden) = x.dims2()?;
        let width = self.gate.outputs();
        let block = (MAX_INTERMEDIATE / width).clamp(1, rows.max(1));
        let (mut gate, mut up) = SCRATCH.take();
        gate.resize(block * width, 0.0);
        up.resize(block * width, 0.0);
        let mut y = vec![0.0; rows * hidden];
        for (x, y) in hold(x).f32()?.chunks(block * hidden).zip(y.chunks_mut(block * hidden)) {
            let rows = x.len() / hidden;
            let (gate, up) = (&mut gate[..rows * width], &mut up[..rows * width]);
            self.gate.apply(x, rows, gate)?;
            self.up.apply(x, rows, up)?;
            kernels::silu_mul(gate, up).map_err(kernel)?;
            self.down.apply(gate, rows, y)?;
        }
        SCRATCH.set((gate, up));
        Tensor::from_vec(y, (rows, hidden), &Device::Cpu)
    }
}
