//! Layer normalisation (Ba et al. 2016), as `torch.nn.LayerNorm`: `(x - mean) / sqrt(variance + eps) * weight +
//! bias`, with the variance of the whole row, all in f32.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::{dot, sum_of, vectorised};

/// Normalises every row of `x` `[rows, weight.len()]` into `out` of the same size.
///
/// # Errors
/// [`KernelError::Length`] when `x` is no whole number of rows or another operand differs in length.
pub fn layer_norm(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let width = weight.len();
    let rows = x.len().checked_div(width).unwrap_or(0);
    check_length("layer_norm", "x", rows * width, x.len())?;
    check_length("layer_norm", "bias", width, bias.len())?;
    check_length("layer_norm", "out", x.len(), out.len())?;
    if x.is_empty() {
        return Ok(());
    }
    for_each_rows(out, width, |first_row, out| {
        let x = &x[first_row * width..][..out.len()];
        vectorised(
            #[inline(always)]
            || {
                for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                    let Moments { mean, factor } = Moments::of(x, eps);
                    for (((out, &v), &w), &b) in out.iter_mut().zip(x).zip(weight).zip(bias) {
                        *out = (v - mean) * factor * w + b;
                    }
                }
            },
        );
    });
    Ok(())
}

/// What a row is moved and scaled by.
struct Moments {
    mean: f32,
    factor: f32,
}

impl Moments {
    #[inline(always)]
    fn of(x: &[f32], eps: f32) -> Self {
        let width = x.len() as f32;
        let mean = sum_of(x, |v| v) / width;
        let variance = sum_of(x, |v| (v - mean) * (v - mean)) / width;
        Self { mean, factor: 1.0 / (variance + eps).sqrt() }
    }
}

/// The gradients of [`layer_norm`], for `grad` of the shape of its output: that of `x` goes to `grad_x`, and
/// those of weight and bias to `grad_parameters` where they are asked for.
///
/// # Errors
/// [`KernelError::Length`] when the slices differ in length or `x` is no whole number of rows.
pub fn layer_norm_backward(
    x: &[f32],
    weight: &[f32],
    eps: f32,
    grad: &[f32],
    grad_x: &mut [f32],
    grad_parameters: Option<[&mut [f32]; 2]>,
) -> Result<(), KernelError> {
    let width = weight.len();
    let rows = x.len().checked_div(width).unwrap_or(0);
    check_length("layer_norm_backward", "x", rows * width, x.len())?;
    check_length("layer_norm_backward", "grad", x.len(), grad.len())?;
    check_length("layer_norm_backward", "grad_x", x.len(), grad_x.len())?;
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
                    let Moments { mean, factor } = Moments::of(x, eps);
                    for ((out, &g), &w) in grad_x.iter_mut().zip(grad).zip(weight) {
                        *out = g * w;
                    }
                    let sum = sum_of(grad_x, |g| g);
                    // The sum of the products with what `x` became.
                    let along = (dot(grad_x, x) - sum * mean) * factor;
                    let (shift, along) = (sum / width as f32, along / width as f32);
                    for (out, &v) in grad_x.iter_mut().zip(x) {
                        *out = (*out - shift - (v - mean) * factor * along) * factor;
                    }
                }
            },
        );
    });
    let Some([grad_weight, grad_bias]) = grad_parameters else { return Ok(()) };
    check_length("layer_norm_backward", "grad_weight", width, grad_weight.len())?;
    check_length("layer_norm_backward", "grad_bias", width, grad_bias.len())?;
    grad_weight.fill(0.0);
    grad_bias.fill(0.0);
    vectorised(
        #[inline(always)]
        || {
            for (x, grad) in x.chunks_exact(width).zip(grad.chunks_exact(width)) {
                let Moments { mean, factor } = Moments::of(x, eps);
                let parameters = grad_weight.iter_mut().zip(grad_bias.iter_mut());
                for ((parameters, &v), &g) in parameters.zip(x).zip(grad) {
                    *parameters.0 += (v - mean) * factor * g;
                    *parameters.1 += g;
                }
            }
        },
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    const EPS: f64 = 1e-6;

    fn definition(x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f64> {
        let rows = x.chunks(weight.len()).flat_map(|row| {
            let n = row.len() as f64;
            let mean = row.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
            let variance = row.iter().map(|&v| (f64::from(v) - mean).powi(2)).sum::<f64>() / n;
            let factor = 1.0 / (variance + EPS).sqrt();
            let parameters = weight.iter().zip(bias);
            row.iter()
                .zip(parameters)
                .map(|(&v, (&w, &b))| (f64::from(v) - mean) * factor * f64::from(w) + f64::from(b))
                .collect::<Vec<_>>()
        });
        rows.collect()
    }

    #[test]
    fn rows_match_the_definition_far_from_zero_too() {
        for (rows, width, offset) in [(1, 2, 0.0), (3, 17, 50.0), (5, 64, 0.0), (301, 640, -3.0)] {
            let x: Vec<f32> = values(rows * width, 1).iter().map(|v| v + offset).collect();
            let (weight, bias) = (values(width, 2), values(width, 3));
            let mut out = vec![0.0; x.len()];
            layer_norm(&x, &weight, &bias, EPS as f32, &mut out).unwrap();
            assert_close(&out, &definition(&x, &weight, &bias), 1e-5);
        }
    }

    #[test]
    fn gradients_match_finite_differences() {
        for (rows, width) in [(1, 5), (3, 17)] {
            let (x, grad) = (values(rows * width, 1), values(rows * width, 4));
            let (weight, bias) = (values(width, 2), values(width, 3));
            let loss = |x: &[f32], weight: &[f32], bias: &[f32]| -> f64 {
                definition(x, weight, bias).iter().zip(&grad).map(|(y, &g)| y * f64::from(g)).sum()
            };
            let slopes = |values: &[f32], loss: &dyn Fn(&[f32]) -> f64| -> Vec<f64> {
                let slope = |i: usize| {
                    let at = |step: f32| {
                        let mut moved = values.to_vec();
                        moved[i] += step;
                        (loss(&moved), f64::from(moved[i]))
                    };
                    let ((high, to), (low, from)) = (at(1e-2), at(-1e-2));
                    (high - low) / (to - from)
                };
                (0..values.len()).map(slope).collect()
            };
            let (mut grad_x, mut grad_w, mut grad_b) =
                (vec![0.0; x.len()], vec![0.0; width], vec![0.0; width]);
            let parameters = Some([&mut grad_w[..], &mut grad_b[..]]);
            layer_norm_backward(&x, &weight, EPS as f32, &grad, &mut grad_x, parameters).unwrap();
            assert_close(&grad_x, &slopes(&x, &|x| loss(x, &weight, &bias)), 3e-3);
            assert_close(&grad_w, &slopes(&weight, &|weight| loss(&x, weight, &bias)), 2e-3);
            assert_close(&grad_b, &slopes(&bias, &|bias| loss(&x, &weight, bias)), 2e-3);
        }
    }

    #[test]
    fn ragged_rows_are_refused() {
        let error = layer_norm(&[1.0; 5], &[1.0; 2], &[0.0; 2], 1e-6, &mut [0.0; 5]).unwrap_err();
        assert_eq!(error, KernelError::Length { kernel: "layer_norm", operand: "x", expected: 4, got: 5 });
        assert!(layer_norm(&[1.0; 4], &[1.0; 2], &[0.0; 3], 1e-6, &mut [0.0; 4]).is_err());
        assert!(layer_norm(&[1.0; 4], &[], &[], 1e-6, &mut [0.0; 4]).is_err());
        assert_eq!(layer_norm(&[], &[], &[], 1e-6, &mut []), Ok(()));
    }
}
