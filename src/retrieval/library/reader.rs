//! Reading a library.

use std::borrow::Cow;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ndarray::ArrayView2;

use super::catalog::{Catalog, Segments, segments_directory};
use super::confidence::LastNull;
use super::entry::{FileFingerprint, LibraryEntry};
use super::index::{Index, KnownCodes, Matrix};
use super::manifest::LibraryManifest;
use super::neighbours::InOrder;
use super::on_disk::OnDisk;
use super::search::{LastMask, Share, shares};
use super::segment::Segment;
use super::survey::OnCodes;
use super::tags::{TagTable, Tags};
use crate::options::with_fields;
use crate::retrieval::RetrievalError;

/// Size of the embeddings up to which a library is read into memory, in bytes, unless told otherwise.
pub(super) const MEMORY_BYTES: u64 = 256 << 20;

/// How [`Library::open_with`] goes about it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LibraryOptions {
    /// Up to this size in bytes, as f32, the embeddings are read into memory, and every one is scored by a
    /// search: 256 MiB unless told otherwise. Beyond, they stay on disk, and in memory are codes of one bit a
    /// value.
    pub memory_bytes: u64,
}

with_fields!(LibraryOptions { with_memory_bytes(memory_bytes: u64) });

impl Default for LibraryOptions {
    fn default() -> Self {
        Self { memory_bytes: MEMORY_BYTES }
    }
}

/// All live rows of a library directory.
///
/// A snapshot: rows that a writer adds later are seen by opening anew. It may be searched from many threads
/// at a time.
///
/// The embeddings of a small library are in memory. Those of a [larger one](LibraryOptions::memory_bytes)
/// stay on disk: a search goes over codes of one bit a value, 64 bytes of each row at first, and scores
/// exactly the rows that may be among the best by what the codes tell, with
/// [`SearchOptions::exact`](super::SearchOptions::exact) all. The codes of a segment lie beside it; where
/// they are missing or older than it they are made when the library is opened.
#[derive(Debug)]
pub struct Library {
    directory: PathBuf,
    options: LibraryOptions,
    /// What there was when it was opened.
    segments: Vec<SegmentState>,
    manifest: LibraryManifest,
    entries: Arc<Vec<LibraryEntry>>,
    shares: Arc<Vec<Share>>,
    /// Whether every file has one row.
    is_simple: bool,
    last_mask: LastMask,
    last_null: Arc<LastNull>,
    /// Made when moments are first asked for.
    in_order: Arc<OnceLock<InOrder>>,
    index: Arc<dyn Index>,
    tags: TagTable,
    /// What the file of tags was when they were read.
    tags_file: Option<FileFingerprint>,
    damage: Vec<RetrievalError>,
}

/// A segment, and the state of its file: another library may have come to lie in the same place.
type SegmentState = (Segment, Option<FileFingerprint>);

/// The segments there are.
fn listed(library: &Path) -> Result<Vec<SegmentState>, RetrievalError> {
    let segments = Segment::list(&segments_directory(library))?.into_iter();
    let with_state = segments.map(|segment| {
        let state = FileFingerprint::of_file(&segment.path).ok();
        (segment, state)
    });
    Ok(with_state.collect())
}

/// How often opening starts over when a writer deletes the segments being read.
const MAX_ATTEMPTS: usize = 8;

impl Library {
    /// Reads the manifest and what is known of all live rows. Needs no lock and may run beside a writer.
    ///
    /// What is damaged does not keep the rest from being read: see [`Library::damage`].
    ///
    /// # Errors
    /// [`RetrievalError::NotALibrary`], [`RetrievalError::InvalidManifest`], [`RetrievalError::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, RetrievalError> {
        Self::open_with(directory, &LibraryOptions::default(), |_, _| {})
    }

    /// As [`open`](Self::open). `on_codes` is told, where codes have to be made, of how many rows they are,
    /// and of how many they will be: a minute for a million rows.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with(
        directory: impl AsRef<Path>,
        options: &LibraryOptions,
        mut on_codes: impl FnMut(usize, usize),
    ) -> Result<Self, RetrievalError> {
        Self::open_knowing(directory.as_ref(), options, &KnownCodes::new(), &mut on_codes)
    }

    fn open_knowing(
        directory: &Path,
        options: &LibraryOptions,
        known: &KnownCodes,
        on_codes: OnCodes<'_>,
    ) -> Result<Self, RetrievalError> {
        let manifest = LibraryManifest::read(directory)?;
        let mut attempt = 1;
        loop {
            match Self::read(directory, &manifest, options, known, on_codes) {
                // A compaction has replaced a segment between listing and reading it.
                Err(RetrievalError::Io(error))
                    if error.kind() == std::io::ErrorKind::NotFound && attempt < MAX_ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    fn read(
        directory: &Path,
        manifest: &LibraryManifest,
        options: &LibraryOptions,
        known: &KnownCodes,
        on_codes: OnCodes<'_>,
    ) -> Result<Self, RetrievalError> {
        let listed = listed(directory)?;
        let segments = Segments::open(directory, manifest)?;
        let dim = manifest.dim;
        let in_memory = fits_in_memory(segments.rows(), dim, options.memory_bytes);
        let mut values: Vec<f32> = Vec::with_capacity(if in_memory { segments.rows() * dim } else { 0 });
        let (catalog, on_disk) = if in_memory {
            (segments.catalog(&mut |embedding| values.extend_from_slice(embedding))?, Vec::new())
        } else {
            segments.survey(known, on_codes)?
        };
        let Catalog { mut entries, mut places, live, files, mut damage, .. } = catalog;
        if live.contains(&false) {
            if in_memory {
                keep_live(&mut values, &live, dim);
            }
            keep(&mut entries, &live);
            keep(&mut places, &live);
        }
        let entries = Arc::new(entries);
        let index: Arc<dyn Index> = if in_memory {
            let matrix = ndarray::Array2::from_shape_vec((entries.len(), dim), values).map_err(|e| {
                // Cannot happen: every embedding was checked to be `dim` wide.
                RetrievalError::InvalidFile { path: directory.to_owned(), reason: e.to_string() }
            })?;
            Arc::new(Matrix(matrix))
        } else {
            Arc::new(OnDisk::new(dim, on_disk, Arc::clone(&entries), &places))
        };
        let (directory, manifest) = (directory.to_owned(), manifest.clone());
        let is_simple = entries.len() == files;
        let shares = if is_simple { vec![Share::Alone; files] } else { shares(&entries) };
        let last_mask = LastMask::default();
        let (tags, tags_file) = read_tags(&directory, &mut damage);
        Ok(Self {
            directory,
            options: options.clone(),
            segments: listed,
            manifest,
            entries,
            shares: Arc::new(shares),
            is_simple,
            last_mask,
            last_null: Arc::default(),
            in_order: Arc::default(),
            index,
            tags,
            tags_file,
            damage,
        })
    }

    /// What could not be read, of which there is nothing among the rows: [`RetrievalError::DamagedSegment`],
    /// [`RetrievalError::DamagedRows`], [`RetrievalError::DamagedNewest`],
    /// [`RetrievalError::ForeignSegment`], [`RetrievalError::DamagedTags`] and [`RetrievalError::Io`]. Empty
    /// as a rule.
    #[must_use]
    pub fn damage(&self) -> &[RetrievalError] {
        &self.damage
    }

    /// Whether a writer has added, removed or tagged nothing since the library was opened. Where it has,
    /// [`reload`](Self::reload) shows what there is, and this one goes on as it was.
    ///
    /// # Errors
    /// [`RetrievalError::Io`].
    pub fn is_current(&self) -> Result<bool, RetrievalError> {
        Ok(self.has_same_tags() && self.has_same_rows()?)
    }

    fn has_same_tags(&self) -> bool {
        TagTable::file(&self.directory) == self.tags_file
    }

    fn has_same_rows(&self) -> Result<bool, RetrievalError> {
        Ok(listed(&self.directory)? == self.segments)
    }

    /// What there is now, where that is something else; `None` where a writer has added, removed or tagged
    /// nothing. This one stays what it is: searches that are under way, and hits of before, remain right.
    /// Where files were tagged and nothing else, the two share their rows; otherwise the library is opened
    /// anew, with codes in memory shared of segments that both have.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn reload(&self) -> Result<Option<Self>, RetrievalError> {
        let has_same_rows = self.has_same_rows()?;
        if has_same_rows && self.has_same_tags() {
            return Ok(None);
        }
        if has_same_rows && self.damage.is_empty() {
            let mut damage = Vec::new();
            let (tags, tags_file) = read_tags(&self.directory, &mut damage);
            return Ok(Some(Self {
                directory: self.directory.clone(),
                options: self.options.clone(),
                segments: self.segments.clone(),
                manifest: self.manifest.clone(),
                entries: Arc::clone(&self.entries),
                shares: Arc::clone(&self.shares),
                is_simple: self.is_simple,
                last_mask: LastMask::default(),
                last_null: Arc::clone(&self.last_null),
                in_order: Arc::clone(&self.in_order),
                index: Arc::clone(&self.index),
                tags,
                tags_file,
                damage,
            }));
        }
        Self::open_knowing(&self.directory, &self.options, &self.index.codes(), &mut |_, _| {}).map(Some)
    }

    /// Fails unless the library was made the way `ours` says: embed queries with the settings of the library.
    ///
    /// # Errors
    /// [`RetrievalError::ManifestMismatch`] listing what differs.
    pub fn require_manifest(&self, ours: &LibraryManifest) -> Result<(), RetrievalError> {
        self.manifest.require_same(ours, &self.directory)
    }

    /// How the embeddings were made.
    #[must_use]
    pub fn manifest(&self) -> &LibraryManifest {
        &self.manifest
    }

    /// What the rows stand for, in the order of [`Library::embeddings`].
    #[must_use]
    pub fn entries(&self) -> &[LibraryEntry] {
        &self.entries
    }

    /// What users say of a file; `None` where that is nothing.
    #[must_use]
    pub fn tags(&self, path: &Path) -> Option<&Tags> {
        self.tags.of(path)
    }

    /// The files with tags, in order.
    pub fn tagged(&self) -> impl Iterator<Item = (&Path, &Tags)> {
        let known: HashSet<&Path> = self.entries.iter().map(|entry| entry.path.as_path()).collect();
        self.tags.iter().filter(move |(path, _)| known.contains(path))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn tag_table(&self) -> &TagTable {
        &self.tags
    }

    /// The embeddings, `[rows, dim]`, where they are in memory: see [`LibraryOptions::memory_bytes`].
    #[must_use]
    pub fn embeddings(&self) -> Option<ArrayView2<'_, f32>> {
        self.index.matrix().map(|matrix| matrix.view())
    }

    /// The embedding of row `row` of [`entries`](Self::entries); `None` if it has decayed since the library
    /// was opened.
    ///
    /// # Errors
    /// [`RetrievalError::CandidateOutOfRange`]; [`RetrievalError::Io`] where it is read from disk.
    pub fn embedding(&self, row: usize) -> Result<Option<Cow<'_, [f32]>>, RetrievalError> {
        self.index.embedding(row)
    }

    /// What searches have found damaged since this was last asked: [`RetrievalError::DamagedRows`]. Such rows
    /// are not among what is found.
    #[must_use]
    pub fn take_damage(&self) -> Vec<RetrievalError> {
        self.index.take_damage()
    }

    pub(super) fn is_simple(&self) -> bool {
        self.is_simple
    }

    pub(super) fn last_mask(&self) -> &LastMask {
        &self.last_mask
    }

    pub(super) fn last_null(&self) -> &LastNull {
        &self.last_null
    }

    pub(super) fn in_order(&self) -> &InOrder {
        self.in_order.get_or_init(|| InOrder::of(&self.entries))
    }

    pub(super) fn index(&self) -> &dyn Index {
        self.index.as_ref()
    }

    /// What each row is among those of its file.
    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }
}

/// The tags of a library, and the state of their file before they were read.
fn read_tags(directory: &Path, damage: &mut Vec<RetrievalError>) -> (TagTable, Option<FileFingerprint>) {
    let file = TagTable::file(directory);
    let tags = TagTable::read(directory).unwrap_or_else(|error| {
        damage.push(error);
        TagTable::default()
    });
    (tags, file)
}

/// Whether so many embeddings are read into memory.
pub(super) fn fits_in_memory(rows: usize, dim: usize, most: u64) -> bool {
    (rows as u64).saturating_mul((dim * size_of::<f32>()) as u64) <= most
}

/// Takes rows that do not count out of `rows`.
fn keep<T>(rows: &mut Vec<T>, live: &[bool]) {
    let mut live = live.iter();
    rows.retain(|_| live.next().is_none_or(|live| *live));
}

/// Takes the embeddings of rows that do not count out of `values`.
fn keep_live(values: &mut Vec<f32>, live: &[bool], dim: usize) {
    let mut rows = 0;
    for (row, _) in live.iter().enumerate().filter(|(_, live)| **live) {
        values.copy_within(row * dim..(row + 1) * dim, rows * dim);
        rows += 1;
    }
    values.truncate(rows * dim);
}
