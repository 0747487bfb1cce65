//! What can go wrong.

use std::path::PathBuf;

use gve::store::IoError;

/// What can go wrong in the harness. Each displays as one line that names the file and the place in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or directory could not be read or written.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A file that does not hold what it should.
    #[error("{}{}: {reason}", path.display(), line.map(|line| format!(":{line}")).unwrap_or_default())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1, where there is one.
        line: Option<usize>,
        /// What is wrong, what was expected, and what to do.
        reason: String,
    },
    /// A data set that the manifest does not hold.
    #[error("unknown data set `{id}`: {hint}")]
    UnknownDataset {
        /// The id as it was given.
        id: String,
        /// The nearest id, or where the list is.
        hint: String,
    },
    /// Settings that contradict each other or the data.
    #[error("{0}")]
    Settings(String),
    /// An embedder that cannot go on. One input that fails is an
    /// [`EncodeError`](crate::encoder::EncodeError).
    #[error("{encoder} cannot go on: {reason}")]
    Encoder {
        /// The embedder's name.
        encoder: String,
        /// Why.
        reason: String,
    },
    /// The user asked to stop. What is done is kept.
    #[error("cancelled")]
    Cancelled,
    /// Nothing of one side of a data set could be embedded: its score would be 0, whatever the model.
    #[error("none of the {count} {side} could be embedded, the first for: {reason}; no result is written")]
    NothingEmbedded {
        /// `queries` or `documents`.
        side: &'static str,
        /// How many there are.
        count: usize,
        /// Why the first failed.
        reason: String,
    },
    /// Embeddings that cannot be ranked.
    #[error(transparent)]
    Retrieval(#[from] gve::retrieval::RetrievalError),
}

impl Error {
    /// The error of a table of texts: what is wrong with it is about no embedding.
    pub(crate) fn of_table(error: gve::retrieval::RetrievalError) -> Self {
        use gve::retrieval::RetrievalError;
        match error {
            RetrievalError::InvalidFile { path, reason } => Self::invalid(path, None, reason),
            RetrievalError::Io(error) => Self::Io(error),
            other => Self::Retrieval(other),
        }
    }

    /// A fault of a file as a whole, or of one of its lines (counted from 1).
    pub fn invalid(
        path: impl Into<PathBuf>,
        line: impl Into<Option<usize>>,
        reason: impl std::fmt::Display,
    ) -> Self {
        // Parsers' messages may span lines; ours must not.
        let reason = reason.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Self::Invalid { path: path.into(), line: line.into(), reason }
    }
}
