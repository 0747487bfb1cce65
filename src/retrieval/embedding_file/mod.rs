//! Embeddings as plain files for other tools: ids and vectors, nothing else.
//!
//! | name ends in | holds |
//! |---|---|
//! | `.jsonl` | one `{"id", "embedding", "dim"}` a line |
//! | `.npy` | NumPy array `[rows, dim]` of f32; the ids lie beside it in `<name>.ids.json` |
//! | `.parquet` | columns `id` and `embedding` (fixed-size list of f32) |
//!
//! So they are written. Read is whatever NumPy, pyarrow, pandas and polars write: f16, f64 and whole numbers,
//! either byte order, Fortran order, ids of any text type or numbers, lists of any kind, packed with snappy,
//! zstd, gzip, lz4 or not at all. Nothing is clipped: a value that f32 cannot hold becomes infinite, and its
//! row one that no search can use.

mod jsonl;
mod npy;
mod parquet;

use std::path::Path;

use ndarray::Array2;

use super::RetrievalError;
use super::columns::one_line;
use crate::options::shown_by;
pub use jsonl::write_json_line;

/// The kinds of embedding file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmbeddingFormat {
    /// JSON lines.
    JsonLines,
    /// NumPy array with the ids beside it.
    Npy,
    /// Parquet.
    Parquet,
}

impl EmbeddingFormat {
    /// The format the end of a file name stands for.
    ///
    /// # Errors
    /// [`RetrievalError::UnknownFormat`].
    pub fn from_path(path: &Path) -> Result<Self, RetrievalError> {
        match path.extension().and_then(|e| e.to_str()) {
            Some("jsonl") => Ok(Self::JsonLines),
            Some("npy") => Ok(Self::Npy),
            Some("parquet") => Ok(Self::Parquet),
            _ => Err(RetrievalError::UnknownFormat { path: path.to_owned() }),
        }
    }
}

/// Ids and embeddings read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbeddingTable {
    /// One id for each row. Rows of a `.npy` file without ids beside it are numbered from `"0"`.
    pub ids: Vec<String>,
    /// `[rows, dim]`.
    pub embeddings: Array2<f32>,
}

/// Writes an embedding file row by row. The file gets its name in [`EmbeddingWriter::finish`]; until then, or
/// if that is never reached, an older file of that name stays as it was.
pub struct EmbeddingWriter {
    dim: usize,
    sink: Sink,
}

shown_by!(EmbeddingWriter |it| { dim: it.dim });

enum Sink {
    JsonLines(jsonl::JsonLinesSink),
    Npy(npy::NpySink),
    Parquet(Box<parquet::ParquetSink>),
}

impl EmbeddingWriter {
    /// Starts a file of embeddings of width `dim`.
    ///
    /// # Errors
    /// [`RetrievalError::Io`].
    pub fn create(
        path: impl AsRef<Path>,
        format: EmbeddingFormat,
        dim: usize,
    ) -> Result<Self, RetrievalError> {
        let path = path.as_ref();
        let sink = match format {
            EmbeddingFormat::JsonLines => Sink::JsonLines(jsonl::JsonLinesSink::create(path)?),
            EmbeddingFormat::Npy => Sink::Npy(npy::NpySink::create(path, dim)?),
            EmbeddingFormat::Parquet => Sink::Parquet(Box::new(parquet::ParquetSink::create(path, dim)?)),
        };
        Ok(Self { dim, sink })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`]; [`RetrievalError::InvalidEmbedding`] for NaN and infinity,
    /// which JSON cannot hold and no search can use; [`RetrievalError::Io`].
    pub fn write(&mut self, id: &str, embedding: &[f32]) -> Result<(), RetrievalError> {
        if embedding.len() != self.dim {
            return Err(RetrievalError::DimensionMismatch {
                what: format!("the embedding of {id}"),
                expected: self.dim,
                got: embedding.len(),
            });
        }
        if embedding.iter().any(|x| !x.is_finite()) {
            return Err(RetrievalError::InvalidEmbedding {
                what: id.to_owned(),
                reason: "it holds NaN or infinity".into(),
            });
        }
        match &mut self.sink {
            Sink::JsonLines(sink) => sink.write(id, embedding),
            Sink::Npy(sink) => sink.write(id, embedding),
            Sink::Parquet(sink) => sink.write(id, embedding),
        }
    }

    /// Completes the file, brings it to disk and gives it its name.
    ///
    /// # Errors
    /// [`RetrievalError::Io`].
    pub fn finish(self) -> Result<(), RetrievalError> {
        match self.sink {
            Sink::JsonLines(sink) => sink.finish(),
            Sink::Npy(sink) => sink.finish(),
            Sink::Parquet(sink) => sink.finish(),
        }
    }
}

/// Reads an embedding file of any of the formats, told by its name.
///
/// # Errors
/// [`RetrievalError::UnknownFormat`], [`RetrievalError::Io`], [`RetrievalError::InvalidFile`] saying what is
/// wrong and where.
pub fn read_embeddings(path: impl AsRef<Path>) -> Result<EmbeddingTable, RetrievalError> {
    let path = path.as_ref();
    match EmbeddingFormat::from_path(path)? {
        EmbeddingFormat::JsonLines => jsonl::read(path),
        EmbeddingFormat::Npy => npy::read(path),
        EmbeddingFormat::Parquet => parquet::read(path),
    }
}

fn invalid(path: &Path, reason: impl std::fmt::Display) -> RetrievalError {
    RetrievalError::InvalidFile { path: path.to_owned(), reason: one_line(reason) }
}

fn table(
    path: &Path,
    ids: Vec<String>,
    values: Vec<f32>,
    dim: usize,
) -> Result<EmbeddingTable, RetrievalError> {
    let embeddings = Array2::from_shape_vec((ids.len(), dim), values).map_err(|e| invalid(path, e))?;
    Ok(EmbeddingTable { ids, embeddings })
}
