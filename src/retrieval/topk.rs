//! The best `k` of a corpus for each query.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use ndarray::{ArrayView1, ArrayView2, Axis, Slice};
use rayon::prelude::*;

use super::RetrievalError;
use super::similarity::{dot, score_tile, uses_gemm};

/// One ranked row of a corpus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Match {
    /// Row of the corpus.
    pub row: usize,
    /// Inner product with the query; the cosine if both are L2-normalised.
    pub score: f32,
}

impl Match {
    /// Best first: the higher score, then the lower row.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        // Scores are finite here. A total order would tell -0.0 from 0.0, which are the same score.
        other.score.partial_cmp(&self.score).unwrap_or(Ordering::Equal).then(self.row.cmp(&other.row))
    }
}

/// A match as one number, the better the lower: selecting and sorting are faster on whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key(u64);

/// Rows that a [`Key`] can tell apart.
const MAX_ROWS: usize = u32::MAX as usize;

impl Key {
    /// `score` is finite, `row` below [`MAX_ROWS`].
    fn new(row: usize, score: f32) -> Self {
        Self((u64::from(descending(score)) << 32) | row as u64)
    }

    fn score(self) -> f32 {
        score_of((self.0 >> 32) as u32)
    }

    fn row(self) -> u32 {
        self.0 as u32
    }

    fn into_match(self) -> Match {
        Match { row: self.row() as usize, score: self.score() }
    }
}

/// A finite score as a number, the lower the better.
fn descending(score: f32) -> u32 {
    // The sum makes 0.0 of -0.0, which is the same score.
    let bits = (score + 0.0).to_bits();
    // Bits of positive floats grow with them, those of negative ones fall.
    if bits >> 31 == 0 { bits ^ 0x7fff_ffff } else { bits }
}

fn score_of(descending: u32) -> f32 {
    f32::from_bits(if descending >> 31 == 0 { descending ^ 0x7fff_ffff } else { descending })
}

/// What several [`TopK`] of equal `k`, each of other rows, know together: the k-th best of all is no lower.
#[derive(Debug)]
pub(super) struct KnownThreshold(AtomicU32);

/// Of no score.
const NOTHING_KNOWN: u32 = u32::MAX;

impl KnownThreshold {
    pub(super) fn new() -> Self {
        Self(AtomicU32::new(NOTHING_KNOWN))
    }
}

/// The best `k` matches seen so far, as an unsorted reservoir of at most `2k` that is cut back when full.
#[derive(Debug, Clone)]
pub(super) struct TopK {
    k: usize,
    kept: Vec<Key>,
    /// A score must be above this to matter: the k-th best at the last cut.
    threshold: Option<f32>,
}

impl TopK {
    pub(super) fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), threshold: None }
    }

    /// Takes scores of consecutive rows that all come after the rows seen before, so that a score equal to
    /// the threshold never displaces an earlier row. Gives back the first non-finite score.
    pub(super) fn extend(&mut self, first_row: usize, scores: &[f32]) -> Result<(), Match> {
        for (chunk_index, chunk) in scores.chunks(32).enumerate() {
            if let Some(threshold) = self.threshold {
                // Also false for NaN and the infinities, which then meet the check below. No early exit: the
                // compiler turns this into a few vector compares.
                let dull = chunk.iter().fold(true, |dull, &s| dull & (s <= threshold) & (s >= f32::MIN));
                if dull {
                    continue;
                }
            }
            for (offset, &score) in chunk.iter().enumerate() {
                let row = first_row + chunk_index * 32 + offset;
                if !score.is_finite() {
                    return Err(Match { row, score });
                }
                if self.threshold.is_none_or(|threshold| score > threshold) {
                    self.kept.push(Key::new(row, score));
                    if self.kept.len() >= 2 * self.k {
                        self.cut();
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes over what others know of all rows, of which they see some: the k-th best is no lower than theirs. Tells
    /// them what is known here.
    pub(super) fn share(&mut self, known: &KnownThreshold) {
        let others = known.0.load(Relaxed);
        // Of several that are equal the lower row counts, which may be one to come.
        let threshold = score_of(others).next_down();
        if others != NOTHING_KNOWN && self.threshold.is_none_or(|own| own < threshold) {
            self.threshold = Some(threshold);
        } else if let Some(own) = self.threshold {
            known.0.fetch_min(descending(own), Relaxed);
        }
    }

    fn cut(&mut self) {
        if self.kept.len() >= self.k {
            let (_, worst, _) = self.kept.select_nth_unstable(self.k - 1);
            let worst = worst.score();
            self.threshold = Some(self.threshold.map_or(worst, |known| known.max(worst)));
            self.kept.truncate(self.k);
        }
    }

    /// The best of both; their rows may interleave in any way.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.kept.extend(other.kept);
        self.cut();
        self
    }

    /// The best so many in order, and the others in any.
    pub(super) fn into_best_and_rest(mut self, best: usize) -> (Vec<Match>, Vec<Match>) {
        self.cut();
        if best < self.kept.len() {
            self.kept.select_nth_unstable(best);
        }
        let rest = self.kept.split_off(best.min(self.kept.len()));
        self.kept.sort_unstable();
        let matches = |keys: Vec<Key>| keys.into_iter().map(Key::into_match).collect();
        (matches(self.kept), matches(rest))
    }

    pub(super) fn into_sorted(mut self) -> Vec<Match> {
        self.cut();
        self.kept.sort_unstable();
        self.kept.into_iter().map(Key::into_match).collect()
    }
}

/// Queries scored together, at most. Bounds the memory of a call; large enough for matrix multiplication to
/// run at full speed.
const QUERY_BLOCK: usize = 1024;
/// Queries that a thread takes through the corpus by itself, at most and at least.
const THREAD_QUERIES: (usize, usize) = (160, 512);
/// Corpus rows of one unit of work, at most. With [`QUERY_BLOCK`] queries their scores take 2 MiB, twice
/// while they are put in order.
const MAX_TILE_ROWS: usize = 512;
/// Corpus rows of one unit of work, at least: thinner tiles waste the matrix multiplication.
const MIN_TILE_ROWS: usize = 32;

/// Exact top-k by inner product: for each query the best `k` rows of `corpus`, best first.
///
/// `queries` is `[queries, dim]`, `corpus` `[rows, dim]`, both f32; with L2-normalised rows the scores are
/// cosines. Equal scores are ordered by row, the lower first, so the result does not depend on the number
/// of threads. If `k` exceeds the rows, all rows come back; an empty corpus gives empty rankings. Works on
/// all threads of the current rayon pool. Holds at most
/// twice 1024 queries x 512 rows of scores per thread, and a copy of the queries being scored.
///
/// # Errors
/// [`RetrievalError::DimensionMismatch`] if the widths differ; [`RetrievalError::NonFiniteScore`] if a vector
/// holds NaN or infinity; [`RetrievalError::CorpusTooLarge`] beyond 2^32 - 1 rows.
pub fn rank(
    queries: ArrayView2<'_, f32>,
    corpus: ArrayView2<'_, f32>,
    k: usize,
) -> Result<Vec<Vec<Match>>, RetrievalError> {
    if queries.nrows() > 0 && corpus.nrows() > 0 && queries.ncols() != corpus.ncols() {
        return Err(RetrievalError::DimensionMismatch {
            what: "the query".into(),
            expected: corpus.ncols(),
            got: queries.ncols(),
        });
    }
    if corpus.nrows() > MAX_ROWS {
        return Err(RetrievalError::CorpusTooLarge { rows: corpus.nrows(), max: MAX_ROWS });
    }
    if k == 0 || corpus.nrows() == 0 {
        return Ok(vec![Vec::new(); queries.nrows()]);
    }
    let k = k.min(corpus.nrows());
    // One decision for all blocks, or a query's score would depend on its place in the batch.
    let gemm = uses_gemm(queries.nrows(), corpus.nrows());
    let threads = rayon::current_num_threads();
    let (least, most) = THREAD_QUERIES;
    // With enough queries for all threads, each takes its own through the corpus and nothing has to be
    // merged.
    let by_query = queries.nrows() >= least * threads;
    let block_len = if by_query { queries.nrows().div_ceil(threads).min(most) } else { QUERY_BLOCK };
    let rank_block = |block: Range<usize>| {
        let first_query = block.start;
        let mut view = queries.slice_axis(Axis(0), Slice::from(block));
        // By column, as the multiplication packs them: every tile of the corpus packs them anew, which
        // otherwise takes a sixth of the time.
        let columns = gemm.then(|| view.t().as_standard_layout().into_owned());
        if let Some(columns) = &columns {
            view = columns.t();
        }
        let bests =
            if by_query { walk(&view, &corpus, k, gemm) } else { walk_in_parallel(&view, &corpus, k, gemm) };
        bests.map_err(|(query, bad)| RetrievalError::NonFiniteScore {
            query: first_query + query,
            row: bad.row,
            score: bad.score,
        })
    };
    let blocks = even_split(queries.nrows(), block_len);
    if by_query {
        let sorted = |block| Ok(rank_block(block)?.into_iter().map(TopK::into_sorted).collect::<Vec<_>>());
        let blocks: Vec<_> = blocks.into_par_iter().map(sorted).collect::<Result<_, RetrievalError>>()?;
        return Ok(blocks.into_iter().flatten().collect());
    }
    let mut rankings = Vec::with_capacity(queries.nrows());
    for block in blocks {
        rankings.par_extend(rank_block(block)?.into_par_iter().map(TopK::into_sorted));
    }
    Ok(rankings)
}

/// A query of the block, and its score that is not finite.
type Bad = (usize, Match);

/// Takes a block of queries through the corpus on this thread.
fn walk(
    queries: &ArrayView2<'_, f32>,
    corpus: &ArrayView2<'_, f32>,
    k: usize,
    gemm: bool,
) -> Result<Vec<TopK>, Bad> {
    let mut bests = vec![TopK::new(k); queries.nrows()];
    let mut scores = Vec::new();
    for tile in even_split(corpus.nrows(), MAX_TILE_ROWS) {
        extend_all(&mut bests, &mut scores, queries, corpus, tile, gemm)?;
    }
    Ok(bests)
}

/// Takes a block of queries through the corpus on all threads, each with tiles of its own.
fn walk_in_parallel(
    queries: &ArrayView2<'_, f32>,
    corpus: &ArrayView2<'_, f32>,
    k: usize,
    gemm: bool,
) -> Result<Vec<TopK>, Bad> {
    let fair_share = corpus.nrows().div_ceil(4 * rayon::current_num_threads());
    let tiles = even_split(corpus.nrows(), fair_share.clamp(MIN_TILE_ROWS, MAX_TILE_ROWS));
    let fresh = || vec![TopK::new(k); queries.nrows()];
    // Each fold walks consecutive tiles in order, which `TopK::extend` relies on.
    tiles
        .into_par_iter()
        .try_fold(
            || (fresh(), Vec::new()),
            |(mut bests, mut scores), tile| {
                extend_all(&mut bests, &mut scores, queries, corpus, tile, gemm)?;
                Ok((bests, scores))
            },
        )
        .map(|folded| folded.map(|(bests, _)| bests))
        .try_reduce(fresh, |left, right| Ok(left.into_iter().zip(right).map(|(l, r)| l.merge(r)).collect()))
}

/// Scores a tile of the corpus; `scores` is room to do so.
fn extend_all(
    bests: &mut [TopK],
    scores: &mut Vec<f32>,
    queries: &ArrayView2<'_, f32>,
    corpus: &ArrayView2<'_, f32>,
    tile: Range<usize>,
    gemm: bool,
) -> Result<(), Bad> {
    let (first_row, rows) = (tile.start, tile.len());
    scores.resize(queries.nrows() * rows, 0.0);
    score_tile(queries, &corpus.slice_axis(Axis(0), Slice::from(tile)), gemm, scores);
    for (query, (best, line)) in bests.iter_mut().zip(scores.chunks_exact(rows)).enumerate() {
        best.extend(first_row, line).map_err(|bad| (query, bad))?;
    }
    Ok(())
}

/// Cuts `0..len` into ranges of at most `max` whose sizes differ by at most one.
///
/// No range is then a single row unless `len` is 1 or `max` is: matrix multiplication has a different kernel
/// for vectors, which rounds differently.
fn even_split(len: usize, max: usize) -> Vec<Range<usize>> {
    let parts = len.div_ceil(max);
    (0..parts).map(|part| part * len / parts..(part + 1) * len / parts).collect()
}

/// Candidates of one unit of work, at least.
const MIN_CANDIDATES: usize = 512;

/// Ranks only the rows of `corpus` that `candidates` names, for one query; best first, at most `k`.
///
/// For data sets in which each query has a list of its own. `query` is `[dim]`, `corpus` `[rows, dim]`. Equal
/// scores are ordered by row. A row named twice counts once.
///
/// # Errors
/// [`RetrievalError::DimensionMismatch`], [`RetrievalError::CandidateOutOfRange`], and
/// [`RetrievalError::NonFiniteScore`] (with query 0).
pub fn rank_candidates(
    query: ArrayView1<'_, f32>,
    corpus: ArrayView2<'_, f32>,
    candidates: &[usize],
    k: usize,
) -> Result<Vec<Match>, RetrievalError> {
    if query.len() != corpus.ncols() {
        return Err(RetrievalError::DimensionMismatch {
            what: "the query".into(),
            expected: corpus.ncols(),
            got: query.len(),
        });
    }
    let query = query.as_standard_layout();
    let mut matches = candidates
        .par_iter()
        .with_min_len(MIN_CANDIDATES)
        .map(|&row| {
            if row >= corpus.nrows() {
                return Err(RetrievalError::CandidateOutOfRange { row, rows: corpus.nrows() });
            }
            let vector = corpus.row(row);
            let vector = vector.as_standard_layout();
            let score = dot(query.as_slice().unwrap_or(&[]), vector.as_slice().unwrap_or(&[]));
            if score.is_finite() {
                Ok(Match { row, score })
            } else {
                Err(RetrievalError::NonFiniteScore { query: 0, row, score })
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    matches.sort_unstable_by(Match::order);
    matches.dedup_by_key(|m| m.row);
    matches.truncate(k);
    Ok(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_split_covers_everything_once_and_leaves_no_single_row() {
        for len in 0..300 {
            for max in [32, 33, 64] {
                let ranges = even_split(len, max);
                let mut next = 0;
                for range in &ranges {
                    assert_eq!(range.start, next);
                    assert!(range.len() <= max && (range.len() > 1 || len == 1), "{len} / {max}: {range:?}");
                    next = range.end;
                }
                assert_eq!(next, len);
            }
        }
    }

    #[test]
    fn what_is_known_elsewhere_changes_nothing() {
        let scores: Vec<f32> = (0..3000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 25) as f32).collect();
        let mut alone = TopK::new(20);
        alone.extend(0, &scores).unwrap();
        let (known, mut parts) = (KnownThreshold::new(), [TopK::new(20), TopK::new(20)]);
        for (number, some) in scores.chunks(50).enumerate() {
            let part = &mut parts[number / 30];
            part.share(&known);
            part.extend(50 * number, some).unwrap();
            part.share(&known);
        }
        let [left, right] = parts;
        assert!(right.kept.len() < 40 && right.threshold > Some(100.0), "what the left one knows is known");
        let together = right.merge(left);
        assert_eq!(together.clone().into_sorted(), alone.into_sorted());
        let sorted = together.clone().into_sorted();
        for best in [0, 1, 7, sorted.len(), sorted.len() + 1] {
            let (first, mut rest) = together.clone().into_best_and_rest(best);
            rest.sort_unstable_by(Match::order);
            assert_eq!((first.len(), [first, rest].concat()), (best.min(sorted.len()), sorted.clone()));
        }
    }

    #[test]
    fn top_k_keeps_the_best_and_prefers_early_rows() {
        let scores = [0.1, 0.9, 0.5, 0.9, 0.5, -0.2, 0.9];
        for (k, expected) in
            [(1, vec![1]), (2, vec![1, 3]), (4, vec![1, 3, 6, 2]), (7, vec![1, 3, 6, 2, 4, 0, 5])]
        {
            for cut in 0..scores.len() {
                let (mut left, mut right) = (TopK::new(k), TopK::new(k));
                left.extend(0, &scores[..cut]).unwrap();
                right.extend(cut, &scores[cut..]).unwrap();
                let rows: Vec<usize> = right.merge(left).into_sorted().iter().map(|m| m.row).collect();
                assert_eq!(rows, expected, "k {k}, cut at {cut}");
            }
        }
    }

    #[test]
    fn keys_order_as_matches_do_and_give_them_back() {
        let scores = [f32::MAX, 1.0, 0.5, 1e-45, 0.0, -0.0, -1e-45, -0.5, -1.0, f32::MIN];
        for (score, other) in scores.into_iter().flat_map(|score| scores.map(|other| (score, other))) {
            for (row, other_row) in [(0, 0), (0, 7), (MAX_ROWS - 1, 7)] {
                let (a, b) = (Match { row, score }, Match { row: other_row, score: other });
                let (key_a, key_b) = (Key::new(row, score), Key::new(other_row, other));
                assert_eq!(key_a.cmp(&key_b), a.order(&b), "{a:?} and {b:?}");
                assert_eq!(key_a.into_match(), a);
            }
        }
    }

    #[test]
    fn a_non_finite_score_is_named_even_after_the_threshold_is_set() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut scores = vec![0.5; 100];
            scores[77] = bad;
            let error = TopK::new(3).extend(1000, &scores).unwrap_err();
            assert_eq!(error.row, 1077);
        }
    }
}
