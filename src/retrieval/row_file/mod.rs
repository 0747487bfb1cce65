//! Rows of Parquet and Arrow files as JSON objects, with what lies in each other and bytes.

mod value;

use std::io::Read;
use std::path::Path;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use serde_json::{Map, Value};

use super::RetrievalError;
use super::columns::ReadFailure;
use super::parquet_file::{ParquetFile, guarded};
use crate::store::open_regular_file;

/// What an Arrow file begins with that is not a stream; what is behind it is one, and a description of it.
const FILE_MAGIC: &[u8; 8] = b"ARROW1\0\0";
/// Bytes of an Arrow file that are read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// Takes bytes, with a name where they have one, and says what stands for them.
pub(crate) type Keep<'a> = dyn FnMut(&[u8], Option<&str>) -> Result<Value, String> + 'a;

/// A kind of file that holds rows in columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowFile {
    /// Parquet, whatever it is compressed with.
    Parquet,
    /// Arrow's stream or file, as `datasets` and Feather write it.
    Arrow,
}

impl RowFile {
    /// Calls `each` with every row as a JSON object; what is neither text, number, list nor struct of these is
    /// null there. Bytes go to `keep`: those of a struct of `bytes` and `path`, which is how pictures and videos are
    /// held, with its name, and `{"path": ...}` comes of it. A row with a value that `keep` refuses is handed over as
    /// a reason.
    pub(crate) fn for_each_row<E: From<RetrievalError>>(
        self,
        path: &Path,
        keep: &mut Keep<'_>,
        mut each: impl FnMut(Result<Map<String, Value>, String>) -> Result<(), E>,
    ) -> Result<(), E> {
        let damaged = |reason: String| E::from(ReadFailure::Content(reason).of_file(path));
        let mut rows = |batch: RecordBatch| {
            let schema = batch.schema();
            (0..batch.num_rows()).try_for_each(|row| {
                let columns = schema.fields().iter().zip(batch.columns());
                let fields = columns.map(|(field, column)| {
                    let value = value::of(column, row, keep)
                        .map_err(|reason| format!("`{}` {reason}", field.name()))?;
                    Ok((field.name().clone(), value))
                });
                each(fields.collect())
            })
        };
        match self {
            Self::Parquet => {
                let file = ParquetFile::open(path).map_err(|failure| E::from(failure.of_file(path)))?;
                let names: Vec<String> = file.columns().map(str::to_owned).collect();
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                for batch in file.batches(&names).map_err(damaged)? {
                    rows(batch.map_err(damaged)?)?;
                }
                Ok(())
            }
            Self::Arrow => {
                let open = |error| E::from(ReadFailure::Open(error).of_file(path));
                let mut file = open_regular_file(path).map_err(open)?;
                let mut batches = ArrowBatches::default();
                loop {
                    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                    (&mut file).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).map_err(open)?;
                    if chunk.is_empty() {
                        return batches.finish().map_err(damaged);
                    }
                    batches.push(&chunk);
                    while let Some(batch) = batches.next().map_err(damaged)? {
                        rows(batch)?;
                    }
                }
            }
        }
    }
}

/// The batches of an Arrow file as its bytes come.
#[derive(Default)]
struct ArrowBatches {
    decoder: StreamDecoder,
    buffer: Buffer,
    begun: bool,
    /// Whether it is a file and no stream: something follows the end.
    is_file: bool,
}

impl ArrowBatches {
    fn push(&mut self, mut chunk: &[u8]) {
        if !std::mem::replace(&mut self.begun, true) {
            let stream = chunk.strip_prefix(FILE_MAGIC);
            self.is_file = stream.is_some();
            chunk = stream.unwrap_or(chunk);
        }
        self.buffer = Buffer::from(chunk);
    }

    /// The next whole one.
    fn next(&mut self) -> Result<Option<RecordBatch>, String> {
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let decoded = guarded(|| self.decoder.decode(&mut self.buffer));
        if decoded.is_err()
            && self.is_file
            && self.decoder.schema().is_some()
            && self.decoder.finish().is_ok()
        {
            return Ok(None);
        }
        decoded.map_err(|reason| format!("not an Arrow file, or damaged: {reason}"))
    }

    fn finish(&mut self) -> Result<(), String> {
        if self.decoder.schema().is_none() {
            return Err("not an Arrow file: it ends before its schema does".to_owned());
        }
        guarded(|| self.decoder.finish())
            .map_err(|reason| format!("an Arrow file that is cut short: {reason}"))
    }
}
