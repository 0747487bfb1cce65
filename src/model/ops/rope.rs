use candle_core::{CpuStorage, CustomOp1, D, DType, Device, Layout, Result, Shape, Tensor};

use super::cpu::{self, View, hold, kernel};
use crate::model::kernels::{self, HeadsShape};

/// Cosines and sines of every row's rotation angles, each (rows, head width / 2).
#[derive(Clone)]
pub(in crate::model) struct RotaryTable {
    cos: Tensor,
    sin: Tensor,
}

impl RotaryTable {
    /// A table from the angles in radians, `half_width` per row; sines and cosines are multiplied with
    /// `factor`.
    pub(in crate::model) fn new(
        angles: &[f32],
        half_width: usize,
        factor: f32,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let rows = angles.len() / half_width;
        let of = |function: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| factor * function(angle)).collect();
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
/// good: its storage may hold the result afterwards, unless a graph needs its old values.
pub(in crate::model) fn apply_rope(x: Tensor, table: &RotaryTable) -> Result<Tensor> {
    if !x.track_op() && cpu::in_place(x.device()) {
        x.inplace_op3(&table.cos, &table.sin, &cpu::Rope)?;
        return Ok(x);
    }
    match (x.device().is_cpu(), x.track_op()) {
        (true, _) => x.contiguous()?.apply_op1(Recorded { table: table.clone() }),
        (false, true) => on_tensors(&x, table),
        (false, false) => fused(&x, table),
    }
}

/// The rotation as one kernel, without a backward pass.
fn fused(x: &Tensor, table: &RotaryTable) -> Result<Tensor> {
    let x = x.contiguous()?.unsqueeze(0)?;
    candle_nn::rotary_emb::rope_thd(&x, &table.cos, &table.sin)?.squeeze(0)
}

/// The rotation as tensor expressions.
fn on_tensors(x: &Tensor, table: &RotaryTable) -> Result<Tensor> {
    let half = x.dim(D::Minus1)? / 2;
    let (cos, sin) = (table.cos.unsqueeze(1)?, table.sin.unsqueeze(1)?);
    let (first, second) = (x.narrow(D::Minus1, 0, half)?, x.narrow(D::Minus1, half, half)?);
    let turned = [
        (first.broadcast_mul(&cos)? - second.broadcast_mul(&sin)?)?,
        (second.broadcast_mul(&cos)? + first.broadcast_mul(&sin)?)?,
    ];
    Tensor::cat(&turned, D::Minus1)
}

/// The rotation on the CPU as part of a graph.
struct Recorded {
    table: RotaryTable,
}

impl Recorded {
    fn turn(&self, shape: &Shape, x: &[f32], sin: &Tensor) -> Result<Vec<f32>> {
        let (rows, heads, head_dim) = shape.dims3()?;
        let mut y = x.to_vec();
        let shape = HeadsShape { rows, heads, head_dim, row_stride: heads * head_dim };
        kernels::apply_rope(&mut y, shape, hold(&self.table.cos).f32()?, hold(sin).f32()?).map_err(kernel)?;
        Ok(y)
    }
}

impl CustomOp1 for Recorded {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = self.turn(layout.shape(), View::new(x, layout).f32()?, &self.table.sin)?;
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    /// Turns the gradient back.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let turned = self.turn(x.shape(), hold(&grad).f32()?, &self.table.sin.neg()?)?;
        Tensor::from_vec(turned, x.shape(), &Device::Cpu).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    #[test]
    fn all_bodies_agree_in_value_and_gradient() {
        let angles: Vec<f32> = (0..5 * 4).map(|i| i as f32 * 0.3).collect();
        let table = RotaryTable::new(&angles, 4, 1.5, DType::F32, &Device::Cpu).unwrap();
        let x = Var::randn(0f32, 1.0, (5, 3, 8), &Device::Cpu).unwrap();
        let direction = Tensor::randn(0f32, 1.0, (5, 3, 8), &Device::Cpu).unwrap();
        let both = |y: Tensor| {
            let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
            [y.detach(), grads.get(&x).unwrap().clone()]
        };
        let kernel = both(apply_rope(x.as_tensor().clone(), &table).unwrap());
        for elsewhere in elsewhere() {
            let x = elsewhere.there(&x);
            let table = RotaryTable { cos: elsewhere.there(&table.cos), sin: elsewhere.there(&table.sin) };
            let tensors = both(elsewhere.here(&on_tensors(&x, &table).unwrap()));
            for ((found, expected), name) in tensors.iter().zip(&kernel).zip(["rope", "rope, gradient"]) {
                elsewhere.assert_near(found, expected, 1e-6, name);
            }
            let fused = fused(&x.detach(), &table).unwrap();
            elsewhere.assert_near(&elsewhere.here(&fused), &kernel[0], 1e-6, "rope, fused");
            if !elsewhere.is_cpu() {
                // Heads of rows that lie apart.
                let wide = Tensor::cat(&[&x.detach(), &x.detach()], 1).unwrap().narrow(1, 3, 3).unwrap();
                let turned = apply_rope(wide, &table).unwrap();
                elsewhere.assert_near(&elsewhere.here(&turned), &kernel[0], 1e-6, "rope, in place");
            }
        }
    }
}
