//! Training pairs as people have them: from the files of other trainers and of data sets to lines of
//! [`pairs`](crate::pairs).
//!
//! ```text
//! file -> records -> pairs -> lines
//!         records    layout
//! ```
//!
//! How rows are stored (`records`: JSON lines, JSON, CSV, Parquet, Arrow, tar shards, folders) and what a row says
//! (`layout`: the columns of sentence-transformers, the messages of ms-swift, the captions of MSR-VTT, ...) are two
//! things: any layout may lie in any kind of file. A row that says no pair is told by file and line, with what it
//! looks like and what is nearest, and the others go on.

mod error;
mod layout;
mod reading;
mod records;
mod vault;
mod write;

pub use error::{ImportError, UnknownFormat};
pub use layout::Format;
pub use write::{ImportEvent, Imported, Output, import, sources};

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::options::with_fields;
use crate::store::IoError;

/// Calls `on` with every text in the rows of a file, whatever they say; with none where it holds no rows.
///
/// # Errors
/// The place of the first row that cannot be read, and why.
pub(crate) fn each_text(path: &Path, on: &mut dyn FnMut(&str)) -> Result<(), (String, String)> {
    records::each_text(path, on)
}

/// What a data set on the hub begins with, as `huggingface_hub` writes it.
pub const HUB_DATA_SETS: &str = "hf://datasets/";

/// Whether a file of this name, with its folders, is read where its folder is: it holds rows, or media that they may
/// name, and is of the split that is wanted, where its name tells one.
pub fn is_data(name: &str, split: Option<&str>) -> bool {
    records::is_data(Path::new(name), split)
}

/// The files below a folder, in order; a file is itself.
pub(crate) fn all_files(path: &Path) -> Result<Vec<PathBuf>, IoError> {
    records::walk(path)
}

/// How files are read.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ImportSettings {
    /// What the rows say; found by their keys if not given.
    pub format: Format,
    /// Folder in which media lie that are named by relative paths; that of the file if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<PathBuf>,
    /// Instruction of queries that bring none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instruction: Option<String>,
    /// Where the pairs are from, for people; the name of the file if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// From which score or label on two sides are a pair.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_score: Option<f64>,
    /// The only split that is read, where rows, files or folders say which they are of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Most pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

with_fields!(ImportSettings {
    with_format(format: Format),
    with_media(media: Option<PathBuf>),
    with_instruction(instruction: Option<String>),
    with_source(source: Option<String>),
    with_min_score(min_score: Option<f64>),
    with_split(split: Option<String>),
    with_limit(limit: Option<usize>),
});
