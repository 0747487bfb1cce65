//! Weights in floating point as checkpoints store them.

use std::ops::Range;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// The values of a matrix, row by row `[out, in]`.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// bfloat16.
    Bf16(&'a [bf16]),
    /// IEEE half precision.
    F16(&'a [f16]),
}

impl Floats<'_> {
    /// Writes the values of a range as f32.
    pub fn widen(self, range: Range<usize>, values: &mut [f32]) {
        match self {
            Self::F32(stored) => values.copy_from_slice(&stored[range]),
            Self::Bf16(stored) => stored[range].convert_to_f32_slice(values),
            Self::F16(stored) => stored[range].convert_to_f32_slice(values),
        }
    }
}
