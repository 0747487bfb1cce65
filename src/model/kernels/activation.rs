//! What stands between the linear layers of a gated MLP: `silu(gate) * up`, and the residual sum.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::{exp, vectorised};

/// `gate = silu(gate) * up`, with `silu(x) = x / (1 + exp(-x))`.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn silu_mul(gate: &mut [f32], up: &[f32]) -> Result<(), KernelError> {
    check_length("silu_mul", "up", gate.len(), up.len())?;
    for_each_rows(gate, 1, |first, gate| {
        let up = &up[first..][..gate.len()];
        vectorised(
            #[inline(always)]
            || {
                for (gate, &up) in gate.iter_mut().zip(up) {
                    *gate = silu(*gate) * up;
                }
            },
        );
    });
    Ok(())
}

/// The gradients of `silu(gate) * up` for `grad` of its shape.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn silu_mul_backward(
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) -> Result<(), KernelError> {
    for (operand, got) in [("up", up.len()), ("grad", grad.len()), ("grad_gate", grad_gate.len())] {
        check_length("silu_mul_backward", operand, gate.len(), got)?;
    }
    check_length("silu_mul_backward", "grad_up", gate.len(), grad_up.len())?;
    for_each_rows(grad_gate, 1, |first, out| {
        let (gate, up, grad) = (&gate[first..], &up[first..], &grad[first..]);
        vectorised(
            #[inline(always)]
            || {
                for (((out, &x), &up), &grad) in out.iter_mut().zip(gate).zip(up).zip(grad) {
                    let sigmoid = 1.0 / (1.0 + exp(-x));
                    *out = grad * up * sigmoid * (1.0 + x * (1.0 - sigmoid));
                }
            },
        );
    });
    for_each_rows(grad_up, 1, |first, out| {
        let (gate, grad) = (&gate[first..], &grad[first..]);
        vectorised(
            #[inline(always)]
            || {
                for ((out, &gate), &grad) in out.iter_mut().zip(gate).zip(grad) {
                    *out = grad * silu(gate);
                }
            },
        );
    });
    Ok(())
}

/// `x += y`.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn add(x: &mut [f32], y: &[f32]) -> Result<(), KernelError> {
    check_length("add", "y", x.len(), y.len())?;
    for_each_rows(x, 1, |first, x| {
        let y = &y[first..][..x.len()];
        vectorised(
            #[inline(always)]
            || x.iter_mut().zip(y).for_each(|(x, &y)| *x += y),
        );
    });
    Ok(())
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    /// 70 001 values are more than two tasks and no multiple of a vector.
    const LENGTHS: [usize; 5] = [0, 1, 17, 1000, 70_001];

    fn silu_f64(x: f32) -> f64 {
        f64::from(x) / (1.0 + f64::from(-x).exp())
    }

    #[test]
    fn silu_mul_matches_the_definition() {
        for len in LENGTHS {
            let gate: Vec<f32> = values(len, 1).iter().map(|v| v * 20.0).collect();
            let up = values(len, 2);
            let want: Vec<f64> = gate.iter().zip(&up).map(|(&g, &u)| silu_f64(g) * f64::from(u)).collect();
            let mut got = gate;
            silu_mul(&mut got, &up).unwrap();
            assert_close(&got, &want, 1e-6);
        }
    }

    #[test]
    fn silu_mul_gradients_match_the_definition() {
        for len in LENGTHS {
            let gate: Vec<f32> = values(len, 1).iter().map(|v| v * 20.0).collect();
            let (up, grad) = (values(len, 2), values(len, 3));
            let slope = |x: f32| {
                let sigmoid = 1.0 / (1.0 + f64::from(-x).exp());
                sigmoid * (1.0 + f64::from(x) * (1.0 - sigmoid))
            };
            let each = |value: &dyn Fn(usize) -> f64| (0..len).map(value).collect::<Vec<f64>>();
            let want_gate = each(&|i| f64::from(grad[i]) * f64::from(up[i]) * slope(gate[i]));
            let want_up = each(&|i| f64::from(grad[i]) * silu_f64(gate[i]));
            let (mut grad_gate, mut grad_up) = (vec![0.0; len], vec![0.0; len]);
            silu_mul_backward(&gate, &up, &grad, &mut grad_gate, &mut grad_up).unwrap();
            assert_close(&grad_gate, &want_gate, 1e-6);
            assert_close(&grad_up, &want_up, 1e-6);
        }
    }

    #[test]
    fn extreme_gates_saturate() {
        let mut gate = [-1e30, -200.0, 0.0, 200.0, 1e30];
        silu_mul(&mut gate, &[1.0; 5]).unwrap();
        assert_eq!(gate[2..], [0.0, 200.0, 1e30]);
        assert!(gate[1].abs() < 1e-30);
    }

    #[test]
    fn add_adds() {
        for len in LENGTHS {
            let (mut x, y) = (values(len, 1), values(len, 2));
            let want: Vec<f32> = x.iter().zip(&y).map(|(x, y)| x + y).collect();
            add(&mut x, &y).unwrap();
            assert_eq!(x, want);
        }
        assert!(add(&mut [0.0; 2], &[0.0; 3]).is_err());
        assert!(silu_mul(&mut [0.0; 2], &[0.0; 3]).is_err());
    }
}
