//! Embeddings as a Parquet file with the columns `id` and `embedding`.

use std::path::Path;
use std::sync::Arc;

use ::parquet::arrow::ArrowWriter;
use arrow_array::{RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{EmbeddingTable, table};
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::{self, EMBEDDING, ReadFailure, column, one_line};
use crate::retrieval::parquet_file::{EmbeddingRows, ParquetFile, append_embeddings, append_ids};
use crate::store::{AtomicFile, IoError};

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
        Ok(self.writer.into_inner().map_err(|e| write_error(&path, e))?.finish()?)
    }
}

fn write_error(path: &Path, error: impl std::fmt::Display) -> RetrievalError {
    IoError::of("write", path)(std::io::Error::other(one_line(error))).into()
}

/// Names of the column of ids.
const IDS: [&str; 2] = ["id", "_id"];

pub(super) fn read(path: &Path) -> Result<EmbeddingTable, RetrievalError> {
    let read = || -> Result<_, ReadFailure> {
        let file = ParquetFile::open(path)?;
        let there: Vec<String> = file.columns().map(str::to_owned).collect();
        let missing = |name: &str| format!("no column {name}, it has {}", there.join(", "));
        let ids_column = IDS.into_iter().find(|name| there.iter().any(|there| there == name));
        let ids_column = ids_column.ok_or_else(|| missing(IDS[0]))?;
        if !there.iter().any(|name| name == EMBEDDING) {
            return Err(missing(EMBEDDING).into());
        }
        let (mut ids, mut embeddings) = (Vec::new(), EmbeddingRows::default());
        for batch in file.batches(&[ids_column, EMBEDDING])? {
            let batch = batch?;
            append_ids(column(&batch, ids_column)?, &mut ids)?;
            append_embeddings(column(&batch, EMBEDDING)?, &mut embeddings)?;
        }
        Ok((ids, embeddings))
    };
    let (ids, embeddings) = read().map_err(|failure| failure.of_file(path))?;
    table(path, ids, embeddings.values, embeddings.dim.unwrap_or(0))
}
