//! A folder as in BEIR: `queries`, `corpus` and `qrels`, as JSON lines, Parquet or tab-separated text.

use std::path::Path;

use serde::Deserialize;

use super::records::{Judgement, OnFault, Record, filled};
use super::rows::{self, Grade, Id, Row};
use crate::Error;

const RECORD_COLUMNS: &[&str] = &["_id", "id", "text", "title", "image", "video", "metadata"];
const QRELS_COLUMNS: &[&str] = &["query-id", "query_id", "corpus-id", "corpus_id", "score"];
/// What the first line of a tab-separated file may be.
const QRELS_HEADER: [&str; 3] = ["query-id", "corpus-id", "score"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "_id", alias = "id")]
    id: Id,
    text: Option<String>,
    title: Option<String>,
    image: Option<String>,
    video: Option<String>,
    /// Part of the format, and read by nobody.
    #[serde(default, rename = "metadata")]
    _metadata: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Qrel {
    #[serde(rename = "query-id", alias = "query_id")]
    query: Id,
    #[serde(rename = "corpus-id", alias = "corpus_id")]
    document: Id,
    score: Grade,
}

/// Reads queries or documents.
pub(super) fn records(path: &Path, on_fault: &mut OnFault<'_>) -> Result<Vec<Row<Record>>, Error> {
    let lines: Vec<Row<Line>> = rows::read(path, RECORD_COLUMNS, on_fault)?;
    Ok(lines.into_iter().map(|row| Row { line: row.line, value: row.value.into() }).collect())
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        let text = match (filled(line.title), filled(line.text)) {
            (Some(title), Some(text)) => Some(format!("{title} {text}")),
            (title, text) => title.or(text),
        };
        Self { id: line.id.0, text, image: filled(line.image), video: filled(line.video) }
    }
}

/// Reads which documents are relevant.
pub(super) fn judgements(path: &Path, on_fault: &mut OnFault<'_>) -> Result<Vec<Row<Judgement>>, Error> {
    let lines: Vec<Row<Qrel>> = match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("tsv") => {
            let mut first = true;
            let lines = rows::read_lines(path, on_fault, |line| {
                let columns: Vec<&str> = line.split('\t').map(str::trim).collect();
                let header = std::mem::take(&mut first) && is_header(&columns);
                if header { Ok(None) } else { qrel(&columns).map(Some) }
            })?;
            let behind_header = |row: Row<Option<Qrel>>| Some(Row { line: row.line, value: row.value? });
            lines.into_iter().filter_map(behind_header).collect()
        }
        _ => rows::read(path, QRELS_COLUMNS, on_fault)?,
    };
    Ok(lines.into_iter().map(|row| Row { line: row.line, value: row.value.into() }).collect())
}

/// Whether these are the names of the columns, as BEIR spells them or as data frames do.
fn is_header(columns: &[&str]) -> bool {
    columns.len() == QRELS_HEADER.len()
        && columns.iter().zip(QRELS_HEADER).all(|(column, name)| column.replace('_', "-") == name)
}

fn qrel(columns: &[&str]) -> Result<Qrel, String> {
    let &[query, document, score] = columns else {
        let expected = QRELS_HEADER.join(", ");
        return Err(format!("{} tab-separated columns, expected 3: {expected}", columns.len()));
    };
    if query.is_empty() || document.is_empty() {
        return Err("an id is empty".into());
    }
    let score = Grade(rows::parse_grade(score)?);
    Ok(Qrel { query: Id(query.to_owned()), document: Id(document.to_owned()), score })
}

impl From<Qrel> for Judgement {
    fn from(qrel: Qrel) -> Self {
        Self {
            query: qrel.query.0,
            graded: vec![(qrel.document.0, qrel.score.0)],
            candidates: None,
            negatives: Vec::new(),
        }
    }
}
