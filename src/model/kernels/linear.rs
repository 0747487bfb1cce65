//! Linear layers: `y = x * weight^T + bias`. Checkpoints store weights row-major `[out, in]`.
//!
//! Activations are f32 in memory whatever the weights are. Four ways lead there:
//! - f32 weights go to the `gemm` crate, laid out `[in, out]`: it copies them into the order of its inner
//!   loop at every call, which is a fifth of the time of a few hundred rows when they lie the other way.
//! - bf16 weights are multiplied as bf16 where the processor can ([`gemm_bf16`](super::gemm_bf16)). With
//!   [`Products::Rounded`] the activations are rounded to bf16, sums are f32, as PyTorch does. With
//!   [`Products::Exact`] they are cut into three bf16 parts that add up to them, which pays where there is a
//!   tile unit.
//! - int8 weights are multiplied with activations rounded to int8 ([`int8`](super::int8)).
//! - Otherwise half-precision weights are widened a panel at a time, never the whole matrix, and multiplied
//!   in f32.

use super::error::{KernelError, check_length};
#[cfg(target_arch = "x86_64")]
use super::gemm_bf16::{self, Bf16Layer};
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

/// A weight matrix `[out, in]`, unless it is f32, in the type its checkpoint has.
#[derive(Debug, Clone, Copy)]
pub enum WeightRef<'a> {
    /// 32-bit floats, laid out `[in, out]`: see [`transpose`].
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
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
            Self::Bf16(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Int8(matrix) => matrix.len(),
        }
    }
}

impl<'a> LinearRef<'a> {
    /// The layer, if its weights are bf16.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bf16(self) -> Option<Bf16Layer<'a>> {
        let Self { weight, bias, shape } = self;
        match weight {
            WeightRef::Bf16(weight) => Some(LinearRef { weight, bias, shape }),
            _ => None,
        }
    }

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
    match weight {
        WeightRef::F32(values) => linear_f32(x, values, shape, bias, y),
        WeightRef::F16(values) => linear_widened(x, values, shape, bias, y),
        WeightRef::Int8(weight) => int8::linear(x, LinearRef { weight, bias, shape }, y),
        WeightRef::Bf16(values) => {
            #[cfg(target_arch = "x86_64")]
            if let Some(unit) = gemm_bf16::Bf16Unit::best()
                && let Some(parts) = unit.parts(products)
            {
                // SAFETY: `best` answers with an available unit only.
                unsafe { gemm_bf16::linear(unit, parts, x, LinearRef { weight: values, bias, shape }, y) };
                return Ok(());
            }
            linear_widened(x, values, shape, bias, y);
        }
    }
    Ok(())
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

/// The path for half-precision weights without half-precision arithmetic.
fn linear_widened<H>(x: &[f32], weight: &[H], shape: LinearShape, bias: Option<&[f32]>, y: &mut [f32])
where
    H: Sync,
    [H]: HalfFloatSliceExt,
{
    thread_local! {
        static WIDENED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let LinearShape { rows, in_features, out_features } = shape;
    start_with_bias(bias, out_features, y);
    let y = SharedMut::new(y);
    weight.par_chunks(PANEL * in_features).enumerate().for_each(|(panel, weights)| {
        let mut widened = WIDENED.take();
        widened.resize(weights.len(), 0.0);
        weights.convert_to_f32_slice(&mut widened);
        // SAFETY: this task alone writes the columns of its panel, which lie within `y`.
        unsafe {
            gemm_strided(
                (rows, weights.len() / in_features, in_features),
                (x.as_ptr(), in_features, 1),
                (widened.as_ptr(), 1, in_features),
                (y.as_ptr().add(panel * PANEL), out_features),
                true,
                1.0,
            );
        }
        WIDENED.set(widened);
    });
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    /// Sizes around and between every block: 32 rows and outputs, 128 outputs, 1024 inputs, 512 rows.
    const SHAPES: [(usize, usize, usize); 8] = [
        (1, 1, 1),
        (3, 5, 7),
        (32, 32, 32),
        (33, 31, 65),
        (40, 64, 64),
        (100, 1037, 50),
        (550, 70, 129),
        (7, 2100, 300),
    ];

    struct Case {
        shape: LinearShape,
        x: Vec<f32>,
        weight: Vec<f32>,
        bias: Vec<f32>,
    }

    impl Case {
        fn transposed(&self) -> Vec<f32> {
            transpose(&self.weight, self.shape.out_features, self.shape.in_features)
        }
    }

    #[test]
    fn transposing_swaps_rows_and_columns() {
        assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        for (rows, columns) in [(1, 40), (40, 1), (33, 47), (0, 5)] {
            let matrix = values(rows * columns, 1);
            assert_eq!(transpose(&transpose(&matrix, rows, columns), columns, rows), matrix);
        }
    }

    fn case((rows, in_features, out_features): (usize, usize, usize)) -> Case {
        Case {
            shape: LinearShape { rows, in_features, out_features },
            x: values(rows * in_features, 1),
            // Exact in bf16 and f16, so that every type of weight has the same reference.
            weight: values(in_features * out_features, 2)
                .iter()
                .map(|v| (v * 128.0).round() / 128.0)
                .collect(),
            bias: values(out_features, 3),
        }
    }

    fn reference(x: &[f32], case: &Case, bias: bool) -> Vec<f64> {
        let LinearShape { in_features, out_features, .. } = case.shape;
        let mut y = Vec::new();
        for x in x.chunks(in_features) {
            for (output, weight) in case.weight.chunks(in_features).enumerate() {
                let sum: f64 = x.iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
                y.push(sum + if bias { f64::from(case.bias[output]) } else { 0.0 });
            }
        }
        assert_eq!(y.len(), case.shape.rows * out_features);
        y
    }

    fn bf16_values(values: &[f32]) -> Vec<bf16> {
        values.iter().map(|&v| bf16::from_f32(v)).collect()
    }

    fn f16_values(values: &[f32]) -> Vec<f16> {
        values.iter().map(|&v| f16::from_f32(v)).collect()
    }

    /// NaN everywhere: a value that is not written, or added to, shows.
    fn unwritten(shape: LinearShape) -> Vec<f32> {
        vec![f32::NAN; shape.rows * shape.out_features]
    }

    #[test]
    fn f32_weights_match_the_definition() {
        for case in SHAPES.map(case) {
            for bias in [None, Some(&case.bias[..])] {
                let mut y = unwritten(case.shape);
                linear(
                    &case.x,
                    WeightRef::F32(&case.transposed()),
                    Products::Exact,
                    case.shape,
                    bias,
                    &mut y,
                )
                .unwrap();
                assert_close(&y, &reference(&case.x, &case, bias.is_some()), 1e-5);
            }
        }
    }

    #[test]
    fn widened_weights_match_the_definition() {
        for case in SHAPES.map(case) {
            let want = reference(&case.x, &case, true);
            let mut y = unwritten(case.shape);
            linear_widened(&case.x, &bf16_values(&case.weight), case.shape, Some(&case.bias), &mut y);
            assert_close(&y, &want, 1e-5);
            let (mut y, f16) = (unwritten(case.shape), f16_values(&case.weight));
            linear(&case.x, WeightRef::F16(&f16), Products::Rounded, case.shape, Some(&case.bias), &mut y)
                .unwrap();
            assert_close(&y, &want, 1e-5);
        }
    }

    #[test]
    fn bf16_weights_match_the_definition_on_this_processor() {
        for case in SHAPES.map(case) {
            // Activations may have been rounded: 8 bits.
            for (products, tolerance) in [(Products::Rounded, 4e-3), (Products::Exact, 1e-5)] {
                let (mut y, weight) = (unwritten(case.shape), bf16_values(&case.weight));
                linear(&case.x, WeightRef::Bf16(&weight), products, case.shape, None, &mut y).unwrap();
                assert_close(&y, &reference(&case.x, &case, false), tolerance);
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_bf16_unit_multiplies_activations_rounded_or_whole() {
        let units = gemm_bf16::Bf16Unit::available();
        if units.is_empty() {
            eprintln!("skipped: this processor does not multiply bf16");
        }
        for (unit, case) in units.iter().flat_map(|unit| SHAPES.map(|shape| (*unit, case(shape)))) {
            let rounded: Vec<f32> = bf16_values(&case.x).iter().map(|v| v.to_f32()).collect();
            let weight = bf16_values(&case.weight);
            for (parts, x) in [(1, &rounded), (gemm_bf16::EXACT_PARTS, &case.x)] {
                for bias in [None, Some(&case.bias[..])] {
                    let mut y = unwritten(case.shape);
                    // SAFETY: the unit is available.
                    unsafe {
                        let layer = LinearRef { weight: &weight[..], bias, shape: case.shape };
                        gemm_bf16::linear(unit, parts, &case.x, layer, &mut y);
                    }
                    assert_close(&y, &reference(x, &case, bias.is_some()), 1e-5);
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit_and_other_rows_hardly() {
        let case = case((300, 1100, 170));
        let (f32, bf16, f16) = (case.transposed(), bf16_values(&case.weight), f16_values(&case.weight));
        for (weight, products) in [
            (WeightRef::F32(&f32), Products::Exact),
            (WeightRef::Bf16(&bf16), Products::Rounded),
            (WeightRef::Bf16(&bf16), Products::Exact),
            (WeightRef::F16(&f16), Products::Exact),
        ] {
            let with_threads = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut y = unwritten(case.shape);
                pool.install(|| linear(&case.x, weight, products, case.shape, Some(&case.bias), &mut y))
                    .unwrap();
                y
            };
            let all = with_threads(1);
            assert!(all == with_threads(3), "the number of threads shows");
            for (row, x) in case.x.chunks(1100).enumerate().step_by(37) {
                let mut alone = vec![f32::NAN; 170];
                let shape = LinearShape { rows: 1, ..case.shape };
                linear(x, weight, products, shape, Some(&case.bias), &mut alone).unwrap();
                let batched: Vec<f64> = all[row * 170..][..170].iter().map(|&v| f64::from(v)).collect();
                // A lone row is summed in another order.
                assert_close(&alone, &batched, 3e-6);
            }
        }
    }

    #[test]
    fn empty_and_ill_fitting_operands() {
        let shape = LinearShape { rows: 2, in_features: 3, out_features: 4 };
        let (x, w, bias) = ([1.0; 6], [1.0; 12], [0.5; 4]);
        let mut y = [0.0; 8];
        let got = linear(&x, WeightRef::F32(&w[1..]), Products::Exact, shape, None, &mut y);
        assert_eq!(
            got,
            Err(KernelError::Length { kernel: "linear", operand: "weight", expected: 12, got: 11 })
        );
        assert!(linear(&x[1..], WeightRef::F32(&w), Products::Exact, shape, None, &mut y).is_err());
        assert!(linear(&x, WeightRef::F32(&w), Products::Exact, shape, Some(&bias[1..]), &mut y).is_err());
        assert!(linear(&x, WeightRef::F32(&w), Products::Exact, shape, None, &mut y[1..]).is_err());
        let no_inputs = LinearShape { in_features: 0, ..shape };
        linear(&[], WeightRef::F32(&[]), Products::Exact, no_inputs, Some(&bias), &mut y).unwrap();
        assert_eq!(y, [0.5; 8]);
        let no_rows = LinearShape { rows: 0, ..shape };
        assert_eq!(linear(&[], WeightRef::F32(&w), Products::Exact, no_rows, None, &mut []), Ok(()));
    }
}
