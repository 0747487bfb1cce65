//! Rankings on disk, in two forms that [`Run::read`] tells apart by itself:
//!
//! - TREC runs, a line for each document: `qid Q0 docid rank score tag`, parted by white space;
//! - ranked JSON lines, a line for each query: `{"qid": "q1", "docs": [{"id": "d1", "score": 0.5}]}`, or
//!   `{"qid": "q1", "docs": ["d1", "d2"]}` with the best first.
//!
//! Scores are f32. Documents with scores are put in order by them, and by id where they are equal, as
//! `trec_eval` does; the order of lines and the ranks in the file mean nothing. What `trec_eval` would pass
//! over is an error here: unknown ids, a document twice, a score that is no number.

mod json_lines;
mod trec;
mod write;

use std::collections::HashMap;
use std::path::Path;

use crate::Error;
use crate::dataset::Dataset;
use crate::metrics::{QueryScores, score_query};
use crate::ranking::{Ranked, best_first};
use crate::text_file;

pub use write::{RunFormat, RunWriter, check_trec_ids};

/// A ranking for each query of a data set, from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// In the order of the data set; `None` where the file does not name the query.
    pub rankings: Vec<Option<Vec<Ranked>>>,
}

impl Run {
    /// Reads a run of either form.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] with the line of what is malformed, unknown to `dataset`, not among
    /// a query's candidates or there twice, and for a file without rankings.
    pub fn read(path: &Path, dataset: &Dataset) -> Result<Self, Error> {
        let mut collector = Collector::new(path, dataset);
        let mut json = None;
        for line in text_file::lines(path)? {
            let line = line?;
            let text = line.text.trim();
            let json = *json.get_or_insert(text.starts_with('{'));
            let read = if json { json_lines::read_line } else { trec::read_line };
            read(&mut collector, text, line.number)?;
        }
        collector.finish()
    }

    /// The scores of each query; those that the file does not name have none above 0.
    pub fn scores(&self, dataset: &Dataset) -> Vec<QueryScores> {
        let documents = |ranking: &Option<Vec<Ranked>>| {
            ranking.iter().flatten().map(|ranked| ranked.document).collect::<Vec<_>>()
        };
        dataset
            .queries
            .iter()
            .zip(&self.rankings)
            .map(|(query, r)| score_query(query, documents(r)))
            .collect()
    }

    /// Queries that the file does not name.
    pub fn missing(&self) -> usize {
        self.rankings.iter().filter(|ranking| ranking.is_none()).count()
    }
}

/// A ranked document and the line it stands on.
#[derive(Debug, Clone, Copy)]
struct Entry {
    ranked: Ranked,
    line: usize,
}

/// Gathers what the lines of a file say, by query.
struct Collector<'a> {
    path: &'a Path,
    dataset: &'a Dataset,
    queries: HashMap<&'a str, usize>,
    documents: HashMap<&'a str, usize>,
    entries: Vec<Option<Vec<Entry>>>,
}

impl<'a> Collector<'a> {
    fn new(path: &'a Path, dataset: &'a Dataset) -> Self {
        Self {
            path,
            dataset,
            queries: dataset.queries.iter().enumerate().map(|(i, query)| (&*query.id, i)).collect(),
            documents: dataset.corpus.iter().enumerate().map(|(i, document)| (&*document.id, i)).collect(),
            entries: vec![None; dataset.queries.len()],
        }
    }

    fn fault(&self, line: usize, reason: impl std::fmt::Display) -> Error {
        Error::invalid(self.path, line, reason)
    }

    /// The row of a query.
    fn query(&self, id: &str, line: usize) -> Result<usize, Error> {
        self.queries.get(id).copied().ok_or_else(|| {
            self.fault(
                line,
                format!("`{id}` is not one of the {} queries of {}", self.queries.len(), self.dataset.id),
            )
        })
    }

    /// The row of a document that may be ranked for `query`.
    fn document(&self, query: usize, id: &str, line: usize) -> Result<usize, Error> {
        let document = *self.documents.get(id).ok_or_else(|| {
            let (count, dataset) = (self.documents.len(), &self.dataset.id);
            self.fault(line, format!("`{id}` is not one of the {count} documents of {dataset}"))
        })?;
        let query = &self.dataset.queries[query];
        if query.candidates.as_ref().is_some_and(|candidates| !candidates.contains(&document)) {
            let reason = format!("`{id}` is not among the candidates of query `{}`; leave it out", query.id);
            return Err(self.fault(line, reason));
        }
        Ok(document)
    }

    fn finish(self) -> Result<Run, Error> {
        if self.entries.iter().all(Option::is_none) {
            return Err(Error::invalid(self.path, None, "it holds no rankings"));
        }
        let id = |document: usize| &*self.dataset.corpus[document].id;
        let mut rankings = Vec::with_capacity(self.entries.len());
        let mut twice: Option<(usize, String)> = None;
        for (entries, query) in self.entries.into_iter().zip(&self.dataset.queries) {
            rankings.push(entries.map(|mut entries| {
                entries.sort_unstable_by_key(|entry| (entry.ranked.document, entry.line));
                let again = entries.windows(2).filter(|two| two[0].ranked.document == two[1].ranked.document);
                if let Some(two) = again.min_by_key(|two| two[1].line)
                    && twice.as_ref().is_none_or(|(line, _)| two[1].line < *line)
                {
                    let (document, first) = (id(two[1].ranked.document), two[0].line);
                    let reason =
                        format!("`{document}` again for query `{}`; it is on line {first}", query.id);
                    twice = Some((two[1].line, reason));
                }
                let mut ranking: Vec<Ranked> = entries.into_iter().map(|entry| entry.ranked).collect();
                ranking.sort_unstable_by(|a, b| {
                    best_first((a.score, id(a.document)), (b.score, id(b.document)))
                });
                ranking
            }));
        }
        match twice {
            Some((line, reason)) => Err(Error::invalid(self.path, line, reason)),
            None => Ok(Run { rankings }),
        }
    }
}

/// Why a score cannot be ranked by.
fn check_score(score: f32) -> Result<f32, String> {
    if score.is_finite() {
        Ok(score)
    } else {
        Err(format!("the score {score} is not a finite number of f32"))
    }
}
