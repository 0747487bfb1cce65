//! Exact search over embeddings, and the files embeddings live in.
//!
//! - [`rank`] scores every query against every row of a corpus and keeps the best `k` of each. Nothing is
//!   approximated: for unit vectors the inner product is the cosine. The corpus is walked in tiles on all
//!   cores, so memory stays far below `queries x corpus`. [`rank_candidates`] does the same for a query
//!   with its own short list. [`Feedback`] moves a query towards what ranks first.
//! - [`LibraryWriter`] and [`Library`] are the two sides of a library directory: one process adds rows,
//!   safely against being killed; any number search them.
//! - [`EmbeddingWriter`] and [`read_embeddings`] exchange plain embedding files (`.jsonl`, `.npy`,
//!   `.parquet`) with other tools, in whatever types those hold their numbers. [`ParquetTable`] reads texts
//!   and numbers.
//!
//! This room knows vectors and files. Where the vectors come from is the business of the embedder.

#[cfg(feature = "library")]
mod columns;
// Asks for instructions of the processor.
#[cfg(feature = "library")]
#[allow(unsafe_code)]
mod codes;
mod cut;
#[cfg(feature = "library")]
mod embedding_file;
mod error;
mod feedback;
#[cfg(feature = "library")]
mod library;
#[cfg(feature = "library")]
mod parquet_file;
#[cfg(feature = "library")]
mod path_pattern;
#[cfg(feature = "library")]
mod row_file;
// Calls the `gemm` crate.
#[allow(unsafe_code)]
mod similarity;
mod topk;

pub use cut::cut_rows;
#[cfg(feature = "library")]
pub use embedding_file::{
    EmbeddingFormat, EmbeddingTable, EmbeddingWriter, read_embeddings, write_json_line,
};
pub use error::RetrievalError;
pub use feedback::Feedback;
#[cfg(feature = "library")]
pub(crate) use library::Carried;
#[cfg(feature = "library")]
pub use library::{
    ContentHash, FileFingerprint, Filter, Library, LibraryEntry, LibraryHit, LibraryManifest, LibraryOptions,
    LibraryRow, LibraryWriter, MANIFEST_FORMAT_VERSION, SearchOptions, StoreDType, TagChanges, TagTest,
    TagValue, Tags, Unit,
};
#[cfg(feature = "library")]
pub use parquet_file::ParquetTable;
#[cfg(feature = "library")]
pub use path_pattern::PathPattern;
#[cfg(feature = "library")]
pub(crate) use row_file::RowFile;
pub use similarity::{dot, normalize};
pub use topk::{Match, rank, rank_candidates};
