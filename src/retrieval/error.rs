//! What can go wrong in this room.

use std::path::PathBuf;

use crate::store::{Differences, IoError, LockHolder};

/// Errors of search, of the library directory and of embedding files. Each displays as one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RetrievalError {
    /// Queries and corpus, or a row and the file it goes to, have different widths.
    #[error("{what} has dimension {got}, expected {expected}")]
    DimensionMismatch {
        /// What was measured, for example `query 3`.
        what: String,
        /// The dimension it should have.
        expected: usize,
        /// The dimension it has.
        got: usize,
    },
    /// A search was to compare more values than a library has, or none.
    #[error(
        "{got} values were to be compared, and the library's embeddings have {width}: expected 1 to {width}"
    )]
    InvalidWidth {
        /// Values of the library's embeddings.
        width: usize,
        /// Values asked for.
        got: usize,
    },
    /// A score came out as NaN or infinite, so one of the two vectors holds such a value.
    #[error("the score of query {query} and corpus row {row} is {score}: one of them holds NaN or infinity")]
    NonFiniteScore {
        /// Row of the query.
        query: usize,
        /// Row of the corpus.
        row: usize,
        /// The score.
        score: f32,
    },
    /// An embedding that should be stored or searched holds NaN or infinity, or has length zero.
    #[error("the embedding of {what} cannot be used: {reason}")]
    InvalidEmbedding {
        /// The id or path the embedding belongs to.
        what: String,
        /// Why not.
        reason: String,
    },
    /// The corpus has more rows than can be told apart in one search.
    #[error("the corpus has {rows} rows, at most {max} can be ranked at once: rank it in parts")]
    CorpusTooLarge {
        /// The rows it has.
        rows: usize,
        /// The most there may be.
        max: usize,
    },
    /// A candidate list names a row the corpus does not have.
    #[error("candidate row {row} is outside the corpus of {rows} rows")]
    CandidateOutOfRange {
        /// The row asked for.
        row: usize,
        /// Rows there are.
        rows: usize,
    },
    /// What paths should be like is no pattern.
    #[error("{pattern:?} is no pattern for paths: {reason}")]
    InvalidPattern {
        /// It.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files of a library were to be said to lie where it has others.
    #[error("{} is in the library already: choose another path, or remove it first", path.display())]
    Relocation {
        /// Where one of them would lie.
        path: PathBuf,
    },
    /// A file or directory could not be read, written, locked or renamed.
    #[error(transparent)]
    Io(#[from] IoError),
    /// An embedding file is not what its name promises.
    #[error("cannot read embeddings from {}: {reason}", path.display())]
    InvalidFile {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
    /// The file name ends in nothing this room reads or writes.
    #[error("{} is not an embedding file: use a name that ends in .jsonl, .npy or .parquet", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },
    /// The directory holds no library.
    #[error("{} is not a library (no library.json in it): index something into it first", path.display())]
    NotALibrary {
        /// The directory.
        path: PathBuf,
    },
    /// `library.json` cannot be understood.
    #[error("cannot read the manifest {}: {reason}", path.display())]
    InvalidManifest {
        /// The manifest file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The library was written with other settings than the ones at hand.
    #[error(
        "the library {} was made with other settings ({}): use those, or another library directory",
        path.display(), differences
    )]
    ManifestMismatch {
        /// The library directory.
        path: PathBuf,
        /// Each setting that differs, with the library's value and the one at hand.
        differences: Differences,
    },
    /// A tag is a number that no file of tags can hold.
    #[error("tag {name:?} of {} is {value}: expected a finite number", path.display())]
    InvalidTag {
        /// The file that was to be tagged.
        path: PathBuf,
        /// The tag's name.
        name: String,
        /// Its value.
        value: f64,
    },
    /// Somebody holds the library's lock: another process, or another writer of this one.
    #[error(
        "{} is writing to the library {}{}: wait for it to end", writer(*holder),
        path.display(), holder.map(|holder| format!(" ({holder})")).unwrap_or_default()
    )]
    Locked {
        /// The library directory.
        path: PathBuf,
        /// Which, where that is known.
        holder: Option<LockHolder>,
    },
    /// A segment of the library cannot be read, or not as a whole.
    #[error(
        "the library segment {} is damaged ({reason}): index again to embed anew what is lost",
        path.display()
    )]
    DamagedSegment {
        /// The segment file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Rows of a segment cannot be used.
    #[error(
        "{} of the library segment {} {} damaged ({reason}){}: index again to embed anew what is lost",
        if first == last { format!("row {first}") } else { format!("rows {first} to {last}") },
        path.display(),
        if first == last { "is" } else { "are" },
        file.as_ref().map(|file| format!(", of {}", file.display())).unwrap_or_default()
    )]
    DamagedRows {
        /// The segment file.
        path: PathBuf,
        /// Number of the first of them, counted from 0.
        first: usize,
        /// Number of the last of them.
        last: usize,
        /// What the row says it was made from, where it is one and can be read.
        file: Option<PathBuf>,
        /// What is wrong.
        reason: String,
    },
    /// The number of a library's newest segment cannot be read. Nothing is lost with it.
    #[error("{} is damaged ({reason}): index again, and it is written anew", path.display())]
    DamagedNewest {
        /// The file of that number.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The tags of a library cannot be used.
    #[error("the tags in {} are damaged ({reason}): put the file back from a copy, or move it away to go on without", path.display())]
    DamagedTags {
        /// The file of tags.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A segment of the library was written with other settings than its manifest says.
    #[error(
        "the library segment {} was not made with the settings in library.json, or of this run where there is \
         none: put back the library.json it was made with, or index with its settings, or move the segment \
         itself elsewhere and index again",
        path.display()
    )]
    ForeignSegment {
        /// The segment file.
        path: PathBuf,
    },
    /// A path that is not UTF-8 cannot be stored.
    #[error(
        "the path {} is not valid UTF-8 and cannot be stored in a library: rename the file",
        path.display()
    )]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
}

/// Who holds a lock, in words.
fn writer(holder: Option<LockHolder>) -> &'static str {
    if holder.is_some_and(|holder| holder.process == std::process::id()) {
        "another writer of this process"
    } else {
        "another process"
    }
}
