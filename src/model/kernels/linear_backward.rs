//! The backward pass of a linear layer whose weights are frozen: the gradient of its input, and nothing of
//! the weights' size.

use super::error::{KernelError, check_length};
use super::linear::{LinearShape, WeightRef};
use super::matmul::{MatrixRef, gemm_strided, matmul};
use super::parallel::SharedMut;
use super::simd::vectorised;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;
use std::cell::Cell;

/// Inputs of a task on the path for half-precision weights.
const COLUMNS: usize = 128;
/// Outputs widened at once there.
const PANEL: usize = 256;

/// Writes `grad * weight` to `grad_x`: `grad` is `[rows, out]`, `grad_x` `[rows, in]`.
///
/// Half-precision and int8 weights are widened a panel at a time.
///
/// # Errors
/// [`KernelError::Length`] when a slice does not have the length `shape` asks for.
pub fn linear_backward(
    grad: &[f32],
    weight: WeightRef<'_>,
    shape: LinearShape,
    grad_x: &mut [f32],
) -> Result<(), KernelError> {
    let LinearShape { rows, in_features, out_features } = shape;
    check_length("linear_backward", "grad", rows * out_features, grad.len())?;
    check_length("linear_backward", "weight", out_features * in_features, weight.len())?;
    check_length("linear_backward", "grad_x", rows * in_features, grad_x.len())?;
    match weight {
        WeightRef::F32(values) => {
            let grad = MatrixRef::new(grad, rows, out_features)?;
            let weight = MatrixRef::new(values, in_features, out_features)?;
            return matmul(grad, weight.t(), 1.0, false, grad_x);
        }
        WeightRef::F16(values) => widened(grad, half_rows(values, in_features), shape, grad_x),
        WeightRef::Bf16(values) => widened(grad, half_rows(values, in_features), shape, grad_x),
        WeightRef::PackedF32(matrix) => {
            let rows = |output, first, wide: &mut [f32]| matrix.widen(output, first, wide);
            widened(grad, rows, shape, grad_x);
        }
        WeightRef::PackedBf16(matrix) => {
            let rows = |output, first, wide: &mut [f32]| matrix.widen(output, first, wide);
            widened(grad, rows, shape, grad_x);
        }
        WeightRef::Int8(matrix) => {
            let rows = |output, first, wide: &mut [f32]| matrix.widen(output, first, wide);
            widened(grad, rows, shape, grad_x);
        }
    }
    Ok(())
}

/// Writes the sum of each column of `values`, which has as many as `sums`: the gradient of a bias.
///
/// # Errors
/// [`KernelError::Length`] when `values` is no whole number of rows.
pub fn column_sums(values: &[f32], sums: &mut [f32]) -> Result<(), KernelError> {
    let width = sums.len();
    let rows = values.len().checked_div(width).unwrap_or(0);
    check_length("column_sums", "values", rows * width, values.len())?;
    sums.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            for row in values.chunks_exact(width.max(1)) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
        },
    );
    Ok(())
}

/// Writes the values of an output's row from an input on.
fn half_rows<H: Sync>(weight: &[H], in_features: usize) -> impl Fn(usize, usize, &mut [f32]) + Sync
where
    [H]: HalfFloatSliceExt,
{
    move |output, first, wide| {
        let start = output * in_features + first;
        weight[start..start + wide.len()].convert_to_f32_slice(wide);
    }
}

/// By weights of which `row` writes those of an output from an input on.
fn widened(
    grad: &[f32],
    row: impl Fn(usize, usize, &mut [f32]) + Sync,
    shape: LinearShape,
    grad_x: &mut [f32],
) {
    thread_local! {
        static WIDENED: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    }
    let LinearShape { rows, in_features, out_features } = shape;
    if rows == 0 || out_features == 0 {
        grad_x.fill(0.0);
        return;
    }
    let grad_x = SharedMut::new(grad_x);
    (0..in_features).into_par_iter().step_by(COLUMNS).for_each(|first| {
        let columns = COLUMNS.min(in_features - first);
        let mut widened = WIDENED.take();
        for output in (0..out_features).step_by(PANEL) {
            let outputs = PANEL.min(out_features - output);
            widened.resize(outputs * columns, 0.0);
            for (output, wide) in (output..).zip(widened.chunks_exact_mut(columns)) {
                row(output, first, wide);
            }
            // SAFETY: this task alone writes its columns of `grad_x`; lengths were checked.
            unsafe {
                gemm_strided(
                    (rows, columns, outputs),
                    (grad.as_ptr().add(output), out_features, 1),
                    (widened.as_ptr(), columns, 1),
                    (grad_x.as_ptr().add(first), in_features),
                    output > 0,
                    1.0,
                );
            }
        }
        WIDENED.set(widened);
    });
}

#[cfg(test)]
mod tests {
    use super::super::bf16_matrix::Bf16Matrix;
    use super::super::f32_matrix::F32Matrix;
    use super::super::floats::Floats;
    use super::super::int8::Int8Matrix;
    use super::super::linear::transpose;
    use super::super::test_data::{assert_close, values};
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn columns_are_summed() {
        let mut sums = [f32::NAN; 2];
        column_sums(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &mut sums).unwrap();
        assert_eq!(sums, [9.0, 12.0]);
        column_sums(&[], &mut sums).unwrap();
        assert_eq!(sums, [0.0; 2]);
        assert!(column_sums(&[1.0; 3], &mut sums).is_err());
    }

    #[test]
    fn input_gradients_match_the_definition_for_every_type_of_weight() {
        for (rows, in_features, out_features) in [(1, 1, 1), (3, 5, 7), (40, 130, 300), (9, 257, 64)] {
            let shape = LinearShape { rows, in_features, out_features };
            let grad = values(rows * out_features, 1);
            // Exact in bf16 and f16.
            let weight: Vec<f32> =
                values(in_features * out_features, 2).iter().map(|v| (v * 128.0).round() / 128.0).collect();
            let want: Vec<f64> = (0..rows * in_features)
                .map(|i| {
                    let (row, input) = (i / in_features, i % in_features);
                    (0..out_features)
                        .map(|o| {
                            f64::from(grad[row * out_features + o])
                                * f64::from(weight[o * in_features + input])
                        })
                        .sum()
                })
                .collect();
            let f32 = transpose(&weight, out_features, in_features);
            let bf16: Vec<bf16> = weight.iter().map(|&v| bf16::from_f32(v)).collect();
            let f16: Vec<f16> = weight.iter().map(|&v| f16::from_f32(v)).collect();
            let int8 = Int8Matrix::round(in_features, out_features, |output, row| {
                row.copy_from_slice(&weight[output * in_features..(output + 1) * in_features]);
            });
            for (weight, tolerance) in [
                (WeightRef::F32(&f32), 1e-5),
                (
                    WeightRef::PackedF32(&F32Matrix::pack(Floats::F32(&weight), in_features, out_features)),
                    1e-5,
                ),
                (WeightRef::Bf16(&bf16), 1e-5),
                (WeightRef::PackedBf16(&Bf16Matrix::pack(&bf16, in_features, out_features)), 1e-5),
                (WeightRef::F16(&f16), 1e-5),
                (WeightRef::Int8(&int8), 1e-2),
            ] {
                let mut got = vec![f32::NAN; rows * in_features];
                linear_backward(&grad, weight, shape, &mut got).unwrap();
                assert_close(&got, &want, tolerance);
            }
            assert!(
                linear_backward(&grad[1..], WeightRef::F32(&f32), shape, &mut vec![0.0; want.len()]).is_err()
            );
        }
    }
}
