//! One segment of a library: a Parquet file that is written once and never changed.
//!
//! Columns: `path`, `media_kind`, `start_seconds` and `end_seconds` (null for a whole file), `size_bytes`,
//! `modified_nanoseconds`, `embedding`. Files are named by a rising sequence number.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, UInt64Array};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::file::metadata::KeyValue;

use super::entry::{FileFingerprint, LibraryEntry, LibraryRow, MediaKind, TimeRange};
use crate::retrieval::RetrievalError;
use crate::retrieval::atomic_file::{AtomicFile, TEMPORARY_SUFFIX};
use crate::retrieval::columns::{self, EMBEDDING, ReadFailure, column, one_line};

const EXTENSION: &str = ".parquet";
/// File metadata of a compacted segment: segments up to and including this number are contained in it.
const REPLACES_THROUGH: &str = "gve.replaces_through";
/// Rows read or written at once.
const BATCH_ROWS: usize = 1024;

/// A segment file in the directory.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
}

impl Segment {
    pub(super) fn new(directory: &Path, sequence: u64) -> Self {
        Self { sequence, path: directory.join(format!("{sequence:08}{EXTENSION}")) }
    }

    /// The segments of a directory, oldest first. Files that are still being written do not count.
    pub(super) fn list(directory: &Path) -> Result<Vec<Self>, RetrievalError> {
        let mut segments = Vec::new();
        for path in file_paths(directory)? {
            let name = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(EXTENSION));
            if let Some(sequence) = name.and_then(|n| n.parse().ok()) {
                segments.push(Self { sequence, path });
            }
        }
        segments.sort_by_key(|s| s.sequence);
        Ok(segments)
    }

    /// Removes what a killed writer left half-written. Only for the holder of the lock.
    pub(super) fn remove_temporary_files(directory: &Path) -> Result<(), RetrievalError> {
        for path in file_paths(directory)? {
            if path.to_str().is_some_and(|p| p.ends_with(TEMPORARY_SUFFIX)) {
                fs::remove_file(&path).map_err(RetrievalError::io("remove", &path))?;
            }
        }
        Ok(())
    }

    /// The entries of all rows; reads no embeddings.
    pub(super) fn read_entries(&self) -> Result<SegmentEntries, RetrievalError> {
        let read = || -> Result<SegmentEntries, ReadFailure> {
            let builder = columns::reader(&self.path)?;
            let metadata = builder.metadata().file_metadata().key_value_metadata();
            let replaces_through = metadata
                .into_iter()
                .flatten()
                .find(|pair| pair.key == REPLACES_THROUGH)
                .map(|pair| {
                    pair.value
                        .as_deref()
                        .unwrap_or("")
                        .parse::<u64>()
                        .map_err(|e| format!("{REPLACES_THROUGH}: {e}"))
                })
                .transpose()?;
            let schema = builder.parquet_schema();
            let wanted =
                schema.root_schema().get_fields().iter().enumerate().filter(|(_, f)| f.name() != EMBEDDING);
            let mask = ProjectionMask::roots(schema, wanted.map(|(i, _)| i).collect::<Vec<_>>());
            let mut entries = Vec::new();
            for batch in
                builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(one_line)?
            {
                read_batch_entries(&batch.map_err(one_line)?, &mut entries)?;
            }
            Ok(SegmentEntries { entries, replaces_through })
        };
        read().map_err(|failure| self.failure(failure))
    }

    /// Calls `each` with the row number and embedding of every row, in order.
    pub(super) fn for_each_embedding(
        &self,
        dim: usize,
        mut each: impl FnMut(usize, &[f32]) -> Result<(), String>,
    ) -> Result<(), RetrievalError> {
        let mut read = || -> Result<(), ReadFailure> {
            let builder = columns::reader(&self.path)?;
            let mask = ProjectionMask::columns(builder.parquet_schema(), [EMBEDDING]);
            let mut row = 0;
            for batch in
                builder.with_projection(mask).with_batch_size(BATCH_ROWS).build().map_err(one_line)?
            {
                let batch = batch.map_err(one_line)?;
                let (values, width) = columns::embedding_values(&batch)?;
                if width != dim {
                    return Err(format!("embeddings of dimension {width}, the manifest says {dim}").into());
                }
                for embedding in values.chunks_exact(dim.max(1)) {
                    each(row, embedding)?;
                    row += 1;
                }
            }
            Ok(())
        };
        read().map_err(|failure| self.failure(failure))
    }

    fn failure(&self, failure: ReadFailure) -> RetrievalError {
        match failure {
            ReadFailure::Open(source) => {
                RetrievalError::Io { path: self.path.clone(), action: "open", source }
            }
            ReadFailure::Content(reason) => {
                RetrievalError::DamagedSegment { path: self.path.clone(), reason }
            }
        }
    }

    pub(super) fn remove(&self) -> Result<(), RetrievalError> {
        fs::remove_file(&self.path).map_err(RetrievalError::io("remove", &self.path))
    }
}

/// The rows of a segment without their embeddings.
pub(super) struct SegmentEntries {
    pub(super) entries: Vec<LibraryEntry>,
    /// Segments up to and including this number are contained in this one.
    pub(super) replaces_through: Option<u64>,
}

fn file_paths(directory: &Path) -> Result<Vec<PathBuf>, RetrievalError> {
    let list =
        || fs::read_dir(directory)?.map(|item| item.map(|i| i.path())).collect::<std::io::Result<Vec<_>>>();
    list().map_err(RetrievalError::io("list", directory))
}

/// Writes one segment, a batch of rows at a time. Nothing is visible before [`SegmentWriter::finish`].
pub(super) struct SegmentWriter {
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
    path: PathBuf,
    dim: usize,
    pending: Vec<LibraryRow>,
}

impl SegmentWriter {
    pub(super) fn create(
        segment: &Segment,
        dim: usize,
        replaces_through: Option<u64>,
    ) -> Result<Self, RetrievalError> {
        let path = segment.path.clone();
        let schema = Arc::new(Schema::new(vec![
            Field::new("path", DataType::Utf8, false),
            Field::new("media_kind", DataType::Utf8, false),
            Field::new("start_seconds", DataType::Float64, true),
            Field::new("end_seconds", DataType::Float64, true),
            Field::new("size_bytes", DataType::UInt64, false),
            Field::new("modified_nanoseconds", DataType::Int64, false),
            columns::embedding_field(dim),
        ]));
        let pairs = replaces_through
            .map(|sequence| vec![KeyValue::new(REPLACES_THROUGH.to_owned(), sequence.to_string())]);
        let properties = columns::writer_properties().set_key_value_metadata(pairs).build();
        let file = AtomicFile::create(&path)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|e| write_error(&path, e))?;
        Ok(Self { writer, schema, path, dim, pending: Vec::new() })
    }

    pub(super) fn push(&mut self, row: LibraryRow) -> Result<(), RetrievalError> {
        self.pending.push(row);
        if self.pending.len() >= BATCH_ROWS { self.write_pending() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), RetrievalError> {
        let rows = std::mem::take(&mut self.pending);
        let batch =
            to_batch(&rows, &self.schema, self.dim)?.map_err(|reason| write_error(&self.path, reason))?;
        self.writer.write(&batch).map_err(|e| write_error(&self.path, e))?;
        // A row group of its own for each batch keeps the writer's memory bounded.
        self.writer.flush().map_err(|e| write_error(&self.path, e))
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        if !self.pending.is_empty() {
            self.write_pending()?;
        }
        self.writer.into_inner().map_err(|e| write_error(&self.path, e))?.finish()
    }
}

fn write_error(path: &Path, error: impl std::fmt::Display) -> RetrievalError {
    RetrievalError::io("write", path)(std::io::Error::other(one_line(error)))
}

/// The outer error is about a path that cannot be stored, the inner about the columns.
fn to_batch(
    rows: &[LibraryRow],
    schema: &Arc<Schema>,
    dim: usize,
) -> Result<Result<RecordBatch, String>, RetrievalError> {
    let paths = rows.iter().map(|row| path_text(&row.entry.path)).collect::<Result<Vec<_>, _>>()?;
    let kinds = rows.iter().map(|row| kind_name(row.entry.kind));
    let range = |bound: fn(TimeRange) -> f64| {
        rows.iter().map(move |row| row.entry.time_range.map(bound)).collect::<Float64Array>()
    };
    let embeddings = rows.iter().flat_map(|row| row.embedding.iter().copied()).collect();
    Ok(columns::embedding_array(embeddings, dim).and_then(|embeddings| {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(paths)),
            Arc::new(StringArray::from_iter_values(kinds)),
            Arc::new(range(|r| r.start_seconds)),
            Arc::new(range(|r| r.end_seconds)),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.entry.fingerprint.size_bytes))),
            Arc::new(Int64Array::from_iter_values(
                rows.iter().map(|row| row.entry.fingerprint.modified_nanoseconds),
            )),
            embeddings,
        ];
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

fn read_batch_entries(batch: &RecordBatch, entries: &mut Vec<LibraryEntry>) -> Result<(), String> {
    let text = |name: &'static str| {
        column(batch, name)?.as_string_opt::<i32>().ok_or_else(|| format!("column {name} is no text"))
    };
    let seconds = |name: &'static str| {
        column(batch, name)?
            .as_primitive_opt::<Float64Type>()
            .ok_or_else(|| format!("column {name} is not f64"))
    };
    let (paths, kinds) = (text("path")?, text("media_kind")?);
    let (starts, ends) = (seconds("start_seconds")?, seconds("end_seconds")?);
    let sizes = column(batch, "size_bytes")?
        .as_primitive_opt::<UInt64Type>()
        .ok_or("column size_bytes is not u64")?;
    let modified = column(batch, "modified_nanoseconds")?.as_primitive_opt::<Int64Type>();
    let modified = modified.ok_or("column modified_nanoseconds is not i64")?;
    for row in 0..batch.num_rows() {
        let kind = match kinds.value(row) {
            "image" => MediaKind::Image,
            "video" => MediaKind::Video,
            other => return Err(format!("media kind {other:?}")),
        };
        let time_range = (starts.is_valid(row) && ends.is_valid(row))
            .then(|| TimeRange { start_seconds: starts.value(row), end_seconds: ends.value(row) });
        let fingerprint =
            FileFingerprint { size_bytes: sizes.value(row), modified_nanoseconds: modified.value(row) };
        entries.push(LibraryEntry { path: paths.value(row).into(), kind, time_range, fingerprint });
    }
    Ok(())
}
