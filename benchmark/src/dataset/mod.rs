//! One data set in memory: inputs and relevance, whatever packaging they came in. Nothing here scores.

use gve::Input;

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
