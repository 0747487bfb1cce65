//! RMS normalisation (Zhang and Sennrich 2019), as Qwen2's `Qwen2RMSNorm`: `x / sqrt(mean(x^2) + eps) *
//! weight`, all in f32.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::{dot, sum_of, vectorised};

/// Normalises every row of `x` `[rows, weight.len()]` into `out` of the same size.
///
/// # Errors
/// [`KernelError::Length`] when `x` is no whole number of rows or `out` differs in length.
pub fn rms_norm(x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) -> Result<(), KernelError> {
    let width = weight.len();
    let rows = x.len().checked_div(width).unwrap_or(0);
    check_length("rms_norm", "x", rows * width, x.len())?;
    check_length("rms_norm", "out", x.len(), out.len())?;
    if x.is_empty() {
        return Ok(());
    }
    for_each_rows(out, width, |first_row, out| {
        let x = &x[first_row * width..][..out.len()];
        vectorised(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let mean_square = sum_of(x, |v| v * v) / width as f32;
                    let factor = 1.0 / (mean_square + eps).sqrt();
                    for ((out, &v), &w) in out.iter_mut().zip(x).zip(weight) {
                        *out = v * factor * w;
                    }
                }
            },
        );
    });
    Ok(())
}

/// The gradients of [`rms_norm`], for `grad` of the shape of its output: that of `x` goes to `grad_x`, and
/// that of `weight` to `grad_weight` where it is asked for.
///
/// # Errors
/// [`KernelError::Length`] when the slices differ in length or `x` is no whole number of rows.
pub fn rms_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_weight: Option<&mut [f32]>,
) -> Result<(), KernelError> {
    let width = weight.len();
    let rows = x.len().checked_div(width).unwrap_or(0);
    check_length("rms_norm_backward", "x", rows * width, x.len())?;
    check_length("rms_norm_backward", "grad", x.len(), grad.len())?;
    check_length("rms_norm_backward", "grad_x", x.len(), grad_x.len())?;
    if x.is_empty() {
        return Ok(());
    }
    for_each_rows(grad_x, width, |first_row, grad_x| {
        let (x, grad) = (&x[first_row * width..][..grad_x.len()], &grad[first_row * width..][..grad_x.len()]);
        vectorised(
            #[inline(always)]
            || {
                let rows = x.chunks_exact(width).zip(grad.chunks_exact(width));
                for (grad_x, (x, grad)) in grad_x.chunks_exact_mut(width).zip(rows) {
                    let factor = 1.0 / (sum_of(x, |v| v * v) / width as f32 + eps).sqrt();
                    for ((out, &g), &w) in grad_x.iter_mut().zip(grad).zip(weight) {
                        *out = g * w;
                    }
                    let along = dot(grad_x, x) * factor * factor / width as f32;
                    for (out, &v) in grad_x.iter_mut().zip(x) {
                        *out = (*out - v * along) * factor;
                    }
                }
            },
        );
    });
    if let Some(grad_weight) = grad_weight {
        check_length("rms_norm_backward", "grad_weight", width, grad_weight.len())?;
        grad_weight.fill(0.0);
        vectorised(
            #[inline(always)]
            || {
                for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
                    let factor = 1.0 / (sum_of(x, |v| v * v) / width as f32 + eps).sqrt();
                    for ((out, &v), &g) in grad_weight.iter_mut().zip(x).zip(grad) {
                        *out += v * factor * g;
                    }
                }
            },
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    #[test]
    fn rows_match_the_definition() {
        for (rows, width) in [(1, 1), (3, 17), (5, 64), (301, 640)] {
            let (x, weight) = (values(rows * width, 1), values(width, 2));
            let mut out = vec![0.0; x.len()];
            rms_norm(&x, &weight, 1e-6, &mut out).unwrap();
            let want: Vec<f64> = x
                .chunks(width)
                .flat_map(|row| {
                    let mean = row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
                    let factor = 1.0 / (mean + 1e-6).sqrt();
                    row.iter().zip(&weight).map(move |(&v, &w)| f64::from(v) * factor * f64::from(w))
                })
                .collect();
            assert_close(&out, &want, 1e-6);
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for (rows, width) in [(1, 5), (3, 17)] {
            let (x, weight, grad) = (values(rows * width, 1), values(width, 2), values(rows * width, 3));
            let loss = |x: &[f32], weight: &[f32]| -> f64 {
                let rows = x.chunks(width).zip(grad.chunks(width));
                rows.map(|(x, grad)| {
                    let mean = x.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>() / width as f64;
                    let factor = 1.0 / (mean + 1e-6).sqrt();
                    let terms = x.iter().zip(weight).zip(grad);
                    terms
                        .map(|((&x, &w), &g)| f64::from(x) * factor * f64::from(w) * f64::from(g))
                        .sum::<f64>()
                })
                .sum()
            };
            let slope = |values: &[f32], i: usize, loss: &dyn Fn(&[f32]) -> f64| {
                let at = |step: f32| {
                    let mut moved = values.to_vec();
                    moved[i] += step;
                    (loss(&moved), f64::from(moved[i]))
                };
                let ((high, to), (low, from)) = (at(1e-2), at(-1e-2));
                (high - low) / (to - from)
            };
            let want_x: Vec<f64> = (0..x.len()).map(|i| slope(&x, i, &|x| loss(x, &weight))).collect();
            let want_w: Vec<f64> = (0..width).map(|i| slope(&weight, i, &|w| loss(&x, w))).collect();
            let (mut grad_x, mut grad_w) = (vec![0.0; x.len()], vec![0.0; width]);
            rms_norm_backward(&x, &weight, 1e-6, &grad, &mut grad_x, Some(&mut grad_w)).unwrap();
            assert_close(&grad_x, &want_x, 2e-3);
            assert_close(&grad_w, &want_w, 2e-3);
        }
    }

    #[test]
    fn ragged_rows_are_refused() {
        let error = rms_norm(&[1.0; 5], &[1.0; 2], 1e-6, &mut [0.0; 5]).unwrap_err();
        assert_eq!(error, KernelError::Length { kernel: "rms_norm", operand: "x", expected: 4, got: 5 });
        assert!(rms_norm(&[1.0; 4], &[1.0; 2], 1e-6, &mut [0.0; 2]).is_err());
        assert!(rms_norm(&[1.0; 4], &[], 1e-6, &mut [0.0; 4]).is_err());
        assert_eq!(rms_norm(&[], &[], 1e-6, &mut []), Ok(()));
    }
}
