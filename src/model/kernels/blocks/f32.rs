//! Products of blocks in vectors of f32.

use std::arch::x86_64::*;

use super::super::line::{BLOCK, HALF, Line};
use super::units::F32Unit;
use super::{BLOCK_SUMS, Sums, share};

/// Inputs of a step, of which a line has one row.
pub(super) const STEP: usize = 16;

/// Copies up to 32 rows of activations into one block of as many steps as `lines` has room for, from the step
/// `first_step` on. Rows and inputs past the end become zero.
pub(super) fn pack_f32_activations(rows: &[f32], in_features: usize, first_step: usize, lines: &mut [Line]) {
    for (step, lines) in (first_step..).zip(lines.chunks_exact_mut(BLOCK)) {
        let inputs = step * STEP..in_features.min((step + 1) * STEP);
        for (row, line) in lines.iter_mut().enumerate() {
            let line = line.floats_mut();
            let values = rows.get(row * in_features + inputs.start..row * in_features + inputs.end);
            let values = values.unwrap_or_default();
            match <&[f32; STEP]>::try_from(values) {
                Ok(values) => *line = *values,
                Err(_) => {
                    line.fill(0.0);
                    line[..values.len()].copy_from_slice(values);
                }
            }
        }
    }
}

/// Writes the product of `num_rows` rows of a packed block with a packed panel of 32 outputs to those rows of `sums`,
/// or adds it to what is there. `ahead` are lines of weights that come next, of which a share is fetched meanwhile, as
/// are the rows and the sums that follow on these.
///
/// # Safety
/// The processor has the unit. `rows` and `weights` hold as many steps of [`BLOCK`] lines.
pub(super) unsafe fn multiply_f32(
    unit: F32Unit,
    (rows, num_rows): (&[Line], usize),
    (weights, ahead): (&[Line], &[Line]),
    add: bool,
    sums: &mut Sums,
) {
    // SAFETY: as the caller says.
    unsafe {
        match unit {
            F32Unit::Avx512 => avx512::multiply(rows, num_rows, weights, ahead, add, sums),
            F32Unit::Avx2 => avx2::multiply(rows, num_rows, weights, ahead, add, sums),
            #[cfg(test)]
            F32Unit::Emulated => emulated::multiply(rows, num_rows, weights, ahead, add, sums),
        }
    }
}

/// Fetches so many lines from a pointer on, wherever it leads.
macro_rules! fetch {
    ($hint:ident, $from:expr, $lines:expr) => {
        for line in 0..$lines {
            _mm_prefetch::<$hint>($from.wrapping_add(line).cast());
        }
    };
}

/// The product by vectors of `$lanes` values, of which `$wide` are side by side in a strip of outputs; a strip of the
/// weights of one input has its second vector `$apart` values behind the first.
macro_rules! by_vectors {
    (
        $module:ident, $features:literal, lanes $lanes:literal, apart $apart:expr,
        rows $max_rows:literal: $($count:literal)+,
        $zero:ident, $load:ident, $store:ident, $broadcast:ident, $multiply_add:ident
    ) => {
        mod $module {
            use super::*;

            /// Rows whose sums fit into the registers, beside what they are made of.
            const MAX_ROWS: usize = $max_rows;
            /// Strips of outputs in a block.
            const STRIPS: usize = BLOCK / (2 * $lanes);
            /// Rows ahead of which a strip fetches a line in each step.
            const ROWS_AHEAD: usize = MAX_ROWS.div_ceil(STRIPS);

            /// # Safety
            /// As [`multiply_f32`].
            #[target_feature(enable = $features)]
            pub(super) unsafe fn multiply(
                rows: &[Line],
                num_rows: usize,
                weights: &[Line],
                ahead: &[Line],
                add: bool,
                sums: &mut Sums,
            ) {
                let steps = rows.len() / BLOCK;
                let next_sums = std::ptr::from_mut(sums).wrapping_add(1).cast::<Line>();
                let chunks = num_rows.div_ceil(MAX_ROWS);
                for chunk in 0..chunks {
                    let some = share(num_rows, chunks, chunk);
                    let (rows, end) = (rows.as_ptr().wrapping_add(some.start), rows.as_ptr_range().end);
                    // Rows are short enough for the first-level cache to hold them for all strips.
                    let next = if some.end < num_rows { rows.wrapping_add(some.len()) } else { end };
                    for strip in 0..STRIPS {
                        let rows_ahead = next.wrapping_add(strip * ROWS_AHEAD);
                        let weights = weights.as_ptr().wrapping_add(strip * HALF);
                        let sums = sums.0.as_mut_ptr().wrapping_add(some.start * BLOCK + strip * 2 * $lanes);
                        let fetched = share(BLOCK_SUMS / HALF, STRIPS * chunks, chunk * STRIPS + strip);
                        fetch!(_MM_HINT_T0, next_sums.wrapping_add(fetched.start), fetched.len());
                        // SAFETY: the rows and the strip lie within what the caller vouches for.
                        unsafe {
                            match some.len() {
                                $($count => strip_of::<$count>(rows, weights, steps, add, sums, rows_ahead),)+
                                _ => strip_of::<MAX_ROWS>(rows, weights, steps, add, sums, rows_ahead),
                            }
                        }
                    }
                }
                fetch!(_MM_HINT_T1, ahead.as_ptr(), ahead.len().min(2 * steps));
            }

            /// Some rows of a strip of two vectors.
            ///
            /// # Safety
            /// As [`multiply_f32`], of `R` rows.
            #[target_feature(enable = $features)]
            unsafe fn strip_of<const R: usize>(
                rows: *const Line,
                weights: *const Line,
                steps: usize,
                add: bool,
                sums: *mut f32,
                rows_ahead: *const Line,
            ) {
                let mut totals = [[$zero(); 2]; R];
                if add {
                    for (row, total) in totals.iter_mut().enumerate() {
                        // SAFETY: within the caller's sums.
                        *total = [0, $lanes].map(|lane| unsafe { $load(sums.add(row * BLOCK + lane)) });
                    }
                }
                for step in 0..steps {
                    fetch!(_MM_HINT_T0, rows_ahead.wrapping_add(step * BLOCK), ROWS_AHEAD);
                    // SAFETY: a step has 32 lines of sixteen values (caller).
                    unsafe {
                        let rows = rows.add(step * BLOCK).cast::<f32>();
                        let weights = weights.add(step * BLOCK).cast::<f32>();
                        for input in 0..STEP {
                            let w = [0, $apart].map(|lane| $load(weights.add(input * HALF + lane)));
                            for (row, total) in totals.iter_mut().enumerate() {
                                let x = $broadcast(rows.add(row * STEP + input).read());
                                total[0] = $multiply_add(x, w[0], total[0]);
                                total[1] = $multiply_add(x, w[1], total[1]);
                            }
                        }
                    }
                }
                for (row, total) in totals.into_iter().enumerate() {
                    for (lane, total) in [0, $lanes].into_iter().zip(total) {
                        // SAFETY: within the caller's sums.
                        unsafe { $store(sums.add(row * BLOCK + lane), total) };
                    }
                }
            }
        }
    };
}

by_vectors!(
    avx2, "avx2,fma", lanes 8, apart 8,
    rows 6: 1 2 3 4 5,
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps
);
by_vectors!(
    avx512, "avx512f", lanes 16, apart HALF * HALF,
    rows 11: 1 2 3 4 5 6 7 8 9 10,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps
);

/// Vectors as those of AVX-512, for its blocks to be tested anywhere.
#[cfg(test)]
mod sixteen {
    pub(super) type Vector = [f32; 16];

    pub(super) fn zero() -> Vector {
        [0.0; 16]
    }

    pub(super) fn broadcast(value: f32) -> Vector {
        [value; 16]
    }

    pub(super) unsafe fn load(from: *const f32) -> Vector {
        // SAFETY: as the caller says.
        unsafe { from.cast::<Vector>().read() }
    }

    pub(super) unsafe fn store(to: *mut f32, values: Vector) {
        // SAFETY: as the caller says.
        unsafe { to.cast::<Vector>().write(values) }
    }

    pub(super) fn multiply_add(a: Vector, b: Vector, c: Vector) -> Vector {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
}
#[cfg(test)]
use sixteen::{broadcast, load, multiply_add, store, zero};

#[cfg(test)]
by_vectors!(
    emulated, "sse2", lanes 16, apart HALF * HALF,
    rows 11: 1 2 3 4 5 6 7 8 9 10,
    zero, load, store, broadcast, multiply_add
);
