use candle_core::{Result, Tensor};

use super::cpu;

/// `x + y`. Takes `x` for good: its storage may hold the sum afterwards, unless a graph needs its old
/// values.
pub(in crate::model) fn add(x: Tensor, y: &Tensor) -> Result<Tensor> {
    if cpu::in_place(x.device()) && !x.track_op() && !y.track_op() {
        x.inplace_op2(y, &cpu::Add)?;
        Ok(x)
    } else {
        x + y
    }
}
