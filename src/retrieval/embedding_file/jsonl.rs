//! Embeddings as JSON lines.

use std::io::Write;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{EmbeddingTable, invalid, table};
use crate::retrieval::RetrievalError;
use crate::store::{AtomicFile, IoError};
use crate::text::{Id, Line, LineError, Lines};

#[derive(Serialize)]
struct LineOut<'a> {
    id: &'a str,
    embedding: &'a [f32],
    dim: usize,
}

/// Unknown keys are let through: other tools add their own.
#[derive(Deserialize)]
struct LineIn {
    id: Id,
    embedding: Vec<f32>,
}

/// Writes one line `{"id", "embedding", "dim"}` to any output. Numbers keep their full f32 precision.
///
/// # Errors
/// Those of the output.
pub fn write_json_line(mut out: impl Write, id: &str, embedding: &[f32]) -> std::io::Result<()> {
    serde_json::to_writer(&mut out, &LineOut { id, embedding, dim: embedding.len() })?;
    out.write_all(b"\n")
}

pub(super) struct JsonLinesSink {
    file: AtomicFile,
}

impl JsonLinesSink {
    pub(super) fn create(path: &Path) -> Result<Self, RetrievalError> {
        Ok(Self { file: AtomicFile::create(path)? })
    }

    pub(super) fn write(&mut self, id: &str, embedding: &[f32]) -> Result<(), RetrievalError> {
        Ok(write_json_line(&mut self.file, id, embedding).map_err(IoError::of("write", self.file.path()))?)
    }

    pub(super) fn finish(self) -> Result<(), RetrievalError> {
        Ok(self.file.finish()?)
    }
}

pub(super) fn read(path: &Path) -> Result<EmbeddingTable, RetrievalError> {
    let (mut ids, mut values, mut dim) = (Vec::new(), Vec::new(), None);
    for line in Lines::open(path).map_err(IoError::of("open", path))? {
        let Line { number, text, .. } = line.map_err(|error| match error {
            LineError::Io(source) => IoError::of("read", path)(source).into(),
            error => invalid(path, error),
        })?;
        let LineIn { id: Id(id), embedding } =
            serde_json::from_str(&text).map_err(|e| invalid(path, format!("line {number}: {e}")))?;
        let expected = *dim.get_or_insert(embedding.len());
        if embedding.len() != expected {
            return Err(invalid(
                path,
                format!("line {number}: dimension {}, expected {expected}", embedding.len()),
            ));
        }
        values.extend(embedding);
        ids.push(id);
    }
    table(path, ids, values, dim.unwrap_or(0))
}
