//! UVRB's own files: `queries.jsonl`, `corpus.jsonl` and `instances.jsonl`.

use std::path::Path;

use serde::Deserialize;

use super::records::{Judgement, OnFault, Record, filled};
use super::rows::{self, Grade, Id, Row};
use crate::Error;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: Id,
    text: Option<String>,
    image: Option<String>,
    video: Option<String>,
}

/// Other keys are let through: copies carry notes of their own here.
#[derive(Deserialize)]
struct Instance {
    qid: Id,
    pos: Vec<Id>,
    grades: Option<Vec<Grade>>,
    candidates: Option<Vec<Id>>,
    neg: Option<Vec<Id>>,
}

/// Reads queries or documents.
pub(super) fn records(path: &Path, on_fault: &mut OnFault<'_>) -> Result<Vec<Row<Record>>, Error> {
    let lines: Vec<Row<Line>> = rows::read(path, &[], on_fault)?;
    Ok(lines.into_iter().map(|row| Row { line: row.line, value: row.value.into() }).collect())
}

impl From<Line> for Record {
    fn from(line: Line) -> Self {
        Self { id: line.id.0, text: filled(line.text), image: filled(line.image), video: filled(line.video) }
    }
}

/// Reads which documents are relevant.
pub(super) fn judgements(path: &Path, on_fault: &mut OnFault<'_>) -> Result<Vec<Row<Judgement>>, Error> {
    let lines: Vec<Row<Instance>> = rows::read(path, &[], on_fault)?;
    let mut judgements: Vec<Row<Judgement>> = Vec::with_capacity(lines.len());
    for Row { line, value } in lines {
        match Judgement::try_from(value) {
            Ok(value) => judgements.push(Row { line, value }),
            Err(reason) => on_fault(Error::invalid(path, line, reason))?,
        }
    }
    Ok(judgements)
}

impl TryFrom<Instance> for Judgement {
    type Error = String;

    fn try_from(instance: Instance) -> Result<Self, String> {
        let grades = match instance.grades {
            None => vec![1; instance.pos.len()],
            Some(grades) if grades.len() != instance.pos.len() => {
                return Err(format!("{} grades for {} documents in `pos`", grades.len(), instance.pos.len()));
            }
            Some(grades) => grades.into_iter().map(|grade| grade.0).collect(),
        };
        let texts = |ids: Vec<Id>| -> Vec<String> { ids.into_iter().map(|id| id.0).collect() };
        Ok(Self {
            query: instance.qid.0,
            graded: instance.pos.into_iter().map(|id| id.0).zip(grades).collect(),
            candidates: instance.candidates.map(texts),
            negatives: instance.neg.map(texts).unwrap_or_default(),
        })
    }
}
