//! What the pages of a Parquet file say of their sizes, looked at before anything of such a size is
//! allocated.
//!
//! Format: <https://parquet.apache.org/docs/file-format/>; headers of pages are structs of Thrift's compact
//! protocol.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use parquet::arrow::ProjectionMask;
use parquet::basic::{Compression, Type};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};

/// Bytes and values that are granted to any page, whatever its length in the file.
pub(in crate::retrieval) const GRANTED_BYTES: u64 = 16 << 20;
const GRANTED_VALUES: u64 = 16 << 20;
/// Values of lists for each byte of a column in the file: runs of equal values take little room, but not
/// none.
const MOST_VALUES_PER_BYTE: u64 = 1024;
/// Longest header of a page; it may hold the least and the greatest value.
const MAX_HEADER_BYTES: usize = 16 << 20;
/// What is read first of a header.
const FIRST_HEADER_BYTES: usize = 1 << 10;
/// How deep structs may lie in each other.
const MAX_DEPTH: usize = 16;
/// How deep columns may, which are read by recursion.
const MAX_SCHEMA_DEPTH: usize = 32;
/// What is read of a file's description to see its columns, which stand first in it.
const MAX_SCHEMA_BYTES: u64 = 4 << 20;

/// Checks that the columns of the file do not lie so deep in each other that reading them ends the program.
pub(super) fn check_schema(mut file: &File) -> Result<(), String> {
    let mut read = || -> std::io::Result<Vec<u8>> {
        let end = file.seek(SeekFrom::End(-8))?;
        let mut length = [0; 4];
        file.read_exact(&mut length)?;
        let length = u64::from(u32::from_le_bytes(length));
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(end.saturating_sub(length)))?;
        (&mut file).take(length.min(MAX_SCHEMA_BYTES)).read_to_end(&mut bytes)?;
        file.rewind()?;
        Ok(bytes)
    };
    let bytes = read().map_err(|error| error.to_string())?;
    match schema_depth(&mut Cursor { bytes: &bytes, at: 0 }) {
        Some(depth) if depth <= MAX_SCHEMA_DEPTH => Ok(()),
        Some(depth) => Err(format!("columns that lie {depth} deep in each other")),
        None => Err("its description is damaged".to_owned()),
    }
}

/// How deep the elements of a schema lie, as a file's description lists them: each before its children.
fn schema_depth(cursor: &mut Cursor<'_>) -> Option<usize> {
    let (mut field, mut depth) = (0, 0);
    while let Some(kind) = cursor.field(&mut field)? {
        if (field, kind) != (2, 9) {
            cursor.skip(kind, MAX_DEPTH)?;
            continue;
        }
        let mut open: Vec<i64> = Vec::new();
        for _ in 0..cursor.list_length()?.1 {
            let (mut inner, mut children) = (0, 0);
            while let Some(kind) = cursor.field(&mut inner)? {
                if (inner, kind) == (5, 5) {
                    children = cursor.integer()?;
                } else {
                    cursor.skip(kind, MAX_DEPTH)?;
                }
            }
            while open.last() == Some(&0) {
                open.pop();
            }
            if let Some(left) = open.last_mut() {
                *left -= 1;
            }
            if children > 0 {
                open.push(children);
            }
            depth = depth.max(open.len());
        }
        return Some(depth);
    }
    None
}

/// Checks the columns in `mask`, and gives the length of the longest text that many rows may share.
pub(super) fn check(
    mut file: &File,
    metadata: &ParquetMetaData,
    mask: &ProjectionMask,
) -> Result<usize, String> {
    let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
    let mut longest_text = 0;
    for (group, row_group) in metadata.row_groups().iter().enumerate() {
        for (leaf, column) in
            row_group.columns().iter().enumerate().filter(|(leaf, _)| mask.leaf_included(*leaf))
        {
            let place = || format!("column {} of row group {group}", row_group.columns()[leaf].column_path());
            let text = check_column(&mut file, file_bytes, column)
                .map_err(|reason| format!("{}: {reason}", place()))?;
            longest_text = longest_text.max(text);
        }
    }
    Ok(longest_text)
}

fn check_column(file: &mut &File, file_bytes: u64, column: &ColumnChunkMetaData) -> Result<usize, String> {
    let start = column.dictionary_page_offset().unwrap_or_else(|| column.data_page_offset());
    let range = u64::try_from(start).ok().zip(u64::try_from(column.compressed_size()).ok());
    let end = range.and_then(|(start, length)| start.checked_add(length)).filter(|end| *end <= file_bytes);
    let (Some((start, length)), Some(end)) = (range, end) else {
        return Err("it lies outside of the file".to_owned());
    };
    let nested = column.column_descr().max_rep_level() > 0;
    let most_values = GRANTED_VALUES.max(length.saturating_mul(MOST_VALUES_PER_BYTE));
    let is_text = matches!(column.column_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY);
    let (mut position, mut values, mut longest_text) = (start, 0_u64, 0);
    while position < end {
        let (page, header_bytes) = read_header(file, position, end)?;
        let stored = u64::try_from(page.stored_bytes).map_err(|_| "a page of negative size")?;
        let unpacked = u64::try_from(page.unpacked_bytes).map_err(|_| "a page of negative size")?;
        let count = u64::try_from(page.values).map_err(|_| "a page with a negative number of values")?;
        position += header_bytes;
        if stored > end - position {
            return Err(format!("a page of {stored} bytes where {} are left", end - position));
        }
        if unpacked > GRANTED_BYTES.max(stored.saturating_mul(most_expansion(column.compression()))) {
            return Err(format!("{stored} bytes that claim to unpack to {unpacked}"));
        }
        if page.is_dictionary && is_text {
            longest_text = longest_text.max(unpacked as usize);
        }
        if page.is_dictionary && count > unpacked {
            return Err(format!("a dictionary of {count} values in {unpacked} bytes"));
        }
        values = values.saturating_add(count);
        if nested && values > most_values {
            return Err(format!("lists of {values} values in {length} bytes"));
        }
        position += stored;
    }
    Ok(longest_text)
}

/// By how much bytes grow at most when they are unpacked.
pub(in crate::retrieval) fn most_expansion(compression: Compression) -> u64 {
    match compression {
        Compression::UNCOMPRESSED => 1,
        Compression::SNAPPY => 64,
        Compression::LZ4 | Compression::LZ4_RAW => 256,
        Compression::GZIP(_) => 1100,
        // Its blocks of one repeated byte have no such bound; it allocates no more than comes out.
        _ => 1 << 15,
    }
}

/// What is of use in the header of a page.
#[derive(Debug, Default, PartialEq)]
struct PageHeader {
    is_dictionary: bool,
    unpacked_bytes: i64,
    stored_bytes: i64,
    values: i64,
}

/// The header at `position`, and its length.
fn read_header(file: &mut &File, position: u64, end: u64) -> Result<(PageHeader, u64), String> {
    let mut wanted = FIRST_HEADER_BYTES;
    loop {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(position))
            .and_then(|_| file.take((end - position).min(wanted as u64)).read_to_end(&mut bytes))
            .map_err(|error| error.to_string())?;
        let mut cursor = Cursor { bytes: &bytes, at: 0 };
        if let Some(page) = page_header(&mut cursor) {
            return Ok((page, cursor.at as u64));
        }
        if bytes.len() < wanted || wanted >= MAX_HEADER_BYTES {
            return Err("a page without a header".to_owned());
        }
        wanted *= 16;
    }
}

/// `None` where the bytes end before the header does, or are none.
fn page_header(cursor: &mut Cursor<'_>) -> Option<PageHeader> {
    let mut page = PageHeader::default();
    let mut field = 0;
    while let Some(kind) = cursor.field(&mut field)? {
        match (field, kind) {
            (1, 5) => page.is_dictionary = cursor.integer()? == 2,
            (2, 5) => page.unpacked_bytes = cursor.integer()?,
            (3, 5) => page.stored_bytes = cursor.integer()?,
            // The header of each kind of page begins with its number of values.
            (5 | 7 | 8, 12) => {
                let mut inner = 0;
                while let Some(kind) = cursor.field(&mut inner)? {
                    if (inner, kind) == (1, 5) {
                        page.values = cursor.integer()?;
                    } else {
                        cursor.skip(kind, MAX_DEPTH)?;
                    }
                }
            }
            _ => cursor.skip(kind, MAX_DEPTH)?,
        }
    }
    Some(page)
}

/// Reads Thrift's compact protocol; `None` at the end of the bytes.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A signed number, in zigzag order.
    fn integer(&mut self) -> Option<i64> {
        let value = self.varint()?;
        Some((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    /// The kind of the next field, whose number goes to `field`; the inner `None` at the end of the struct.
    fn field(&mut self, field: &mut i64) -> Option<Option<u8>> {
        let byte = self.byte()?;
        if byte == 0 {
            return Some(None);
        }
        *field = match byte >> 4 {
            0 => self.integer()?,
            step => field.checked_add(i64::from(step))?,
        };
        Some(Some(byte & 0x0f))
    }

    /// The kind of a list's elements, and how many there are.
    fn list_length(&mut self) -> Option<(u8, u64)> {
        let head = self.byte()?;
        let length = if head >> 4 == 15 { self.varint()? } else { u64::from(head >> 4) };
        Some((head & 0x0f, length))
    }

    fn skip(&mut self, kind: u8, depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        match kind {
            1 | 2 => Some(()),
            3 => self.byte().map(drop),
            4..=6 => self.varint().map(drop),
            7 => self.advance(8),
            8 => {
                let length = self.varint()?;
                self.advance(length)
            }
            9 | 10 => {
                let (kind, length) = self.list_length()?;
                // Of a boolean, each takes a byte in a list.
                let kind = if kind <= 2 { 3 } else { kind };
                (0..length).try_for_each(|_| self.skip(kind, depth))
            }
            12 => {
                let mut field = 0;
                while let Some(kind) = self.field(&mut field)? {
                    self.skip(kind, depth)?;
                }
                Some(())
            }
            _ => None,
        }
    }

    fn advance(&mut self, length: u64) -> Option<()> {
        let at = self.at.checked_add(usize::try_from(length).ok()?)?;
        self.at = at;
        (at <= self.bytes.len()).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_lie_deep_are_counted() {
        // {version 1, [(4 elements): a of 1 child, b of 2 children, c, d]}
        let bytes = [
            0x15, 0x02, 0x19, 0x4c, 0x48, 1, b'a', 0x15, 2, 0, 0x48, 1, b'b', 0x15, 4, 0, 0x48, 1, b'c', 0,
            0x48, 1, b'd', 0,
        ];
        assert_eq!(schema_depth(&mut Cursor { bytes: &bytes, at: 0 }), Some(2));
        assert_eq!(schema_depth(&mut Cursor { bytes: &bytes[..20], at: 0 }), None);
        let nested: Vec<u8> = [0x48, 1, b'a', 0x15, 2, 0].repeat(100_000);
        let deep = [&[0x29, 0xfc, 0xa0, 0x8d, 0x06][..], &nested].concat();
        assert_eq!(schema_depth(&mut Cursor { bytes: &deep, at: 0 }), Some(100_000));
    }

    #[test]
    fn headers_are_read_past_what_is_of_no_use() {
        // Type 2 (dictionary), 300 bytes unpacked, 20 stored, a checksum, then {4 values, encoding 0,
        // statistics {a text}}.
        let bytes = [
            0x15, 0x04, 0x15, 0xd8, 0x04, 0x15, 0x28, 0x15, 0x01, 0x3c, 0x15, 0x08, 0x15, 0x00, 0x3c, 0x18,
            0x02, b'a', b'b', 0x00, 0x00, 0x00, 0xff,
        ];
        let mut cursor = Cursor { bytes: &bytes, at: 0 };
        let expected = PageHeader { is_dictionary: true, unpacked_bytes: 300, stored_bytes: 20, values: 4 };
        assert_eq!(page_header(&mut cursor), Some(expected));
        assert_eq!(cursor.at, bytes.len() - 1);
        for length in 0..bytes.len() - 1 {
            assert_eq!(page_header(&mut Cursor { bytes: &bytes[..length], at: 0 }), None, "{length}");
        }
        assert_eq!(page_header(&mut Cursor { bytes: &[0xff; 64], at: 0 }), None);
    }
}
