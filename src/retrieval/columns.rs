//! Embeddings as a Parquet column: a fixed-size list of f32 named `embedding`.

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, Float32Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};

use super::RetrievalError;
use crate::store::IoError;

/// Name of the column in every Parquet file this crate writes.
pub(super) const EMBEDDING: &str = "embedding";

pub(super) fn embedding_field(dim: usize) -> Field {
    embedding_list_field(DataType::Float32, dim)
}

/// A list of `dim` values of this type.
pub(super) fn embedding_list_field(value: DataType, dim: usize) -> Field {
    // A dimension past i32 cannot be held in memory anyway; the array constructor then reports it.
    let width = i32::try_from(dim).unwrap_or(i32::MAX);
    let item = Arc::new(Field::new("item", value, false));
    Field::new(EMBEDDING, DataType::FixedSizeList(item, width), false)
}

fn item_field() -> FieldRef {
    Arc::new(Field::new("item", DataType::Float32, false))
}

/// `values` holds the rows one after the other.
pub(super) fn embedding_array(values: Vec<f32>, dim: usize) -> Result<ArrayRef, String> {
    let width = i32::try_from(dim).map_err(|e| e.to_string())?;
    let values = Arc::new(Float32Array::from(values));
    FixedSizeListArray::try_new(item_field(), width, values, None)
        .map(|a| Arc::new(a) as ArrayRef)
        .map_err(one_line)
}

/// The rows of the column one after the other, and their width.
pub(super) fn embedding_values(batch: &RecordBatch) -> Result<(&[f32], usize), String> {
    let column = column(batch, EMBEDDING)?;
    let list =
        column.as_fixed_size_list_opt().ok_or_else(|| format!("column {EMBEDDING} is no fixed-size list"))?;
    let values = list
        .values()
        .as_primitive_opt::<Float32Type>()
        .ok_or_else(|| format!("column {EMBEDDING} is not f32"))?;
    let dim = usize::try_from(list.value_length()).map_err(|e| e.to_string())?;
    if list.null_count() > 0 || values.null_count() > 0 {
        return Err(format!("column {EMBEDDING} holds nulls"));
    }
    let start = list.offset() * dim;
    let values = values.values().get(start..start + list.len() * dim);
    values.map(|v| (v, dim)).ok_or_else(|| format!("column {EMBEDDING} is too short"))
}

pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a ArrayRef, String> {
    batch.column_by_name(name).ok_or_else(|| format!("no column {name}"))
}

/// Why a Parquet or Arrow file could not be read. The caller knows what kind of file it is and says so.
#[derive(Debug)]
pub(super) enum ReadFailure {
    Open(std::io::Error),
    Content(String),
}

impl ReadFailure {
    /// The error of a file of embeddings or of a table.
    pub(super) fn of_file(self, path: &Path) -> RetrievalError {
        match self {
            Self::Open(reason) => IoError::of("open", path)(reason).into(),
            // It may quote names out of the file.
            Self::Content(reason) => {
                RetrievalError::InvalidFile { path: path.to_owned(), reason: one_line(reason) }
            }
        }
    }
}

impl From<String> for ReadFailure {
    fn from(reason: String) -> Self {
        Self::Content(reason)
    }
}

/// Embeddings have no repeated values and no useful minimum, and do not compress.
pub(super) fn writer_properties() -> WriterPropertiesBuilder {
    WriterProperties::builder().set_dictionary_enabled(false).set_statistics_enabled(EnabledStatistics::None)
}

pub(super) use crate::text::one_line;
