//! Adding to a library.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Segments, segments_directory};
use super::content::ContentHash;
use super::entry::{FileFingerprint, LibraryEntry, LibraryRow, Place, check_length, check_range};
use super::index::KnownCodes;
use super::manifest::{LibraryManifest, MANIFEST_FORMAT_VERSION};
use super::reader::{MEMORY_BYTES, fits_in_memory};
use super::segment::{Replaced, Segment, set_newest};
use super::segment_writer::{SegmentWriter, path_text};
use crate::media::MediaKind;
use crate::retrieval::RetrievalError;
use crate::store::{IoError, Lock};

/// Rows that wait for the next segment, at most.
const FLUSH_ROWS: usize = 256;
/// How long a row waits for the next segment, at most, as long as rows keep coming.
const FLUSH_INTERVAL: Duration = Duration::from_secs(20);
/// [`LibraryWriter::flush`] joins the newest segments when there are more: a reader of a large library holds
/// a file open for each.
const MAX_UNJOINED: usize = 128;
/// [`LibraryWriter::finish`] joins the segments when there are more.
pub(super) const MAX_SEGMENTS: usize = 32;

/// The one writer of a library directory.
///
/// Rows are safe once they are flushed: by [`LibraryWriter::append`] every 256 rows or 20 seconds, or by
/// [`LibraryWriter::flush`] and [`LibraryWriter::finish`]. A writer dropped or killed loses only rows that
/// were not flushed.
#[derive(Debug)]
pub struct LibraryWriter {
    pub(super) directory: PathBuf,
    pub(super) manifest: LibraryManifest,
    pub(super) files: HashMap<PathBuf, KnownFile>,
    /// Rows on disk, whether or not they count.
    pub(super) rows: usize,
    pending: Vec<LibraryRow>,
    last_flush: Instant,
    flush_interval: Duration,
    pub(super) next_sequence: u64,
    /// Segments that were there, or have come since some were joined.
    unjoined: usize,
    pub(super) damage: Vec<RetrievalError>,
    format_before: u32,
    _lock: Lock,
}

/// What a library has of a file.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownFile {
    pub(crate) kind: MediaKind,
    pub(crate) fingerprint: FileFingerprint,
    pub(crate) content: Option<ContentHash>,
    /// Where its rows are on disk.
    pub(super) places: Vec<Place>,
}

impl KnownFile {
    pub(super) fn of(entry: &LibraryEntry) -> Self {
        let LibraryEntry { kind, fingerprint, content, .. } = *entry;
        Self { kind, fingerprint, content, places: Vec::new() }
    }
}

impl LibraryWriter {
    /// Opens the library in `directory` for adding, or starts one there. `manifest` says how the rows to come
    /// are made; it must match that of an existing library. Rows that are damaged are not among those it has:
    /// see [`LibraryWriter::damage`]. A library of an older layout is brought to this one, which programs of
    /// before refuse: see [`LibraryWriter::format_before`].
    ///
    /// # Errors
    /// [`RetrievalError::Locked`] while another process writes; [`RetrievalError::ManifestMismatch`] listing
    /// what differs; [`RetrievalError::ForeignSegment`]; those of [`Library::open`](super::Library::open).
    pub fn create_or_open(
        directory: impl AsRef<Path>,
        manifest: LibraryManifest,
    ) -> Result<Self, RetrievalError> {
        Self::open_any(directory.as_ref(), manifest)
    }

    /// As [`create_or_open`](Self::create_or_open), of a library that is there.
    ///
    /// # Errors
    /// Also [`RetrievalError::NotALibrary`].
    pub fn open(directory: impl AsRef<Path>, manifest: LibraryManifest) -> Result<Self, RetrievalError> {
        let directory = directory.as_ref();
        LibraryManifest::read(directory)?;
        Self::open_any(directory, manifest)
    }

    fn open_any(directory: &Path, manifest: LibraryManifest) -> Result<Self, RetrievalError> {
        manifest.require_sound(directory)?;
        let segments = segments_directory(directory);
        fs::create_dir_all(&segments).map_err(IoError::of("create the directory", &segments))?;
        let lock_file = directory.join("library.lock");
        let lock = Lock::take(&lock_file)?.ok_or_else(|| RetrievalError::Locked {
            path: directory.to_owned(),
            holder: Lock::holder(&lock_file),
        })?;
        let format_version = MANIFEST_FORMAT_VERSION;
        // What the rows on disk are made with is what it says there, in its words.
        let (mut manifest, is_written) = match LibraryManifest::read(directory) {
            Ok(existing) => {
                existing.require_same(&manifest, directory)?;
                (existing, true)
            }
            Err(RetrievalError::NotALibrary { .. }) => {
                (LibraryManifest { format_version, ..manifest }, false)
            }
            Err(e) => return Err(e),
        };
        Segment::remove_temporary_files(&segments)?;
        let segments = Segments::open(directory, &manifest)?;
        if segments.damage.is_empty() {
            segments.replaced.iter().try_for_each(Segment::remove)?;
        }
        let (next_sequence, unjoined) = (segments.next_sequence, segments.readers.len());
        let catalog = readable(segments.known()?)?;
        let format_before = std::mem::replace(&mut manifest.format_version, format_version);
        // Not before the rows there are were read by it: one that does not fit would keep out that which does.
        if !is_written || format_before != format_version {
            manifest.write(directory)?;
        }
        let rows = catalog.entries.len();
        let (files, damage) = known_files(catalog);
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            files,
            rows,
            pending: Vec::new(),
            last_flush: Instant::now(),
            flush_interval: FLUSH_INTERVAL,
            next_sequence,
            unjoined,
            damage,
            format_before,
            _lock: lock,
        })
    }

    /// The layout that the library had: [`MANIFEST_FORMAT_VERSION`] as a rule. One that is less has been
    /// brought to that, and is to be told to whoever also uses the program that wrote it.
    #[must_use]
    pub fn format_before(&self) -> u32 {
        self.format_before
    }

    /// Lets rows wait so long for the next segment, instead of 20 seconds.
    #[must_use]
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// What was found damaged when the library was opened: [`RetrievalError::DamagedSegment`],
    /// [`RetrievalError::DamagedRows`] and [`RetrievalError::DamagedNewest`]. The library does not have it
    /// any more, and files that have lost some of their rows are [incomplete](Self::is_incomplete);
    /// [`LibraryWriter::finish`] and
    /// [`LibraryWriter::compact`] write anew what is good in the damaged files, and set these aside as
    /// `segments/*.damaged`.
    #[must_use]
    pub fn damage(&self) -> &[RetrievalError] {
        &self.damage
    }

    /// Where the library lies.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How the rows are made.
    #[must_use]
    pub fn manifest(&self) -> &LibraryManifest {
        &self.manifest
    }

    /// Whether the library has rows of this file in this state, so that it need not be embedded again.
    #[must_use]
    pub fn is_current(&self, path: &Path, fingerprint: FileFingerprint) -> bool {
        self.files.get(path).is_some_and(|file| file.fingerprint == fingerprint)
    }

    /// Whether the library has rows of this file, in whatever state.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.files.contains_key(path)
    }

    /// The files the library has rows of, in no particular order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.keys().map(PathBuf::as_path)
    }

    /// Whether some rows of a file were damaged, and the library has others. These are found as before, and
    /// the file is embedded anew with all of them when it is indexed again.
    #[must_use]
    pub fn is_incomplete(&self, path: &Path) -> bool {
        self.known(path).is_some_and(|file| file.fingerprint == FileFingerprint::UNKNOWN)
    }

    /// What is known of a file.
    pub(crate) fn known(&self, path: &Path) -> Option<&KnownFile> {
        self.files.get(path)
    }

    /// The files, with what is known of them.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&Path, &KnownFile)> {
        self.files.iter().map(|(path, file)| (path.as_path(), file))
    }

    /// Adds rows; rows of an older state of the same file count no more.
    ///
    /// Give all rows of a file in one call: they become durable together.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`], [`RetrievalError::InvalidEmbedding`] if a vector is not of
    /// length 1, [`RetrievalError::PathNotUtf8`]; none of the rows is then added. [`RetrievalError::Io`] from
    /// flushing.
    pub fn append(&mut self, rows: &[LibraryRow]) -> Result<(), RetrievalError> {
        for row in rows {
            self.check(row)?;
        }
        for LibraryRow { entry, .. } in rows {
            if !self.is_current(&entry.path, entry.fingerprint) {
                self.files.insert(entry.path.clone(), KnownFile::of(entry));
            }
        }
        self.pending.extend_from_slice(rows);
        if self.pending.len() >= FLUSH_ROWS || self.last_flush.elapsed() >= self.flush_interval {
            self.flush()?;
        }
        Ok(())
    }

    fn check(&self, row: &LibraryRow) -> Result<(), RetrievalError> {
        let what = path_text(&row.entry.path)?.to_owned();
        if row.embedding.len() != self.manifest.dim {
            let what = format!("the embedding of {what}");
            return Err(RetrievalError::DimensionMismatch {
                what,
                expected: self.manifest.dim,
                got: row.embedding.len(),
            });
        }
        check_range(row.entry.time_range)
            .and_then(|()| check_length(&row.embedding))
            .and_then(|()| check_length(&self.manifest.store_dtype.rounded(&row.embedding)))
            .map_err(|reason| RetrievalError::InvalidEmbedding { what, reason })
    }

    /// Makes all rows added so far durable.
    ///
    /// # Errors
    /// [`RetrievalError::Io`]; the rows then still wait.
    pub fn flush(&mut self) -> Result<(), RetrievalError> {
        if !self.pending.is_empty() {
            let mut writer = self.start_segment(None)?;
            for row in &self.pending {
                writer.push(row.clone())?;
            }
            writer.finish()?;
            let sequence = self.next_sequence;
            for (row, LibraryRow { entry, .. }) in self.pending.drain(..).enumerate() {
                // A newer state may be among the rows that come behind.
                if let Some(file) = self.files.get_mut(&entry.path)
                    && file.fingerprint == entry.fingerprint
                {
                    file.content = entry.content;
                    file.places.push(Place { sequence, row });
                }
                self.rows += 1;
            }
            self.count_segment()?;
            self.unjoined += 1;
            if self.unjoined > MAX_UNJOINED {
                self.join_newest()?;
                self.unjoined = 0;
            }
        }
        self.last_flush = Instant::now();
        Ok(())
    }

    /// Makes all rows durable, joins segments if they have become many, some are damaged or much in them
    /// counts no more, makes the codes that a library too large for memory is searched by, and ends writing.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::flush`] and [`LibraryWriter::compact`].
    pub fn finish(mut self) -> Result<(), RetrievalError> {
        self.flush()?;
        let segments = Segment::list(&segments_directory(&self.directory))?.len();
        if !self.damage.is_empty() || self.is_much_dead(|_| true) {
            self.compact()?;
        } else if segments > MAX_SEGMENTS {
            self.join_newest()?;
        }
        if !fits_in_memory(self.rows, self.manifest.dim, MEMORY_BYTES) {
            Segments::open(&self.directory, &self.manifest)?.survey(&KnownCodes::new(), &mut |_, _| {})?;
        }
        Ok(())
    }

    /// A segment of the next number is on disk.
    pub(super) fn count_segment(&mut self) -> Result<(), RetrievalError> {
        self.next_sequence += 1;
        set_newest(&self.directory, self.next_sequence - 1)
    }

    pub(super) fn start_segment(&self, replaces: Option<Replaced>) -> Result<SegmentWriter, RetrievalError> {
        let segment = Segment::new(&segments_directory(&self.directory), self.next_sequence);
        let settings = self.manifest.settings_checksum();
        let kind = (self.manifest.store_dtype, self.manifest.dim);
        SegmentWriter::create(&segment, kind, settings, replaces)
    }
}

/// The files of the rows that count, and the damage.
fn known_files(catalog: Catalog) -> (HashMap<PathBuf, KnownFile>, Vec<RetrievalError>) {
    let Catalog { entries, places, live, damage, incomplete, .. } = catalog;
    let mut files: HashMap<PathBuf, KnownFile> = HashMap::new();
    let rows = entries.into_iter().zip(places).zip(live);
    for ((mut entry, place), _) in rows.filter(|(_, live)| *live) {
        if incomplete.contains(&entry.path) {
            entry.forget_state();
        }
        let known = KnownFile::of(&entry);
        let file = files.entry(entry.path).or_insert(known);
        file.places.push(place);
    }
    (files, damage)
}

/// The catalog as a writer has it, if all that is missing from it is damaged for good: what may be read
/// another time is not given up.
pub(super) fn readable(mut catalog: Catalog) -> Result<Catalog, RetrievalError> {
    match catalog.damage.iter().position(|error| damaged_file(error).is_none()) {
        Some(unreadable) => Err(catalog.damage.swap_remove(unreadable)),
        None => {
            catalog.find_incomplete();
            Ok(catalog)
        }
    }
}

/// The file of the library that is damaged.
pub(super) fn damaged_file(error: &RetrievalError) -> Option<&Path> {
    match error {
        RetrievalError::DamagedSegment { path, .. }
        | RetrievalError::DamagedRows { path, .. }
        | RetrievalError::DamagedNewest { path, .. } => Some(path),
        _ => None,
    }
}
