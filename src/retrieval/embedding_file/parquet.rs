//! Embeddings as a Parquet file with the columns `id` and `embedding`.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{EmbeddingTable, invalid, table};
use crate::retrieval::RetrievalError;
use crate::retrieval::atomic_file::AtomicFile;
use crate::retrieval::columns::{self, ReadFailure, column, one_line};

/// Rows of one row group; bounds the writer's memory.
const ROW_GROUP_ROWS: usize = 4096;

pub(super) struct ParquetSink {
    writer: ArrowWriter<AtomicFile>,
    schema: Arc<Schema>,
    dim: usize,
    ids: Vec<String>,
    values: Vec<f32>,
}

impl ParquetSink {
    pub(super) fn create(path: &Path, dim: usize) -> Result<Self, RetrievalError> {
        let id = Field::new("id", DataType::Utf8, false);
        let schema = Arc::new(Schema::new(vec![id, columns::embedding_field(dim)]));
        let properties = columns::writer_properties().build();
        let writer = ArrowWriter::try_new(AtomicFile::create(path)?, Arc::clone(&schema), Some(properties))
            .map_err(|e| write_error(path, e))?;
        Ok(Self { writer, schema, dim, ids: Vec::new(), values: Vec::new() })
    }

    pub(super) fn write(&mut self, id: &str, embedding: &[f32]) -> Result<(), RetrievalError> {
        self.ids.push(id.to_owned());
        self.values.extend_from_slice(embedding);
        if self.ids.len() >= ROW_GROUP_ROWS { self.write_pending() } else { Ok(()) }
    }

    fn write_pending(&mut self) -> Result<(), RetrievalError> {
        let ids = Arc::new(StringArray::from(std::mem::take(&mut self.ids)));
        let result = columns::embedding_array(std::mem::take(&mut self.values), self.dim)
            .and_then(|embeddings| {
                RecordBatch::try_new(Arc::clone(&self.schema), vec![ids, embeddings]).map_err(one_line)
            })
            .and_then(|batch| self.writer.write(&batch).map_err(one_line))
            .and_then(|()| self.writer.flush().map_err(one_line));
        result.map_err(|e| write_error(self.writer.inner().path(), e))
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        if !self.ids.is_empty() {
            self.write_pending()?;
        }
        let path = self.writer.inner().path().to_owned();
        self.writer.into_inner().map_err(|e| write_error(&path, e))?.finish()
    }
}

fn write_error(path: &Path, error: impl std::fmt::Display) -> RetrievalError {
    RetrievalError::io("write", path)(std::io::Error::other(one_line(error)))
}

pub(super) fn read(path: &Path) -> Result<EmbeddingTable, RetrievalError> {
    let read = || -> Result<_, ReadFailure> {
        let reader = columns::reader(path)?.build().map_err(one_line)?;
        let (mut ids, mut values, mut dim) = (Vec::new(), Vec::new(), 0);
        for batch in reader {
            let batch = batch.map_err(one_line)?;
            let names =
                column(&batch, "id")?.as_string_opt::<i32>().ok_or("column id is no text".to_owned())?;
            ids.extend(names.iter().map(|id| id.unwrap_or_default().to_owned()));
            let (rows, width) = columns::embedding_values(&batch)?;
            values.extend_from_slice(rows);
            dim = width;
        }
        Ok((ids, values, dim))
    };
    let (ids, values, dim) = read().map_err(|failure| match failure {
        ReadFailure::Open(source) => RetrievalError::Io { path: path.to_owned(), action: "open", source },
        ReadFailure::Content(reason) => invalid(path, reason),
    })?;
    table(path, ids, values, dim)
}
