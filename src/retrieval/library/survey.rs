//! A library's rows without their embeddings, which stay on disk.

use std::hash::Hasher;
use std::sync::Arc;

use twox_hash::XxHash64;

use super::catalog::{Catalog, Segments, unless_gone};
use super::entry::Place;
use super::index::KnownCodes;
use super::on_disk::{NOT_LIVE, OnDiskSegment};
use super::segment_columns::Head;
use super::segment_reader::SegmentReader;
use super::vectors::SegmentVectors;
use crate::retrieval::RetrievalError;
use crate::retrieval::codes::{self, CodeSet, Encoder};
use crate::store::IoError;

/// Rows of which the mean is taken for that of a segment.
const MEAN_OF: usize = 4096;

/// Told of the rows whose codes are made, and of how many there are to be made.
pub(super) type OnCodes<'a> = &'a mut dyn FnMut(usize, usize);

/// One segment without its embeddings.
struct Surveyed {
    heads: Vec<Option<Head>>,
    /// `None` where they are missing, or were made of something else.
    codes: Option<Arc<CodeSet>>,
}

impl Surveyed {
    fn of(
        reader: &SegmentReader,
        dim: usize,
        known: &KnownCodes,
        damage: &mut Vec<RetrievalError>,
    ) -> Result<Self, RetrievalError> {
        let codes = || match known.get(&reader.segment.sequence) {
            Some(codes) => Some(Arc::clone(codes)),
            // Codes that cannot be read can be made.
            None => codes::read(&reader.segment.codes(), dim, reader.rows()).unwrap_or(None).map(Arc::new),
        };
        let (heads, codes) = rayon::join(|| reader.read_heads(damage), codes);
        let mut one = Self { heads: heads?, codes: None };
        if let Some(key) = one.key() {
            one.codes = codes.filter(|codes| codes.key() == key);
        }
        Ok(one)
    }

    /// What its codes must have been made of. Segments of before there were checksums have none to tell by.
    fn key(&self) -> Option<u64> {
        let mut hash = XxHash64::with_seed(0);
        for head in &self.heads {
            hash.write_u64(head.as_ref()?.checksum?);
        }
        Some(hash.finish())
    }
}

impl Segments {
    /// All rows. Segments that have codes were read as a whole when these were made, and their rows are taken
    /// at their word.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub(super) fn known(mut self) -> Result<Catalog, RetrievalError> {
        let mut damage = std::mem::take(&mut self.damage);
        let (mut entries, mut places) = (Vec::with_capacity(self.rows()), Vec::with_capacity(self.rows()));
        for reader in &self.readers {
            let sequence = reader.segment.sequence;
            let mut push = |row, entry| {
                entries.push(entry);
                places.push(Place { sequence, row });
            };
            let mut unread = Vec::new();
            let surveyed = match reader.segment.codes().exists() {
                true => Surveyed::of(reader, self.dim, &KnownCodes::new(), &mut unread)
                    .ok()
                    .filter(|one| one.codes.is_some()),
                false => None,
            };
            if let Some(one) = surveyed {
                let heads = one.heads.into_iter().enumerate();
                heads
                    .filter_map(|(row, head)| Some((row, head?)))
                    .for_each(|(row, head)| push(row, head.entry));
            } else if let Err(error) =
                reader.read(self.dim, &mut damage, &mut |row, entry, _| push(row, entry))
            {
                damage.push(unless_gone(error)?);
            }
        }
        Ok(self.counted(entries, places, damage))
    }

    /// All rows, as [`known`](Self::known) has them, and the segments they are in. Codes that are missing are
    /// made, for which all of their segment is read, and kept beside it. Those that are `known` are shared.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub(super) fn survey(
        mut self,
        known: &KnownCodes,
        on_codes: OnCodes<'_>,
    ) -> Result<(Catalog, Vec<OnDiskSegment>), RetrievalError> {
        let mut damage = std::mem::take(&mut self.damage);
        let mut surveyed = Vec::with_capacity(self.readers.len());
        for reader in &self.readers {
            // Where something is wrong there are no codes, and it is told when all of it is read.
            let one = Surveyed::of(reader, self.dim, known, &mut Vec::new())
                .and_then(|one| Ok((reader, one, reader.vectors(self.dim)?)));
            match one {
                Ok(one) => surveyed.push(one),
                Err(error) => damage.push(unless_gone(error)?),
            }
        }
        let missing = surveyed.iter().filter(|(_, one, _)| one.codes.is_none());
        let missing = missing.map(|(_, one, _)| one.heads.len()).sum();
        let mut done = 0;
        for (reader, one, vectors) in &mut surveyed {
            if one.codes.is_none() {
                let mut tell = || {
                    done += 1;
                    on_codes(done, missing);
                };
                match make_codes(reader, self.dim, one, vectors, &mut damage, &mut tell) {
                    Ok(codes) => one.codes = Some(Arc::new(codes)),
                    Err(error) => damage.push(unless_gone(error)?),
                }
            }
        }
        Ok(self.gathered(surveyed, damage))
    }

    fn gathered(
        &self,
        surveyed: Vec<(&SegmentReader, Surveyed, SegmentVectors)>,
        damage: Vec<RetrievalError>,
    ) -> (Catalog, Vec<OnDiskSegment>) {
        let (mut entries, mut places) = (Vec::with_capacity(self.rows()), Vec::with_capacity(self.rows()));
        let mut segments = Vec::with_capacity(surveyed.len());
        for (reader, one, vectors) in surveyed {
            let Some(codes) = one.codes else { continue };
            let segment = reader.segment.clone();
            let mut checksums = Vec::with_capacity(one.heads.len());
            let mut scales = Vec::new();
            for (row, head) in one.heads.into_iter().enumerate() {
                // Of a row without a head nothing is asked.
                checksums.push(head.as_ref().and_then(|head| head.checksum));
                scales.extend(head.as_ref().map_or(Some(0.0), |head| head.scale));
                if let Some(head) = head {
                    entries.push(head.entry);
                    places.push(Place { sequence: segment.sequence, row });
                }
            }
            let rows = vec![NOT_LIVE; codes.rows()];
            segments.push(OnDiskSegment { segment, vectors, codes, rows, is_live: false, checksums, scales });
        }
        (self.counted(entries, places, damage), segments)
    }
}

/// Reads all of a segment and makes its codes. Rows that turn out to be damaged are taken out of `one`.
fn make_codes(
    reader: &SegmentReader,
    dim: usize,
    one: &mut Surveyed,
    vectors: &SegmentVectors,
    damage: &mut Vec<RetrievalError>,
    tell: &mut dyn FnMut(),
) -> Result<CodeSet, RetrievalError> {
    let path = &reader.segment.path;
    let rows = one.heads.len();
    let mut mean = vec![0.0; dim];
    let (mut bytes, mut values) = (Vec::new(), vec![0.0; dim]);
    let sampled = rows.min(MEAN_OF);
    for row in (0..sampled).map(|i| i * rows / sampled) {
        let scale = one.heads[row].as_ref().and_then(|head| head.scale).unwrap_or(1.0);
        vectors.read(row, scale, &mut bytes, &mut values).map_err(IoError::of("read", path))?;
        // A row that has decayed may hold anything.
        for (mean, value) in mean.iter_mut().zip(&values).filter(|(_, value)| value.abs() <= 1.1) {
            *mean += value / sampled as f32;
        }
    }
    let mut encoder = Encoder::new(dim, &mean);
    let (zero, mut next) = (vec![0.0; dim], 0);
    let before = damage.len();
    reader.read(dim, damage, &mut |row, _, embedding| {
        while next < row {
            encoder.push(&zero);
            one.heads[next] = None;
            next += 1;
        }
        encoder.push(embedding);
        next += 1;
        tell();
    })?;
    for head in &mut one.heads[next..] {
        encoder.push(&zero);
        *head = None;
    }
    let key = one.key();
    let set = encoder.finish(key.unwrap_or_default());
    if key.is_some() && damage.len() == before {
        // Made again next time where they cannot be kept, as in a library that is for reading alone.
        drop(codes::write(&set, &reader.segment.codes()));
    }
    Ok(set)
}
