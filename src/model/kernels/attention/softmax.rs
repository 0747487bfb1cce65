//! The softmax of a block of query rows whose scores arrive a block of keys at a time.

use super::super::simd::{LANES, exp, max_of, sum_of, vectorised};
use super::QUERY_BLOCK;

/// Per query row: the largest score so far and the sum of the exponentials relative to it.
pub(super) struct OnlineSoftmax {
    maxima: [f32; QUERY_BLOCK],
    pub(super) sums: [f32; QUERY_BLOCK],
}

impl OnlineSoftmax {
    pub(super) fn new() -> Self {
        Self { maxima: [f32::NEG_INFINITY; QUERY_BLOCK], sums: [0.0; QUERY_BLOCK] }
    }

    /// Turns rows of `width` scores into exponentials relative to the new maximum, zero past the `visible`
    /// keys of a row.
    ///
    /// Answers with the factor by which everything summed before has to be scaled.
    pub(super) fn absorb(
        &mut self,
        scores: &mut [f32],
        width: usize,
        visible: impl Fn(usize) -> usize,
    ) -> [f32; QUERY_BLOCK] {
        let mut rescale = [1f32; QUERY_BLOCK];
        vectorised(
            #[inline(always)]
            || {
                for (row, scores) in scores.chunks_exact_mut(width).enumerate() {
                    let visible = visible(row);
                    // Whole vectors: the hidden scores in the last one count nothing.
                    let whole = visible.next_multiple_of(LANES).min(width);
                    let (seen, hidden) = scores.split_at_mut(whole);
                    hidden.fill(0.0);
                    if visible == 0 {
                        continue;
                    }
                    seen[visible..].fill(f32::NEG_INFINITY);
                    let old_maximum = self.maxima[row];
                    let maximum = max_of(seen, old_maximum, |v| v);
                    for score in &mut *seen {
                        *score = exp(*score - maximum);
                    }
                    seen[visible..].fill(0.0);
                    rescale[row] = exp(old_maximum - maximum);
                    self.maxima[row] = maximum;
                    self.sums[row] = self.sums[row] * rescale[row] + sum_of(seen, |v| v);
                }
            },
        );
        rescale
    }
}
