//! The backward pass of attention: scores and weights are computed again, a block of query rows at a time,
//! and never kept.

use super::super::error::{KernelError, check_length};
use super::super::matmul::gemm_strided;
use super::super::parallel::SharedMut;
use super::super::simd::{dot, exp, max_of, sum_of, vectorised};
use super::{AttentionSegment, Heads, check_heads, check_segments};
use rayon::prelude::*;
use std::cell::Cell;

/// Query rows computed together. Their scores, and as many gradients of scores, exist at one time per thread.
const QUERY_BLOCK: usize = 64;

/// Where the gradients of [`attention`](super::attention) go, each without gaps and in the shape of its
/// operand.
#[derive(Debug)]
pub struct AttentionGradients<'a> {
    /// `[query rows, query heads, head_dim]`.
    pub q: &'a mut [f32],
    /// `[key rows, key heads, head_dim]`.
    pub k: &'a mut [f32],
    /// `[key rows, key heads, head_dim]`.
    pub v: &'a mut [f32],
}

/// Writes the gradients of `q`, `k` and `v` for `grad`, the gradient of the output. The other arguments are
/// those of the forward pass. Rows in no segment get zeros.
///
/// A task takes one segment and one key head with all the query heads it serves, so that nothing is shared
/// between tasks.
///
/// # Errors
/// As [`attention`](super::attention).
#[allow(clippy::too_many_arguments)]
pub fn attention_backward(
    q: Heads<'_>,
    k: Heads<'_>,
    v: Heads<'_>,
    segments: &[AttentionSegment],
    causal: bool,
    scale: f32,
    grad: &[f32],
    out: AttentionGradients<'_>,
) -> Result<(), KernelError> {
    check_heads(q, k, v)?;
    let (queries, keys) = (q.shape.rows * q.shape.width(), k.shape.rows * k.shape.width());
    for (operand, expected, got) in [
        ("grad", queries, grad.len()),
        ("grad_q", queries, out.q.len()),
        ("grad_k", keys, out.k.len()),
        ("grad_v", keys, out.v.len()),
    ] {
        check_length("attention_backward", operand, expected, got)?;
    }
    check_segments(segments, q.shape.rows, k.shape.rows, causal)?;
    if segments.windows(2).any(|pair| pair[1].keys.start < pair[0].keys.end) {
        return Err(KernelError::Shape {
            kernel: "attention_backward",
            what: "segments share keys; segments and key rows are",
            first: segments.len(),
            second: k.shape.rows,
        });
    }
    for gradient in [&mut *out.q, &mut *out.k, &mut *out.v] {
        gradient.fill(0.0);
    }
    let problem = Problem {
        q,
        k,
        v,
        causal,
        scale,
        grad,
        grad_q: SharedMut::new(out.q),
        grad_k: SharedMut::new(out.k),
        grad_v: SharedMut::new(out.v),
    };
    let key_heads = k.shape.heads;
    (0..segments.len() * key_heads).into_par_iter().for_each(|task| {
        // SAFETY: segments have disjoint queries and disjoint keys, so every task writes rows and heads of
        // its own; all ranges were checked.
        unsafe { problem.compute(&segments[task / key_heads], task % key_heads) };
    });
    Ok(())
}

struct Problem<'a> {
    q: Heads<'a>,
    k: Heads<'a>,
    v: Heads<'a>,
    causal: bool,
    scale: f32,
    grad: &'a [f32],
    grad_q: SharedMut<'a, f32>,
    grad_k: SharedMut<'a, f32>,
    grad_v: SharedMut<'a, f32>,
}

impl Problem<'_> {
    /// Computes the gradients of one segment and key head.
    ///
    /// # Safety
    /// The segment lies within the operands, and no other thread touches its rows of this key head and of its
    /// query heads.
    unsafe fn compute(&self, segment: &AttentionSegment, key_head: usize) {
        thread_local! {
            static SCRATCH: Cell<(Vec<f32>, Vec<f32>)> = const { Cell::new((Vec::new(), Vec::new())) };
        }
        let (mut weights, mut slopes) = SCRATCH.take();
        let group = self.q.shape.heads / self.k.shape.heads;
        for head in key_head * group..(key_head + 1) * group {
            for start in (0..segment.queries.len()).step_by(QUERY_BLOCK) {
                let rows = QUERY_BLOCK.min(segment.queries.len() - start);
                // SAFETY: passed on.
                unsafe { self.block(segment, key_head, head, (start, rows), &mut weights, &mut slopes) };
            }
        }
        SCRATCH.set((weights, slopes));
    }

    /// Adds what `rows` query rows of one head, from `start` of the segment on, contribute.
    ///
    /// # Safety
    /// As [`compute`](Self::compute).
    unsafe fn block(
        &self,
        segment: &AttentionSegment,
        key_head: usize,
        head: usize,
        (start, rows): (usize, usize),
        weights: &mut Vec<f32>,
        slopes: &mut Vec<f32>,
    ) {
        let AttentionSegment { queries, keys } = segment;
        let width = self.q.shape.head_dim;
        // Keys that the first row sees; with a causal mask each further row sees one more.
        let visible = |row: usize| {
            if self.causal { keys.len() - queries.len() + start + row + 1 } else { keys.len() }
        };
        let seen = visible(rows - 1);
        weights.resize(rows * seen, 0.0);
        slopes.resize(rows * seen, 0.0);

        let first_query = queries.start + start;
        let at = |heads: &Heads<'_>, row: usize, head: usize| {
            (heads.values[row * heads.shape.row_stride + head * width..].as_ptr(), heads.shape.row_stride)
        };
        let (q, q_stride) = at(&self.q, first_query, head);
        let (k, k_stride) = at(&self.k, keys.start, key_head);
        let (v, v_stride) = at(&self.v, keys.start, key_head);
        let (query_stride, key_stride) = (self.q.shape.width(), self.k.shape.width());
        let grad_at = first_query * query_stride + head * width;
        let grad = self.grad[grad_at..].as_ptr();
        let key_at = keys.start * key_stride + key_head * width;
        // SAFETY (all products): `rows` queries and `seen` keys lie within the operands and gradients
        // (caller); the scratch holds rows x seen.
        unsafe {
            let (grad_q, grad_k) = (self.grad_q.as_ptr().add(grad_at), self.grad_k.as_ptr().add(key_at));
            let grad_v = self.grad_v.as_ptr().add(key_at);
            let scores = (weights.as_mut_ptr(), seen);
            gemm_strided((rows, seen, width), (q, q_stride, 1), (k, 1, k_stride), scores, false, self.scale);
            softmax_rows(weights, seen, visible);
            let weights = weights.as_ptr();
            // The value gradient: weights^T * grad.
            let (across, down) = ((weights, 1, seen), (grad, query_stride, 1));
            gemm_strided((seen, width, rows), across, down, (grad_v, key_stride), true, 1.0);
            // The gradient of the weights, then of the scores.
            let slopes_out = (slopes.as_mut_ptr(), seen);
            gemm_strided(
                (rows, seen, width),
                (grad, query_stride, 1),
                (v, 1, v_stride),
                slopes_out,
                false,
                1.0,
            );
            let weights = std::slice::from_raw_parts(weights, rows * seen);
            softmax_rows_backward(weights, slopes, seen);
            let slopes = slopes.as_ptr();
            let to_q = (grad_q, query_stride);
            gemm_strided((rows, width, seen), (slopes, seen, 1), (k, k_stride, 1), to_q, false, self.scale);
            let to_k = (grad_k, key_stride);
            gemm_strided((seen, width, rows), (slopes, 1, seen), (q, q_stride, 1), to_k, true, self.scale);
        }
    }
}

/// Softmax over the visible part of each row; zero behind it.
fn softmax_rows(scores: &mut [f32], width: usize, visible: impl Fn(usize) -> usize) {
    vectorised(
        #[inline(always)]
        || {
            for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
                let (seen, hidden) = scores.split_at_mut(visible(row));
                hidden.fill(0.0);
                let maximum = max_of(seen, f32::NEG_INFINITY, |v| v);
                for score in &mut *seen {
                    *score = exp(*score - maximum);
                }
                let factor = 1.0 / sum_of(seen, |v| v);
                seen.iter_mut().for_each(|v| *v *= factor);
            }
        },
    );
}

/// The gradient of the scores from that of the weights, in place: `weight * (slope - sum(weight * slope))`.
fn softmax_rows_backward(weights: &[f32], slopes: &mut [f32], width: usize) {
    vectorised(
        #[inline(always)]
        || {
            for (weights, slopes) in weights.chunks_exact(width).zip(slopes.chunks_exact_mut(width)) {
                let mean = dot(weights, slopes);
                for (slope, &weight) in slopes.iter_mut().zip(weights) {
                    *slope = weight * (*slope - mean);
                }
            }
        },
    );
}
