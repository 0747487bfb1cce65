use std::cell::Cell;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord};
use serde_json::{Map, Value};

use super::super::reading::Row;
use super::{Broken, OnRow, Refused, open};

/// A row a record, under the names in the first.
pub(super) fn each(path: &Path, delimiter: u8, done: &Cell<u64>, on: &mut OnRow<'_>) -> Result<(), Broken> {
    let mut reader = ReaderBuilder::new().delimiter(delimiter).from_reader(open(path, done)?);
    let names = reader.headers().map_err(|error| Broken::File(said(&error)))?.clone();
    let mut seen = names.iter().collect::<Vec<_>>();
    seen.sort_unstable();
    if let Some(two) = seen.windows(2).find(|two| two[0] == two[1] && !two[0].is_empty()) {
        return Err(Broken::File(format!("two of its columns are called {:?}", two[0])));
    }
    let mut record = StringRecord::new();
    loop {
        let place = |line: u64| format!("{}:{line}", path.display());
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                let line = record.position().map_or(0, |position| position.line());
                on(Ok(Row { place: place(line), fields: fields(&names, &record) }))?;
            }
            Err(error) => match error.position().map(|position| position.line()) {
                Some(line) => on(Err(Refused { place: place(line), reason: said(&error) }))?,
                None => return Err(Broken::File(said(&error))),
            },
        }
    }
}

/// The cells that are not empty.
fn fields(names: &StringRecord, record: &StringRecord) -> Map<String, Value> {
    let cells = names.iter().zip(record).filter(|(name, _)| !name.is_empty());
    cells
        .map(|(name, cell)| (name.trim().to_owned(), if cell.is_empty() { Value::Null } else { cell.into() }))
        .collect()
}

fn said(error: &csv::Error) -> String {
    match error.kind() {
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} cells, the first line names {expected_len} columns")
        }
        ErrorKind::Utf8 { .. } => "not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}
