//! Hard negatives: targets that lie close to a query and are not its own.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::TrainError;
use super::prober::{EmbeddedPairs, Failed, Prober};
use crate::embedder::CancelToken;
use crate::pairs::{PairIndex, content_key};
use crate::retrieval::{dot, rank};

/// A target whose cosine with the positive is this close to 1 is the positive again.
const DUPLICATE_TOLERANCE: f32 = 1e-5;

/// The mined negatives of one task: for a pair the pairs whose positives are close to its query, closest
/// first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct HardNegatives(HashMap<usize, Vec<usize>>);

impl HardNegatives {
    /// Pairs that were mined for.
    pub fn num_pairs(&self) -> usize {
        self.0.len()
    }

    /// The pairs whose positives are negatives of pair `row`.
    pub fn of(&self, row: usize) -> &[usize] {
        self.0.get(&row).map_or(&[], Vec::as_slice)
    }
}

/// Mines the `count` hardest negatives of each pair in `rows` among the positives of those pairs, by exact
/// search. What the same query has as positive in any of them is left out, and so are duplicates of such a
/// positive: the same content, or a cosine with it within 1e-5 of 1. Other pairs of the task are not read, so
/// what they hold is not known. Pairs that `failed` lets go are as if they were not among `rows`.
///
/// # Errors
/// A pair that cannot be read or embedded; [`TrainError::Cancelled`].
pub fn mine(
    prober: &dyn Prober,
    index: &PairIndex,
    task: usize,
    rows: Vec<usize>,
    count: usize,
    failed: &mut Failed<'_>,
    cancel: &CancelToken,
) -> Result<HardNegatives, TrainError> {
    let pairs = EmbeddedPairs::new(prober, index, task, rows, failed, cancel)?;
    let positives = Positives::new(&pairs);
    let mut mined = HashMap::new();
    // A ranking holds the positives too, and nobody knows how many. Those who found too few ask again for
    // twice as many.
    let mut open: Vec<usize> = (0..pairs.rows.len()).collect();
    let mut depth = 2 * count + 1;
    while !open.is_empty() && count > 0 {
        let queries = pairs.query_embeddings.select(ndarray::Axis(0), &open);
        let rankings = rank(queries.view(), positives.embeddings.view(), depth)?;
        let exhausted = depth >= positives.embeddings.nrows();
        let mut unsatisfied = Vec::new();
        for (&query, ranking) in open.iter().zip(&rankings) {
            let own = positives.of_pair(query);
            let negatives = ranking.iter().map(|m| m.row).filter(|&target| !positives.is_one_of(target, own));
            let found: Vec<usize> = negatives.take(count).map(|target| positives.pair[target]).collect();
            if found.len() == count || exhausted {
                mined.insert(pairs.rows[query], found.into_iter().map(|i| pairs.rows[i]).collect());
            } else {
                unsatisfied.push(query);
            }
        }
        open = unsatisfied;
        depth *= 2;
    }
    Ok(HardNegatives(mined))
}

/// The different positives of some pairs, and which query has which.
pub(super) struct Positives {
    /// (different positives, dim).
    pub(super) embeddings: ndarray::Array2<f32>,
    /// The first pair that has this positive.
    pair: Vec<usize>,
    /// The positives of each different query.
    of_query: Vec<HashSet<usize>>,
    /// Which of the different queries a pair has.
    query_of_pair: Vec<usize>,
}

impl Positives {
    pub(super) fn new(pairs: &EmbeddedPairs) -> Self {
        let (mut targets, mut queries) = (HashMap::new(), HashMap::new());
        let (mut pair, mut of_query, mut query_of_pair) =
            (Vec::new(), Vec::<HashSet<usize>>::new(), Vec::new());
        for (i, (query, positive)) in pairs.queries.iter().zip(&pairs.positives).enumerate() {
            let target = *targets.entry(content_key(positive)).or_insert(pair.len());
            if target == pair.len() {
                pair.push(i);
            }
            let query = *queries.entry(content_key(query)).or_insert(of_query.len());
            if query == of_query.len() {
                of_query.push(HashSet::new());
            }
            of_query[query].insert(target);
            query_of_pair.push(query);
        }
        let embeddings = pairs.positive_embeddings.select(ndarray::Axis(0), &pair);
        Self { embeddings, pair, of_query, query_of_pair }
    }

    /// All positives of the query of a pair.
    pub(super) fn of_pair(&self, pair: usize) -> &HashSet<usize> {
        &self.of_query[self.query_of_pair[pair]]
    }

    fn is_one_of(&self, target: usize, own: &HashSet<usize>) -> bool {
        own.contains(&target)
            || own.iter().any(|&positive| self.cosine(target, positive) >= 1.0 - DUPLICATE_TOLERANCE)
    }

    fn cosine(&self, a: usize, b: usize) -> f32 {
        let (a, b) = (self.embeddings.row(a), self.embeddings.row(b));
        match (a.as_slice(), b.as_slice()) {
            (Some(a), Some(b)) => dot(a, b),
            _ => a.dot(&b),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::prober::tests::{Table, strictly, text_pairs};
    use super::*;

    fn mined(pairs: &[(&str, &str)], angles: &[(&str, f32)], count: usize) -> Vec<Vec<usize>> {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), pairs);
        let rows: Vec<usize> = (0..pairs.len()).collect();
        let (table, cancel) = (Table::new(angles), CancelToken::new());
        let negatives = mine(&table, &index, 0, rows.clone(), count, &mut strictly, &cancel).unwrap();
        rows.into_iter().map(|row| negatives.of(row).to_vec()).collect()
    }

    #[test]
    fn the_closest_other_targets_come_first() {
        let pairs = [("q0", "a"), ("q1", "b"), ("q2", "c")];
        let angles = [("q0", 0.0), ("q1", 25.0), ("q2", 80.0), ("a", 10.0), ("b", 30.0), ("c", 90.0)];
        assert_eq!(mined(&pairs, &angles, 1), [[1], [0], [1]]);
        assert_eq!(mined(&pairs, &angles, 9), [[1, 2], [0, 2], [1, 0]]);
        assert_eq!(mined(&pairs, &angles, 0), [[]; 3] as [[usize; 0]; 3]);
    }

    #[test]
    fn positives_and_their_duplicates_are_left_out() {
        // Pair 1 has pair 0's positive again; pair 2 asks pair 0's question and has another answer; "twin" is
        // another text at the very place of "a"; "near" is close to it but not the same.
        let pairs = [("q", "a"), ("r", "a"), ("q", "other"), ("s", "twin"), ("t", "near"), ("u", "far")];
        let angles = [
            ("q", 0.0),
            ("r", 100.0),
            ("s", 101.0),
            ("t", 102.0),
            ("u", 103.0),
            ("a", 5.0),
            ("other", 7.0),
            ("twin", 5.0),
            ("near", 8.0),
            ("far", 60.0),
        ];
        let mined = mined(&pairs, &angles, 2);
        assert_eq!(mined[0], [4, 5], "near and far");
        assert_eq!(mined[2], [4, 5], "the same question");
        assert_eq!(mined[1], [5, 4], "from where r is, far is nearest");
        assert_eq!(mined[3], [5, 4], "twin's twin is a");
        assert_eq!(mined[4], [5, 2]);
    }

    #[test]
    fn many_duplicates_do_not_crowd_out_the_negatives() {
        // The thirty targets nearest to the query are all duplicates of its positive.
        let names: Vec<String> = (0..30).map(|i| format!("d{i}")).collect();
        let mut pairs: Vec<(&str, &str)> = names.iter().map(|name| ("x", name.as_str())).collect();
        pairs.extend([("q", "d0"), ("y", "n0"), ("y", "n1")]);
        let mut angles: Vec<(&str, f32)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
        angles.extend([("x", 200.0), ("y", 210.0), ("q", 0.0), ("n0", 50.0), ("n1", 40.0)]);
        assert_eq!(mined(&pairs, &angles, 2)[30], [32, 31]);
    }
}
