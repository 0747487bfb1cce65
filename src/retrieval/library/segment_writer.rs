//! Writing a segment.
//!
//! Columns: `path`, `media_kind`, `start_seconds` and `end_seconds` (null for a whole file), `size_bytes`,
//! `modified_nanoseconds`, `content`, `captured_seconds`, `width` and `height` (null where they are not
//! known; segments of before have none of these four), `checksum`, `embedding`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{
    ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

use super::checksum::{self, Marks, Seal};
use super::content::ContentHash;
use super::entry::{LibraryEntry, LibraryRow};
use super::segment::{Replaced, Segment};
use super::store_dtype::StoreDType;
use crate::media::{MediaKind, TimeRange};
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::{self, one_line};
use crate::store::{AtomicFile, IoError};

/// File metadata of a segment that others were joined to: those up to and including this number are contained
/// in it, or from the one of two numbers to the other.
pub(super) const REPLACES_THROUGH: &str = "gve.replaces_through";
/// File metadata: the [`Marks`] of a segment that has some.
pub(super) const FORGETS: &str = "gve.forgets";
/// File metadata: the [`Seal`]. Segments of before there were checksums have none.
pub(super) const SEAL: &str = "gve.seal";
/// The column of checksums.
pub(super) const CHECKSUM: &str = "checksum";
/// Rows of a row group. Keeps the writer's memory bounded, and what is lost where its structure is damaged.
pub(super) const ROW_GROUP_ROWS: usize = 256;

/// Writes one segment, a batch of rows at a time. Nothing is visible before [`SegmentWriter::finish`].
pub(super) struct SegmentWriter {
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
    path: PathBuf,
    dtype: StoreDType,
    dim: usize,
    settings: u64,
    replaces: Option<Replaced>,
    marks: Marks,
    /// Rows written.
    rows: usize,
    pending: Vec<LibraryRow>,
}

impl SegmentWriter {
    /// `settings` is what its [`Seal`] says of how the rows were made.
    pub(super) fn create(
        segment: &Segment,
        (dtype, dim): (StoreDType, usize),
        settings: u64,
        replaces: Option<Replaced>,
    ) -> Result<Self, RetrievalError> {
        let path = segment.path.clone();
        let mut fields = vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("media_kind", DataType::Utf8, false),
            Field::new("start_seconds", DataType::Float64, true),
            Field::new("end_seconds", DataType::Float64, true),
            Field::new("size_bytes", DataType::UInt64, false),
            Field::new("modified_nanoseconds", DataType::Int64, false),
            Field::new("content", DataType::FixedSizeBinary(16), true),
            Field::new("captured_seconds", DataType::Int64, true),
            Field::new("width", DataType::UInt32, true),
            Field::new("height", DataType::UInt32, true),
            Field::new(CHECKSUM, DataType::UInt64, false),
        ];
        fields.extend(dtype.fields(dim));
        let schema = Arc::new(Schema::new(fields));
        let properties = columns::writer_properties().build();
        let file = AtomicFile::create(&path)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|e| write_error(&path, e))?;
        let (marks, pending) = (Marks::default(), Vec::new());
        Ok(Self { writer, schema, path, dtype, dim, settings, replaces, marks, rows: 0, pending })
    }

    /// Has the rows of a file in older segments count no more.
    pub(super) fn forget(&mut self, path: &Path) -> Result<(), RetrievalError> {
        self.marks.0.push(path_text(path)?.to_owned());
        Ok(())
    }

    pub(super) fn push(&mut self, row: LibraryRow) -> Result<(), RetrievalError> {
        self.pending.push(row);
        if self.pending.len() >= ROW_GROUP_ROWS { self.write_pending() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), RetrievalError> {
        let rows = std::mem::take(&mut self.pending);
        let batch = to_batch(&rows, self.rows, &self.schema, (self.dtype, self.dim))?
            .map_err(|reason| write_error(&self.path, reason))?;
        self.rows += rows.len();
        self.writer.write(&batch).map_err(|e| write_error(&self.path, e))?;
        self.writer.flush().map_err(|e| write_error(&self.path, e))
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        let seal = Seal { rows: self.rows as u64, settings: self.settings };
        let mut say = |key: &str, value: String| {
            self.writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        };
        let marks = self.marks.to_text();
        say(SEAL, seal.to_text(self.replaces, marks.as_deref()));
        if let Some(marks) = marks {
            say(FORGETS, marks);
        }
        if let Some(replaced) = self.replaces {
            say(REPLACES_THROUGH, replaced.to_string());
        }
        Ok(self.writer.into_inner().map_err(|e| write_error(&self.path, e))?.finish()?)
    }
}

fn write_error(path: &Path, error: impl std::fmt::Display) -> RetrievalError {
    IoError::of("write", path)(std::io::Error::other(one_line(error))).into()
}

/// The outer error is about a path that cannot be stored, the inner about the columns. `first` is the number
/// of the first row.
fn to_batch(
    rows: &[LibraryRow],
    first: usize,
    schema: &Arc<Schema>,
    (dtype, dim): (StoreDType, usize),
) -> Result<Result<RecordBatch, String>, RetrievalError> {
    let paths = rows.iter().map(|row| path_text(&row.entry.path)).collect::<Result<Vec<_>, _>>()?;
    let kinds = rows.iter().map(|row| kind_name(row.entry.kind));
    let range = |bound: fn(TimeRange) -> Option<f64>| {
        rows.iter().map(move |row| row.entry.time_range.and_then(bound)).collect::<Float64Array>()
    };
    let embeddings: Vec<Vec<f32>> = rows.iter().map(|row| dtype.rounded(&row.embedding)).collect();
    let checksums = (first..)
        .zip(rows.iter().zip(&embeddings))
        .map(|(number, (row, embedding))| checksum::of_row(number, &row.entry, embedding));
    let contents = rows.iter().map(|row| row.entry.content.map(ContentHash::to_bytes));
    let contents = FixedSizeBinaryArray::try_from_sparse_iter_with_size(contents, 16).map_err(one_line);
    let pixels = |side: fn(&LibraryEntry) -> Option<u32>| {
        rows.iter().map(move |row| side(&row.entry)).collect::<UInt32Array>()
    };
    Ok(contents.and_then(|contents| {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(paths)),
            Arc::new(StringArray::from_iter_values(kinds)),
            Arc::new(range(|r| r.start_seconds)),
            Arc::new(range(|r| r.end_seconds)),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.entry.fingerprint.size_bytes))),
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|row| row.entry.fingerprint.modified_nanoseconds),
            )),
            Arc::new(contents),
            Arc::new(rows.iter().map(|row| row.entry.captured_seconds).collect::<Int64Array>()),
            Arc::new(pixels(|entry| entry.width)),
            Arc::new(pixels(|entry| entry.height)),
            Arc::new(UInt64Array::from_iter_values(checksums)),
        ];
        columns.extend(dtype.arrays(&embeddings, dim)?);
        RecordBatch::try_new(Arc::clone(schema), columns).map_err(one_line)
    }))
}

/// The text a path is stored as.
pub(super) fn path_text(path: &Path) -> Result<&str, RetrievalError> {
    path.to_str().ok_or_else(|| RetrievalError::PathNotUtf8 { path: path.to_owned() })
}

fn kind_name(kind: MediaKind) -> &'static str {
    match kind {
        MediaKind::Image => "image",
        MediaKind::Video => "video",
    }
}
