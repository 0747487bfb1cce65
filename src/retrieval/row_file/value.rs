//! A value of a column as JSON.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::DataType;
use serde_json::{Map, Value, json};

use super::Keep;
use crate::retrieval::parquet_file::plain;

/// The value in `row`. What has no form in JSON is null.
pub(super) fn of(column: &dyn Array, row: usize, keep: &mut Keep<'_>) -> Result<Value, String> {
    if column.is_null(row) {
        return Ok(Value::Null);
    }
    if let Some(bytes) = bytes(column, row) {
        return keep(bytes, None);
    }
    match column.data_type() {
        DataType::List(_) => list(column.as_list_opt::<i32>().map(|list| list.value(row)), keep),
        DataType::LargeList(_) => list(column.as_list_opt::<i64>().map(|list| list.value(row)), keep),
        DataType::FixedSizeList(..) => {
            list(column.as_fixed_size_list_opt().map(|list| list.value(row)), keep)
        }
        DataType::Struct(_) => {
            column.as_struct_opt().map_or(Ok(Value::Null), |fields| object(fields, row, keep))
        }
        DataType::Utf8View => {
            Ok(column.as_string_view_opt().map_or(Value::Null, |column| column.value(row).into()))
        }
        DataType::Dictionary(..) => match column.as_any_dictionary_opt() {
            Some(dictionary) => {
                let values = dictionary.values();
                let key = plain(dictionary.keys(), row)?.and_then(|key| usize::try_from(key.as_u64()?).ok());
                match key.filter(|key| *key < values.len()) {
                    Some(key) => of(values, key, keep),
                    None => Err(format!("has a key beyond the {} values of its dictionary", values.len())),
                }
            }
            None => Ok(Value::Null),
        },
        _ => Ok(plain(column, row)?.unwrap_or_default()),
    }
}

fn bytes(column: &dyn Array, row: usize) -> Option<&[u8]> {
    match column.data_type() {
        DataType::Binary => column.as_binary_opt::<i32>().map(|column| column.value(row)),
        DataType::LargeBinary => column.as_binary_opt::<i64>().map(|column| column.value(row)),
        DataType::BinaryView => column.as_binary_view_opt().map(|column| column.value(row)),
        _ => None,
    }
}

fn list(values: Option<ArrayRef>, keep: &mut Keep<'_>) -> Result<Value, String> {
    let Some(values) = values else { return Ok(Value::Null) };
    (0..values.len()).map(|row| of(&values, row, keep)).collect()
}

fn object(fields: &StructArray, row: usize, keep: &mut Keep<'_>) -> Result<Value, String> {
    let named = |name: &str| fields.column_by_name(name).filter(|column| !column.is_null(row));
    if let Some(bytes) = named("bytes").and_then(|column| bytes(column, row)) {
        let name =
            named("path").and_then(|column| column.as_string_opt::<i32>()).map(|column| column.value(row));
        return Ok(json!({ "path": keep(bytes, name)? }));
    }
    let mut object = Map::new();
    for (field, column) in fields.fields().iter().zip(fields.columns()) {
        object.insert(field.name().clone(), of(column, row, keep)?);
    }
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use arrow_array::DictionaryArray;
    use arrow_array::types::{Int8Type, UInt32Type};

    use super::*;

    fn values(column: &dyn Array) -> Vec<Result<Value, String>> {
        let mut keep = |_: &[u8], _: Option<&str>| Err("no bytes are meant".to_owned());
        (0..column.len()).map(|row| of(column, row, &mut keep)).collect()
    }

    #[test]
    fn categories_are_their_values() {
        let of_categories = [Some("dog"), None, Some("cat"), Some("dog")];
        let expected: Vec<_> = of_categories.map(|category| Ok(Value::from(category))).into();
        assert_eq!(values(&DictionaryArray::<UInt32Type>::from_iter(of_categories)), expected);
        assert_eq!(values(&DictionaryArray::<Int8Type>::from_iter(of_categories)), expected);
    }
}
