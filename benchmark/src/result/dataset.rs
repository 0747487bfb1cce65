//! The result of one data set.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::Path;

use gve::recipe::{PseudoQuery, RecipeId};
use gve::retrieval::Feedback;
use gve::store::{create_folder_of, write_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::encoder::RerankerReference;
use crate::manifest::{Candidates, MainMetric};
use crate::metrics::CUTOFFS;
use crate::text_file;

/// The split that results are filed under, as in mteb.
pub const SPLIT: &str = "test";

/// One model's result on one data set. The keys down to `scores` are those of mteb's `TaskResult`, which
/// loads such a file; the others are ours and absent from files made elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DatasetResult {
    /// The data set's id in the manifest.
    pub task_name: String,
    /// Which copy of the data: [`Dataset::revision`](crate::dataset::Dataset::revision).
    #[serde(default)]
    pub dataset_revision: String,
    /// The mteb that made the file; `None` in ours.
    #[serde(default)]
    pub mteb_version: Option<String>,
    /// Seconds from the first input to the last score.
    #[serde(default)]
    pub evaluation_time: Option<f64>,
    /// Not measured here.
    #[serde(default)]
    pub kg_co2_emissions: Option<f64>,
    /// Scores by split; ours is [`SPLIT`].
    pub scores: BTreeMap<String, Vec<SubsetScores>>,

    /// The version of gve that made the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gve_version: Option<String>,
    /// Whose result it is. The folders bear the same names, made safe for file systems.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelReference>,
    /// What shaped the embeddings: sampling, pixels, device, dtype.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Value>,
    /// How gve used the model. Where nothing is said of it, as before there were recipes, it is GVE's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<RecipeId>,
    /// Set where what ranked first moved the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
    /// Set where every query was asked once more, together with what was found for it, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pseudo_query: Option<PseudoQuery>,
    /// Set where a reranker read the best of every ranking: `scores` are those behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reranker: Option<RerankerReference>,
    /// Scores in front of the reranker, by split.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub first_stage: BTreeMap<String, Vec<SubsetScores>>,
    /// Scores where only the first values of embeddings count, by their number and split; without a
    /// reranker.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub by_width: BTreeMap<usize, BTreeMap<String, Vec<SubsetScores>>>,
    /// How the prompt was given, such as `system` or `prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_style: Option<String>,
    /// The prompt of the queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Which metric `main_score` is, as the manifest writes it, such as `R@1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// How much was scored and how much failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// How far the main score may be off, by bootstrap over queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence_interval: Option<Interval>,
    /// What queries were ranked against.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub candidates: Option<Candidates>,
    /// Set where not all of the data set was scored: such a score compares to nothing but its like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsample: Option<Subsample>,
    /// How long it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timing: Option<Timing>,
}

/// Scores of one subset of a split, each from 0 to 1; UVRB has one subset, `default`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SubsetScores {
    /// The subset's name.
    #[serde(default = "default_subset")]
    pub hf_subset: String,
    /// Its languages, as in mteb.
    #[serde(default)]
    pub languages: Vec<String>,
    /// The score that counts.
    pub main_score: f64,
    /// Every other entry: `ndcg_at_10`, `recall_at_1` and so on, and whatever mteb adds.
    #[serde(flatten)]
    pub metrics: BTreeMap<String, Value>,
}

fn default_subset() -> String {
    "default".to_owned()
}

/// A model and its revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelReference {
    /// `org/model`, a path or a bare name.
    pub name: String,
    /// What makes the name mean one set of weights.
    #[serde(default)]
    pub revision: String,
}

/// How much was scored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Queries, failed ones included.
    pub queries: usize,
    /// Documents, failed ones included.
    pub corpus: usize,
    /// Queries that could not be embedded.
    pub failed_queries: usize,
    /// Documents that could not be embedded.
    pub failed_documents: usize,
    /// Documents of a ranking that a reranker could not read.
    #[serde(skip_serializing_if = "is_zero")]
    pub failed_pairs: usize,
    /// What failure does to the score, in words.
    pub failure_rule: String,
}

fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// A confidence interval.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The share of cases it covers, such as 0.95.
    pub level: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// Which part of a data set was scored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subsample {
    /// Most queries that were taken.
    pub limit: usize,
    /// Seed of the draw.
    pub seed: u64,
}

impl fmt::Display for Subsample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at most {} queries, seed {}", self.limit, self.seed)
    }
}

/// Where the time went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Timing {
    /// Seconds encoding queries.
    pub queries_seconds: f64,
    /// Seconds encoding the corpus.
    pub corpus_seconds: f64,
    /// Seconds ranking and scoring.
    pub ranking_seconds: f64,
    /// Queries and documents embedded in this run.
    pub embedded: usize,
    /// Queries and documents whose embedding was at hand.
    pub from_cache: usize,
    /// Items embedded per second of encoding, where any were.
    pub items_per_second: Option<f64>,
}

impl SubsetScores {
    /// The subset `default` in English. `metrics` are names with their values at each of [`CUTOFFS`]:
    /// `("ndcg", [..])` is filed as `ndcg_at_1` and so on.
    pub fn new(main_score: f64, metrics: &[(&str, [f64; CUTOFFS.len()])]) -> Self {
        let at_cutoffs = |(name, values): &(&str, [f64; CUTOFFS.len()])| {
            CUTOFFS
                .iter()
                .zip(*values)
                .map(|(k, value)| (format!("{name}_at_{k}"), value.into()))
                .collect::<Vec<_>>()
        };
        Self {
            hf_subset: default_subset(),
            languages: vec!["eng-Latn".to_owned()],
            main_score,
            metrics: metrics.iter().flat_map(at_cutoffs).collect(),
        }
    }

    /// A metric by its name in the file, such as `recall_at_10`.
    pub fn metric(&self, name: &str) -> Option<f64> {
        self.metrics.get(name)?.as_f64()
    }
}

impl DatasetResult {
    /// The score that counts: the mean over subsets of the split [`SPLIT`], or of the only split there is.
    ///
    /// # Errors
    /// In words, where there is no such score or it does not lie between 0 and 1.
    pub fn main_score(&self) -> Result<f64, String> {
        mean_of(&self.scores, "main_score", |subset| Some(subset.main_score))
    }

    /// The same in front of the reranker, where there was one.
    pub fn first_stage_score(&self) -> Option<f64> {
        mean_of(&self.first_stage, "main_score", |subset| Some(subset.main_score)).ok()
    }

    /// The same where only the first `width` values of embeddings count, if that was scored.
    pub fn score_at_width(&self, width: usize) -> Option<f64> {
        mean_of(self.by_width.get(&width)?, "main_score", |subset| Some(subset.main_score)).ok()
    }

    /// The score by `metric`: the one that counts, or in a file that does not say what that is, the one that
    /// is filed under the name of `metric`.
    ///
    /// # Errors
    /// In words, where it was scored otherwise, or there is no such score.
    pub fn score_by(&self, metric: MainMetric) -> Result<f64, String> {
        match &self.metric {
            Some(own) if *own == metric.to_string() => self.main_score(),
            Some(own) => Err(format!("scored by {own}, not by {metric}; run it again")),
            None => {
                let name = metric.file_name();
                mean_of(&self.scores, &name, |subset| subset.metric(&name))
                    .map_err(|reason| format!("no `metric` says what `main_score` is, and {reason}"))
            }
        }
    }

    /// Reads a result file.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] with the line for what is not JSON or not a result.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = text_file::read(path)?;
        let parsed = serde_json::from_str(&text).or_else(|error| match without_nan(&text) {
            Some(text) => serde_json::from_str(&text),
            None => Err(error),
        });
        let result: Self = parsed.map_err(|error| {
            Error::invalid(path, error.line(), format!("not a result file: {error}; delete it and run again"))
        })?;
        result.main_score().map_err(|reason| Error::invalid(path, line_of(&text, "\"scores\""), reason))?;
        Ok(result)
    }

    /// Writes a result file, all of it or nothing, making the directories above it.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for a result without a usable main score, which would not load.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.main_score().map_err(|reason| Error::invalid(path, None, reason))?;
        create_folder_of(path)?;
        Ok(write_file(path, |file| {
            serde_json::to_writer_pretty(&mut *file, self)?;
            file.write_all(b"\n")
        })?)
    }
}

/// The mean of a score over subsets of the split [`SPLIT`], or of the only split there is; `name` is what
/// errors call it.
fn mean_of(
    scores: &BTreeMap<String, Vec<SubsetScores>>,
    name: &str,
    score: impl Fn(&SubsetScores) -> Option<f64>,
) -> Result<f64, String> {
    let only = || scores.values().next().filter(|_| scores.len() == 1);
    let subsets = scores.get(SPLIT).or_else(only).filter(|subsets| !subsets.is_empty());
    let values: Option<Vec<f64>> = subsets.and_then(|subsets| subsets.iter().map(score).collect());
    let Some(values) = values else {
        return Err(format!("`scores` has no split `{SPLIT}` with a `{name}`"));
    };
    if let Some(wrong) = values.iter().find(|score| !(0.0..=1.0).contains(*score)) {
        return Err(format!("`{name}` must lie between 0 and 1, found {wrong}"));
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// The line, from 1, on which `needle` first stands.
pub(super) fn line_of(text: &str, needle: &str) -> Option<usize> {
    let at = text.find(needle)?;
    Some(text[..at].matches('\n').count() + 1)
}

/// mteb's files may hold `NaN`, which JSON does not know: each becomes `null`. `None` where there is none.
fn without_nan(text: &str) -> Option<String> {
    const NAN: &str = "NaN";
    let mut out = String::with_capacity(text.len() + 16);
    let (mut in_string, mut escaped, mut found) = (false, false, false);
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if !in_string && rest.starts_with(NAN) {
            out.push_str("null");
            rest = &rest[NAN.len()..];
            found = true;
            continue;
        }
        in_string ^= character == '"' && !escaped;
        escaped = in_string && character == '\\' && !escaped;
        out.push(character);
        rest = &rest[character.len_utf8()..];
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_null_outside_strings_only() {
        let cases = [
            (r#"{"a": NaN, "b": [NaN]}"#, Some(r#"{"a": null, "b": [null]}"#)),
            (r#"{"a": "NaN"}"#, None),
            (r#"{"a\"NaN": NaN}"#, Some(r#"{"a\"NaN": null}"#)),
            (r#"{"a\\": NaN}"#, Some(r#"{"a\\": null}"#)),
        ];
        for (text, expected) in cases {
            assert_eq!(without_nan(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn main_score_is_that_of_the_test_split_or_the_only_one() {
        let cases = [
            (r#"{"test": [{"main_score": 0.25}], "dev": [{"main_score": 1}]}"#, Ok(0.25)),
            (r#"{"validation": [{"main_score": 0.5}]}"#, Ok(0.5)),
            (r#"{"test": [{"main_score": 0.5}, {"main_score": 1}]}"#, Ok(0.75)),
            (r#"{"a": [{"main_score": 0.5}], "b": [{"main_score": 1}]}"#, Err("no split `test`")),
            (r#"{"test": []}"#, Err("no split `test`")),
            (r#"{"test": [{"main_score": 46.4}]}"#, Err("found 46.4")),
        ];
        for (scores, expected) in cases {
            let result: DatasetResult =
                serde_json::from_str(&format!(r#"{{"task_name": "A", "scores": {scores}}}"#)).unwrap();
            match (result.main_score(), expected) {
                (Ok(score), Ok(expected)) => assert_eq!(score, expected, "{scores}"),
                (Err(reason), Err(named)) => assert!(reason.contains(named), "{scores}: {reason}"),
                (found, _) => panic!("{scores}: {found:?}"),
            }
        }
    }

    #[test]
    fn metrics_are_filed_under_their_cutoffs() {
        let scores = SubsetScores::new(0.5, &[("ndcg", [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])]);
        assert_eq!(scores.metric("ndcg_at_10"), Some(0.4));
        assert_eq!(scores.metric("ndcg_at_1000"), Some(0.7));
        let json = serde_json::to_value(&scores).unwrap();
        assert_eq!(json["ndcg_at_1"], 0.1, "flat, as in mteb: {json}");
    }
}
