use std::collections::BTreeMap;

use serde::Serialize;

use super::TrainError;
use super::negatives::Positives;
use super::prober::{EmbeddedPairs, Failed, Prober};
use crate::embedder::CancelToken;
use crate::pairs::PairIndex;
use crate::retrieval::rank;

/// Where a ranking is cut off.
const CUTOFFS: [usize; 2] = [1, 10];

/// How many queries find one of their positives among all positives of the held-out pairs of their task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Recall {
    /// Share of the pairs whose query has a positive in the first place.
    #[serde(rename = "recall@1")]
    pub at_1: f64,
    /// Share of the pairs whose query has a positive among the first ten.
    #[serde(rename = "recall@10")]
    pub at_10: f64,
}

/// The recall of each task in `index`, by the task's name. Equal inputs count once in the corpus, and each of
/// a query's positives is a right answer.
///
/// # Errors
/// A pair that cannot be read or embedded; [`TrainError::Cancelled`].
pub fn evaluate(
    prober: &dyn Prober,
    index: &PairIndex,
    cancel: &CancelToken,
) -> Result<BTreeMap<String, Recall>, TrainError> {
    let mut recalls = BTreeMap::new();
    for (task, pairs) in index.tasks().iter().enumerate() {
        // A corpus without some of its targets is an easier one.
        let failed: &mut Failed<'_> = &mut |_, error| Err(error);
        let embedded = EmbeddedPairs::new(prober, index, task, (0..pairs.len()).collect(), failed, cancel)?;
        let positives = Positives::new(&embedded);
        let rankings = rank(embedded.query_embeddings.view(), positives.embeddings.view(), CUTOFFS[1])?;
        let [at_1, at_10] = CUTOFFS.map(|k| {
            let found = |(pair, ranking): (usize, &Vec<crate::retrieval::Match>)| {
                ranking.iter().take(k).any(|hit| positives.of_pair(pair).contains(&hit.row))
            };
            rankings.iter().enumerate().filter(|&ranked| found(ranked)).count() as f64 / pairs.len() as f64
        });
        recalls.insert(pairs.task().to_string(), Recall { at_1, at_10 });
    }
    Ok(recalls)
}

#[cfg(test)]
mod tests {
    use super::super::prober::tests::{Table, text_pairs};
    use super::*;

    #[test]
    fn recall_counts_any_positive_of_the_query() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<(String, f32)> = (0..12).map(|i| (format!("t{i}"), 10.0 * i as f32)).collect();
        // q finds t0 first, which is one of its two positives; r finds t6 first and has t5; s has the
        // farthest.
        let mut pairs = vec![("q", "t0"), ("q", "t11"), ("r", "t5"), ("s", "t11")];
        pairs.extend(names.iter().map(|(name, _)| ("u", name.as_str())));
        let mut angles: Vec<(&str, f32)> =
            names.iter().map(|(name, angle)| (name.as_str(), *angle)).collect();
        angles.extend([("q", -1.0), ("r", 56.0), ("s", -1.0), ("u", 300.0)]);
        let index = text_pairs(folder.path(), &pairs);
        let recall = evaluate(&Table::new(&angles), &index, &CancelToken::new()).unwrap()["t2t"];
        // q twice, and u, whose positives are all there are.
        assert_eq!((recall.at_1, recall.at_10), (14.0 / 16.0, 15.0 / 16.0));
    }
}
