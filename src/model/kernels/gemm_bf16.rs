//! Linear layers whose weights are bf16, on processors that multiply bf16.
//!
//! The activations are rounded to bf16 once per call and laid out in blocks of 32 rows, or as three parts of
//! bf16 that add up to them, each multiplied in its turn; each task packs the weights it needs, 32 outputs at
//! a time, and runs blocks of 32 x 32 outputs through one of two block products: the tile unit
//! ([`amx`](super::amx)), or `vdpbf16ps` where there is only AVX512-BF16. Sums are kept in f32. Both operands
//! have the layout the tile unit wants:
//!
//! ```text
//! step (32 inputs) -> two tiles -> 16 lines of 64 bytes
//!   activations: a line is one row,           32 inputs
//!   weights:     a line is one pair of inputs, 16 outputs x 2 inputs
//! ```
//!
//! The order of summation depends on the number of inputs alone, so a row's result is the same bit for bit
//! whatever rows are computed along with it and however many threads there are.

use super::amx::{self, Tiles};
use super::linear::{LinearShape, Products};
use super::parallel::SharedMut;
use half::bf16;
use rayon::prelude::*;
use std::arch::x86_64::*;
use std::cell::Cell;

/// Rows and outputs of a block, and inputs of a step.
pub(super) const BLOCK: usize = 32;
/// Inputs summed before moving on to the next outputs: 64 KiB of packed weights stay in the second-level
/// cache.
const STEPS_PER_PASS: usize = 32;
/// Rows of a task: with the inputs of one pass they take 1 MiB, half of the second-level cache.
const BLOCKS_PER_TASK: usize = 16;

/// Parts of 8 bits that the 24 bits of an f32 are cut into.
pub(super) const EXACT_PARTS: usize = 3;

/// One cache line of packed bf16, as the processor's tiles want it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u16; 32]);

impl Line {
    pub(super) const ZERO: Self = Self([0; 32]);
}

thread_local! {
    static ACTIVATIONS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static WEIGHTS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Which block product to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bf16Unit {
    Tiles,
    Vectors,
}

impl Bf16Unit {
    /// Units of this processor, the fastest first.
    pub(super) fn available() -> Vec<Self> {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        let mut units = Vec::new();
        if vectors && amx::available() {
            units.push(Self::Tiles);
        }
        if vectors {
            units.push(Self::Vectors);
        }
        units
    }

    /// How many parts of activations this unit multiplies for `products`; `None` where f32 vectors are
    /// faster.
    pub(super) fn parts(self, products: Products) -> Option<usize> {
        match (products, self) {
            (Products::Rounded, _) => Some(1),
            (Products::Exact, Self::Tiles) => Some(EXACT_PARTS),
            (Products::Exact, Self::Vectors) => None,
        }
    }

    /// The tiles of this thread, if this is the tile unit.
    ///
    /// # Safety
    /// It is one of [`available`](Self::available).
    pub(super) unsafe fn tiles(self) -> Option<Tiles> {
        // SAFETY: as the caller says.
        (self == Self::Tiles).then(|| unsafe { Tiles::configure() })
    }

    /// The fastest unit, found once.
    pub(super) fn best() -> Option<Self> {
        static BEST: std::sync::OnceLock<Option<Bf16Unit>> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().first().copied())
    }
}

/// `y = x * weight^T + bias`, with `x` as `parts` parts of bf16; the slices have the lengths of `shape` and
/// no dimension is 0.
///
/// # Safety
/// `unit` is one of [`Bf16Unit::available`].
pub(super) unsafe fn linear(
    unit: Bf16Unit,
    parts: usize,
    x: &[f32],
    weight: &[bf16],
    shape: LinearShape,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let steps = shape.in_features.div_ceil(BLOCK);
    let row_blocks = shape.rows.div_ceil(BLOCK);
    let mut activations = ACTIVATIONS.take();
    resize(&mut activations, parts * row_blocks * steps * BLOCK);
    activations.par_chunks_mut(steps * BLOCK).enumerate().for_each(|(index, lines)| {
        // The parts of a block lie one behind the other.
        let rows = &x[index / parts * BLOCK * shape.in_features..];
        // SAFETY: both units imply AVX512-BF16 (caller).
        unsafe { pack_activations(rows, shape.in_features, index % parts, lines) };
    });

    let panels = shape.out_features.div_ceil(BLOCK);
    let row_tasks = row_blocks.div_ceil(BLOCKS_PER_TASK);
    let panel_tasks = (4 * rayon::current_num_threads()).div_ceil(row_tasks).min(panels);
    let product =
        Product { unit, parts, activations: &activations, weight, shape, bias, y: SharedMut::new(y) };
    (0..row_tasks * panel_tasks).into_par_iter().for_each(|task| {
        let blocks = share(row_blocks, row_tasks, task / panel_tasks);
        let panels = share(panels, panel_tasks, task % panel_tasks);
        // SAFETY: tasks have disjoint blocks of outputs, and the unit is available (caller).
        unsafe { product.compute(blocks, panels) };
    });
    ACTIVATIONS.set(activations);
}

/// Part `index` of `0..total` cut into `parts` nearly equal ranges.
fn share(total: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

fn resize(buffer: &mut Vec<Line>, lines: usize) {
    buffer.resize(lines, Line::ZERO);
}

struct Product<'a> {
    unit: Bf16Unit,
    parts: usize,
    activations: &'a [Line],
    weight: &'a [bf16],
    shape: LinearShape,
    bias: Option<&'a [f32]>,
    y: SharedMut<'a, f32>,
}

impl Product<'_> {
    /// Computes the outputs of `blocks` x `panels`.
    ///
    /// # Safety
    /// The unit is available and no other thread touches these outputs.
    unsafe fn compute(&self, blocks: std::ops::Range<usize>, panels: std::ops::Range<usize>) {
        let steps = self.shape.in_features.div_ceil(BLOCK);
        // SAFETY: the unit is available (caller).
        let tiles = unsafe { self.unit.tiles() };
        let mut packed = WEIGHTS.take();
        resize(&mut packed, STEPS_PER_PASS.min(steps) * BLOCK);
        for first_step in (0..steps).step_by(STEPS_PER_PASS) {
            let pass_steps = STEPS_PER_PASS.min(steps - first_step);
            for panel in panels.clone() {
                let lines = &mut packed[..pass_steps * BLOCK];
                // SAFETY: both units imply AVX512-BF16 (caller).
                unsafe { pack_weights(self.weight, self.shape, panel * BLOCK, first_step * BLOCK, lines) };
                for (block, part) in
                    blocks.clone().flat_map(|block| (0..self.parts).map(move |part| (block, part)))
                {
                    let first_line = ((block * self.parts + part) * steps + first_step) * BLOCK;
                    let a = &self.activations[first_line..first_line + pass_steps * BLOCK];
                    let is_first = first_step == 0 && part == 0;
                    // SAFETY: as above; the outputs are this task's own (caller).
                    unsafe { self.compute_block(tiles.as_ref(), a, lines, block, panel, is_first) };
                }
            }
        }
        WEIGHTS.set(packed);
    }

    /// One block of 32 x 32 outputs over the inputs of one pass.
    ///
    /// # Safety
    /// As [`Self::compute`].
    unsafe fn compute_block(
        &self,
        tiles: Option<&Tiles>,
        a: &[Line],
        b: &[Line],
        block: usize,
        panel: usize,
        first_pass: bool,
    ) {
        let (row, column) = (block * BLOCK, panel * BLOCK);
        let out_features = self.shape.out_features;
        let rows = BLOCK.min(self.shape.rows - row);
        let columns = BLOCK.min(out_features - column);
        let whole = rows == BLOCK && columns == BLOCK;
        // SAFETY: `row` and `column` lie within the outputs.
        let y = unsafe { self.y.as_ptr().add(row * out_features + column) };

        let mut bias = [0f32; BLOCK];
        if let (Some(values), true) = (self.bias, first_pass) {
            bias[..columns].copy_from_slice(&values[column..column + columns]);
        }
        let mut edge = [[0f32; BLOCK]; BLOCK];
        let (c, c_stride) = if whole { (y, out_features) } else { (edge.as_mut_ptr().cast(), BLOCK) };
        if !whole && !first_pass {
            for (r, line) in edge.iter_mut().take(rows).enumerate() {
                // SAFETY: this row and these columns are within the outputs, and this task's own.
                unsafe { std::ptr::copy_nonoverlapping(y.add(r * out_features), line.as_mut_ptr(), columns) };
            }
        }
        let c = (c, c_stride);
        let start = if first_pass { (bias.as_ptr(), 0) } else { (c.0.cast_const(), c.1) };
        // SAFETY: `a` and `b` hold as many steps; `start` and `c` reach over 32 x 32 values at their strides.
        unsafe { multiply(tiles, a, b, start, c) };
        if !whole {
            for (r, line) in edge.iter().take(rows).enumerate() {
                // SAFETY: as when reading.
                unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), y.add(r * out_features), columns) };
            }
        }
    }
}

/// Rounds up to 32 rows of activations into one block: themselves as part 0, and as part `n` what the parts
/// before it leave. Rows and inputs past the end become zero.
///
/// # Safety
/// The processor has AVX512F, BW and BF16. `rows` is a whole number of rows.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub(super) unsafe fn pack_activations(rows: &[f32], in_features: usize, part: usize, lines: &mut [Line]) {
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
pub(super) unsafe fn pack_weights(
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
pub(super) unsafe fn multiply(
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
