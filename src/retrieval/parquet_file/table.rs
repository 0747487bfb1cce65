//! Rows of texts and numbers.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::{ParquetFile, values};
use crate::options::shown_by;
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::ReadFailure;

/// A Parquet file of texts and numbers, whatever types of Arrow its writer held them in.
pub struct ParquetTable {
    path: PathBuf,
    file: ParquetFile,
}

shown_by!(ParquetTable |it| { path: it.path });

impl ParquetTable {
    /// Opens a file; nothing but its description is read.
    ///
    /// # Errors
    /// [`RetrievalError::Io`]; [`RetrievalError::InvalidFile`] for what is no Parquet file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, RetrievalError> {
        let path = path.as_ref();
        let file = ParquetFile::open(path).map_err(|failure| failure.of_file(path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// The names of its columns.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.file.columns()
    }

    /// Calls `each` with every row, as the JSON object that it would be in a file of JSON lines: those of the
    /// columns that are `wanted`, without what is null. A row that holds something else than texts and
    /// numbers there is handed over as a reason.
    ///
    /// # Errors
    /// [`RetrievalError::InvalidFile`] for damage; what `each` returns.
    pub fn for_each_row<E: From<RetrievalError>>(
        self,
        wanted: &[&str],
        mut each: impl FnMut(Result<Map<String, Value>, String>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { path, file } = self;
        let damaged = |reason: String| E::from(ReadFailure::Content(reason).of_file(&path));
        for batch in file.batches(wanted).map_err(damaged)? {
            let batch = batch.map_err(damaged)?;
            let schema = batch.schema();
            let columns: Vec<_> = schema.fields().iter().zip(batch.columns()).collect();
            for row in 0..batch.num_rows() {
                let mut object = Map::new();
                let filled = columns.iter().try_for_each(|(field, column)| {
                    let name = field.name();
                    match values::plain(column, row) {
                        Ok(Some(Value::Null)) => {}
                        Ok(Some(value)) => drop(object.insert(name.clone(), value)),
                        Ok(None) => {
                            let found = field.data_type();
                            return Err(format!("column `{name}` holds {found}, expected text or numbers"));
                        }
                        Err(reason) => return Err(format!("column `{name}` {reason}")),
                    }
                    Ok(())
                });
                each(filled.map(|()| object))?;
            }
        }
        Ok(())
    }
}
