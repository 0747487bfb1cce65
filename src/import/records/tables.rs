use std::path::Path;

use serde_json::Value;

use super::super::reading::Row;
use super::super::vault::Vault;
use super::{Broken, OnRow, Refused};
use crate::retrieval::{RetrievalError, RowFile};

/// A row of a Parquet or Arrow file. Bytes of media become files; every other value is as in JSON.
pub(super) fn each(path: &Path, file: RowFile, vault: &Vault, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let mut keep = |bytes: &[u8], name: Option<&str>| {
        let path = vault.keep(bytes, name)?;
        let path = path.to_str().ok_or("the folder for media has no name in UTF-8")?;
        Ok(Value::from(path))
    };
    let mut number = 0_usize;
    file.for_each_row(path, &mut keep, |fields| {
        number += 1;
        let place = format!("{}: row {number}", path.display());
        Ok(on(match fields {
            Ok(fields) => Ok(Row { place, fields }),
            Err(reason) => Err(Refused { place, reason }),
        })?)
    })
}

impl From<RetrievalError> for Broken {
    fn from(error: RetrievalError) -> Self {
        Self::File(match error {
            RetrievalError::InvalidFile { reason, .. } => reason,
            other => other.to_string(),
        })
    }
}
