//! The few functions the row kernels share, written so that the compiler turns them into vector code.
//!
//! [`vectorised`] runs a closure compiled for the widest vectors of this processor. Sums go through sixteen
//! independent lanes, since the compiler may not reorder float additions by itself.

/// Values added side by side: one vector of AVX-512, two of AVX2, four of SSE2 or NEON.
pub(super) const LANES: usize = 16;

/// Runs `work` compiled for the vectors of this processor. Closures have to be `#[inline(always)]`, and what
/// they call as well.
pub(super) fn vectorised<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// `exp(x)` within 2e-7 of its value, between the smallest and the largest normal f32; beyond them it
/// saturates. NaN stays NaN.
///
/// Cody and Waite: `exp(x) = 2^n * exp(r)` with `n = round(x / ln 2)`, and a polynomial for `|r| <= ln 2 / 2`
/// (Cephes `expf`).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.0;
    // Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits of the sum.
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < LOWEST { LOWEST } else { x };
    let x = if x > HIGHEST { HIGHEST } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut p = 1.987_569_1e-4;
    p = p * r + 1.398_199_9e-3;
    p = p * r + 8.333_452e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 1.666_666_5e-1;
    p = p * r + 5e-1;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1f32.to_bits()));
    (p * r * r + r + 1.0) * power
}

/// Sum of `value` over `values`.
#[inline(always)]
pub(super) fn sum_of(values: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += value(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += value(v);
    }
    lanes.iter().sum()
}

/// Sum of the products of `a` and `b`, as far as both reach.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for ((lane, &a), &b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

/// Largest `value` of `values`, at least `floor`. NaN is passed over.
#[inline(always)]
pub(super) fn max_of(values: &[f32], floor: f32, value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [floor; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            let v = value(v);
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        let v = value(v);
        *lane = if v > *lane { v } else { *lane };
    }
    // In halves, which vectors do in four steps.
    for half in [8, 4, 2, 1] {
        let (low, high) = lanes.split_at_mut(half);
        for (low, &high) in low.iter_mut().zip(&*high) {
            *low = if high > *low { high } else { *low };
        }
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere() {
        let xs: Vec<f32> = (-87_000..88_000).map(|i| i as f32 * 1e-3).collect();
        let wide: Vec<f32> = vectorised(
            #[inline(always)]
            || xs.iter().map(|&x| exp(x)).collect(),
        );
        for (&x, got) in xs.iter().zip(wide) {
            let want = f64::from(x).exp();
            assert!((f64::from(got) / want - 1.0).abs() < 2e-7, "exp({x}) = {got}, not {want}");
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 2e-7);
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 2e-38);
        assert!(exp(1e9) > 1e38 && exp(1e9).is_finite());
    }

    #[test]
    fn reductions_cover_the_rest_of_the_last_vector() {
        for len in [0, 1, 15, 16, 17, 40, 100] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            assert_eq!(sum_of(&values, |v| v), (0..len).sum::<usize>() as f32);
            assert_eq!(max_of(&values, -1.0, |v| v), len as f32 - 1.0);
            assert_eq!(dot(&values, &values), (0..len).map(|v| v * v).sum::<usize>() as f32);
        }
        assert_eq!(max_of(&[-3.0, f32::NAN, -2.0], f32::NEG_INFINITY, |v| v), -2.0);
    }
}
