//! A directory of embeddings: what was embedded, how, and the vectors.
//!
//! ```text
//! library.json               the manifest: model, revision, sampling, dim, ...
//! library.lock               held by the one writer
//! library.newest             the number of the newest segment
//! library.tags               what users say of files
//! library.tags.lock          held by who changes that
//! segments/00000001.parquet  rows, written once and never changed
//! segments/00000001.codes    what a library too large for memory is searched by; made again where it is missing
//! ```
//!
//! A [`LibraryWriter`] collects rows and writes them as a new segment every few hundred rows or seconds. A
//! segment is written under a temporary name, brought to disk and then renamed, so a process killed at any
//! moment loses the rows of at most one segment and damages none. Nothing depends on the writer being
//! dropped in order.
//!
//! Changing a file means adding its new rows: the newest state of a file supersedes the older ones. A segment
//! may also name files whose rows in older segments count no more. Where much counts no more, all live rows
//! are written into one new segment that says which older segments it replaces; those are then deleted. Where
//! segments have become many, the newest of them, as many as are small beside those before, are joined in the
//! same way. A [`Library`] has all live rows: in one matrix, or, where they are too large for that, on disk.
//!
//! Each row carries a checksum. What does not agree with its own is reported and passed over, and the rest is
//! read; the next writer keeps the rest alone, and sets the damaged files aside. Segments are numbered
//! without a gap, so that one that is gone is reported as well.

mod catalog;
mod checksum;
mod confidence;
mod content;
mod entry;
mod filter;
mod form;
mod index;
mod manifest;
mod neighbours;
mod on_disk;
mod reader;
mod rewriting;
mod rows;
mod search;
mod segment;
mod segment_columns;
mod segment_reader;
mod segment_writer;
mod store_dtype;
mod survey;
mod tags;
mod vectors;
mod writer;

pub use content::ContentHash;
pub use entry::{FileFingerprint, LibraryEntry, LibraryRow};
pub use filter::Filter;
pub use manifest::{LibraryManifest, MANIFEST_FORMAT_VERSION};
pub use reader::{Library, LibraryOptions};
pub use search::{LibraryHit, SearchOptions, Unit};
pub use store_dtype::StoreDType;
pub use tags::{TagChanges, TagTest, TagValue, Tags};
pub use writer::LibraryWriter;

pub(crate) use rewriting::Carried;
