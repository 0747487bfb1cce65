//! Rows of Parquet and Arrow files as JSON objects, with what lies in each other and bytes.

mod arrow;
mod value;

use std::io::BufReader;
use std::path::Path;

use arrow_array::RecordBatch;
use serde_json::{Map, Value};

use self::arrow::ArrowFile;
use super::RetrievalError;
use super::columns::ReadFailure;
use super::parquet_file::ParquetFile;
use crate::store::open_regular_file;

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
                let failed = |failure| match failure {
                    ReadFailure::Content(reason) => {
                        damaged(format!("not an Arrow file, or damaged: {reason}"))
                    }
                    failure => E::from(failure.of_file(path)),
                };
                let file = open_regular_file(path).map_err(|error| failed(ReadFailure::Open(error)))?;
                let mut file = ArrowFile::open(BufReader::new(file)).map_err(failed)?;
                while let Some(batch) = file.next().map_err(failed)? {
                    rows(batch)?;
                }
                Ok(())
            }
        }
    }
}
