//! Inner products: one pair of vectors, and a tile of queries against a tile of the corpus.

use ndarray::{ArrayView1, ArrayView2};
use pulp::{Arch, Simd, WithSimd};

use super::RetrievalError;

/// Inner product of two slices in f32. The longer slice is cut to the length of the shorter.
///
/// For L2-normalised vectors this is the cosine similarity. Uses the widest vector unit of the processor.
#[must_use]
pub fn dot(left: &[f32], right: &[f32]) -> f32 {
    Arch::new().dispatch(Dot { left, right })
}

/// Scales `vector` to length 1.
///
/// # Errors
/// [`RetrievalError::InvalidEmbedding`] naming `what`, if the length is zero or not finite.
pub fn normalize(vector: &mut [f32], what: &str) -> Result<(), RetrievalError> {
    let length = vector.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if !(length.is_finite() && length > 0.0) {
        return Err(RetrievalError::InvalidEmbedding {
            what: what.to_owned(),
            reason: format!("its length is {length}"),
        });
    }
    for x in vector {
        *x = (f64::from(*x) / length) as f32;
    }
    Ok(())
}

struct Dot<'a> {
    left: &'a [f32],
    right: &'a [f32],
}

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let len = self.left.len().min(self.right.len());
        let (left, left_tail) = S::as_simd_f32s(&self.left[..len]);
        let (right, right_tail) = S::as_simd_f32s(&self.right[..len]);
        // Four sums hide the latency of the fused multiply-add.
        let mut sums = [simd.splat_f32s(0.0); 4];
        let (left_blocks, left_rest) = left.as_chunks::<4>();
        let (right_blocks, right_rest) = right.as_chunks::<4>();
        for (l, r) in left_blocks.iter().zip(right_blocks) {
            for lane in 0..4 {
                sums[lane] = simd.mul_add_f32s(l[lane], r[lane], sums[lane]);
            }
        }
        for (&l, &r) in left_rest.iter().zip(right_rest) {
            sums[0] = simd.mul_add_f32s(l, r, sums[0]);
        }
        let left_half = simd.add_f32s(sums[0], sums[1]);
        let right_half = simd.add_f32s(sums[2], sums[3]);
        let tail: f32 = left_tail.iter().zip(right_tail).map(|(l, r)| l * r).sum();
        simd.reduce_sum_f32s(simd.add_f32s(left_half, right_half)) + tail
    }
}

/// Below this many queries a tile is scored pair by pair, which reads the corpus once and copies nothing;
/// from here on matrix multiplication wins, which packs the tile first.
const MIN_QUERIES_FOR_GEMM: usize = 6;

/// Whether every score of these queries comes from the matrix multiplication.
///
/// The choice must not depend on the tile: the two ways round differently, and equal corpus rows in
/// different tiles must get equal scores.
pub(super) fn uses_gemm(queries: usize, corpus_rows: usize) -> bool {
    queries >= MIN_QUERIES_FOR_GEMM && corpus_rows >= 2
}

/// Inner products of each query with each row of a corpus tile into `scores`, one line of
/// `tile.nrows()` scores for each query.
pub(super) fn score_tile(
    queries: &ArrayView2<'_, f32>,
    tile: &ArrayView2<'_, f32>,
    gemm: bool,
    scores: &mut [f32],
) {
    debug_assert_eq!(scores.len(), queries.nrows() * tile.nrows());
    debug_assert_eq!(queries.ncols(), tile.ncols());
    if gemm {
        gemm_tile(queries, tile, scores);
        return;
    }
    let rows = tile.nrows();
    for (column, row) in tile.outer_iter().enumerate() {
        for (query, line) in queries.outer_iter().zip(scores.chunks_exact_mut(rows.max(1))) {
            line[column] = dot_views(&query, &row);
        }
    }
}

fn dot_views(left: &ArrayView1<'_, f32>, right: &ArrayView1<'_, f32>) -> f32 {
    match (left.as_slice(), right.as_slice()) {
        (Some(left), Some(right)) => dot(left, right),
        // Views with gaps between their elements are legal and rare.
        _ => left.iter().zip(right).map(|(l, r)| l * r).sum(),
    }
}

fn gemm_tile(queries: &ArrayView2<'_, f32>, tile: &ArrayView2<'_, f32>, scores: &mut [f32]) {
    let (m, n) = (queries.nrows(), tile.nrows());
    // `gemm` takes as left operand the one along which its output is contiguous. It reads the corpus in place
    // for few queries, and packs queries fastest that are laid out by column.
    let mut by_row = vec![0.0; m * n];
    multiply(queries, tile, &mut by_row);
    for (row, line) in by_row.chunks_exact(m.max(1)).enumerate() {
        for (query, &score) in line.iter().enumerate() {
            scores[query * n + row] = score;
        }
    }
}

/// `queries x tile^T` into `by_row`, the scores of all queries for one row of the tile after the other.
fn multiply(queries: &ArrayView2<'_, f32>, tile: &ArrayView2<'_, f32>, by_row: &mut [f32]) {
    let (m, n, depth) = (queries.nrows(), tile.nrows(), queries.ncols());
    assert!(tile.ncols() == depth && by_row.len() == m * n, "the tile and its score buffer must agree");
    // SAFETY: the shapes were just checked. `by_row` is an exclusive slice of m * n elements, and the strides
    // 1 and m address each of them once; the two views are valid for reads with the strides they report, and
    // the corpus is read transposed by swapping its strides. `read_dst` is false, so old scores are not read.
    unsafe {
        gemm::gemm(
            m,
            n,
            depth,
            by_row.as_mut_ptr(),
            m as isize,
            1,
            false,
            queries.as_ptr(),
            queries.strides()[1],
            queries.strides()[0],
            tile.as_ptr(),
            tile.strides()[0],
            tile.strides()[1],
            0.0_f32,
            1.0_f32,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn dot_matches_f64_at_every_length() {
        for len in 0..200_usize {
            let left: Vec<f32> = (0..len).map(|i| ((i * 37 % 19) as f32 - 9.0) / 7.0).collect();
            let right: Vec<f32> = (0..len).map(|i| ((i * 11 % 23) as f32 - 11.0) / 5.0).collect();
            let expected: f64 = left.iter().zip(&right).map(|(&l, &r)| f64::from(l) * f64::from(r)).sum();
            let got = f64::from(dot(&left, &right));
            assert!((got - expected).abs() < 1e-4, "length {len}: {got} and {expected}");
        }
    }

    #[test]
    fn the_two_ways_to_score_a_tile_agree() {
        let queries = Array2::from_shape_fn((7, 33), |(i, j)| ((i * 31 + j * 17) % 13) as f32 - 6.0);
        let tile = Array2::from_shape_fn((19, 33), |(i, j)| ((i * 7 + j * 29) % 11) as f32 - 5.0);
        let (mut by_gemm, mut by_dot) = (vec![f32::NAN; 7 * 19], vec![f32::NAN; 7 * 19]);
        score_tile(&queries.view(), &tile.view(), true, &mut by_gemm);
        score_tile(&queries.view(), &tile.view(), false, &mut by_dot);
        assert_eq!(by_gemm, by_dot, "small integers are exact in both");
    }

    #[test]
    fn views_with_gaps_are_scored_alike() {
        let wide = Array2::from_shape_fn((5, 40), |(i, j)| ((i * 3 + j * 5) % 7) as f32 - 3.0);
        let gaps = wide.slice(ndarray::s![.., ..;2]);
        let packed = gaps.to_owned();
        for gemm in [false, true] {
            let (mut a, mut b) = (vec![0.0; 25], vec![0.0; 25]);
            score_tile(&gaps, &gaps, gemm, &mut a);
            score_tile(&packed.view(), &packed.view(), gemm, &mut b);
            assert_eq!(a, b);
        }
    }

    #[test]
    fn normalize_refuses_a_zero_vector() {
        let mut vector = vec![3.0, 4.0];
        normalize(&mut vector, "v").unwrap();
        assert_eq!(vector, [0.6, 0.8]);
        assert!(normalize(&mut [0.0, 0.0], "v").is_err());
        assert!(normalize(&mut [f32::NAN, 1.0], "v").is_err());
    }
}
