//! Parquet files that others wrote: pyarrow, pandas, polars, or somebody who means harm.
//!
//! [`ParquetFile`] opens one and gives its batches. What the file says of its sizes is checked before
//! anything of that size is allocated (`pages`), and the reader behind it is guarded: should it panic on a
//! damaged file, that is an error like any other. The types of Arrow that the writer noted are passed over,
//! so that a text is a text and a list is a list, however it was held in the writer's memory: dictionaries,
//! views, large and fixed-size lists are all one here. `values` makes ids and embeddings of columns, and
//! [`ParquetTable`] rows of texts and numbers.

mod pages;
mod table;
mod values;

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use arrow_array::RecordBatch;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};

use super::columns::{ReadFailure, one_line};
use crate::store::open_regular_file;
pub(super) use pages::{GRANTED_BYTES, most_expansion};
pub use table::ParquetTable;
pub(super) use values::{EmbeddingRows, append_embeddings, append_ids, plain};

/// Rows of a batch, unless its texts could be long.
const BATCH_ROWS: usize = 1024;
/// Bytes of text that a batch may come to, where many rows name one long text.
const BATCH_BYTES: usize = 256 << 20;

/// A Parquet file whose columns are known.
pub(super) struct ParquetFile {
    file: File,
    builder: ParquetRecordBatchReaderBuilder<File>,
}

impl ParquetFile {
    pub(super) fn open(path: &Path) -> Result<Self, ReadFailure> {
        if path.is_dir() {
            return Err("a folder: data in several files are not read, write one file".to_owned().into());
        }
        let file = open_regular_file(path).map_err(ReadFailure::Open)?;
        pages::check_schema(&file).map_err(|reason| format!("not a Parquet file: {reason}"))?;
        let again = file.try_clone().map_err(ReadFailure::Open)?;
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let builder = guarded(|| ParquetRecordBatchReaderBuilder::try_new_with_options(again, options))
            .map_err(|reason| format!("not a Parquet file: {reason}"))?;
        Ok(Self { file, builder })
    }

    /// The names of its columns.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        self.builder.schema().fields().iter().map(|field| field.name().as_str())
    }

    /// The rows of those of its columns that are `wanted`, in the order of the file. No other column is read.
    pub(super) fn batches(self, wanted: &[&str]) -> Result<Batches, String> {
        let roots: Vec<usize> = self
            .columns()
            .enumerate()
            .filter(|(_, name)| wanted.contains(name))
            .map(|(index, _)| index)
            .collect();
        let mask = ProjectionMask::roots(self.builder.parquet_schema(), roots);
        let longest_text = pages::check(&self.file, self.builder.metadata(), &mask)?;
        let rows = (BATCH_BYTES / longest_text.max(1)).clamp(1, BATCH_ROWS);
        let reader = guarded(|| self.builder.with_projection(mask).with_batch_size(rows).build())?;
        Ok(Batches { reader: Some(reader) })
    }
}

/// The batches of a file. The first error is the last item.
pub(super) struct Batches {
    reader: Option<ParquetRecordBatchReader>,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = self.reader.take()?;
        let batch = guarded(|| reader.next().transpose()).transpose();
        if matches!(batch, Some(Ok(_))) {
            self.reader = Some(reader);
        }
        batch
    }
}

/// What `read` gives; its failure in one line, also where it panics.
pub(super) fn guarded<T, E: std::fmt::Display>(read: impl FnOnce() -> Result<T, E>) -> Result<T, String> {
    match caught(read) {
        Some(outcome) => outcome.map_err(|error| hint(one_line(error))),
        None => Err("its content is damaged".to_owned()),
    }
}

/// What `read` gives, and nothing where it panics. The crate behind it checks most of what a file says, but
/// not all; nothing of a reader that panicked is used again.
pub(super) fn caught<T>(read: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(read)).ok()
}

/// What to do about compressions that are not built in.
fn hint(reason: String) -> String {
    let unread = ["brotli", "lzo"].iter().any(|codec| reason.to_ascii_lowercase().contains(codec));
    if unread { format!("{reason}; write it with snappy, zstd, gzip or lz4") } else { reason }
}
