//! What the kernels' tests share: values without a pattern, and a comparison against f64.

/// `len` values in -1..1 from a linear congruential generator; `seed` tells operands apart.
pub(super) fn values(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// Asserts that no value is further off than `tolerance` times the largest expected magnitude.
pub(super) fn assert_close(got: &[f32], want: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len());
    let largest = want.iter().fold(0f64, |m, v| m.max(v.abs()));
    for (i, (&g, &w)) in got.iter().zip(want).enumerate() {
        let off = (f64::from(g) - w).abs();
        assert!(
            off <= tolerance * largest,
            "value {i}: got {g}, expected {w}; off by {off:e} of {largest:e}"
        );
    }
}
