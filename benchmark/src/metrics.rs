//! Retrieval metrics as functions of grades, equal to those of `trec_eval`.
//!
//! A grade says how relevant a document is, 0: not at all. Every metric is reported at each of [`CUTOFFS`]
//! and lies between 0 and 1. Means are over all queries of a data set: one without a ranking scores 0 and
//! stays in the denominator.

use std::collections::HashMap;

use crate::dataset::Query;
use crate::manifest::MainMetric;

/// The cut-offs at which every metric is reported.
pub const CUTOFFS: [usize; 7] = [1, 3, 5, 10, 20, 100, 1000];

/// One metric at each of [`CUTOFFS`].
pub type AtCutoffs = [f64; CUTOFFS.len()];

/// The metrics of one query, or their means over queries.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct QueryScores {
    /// Share of the positives that are among the first k.
    pub recall: AtCutoffs,
    /// 1 if any positive is among the first k, else 0. UVRB calls this R@k, `trec_eval` success.
    pub hit_rate: AtCutoffs,
    /// Positives among the first k, by k.
    pub precision: AtCutoffs,
    /// Sum of grade / log2(rank + 1) over the first k, by the most it could be.
    pub ndcg: AtCutoffs,
    /// Sum of the precisions at the ranks of the positives among the first k, by the number of all positives.
    pub map: AtCutoffs,
    /// 1 / rank of the first positive if it is among the first k, else 0.
    pub mrr: AtCutoffs,
}

impl QueryScores {
    /// Each metric under the name it has in result files, without its cut-off.
    pub fn named(&self) -> [(&'static str, AtCutoffs); 6] {
        [
            ("ndcg", self.ndcg),
            ("map", self.map),
            ("recall", self.recall),
            ("hit_rate", self.hit_rate),
            ("precision", self.precision),
            ("mrr", self.mrr),
        ]
    }

    /// The score by which a data set is compared. 0 for a cut-off that is not one of [`CUTOFFS`], which a
    /// manifest does not let in.
    pub fn main(&self, metric: MainMetric) -> f64 {
        let (values, cutoff) = match metric {
            MainMetric::RecallAt(k) => (&self.hit_rate, k),
            MainMetric::PrecisionAt(k) => (&self.precision, k),
        };
        CUTOFFS.iter().position(|&k| k == cutoff).map_or(0.0, |at| values[at])
    }

    fn metrics_mut(&mut self) -> [&mut AtCutoffs; 6] {
        let Self { recall, hit_rate, precision, ndcg, map, mrr } = self;
        [recall, hit_rate, precision, ndcg, map, mrr]
    }
}

/// Scores one ranking: `ranked` are the grades of the ranked documents, best first, `positives` the grades of
/// all that is relevant to the query, ranked or not, in any order.
///
/// ```
/// // Two relevant documents, one of them second in a ranking of three.
/// let scores = uvrb::metrics::score(&[0, 1, 0], &[1, 1]);
/// assert_eq!(scores.recall[..2], [0.0, 0.5]); // at 1 and 3
/// assert_eq!(scores.hit_rate[..2], [0.0, 1.0]);
/// assert_eq!(scores.mrr[1], 0.5);
/// ```
pub fn score(ranked: &[u32], positives: &[u32]) -> QueryScores {
    let mut ideal: Vec<u32> = positives.iter().copied().filter(|&grade| grade > 0).collect();
    ideal.sort_unstable_by(|a, b| b.cmp(a));
    let mut scores = QueryScores::default();
    if ideal.is_empty() {
        return scores;
    }
    let relevant = ideal.len() as f64;
    let (mut found, mut gain, mut ideal_gain, mut precisions, mut reciprocal_rank) =
        (0.0, 0.0, 0.0, 0.0, 0.0);
    let mut ranks = 0..;
    for (at, &cutoff) in CUTOFFS.iter().enumerate() {
        for index in ranks.by_ref().take(cutoff - CUTOFFS[..at].last().unwrap_or(&0)) {
            let rank = (index + 1) as f64;
            let discount = (rank + 1.0).log2();
            ideal_gain += f64::from(ideal.get(index).copied().unwrap_or(0)) / discount;
            let grade = ranked.get(index).copied().unwrap_or(0);
            if grade == 0 {
                continue;
            }
            found += 1.0;
            gain += f64::from(grade) / discount;
            precisions += found / rank;
            if found == 1.0 {
                reciprocal_rank = 1.0 / rank;
            }
        }
        scores.recall[at] = found / relevant;
        scores.hit_rate[at] = f64::min(found, 1.0);
        scores.precision[at] = found / cutoff as f64;
        scores.ndcg[at] = gain / ideal_gain;
        scores.map[at] = precisions / relevant;
        scores.mrr[at] = reciprocal_rank;
    }
    scores
}

/// Scores the ranking of `query`: rows of the corpus, best first.
pub fn score_query(query: &Query, ranking: impl IntoIterator<Item = usize>) -> QueryScores {
    let grades: HashMap<usize, u32> = query.positives.iter().map(|p| (p.document, p.grade)).collect();
    let ranked: Vec<u32> =
        ranking.into_iter().map(|document| grades.get(&document).copied().unwrap_or(0)).collect();
    score(&ranked, &query.positives.iter().map(|p| p.grade).collect::<Vec<_>>())
}

/// Each metric's mean; all 0 without queries. Queries without a ranking belong in it, with
/// [`QueryScores::default`].
pub fn mean<'a>(queries: impl IntoIterator<Item = &'a QueryScores>) -> QueryScores {
    let mut sums = QueryScores::default();
    let mut count = 0;
    for &query in queries {
        count += 1;
        let mut query = query;
        for (sum, values) in sums.metrics_mut().into_iter().zip(query.metrics_mut()) {
            sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += *value);
        }
    }
    for sum in sums.metrics_mut() {
        sum.iter_mut().for_each(|sum| *sum /= f64::from(count.max(1)));
    }
    sums
}

#[cfg(test)]
// Tables of cases are best read as tables.
#[allow(clippy::type_complexity)]
mod tests {
    use super::*;

    #[test]
    fn metrics_at_each_cutoff() {
        let log = f64::log2;
        // Ranked grades, all grades, then recall, hit, precision, nDCG, MAP and MRR at 1 and 3.
        let cases: [(&[u32], &[u32], [f64; 6], [f64; 6]); 6] = [
            (&[], &[1], [0.0; 6], [0.0; 6]),
            (&[1], &[1], [1.0; 6], [1.0, 1.0, 1.0 / 3.0, 1.0, 1.0, 1.0]),
            (&[0, 0, 1], &[1], [0.0; 6], [1.0, 1.0, 1.0 / 3.0, 1.0 / log(4.0), 1.0 / 3.0, 1.0 / 3.0]),
            (&[0, 0, 0, 1], &[1], [0.0; 6], [0.0; 6]),
            (
                &[1, 0, 3],
                &[3, 1],
                [0.5, 1.0, 1.0, 1.0 / 3.0, 0.5, 1.0],
                [
                    1.0,
                    1.0,
                    2.0 / 3.0,
                    (1.0 + 3.0 / log(4.0)) / (3.0 + 1.0 / log(3.0)),
                    (1.0 + 2.0 / 3.0) / 2.0,
                    1.0,
                ],
            ),
            // A positive of grade 0 is none.
            (&[0, 2], &[0, 2], [0.0; 6], [1.0, 1.0, 1.0 / 3.0, 1.0 / log(3.0), 0.5, 0.5]),
        ];
        for (ranked, positives, at_1, at_3) in cases {
            let s = score(ranked, positives);
            for (at, expected) in [at_1, at_3].into_iter().enumerate() {
                let got = [s.recall[at], s.hit_rate[at], s.precision[at], s.ndcg[at], s.map[at], s.mrr[at]];
                for (got, expected) in got.into_iter().zip(expected) {
                    assert!((got - expected).abs() < 1e-12, "{ranked:?} of {positives:?} at {at}: {s:?}");
                }
            }
        }
        assert_eq!(score(&[0, 1], &[]), QueryScores::default(), "nothing to find");
    }

    #[test]
    fn queries_without_ranking_stay_in_the_denominator() {
        let mean = mean(&[score(&[1], &[1, 1]), QueryScores::default()]);
        assert_eq!((mean.recall[0], mean.precision[0], mean.mrr[6]), (0.25, 0.5, 0.5));
        assert_eq!(super::mean([]), QueryScores::default());
    }

    #[test]
    fn the_main_metric_is_any_hit_or_precision() {
        let scores = score(&[1, 0, 1], &[1, 1, 1]);
        assert_eq!(scores.main(MainMetric::RecallAt(3)), 1.0);
        assert_eq!(scores.main(MainMetric::PrecisionAt(3)), 2.0 / 3.0);
        assert_eq!(scores.main(MainMetric::PrecisionAt(10)), 0.2);
    }
}
