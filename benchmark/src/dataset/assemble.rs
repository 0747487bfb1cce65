//! Joins queries, documents and relevance, and finds what does not fit together.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use gve::Input;

use super::locate::IndexFiles;
use super::media::Media;
use super::records::{Judgement, OnFault, Record, Records};
use super::rows::Row;
use super::{Dataset, Document, LoadOptions, Positive, Query};
use crate::Error;
use crate::manifest::{Candidates, DatasetSpec};

/// A data set, and the line of every query and document.
pub(super) struct Assembled {
    pub(super) dataset: Dataset,
    pub(super) query_lines: Vec<usize>,
    pub(super) corpus_lines: Vec<usize>,
}

/// Inputs of one file, by id.
struct Inputs {
    ids: Vec<String>,
    inputs: Vec<Input>,
    lines: Vec<usize>,
    rows: HashMap<String, usize>,
}

/// What is known of one query's relevance.
#[derive(Default)]
struct Relevance {
    /// Grade by row of the corpus, 0 included.
    grades: BTreeMap<usize, u32>,
    candidates: Option<BTreeSet<usize>>,
    negatives: BTreeSet<usize>,
}

/// Joins `records`. Where `on_fault` lets a fault pass, what is at fault is left out.
pub(super) fn assemble(
    spec: &DatasetSpec,
    files: &IndexFiles,
    records: Records,
    options: &LoadOptions,
    on_fault: &mut OnFault<'_>,
) -> Result<Assembled, Error> {
    if let Some(fps) = options.frame_cache_fps.filter(|fps| !(fps.is_finite() && *fps > 0.0)) {
        let reason = format!("the frames per second of a frame cache must be a positive number, got {fps}");
        return Err(Error::Settings(reason));
    }
    let media = Media { directory: &files.directory, frame_cache_fps: options.frame_cache_fps };
    let mut queries = records.queries;
    if options.relevance_only {
        let judged: HashSet<&str> = records.judgements.iter().map(|row| row.value.query.as_str()).collect();
        let there = queries.len();
        queries.retain(|row| judged.contains(row.value.id.as_str()));
        if queries.is_empty() && there > 0 {
            let reason = format!("it names none of the {there} queries in {}", name(&files.queries));
            on_fault(Error::invalid(&files.relevance, None, reason))?;
        }
    }
    let empty_passes = options.relevance_only;
    let queries = inputs(&files.queries, "query", queries, &media, empty_passes, on_fault)?;
    let corpus = inputs(&files.corpus, "document", records.corpus, &media, empty_passes, on_fault)?;
    let relevance = relevance(spec, files, &queries, &corpus, records.judgements, on_fault)?;

    let mut dataset =
        Dataset { id: spec.id.clone(), revision: records.revision, queries: Vec::new(), corpus: Vec::new() };
    for (row, ((id, input), relevance)) in
        queries.ids.into_iter().zip(queries.inputs).zip(relevance).enumerate()
    {
        let positives: Vec<Positive> = relevance
            .grades
            .iter()
            .filter(|(_, grade)| **grade > 0)
            .map(|(document, grade)| Positive { document: *document, grade: *grade })
            .collect();
        let candidates = candidates(spec, relevance, corpus.ids.len());
        let reason = match &candidates {
            _ if positives.is_empty() => {
                Some(format!("has no relevant document in {}", name(&files.relevance)))
            }
            Err(reason) => Some(reason.clone()),
            Ok(Some(candidates)) => positives
                .iter()
                .find(|positive| candidates.binary_search(&positive.document).is_err())
                .map(|positive| {
                    format!(
                        "has `{}` as relevant, but not among its candidates",
                        corpus.ids[positive.document]
                    )
                }),
            Ok(None) => None,
        };
        if let Some(reason) = reason {
            on_fault(Error::invalid(&files.queries, queries.lines[row], format!("query `{id}` {reason}")))?;
        }
        let candidates = candidates.ok().flatten();
        dataset.queries.push(Query { id, input, positives, candidates });
    }
    dataset.corpus =
        corpus.ids.into_iter().zip(corpus.inputs).map(|(id, input)| Document { id, input }).collect();
    Ok(Assembled { dataset, query_lines: queries.lines, corpus_lines: corpus.lines })
}

/// Inputs of `records`; `what` they are, as messages call them.
fn inputs(
    path: &Path,
    what: &str,
    records: Vec<Row<Record>>,
    media: &Media<'_>,
    empty_passes: bool,
    on_fault: &mut OnFault<'_>,
) -> Result<Inputs, Error> {
    let mut found = Inputs { ids: Vec::new(), inputs: Vec::new(), lines: Vec::new(), rows: HashMap::new() };
    if records.is_empty() {
        on_fault(Error::invalid(path, None, format!("there is no {what} in it")))?;
    }
    for Row { line, value: record } in records {
        if let Some(&first) = found.rows.get(&record.id) {
            let first = found.lines[first];
            let reason = format!("{what} id `{}` is there already, on line {first}", record.id);
            on_fault(Error::invalid(path, line, reason))?;
            continue;
        }
        let input = match input(&record, media) {
            Ok(input) if input.parts.is_empty() && !empty_passes => {
                let reason = format!("{what} `{}`: it is empty: no text, image or video", record.id);
                on_fault(Error::invalid(path, line, reason))?;
                input
            }
            Ok(input) => input,
            Err(reason) => {
                on_fault(Error::invalid(path, line, format!("{what} `{}`: {reason}", record.id)))?;
                // What refers to it is not at fault.
                Input::default()
            }
        };
        found.rows.insert(record.id.clone(), found.ids.len());
        found.ids.push(record.id);
        found.inputs.push(input);
        found.lines.push(line);
    }
    Ok(found)
}

/// Visual parts first, then text: the order the model was trained with. Empty where there is none.
fn input(record: &Record, media: &Media<'_>) -> Result<Input, String> {
    let mut input = Input::default();
    if let Some(image) = &record.image {
        input = input.and_part(media.image(image)?);
    }
    if let Some(video) = &record.video {
        input = input.and_part(media.video(video)?);
    }
    if let Some(text) = &record.text {
        input = input.and_text(text);
    }
    Ok(input)
}

/// The relevance of every query, over all lines that speak of it.
fn relevance(
    spec: &DatasetSpec,
    files: &IndexFiles,
    queries: &Inputs,
    corpus: &Inputs,
    judgements: Vec<Row<Judgement>>,
    on_fault: &mut OnFault<'_>,
) -> Result<Vec<Relevance>, Error> {
    let mut relevance: Vec<Relevance> = queries.ids.iter().map(|_| Relevance::default()).collect();
    for Row { line, value: judgement } in judgements {
        let mut fault = |reason: String| on_fault(Error::invalid(&files.relevance, line, reason));
        let id = &judgement.query;
        let Some(&query) = queries.rows.get(id) else {
            fault(format!("query `{id}` is not in {}", name(&files.queries)))?;
            continue;
        };
        let relevance = &mut relevance[query];
        let missing =
            |document: &str| format!("query `{id}`: document `{document}` is not in {}", name(&files.corpus));
        for (document, grade) in judgement.graded {
            let Some(&row) = corpus.rows.get(&document) else {
                fault(missing(&document))?;
                continue;
            };
            let known = *relevance.grades.entry(row).or_insert(grade);
            if known != grade {
                fault(format!(
                    "query `{id}`: document `{document}` has grade {grade} here and {known} before"
                ))?;
            }
        }
        let mut rows = |documents: Vec<String>| -> Result<Vec<usize>, Error> {
            let mut rows = Vec::with_capacity(documents.len());
            for document in documents {
                match corpus.rows.get(&document) {
                    Some(&row) => rows.push(row),
                    None => fault(missing(&document))?,
                }
            }
            Ok(rows)
        };
        if let Some(candidates) = judgement.candidates {
            relevance.candidates.get_or_insert_default().extend(rows(candidates)?);
        }
        // Elsewhere they may come from another corpus, such as one to train on.
        if spec.candidates == Candidates::PerQuery {
            relevance.negatives.extend(rows(judgement.negatives)?);
        }
    }
    Ok(relevance)
}

/// The rows to rank for one query, ascending; `None`: all.
fn candidates(spec: &DatasetSpec, relevance: Relevance, corpus: usize) -> Result<Option<Vec<usize>>, String> {
    if let Some(candidates) = relevance.candidates {
        return Ok(Some(candidates.into_iter().collect()));
    }
    match spec.candidates {
        Candidates::Corpus => Ok(None),
        Candidates::PerQuery if !relevance.negatives.is_empty() => {
            let judged = relevance.grades.into_keys();
            Ok(Some(
                relevance.negatives.into_iter().chain(judged).collect::<BTreeSet<_>>().into_iter().collect(),
            ))
        }
        // A corpus of the size of one list is that list.
        Candidates::PerQuery if corpus <= spec.corpus => Ok(None),
        Candidates::PerQuery => Err(format!(
            "has no candidates of its own, which {} needs: give `candidates`, or `neg` beside `pos`",
            spec.id
        )),
    }
}

/// The name of a file beside the one at fault.
fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
