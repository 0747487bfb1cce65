//! What stands between the linear layers of a gated MLP: `activation(gate) * up`, and the residual sum.

use super::error::{KernelError, check_length};
use super::parallel::for_each_rows;
use super::simd::{exp, vectorised};

/// What a gate goes through, by the names that transformers has for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`: `silu` and `swish`.
    #[default]
    Silu,
    /// `x * (1 + erf(x / sqrt(2))) / 2`: `gelu`.
    Gelu,
    /// The approximation of that by a hyperbolic tangent: `gelu_new`, `gelu_pytorch_tanh`.
    GeluTanh,
    /// `x * sigmoid(1.702 x)`: `quick_gelu`.
    QuickGelu,
    /// `max(x, 0)`: `relu`.
    Relu,
}

/// `gate = activation(gate) * up`.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn gated_mul(activation: Activation, gate: &mut [f32], up: &[f32]) -> Result<(), KernelError> {
    check_length("gated_mul", "up", gate.len(), up.len())?;
    gate_by(activation, gate, up);
    Ok(())
}

/// [`gated_mul`] of slices that are known to be of one length.
pub(super) fn gate_by(activation: Activation, gate: &mut [f32], up: &[f32]) {
    match activation {
        Activation::Silu => gated::<Silu>(gate, up),
        Activation::Gelu => gated::<Gelu>(gate, up),
        Activation::GeluTanh => gated::<GeluTanh>(gate, up),
        Activation::QuickGelu => gated::<QuickGelu>(gate, up),
        Activation::Relu => gated::<Relu>(gate, up),
    }
}

fn gated<C: Curve>(gate: &mut [f32], up: &[f32]) {
    for_each_rows(gate, 1, |first, gate| {
        let up = &up[first..][..gate.len()];
        vectorised(
            #[inline(always)]
            || {
                for (gate, &up) in gate.iter_mut().zip(up) {
                    *gate = C::value(*gate) * up;
                }
            },
        );
    });
}

/// The gradients of `activation(gate) * up` for `grad` of its shape.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn gated_mul_backward(
    activation: Activation,
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) -> Result<(), KernelError> {
    for (operand, got) in [("up", up.len()), ("grad", grad.len()), ("grad_gate", grad_gate.len())] {
        check_length("gated_mul_backward", operand, gate.len(), got)?;
    }
    check_length("gated_mul_backward", "grad_up", gate.len(), grad_up.len())?;
    match activation {
        Activation::Silu => gated_backward::<Silu>(gate, up, grad, grad_gate, grad_up),
        Activation::Gelu => gated_backward::<Gelu>(gate, up, grad, grad_gate, grad_up),
        Activation::GeluTanh => gated_backward::<GeluTanh>(gate, up, grad, grad_gate, grad_up),
        Activation::QuickGelu => gated_backward::<QuickGelu>(gate, up, grad, grad_gate, grad_up),
        Activation::Relu => gated_backward::<Relu>(gate, up, grad, grad_gate, grad_up),
    }
    Ok(())
}

fn gated_backward<C: Curve>(
    gate: &[f32],
    up: &[f32],
    grad: &[f32],
    grad_gate: &mut [f32],
    grad_up: &mut [f32],
) {
    for_each_rows(grad_gate, 1, |first, out| {
        let (gate, up, grad) = (&gate[first..], &up[first..], &grad[first..]);
        vectorised(
            #[inline(always)]
            || {
                for (((out, &x), &up), &grad) in out.iter_mut().zip(gate).zip(up).zip(grad) {
                    *out = grad * up * C::slope(x);
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
                    *out = grad * C::value(gate);
                }
            },
        );
    });
}

/// `values = activation(values)`.
pub fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Silu => activated::<Silu>(values),
        Activation::Gelu => activated::<Gelu>(values),
        Activation::GeluTanh => activated::<GeluTanh>(values),
        Activation::QuickGelu => activated::<QuickGelu>(values),
        Activation::Relu => activated::<Relu>(values),
    }
}

fn activated<C: Curve>(values: &mut [f32]) {
    for_each_rows(values, 1, |_, values| {
        vectorised(
            #[inline(always)]
            || values.iter_mut().for_each(|value| *value = C::value(*value)),
        );
    });
}

/// The gradient of [`activate`] on `x`, in the place of `grad` of its result.
///
/// # Errors
/// [`KernelError::Length`] when the lengths differ.
pub fn activate_backward(activation: Activation, x: &[f32], grad: &mut [f32]) -> Result<(), KernelError> {
    check_length("activate_backward", "x", grad.len(), x.len())?;
    match activation {
        Activation::Silu => activated_backward::<Silu>(x, grad),
        Activation::Gelu => activated_backward::<Gelu>(x, grad),
        Activation::GeluTanh => activated_backward::<GeluTanh>(x, grad),
        Activation::QuickGelu => activated_backward::<QuickGelu>(x, grad),
        Activation::Relu => activated_backward::<Relu>(x, grad),
    }
    Ok(())
}

fn activated_backward<C: Curve>(x: &[f32], grad: &mut [f32]) {
    for_each_rows(grad, 1, |first, grad| {
        let x = &x[first..][..grad.len()];
        vectorised(
            #[inline(always)]
            || grad.iter_mut().zip(x).for_each(|(grad, &x)| *grad *= C::slope(x)),
        );
    });
}

/// An activation and its derivative. Both are inlined into loops over vectors.
trait Curve {
    fn value(x: f32) -> f32;
    fn slope(x: f32) -> f32;
}

struct Silu;

impl Curve for Silu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x / (1.0 + exp(-x))
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let sigmoid = sigmoid(x);
        sigmoid * (1.0 + x * (1.0 - sigmoid))
    }
}

struct Gelu;

impl Curve for Gelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * normal_share(x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        // 1 / sqrt(2 pi)
        normal_share(x) + x * 0.398_942_3 * exp(-0.5 * x * x)
    }
}

struct GeluTanh;

impl GeluTanh {
    /// Twice the argument of the hyperbolic tangent: `1 + tanh(y)` is `2 sigmoid(2 y)`.
    #[inline(always)]
    fn inner(x: f32) -> f32 {
        // 2 sqrt(2 / pi)
        1.595_769_2 * (x + 0.044_715 * x * x * x)
    }
}

impl Curve for GeluTanh {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(Self::inner(x))
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let sigmoid = sigmoid(Self::inner(x));
        sigmoid * (1.0 + x * (1.0 - sigmoid) * 1.595_769_2 * (1.0 + 3.0 * 0.044_715 * x * x))
    }
}

struct QuickGelu;

impl Curve for QuickGelu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        x * sigmoid(1.702 * x)
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        let sigmoid = sigmoid(1.702 * x);
        sigmoid * (1.0 + 1.702 * x * (1.0 - sigmoid))
    }
}

struct Relu;

impl Curve for Relu {
    #[inline(always)]
    fn value(x: f32) -> f32 {
        if x > 0.0 { x } else { 0.0 }
    }

    #[inline(always)]
    fn slope(x: f32) -> f32 {
        if x > 0.0 { 1.0 } else { 0.0 }
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// The normal distribution's share below `x`, `(1 + erf(x / sqrt(2))) / 2`, within 1e-7 (Abramowitz and
/// Stegun 7.1.26).
#[inline(always)]
fn normal_share(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152_1;
    p = p * t + 1.421_413_7;
    p = p * t - 0.284_496_72;
    p = p * t + 0.254_829_6;
    let beyond = 0.5 * p * t * exp(-z * z);
    if x > 0.0 { 1.0 - beyond } else { beyond }
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

#[cfg(test)]
mod tests {
    use super::super::test_data::{assert_close, values};
    use super::*;

    /// 70 001 values are more than two tasks and no multiple of a vector.
    const LENGTHS: [usize; 5] = [0, 1, 17, 1000, 70_001];

    const ALL: [Activation; 5] =
        [Activation::Silu, Activation::Gelu, Activation::GeluTanh, Activation::QuickGelu, Activation::Relu];

    fn sigmoid_f64(x: f64) -> f64 {
        1.0 / (1.0 + (-x).exp())
    }

    /// Simpson's rule over the normal density from 0 to `x`.
    fn normal_f64(x: f64) -> f64 {
        let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let step = x / 400.0;
        let sum: f64 = (0..200)
            .map(|i| f64::from(2 * i) * step)
            .map(|at| density(at) + 4.0 * density(at + step) + density(at + 2.0 * step))
            .sum();
        0.5 + sum * step / 3.0
    }

    fn definition(activation: Activation, x: f64) -> f64 {
        match activation {
            Activation::Silu => x * sigmoid_f64(x),
            Activation::Gelu => x * normal_f64(x.clamp(-12.0, 12.0)),
            Activation::GeluTanh => {
                0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
            }
            Activation::QuickGelu => x * sigmoid_f64(1.702 * x),
            Activation::Relu => x.max(0.0),
        }
    }

    #[test]
    fn gates_and_their_gradients_match_the_definition() {
        for (activation, len) in ALL.into_iter().flat_map(|a| LENGTHS.map(|len| (a, len))) {
            let mut gate: Vec<f32> = values(len, 1).iter().map(|v| v * 20.0).collect();
            if let Some(first) = gate.first_mut() {
                // A lone value far out would be measured by its own smallness.
                *first = 3.0;
            }
            let (up, grad) = (values(len, 2), values(len, 3));
            let each = |value: &dyn Fn(usize) -> f64| (0..len).map(value).collect::<Vec<f64>>();
            let value = |i: usize| definition(activation, f64::from(gate[i]));
            let slope = |i: usize| {
                let (x, step) = (f64::from(gate[i]), 1e-5);
                (definition(activation, x + step) - definition(activation, x - step)) / (2.0 * step)
            };
            let mut got = gate.clone();
            gated_mul(activation, &mut got, &up).unwrap();
            assert_close(&got, &each(&|i| value(i) * f64::from(up[i])), 1e-6);
            let (mut grad_gate, mut grad_up) = (vec![0.0; len], vec![0.0; len]);
            gated_mul_backward(activation, &gate, &up, &grad, &mut grad_gate, &mut grad_up).unwrap();
            assert_close(&grad_gate, &each(&|i| f64::from(grad[i]) * f64::from(up[i]) * slope(i)), 2e-6);
            assert_close(&grad_up, &each(&|i| f64::from(grad[i]) * value(i)), 1e-6);
            let (mut alone, mut back) = (gate.clone(), grad.clone());
            activate(activation, &mut alone);
            activate_backward(activation, &gate, &mut back).unwrap();
            assert_close(&alone, &each(&value), 1e-6);
            assert_close(&back, &each(&|i| f64::from(grad[i]) * slope(i)), 2e-6);
        }
    }

    #[test]
    fn extreme_gates_saturate() {
        for activation in ALL {
            let mut gate = [-1e30, -200.0, 0.0, 200.0, 1e30];
            gated_mul(activation, &mut gate, &[1.0; 5]).unwrap();
            assert_eq!(gate[2..], [0.0, 200.0, 1e30], "{activation:?}");
            assert!(gate[1].abs() < 1e-30);
        }
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
        assert!(gated_mul(Activation::Silu, &mut [0.0; 2], &[0.0; 3]).is_err());
    }
}
