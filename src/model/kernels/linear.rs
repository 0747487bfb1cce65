//! Linear layers: `y = x * weight^T + bias`. Checkpoints store weights row-major `[out, in]`.
//!
//! Activations are f32 in memory whatever the weights are. Four ways lead there:
//! - f32 weights that were laid out once are multiplied block by block ([`blocks`](super::blocks)): by vectors of f32,
//!   or cut into three bf16 parts, as the activations are, where there is a tile unit. Those `[in, out]` go to the
//!   `gemm` crate where they are not cut, which copies them into the order of its inner loop at every call.
//! - bf16 weights are multiplied as bf16 where the processor can ([`blocks`](super::blocks)). With
//!   [`Products::Rounded`] the activations are rounded to bf16, sums are f32, as PyTorch does. With
//!   [`Products::Exact`] they are cut into three bf16 parts that add up to them, which pays where there is a
//!   tile unit. Weights that lie row by row are laid out for it at every call.
//! - int8 weights are multiplied with activations rounded to int8 ([`int8`](super::int8)).
//! - Otherwise half-precision weights are widened a panel at a time, never the whole matrix, and multiplied
//!   in f32.

use super::bf16_matrix::Bf16Matrix;
#[cfg(target_arch = "x86_64")]
use super::blocks::{self, Units};
use super::error::{KernelError, check_length};
use super::f32_matrix::F32Matrix;
use super::int8::{self, Int8Matrix};
use super::matmul::gemm_strided;
use super::parallel::SharedMut;
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;
use std::cell::Cell;

/// Outputs widened at once on the path without bf16 arithmetic.
const PANEL: usize = 128;

/// Sizes of one linear layer applied to `rows` rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearShape {
    /// Rows of `x` and `y`.
    pub rows: usize,
    /// Values per row of `x`.
    pub in_features: usize,
    /// Values per row of `y`.
    pub out_features: usize,
}

/// A weight matrix `[out, in]`, unless it is f32 that was not laid out, in the type its checkpoint has.
#[derive(Debug, Clone, Copy)]
pub enum WeightRef<'a> {
    /// 32-bit floats, laid out `[in, out]`: see [`transpose`].
    F32(&'a [f32]),
    /// 32-bit floats, laid out once.
    PackedF32(&'a F32Matrix),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// bfloat16, laid out once.
    PackedBf16(&'a Bf16Matrix),
    /// IEEE half precision.
    F16(&'a [f16]),
    /// Rounded to int8.
    Int8(&'a Int8Matrix),
}

/// A layer, and how many rows go through it.
#[derive(Debug, Clone, Copy)]
pub struct LinearRef<'a, W = WeightRef<'a>> {
    /// The weights.
    pub weight: W,
    /// What is added to every row, `[out]`.
    pub bias: Option<&'a [f32]>,
    /// Sizes.
    pub shape: LinearShape,
}

/// What bf16 weights are multiplied with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// Activations rounded to bf16, where the processor multiplies bf16: half the time or less, 8 bits of
    /// precision.
    Rounded,
    /// The activations as they are: the result is that of the same weights in f32, but for the order of
    /// summation.
    Exact,
}

impl WeightRef<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::PackedF32(matrix) => matrix.len(),
            Self::Bf16(values) => values.len(),
            Self::PackedBf16(matrix) => matrix.len(),
            Self::F16(values) => values.len(),
            Self::Int8(matrix) => matrix.len(),
        }
    }
}

impl<'a> LinearRef<'a> {
    /// Fails unless all slices have the lengths of the shape, `x` and `y` values going in and out.
    pub(super) fn check(&self, kernel: &'static str, x: usize, y: usize) -> Result<(), KernelError> {
        let LinearShape { rows, in_features, out_features } = self.shape;
        check_length(kernel, "x", rows * in_features, x)?;
        check_length(kernel, "weight", out_features * in_features, self.weight.len())?;
        check_length(kernel, "bias", out_features, self.bias.map_or(out_features, <[f32]>::len))?;
        check_length(kernel, "y", rows * out_features, y)
    }
}

/// Writes `x * weight^T + bias` to `y`: `x` is `[rows, in]`, `weight` `[out, in]`, `bias` `[out]`, `y`
/// `[rows, out]`.
///
/// Runs on the current rayon pool. A row's result does not depend on the number of threads, and on the other
/// rows by no more than the order of f32 summation.
///
/// # Errors
/// [`KernelError::Length`] when a slice does not have the length `shape` asks for.
pub fn linear(
    x: &[f32],
    weight: WeightRef<'_>,
    products: Products,
    shape: LinearShape,
    bias: Option<&[f32]>,
    y: &mut [f32],
) -> Result<(), KernelError> {
    LinearRef { weight, bias, shape }.check("linear", x.len(), y.len())?;
    let LinearShape { in_features, out_features, .. } = shape;
    if y.is_empty() {
        return Ok(());
    }
    if in_features == 0 {
        start_with_bias(bias, out_features, y);
        return Ok(());
    }
    // SAFETY: `best` answers with available units only, and the lengths were checked.
    #[cfg(target_arch = "x86_64")]
    if unsafe { blocks::linear(Units::best(), x, LinearRef { weight, bias, shape }, products, y) } {
        return Ok(());
    }
    match weight {
        WeightRef::F32(values) => linear_f32(x, values, shape, bias, y),
        WeightRef::F16(values) => linear_widened(x, half_rows(values, in_features), shape, bias, y),
        WeightRef::Int8(weight) => int8::linear(x, LinearRef { weight, bias, shape }, y),
        WeightRef::Bf16(values) if Bf16Matrix::pays(products, true) => {
            let mut matrix = PACKED.take();
            matrix.repack(values, in_features, out_features);
            let done = linear(x, WeightRef::PackedBf16(&matrix), products, shape, bias, y);
            PACKED.set(matrix);
            return done;
        }
        WeightRef::Bf16(values) => linear_widened(x, half_rows(values, in_features), shape, bias, y),
        WeightRef::PackedF32(weight) => {
            linear_widened(x, |output, wide| weight.widen(output, 0, wide), shape, bias, y);
        }
        WeightRef::PackedBf16(weight) => {
            linear_widened(x, |output, wide| weight.widen(output, 0, wide), shape, bias, y);
        }
    }
    Ok(())
}

thread_local! {
    /// Weights that were laid out for one call, kept for the next.
    static PACKED: Cell<Bf16Matrix> = Cell::default();
}

/// Writes the values of an output's row.
fn half_rows<H: Sync>(weight: &[H], in_features: usize) -> impl Fn(usize, &mut [f32]) + Sync
where
    [H]: HalfFloatSliceExt,
{
    move |output, wide| weight[output * in_features..(output + 1) * in_features].convert_to_f32_slice(wide)
}

fn start_with_bias(bias: Option<&[f32]>, out_features: usize, y: &mut [f32]) {
    match bias {
        Some(bias) => y.chunks_exact_mut(out_features).for_each(|row| row.copy_from_slice(bias)),
        None => y.fill(0.0),
    }
}

/// Turns a matrix of `rows` x `columns` into one of `columns` x `rows`.
pub fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    /// Rows of the result that are filled together, so that reads come in whole cache lines.
    const BLOCK: usize = 16;
    let mut out = vec![0.0; values.len()];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(BLOCK * rows).enumerate().for_each(|(block, out)| {
        for (row, source) in values.chunks_exact(columns).enumerate() {
            for (target, &value) in out.chunks_exact_mut(rows).zip(&source[block * BLOCK..]) {
                target[row] = value;
            }
        }
    });
    out
}

/// Outputs of a task are a multiple of this, the widest inner loop of the `gemm` crate.
const OUTPUT_UNIT: usize = 64;

fn linear_f32(x: &[f32], weight: &[f32], shape: LinearShape, bias: Option<&[f32]>, y: &mut [f32]) {
    let LinearShape { rows, in_features, out_features } = shape;
    if bias.is_some() {
        start_with_bias(bias, out_features, y);
    }
    // Each thread takes its own outputs and all rows: it reads its part of the weights once.
    let width = out_features.div_ceil(rayon::current_num_threads()).next_multiple_of(OUTPUT_UNIT);
    let y = SharedMut::new(y);
    (0..out_features).into_par_iter().step_by(width).for_each(|first| {
        let outputs = width.min(out_features - first);
        // SAFETY: this task alone writes its columns of `y`; the strides are those of row-major matrices
        // whose lengths the caller has checked.
        unsafe {
            gemm_strided(
                (rows, outputs, in_features),
                (x.as_ptr(), in_features, 1),
                (weight.as_ptr().add(first), out_features, 1),
                (y.as_ptr().add(first), out_features),
                bias.is_some(),
                1.0,
            );
        }
    });
}

/// The path for half-precision weights without half-precision arithmetic; `row` writes those of an output.
fn linear_widened(
    x: &[f32],
    row: impl Fn(usize, &mut [f32]) + Sync,
    shape: LinearShape,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    thread_local! {
        static WIDENED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let LinearShape { rows, in_features, out_features } = shape;
    start_with_bias(bias, out_features, y);
    let y = SharedMut::new(y);
    (0..out_features).into_par_iter().step_by(PANEL).for_each(|first| {
        let outputs = PANEL.min(out_features - first);
        let mut widened = WIDENED.take();
        widened.resize(outputs * in_features, 0.0);
        for (output, wide) in (first..).zip(widened.chunks_exact_mut(in_features)) {
            row(output, wide);
        }
        // SAFETY: this task alone writes the columns of its panel, which lie within `y`.
        unsafe {
            gemm_strided(
                (rows, outputs, in_features),
                (x.as_ptr(), in_features, 1),
                (widened.as_ptr(), 1, in_features),
                (y.as_ptr().add(first), out_features),
                true,
                1.0,
            );
        }
        WIDENED.set(widened);
    });
}

#[cfg(test)]
mod tests;
