use ndarray::Array2;

use super::TrainError;
use crate::embedder::{CancelToken, EmbedError, Embedder, Input};
use crate::pairs::{PairIndex, content_key};
use crate::random::Random;

/// Whatever embeds inputs outside of the gradient: an off-the-shelf embedder in the first epoch, the model in
/// training later on.
pub trait Prober {
    /// The L2-normalised embedding of each input, `dim` values; none of one that `failed` lets go.
    ///
    /// # Errors
    /// What `failed` gives for an input that cannot be read; [`TrainError::Cancelled`] when `cancel` is set,
    /// before the next batch.
    fn embed(
        &self,
        inputs: &[Input],
        failed: &mut Failed<'_>,
        cancel: &CancelToken,
    ) -> Result<Vec<Option<Vec<f32>>>, TrainError>;
}

/// Is told the number of an input or pair that cannot be embedded, and why: lets it go, or gives the error that
/// ends it all.
pub type Failed<'a> = dyn FnMut(usize, TrainError) -> Result<(), TrainError> + 'a;

impl Prober for Embedder {
    fn embed(
        &self,
        inputs: &[Input],
        failed: &mut Failed<'_>,
        cancel: &CancelToken,
    ) -> Result<Vec<Option<Vec<f32>>>, TrainError> {
        let each = self.embed_with(inputs, cancel, |_| {}).into_iter().enumerate();
        let taken = each.map(|(number, embedding)| match embedding {
            Ok(embedding) => Ok(Some(embedding.into_vec())),
            Err(EmbedError::Cancelled) => Err(TrainError::Cancelled),
            Err(error) => failed(number, error.into()).map(|()| None),
        });
        taken.collect()
    }
}

fn matrix(rows: usize, values: Vec<f32>) -> Result<Array2<f32>, TrainError> {
    let shape = (rows, values.len() / rows.max(1));
    Array2::from_shape_vec(shape, values).map_err(|e| TrainError::Shape(e.to_string()))
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
    /// `failed` is told pairs by their numbers within the task.
    pub(super) fn new(
        prober: &dyn Prober,
        index: &PairIndex,
        task: usize,
        rows: Vec<usize>,
        failed: &mut Failed<'_>,
        cancel: &CancelToken,
    ) -> Result<Self, TrainError> {
        let first = rows.first().copied();
        let pairs = rows.iter().map(|&row| index.read(task, row)).collect::<Result<Vec<_>, _>>()?;
        let (queries, positives): (Vec<_>, Vec<_>) =
            pairs.into_iter().map(|pair| (pair.query, pair.positive)).unzip();
        let mut embed = |inputs: &[Input], rows: &[usize]| {
            let failed: &mut Failed<'_> = &mut |i, error| {
                let row = rows[i];
                failed(row, TrainError::input(index.place(task, row))(error))
            };
            prober.embed(inputs, failed, cancel)
        };
        let of_queries = embed(&queries, &rows)?;
        let of_positives = embed(&positives, &rows)?;
        let (mut left, mut query_values, mut positive_values) = (Vec::new(), Vec::new(), Vec::new());
        let each = rows.into_iter().zip(queries.into_iter().zip(positives));
        for (pair, embeddings) in each.zip(of_queries.into_iter().zip(of_positives)) {
            if let (Some(query), Some(positive)) = embeddings {
                left.push(pair);
                query_values.extend(query);
                positive_values.extend(positive);
            }
        }
        if let Some(first) = first.filter(|_| left.is_empty()) {
            let place = index.place(task, first);
            let reason = "neither this pair nor one of the others that were to be embedded can be read";
            return Err(TrainError::Config { place, reason: reason.to_owned() });
        }
        let (rows, inputs): (Vec<_>, Vec<_>) = left.into_iter().unzip();
        let (queries, positives) = inputs.into_iter().unzip();
        let query_embeddings = matrix(rows.len(), query_values)?;
        let positive_embeddings = matrix(rows.len(), positive_values)?;
        Ok(Self { rows, queries, positives, query_embeddings, positive_embeddings })
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

/// Probes a task by `count` sampled pairs, as `prober` sees them, but for those that `failed` lets go.
///
/// # Errors
/// A pair that cannot be read or embedded; [`TrainError::Cancelled`].
pub fn probe(
    prober: &dyn Prober,
    index: &PairIndex,
    task: usize,
    count: usize,
    random: &mut Random,
    failed: &mut Failed<'_>,
    cancel: &CancelToken,
) -> Result<Probe, TrainError> {
    let pairs = index.tasks().get(task).map_or(0, crate::pairs::TaskPairs::len);
    let rows = random.sample(pairs, count.max(1));
    let embedded = EmbeddedPairs::new(prober, index, task, rows, failed, cancel)?;
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
            failed: &mut Failed<'_>,
            _: &CancelToken,
        ) -> Result<Vec<Option<Vec<f32>>>, TrainError> {
            let of = |(i, input): (usize, &Input)| {
                let [Part::Text(text)] = &input.parts[..] else { panic!("{input:?}") };
                match self.0.get(text) {
                    Some(values) => Ok(Some(values.to_vec())),
                    None => failed(i, TrainError::Shape(format!("no {text}"))).map(|()| None),
                }
            };
            inputs.iter().enumerate().map(of).collect()
        }
    }

    /// Lets nothing go.
    pub(in crate::train) fn strictly(_: usize, error: TrainError) -> Result<(), TrainError> {
        Err(error)
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
            probe(prober, &index, 0, count, &mut Random::new(seed), &mut strictly, &CancelToken::new())
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
        assert!(error.to_string().ends_with("pairs.jsonl:2: no c"), "{error}");
    }

    #[test]
    fn pairs_that_may_be_let_go_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &[("a", "b"), ("c", "b"), ("b", "c"), ("b", "a")]);
        let known = Table::new(&[("a", 0.0), ("b", 60.0)]);
        let mut told = Vec::new();
        let mut failed = |row, error: TrainError| {
            told.push((row, error.to_string()));
            Ok(())
        };
        let got =
            probe(&known, &index, 0, 99, &mut Random::new(1), &mut failed, &CancelToken::new()).unwrap();
        assert!((got.alignment - 0.5).abs() < 1e-6, "{got:?}");
        told.sort();
        let [first, second] = &told[..] else { panic!("{told:?}") };
        assert!(first.0 == 1 && first.1.ends_with("pairs.jsonl:2: no c"), "{first:?}");
        assert!(second.0 == 2 && second.1.ends_with("pairs.jsonl:3: no c"), "{second:?}");
        let none = Table::new(&[]);
        let error = probe(&none, &index, 0, 1, &mut Random::new(1), &mut |_, _| Ok(()), &CancelToken::new());
        assert!(error.unwrap_err().to_string().contains("can be read"));
    }

    #[test]
    fn a_prober_that_knows_nothing_separates_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let index = text_pairs(folder.path(), &[("a", "b"), ("c", "d"), ("e", "f")]);
        let separation = |angles: [f32; 6]| {
            let names = ["a", "b", "c", "d", "e", "f"];
            let angles: Vec<(&str, f32)> = names.into_iter().zip(angles).collect();
            let random = &mut Random::new(1);
            let table = Table::new(&angles);
            probe(&table, &index, 0, 9, random, &mut strictly, &CancelToken::new()).unwrap().separation
        };
        assert_eq!(separation([0.0, 10.0, 50.0, 60.0, 110.0, 100.0]), 1.0);
        assert_eq!(separation([0.0, 30.0, 0.0, 30.0, 0.0, 30.0]), 0.5, "all of a kind are in one place");
        assert_eq!(separation([0.0, 60.0, 50.0, 10.0, 110.0, 112.0]), 4.0 / 6.0);
    }
}
