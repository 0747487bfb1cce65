//! What index files say, before it is known whether it fits together. The same for every layout.

use gve::store::IoError;
use sha2::{Digest, Sha256};

use super::locate::IndexFiles;
use super::rows::Row;
use super::{beir, uvrb};
use crate::Error;
use crate::manifest::Layout;

/// Takes a fault; an error of its own ends the reading.
pub(super) type OnFault<'a> = dyn FnMut(Error) -> Result<(), Error> + 'a;

/// Hexadecimal digits of a revision: 64 bits tell copies apart.
const REVISION_DIGITS: usize = 16;

/// The rows of all three files.
pub(super) struct Records {
    pub(super) queries: Vec<Row<Record>>,
    pub(super) corpus: Vec<Row<Record>>,
    pub(super) judgements: Vec<Row<Judgement>>,
    pub(super) revision: String,
}

/// A query or a document. Parts that are blank are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) text: Option<String>,
    pub(super) image: Option<String>,
    pub(super) video: Option<String>,
}

/// What one line says of one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judgement {
    pub(super) query: String,
    /// Judged documents with grades; 0 is not relevant.
    pub(super) graded: Vec<(String, u32)>,
    /// The query's own candidates.
    pub(super) candidates: Option<Vec<String>>,
    /// Documents it is known not to mean.
    pub(super) negatives: Vec<String>,
}

/// Reads the three files.
pub(super) fn read(files: &IndexFiles, on_fault: &mut OnFault<'_>) -> Result<Records, Error> {
    let (queries, corpus, judgements) = match files.layout {
        Layout::Uvrb => (
            uvrb::records(&files.queries, on_fault)?,
            uvrb::records(&files.corpus, on_fault)?,
            uvrb::judgements(&files.relevance, on_fault)?,
        ),
        Layout::Beir => (
            beir::records(&files.queries, on_fault)?,
            beir::records(&files.corpus, on_fault)?,
            beir::judgements(&files.relevance, on_fault)?,
        ),
    };
    Ok(Records { queries, corpus, judgements, revision: revision(files)? })
}

/// `sha256:` and the head of the hash over the three files. Where they lie is no part of it, nor are the
/// media.
fn revision(files: &IndexFiles) -> Result<String, Error> {
    let mut hash = Sha256::new();
    for path in [&files.queries, &files.corpus, &files.relevance] {
        let bytes = std::fs::read(path).map_err(IoError::of("read", path))?;
        // With the lengths, no byte can wander from one file to the next unseen.
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    let digits: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("sha256:{}", &digits[..REVISION_DIGITS]))
}

/// Blank parts are as good as absent.
pub(super) fn filled(part: Option<String>) -> Option<String> {
    part.filter(|part| !part.trim().is_empty())
}
