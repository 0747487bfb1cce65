//! Writing runs.

use std::io::Write;
use std::path::Path;

use gve::store::{AtomicFile, IoError, create_folder_of};
use serde::Serialize;

use crate::Error;
use crate::dataset::Dataset;

/// The form of a run on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunFormat {
    /// `qid Q0 docid rank score tag`, with ranks from 1. White space in the tag becomes `_`.
    Trec {
        /// What made the run.
        tag: String,
    },
    /// `{"qid", "docs": [{"id", "score"}]}`.
    JsonLines,
}

/// Writes a run, one query after the other. The file appears under its name when it is complete. Scores read
/// back to the bit.
#[derive(Debug)]
pub struct RunWriter {
    file: AtomicFile,
    format: RunFormat,
}

#[derive(Serialize)]
struct Line<'a> {
    qid: &'a str,
    docs: Vec<Document<'a>>,
}

#[derive(Serialize)]
struct Document<'a> {
    id: &'a str,
    score: f32,
}

impl RunWriter {
    /// Begins a run, making the directories above it.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path, format: RunFormat) -> Result<Self, Error> {
        let format = match format {
            RunFormat::Trec { tag } => {
                RunFormat::Trec { tag: tag.split_whitespace().collect::<Vec<_>>().join("_") }
            }
            RunFormat::JsonLines => RunFormat::JsonLines,
        };
        create_folder_of(path)?;
        Ok(Self { file: AtomicFile::create(path)?, format })
    }

    /// Writes the ranking of a query, best first, as (document id, score). In a TREC run, a query without
    /// documents leaves no trace.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Invalid`] for an id that the form cannot hold.
    pub fn write<'a>(
        &mut self,
        query: &str,
        ranking: impl IntoIterator<Item = (&'a str, f32)>,
    ) -> Result<(), Error> {
        match &self.format {
            RunFormat::Trec { tag } => {
                check_trec_id(query).map_err(|reason| Error::invalid(self.file.path(), None, reason))?;
                for (index, (document, score)) in ranking.into_iter().enumerate() {
                    check_trec_id(document)
                        .map_err(|reason| Error::invalid(self.file.path(), None, reason))?;
                    writeln!(self.file, "{query} Q0 {document} {} {score} {tag}", index + 1)
                        .map_err(IoError::of("write", self.file.path()))?;
                }
                Ok(())
            }
            RunFormat::JsonLines => {
                let docs = ranking.into_iter().map(|(id, score)| Document { id, score }).collect();
                let written = serde_json::to_writer(&mut self.file, &Line { qid: query, docs })
                    .map_err(Into::into)
                    .and_then(|()| self.file.write_all(b"\n"));
                Ok(written.map_err(IoError::of("write", self.file.path()))?)
            }
        }
    }

    /// Gives the complete file its name.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<(), Error> {
        Ok(self.file.finish()?)
    }
}

/// Whether a TREC run can hold the ids of `dataset`; to be asked before the work is done.
///
/// # Errors
/// [`Error::Settings`] with the first id that it cannot.
pub fn check_trec_ids(dataset: &Dataset) -> Result<(), Error> {
    let queries = dataset.queries.iter().map(|query| &query.id);
    let mut ids = queries.chain(dataset.corpus.iter().map(|document| &document.id));
    ids.try_for_each(|id| check_trec_id(id))
        .map_err(|reason| Error::Settings(format!("{}: {reason}", dataset.id)))
}

fn check_trec_id(id: &str) -> Result<(), String> {
    if id.is_empty() || id.contains(|c: char| c.is_ascii_whitespace()) {
        return Err(format!(
            "a TREC run cannot hold the id `{id}`, which is empty or has white space in it; use JSON lines"
        ));
    }
    Ok(())
}
