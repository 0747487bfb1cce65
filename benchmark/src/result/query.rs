//! What became of each query: the basis of paired tests and of the report's list of failures.

use gve::store::{create_folder_of, write_file};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::Path;

use crate::Error;
use crate::text_file;

/// One query's outcome; a line of `<DATASET>.queries.jsonl`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QueryRecord {
    /// The query's id.
    pub qid: String,
    /// Its main score.
    pub score: f64,
    /// The same in front of a reranker, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_stage_score: Option<f64>,
    /// Rank of the best relevant document, from 1; `None` where none was ranked.
    #[serde(default)]
    pub first_positive_rank: Option<usize>,
    /// That document and its similarity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_positive: Option<RankedDocument>,
    /// The first few of the ranking, best first.
    #[serde(default)]
    pub top: Vec<RankedDocument>,
    /// Why the query has no ranking, where it could not be embedded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// A document's id and its similarity to the query, or 2 more than what a reranker says of it; in the file, a
/// pair `["id", 0.5]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RankedDocument(pub String, pub f32);

/// Writes records as JSON lines, all or nothing.
///
/// # Errors
/// [`Error::Io`].
pub fn write_queries<'a>(
    path: &Path,
    records: impl IntoIterator<Item = &'a QueryRecord>,
) -> Result<(), Error> {
    create_folder_of(path)?;
    Ok(write_file(path, |file| {
        for record in records {
            serde_json::to_writer(&mut *file, record)?;
            file.write_all(b"\n")?;
        }
        Ok(())
    })?)
}

/// Reads what [`write_queries`] wrote.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] with the line that is no record.
pub fn read_queries(path: &Path) -> Result<Vec<QueryRecord>, Error> {
    let mut records = Vec::new();
    for line in text_file::lines(path)? {
        let line = line?;
        let record = serde_json::from_str(&line.text)
            .map_err(|error| Error::invalid(path, line.number, format!("not a query record: {error}")))?;
        records.push(record);
    }
    Ok(records)
}
