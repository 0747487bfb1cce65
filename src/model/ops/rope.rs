use candle_core::{DType, Device, Result, Tensor};

use super::cpu;

/// Cosines and sines of every row's rotation angles, each (rows, head width / 2).
pub(in crate::model) struct RotaryTable {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryTable {
    /// A table from the angles in radians, `half_width` per row.
    pub(in crate::model) fn new(
        angles: &[f32],
        half_width: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let rows = angles.len() / half_width;
        let of = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| function(angle)).collect();
            Tensor::from_vec(values, (rows, half_width), device)?.to_dtype(dtype)
        };
        Ok(Self { cos: of(f32::cos)?, sin: of(f32::sin)? })
    }

    /// The table's rows `rows`, in that order.
    pub(in crate::model) fn select(&self, rows: &Tensor) -> Result<Self> {
        Ok(Self { cos: self.cos.index_select(rows, 0)?, sin: self.sin.index_select(rows, 0)? })
    }
}

/// `1 / theta^(2 i / width)` for `i` in `0..width / 2`: radians per position.
pub(in crate::model) fn inverse_frequencies(theta: f64, width: usize) -> Vec<f32> {
    (0..width / 2).map(|i| 1.0 / (theta as f32).powf((2 * i) as f32 / width as f32)).collect()
}

/// Rotates (rows, heads, head width): value `i` with value `i + head width / 2`. Takes `x` for
/// good: on the CPU its storage holds the result afterwards.
pub(in crate::model) fn apply_rope(x: Tensor, table: &RotaryTable) -> Result<Tensor> {
    if x.device().is_cpu() {
        x.inplace_op3(&table.cos, &table.sin, &cpu::Rope)?;
        return Ok(x);
    }
    let x = x.contiguous()?.unsqueeze(0)?;
    candle_nn::rotary_emb::rope_thd(&x, &table.cos, &table.sin)?.squeeze(0)
}
