//! Scaled dot-product attention over packed segments.
//!
//! Sequences lie one after the other in `[tokens, heads, head_dim]`, and every segment attends within itself
//! only: a window of patches, a video's frame, one text of a batch. A task takes one segment, one head and up
//! to 128 query rows. It goes through the keys in blocks, keeping for each row the largest score so far and
//! the sum of the exponentials (online softmax, Milakov and Gimelshein 2018; FlashAttention, Dao et al.
//! 2022), so scores take 128 x 256 values per thread however long the segment. Keys past the causal limit of
//! the block's last row are never touched.
//!
//! What a row adds up, and in which order, depends on its own segment alone.

mod backward;
#[cfg(target_arch = "x86_64")]
mod rounded;
mod softmax;
#[cfg(test)]
mod tests;

pub use backward::{AttentionGradients, attention_backward};

#[cfg(target_arch = "x86_64")]
use super::blocks::Units;
use super::error::{KernelError, check_length};
use super::linear::Products;
use super::matmul::gemm_strided;
use super::parallel::SharedMut;
use super::rope::HeadsShape;
use super::simd::LANES;
use rayon::prelude::*;
use softmax::OnlineSoftmax;
use std::cell::Cell;
use std::ops::Range;

/// Query rows of a task.
const QUERY_BLOCK: usize = 128;
/// Keys between two updates of the running maximum; the scores of a block fit the second-level cache.
const KEY_BLOCK: usize = 256;
/// Score computations below which a call stays on the calling thread.
const SMALLEST_PARALLEL: usize = 1 << 12;

/// Rows of queries and the rows of keys and values they attend to.
///
/// Under a causal mask the last query sees all keys, the one before all but the last key, and so on: with as
/// many queries as keys that is the usual mask, with a single query that of the segment's last token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttentionSegment {
    /// Rows of `q` and of the output.
    pub queries: Range<usize>,
    /// Rows of `k` and `v`.
    pub keys: Range<usize>,
}

impl AttentionSegment {
    /// Rows that attend to themselves.
    #[cfg(test)]
    pub fn within(rows: Range<usize>) -> Self {
        Self { queries: rows.clone(), keys: rows }
    }
}

/// One operand of [`attention`].
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// The values; may start inside a fused projection.
    pub values: &'a [f32],
    /// How rows and heads lie in them.
    pub shape: HeadsShape,
}

/// Writes the attention output `[query rows, query heads, head_dim]` of every segment to `out`, without gaps.
///
/// Query head `h` uses key and value head `h / (query heads / key heads)`. Rows of `out` in no segment are
/// left alone. With [`Products::Rounded`] queries, keys, values and the weights of values are rounded to bf16
/// where the processor multiplies bf16; sums and exponentials are f32.
///
/// # Errors
/// [`KernelError`] when head counts or sizes do not agree, a slice is too short, or segments reach outside
/// the rows, are out of order, overlap, or have no keys.
#[allow(clippy::too_many_arguments)]
pub fn attention(
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    segments: &[AttentionSegment],
    causal: bool,
    scale: f32,
    products: Products,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_heads(q, k, v)?;
    check_length("attention", "out", q.shape.rows * q.shape.width(), out.len())?;
    check_segments(segments, q.shape.rows, k.shape.rows, causal)?;
    if out.is_empty() {
        return Ok(());
    }
    #[cfg(target_arch = "x86_64")]
    if let (Products::Rounded, Some(unit)) = (products, Units::best().bf16) {
        let problem = Problem { q, k, v, causal, scale, out: SharedMut::new(out) };
        let heads = segments.iter().flat_map(|segment| (0..q.shape.heads).map(move |head| (segment, head)));
        let tasks: Vec<_> = heads.filter(|(segment, _)| !segment.queries.is_empty()).collect();
        // SAFETY: segments have disjoint queries, so every task writes rows and heads of its own; all ranges
        // were checked, and the unit is available.
        tasks.par_iter().for_each(|(segment, head)| unsafe { problem.compute_rounded(unit, segment, *head) });
        return Ok(());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = products;
    let mut tasks = Vec::new();
    let mut scores = 0;
    for segment in segments {
        scores += segment.queries.len() * segment.keys.len() * q.shape.heads;
        for head in 0..q.shape.heads {
            for start in (0..segment.queries.len()).step_by(QUERY_BLOCK) {
                let end = segment.queries.len().min(start + QUERY_BLOCK);
                tasks.push(Task { segment, head, rows: start..end });
            }
        }
    }
    let problem = Problem { q, k, v, causal, scale, out: SharedMut::new(out) };
    // SAFETY (both calls): segments have disjoint queries, so every task writes rows and heads of its own;
    // all ranges were checked.
    if scores < SMALLEST_PARALLEL {
        tasks.iter().for_each(|task| unsafe { problem.compute(task) });
    } else {
        tasks.par_iter().for_each(|task| unsafe { problem.compute(task) });
    }
    Ok(())
}

fn check_heads(q: Heads<'_>, k: Heads<'_>, v: Heads<'_>) -> Result<(), KernelError> {
    let shape_error =
        |what, first, second| Err(KernelError::Shape { kernel: "attention", what, first, second });
    for (operand, heads) in [("q", q), ("k", k), ("v", v)] {
        heads.shape.check("attention", operand, heads.values.len())?;
        if heads.shape.head_dim != q.shape.head_dim {
            return shape_error("head sizes differ", q.shape.head_dim, heads.shape.head_dim);
        }
    }
    if k.shape.heads != v.shape.heads {
        return shape_error("keys and values differ in heads", k.shape.heads, v.shape.heads);
    }
    if k.shape.rows != v.shape.rows {
        return shape_error("keys and values differ in rows", k.shape.rows, v.shape.rows);
    }
    if k.shape.heads == 0 || !q.shape.heads.is_multiple_of(k.shape.heads) {
        return shape_error("query heads are no multiple of key heads", q.shape.heads, k.shape.heads);
    }
    Ok(())
}

fn check_segments(
    segments: &[AttentionSegment],
    query_rows: usize,
    key_rows: usize,
    causal: bool,
) -> Result<(), KernelError> {
    let mut end_of_last = 0;
    for (index, AttentionSegment { queries, keys }) in segments.iter().enumerate() {
        let what = if queries.start > queries.end || queries.end > query_rows {
            "the queries are no range of the query rows"
        } else if keys.start > keys.end || keys.end > key_rows {
            "the keys are no range of the key rows"
        } else if queries.start < end_of_last {
            "the queries start before the end of the last segment's"
        } else if keys.is_empty() && !queries.is_empty() {
            "there are queries but no keys"
        } else if causal && queries.len() > keys.len() {
            "under a causal mask there are more queries than keys"
        } else {
            end_of_last = queries.end;
            continue;
        };
        return Err(KernelError::Segment { index, what, queries: queries.clone(), keys: keys.clone() });
    }
    Ok(())
}

struct Task<'a> {
    segment: &'a AttentionSegment,
    head: usize,
    /// Within the segment's queries.
    rows: Range<usize>,
}

struct Problem<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    causal: bool,
    scale: f32,
    out: SharedMut<'a, f32>,
}

impl Problem<'_> {
    /// Computes the output of one task.
    ///
    /// # Safety
    /// The segment lies within the operands, and no other thread touches the rows and head of this task.
    unsafe fn compute(&self, task: &Task<'_>) {
        thread_local! {
            static SCORES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
        }
        let AttentionSegment { queries, keys } = task.segment;
        let head_dim = self.q.shape.head_dim;
        let rows = task.rows.len();
        let key_head = task.head / (self.q.shape.heads / self.k.shape.heads);
        let out_stride = self.q.shape.width();
        // Keys the first row of the task sees; each further row sees one more.
        let first_limit =
            if self.causal { keys.len() - queries.len() + task.rows.start + 1 } else { keys.len() };
        let limit = if self.causal { first_limit + rows - 1 } else { keys.len() };

        let mut softmax = OnlineSoftmax::new();
        let mut scores = SCORES.take();
        scores.resize(QUERY_BLOCK * KEY_BLOCK, 0.0);
        let first_query = queries.start + task.rows.start;
        let q = self.q.values[first_query * self.q.shape.row_stride + task.head * head_dim..].as_ptr();
        // SAFETY: the task's rows lie within the output.
        let out = unsafe { self.out.as_ptr().add(first_query * out_stride + task.head * head_dim) };
        for block in (0..limit).step_by(KEY_BLOCK) {
            let width = KEY_BLOCK.min(limit - block);
            let at = |heads: &Heads<'_>| (keys.start + block) * heads.shape.row_stride + key_head * head_dim;
            let k = self.k.values[at(&self.k)..].as_ptr();
            let v = self.v.values[at(&self.v)..].as_ptr();
            let stride = width.next_multiple_of(LANES);
            // SAFETY: `width` rows of keys follow `k`; the scores hold 128 x 256 values.
            unsafe {
                gemm_strided(
                    (rows, width, head_dim),
                    (q, self.q.shape.row_stride, 1),
                    (k, 1, self.k.shape.row_stride),
                    (scores.as_mut_ptr(), stride),
                    false,
                    self.scale,
                );
            }
            let visible = |row: usize| {
                let limit = if self.causal { first_limit + row } else { first_limit };
                limit.saturating_sub(block).min(width)
            };
            let rescale = softmax.absorb(&mut scores[..rows * stride], stride, visible);
            // SAFETY: `width` rows of values follow `v`; the output rows are this task's own.
            unsafe {
                if block > 0 {
                    scale_rows(out, out_stride, head_dim, &rescale[..rows]);
                }
                gemm_strided(
                    (rows, head_dim, width),
                    (scores.as_ptr(), stride, 1),
                    (v, self.v.shape.row_stride, 1),
                    (out, out_stride),
                    block > 0,
                    1.0,
                );
            }
        }
        // SAFETY: the output rows are this task's own.
        unsafe { scale_rows(out, out_stride, head_dim, &softmax.sums.map(f32::recip)[..rows]) };
        SCORES.set(scores);
    }
}

/// Scales one head of consecutive rows.
///
/// # Safety
/// As many rows as there are factors are writable at `rows`, and nobody else touches them.
unsafe fn scale_rows(rows: *mut f32, stride: usize, head_dim: usize, factors: &[f32]) {
    for (row, factor) in factors.iter().enumerate() {
        // SAFETY: the caller vouches for the rows.
        let values = unsafe { std::slice::from_raw_parts_mut(rows.add(row * stride), head_dim) };
        values.iter_mut().for_each(|v| *v *= factor);
    }
}
