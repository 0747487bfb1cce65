use ndarray::Array2;

use super::TrainError;
use crate::embedder::{CancelToken, EmbedError, Embedder, Input};
use crate::pairs::{PairIndex, content_key};
use crate::random::Random;

/// Whatever embeds inputs outside of the gradient: an off-the-shelf embedder in the first epoch, the model in
/// training later on.
pub trait Prober {
    /// L2-normalised embeddings, (inputs, dim). `place` says where an input came from, should it fail.
    ///
    /// # Errors
    /// The first input that cannot be embedded; [`TrainError::Cancelled`] when `cancel` is set, before the
    /// next batch.
    fn embed(
        &self,
        inputs: &[Input],
        place: &dyn Fn(usize) -> String,
        cancel: &CancelToken,
    ) -> Result<Array2<f32>, TrainError>;
}

impl Prober for Embedder {
    fn embed(
        &self,
        inputs: &[Input],
        place: &dyn Fn(usize) -> String,
        cancel: &CancelToken,
    ) -> Result<Array2<f32>, TrainError> {
        let mut values = Vec::with_capacity(inputs.len() * self.dim());
        for (i, embedding) in self.embed_with(inputs, cancel, |_| {}).into_iter().enumerate() {
            let embedding = embedding.map_err(|error| match error {
                EmbedError::Cancelled => TrainError::Cancelled,
                error => TrainError::input(place(i))(error.into()),
            })?;
            values.extend(embedding.into_vec());
        }
        matrix(inputs.len(), self.dim(), values)
    }
}

pub(super) fn matrix(rows: usize, dim: usize, values: Vec<f32>) -> Result<Array2<f32>, TrainError> {
    Array2::from_shape_vec((rows, dim), values).map_err(|e| TrainError::Shape(e.to_string()))
}

/// Queries and positives of some pairs of one task.
pub(super) struct EmbeddedPairs {
    /// Numbers of the pairs within the task.
    pub(super) rows: Vec<usize>,
    pub(super) queries: Vec<Input>,
    pub(super) positives: Vec<Input>,
    /// (pairs, dim).
    pub(super) query_embeddings: Array2<f32>,
    /// (pairs, dim).
    pub(super) positive_embeddings: Array2<f32>,
}

impl EmbeddedPairs {
    pub(super) fn new(
        prober: &dyn Prober,
        index: &PairIndex,
        task: usize,
        rows: Vec<usize>,
        cancel: &CancelToken,
    ) -> Result<Self, TrainError> {
        let pairs = rows.iter().map(|&row| index.read(task, row)).collect::<Result<Vec<_>, _>>()?;
        let (queries, positives): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|pair| (pair.query, pair.positive)).unzip();
        let place = |i: usize| index.place(task, rows[i]);
        let query_embeddings = prober.embed(&queries, &place, cancel)?;
        let positive_embeddings = prober.embed(&positives, &place, cancel)?;
        Ok(Self { queries, positives, query_embeddings, positive_embeddings, rows })
    }
}

/// What a prober sees of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Probe {
    /// Mean cosine of query and positive (arXiv 2510.27571, section 4).
    pub alignment: f64,
    /// How often a query is nearer to its own positive than to another's: 0.5 of a prober to which this task says
    /// nothing, 1 of one that knows it. 1 where all positives are the same.
    pub separation: f64,
}

/// Probes a task by `count` sampled pairs, as `prober` sees them.
///
/// # Errors
/// A pair that cannot be read or embedded; [`TrainError::Cancelled`].
pub fn probe(
    prober: &dyn Prober,
    index: &PairIndex,
    task: usize,
    count: usize,
    random: &mut Random,
    cancel: &CancelToken,
) -> Result<Probe, TrainError> {
    let pairs = index.tasks().get(task).map_or(0, crate::pairs::TaskPairs::len);
    let embedded = EmbeddedPairs::new(prober, index, task, random.sample(pairs, count.max(1)), cancel)?;
    let targets: Vec<u64> = embedded.positives.iter().map(content_key).collect();
    let cosines = embedded.query_embeddings.dot(&embedded.positive_embeddings.t());
    let (mut alignment, mut nearer, mut compared) = (0.0, 0.0, 0.0);
    for (pair, row) in cosines.rows().into_iter().enumerate() {
        let own = row[pair];
        alignment += f64::from(own);
        for (cosine, _) in row.iter().zip(&targets).filter(|(_, target)| **target != targets[pair]) {
            compared += 1.0;
            nearer += if own > *cosine {
                1.0
            } else if own < *cosine {
                0.0
            } else {
                0.5
            };
        }
    }
    Ok(Probe {
        alignment: alignment / embedded.rows.len() as f64,
        separation: if compared > 0.0 { nearer / compared } else { 1.0 },
    })
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashMap;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::embedder::Part;

    /// Embeds texts by looking them up.
    pub(in crate::train) struct Table(pub(in crate::train) HashMap<String, [f32; 2]>);

    impl Table {
        /// Texts at angles in degrees.
        pub(in crate::train) fn new(angles: &[(&str, f32)]) -> Self {
            let at = |degrees: f32| [degrees.to_radians().cos(), degrees.to_radians().sin()];
            Self(angles.iter().map(|&(text, degrees)| (text.to_owned(), at(degrees))).collect())
        }
    }

    impl Prober for Table {
        fn embed(
            &self,
            inputs: &[Input],
            place: &dyn Fn(usize) -> String,
            _: &CancelToken,
        ) -> Result<Array2<f32>, TrainError> {
            let mut values = Vec::new();
            for (i, input) in inputs.iter().enumerate() {
                let [Part::Text(text)] = &input.parts[..] else { panic!("{input:?}") };
                values.extend(self.0.get(text).ok_or_else(|| TrainError::Shape(place(i)))?);
            }
            matrix(inputs.len(), 2, values)
        }
    }

    pub(in crate::train) fn text_pairs(folder: &Path, pairs: &[(&str, &str)]) -> PairIndex {
        let text = |text: &str| serde_json::json!({"content": [{"type": "text", "text": text}]});
        let lines: Vec<String> = pairs
            .iter()
            .map(|(q, p)| {
                serde_json::json!({"task": "t2t", "query": text(q), "positive": text(p)}).to_string()
            })
            .collect();
        let path: PathBuf = folder.join("pairs.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        PairIndex::open(&[path], true).unwrap()
    }

    #[test]
    fn alignment_is_the_mean_cosine_of_the_pairs() {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &[("a", "b"), ("a", "c"), ("b", "c")]);
        let prober = Table::new(&[("a", 0.0), ("b", 60.0), ("c", 90.0)]);
        let measure = |prober: &Table, count, seed| {
            probe(prober, &index, 0, count, &mut Random::new(seed), &CancelToken::new())
        };
        let got = measure(&prober, 99, 1).unwrap();
        assert!((got.alignment - (0.5 + 0.0 + 0.75_f64.sqrt()) / 3.0).abs() < 1e-6);
        // The first is nearer to its own than to that of the others, which have the same; these are nearer to its.
        assert!((got.separation - 2.0 / 4.0).abs() < 1e-9, "{got:?}");
        let few: Vec<f64> = (0..20).map(|seed| measure(&prober, 1, seed).unwrap().alignment).collect();
        assert!(few.iter().any(|r| (r - 0.5).abs() < 1e-6) && few.iter().any(|r| r.abs() < 1e-6), "{few:?}");
        assert_eq!(measure(&prober, 1, 1).unwrap().separation, 1.0);
        let unknown = Table::new(&[("a", 0.0), ("b", 0.0)]);
        let error = measure(&unknown, 99, 1).unwrap_err();
        assert!(error.to_string().ends_with("pairs.jsonl:2"), "{error}");
    }

    #[test]
    fn a_prober_that_knows_nothing_separates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &[("a", "b"), ("c", "d"), ("e", "f")]);
        let separation = |angles: [f32; 6]| {
            let names = ["a", "b", "c", "d", "e", "f"];
            let angles: Vec<(&str, f32)> = names.into_iter().zip(angles).collect();
            let random = &mut Random::new(1);
            probe(&Table::new(&angles), &index, 0, 9, random, &CancelToken::new()).unwrap().separation
        };
        assert_eq!(separation([0.0, 10.0, 50.0, 60.0, 110.0, 100.0]), 1.0);
        assert_eq!(separation([0.0, 30.0, 0.0, 30.0, 0.0, 30.0]), 0.5, "all of a kind are in one place");
        assert_eq!(separation([0.0, 60.0, 50.0, 10.0, 110.0, 112.0]), 4.0 / 6.0);
    }
}
