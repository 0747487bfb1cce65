//! The rows of all segments, and which of them are live.

use std::collections::{HashMap, HashSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::LibraryManifest;
use super::entry::{LibraryEntry, Place, live_rows};
use super::search::holds;
use super::segment::{Replaced, Segment, gaps, newest};
use super::segment_reader::SegmentReader;
use crate::media::MediaKind;
use crate::retrieval::RetrievalError;
use crate::store::IoError;

/// Where the segments lie in a library directory.
pub(super) fn segments_directory(library: &Path) -> PathBuf {
    library.join("segments")
}

/// The segments of a library whose structure has been looked at.
pub(super) struct Segments {
    /// The number of the next one.
    pub(super) next_sequence: u64,
    /// Those whose rows count.
    pub(super) readers: Vec<SegmentReader>,
    /// Those whose rows that count are in one of these.
    pub(super) replaced: Vec<Segment>,
    pub(super) dim: usize,
    /// What is damaged or cannot be read.
    pub(super) damage: Vec<RetrievalError>,
}

/// What the rows of a library are.
pub(super) struct Catalog {
    /// Of each good row, in the order of writing.
    pub(super) entries: Vec<LibraryEntry>,
    /// Where it was read.
    pub(super) places: Vec<Place>,
    /// Whether it counts.
    pub(super) live: Vec<bool>,
    /// Of how many files those are that count.
    pub(super) files: usize,
    /// What is damaged or cannot be read: [`RetrievalError::DamagedSegment`],
    /// [`RetrievalError::DamagedRows`], [`RetrievalError::DamagedNewest`],
    /// [`RetrievalError::ForeignSegment`], [`RetrievalError::Io`].
    pub(super) damage: Vec<RetrievalError>,
    /// Files that count of which other rows are damaged, once a writer has
    /// [looked for them](Self::find_incomplete).
    pub(super) incomplete: HashSet<PathBuf>,
}

impl Segments {
    /// # Errors
    /// [`RetrievalError::Io`], of [`ErrorKind::NotFound`] where a compaction has removed a segment meanwhile.
    pub(super) fn open(library: &Path, manifest: &LibraryManifest) -> Result<Self, RetrievalError> {
        let (dim, settings) = (manifest.dim, manifest.settings_checksum());
        let mut damage = Vec::new();
        // Before the segments, which a writer writes first.
        let newest = newest(library).unwrap_or_else(|error| {
            damage.push(error);
            0
        });
        let directory = segments_directory(library);
        let all = Segment::list(&directory)?;
        let mut readers = Vec::with_capacity(all.len());
        // What a segment replaces is known of those that are whole.
        let mut unknown = 0;
        for segment in &all {
            match SegmentReader::open(segment, dim, settings) {
                Ok(reader) => {
                    if reader.fault.is_some() {
                        unknown = segment.sequence;
                    }
                    readers.push(reader);
                }
                Err(error) => {
                    unknown = segment.sequence;
                    damage.push(unless_gone(error)?);
                }
            }
        }
        // A compaction that was cut off before deleting leaves segments whose rows count no more.
        let replaces: Vec<Replaced> = readers.iter().filter_map(|reader| reader.replaces).collect();
        let counts = |reader: &SegmentReader| {
            !replaces.iter().any(|replaced| replaced.contains(reader.segment.sequence))
        };
        let (readers, replaced): (Vec<_>, Vec<_>) = readers.into_iter().partition(counts);
        let replaced = replaced.into_iter().map(|reader| reader.segment).collect();
        let present =
            all.iter().map(|Segment { sequence, .. }| Replaced { first: *sequence, last: *sequence });
        let gone = gaps(present.chain(replaces).collect(), unknown, newest);
        if !gone.is_empty() && Segment::list(&directory)? != all {
            // A compaction was under way while the directory was listed.
            return Err(IoError::of("list", &directory)(ErrorKind::NotFound.into()).into());
        }
        damage.extend(gone.into_iter().map(|gap| {
            let (first, last) = gap.into_inner();
            let reason = match last - first {
                0 => "it is missing".to_owned(),
                before => format!("it is missing, and {before} before it"),
            };
            RetrievalError::DamagedSegment { path: Segment::new(&directory, last).path, reason }
        }));
        damage.extend(readers.iter().filter_map(|reader| {
            let reason = reader.fault.clone()?;
            Some(RetrievalError::DamagedSegment { path: reader.segment.path.clone(), reason })
        }));
        let next_sequence = all.last().map_or(0, |last| last.sequence).max(newest) + 1;
        Ok(Self { next_sequence, readers, replaced, dim, damage })
    }

    /// Rows there are, at most.
    pub(super) fn rows(&self) -> usize {
        self.readers.iter().map(SegmentReader::rows).sum()
    }

    /// Reads all rows, handing the embedding of each good one to `each`.
    ///
    /// # Errors
    /// As [`Segments::open`].
    pub(super) fn catalog(mut self, each: &mut dyn FnMut(&[f32])) -> Result<Catalog, RetrievalError> {
        let mut entries = Vec::with_capacity(self.rows());
        let mut places = Vec::with_capacity(self.rows());
        let mut damage = std::mem::take(&mut self.damage);
        self.read(&mut damage, &mut |place, entry, embedding| {
            entries.push(entry);
            places.push(place);
            each(embedding);
        })?;
        Ok(self.counted(entries, places, damage))
    }

    /// The catalog of rows that were read.
    pub(super) fn counted(
        &self,
        entries: Vec<LibraryEntry>,
        places: Vec<Place>,
        damage: Vec<RetrievalError>,
    ) -> Catalog {
        let (live, files) = live_rows(&entries, &places, &self.forgotten());
        Catalog { entries, places, live, files, damage, incomplete: HashSet::new() }
    }

    /// The files that were forgotten, with the number of the last segment that says so.
    fn forgotten(&self) -> HashMap<&Path, u64> {
        let marks = |reader: &'_ SegmentReader| reader.segment.sequence;
        let files = self
            .readers
            .iter()
            .flat_map(|reader| reader.forgets.iter().map(move |path| (Path::new(path), marks(reader))));
        files.collect()
    }

    /// Hands every good row to `each`, with its place; what is damaged goes to `damage`.
    pub(super) fn read(
        &self,
        damage: &mut Vec<RetrievalError>,
        each: &mut dyn FnMut(Place, LibraryEntry, &[f32]),
    ) -> Result<(), RetrievalError> {
        for reader in &self.readers {
            let sequence = reader.segment.sequence;
            let mut each = |row, entry, embedding: &[f32]| each(Place { sequence, row }, entry, embedding);
            if let Err(error) = reader.read(self.dim, damage, &mut each) {
                damage.push(unless_gone(error)?);
            }
        }
        Ok(())
    }
}

impl Catalog {
    /// Looks for files that have rows in one segment with damaged ones of theirs. With these alone the file
    /// would be there, and nobody would ask for the others again.
    pub(super) fn find_incomplete(&mut self) {
        if !self.damage.iter().any(|error| matches!(error, RetrievalError::DamagedRows { .. })) {
            return;
        }
        // What was written of a file at a time.
        let mut rows_of: HashMap<(u64, &Path), Vec<usize>> = HashMap::new();
        for (row, (entry, place)) in self.entries.iter().zip(&self.places).enumerate() {
            rows_of.entry((place.sequence, entry.path.as_path())).or_default().push(row);
        }
        let mut lost: HashSet<(u64, &Path)> = HashSet::new();
        let (mut before, mut behind) = (HashSet::new(), HashSet::new());
        for error in &self.damage {
            let RetrievalError::DamagedRows { path, first, last, file, .. } = error else { continue };
            let Some(sequence) = Segment::number_of(path) else { continue };
            match file.as_deref().map(|file| (sequence, file)).filter(|of| rows_of.contains_key(of)) {
                Some(of) => drop(lost.insert(of)),
                // Of which file they are is not known, or they are all there was of it: perhaps they are of
                // the file before them, or of that behind them.
                None => {
                    before.extend(first.checked_sub(1).map(|row| Place { sequence, row }));
                    behind.insert(Place { sequence, row: last + 1 });
                }
            }
        }
        let has_moments = rows_of.values().any(|rows| rows.len() > 1);
        for (row, (entry, place)) in self.entries.iter().zip(&self.places).enumerate() {
            let of = (place.sequence, entry.path.as_path());
            let may_have_others = has_moments && entry.kind == MediaKind::Video;
            // The whole of a file comes first, and the file has lost nothing where that is there.
            let begins = || {
                let rows = rows_of.get(&of).map_or(&[][..], Vec::as_slice);
                let range = |row: usize| self.entries[row].time_range;
                rows.len() > 1 && rows.iter().all(|&other| other >= row && holds(range(row), range(other)))
            };
            if may_have_others && (before.contains(place) || behind.contains(place) && !begins()) {
                lost.insert(of);
            }
        }
        let rows = self.entries.iter().zip(&self.places).zip(&self.live);
        let rows = rows.filter(|((entry, place), live)| {
            **live && lost.contains(&(place.sequence, entry.path.as_path()))
        });
        self.incomplete = rows.map(|((entry, _), _)| entry.path.clone()).collect();
    }
}

/// An error that is of one segment alone, unless the segment is gone.
pub(super) fn unless_gone(error: RetrievalError) -> Result<RetrievalError, RetrievalError> {
    match &error {
        RetrievalError::Io(reason) if reason.kind() == ErrorKind::NotFound => Err(error),
        _ => Ok(error),
    }
}
