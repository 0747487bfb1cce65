//! Single embeddings of a segment, read from where they lie in its file.
//!
//! Segments are not compressed, and the values of a page stand at its end, one embedding after the other.
//! They are read rather than mapped: what is read of millions stays out of the process, and a file that is
//! cut or on a drive that goes away is an error and no crash.

use std::fs::File;
use std::io::{self, ErrorKind};

use parquet::file::metadata::ParquetMetaData;

use super::store_dtype::StoreDType;
use crate::retrieval::columns::EMBEDDING;

/// Embeddings of one segment by their numbers.
#[derive(Debug)]
pub(super) struct SegmentVectors {
    file: File,
    dtype: StoreDType,
    dim: usize,
    /// The first row of each page, and where its values begin.
    pages: Vec<(usize, u64)>,
    rows: usize,
}

impl SegmentVectors {
    /// Of what the metadata says, read with the index of pages; the rows of groups are known to fit into
    /// the file, which is `length` bytes long.
    pub(super) fn new(
        file: File,
        metadata: &ParquetMetaData,
        dtype: StoreDType,
        dim: usize,
        length: u64,
    ) -> Result<Self, String> {
        let columns = metadata.file_metadata().schema_descr().columns();
        let column =
            columns.iter().position(|column| column.path().parts().first().is_some_and(|p| p == EMBEDDING));
        let column = column.ok_or("it has no embeddings")?;
        let row_bytes = (dtype.value_bytes() * dim) as u64;
        let mut pages = Vec::new();
        let mut rows = 0;
        for (number, group) in metadata.row_groups().iter().enumerate() {
            let group_rows = usize::try_from(group.num_rows()).map_err(|e| e.to_string())?;
            let index = metadata.page_index_for_row_group(number);
            let locations = index.page_locations(column).ok_or("it has no index of pages")?;
            let starts =
                locations.iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(usize::MAX));
            let ends = starts.clone().skip(1).chain(std::iter::once(group_rows));
            for ((page, start), end) in locations.iter().zip(starts).zip(ends) {
                let bytes = (end.checked_sub(start)).and_then(|rows| row_bytes.checked_mul(rows as u64));
                let page_start = u64::try_from(page.offset).ok();
                let page_bytes = u64::try_from(page.compressed_page_size).ok();
                let page_end = page_start.zip(page_bytes).and_then(|(start, bytes)| start.checked_add(bytes));
                let values = page_end.filter(|end| *end <= length).zip(bytes).and_then(|(end, bytes)| {
                    Some(end.checked_sub(bytes)?).filter(|values| Some(*values) >= page_start)
                });
                let values = values.ok_or("its index of pages does not fit")?;
                if end > group_rows {
                    return Err("its index of pages does not fit".to_owned());
                }
                pages.push((rows + start, values));
            }
            rows += group_rows;
        }
        Ok(Self { file, dtype, dim, pages, rows })
    }

    /// Reads embedding `row` into `into`, `dim` wide; `bytes` is room to do so.
    pub(super) fn read(
        &self,
        row: usize,
        scale: f32,
        bytes: &mut Vec<u8>,
        into: &mut [f32],
    ) -> io::Result<()> {
        let page = self.pages.partition_point(|(first, _)| *first <= row).checked_sub(1);
        let Some(&(first, start)) = page.and_then(|page| self.pages.get(page)).filter(|_| row < self.rows)
        else {
            return Err(io::Error::new(ErrorKind::InvalidInput, format!("no row {row}")));
        };
        bytes.resize(self.dtype.value_bytes() * self.dim, 0);
        let start = start + ((row - first) * bytes.len()) as u64;
        read_at(&self.file, bytes, start)?;
        self.dtype.decode(bytes, scale, into);
        Ok(())
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, start)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut start: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, start) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                start += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
