//! Ids, embeddings and plain values out of Arrow columns, as they come where the writer's own Arrow types are
//! passed over.

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ListArray};
use arrow_schema::DataType;
use serde_json::Value;

use crate::text::Id;

/// Longest id, in bytes.
const MAX_ID_BYTES: usize = 1 << 16;

/// The value in `row`: text or a number, `null` where there is none. `None` for a type that is neither.
///
/// # Errors
/// In words, for bytes that are no text.
pub(in crate::retrieval) fn plain(column: &dyn Array, row: usize) -> Result<Option<Value>, String> {
    fn number<T: ArrowPrimitiveType>(column: &dyn Array, row: usize) -> Option<T::Native> {
        Some(column.as_primitive_opt::<T>()?.value(row))
    }
    let text = |bytes: Option<&[u8]>| match bytes.map(std::str::from_utf8) {
        Some(Ok(text)) => Ok(Some(Value::from(text))),
        Some(Err(_)) => Err("holds bytes that are no text".to_owned()),
        None => Ok(None),
    };
    if column.is_null(row) || column.data_type() == &DataType::Null {
        return Ok(Some(Value::Null));
    }
    Ok(match column.data_type() {
        DataType::Utf8 => column.as_string_opt::<i32>().map(|column| column.value(row).into()),
        DataType::LargeUtf8 => column.as_string_opt::<i64>().map(|column| column.value(row).into()),
        DataType::Binary => return text(column.as_binary_opt::<i32>().map(|column| column.value(row))),
        DataType::LargeBinary => return text(column.as_binary_opt::<i64>().map(|column| column.value(row))),
        DataType::FixedSizeBinary(_) => {
            return text(column.as_fixed_size_binary_opt().map(|column| column.value(row)));
        }
        DataType::Boolean => column.as_boolean_opt().map(|column| column.value(row).into()),
        DataType::Int8 => number::<Int8Type>(column, row).map(Value::from),
        DataType::Int16 => number::<Int16Type>(column, row).map(Value::from),
        DataType::Int32 => number::<Int32Type>(column, row).map(Value::from),
        DataType::Int64 => number::<Int64Type>(column, row).map(Value::from),
        DataType::UInt8 => number::<UInt8Type>(column, row).map(Value::from),
        DataType::UInt16 => number::<UInt16Type>(column, row).map(Value::from),
        DataType::UInt32 => number::<UInt32Type>(column, row).map(Value::from),
        DataType::UInt64 => number::<UInt64Type>(column, row).map(Value::from),
        DataType::Float16 => number::<Float16Type>(column, row).map(|value| value.to_f64().into()),
        DataType::Float32 => number::<Float32Type>(column, row).map(Value::from),
        DataType::Float64 => number::<Float64Type>(column, row).map(Value::from),
        _ => None,
    })
}

/// Puts the ids in `column` behind those in `ids`. Rows in errors are counted from 1, over all batches.
pub(in crate::retrieval) fn append_ids(column: &dyn Array, ids: &mut Vec<String>) -> Result<(), String> {
    for row in 0..column.len() {
        let number = ids.len() + 1;
        let fault = |reason: &str| format!("row {number}: its id {reason}");
        let value = plain(column, row).map_err(|reason| fault(&reason))?;
        let expected = || format!("is {}, expected text or a number", column.data_type());
        let id = match value.ok_or_else(|| fault(&expected()))? {
            Value::Null => return Err(fault("is missing")),
            Value::Bool(_) => return Err(fault(&expected())),
            value => serde_json::from_value::<Id>(value)
                .map_err(|error| fault(&format!("is unusable: {error}")))?,
        };
        if id.0.len() > MAX_ID_BYTES {
            return Err(fault(&format!("is {} bytes long", id.0.len())));
        }
        ids.push(id.0);
    }
    Ok(())
}

/// Embeddings one after the other.
#[derive(Debug, Default)]
pub(in crate::retrieval) struct EmbeddingRows {
    pub(in crate::retrieval) values: Vec<f32>,
    /// How many there are.
    pub(in crate::retrieval) rows: usize,
    /// The width of the first, which all have.
    pub(in crate::retrieval) dim: Option<usize>,
}

/// Puts the embeddings in `column`, lists of numbers, behind those in `to`. Rows in errors are counted from
/// 1, over all batches.
pub(in crate::retrieval) fn append_embeddings(
    column: &dyn Array,
    to: &mut EmbeddingRows,
) -> Result<(), String> {
    let wrong = || {
        format!(
            "its embeddings are {}, expected lists of floating-point or whole numbers",
            column.data_type()
        )
    };
    let list = column.as_list_opt::<i32>().ok_or_else(wrong)?;
    match list.values().data_type() {
        DataType::Float32 => append::<Float32Type>(list, to, |value| value),
        DataType::Float64 => append::<Float64Type>(list, to, |value| value as f32),
        DataType::Float16 => append::<Float16Type>(list, to, |value| value.to_f32()),
        DataType::Int32 => append::<Int32Type>(list, to, |value| value as f32),
        DataType::Int64 => append::<Int64Type>(list, to, |value| value as f32),
        // Of bytes it cannot be told whether they are numbers, or bits that were packed.
        _ => Err(wrong()),
    }
}

fn append<T: ArrowPrimitiveType>(
    list: &ListArray,
    to: &mut EmbeddingRows,
    convert: impl Fn(T::Native) -> f32,
) -> Result<(), String> {
    let values =
        list.values().as_primitive_opt::<T>().ok_or("its embeddings are of another type than they say")?;
    for (row, range) in list.offsets().windows(2).enumerate() {
        let number = to.rows + 1;
        let span = usize::try_from(range[0]).ok().zip(usize::try_from(range[1]).ok());
        let span = span.map(|(start, end)| start..end).filter(|span| span.end <= values.len());
        let span = span.ok_or_else(|| format!("row {number}: its embedding lies outside of the column"))?;
        if list.is_null(row) {
            return Err(format!("row {number}: it has no embedding"));
        }
        let dim = *to.dim.get_or_insert(span.len());
        if span.len() != dim {
            return Err(format!("row {number}: {} values, those before have {dim}", span.len()));
        }
        if values.null_count() > 0 && span.clone().any(|at| values.is_null(at)) {
            return Err(format!("row {number}: a value of its embedding is missing"));
        }
        to.values.extend(values.values()[span].iter().map(|&value| convert(value)));
        to.rows += 1;
    }
    Ok(())
}
