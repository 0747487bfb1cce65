//! RMS normalisation (Zhang and Sennrich 2019), as Qwen2's `Qwen2RMSNorm`: `x / sqrt(mean(x^2) + eps) * weight`, all in f32.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::{sum_of, vectorised};

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
    fn ragged_rows_are_refused() {
        let error = rms_norm(&[1.0; 5], &[1.0; 2], 1e-6, &mut [0.0; 5]).unwrap_err();
        assert_eq!(error, KernelError::Length { kernel: "rms_norm", operand: "x", expected: 4, got: 5 });
        assert!(rms_norm(&[1.0; 4], &[1.0; 2], 1e-6, &mut [0.0; 2]).is_err());
        assert!(rms_norm(&[1.0; 4], &[], 1e-6, &mut [0.0; 4]).is_err());
        assert_eq!(rms_norm(&[], &[], 1e-6, &mut []), Ok(()));
    }
}
