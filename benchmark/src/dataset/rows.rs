//! Rows of JSON lines and Parquet files as typed values, each with its line.

use std::fmt::Display;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::records::{OnFault, read_file};
use crate::Error;

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
    let bytes = read_file(path)?;
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    let mut rows = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let parsed = match std::str::from_utf8(line) {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => parse(line.trim_end_matches('\r')),
            Err(_) => Err("not UTF-8 text".to_owned()),
        };
        match parsed {
            Ok(value) => rows.push(Row { line: index + 1, value }),
            Err(reason) => on_fault(Error::invalid(path, index + 1, reason))?,
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
    let fault = |reason: &dyn Display| Error::invalid(path, None, reason);
    let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    // Without the writer's own Arrow types every text is plain UTF-8, never a dictionary or a view.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(file, options)
        .map_err(|error| fault(&format!("not a Parquet file: {error}")))?;
    for field in builder.schema().fields() {
        if !columns.contains(&field.name().as_str()) {
            let reason = format!("unknown column `{}`, expected {}", field.name(), columns.join(", "));
            on_fault(fault(&reason))?;
        }
    }
    let mut rows = Vec::new();
    let mut line = 0;
    for batch in builder.build().map_err(|error| fault(&error))? {
        let batch = batch.map_err(|error| fault(&error))?;
        for index in 0..batch.num_rows() {
            line += 1;
            let value = object(&batch, columns, index)
                .and_then(|object| T::deserialize(Value::Object(object)).map_err(|error| error.to_string()));
            match value {
                Ok(value) => rows.push(Row { line, value }),
                Err(reason) => on_fault(Error::invalid(path, line, reason))?,
            }
        }
    }
    Ok(rows)
}

/// One row as the JSON object it would be in a `.jsonl` file.
fn object(batch: &RecordBatch, columns: &[&str], row: usize) -> Result<Map<String, Value>, String> {
    let mut object = Map::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        // `metadata` may have any type, and nobody reads it.
        if field.name() == "metadata" || !columns.contains(&field.name().as_str()) || column.is_null(row) {
            continue;
        }
        let cell = cell(column, row).ok_or_else(|| {
            format!("column `{}` holds {}, expected text or numbers", field.name(), field.data_type())
        })?;
        object.insert(field.name().clone(), cell);
    }
    Ok(object)
}

fn cell(column: &dyn Array, row: usize) -> Option<Value> {
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string_opt::<i32>()?.value(row).into(),
        DataType::LargeUtf8 => column.as_string_opt::<i64>()?.value(row).into(),
        DataType::Int8 => column.as_primitive_opt::<Int8Type>()?.value(row).into(),
        DataType::Int16 => column.as_primitive_opt::<Int16Type>()?.value(row).into(),
        DataType::Int32 => column.as_primitive_opt::<Int32Type>()?.value(row).into(),
        DataType::Int64 => column.as_primitive_opt::<Int64Type>()?.value(row).into(),
        DataType::UInt8 => column.as_primitive_opt::<UInt8Type>()?.value(row).into(),
        DataType::UInt16 => column.as_primitive_opt::<UInt16Type>()?.value(row).into(),
        DataType::UInt32 => column.as_primitive_opt::<UInt32Type>()?.value(row).into(),
        DataType::UInt64 => column.as_primitive_opt::<UInt64Type>()?.value(row).into(),
        DataType::Float32 => column.as_primitive_opt::<Float32Type>()?.value(row).into(),
        DataType::Float64 => column.as_primitive_opt::<Float64Type>()?.value(row).into(),
        _ => return None,
    })
}

/// An id: text, or a number taken as text.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Id(#[serde(deserialize_with = "id")] pub(super) String);

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) if text.trim().is_empty() => Err(serde::de::Error::custom("an id is empty")),
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(serde::de::Error::custom(format!("an id is text or a number, got {other}"))),
    }
}

/// A grade of relevance: a whole number, also where it is written as text or as `1.0`. All that is not above 0 is 0.
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
