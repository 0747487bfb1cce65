//! Rows of JSON lines and Parquet files as typed values, each with its line.

use std::path::Path;

use gve::retrieval::ParquetTable;
use gve::text;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::records::OnFault;
use crate::Error;
use crate::text_file;

/// A value and the line of its file; of a Parquet file the row, counted from 1 as well.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row<T> {
    pub(super) line: usize,
    pub(super) value: T,
}

/// Reads a `.jsonl` or `.parquet` file, by its name. A Parquet file may have only `columns`.
pub(super) fn read<T: DeserializeOwned>(
    path: &Path,
    columns: &[&str],
    on_fault: &mut OnFault<'_>,
) -> Result<Vec<Row<T>>, Error> {
    match path.extension().and_then(|suffix| suffix.to_str()) {
        Some("parquet") => read_parquet(path, columns, on_fault),
        _ => read_lines(path, on_fault, |line| serde_json::from_str(line).map_err(json_reason)),
    }
}

/// Reads a text file line by line; blank lines are passed over.
pub(super) fn read_lines<T>(
    path: &Path,
    on_fault: &mut OnFault<'_>,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<Row<T>>, Error> {
    let mut rows = Vec::new();
    for line in text_file::lines(path)? {
        let parsed = match line {
            Ok(line) => parse(&line.text)
                .map(|value| Row { line: line.number, value })
                .map_err(|reason| Error::invalid(path, line.number, reason)),
            Err(fault @ Error::Invalid { .. }) => Err(fault),
            Err(error) => return Err(error),
        };
        match parsed {
            Ok(row) => rows.push(row),
            Err(fault) => on_fault(fault)?,
        }
    }
    Ok(rows)
}

/// The parser counts lines in what it was given, which is one line: only the column is of use.
fn json_reason(error: serde_json::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" at line ") {
        Some((reason, _)) => format!("{reason} (column {})", error.column()),
        None => text,
    }
}

fn read_parquet<T: DeserializeOwned>(
    path: &Path,
    columns: &[&str],
    on_fault: &mut OnFault<'_>,
) -> Result<Vec<Row<T>>, Error> {
    let table = ParquetTable::open(path).map_err(Error::of_table)?;
    for name in table.columns() {
        if !columns.contains(&name) && !is_of_pandas(name) {
            let reason = format!("unknown column `{name}`, expected {}", columns.join(", "));
            on_fault(Error::invalid(path, None, reason))?;
        }
    }
    // Its content may have any type, and nobody reads it.
    let wanted: Vec<&str> = columns.iter().copied().filter(|name| *name != "metadata").collect();
    let mut rows = Vec::new();
    let mut line = 0;
    let read = table.for_each_row::<Error>(&wanted, |row| {
        line += 1;
        let value =
            row.and_then(|object| T::deserialize(Value::Object(object)).map_err(|error| error.to_string()));
        match value {
            Ok(value) => rows.push(Row { line, value }),
            Err(reason) => on_fault(Error::invalid(path, line, reason))?,
        }
        Ok(())
    });
    read.map_err(|error| match error {
        Error::Retrieval(error) => Error::of_table(error),
        error => error,
    })?;
    Ok(rows)
}

/// Whether it is the index of a data frame, which pandas writes as a column of its own where it is not just a
/// count.
fn is_of_pandas(name: &str) -> bool {
    name.starts_with("__index_level_") && name.ends_with("__")
}

/// An id that is not blank: text, or a number taken as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Id(#[serde(deserialize_with = "id")] pub(super) String);

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text::Id(id) = text::Id::deserialize(deserializer)?;
    if id.trim().is_empty() { Err(serde::de::Error::custom("an id is empty")) } else { Ok(id) }
}

/// A grade of relevance: a whole number, also where it is written as text or as `1.0`. All that is not above
/// 0 is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Grade(#[serde(deserialize_with = "grade")] pub(super) u32);

fn grade<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        other => other.to_string(),
    };
    parse_grade(&text).map_err(serde::de::Error::custom)
}

/// See [`Grade`].
pub(super) fn parse_grade(text: &str) -> Result<u32, String> {
    match text.trim().parse::<f64>() {
        Ok(grade) if grade.fract() == 0.0 && grade <= f64::from(u32::MAX) => Ok(grade.max(0.0) as u32),
        _ => Err(format!("a grade is a whole number, got `{text}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grades_are_whole_numbers() {
        for (text, grade) in [("1", 1), ("2.0", 2), (" 3 ", 3), ("0", 0), ("-1", 0), ("4294967295", u32::MAX)]
        {
            assert_eq!(parse_grade(text), Ok(grade));
        }
        for text in ["", "0.5", "one", "NaN", "inf", "4294967296"] {
            assert!(parse_grade(text).unwrap_err().contains(&format!("`{text}`")));
        }
    }

    #[test]
    fn ids_are_text_or_numbers() {
        for (json, id) in [("\"a b\"", "a b"), ("7", "7"), ("\"7\"", "7")] {
            assert_eq!(serde_json::from_str::<Id>(json).unwrap().0, id);
        }
        for json in ["null", "[1]", "\" \"", "true"] {
            assert!(serde_json::from_str::<Id>(json).is_err(), "{json}");
        }
    }
}
