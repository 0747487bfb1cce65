//! Blocks of 32 x 32 in the layout that the processor's bf16 products want: how they are laid out, and multiplied.

use std::arch::x86_64::*;

use std::ops::Range;

use half::bf16;

use super::super::amx::{Parts, Tiles};
use super::super::line::{BLOCK, HALF, Line};

/// Parts of 8 bits that the 24 bits of an f32 are cut into.
const EXACT_PARTS: usize = 3;

/// Rounds up to 32 rows of activations into one block of as many steps as `lines` has room for, from the step
/// `first_step` on. A step has `parts` parts: the values, and what the parts before leave of them. Rows and inputs
/// past the end become zero.
///
/// # Safety
/// The processor has AVX512F, BW and BF16. `rows` is a whole number of rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) unsafe fn pack_activations(
    rows: &[f32],
    in_features: usize,
    first_step: usize,
    parts: usize,
    lines: &mut [Line],
) {
    for row in 0..BLOCK {
        let values = rows.get(row * in_features..(row + 1) * in_features);
        for (step, lines) in (first_step..).zip(lines.chunks_exact_mut(parts * BLOCK)) {
            let lines = lines.iter_mut().skip(row).step_by(BLOCK);
            let Some(values) = values else {
                lines.for_each(|line| *line = Line::ZERO);
                continue;
            };
            let inputs = &values[step * BLOCK..in_features.min((step + 1) * BLOCK)];
            let mask = u32::MAX >> (BLOCK - inputs.len());
            // SAFETY: masked loads read the `inputs.len()` values only.
            let (mut low, mut high) = unsafe {
                let high = inputs.as_ptr().wrapping_add(16);
                (
                    _mm512_maskz_loadu_ps(mask as u16, inputs.as_ptr()),
                    _mm512_maskz_loadu_ps((mask >> 16) as u16, high),
                )
            };
            for line in lines {
                let rounded = _mm512_cvtne2ps_pbh(high, low);
                // SAFETY: both are 64 plain bytes.
                *line = unsafe { std::mem::transmute::<__m512bh, Line>(rounded) };
                if parts > 1 {
                    // Exact: what rounding leaves has fewer bits.
                    low = _mm512_sub_ps(low, rounded_to_bf16(low));
                    high = _mm512_sub_ps(high, rounded_to_bf16(high));
                }
            }
        }
    }
}

/// The nearest bf16 of each value, as f32.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn rounded_to_bf16(values: __m512) -> __m512 {
    // SAFETY: both are 32 plain bytes.
    let rounded = unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values)) };
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(rounded)))
}

/// Lays out f32 weights of 32 outputs over the steps `steps`, as [`pack_weights`] does, but each step as three parts.
/// `weights` gives those of an input for the first or the second half of the outputs, as many as there are, and
/// nothing past the end.
///
/// # Safety
/// The processor has AVX512F, BW and BF16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pack_f32_weights<'a>(
    weights: impl Fn(usize, usize) -> Option<&'a [f32]>,
    steps: Range<usize>,
    lines: &mut [Line],
) {
    let pairs = steps.flat_map(|step| (0..BLOCK / 2).map(move |pair| (step, pair)));
    for (index, (step, pair)) in pairs.enumerate() {
        let first_line = index / (BLOCK / 2) * EXACT_PARTS * BLOCK + pair;
        for half in 0..2 {
            let row = |input: usize| {
                let values = weights(input, half).unwrap_or_default();
                let mask = ((1u32 << values.len().min(HALF)) - 1) as u16;
                // SAFETY: the masked load reads these values only.
                unsafe { _mm512_maskz_loadu_ps(mask, values.as_ptr()) }
            };
            let input = step * BLOCK + 2 * pair;
            let (mut even, mut odd) = (row(input), row(input + 1));
            for part in 0..EXACT_PARTS {
                let (near_even, near_odd) = (rounded_to_bf16(even), rounded_to_bf16(odd));
                let low = _mm512_srli_epi32::<16>(_mm512_castps_si512(near_even));
                let high = _mm512_castps_si512(near_odd);
                let line = &mut lines[first_line + part * BLOCK + half * HALF];
                // SAFETY: both are 64 plain bytes.
                *line = unsafe { std::mem::transmute::<__m512i, Line>(_mm512_or_si512(low, high)) };
                (even, odd) = (_mm512_sub_ps(even, near_even), _mm512_sub_ps(odd, near_odd));
            }
        }
    }
}

/// Lays out up to 32 rows of weights, of `in_features` values each. Outputs and inputs past the end become zero.
///
/// # Safety
/// The processor has AVX512F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in super::super) unsafe fn pack_weights(weights: &[bf16], in_features: usize, lines: &mut [Line]) {
    for (tile_index, tile) in lines.chunks_exact_mut(16).enumerate() {
        let first_input = tile_index / 2 * BLOCK;
        let first_row = tile_index % 2 * 16;
        let inputs = BLOCK.min(in_features - first_input);
        let mask = u32::MAX >> (BLOCK - inputs);
        let mut rows = [_mm512_setzero_si512(); 16];
        for (r, row) in (first_row..).zip(&mut rows) {
            if let Some(values) = weights.get(r * in_features..(r + 1) * in_features) {
                let values = &values[first_input..first_input + inputs];
                // SAFETY: the masked load reads `inputs` values only.
                *row = unsafe { _mm512_maskz_loadu_epi16(mask, values.as_ptr().cast()) };
            }
        }
        for (line, pairs) in tile.iter_mut().zip(transpose(rows)) {
            // SAFETY: both are 64 plain bytes.
            *line = unsafe { std::mem::transmute::<__m512i, Line>(pairs) };
        }
    }
}

/// Transposes 16 x 16 words of 32 bits.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
    let mut a = rows;
    for i in (0..16).step_by(2) {
        a[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        a[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    // Now b[4 g + c] holds, for rows 4g..4g+4, column c of each of the four 128-bit lanes.
    let mut b = a;
    for g in (0..16).step_by(4) {
        b[g] = _mm512_unpacklo_epi64(a[g], a[g + 2]);
        b[g + 1] = _mm512_unpackhi_epi64(a[g], a[g + 2]);
        b[g + 2] = _mm512_unpacklo_epi64(a[g + 1], a[g + 3]);
        b[g + 3] = _mm512_unpackhi_epi64(a[g + 1], a[g + 3]);
    }
    // The rest transposes those 4 x 4 lanes.
    let mut columns = b;
    for c in 0..4 {
        let low_01 = _mm512_shuffle_i32x4::<0x44>(b[c], b[4 + c]);
        let high_01 = _mm512_shuffle_i32x4::<0xEE>(b[c], b[4 + c]);
        let low_23 = _mm512_shuffle_i32x4::<0x44>(b[8 + c], b[12 + c]);
        let high_23 = _mm512_shuffle_i32x4::<0xEE>(b[8 + c], b[12 + c]);
        columns[c] = _mm512_shuffle_i32x4::<0x88>(low_01, low_23);
        columns[4 + c] = _mm512_shuffle_i32x4::<0xDD>(low_01, low_23);
        columns[8 + c] = _mm512_shuffle_i32x4::<0x88>(high_01, high_23);
        columns[12 + c] = _mm512_shuffle_i32x4::<0xDD>(high_01, high_23);
    }
    columns
}

/// Writes the product of two packed 32-wide blocks to `c`, or adds it to what is there; see
/// [`Tiles::multiply_block`]. `ahead` are lines of weights that come next. Without tiles it is done in vectors, and
/// steps have one part.
///
/// # Safety
/// As there, and the processor has AVX512F and BF16.
pub(in super::super) unsafe fn multiply(
    tiles: Option<&Tiles>,
    parts: Parts,
    a: &[Line],
    (b, ahead): (&[Line], &[Line]),
    add: bool,
    c: (*mut f32, usize),
) {
    // SAFETY: as the caller says.
    unsafe {
        match tiles {
            Some(tiles) => {
                let steps = a.len() / (parts.count()[0] * BLOCK);
                tiles.multiply_block(parts, (a.as_ptr(), b.as_ptr(), ahead.as_ptr()), steps, add, c);
            }
            None => multiply_block(a, b, add, c),
        }
    }
}

/// [`Tiles::multiply_block`] in vectors.
///
/// # Safety
/// As there, and the processor has AVX512F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_block(a: &[Line], b: &[Line], add: bool, (c, stride): (*mut f32, usize)) {
    // Eight rows of two vectors fill half of the registers and hide the latency of the products.
    for first_row in (0..BLOCK).step_by(8) {
        let mut sums = [[_mm512_setzero_ps(); 2]; 8];
        if add {
            for (r, sum) in sums.iter_mut().enumerate() {
                // SAFETY: within the caller's 32 rows of 32.
                unsafe {
                    let row = c.add((first_row + r) * stride);
                    *sum = [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16))];
                }
            }
        }
        for (rows, weights) in a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)) {
            for pair in 0..16 {
                // SAFETY: all are 64 plain bytes.
                let w = unsafe {
                    [
                        std::mem::transmute::<Line, __m512bh>(weights[pair]),
                        std::mem::transmute::<Line, __m512bh>(weights[16 + pair]),
                    ]
                };
                for (r, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: pair < 16, so the four bytes lie within the line.
                    let both = unsafe { rows.as_ptr().add(first_row + r).cast::<i32>().add(pair).read() };
                    // SAFETY: both are 64 plain bytes.
                    let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(both)) };
                    *sum = [_mm512_dpbf16_ps(sum[0], x, w[0]), _mm512_dpbf16_ps(sum[1], x, w[1])];
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: within the caller's 32 rows of 32.
            unsafe {
                let row = c.add((first_row + r) * stride);
                _mm512_storeu_ps(row, sum[0]);
                _mm512_storeu_ps(row.add(16), sum[1]);
            }
        }
    }
}
