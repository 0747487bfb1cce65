//! The queries a model did worst on, with what they were, what was wanted and what came.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::path::Path;

use gve::Input;
use gve::embedder::Part;

use crate::Error;
use crate::dataset::Dataset;
use crate::result::{ModelResults, QueryRecord, StoredResult, queries_path, read_queries};

/// Documents shown of each ranking.
const SHOWN: usize = 5;

/// The failures of one model on one data set.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetFailures {
    /// The model's name in the report.
    pub model: String,
    /// The data set's id.
    pub dataset: String,
    /// Queries that were scored.
    pub queries: usize,
    /// How many of them did not get a full score.
    pub failed: usize,
    /// The worst of these, worst first.
    pub worst: Vec<Failure>,
    /// Whether the data set was at hand; without, there are ids alone.
    pub with_media: bool,
}

/// One query that was not answered well.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The query.
    pub query: Shown,
    /// Why it was not ranked, where it could not be embedded.
    pub error: Option<String>,
    /// Rank of the first relevant document, from 1.
    pub rank: Option<usize>,
    /// That document; where none was ranked, one of the relevant documents.
    pub positive: Option<Ranked>,
    /// The first few of the ranking.
    pub top: Vec<Ranked>,
}

/// A document in a ranking.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked {
    /// What it is.
    pub item: Shown,
    /// Its similarity to the query, where it was ranked.
    pub score: Option<f32>,
    /// Whether it is relevant, as far as is known.
    pub relevant: bool,
}

/// An item of a data set as it can be shown.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Its texts.
    pub text: Option<String>,
    /// What holds its picture. An index into [`Pictures::inputs`].
    pub picture: Option<usize>,
}

/// The inputs to make pictures of, each once.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// In the order in which they were first asked for.
    pub inputs: Vec<Input>,
    /// Role, data set and id of those.
    known: HashMap<(bool, String, String), usize>,
}

/// The `most` worst queries of each result. `datasets` are those whose media are at hand; a result of another
/// revision of one is an error and shown without. A file of records that cannot be read is one error; a
/// result without such a file has no failures to show.
pub fn collect(
    models: &[ModelResults],
    datasets: &BTreeMap<String, Dataset>,
    most: usize,
) -> (Vec<DatasetFailures>, Pictures, Vec<Error>) {
    let (mut all, mut pictures, mut errors) = (Vec::new(), Pictures::default(), Vec::new());
    for model in models {
        for (id, stored) in &model.results {
            match records(stored) {
                Ok(None) => {}
                Ok(Some(records)) => {
                    let at_hand = datasets.get(id);
                    let same = at_hand.filter(|dataset| dataset.revision == stored.result.dataset_revision);
                    if let Some(other) = at_hand.filter(|_| same.is_none()) {
                        let reason = format!(
                            "it is of revision `{}` of the data, not `{}` as at hand: its failures are shown \
                             by their ids",
                            stored.result.dataset_revision, other.revision
                        );
                        errors.push(Error::invalid(&stored.path, None, reason));
                    }
                    let shelf = same.map(Shelf::of);
                    let (failed, worst) = worst(&records, most);
                    let show = |record: &&QueryRecord| failure(record, id, shelf.as_ref(), &mut pictures);
                    all.push(DatasetFailures {
                        model: model.name.clone(),
                        dataset: id.clone(),
                        queries: records.len(),
                        failed,
                        worst: worst.iter().map(show).collect(),
                        with_media: shelf.is_some(),
                    });
                }
                Err(error) => errors.push(error),
            }
        }
    }
    (all, pictures, errors)
}

fn records(stored: &StoredResult) -> Result<Option<Vec<QueryRecord>>, Error> {
    let path = queries_path(&stored.path);
    if !Path::exists(&path) {
        return Ok(None);
    }
    read_queries(&path).map(Some)
}

/// How many queries lack a full score, and the worst of them: first those that were not embedded or found
/// nothing, then by rank. Equals stand in the order of their ids, so that a report can be made twice.
fn worst(records: &[QueryRecord], most: usize) -> (usize, Vec<&QueryRecord>) {
    let mut failed: Vec<_> = records.iter().filter(|record| record.score < 1.0).collect();
    let rank = |record: &QueryRecord| record.first_positive_rank.unwrap_or(usize::MAX);
    failed.sort_by(|a, b| {
        b.failed
            .is_some()
            .cmp(&a.failed.is_some())
            .then(rank(b).cmp(&rank(a)))
            .then_with(|| a.qid.cmp(&b.qid))
    });
    let count = failed.len();
    failed.truncate(most);
    (count, failed)
}

/// A data set by id.
struct Shelf<'a> {
    dataset: &'a Dataset,
    queries: HashMap<&'a str, usize>,
    documents: HashMap<&'a str, usize>,
}

impl<'a> Shelf<'a> {
    fn of(dataset: &'a Dataset) -> Self {
        let queries = dataset.queries.iter().enumerate().map(|(row, query)| (query.id.as_str(), row));
        let documents = dataset.corpus.iter().enumerate().map(|(row, document)| (document.id.as_str(), row));
        Self { dataset, queries: queries.collect(), documents: documents.collect() }
    }

    /// The ids of a query's relevant documents.
    fn positives(&self, query: &str) -> Vec<&'a str> {
        let Some(row) = self.queries.get(query) else { return Vec::new() };
        let positives = self.dataset.queries[*row].positives.iter();
        positives.filter_map(|p| self.dataset.corpus.get(p.document)).map(|d| d.id.as_str()).collect()
    }
}

fn failure(
    record: &QueryRecord,
    dataset: &str,
    shelf: Option<&Shelf<'_>>,
    pictures: &mut Pictures,
) -> Failure {
    let positives = shelf.map(|shelf| shelf.positives(&record.qid)).unwrap_or_default();
    let first = record.first_positive.as_ref().map(|document| document.0.as_str());
    let is_relevant = |id: &str| first == Some(id) || positives.contains(&id);
    let mut document = |id: &str, score: Option<f32>| {
        let input = shelf.and_then(|s| s.documents.get(id).map(|row| &s.dataset.corpus[*row].input));
        Ranked { item: pictures.show(false, dataset, id, input), score, relevant: is_relevant(id) }
    };
    let positive = match &record.first_positive {
        Some(first) => Some(document(&first.0, Some(first.1))),
        None => positives.first().map(|id| document(id, None)),
    };
    let top = record.top.iter().take(SHOWN).map(|d| document(&d.0, Some(d.1))).collect();
    let input =
        shelf.and_then(|s| s.queries.get(record.qid.as_str()).map(|row| &s.dataset.queries[*row].input));
    Failure {
        query: pictures.show(true, dataset, &record.qid, input),
        error: record.failed.clone(),
        rank: record.first_positive_rank,
        positive,
        top,
    }
}

impl Pictures {
    fn show(&mut self, is_query: bool, dataset: &str, id: &str, input: Option<&Input>) -> Shown {
        let Some(input) = input else { return Shown { id: id.to_owned(), ..Shown::default() } };
        let texts: Vec<_> = input.parts.iter().filter_map(text_of).collect();
        let picture = input.parts.iter().any(|part| text_of(part).is_none()).then(|| {
            let key = (is_query, dataset.to_owned(), id.to_owned());
            *self.known.entry(key).or_insert_with(|| {
                self.inputs.push(input.clone());
                self.inputs.len() - 1
            })
        });
        Shown { id: id.to_owned(), text: (!texts.is_empty()).then(|| texts.join(" ")), picture }
    }
}

fn text_of(part: &Part) -> Option<&str> {
    match part {
        Part::Text(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(qid: &str, score: f64, rank: Option<usize>, failed: Option<&str>) -> QueryRecord {
        QueryRecord {
            qid: qid.into(),
            score,
            first_positive_rank: rank,
            failed: failed.map(str::to_owned),
            ..QueryRecord::default()
        }
    }

    #[test]
    fn the_worst_come_first() {
        let records = [
            record("second", 0.0, Some(2), None),
            record("right", 1.0, Some(1), None),
            record("lost", 0.0, None, None),
            record("broken", 0.0, None, Some("no such file")),
            record("b-far", 0.0, Some(90), None),
            record("a-far", 0.0, Some(90), None),
        ];
        let ids = |most| {
            let (count, worst) = worst(&records, most);
            assert_eq!(count, 5);
            worst.into_iter().map(|record| record.qid.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(ids(9), ["broken", "lost", "a-far", "b-far", "second"]);
        assert_eq!(ids(2), ["broken", "lost"]);
    }
}
