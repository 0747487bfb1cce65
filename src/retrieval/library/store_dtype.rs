//! In which precision a library keeps embeddings on disk.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, FixedSizeListArray, Float16Array, Float32Array, RecordBatch,
};
use arrow_schema::{DataType, Field, Schema};
use half::f16;
use serde::{Deserialize, Serialize};

use crate::retrieval::columns::{self, EMBEDDING, column, embedding_list_field, one_line};

/// The column of what the values of an `int8` embedding are multiplied by.
const SCALE: &str = "embedding_scale";
/// Bits of a scale's mantissa that are kept: few enough that 127 times it is exact, and what was rounded once
/// rounds to itself.
const SCALE_MASK: u32 = !0xff;

/// In which precision a library keeps embeddings on disk. Searches compute in f32 whatever it is.
///
/// Column `embedding` of a segment: a list of `f32` or `f16`, or for `int8` the bytes of signed integers, to
/// be multiplied by column `embedding_scale`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum StoreDType {
    /// As they are: 4 bytes a value.
    #[default]
    F32,
    /// 2 bytes a value.
    F16,
    /// 1 byte a value, and a scale for each embedding.
    Int8,
}

impl StoreDType {
    /// All there are.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Int8];

    /// Its name: `f32`, `f16`, `int8`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
        }
    }

    /// Bytes of a value.
    #[must_use]
    pub fn value_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Int8 => 1,
        }
    }

    /// What `embedding` is once it is stored.
    #[must_use]
    pub fn rounded(self, embedding: &[f32]) -> Vec<f32> {
        match self {
            Self::F32 => embedding.to_vec(),
            Self::F16 => embedding.iter().map(|value| f16::from_f32(*value).to_f32()).collect(),
            Self::Int8 => {
                let scale = scale_of(embedding);
                embedding.iter().map(|value| f32::from(quantised(*value, scale)) * scale).collect()
            }
        }
    }

    /// The columns of embeddings of width `dim`.
    pub(super) fn fields(self, dim: usize) -> Vec<Field> {
        let width = i32::try_from(dim).unwrap_or(i32::MAX);
        match self {
            Self::F32 => vec![columns::embedding_field(dim)],
            Self::F16 => vec![embedding_list_field(DataType::Float16, dim)],
            Self::Int8 => vec![
                Field::new(SCALE, DataType::Float32, false),
                Field::new(EMBEDDING, DataType::FixedSizeBinary(width), false),
            ],
        }
    }

    /// The arrays of [`fields`](Self::fields), of embeddings that are [rounded](Self::rounded).
    pub(super) fn arrays(self, embeddings: &[Vec<f32>], dim: usize) -> Result<Vec<ArrayRef>, String> {
        let values = || embeddings.iter().flatten().copied();
        match self {
            Self::F32 => Ok(vec![columns::embedding_array(values().collect(), dim)?]),
            Self::F16 => {
                let field = embedding_list_field(DataType::Float16, dim);
                let DataType::FixedSizeList(item, width) = field.data_type().clone() else {
                    return Err("f16 embeddings are no list".to_owned());
                };
                let values =
                    Arc::new(values().map(|value| Some(f16::from_f32(value))).collect::<Float16Array>());
                let list = FixedSizeListArray::try_new(item, width, values, None).map_err(one_line)?;
                Ok(vec![Arc::new(list)])
            }
            Self::Int8 => {
                let scales: Vec<f32> = embeddings.iter().map(|embedding| scale_of(embedding)).collect();
                let bytes = embeddings.iter().zip(&scales).map(|(embedding, scale)| {
                    let bytes = embedding.iter().map(|value| quantised(*value, *scale).cast_unsigned());
                    bytes.collect::<Vec<u8>>()
                });
                let bytes = FixedSizeBinaryArray::try_from_iter(bytes).map_err(one_line)?;
                Ok(vec![Arc::new(Float32Array::from(scales)), Arc::new(bytes)])
            }
        }
    }

    /// In which precision a segment of this schema has embeddings. What else they may be is told when they
    /// are read.
    pub(super) fn of_schema(schema: &Schema) -> Self {
        match schema.column_with_name(EMBEDDING).map(|(_, field)| field.data_type()) {
            Some(DataType::FixedSizeList(item, _)) if *item.data_type() == DataType::Float16 => Self::F16,
            Some(DataType::FixedSizeBinary(_)) => Self::Int8,
            _ => Self::F32,
        }
    }

    /// The embeddings of a batch, one after the other; their width must be `dim`.
    pub(super) fn values(self, batch: &RecordBatch, dim: usize) -> Result<Cow<'_, [f32]>, String> {
        let width = |got: usize| match got == dim {
            true => Ok(()),
            false => Err(format!("embeddings of dimension {got}, the manifest says {dim}")),
        };
        match self {
            Self::F32 => {
                let (values, got) = columns::embedding_values(batch)?;
                width(got).map(|()| Cow::Borrowed(values))
            }
            Self::F16 => {
                let list = column(batch, EMBEDDING)?.as_fixed_size_list_opt();
                let list = list.ok_or_else(|| format!("column {EMBEDDING} is no fixed-size list"))?;
                width(usize::try_from(list.value_length()).unwrap_or(0))?;
                let values = list.values().as_primitive_opt::<Float16Type>();
                let values = values.filter(|values| values.null_count() == 0 && list.null_count() == 0);
                let values = values.ok_or_else(|| format!("column {EMBEDDING} holds nulls"))?;
                let values = values.values().get(list.offset() * dim..(list.offset() + list.len()) * dim);
                let values = values.ok_or_else(|| format!("column {EMBEDDING} is too short"))?;
                Ok(Cow::Owned(values.iter().map(|value| value.to_f32()).collect()))
            }
            Self::Int8 => {
                let bytes = column(batch, EMBEDDING)?.as_fixed_size_binary_opt();
                let bytes = bytes.filter(|bytes| bytes.null_count() == 0);
                let bytes = bytes.ok_or_else(|| format!("column {EMBEDDING} is no binary without nulls"))?;
                width(usize::try_from(bytes.value_length()).unwrap_or(0))?;
                let mut values = vec![0.0; bytes.len() * dim];
                for ((row, scale), values) in
                    scales(batch)?.iter().enumerate().zip(values.chunks_exact_mut(dim))
                {
                    self.decode(bytes.value(row), *scale, values);
                }
                Ok(Cow::Owned(values))
            }
        }
    }

    /// The scales of a batch; none where the precision has none.
    pub(super) fn scales_of(self, batch: &RecordBatch) -> Result<&[f32], String> {
        if self == Self::Int8 { scales(batch) } else { Ok(&[]) }
    }

    /// The values of one embedding, as the file has its bytes.
    pub(super) fn decode(self, bytes: &[u8], scale: f32, into: &mut [f32]) {
        match self {
            Self::F32 => {
                let values = bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
                into.iter_mut().zip(values).for_each(|(into, value)| *into = value);
            }
            Self::F16 => {
                let values = bytes.as_chunks().0.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32());
                into.iter_mut().zip(values).for_each(|(into, value)| *into = value);
            }
            Self::Int8 => {
                let values = bytes.iter().map(|byte| f32::from(byte.cast_signed()) * scale);
                into.iter_mut().zip(values).for_each(|(into, value)| *into = value);
            }
        }
    }
}

fn scales(batch: &RecordBatch) -> Result<&[f32], String> {
    let scales = column(batch, SCALE)?.as_primitive_opt::<Float32Type>();
    let scales = scales.filter(|scales| scales.null_count() == 0);
    scales.map(|scales| &scales.values()[..]).ok_or_else(|| format!("column {SCALE} is no f32 without nulls"))
}

/// By what the integers of an embedding are multiplied.
fn scale_of(embedding: &[f32]) -> f32 {
    let largest = embedding.iter().fold(0.0_f32, |largest, value| largest.max(value.abs()));
    // Half of what the mask takes away: to nearest.
    f32::from_bits((largest / 127.0).to_bits().saturating_add(0x80) & SCALE_MASK)
}

fn quantised(value: f32, scale: f32) -> i8 {
    // A scale of 0 makes NaN, which the conversion makes 0.
    (value / scale).round().clamp(-127.0, 127.0) as i8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::retrieval::{dot, normalize};

    #[test]
    fn what_was_rounded_once_stays() {
        for dim in [1, 7, 300] {
            let mut embedding: Vec<f32> = (0..dim).map(|i| ((i * 37 % 101) as f32 - 50.3) / 7.0).collect();
            normalize(&mut embedding, "test").unwrap();
            for dtype in StoreDType::ALL {
                let rounded = dtype.rounded(&embedding);
                let cosine = dot(&rounded, &embedding);
                assert!((cosine - 1.0).abs() < 3e-3, "{dtype:?}, {dim}: {cosine}");
                assert_eq!(dtype.rounded(&rounded), rounded, "{dtype:?}, {dim}");
                let fields = dtype.fields(dim);
                let arrays = dtype.arrays(std::slice::from_ref(&rounded), dim).unwrap();
                let schema = Arc::new(Schema::new(fields));
                assert_eq!(StoreDType::of_schema(&schema), dtype);
                let batch = RecordBatch::try_new(schema, arrays).unwrap();
                assert_eq!(dtype.values(&batch, dim).unwrap(), rounded);
                assert!(dtype.values(&batch, dim + 1).is_err());
            }
        }
        assert_eq!(StoreDType::Int8.rounded(&[0.0, 0.0]), [0.0, 0.0]);
    }
}
