//! The columns of a segment as they are read.

use std::borrow::Cow;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type, UInt32Type, UInt64Type};
use arrow_array::{
    Array, ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, RecordBatch, StringArray, UInt32Array,
    UInt64Array,
};

use super::content::ContentHash;
use super::entry::{FileFingerprint, LibraryEntry, check_range};
use super::segment_writer::CHECKSUM;
use super::store_dtype::StoreDType;
use crate::media::{MediaKind, TimeRange};
use crate::retrieval::columns::column;

/// A row without its embedding.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) entry: LibraryEntry,
    /// `None` in segments of before there were checksums.
    pub(super) checksum: Option<u64>,
    /// By what the stored values are multiplied, where that is so.
    pub(super) scale: Option<f32>,
}

/// The columns of a batch, of the types they must have and without nulls where there must be none.
pub(super) struct Columns<'a> {
    pub(super) paths: &'a StringArray,
    kinds: &'a StringArray,
    starts: &'a Float64Array,
    ends: &'a Float64Array,
    sizes: &'a UInt64Array,
    modified: &'a Int64Array,
    contents: Option<&'a FixedSizeBinaryArray>,
    captured: Option<&'a Int64Array>,
    widths: Option<&'a UInt32Array>,
    heights: Option<&'a UInt32Array>,
    pub(super) checksums: Option<&'a UInt64Array>,
    scales: &'a [f32],
    /// None where they were not read.
    embeddings: Cow<'a, [f32]>,
    dim: usize,
}

impl<'a> Columns<'a> {
    /// `dim` is the width of the embeddings, or 0 where they were not read.
    pub(super) fn of(
        batch: &'a RecordBatch,
        has_checksums: bool,
        dtype: StoreDType,
        dim: usize,
    ) -> Result<Self, String> {
        let text = |name| {
            let array = column(batch, name)?.as_string_opt::<i32>();
            array.filter(|a| a.null_count() == 0).ok_or_else(|| format!("column {name} is no text"))
        };
        let seconds = |name| {
            let array = column(batch, name)?.as_primitive_opt::<Float64Type>();
            array.ok_or_else(|| format!("column {name} is not f64"))
        };
        let unsigned = |name| {
            let array = column(batch, name)?.as_primitive_opt::<UInt64Type>();
            array.filter(|a| a.null_count() == 0).ok_or_else(|| format!("column {name} is not u64"))
        };
        let modified = column(batch, "modified_nanoseconds")?.as_primitive_opt::<Int64Type>();
        let embeddings = if dim > 0 { dtype.values(batch, dim)? } else { Cow::default() };
        Ok(Self {
            paths: text("path")?,
            kinds: text("media_kind")?,
            starts: seconds("start_seconds")?,
            ends: seconds("end_seconds")?,
            sizes: unsigned("size_bytes")?,
            modified: modified
                .filter(|a| a.null_count() == 0)
                .ok_or("column modified_nanoseconds is not i64")?,
            contents: optional(batch, "content", |array| {
                array.as_fixed_size_binary_opt().filter(|array| array.value_length() == 16)
            })?,
            captured: optional(batch, "captured_seconds", |array| array.as_primitive_opt::<Int64Type>())?,
            widths: optional(batch, "width", |array| array.as_primitive_opt::<UInt32Type>())?,
            heights: optional(batch, "height", |array| array.as_primitive_opt::<UInt32Type>())?,
            checksums: has_checksums.then(|| unsigned(CHECKSUM)).transpose()?,
            scales: dtype.scales_of(batch)?,
            embeddings,
            dim,
        })
    }

    pub(super) fn entry(&self, row: usize) -> Result<LibraryEntry, String> {
        let kind = match self.kinds.value(row) {
            "image" => MediaKind::Image,
            "video" => MediaKind::Video,
            other => return Err(format!("its media kind is {other:?}")),
        };
        let bound = |column: &Float64Array| column.is_valid(row).then(|| column.value(row));
        let range = TimeRange { start_seconds: bound(self.starts), end_seconds: bound(self.ends) };
        let time_range = (range != TimeRange::default()).then_some(range);
        check_range(time_range)?;
        let fingerprint = FileFingerprint {
            size_bytes: self.sizes.value(row),
            modified_nanoseconds: self.modified.value(row),
        };
        let pixels = |column: Option<&UInt32Array>| valid(column, row).map(|column| column.value(row));
        let content = valid(self.contents, row).and_then(|column| column.value(row).try_into().ok());
        let entry = LibraryEntry::new(self.paths.value(row), kind, fingerprint)
            .with_time_range(time_range)
            .with_content(content.map(ContentHash::from_bytes))
            .with_captured_seconds(valid(self.captured, row).map(|column| column.value(row)))
            .with_width(pixels(self.widths))
            .with_height(pixels(self.heights));
        Ok(entry)
    }

    pub(super) fn head(&self, row: usize) -> Result<Head, String> {
        let checksum = self.checksums.map(|checksums| checksums.value(row));
        Ok(Head { entry: self.entry(row)?, checksum, scale: self.scales.get(row).copied() })
    }

    pub(super) fn embedding(&self, row: usize) -> &[f32] {
        &self.embeddings[row * self.dim..][..self.dim]
    }
}

/// A column that segments of before do not have.
fn optional<'a, T>(
    batch: &'a RecordBatch,
    name: &str,
    as_type: impl FnOnce(&'a ArrayRef) -> Option<&'a T>,
) -> Result<Option<&'a T>, String> {
    let Some(array) = batch.column_by_name(name) else { return Ok(None) };
    as_type(array).map(Some).ok_or_else(|| format!("column {name} is of another type"))
}

/// A column that has a value in this row.
fn valid<T: Array>(column: Option<&T>, row: usize) -> Option<&T> {
    column.filter(|column| column.is_valid(row))
}
