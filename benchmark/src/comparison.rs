//! Two models, data set by data set, by what became of each query.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::Error;
use crate::result::{DatasetResult, ModelResults, QueryRecord, StoredResult, queries_path, read_queries};
use crate::statistics::{Comparison, compare};

/// Two models on one data set.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetComparison {
    /// The data set's id.
    pub dataset: String,
    /// The metric that is compared, such as `R@1`, where the result files tell.
    pub metric: Option<String>,
    /// Queries, failed ones included.
    pub queries: usize,
    /// The mean of each model.
    pub means: [f64; 2],
    /// The difference and whether it may be chance.
    pub comparison: Comparison,
}

/// Compares two models on every data set that both have results for, in the order of the ids. A data set that
/// cannot be compared is one error and costs no other.
pub fn compare_models(
    first: &ModelResults,
    second: &ModelResults,
    seed: u64,
) -> (Vec<DatasetComparison>, Vec<Error>) {
    let mut comparisons = Vec::new();
    let mut errors = Vec::new();
    for (dataset, a) in &first.results {
        let Some(b) = second.results.get(dataset) else { continue };
        match compare_dataset(dataset, a, b, seed) {
            Ok(comparison) => comparisons.push(comparison),
            Err(error) => errors.push(error),
        }
    }
    (comparisons, errors)
}

fn compare_dataset(
    dataset: &str,
    first: &StoredResult,
    second: &StoredResult,
    seed: u64,
) -> Result<DatasetComparison, Error> {
    let differs = |what: &str, a: &str, b: &str| {
        let reason = format!("its {what} is `{b}`, but `{a}` in {}; run both alike", first.path.display());
        Err(Error::invalid(&second.path, None, reason))
    };
    let (a, b) = (&first.result, &second.result);
    if a.dataset_revision != b.dataset_revision {
        return differs("dataset_revision", &a.dataset_revision, &b.dataset_revision);
    }
    if let (Some(a), Some(b)) = (&a.metric, &b.metric)
        && a != b
    {
        return differs("metric", a, b);
    }
    let part = |result: &DatasetResult| match result.subsample {
        Some(subsample) => format!("{subsample}"),
        None => "all of it".to_owned(),
    };
    if a.subsample != b.subsample {
        return differs("part", &part(a), &part(b));
    }
    let pairs = pairs(first, second)?;
    let mean = |score: fn(&(f64, f64)) -> f64| pairs.iter().map(score).sum::<f64>() / pairs.len() as f64;
    Ok(DatasetComparison {
        dataset: dataset.to_owned(),
        metric: a.metric.clone().or_else(|| b.metric.clone()),
        queries: pairs.len(),
        means: [mean(|pair| pair.0), mean(|pair| pair.1)],
        comparison: compare(&pairs, seed),
    })
}

/// The scores of each query, in the order of the first file.
fn pairs(first: &StoredResult, second: &StoredResult) -> Result<Vec<(f64, f64)>, Error> {
    let paths = [queries_path(&first.path), queries_path(&second.path)];
    let records = [read(&paths[0])?, read(&paths[1])?];
    if records[0].len() != records[1].len() {
        let reason = format!(
            "{} queries, but {} in {}; compare runs over the same queries",
            records[1].len(),
            records[0].len(),
            paths[0].display()
        );
        return Err(Error::invalid(&paths[1], None, reason));
    }
    let second: HashMap<&str, f64> = records[1].iter().map(|record| (&*record.qid, record.score)).collect();
    let mut pairs = Vec::with_capacity(records[0].len());
    for (index, record) in records[0].iter().enumerate() {
        let score = *second.get(&*record.qid).ok_or_else(|| {
            let reason = format!("query `{}` is not in {}", record.qid, paths[1].display());
            Error::invalid(&paths[0], index + 1, reason)
        })?;
        pairs.push((record.score, score));
    }
    Ok(pairs)
}

/// The records of a file, at least one and no query twice.
fn read(path: &Path) -> Result<Vec<QueryRecord>, Error> {
    let records = read_queries(path)?;
    if records.is_empty() {
        return Err(Error::invalid(path, None, "no query records; delete its result file and run again"));
    }
    let mut seen = HashSet::new();
    for (index, record) in records.iter().enumerate() {
        if !seen.insert(&*record.qid) {
            return Err(Error::invalid(path, index + 1, format!("query `{}` a second time", record.qid)));
        }
    }
    Ok(records)
}
