//! Attention whose products are of bf16, sums of f32 and exponentials of f32, on processors that multiply bf16:
//! for models whose activations are rounded to bf16 everywhere else.
//!
//! A task takes one segment and one head: its keys and values are laid out once, as the weights of a linear
//! layer are, and all of its queries go through them in blocks.

use std::arch::x86_64::*;
use std::cell::Cell;

use half::bf16;

use super::super::amx::{Parts, Tiles};
use super::super::blocks::{Bf16Unit, multiply, pack_activations, pack_weights};
use super::super::line::{BLOCK, Line};
use super::softmax::OnlineSoftmax;
use super::{AttentionSegment, Heads, KEY_BLOCK, Problem};

/// Query rows at a time: their scores of a block of keys fit the first-level cache.
const ROWS: usize = BLOCK;

/// What a task works on, kept from one to the next.
#[derive(Default)]
struct Scratch {
    /// Keys in bf16.
    rounded: Vec<bf16>,
    /// Queries of a block, scaled.
    queries: Vec<f32>,
    scores: Vec<f32>,
    sums: Vec<f32>,
    packed_queries: Vec<Line>,
    packed_weights: Vec<Line>,
    packed_keys: Vec<Line>,
    packed_values: Vec<Line>,
}

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Problem<'_> {
    /// Computes the outputs of one head of a segment.
    ///
    /// # Safety
    /// `unit` is available, the segment lies within the operands, and no other thread touches these rows of
    /// this head.
    pub(super) unsafe fn compute_rounded(&self, unit: Bf16Unit, segment: &AttentionSegment, head: usize) {
        let mut scratch = SCRATCH.take();
        let key_head = head / (self.q.shape.heads / self.k.shape.heads);
        // SAFETY: both units imply AVX512-BF16 (caller), and the segment lies within the operands.
        unsafe {
            scratch.take_keys(at(&self.k, segment.keys.start, key_head), segment.keys.len());
            scratch.take_values(at(&self.v, segment.keys.start, key_head), segment.keys.len());
        }
        // SAFETY: the unit is available (caller).
        let tiles = unsafe { unit.tiles() };
        for start in (0..segment.queries.len()).step_by(ROWS) {
            let rows = start..segment.queries.len().min(start + ROWS);
            // SAFETY: as above, and the rows are this task's own.
            unsafe { self.queries(tiles.as_ref(), segment, head, rows, &mut scratch) };
        }
        SCRATCH.set(scratch);
    }

    /// Computes some rows of a head.
    ///
    /// # Safety
    /// As [`Self::compute_rounded`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn queries(
        &self,
        tiles: Option<&Tiles>,
        AttentionSegment { queries, keys }: &AttentionSegment,
        head: usize,
        rows: std::ops::Range<usize>,
        scratch: &mut Scratch,
    ) {
        let head_dim = self.q.shape.head_dim;
        let (steps, panels) = (head_dim.div_ceil(BLOCK), keys.len().div_ceil(BLOCK));
        let sums_stride = steps * BLOCK;
        // Keys that the first row sees; each further row sees one more.
        let first_limit = if self.causal { keys.len() - queries.len() + rows.start + 1 } else { keys.len() };
        let limit = if self.causal { first_limit + rows.len() - 1 } else { keys.len() };
        let first_query = queries.start + rows.start;
        let row_blocks = rows.len().div_ceil(BLOCK);

        scratch.take_queries(&self.q, first_query, rows.len(), head, self.scale);
        scratch.packed_queries.resize(row_blocks * steps * BLOCK, Line::ZERO);
        let blocks = scratch.packed_queries.chunks_exact_mut(steps * BLOCK);
        for (block, lines) in blocks.enumerate() {
            // SAFETY: both units imply AVX512-BF16 (caller).
            unsafe { pack_activations(&scratch.queries[block * BLOCK * head_dim..], head_dim, 0, 1, lines) };
        }
        scratch.sums.clear();
        scratch.sums.resize(row_blocks * BLOCK * sums_stride, 0.0);
        scratch.scores.resize(ROWS * KEY_BLOCK, 0.0);
        let mut softmax = OnlineSoftmax::new();
        for block in (0..limit).step_by(KEY_BLOCK) {
            let width = KEY_BLOCK.min(limit - block);
            let width_blocks = width.div_ceil(BLOCK);
            let padded = width_blocks * BLOCK;
            let first_panel = block / BLOCK;
            for (row_block, a) in scratch.packed_queries.chunks_exact(steps * BLOCK).enumerate() {
                for panel in 0..width_blocks {
                    let b = &scratch.packed_keys[(first_panel + panel) * steps * BLOCK..][..steps * BLOCK];
                    let c = scratch.scores[row_block * BLOCK * padded + panel * BLOCK..].as_mut_ptr();
                    // SAFETY: the scores have 32 rows of 32 from here on, `padded` apart.
                    unsafe { multiply(tiles, Parts::One, a, (b, &[]), false, (c, padded)) };
                }
            }
            let visible = |row: usize| {
                let limit = if self.causal { first_limit + row } else { first_limit };
                limit.saturating_sub(block).min(width)
            };
            let scores = &mut scratch.scores[..rows.len() * padded];
            let rescale = softmax.absorb(scores, padded, visible);
            if block > 0 {
                for (sums, factor) in scratch.sums.chunks_exact_mut(sums_stride).zip(rescale) {
                    sums.iter_mut().for_each(|sum| *sum *= factor);
                }
            }
            scratch.packed_weights.resize(row_blocks * width_blocks * BLOCK, Line::ZERO);
            let blocks = scratch.packed_weights.chunks_exact_mut(width_blocks * BLOCK);
            for (row_block, lines) in blocks.enumerate() {
                let scores = &scratch.scores[row_block * BLOCK * padded..rows.len() * padded];
                // SAFETY: both units imply AVX512-BF16 (caller).
                unsafe { pack_activations(scores, padded, 0, 1, lines) };
            }
            for (row_block, a) in scratch.packed_weights.chunks_exact(width_blocks * BLOCK).enumerate() {
                for dims in 0..steps {
                    let first_line = (dims * panels + first_panel) * BLOCK;
                    let b = &scratch.packed_values[first_line..][..width_blocks * BLOCK];
                    let c = scratch.sums[row_block * BLOCK * sums_stride + dims * BLOCK..].as_mut_ptr();
                    // SAFETY: the sums have 32 rows of 32 from here on, `sums_stride` apart.
                    unsafe { multiply(tiles, Parts::One, a, (b, &[]), true, (c, sums_stride)) };
                }
            }
        }
        let out_stride = self.q.shape.width();
        for (row, sums) in scratch.sums.chunks_exact(sums_stride).take(rows.len()).enumerate() {
            // SAFETY: this head of this row is the task's own.
            let out = unsafe {
                let first = self.out.as_ptr().add((first_query + row) * out_stride + head * head_dim);
                std::slice::from_raw_parts_mut(first, head_dim)
            };
            let factor = softmax.sums[row].recip();
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum * factor);
        }
    }
}

/// Rows of one head, from a row on, and how far apart they lie.
#[derive(Clone, Copy)]
struct Rows<'a> {
    values: &'a [f32],
    stride: usize,
    head_dim: usize,
}

fn at<'a>(heads: &Heads<'a>, row: usize, head: usize) -> Rows<'a> {
    let head_dim = heads.shape.head_dim;
    let stride = heads.shape.row_stride;
    Rows { values: &heads.values[row * stride + head * head_dim..], stride, head_dim }
}

impl<'a> Rows<'a> {
    fn row(&self, row: usize) -> &'a [f32] {
        &self.values[row * self.stride..][..self.head_dim]
    }
}

impl Scratch {
    fn take_queries(&mut self, q: &Heads<'_>, first: usize, rows: usize, head: usize, scale: f32) {
        let from = at(q, first, head);
        self.queries.clear();
        for row in 0..rows {
            self.queries.extend(from.row(row).iter().map(|value| value * scale));
        }
    }

    /// Lays keys out as the weights of a layer from a head's values to keys.
    ///
    /// # Safety
    /// The processor has AVX512F, BW and BF16, and there are as many rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn take_keys(&mut self, from: Rows<'_>, keys: usize) {
        let head_dim = from.head_dim;
        self.rounded.resize(keys * head_dim, bf16::ZERO);
        for (row, rounded) in self.rounded.chunks_exact_mut(head_dim).enumerate() {
            for (values, rounded) in from.row(row).chunks(16).zip(rounded.chunks_mut(16)) {
                let mask = u16::MAX >> (16 - values.len());
                // SAFETY: masked, this reads and writes as many values as there are.
                unsafe {
                    let values = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, values.as_ptr()));
                    let values = std::mem::transmute::<__m256bh, __m256i>(values);
                    let wide = _mm512_castsi256_si512(values);
                    _mm512_mask_storeu_epi16(rounded.as_mut_ptr().cast(), u32::from(mask), wide);
                }
            }
        }
        let lines = head_dim.div_ceil(BLOCK) * BLOCK;
        self.packed_keys.resize(keys.div_ceil(BLOCK) * lines, Line::ZERO);
        let panels = self.packed_keys.chunks_exact_mut(lines).zip(self.rounded.chunks(BLOCK * head_dim));
        for (lines, keys) in panels {
            // SAFETY: as the caller says.
            unsafe { pack_weights(keys, head_dim, lines) };
        }
    }

    /// Lays values out as the weights of a layer from keys to a head's values: 32 values at a time, and of these
    /// 32 keys at a time.
    ///
    /// # Safety
    /// The processor has AVX512F, BW and BF16, and there are as many rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn take_values(&mut self, from: Rows<'_>, keys: usize) {
        let (steps, panels) = (from.head_dim.div_ceil(BLOCK), keys.div_ceil(BLOCK));
        self.packed_values.resize(steps * panels * BLOCK, Line::ZERO);
        // Of two rows of 16 values: the first of both, the second of both, and so on.
        let mut order = [0u16; 32];
        for (place, from) in order.iter_mut().enumerate() {
            *from = (place / 2 + place % 2 * 16) as u16;
        }
        // SAFETY: 64 plain bytes.
        let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
        for (index, line) in self.packed_values.iter_mut().enumerate() {
            let (block, line_in_block) = (index / BLOCK, index % BLOCK);
            let first_dim = block / panels * BLOCK + line_in_block / 16 * 16;
            let key = block % panels * BLOCK + line_in_block % 16 * 2;
            let dims = from.head_dim.saturating_sub(first_dim).min(16);
            let values = |key: usize| {
                if key >= keys || dims == 0 {
                    return _mm512_setzero_ps();
                }
                let values = &from.row(key)[first_dim..first_dim + dims];
                // SAFETY: the masked load reads as many values as there are.
                unsafe { _mm512_maskz_loadu_ps(u16::MAX >> (16 - dims), values.as_ptr()) }
            };
            let both = _mm512_cvtne2ps_pbh(values(key + 1), values(key));
            // SAFETY (both): all are 64 plain bytes.
            let both = unsafe { std::mem::transmute::<__m512bh, __m512i>(both) };
            *line = unsafe { std::mem::transmute::<__m512i, Line>(_mm512_permutexvar_epi16(order, both)) };
        }
    }
}
