use ndarray::Array2;

use super::TrainError;
use crate::embedder::{CancelToken, EmbedError, Embedder, Input};
use crate::pairs::PairIndex;
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

/// Alignment of a task (arXiv 2510.27571, section 4): the mean cosine of query and positive over `count`
/// sampled pairs, as `prober` sees them.
///
/// # Errors
/// A pair that cannot be read or embedded; [`TrainError::Cancelled`].
pub fn alignment(
    prober: &dyn Prober,
    index: &PairIndex,
    task: usize,
    count: usize,
    random: &mut Random,
    cancel: &CancelToken,
) -> Result<f64, TrainError> {
    let pairs = index.tasks().get(task).map_or(0, crate::pairs::TaskPairs::len);
    let embedded = EmbeddedPairs::new(prober, index, task, random.sample(pairs, count.max(1)), cancel)?;
    let cosines = embedded.query_embeddings.rows().into_iter().zip(embedded.positive_embeddings.rows());
    let total: f64 = cosines.map(|(query, positive)| f64::from(query.dot(&positive))).sum();
    Ok(total / embedded.rows.len() as f64)
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
            alignment(prober, &index, 0, count, &mut Random::new(seed), &CancelToken::new())
        };
        let got = measure(&prober, 99, 1).unwrap();
        assert!((got - (0.5 + 0.0 + 0.75_f64.sqrt()) / 3.0).abs() < 1e-6);
        let few: Vec<f64> = (0..20).map(|seed| measure(&prober, 1, seed).unwrap()).collect();
        assert!(few.iter().any(|r| (r - 0.5).abs() < 1e-6) && few.iter().any(|r| r.abs() < 1e-6), "{few:?}");
        let unknown = Table::new(&[("a", 0.0), ("b", 0.0)]);
        let error = measure(&unknown, 99, 1).unwrap_err();
        assert!(error.to_string().ends_with("pairs.jsonl:2"), "{error}");
    }
}
