//! One data set in memory: inputs and relevance, whatever packaging they came in. Nothing here scores.
//!
//! `locate` finds the index files, `uvrb` and `beir` read them into the same `records`, and `assemble` joins
//! these into a [`Dataset`]. Every fault goes through one gate: [`load`] ends at the first, [`check()`]
//! writes all of them down and looks at the media as well. Loading needs no media: a ranking can be scored
//! without them.

mod assemble;
mod beir;
mod check;
mod frame_cache;
mod locate;
mod media;
mod records;
mod rows;
mod uvrb;

use std::path::Path;

use gve::Input;

pub use check::{CheckOptions, CheckReport, Count, Fault, MediaCount, check};
pub use locate::{Found, find};

use crate::Error;
use crate::manifest::DatasetSpec;

/// How a data set is read.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LoadOptions {
    /// Frames per second of the pictures in `videos_frames/`. Only where this is given do they stand in for
    /// the videos they were taken from: nothing on disk tells their timing.
    pub frame_cache_fps: Option<f64>,
    /// Only ids and relevance are wanted, as they are to score a ranking of a data set that somebody else
    /// packed: inputs may be empty, and queries that the relevance file does not name are left out, as BEIR's
    /// own reader leaves those of other splits out.
    pub relevance_only: bool,
}

/// Reads the data set `spec` under `root`: `<root>/<id>`, `<root>/<id>/UVRB/<id>`, the same under
/// `<root>/UVRB`, or `root` itself.
///
/// # Errors
/// The first fault, with file and line: nothing there, a line that cannot be read, unknown keys, an id twice,
/// an empty query, a relevance line that names what is not there, a query without positives.
pub fn load(spec: &DatasetSpec, root: &Path, options: &LoadOptions) -> Result<Dataset, Error> {
    let files = locate::locate(spec, root)?;
    let mut first_fault = |fault: Error| -> Result<(), Error> { Err(fault) };
    let records = records::read(&files, &mut first_fault)?;
    Ok(assemble::assemble(spec, &files, records, options, &mut first_fault)?.dataset)
}

/// Queries, corpus and relevance of one data set. Media stay on disk; inputs name their paths.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// The id in the manifest, such as `CRB-G`.
    pub id: String,
    /// What identifies this copy of the data: a hash over its index files.
    pub revision: String,
    /// In the order of the file.
    pub queries: Vec<Query>,
    /// In the order of the file.
    pub corpus: Vec<Document>,
}

/// One query. Its input bears no instruction: the prompt is added when it is encoded.
#[derive(Debug, Clone)]
pub struct Query {
    /// Unique among the queries.
    pub id: String,
    /// Text, image, video or a composition (visual parts first, then text).
    pub input: Input,
    /// The relevant documents; at least one.
    pub positives: Vec<Positive>,
    /// Rows of the corpus to rank for this query; `None`: all.
    pub candidates: Option<Vec<usize>>,
}

/// A relevant document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positive {
    /// Its row in the corpus.
    pub document: usize,
    /// How relevant, 1 where the data do not grade.
    pub grade: u32,
}

/// One document of the corpus.
#[derive(Debug, Clone)]
pub struct Document {
    /// Unique in the corpus.
    pub id: String,
    /// What is embedded.
    pub input: Input,
}
