//! Reading a segment, which may have decayed, or been made to do harm.
//!
//! Nothing is taken at its word: the sizes it claims must fit into the file before anything is allocated for
//! them, and each row must agree with its checksum. Row groups are read one by one, so that damage to the
//! structure of one leaves the others.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use rayon::prelude::*;

use super::checksum::{self, Marks, Seal};
use super::entry::{LibraryEntry, check_length};
use super::segment::{Replaced, Segment};
use super::segment_columns::{Columns, Head};
use super::segment_writer::{CHECKSUM, FORGETS, REPLACES_THROUGH, ROW_GROUP_ROWS, SEAL};
use super::store_dtype::StoreDType;
use super::vectors::SegmentVectors;
use crate::retrieval::RetrievalError;
use crate::retrieval::columns::{EMBEDDING, one_line};
use crate::retrieval::parquet_file::caught;
use crate::store::{IoError, open_regular_file};

/// Rows that are read together without their embeddings.
const HEAD_ROWS: usize = 1 << 13;

/// A segment whose structure has been looked at.
#[derive(Debug)]
pub(super) struct SegmentReader {
    pub(super) segment: Segment,
    /// Segments that are contained in this one.
    pub(super) replaces: Option<Replaced>,
    /// Files whose rows in earlier segments count no more.
    pub(super) forgets: Vec<String>,
    /// What is wrong with what it says about its rows as a whole. Each of them may be good all the same.
    pub(super) fault: Option<String>,
    metadata: ArrowReaderMetadata,
    /// In which precision it has embeddings.
    dtype: StoreDType,
    /// Whether rows carry checksums, which they do since there are seals.
    has_checksums: bool,
    /// The rows of each row group.
    groups: Vec<Range<usize>>,
}

/// Why nothing, or nothing further, can be read.
enum Failure {
    /// The system's reason, which says nothing about the contents.
    Io(io::Error),
    Damage(String),
}

impl From<String> for Failure {
    fn from(reason: String) -> Self {
        Self::Damage(reason)
    }
}

impl From<ParquetError> for Failure {
    fn from(error: ParquetError) -> Self {
        match error {
            ParquetError::External(cause) => match cause.downcast::<io::Error>() {
                Ok(error) if error.kind() != io::ErrorKind::UnexpectedEof => Self::Io(*error),
                Ok(error) => Self::Damage(one_line(error)),
                Err(cause) => Self::Damage(one_line(cause)),
            },
            error => Self::Damage(one_line(error)),
        }
    }
}

impl SegmentReader {
    /// Looks at the structure of a segment of embeddings of width `dim`, in a library of these `settings`.
    ///
    /// # Errors
    /// [`RetrievalError::DamagedSegment`], [`RetrievalError::ForeignSegment`], [`RetrievalError::Io`].
    pub(super) fn open(segment: &Segment, dim: usize, settings: u64) -> Result<Self, RetrievalError> {
        let failed = |failure| failure_of(&segment.path, failure);
        let file = open_regular_file(&segment.path).map_err(IoError::of("open", &segment.path))?;
        let metadata = guarded(|| Ok(ArrowReaderMetadata::load(&file, ArrowReaderOptions::new())?));
        let metadata = metadata.map_err(failed)?;
        let length = file.metadata().map_err(IoError::of("read", &segment.path))?.len();
        let dtype = StoreDType::of_schema(metadata.schema());
        let row_bytes = (dtype.value_bytes() * dim) as u64;
        let groups = checked_groups(metadata.metadata(), row_bytes, length)
            .map_err(|reason| failed(Failure::Damage(reason)))?;
        let mut reader = Self {
            segment: segment.clone(),
            replaces: None,
            forgets: Vec::new(),
            fault: None,
            dtype,
            has_checksums: metadata.schema().column_with_name(CHECKSUM).is_some(),
            metadata,
            groups,
        };
        reader.read_claims(settings)?;
        Ok(reader)
    }

    /// What the segment says of itself beside its rows.
    fn read_claims(&mut self, settings: u64) -> Result<(), RetrievalError> {
        let pairs = self.metadata.metadata().file_metadata().key_value_metadata();
        let value = |key| {
            let pair = pairs.into_iter().flatten().find(|pair| pair.key == key);
            pair.map(|pair| pair.value.as_deref().unwrap_or_default())
        };
        let sequence = self.segment.sequence;
        let replaces = value(REPLACES_THROUGH).map(|text| {
            Replaced::parse(text, sequence)
                .ok_or_else(|| format!("{REPLACES_THROUGH} is {text:?} in segment number {sequence}"))
        });
        let replaces = replaces.transpose();
        let damaged = |reason: String| failure_of(&self.segment.path, Failure::Damage(reason));
        match (value(SEAL), self.has_checksums) {
            // Of before there were checksums.
            (None, false) => self.replaces = replaces.map_err(damaged)?,
            (Some(_), false) => return Err(damaged("its checksums are missing".to_owned())),
            (None, true) => self.fault = Some("its seal is missing".to_owned()),
            (Some(text), true) => {
                let replaces = replaces.unwrap_or(None);
                let marks = Marks::parse(value(FORGETS));
                match Seal::parse(text, replaces, value(FORGETS)) {
                    Some(seal) if seal.settings != settings => {
                        return Err(RetrievalError::ForeignSegment { path: self.segment.path.clone() });
                    }
                    Some(seal) => {
                        self.replaces = replaces;
                        self.fault = (seal.rows != self.rows() as u64)
                            .then(|| format!("it has {} rows of {}", self.rows(), seal.rows));
                    }
                    None if marks.is_none() => {
                        self.fault = Some("the list of files that it forgets does not fit".to_owned());
                    }
                    None => self.fault = Some("its seal does not fit".to_owned()),
                }
                self.forgets = marks.unwrap_or_default().0;
            }
        }
        Ok(())
    }

    /// Rows it claims to have, which the file has room for.
    pub(super) fn rows(&self) -> usize {
        self.groups.last().map_or(0, |last| last.end)
    }

    /// Hands all good rows to `each`, in order, with their numbers; what is damaged goes to `damage`.
    ///
    /// # Errors
    /// [`RetrievalError::Io`].
    pub(super) fn read(
        &self,
        dim: usize,
        damage: &mut Vec<RetrievalError>,
        each: &mut dyn FnMut(usize, LibraryEntry, &[f32]),
    ) -> Result<(), RetrievalError> {
        self.read_groups(dim, &|_| true, damage, each)
    }

    /// As [`read`](Self::read), of the row groups alone that `is_wanted`, by the numbers of their rows.
    pub(super) fn read_groups(
        &self,
        dim: usize,
        is_wanted: &dyn Fn(&Range<usize>) -> bool,
        damage: &mut Vec<RetrievalError>,
        each: &mut dyn FnMut(usize, LibraryEntry, &[f32]),
    ) -> Result<(), RetrievalError> {
        self.visit(dim, is_wanted, damage, &mut |columns, row, number| {
            let (entry, embedding) = (columns.entry(row)?, columns.embedding(row));
            if let Some(checksums) = columns.checksums
                && checksums.value(row) != checksum::of_row(number, &entry, embedding)
            {
                return Err("its checksum does not fit".to_owned());
            }
            check_length(embedding)?;
            each(number, entry, embedding);
            Ok(())
        })
    }

    /// All rows without their embeddings, which takes them at their word; `None` in the place of each that is
    /// damaged. Else as [`read`](Self::read).
    pub(super) fn read_heads(
        &self,
        damage: &mut Vec<RetrievalError>,
    ) -> Result<Vec<Option<Head>>, RetrievalError> {
        let mut heads: Vec<Option<Head>> = (0..self.rows()).map(|_| None).collect();
        // Many groups at once, as they are small without embeddings; one by one where there is something
        // wrong.
        if self.fill_heads(&mut heads).is_ok() {
            return Ok(heads);
        }
        heads.fill_with(|| None);
        self.visit(0, &|_| true, damage, &mut |columns, row, number| {
            heads[number] = Some(columns.head(row)?);
            Ok(())
        })?;
        Ok(heads)
    }

    fn fill_heads(&self, mut heads: &mut [Option<Head>]) -> Result<(), Failure> {
        let mut parts = Vec::new();
        for (part, groups) in self.groups.chunks(HEAD_ROWS / ROW_GROUP_ROWS).enumerate() {
            let rows = groups.iter().map(Range::len).sum();
            let (these, rest) = std::mem::take(&mut heads).split_at_mut(rows);
            let first = part * (HEAD_ROWS / ROW_GROUP_ROWS);
            parts.push((first..first + groups.len(), these));
            heads = rest;
        }
        parts.into_par_iter().try_for_each(|(groups, heads)| {
            guarded(|| {
                // Each its own: handles that are cloned share the place they read at.
                let file = open_regular_file(&self.segment.path).map_err(Failure::Io)?;
                let mut heads = heads.iter_mut();
                self.read_batches(&file, groups.collect(), 0, &mut |columns, row| {
                    *heads.next().ok_or("it has more rows than it says")? = Some(columns.head(row)?);
                    Ok(())
                })?;
                match heads.next() {
                    None => Ok(()),
                    Some(_) => Err(Failure::Damage("rows are missing".to_owned())),
                }
            })
        })
    }

    /// Its embeddings by the numbers of their rows.
    pub(super) fn vectors(&self, dim: usize) -> Result<SegmentVectors, RetrievalError> {
        let path = &self.segment.path;
        let file = open_regular_file(path).map_err(IoError::of("open", path))?;
        let length = file.metadata().map_err(IoError::of("read", path))?.len();
        let vectors = guarded(|| {
            let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            let metadata = ArrowReaderMetadata::load(&file, options)?;
            Ok(SegmentVectors::new(file, metadata.metadata(), self.dtype, dim, length)?)
        });
        vectors.map_err(|failure| failure_of(path, failure))
    }

    /// Hands all rows of the groups that `is_wanted` to `each`, in order, with their place in a batch and
    /// their number; with embeddings unless `dim` is 0. What `each` has against one goes to `damage`, with
    /// what cannot be read.
    fn visit(
        &self,
        dim: usize,
        is_wanted: &dyn Fn(&Range<usize>) -> bool,
        damage: &mut Vec<RetrievalError>,
        each: &mut dyn FnMut(&Columns<'_>, usize, usize) -> Result<(), String>,
    ) -> Result<(), RetrievalError> {
        let path = &self.segment.path;
        let file = open_regular_file(path).map_err(IoError::of("open", path))?;
        let mut structural = false;
        for (group, rows) in self.groups.iter().enumerate().filter(|(_, rows)| is_wanted(rows)) {
            let mut next = rows.start;
            let outcome = guarded(|| {
                self.read_batches(&file, vec![group], dim, &mut |columns, row| {
                    if next == rows.end {
                        return Err("it has more rows than it says".to_owned());
                    }
                    if let Err(reason) = each(columns, row, next) {
                        damage.push(RetrievalError::DamagedRows {
                            path: path.clone(),
                            first: next,
                            last: next,
                            file: Some(columns.paths.value(row).into()),
                            reason,
                        });
                    }
                    next += 1;
                    Ok(())
                })
            });
            let reason = match outcome {
                Ok(()) if next == rows.end => continue,
                Ok(()) => "they are missing".to_owned(),
                Err(Failure::Damage(reason)) => reason,
                Err(failure) => return Err(failure_of(path, failure)),
            };
            structural = true;
            if next < rows.end {
                let (path, last) = (path.clone(), rows.end - 1);
                damage.push(RetrievalError::DamagedRows { path, first: next, last, file: None, reason });
            }
        }
        if structural {
            // Arrow tells a fault of the disk like one of the contents, which it is only if all bytes can be
            // read.
            let read = || io::copy(&mut open_regular_file(path)?, &mut io::sink());
            read().map_err(IoError::of("read", path))?;
        }
        Ok(())
    }

    /// Hands all rows of these groups to `each`. Nobody else may read from `file` meanwhile: it is read by
    /// clones, which share its place.
    fn read_batches(
        &self,
        file: &File,
        groups: Vec<usize>,
        dim: usize,
        each: &mut dyn FnMut(&Columns<'_>, usize) -> Result<(), String>,
    ) -> Result<(), Failure> {
        let file = file.try_clone().map_err(Failure::Io)?;
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone());
        let mut batch_rows = ROW_GROUP_ROWS;
        if dim == 0 {
            batch_rows = HEAD_ROWS;
            let fields = self.metadata.schema().fields().iter().enumerate();
            let wanted = fields.filter(|(_, field)| field.name() != EMBEDDING).map(|(place, _)| place);
            let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
            builder = builder.with_projection(mask);
        }
        for batch in builder.with_row_groups(groups).with_batch_size(batch_rows).build()? {
            let batch = batch.map_err(one_line)?;
            let columns = Columns::of(&batch, self.has_checksums, self.dtype, dim)?;
            for row in 0..batch.num_rows() {
                each(&columns, row)?;
            }
        }
        Ok(())
    }
}

/// The rows of each row group, if a file of `length` bytes has room for them. Segments are neither compressed
/// nor have dictionaries.
fn checked_groups(
    metadata: &ParquetMetaData,
    row_bytes: u64,
    length: u64,
) -> Result<Vec<Range<usize>>, String> {
    let mut first = 0_usize;
    let mut groups = Vec::with_capacity(metadata.num_row_groups());
    for group in metadata.row_groups() {
        let rows = usize::try_from(group.num_rows()).ok();
        let end = rows
            .and_then(|rows| first.checked_add(rows))
            .filter(|end| (*end as u64).checked_mul(row_bytes).is_some_and(|bytes| bytes <= length));
        let end = end.ok_or_else(|| format!("it has no room for {} rows", group.num_rows()))?;
        for column in group.columns() {
            let start = u64::try_from(column.data_page_offset()).ok();
            let bytes = u64::try_from(column.compressed_size()).ok();
            let column_end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
            if column_end.is_none_or(|end| end > length) {
                return Err(format!("column {} lies outside of the file", column.column_path()));
            }
            if column.compression() != Compression::UNCOMPRESSED || column.dictionary_page_offset().is_some()
            {
                return Err(format!("column {} is compressed, which segments are not", column.column_path()));
            }
        }
        groups.push(first..end);
        first = end;
    }
    Ok(groups)
}

/// A panic over a damaged file, which can only come out of the Parquet library, is damage.
fn guarded<T>(read: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    caught(read).unwrap_or_else(|| Err(Failure::Damage("the Parquet library fails over it".to_owned())))
}

fn failure_of(path: &Path, failure: Failure) -> RetrievalError {
    match failure {
        Failure::Io(reason) => IoError::of("read", path)(reason).into(),
        Failure::Damage(reason) => RetrievalError::DamagedSegment { path: path.to_owned(), reason },
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::{FileFingerprint, LibraryRow};
    use super::super::segment_writer::SegmentWriter;
    use super::*;
    use crate::media::MediaKind;

    /// Parts that shared a handle would read where another is.
    #[test]
    fn heads_that_are_read_at_once_are_each_their_own() {
        const ROWS: usize = 6 * HEAD_ROWS;
        let folder = tempfile::tempdir().unwrap();
        let segment = Segment::new(folder.path(), 1);
        let mut writer = SegmentWriter::create(&segment, (StoreDType::F32, 1), 0, None).unwrap();
        let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
        let path = |number| format!("/v/{number:06}.mp4");
        for number in 0..ROWS {
            let entry = LibraryEntry::new(path(number), MediaKind::Video, fingerprint);
            writer.push(LibraryRow { entry, embedding: vec![1.0] }).unwrap();
        }
        writer.finish().unwrap();
        let reader = SegmentReader::open(&segment, 1, 0).unwrap();
        let threads = rayon::ThreadPoolBuilder::new().num_threads(6).build().unwrap();
        for time in 0..5 {
            let mut heads: Vec<Option<Head>> = (0..ROWS).map(|_| None).collect();
            let read = threads.install(|| reader.fill_heads(&mut heads));
            assert!(read.is_ok(), "time {time}");
            for (number, head) in heads.into_iter().enumerate() {
                assert_eq!(head.unwrap().entry.path, Path::new(&path(number)), "time {time}");
            }
        }
    }
}
