//! Blocks of 32 x 32 in the layout that the processor's bf16 products want: how they are laid out, and multiplied.

use std::arch::x86_64::*;

use half::bf16;

use super::super::amx::Tiles;
use super::super::linear::LinearShape;

/// Rows and outputs of a block, and inputs of a step.
pub(in super::super) const BLOCK: usize = 32;

/// One cache line of packed bf16, as the processor's tiles want it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(in super::super) struct Line([u16; 32]);

impl Line {
    pub(in super::super) const ZERO: Self = Self([0; 32]);
}

/// Rounds up to 32 rows of activations into one block: themselves as part 0, and as part `n` what the parts
/// before it leave. Rows and inputs past the end become zero.
///
/// # Safety
/// The processor has AVX512F, BW and BF16. `rows` is a whole number of rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(in super::super) unsafe fn pack_activations(
    rows: &[f32],
    in_features: usize,
    part: usize,
    lines: &mut [Line],
) {
    for (row, line_in_step) in (0..BLOCK).enumerate() {
        let values = rows.get(row * in_features..(row + 1) * in_features);
        for (step, step_lines) in lines.chunks_exact_mut(BLOCK).enumerate() {
            let line = &mut step_lines[line_in_step];
            let Some(values) = values else {
                *line = Line::ZERO;
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
            for _ in 0..part {
                // Exact: what rounding leaves has fewer bits.
                low = _mm512_sub_ps(low, rounded_to_bf16(low));
                high = _mm512_sub_ps(high, rounded_to_bf16(high));
            }
            let rounded = _mm512_cvtne2ps_pbh(high, low);
            // SAFETY: both are 64 plain bytes.
            *line = unsafe { std::mem::transmute::<__m512bh, Line>(rounded) };
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

/// Lays out the weights of 32 outputs from `output` on, over the inputs from `input` on. Outputs and inputs
/// past the end become zero.
///
/// # Safety
/// The processor has AVX512F and BW.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in super::super) unsafe fn pack_weights(
    weight: &[bf16],
    shape: LinearShape,
    output: usize,
    input: usize,
    lines: &mut [Line],
) {
    for (tile_index, tile) in lines.chunks_exact_mut(16).enumerate() {
        let first_input = input + tile_index / 2 * BLOCK;
        let first_output = output + tile_index % 2 * 16;
        let inputs = BLOCK.min(shape.in_features - first_input);
        let mask = u32::MAX >> (BLOCK - inputs);
        let mut rows = [_mm512_setzero_si512(); 16];
        for (r, row) in rows.iter_mut().enumerate() {
            if first_output + r < shape.out_features {
                let start = (first_output + r) * shape.in_features + first_input;
                let values = &weight[start..start + inputs];
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

/// Adds the product of two packed 32-wide blocks to what is at `start`, and stores it at `c`; see
/// [`Tiles::multiply_block`]. Without tiles it is done in vectors.
///
/// # Safety
/// As there, and the processor has AVX512F and BF16.
pub(in super::super) unsafe fn multiply(
    tiles: Option<&Tiles>,
    a: &[Line],
    b: &[Line],
    start: (*const f32, usize),
    c: (*mut f32, usize),
) {
    // SAFETY: as the caller says.
    unsafe {
        match tiles {
            Some(tiles) => tiles.multiply_block(a.as_ptr(), b.as_ptr(), a.len() / BLOCK, start, c),
            None => multiply_block(a, b, start, c),
        }
    }
}

/// [`Tiles::multiply_block`] in vectors.
///
/// # Safety
/// As there, and the processor has AVX512F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn multiply_block(
    a: &[Line],
    b: &[Line],
    (start, start_stride): (*const f32, usize),
    (c, c_stride): (*mut f32, usize),
) {
    // Eight rows of two vectors fill half of the registers and hide the latency of the products.
    for first_row in (0..BLOCK).step_by(8) {
        let mut sums = [[_mm512_setzero_ps(); 2]; 8];
        for (r, sum) in sums.iter_mut().enumerate() {
            // SAFETY: within the caller's 32 rows of 32.
            unsafe {
                let row = start.add((first_row + r) * start_stride);
                *sum = [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(16))];
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
                    let both = unsafe { rows[first_row + r].0.as_ptr().cast::<i32>().add(pair).read() };
                    // SAFETY: both are 64 plain bytes.
                    let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(both)) };
                    *sum = [_mm512_dpbf16_ps(sum[0], x, w[0]), _mm512_dpbf16_ps(sum[1], x, w[1])];
                }
            }
        }
        for (r, sum) in sums.iter().enumerate() {
            // SAFETY: within the caller's 32 rows of 32.
            unsafe {
                let row = c.add((first_row + r) * c_stride);
                _mm512_storeu_ps(row, sum[0]);
                _mm512_storeu_ps(row.add(16), sum[1]);
            }
        }
    }
}
