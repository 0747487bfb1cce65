//! A part of a data set, drawn by a seed, for a quick look.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::dataset::{Dataset, Positive, Query};
use crate::result::Subsample;

/// At most `limit` queries, and a corpus of all that is relevant to them or a candidate of theirs, filled up
/// to `limit` documents with others. Order and ids stay. The same seed draws the same part on every machine.
///
/// `None` where the data set is no larger than that.
pub fn subsample(dataset: &Dataset, Subsample { limit, seed }: Subsample) -> Option<Dataset> {
    if dataset.queries.len() <= limit && dataset.corpus.len() <= limit {
        return None;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut drawn = |count: usize| {
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut random);
        order
    };
    let queries: BTreeSet<usize> = drawn(dataset.queries.len()).into_iter().take(limit).collect();
    let queries: Vec<&Query> = queries.into_iter().map(|index| &dataset.queries[index]).collect();
    let mut rows: BTreeSet<usize> = queries.iter().flat_map(|query| needed(query)).collect();
    for row in drawn(dataset.corpus.len()) {
        if rows.len() >= limit {
            break;
        }
        rows.insert(row);
    }
    let rows: Vec<usize> = rows.into_iter().collect();
    // Every document of these queries is among the rows.
    let moved = |old: &usize| rows.binary_search(old).ok();
    let queries = queries.into_iter().map(|query| Query {
        positives: query
            .positives
            .iter()
            .filter_map(|positive| {
                Some(Positive { document: moved(&positive.document)?, grade: positive.grade })
            })
            .collect(),
        candidates: query.candidates.as_ref().map(|rows| rows.iter().filter_map(moved).collect()),
        ..query.clone()
    });
    Some(Dataset {
        id: dataset.id.clone(),
        revision: dataset.revision.clone(),
        queries: queries.collect(),
        corpus: rows.iter().map(|&row| dataset.corpus[row].clone()).collect(),
    })
}

/// The documents without which a query cannot be scored.
fn needed(query: &Query) -> impl Iterator<Item = usize> + '_ {
    let positives = query.positives.iter().map(|positive| positive.document);
    positives.chain(query.candidates.iter().flatten().copied())
}

#[cfg(test)]
mod tests {
    use gve::Input;

    use super::*;
    use crate::dataset::Document;

    fn dataset(queries: usize, corpus: usize) -> Dataset {
        Dataset {
            id: "X".into(),
            revision: "r".into(),
            queries: (0..queries)
                .map(|i| Query {
                    id: format!("q{i}"),
                    input: Input::text(format!("{i}")),
                    positives: vec![
                        Positive { document: i % corpus, grade: 2 },
                        Positive { document: (i * 7 + 1) % corpus, grade: 1 },
                    ],
                    candidates: (i % 2 == 0).then(|| vec![i % corpus, (i + 3) % corpus]),
                })
                .collect(),
            corpus: (0..corpus)
                .map(|i| Document { id: format!("d{i}"), input: Input::video(format!("{i}.mp4")) })
                .collect(),
        }
    }

    type Relation = (String, Vec<(String, u32)>, Option<Vec<String>>);

    /// For each query, the ids of its documents with their grades, and of its candidates.
    fn relations(dataset: &Dataset) -> Vec<Relation> {
        let id = |row: &usize| dataset.corpus[*row].id.as_str();
        let relation = |query: &'_ Query| {
            let positives = query.positives.iter().map(|p| (id(&p.document).to_owned(), p.grade)).collect();
            let candidates =
                query.candidates.as_ref().map(|rows| rows.iter().map(|row| id(row).to_owned()).collect());
            (query.id.clone(), positives, candidates)
        };
        dataset.queries.iter().map(relation).collect()
    }

    #[test]
    fn relevance_survives_and_the_seed_decides() {
        let whole = dataset(40, 30);
        let part = subsample(&whole, Subsample { limit: 8, seed: 1 }).unwrap();
        assert_eq!(part.queries.len(), 8);
        assert!(part.corpus.len() >= 8 && part.corpus.len() < 30);
        let expected = relations(&whole);
        for relation in relations(&part) {
            assert!(expected.contains(&relation), "{relation:?}");
        }
        let ids = |d: &Dataset| d.queries.iter().map(|q| q.id.clone()).collect::<Vec<_>>();
        let again = subsample(&whole, Subsample { limit: 8, seed: 1 }).unwrap();
        assert_eq!(ids(&part), ids(&again));
        let other = subsample(&whole, Subsample { limit: 8, seed: 2 }).unwrap();
        assert_ne!(ids(&part), ids(&other));
    }

    #[test]
    fn distractors_fill_the_corpus_up() {
        let whole = dataset(2, 30);
        let part = subsample(&whole, Subsample { limit: 20, seed: 0 }).unwrap();
        assert_eq!((part.queries.len(), part.corpus.len()), (2, 20));
        assert!(subsample(&whole, Subsample { limit: 30, seed: 0 }).is_none(), "nothing to cut");
    }
}
