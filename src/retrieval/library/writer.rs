//! Adding to a library.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, Segments, segments_directory};
use super::entry::{FileFingerprint, LibraryRow, check_length, check_range, newest_fingerprints};
use super::manifest::LibraryManifest;
use super::segment::{Segment, set_newest};
use super::segment_writer::{SegmentWriter, path_text};
use crate::retrieval::RetrievalError;
use crate::store::{IoError, Lock};

/// Rows that wait for the next segment, at most.
const FLUSH_ROWS: usize = 256;
/// How long a row waits for the next segment, at most, as long as rows keep coming.
const FLUSH_INTERVAL: Duration = Duration::from_secs(20);
/// [`LibraryWriter::finish`] joins the segments when there are more.
const MAX_SEGMENTS: usize = 32;

/// The one writer of a library directory.
///
/// Rows are safe once they are flushed: by [`LibraryWriter::append`] every 256 rows or 20 seconds, or by
/// [`LibraryWriter::flush`] and [`LibraryWriter::finish`]. A writer dropped or killed loses only rows that
/// were not flushed.
#[derive(Debug)]
pub struct LibraryWriter {
    directory: PathBuf,
    manifest: LibraryManifest,
    fingerprints: HashMap<PathBuf, FileFingerprint>,
    pending: Vec<LibraryRow>,
    last_flush: Instant,
    flush_interval: Duration,
    next_sequence: u64,
    damage: Vec<RetrievalError>,
    _lock: Lock,
}

impl LibraryWriter {
    /// Opens the library in `directory` for adding, or starts one there. `manifest` says how the rows to come
    /// are made; it must match that of an existing library. Rows that are damaged are not among those it has:
    /// see [`LibraryWriter::damage`].
    ///
    /// # Errors
    /// [`RetrievalError::Locked`] while another process writes; [`RetrievalError::ManifestMismatch`] listing
    /// what differs; [`RetrievalError::ForeignSegment`]; those of [`Library::open`](super::Library::open).
    pub fn create_or_open(
        directory: impl AsRef<Path>,
        manifest: LibraryManifest,
    ) -> Result<Self, RetrievalError> {
        let directory = directory.as_ref();
        let segments = segments_directory(directory);
        fs::create_dir_all(&segments).map_err(IoError::of("create the directory", &segments))?;
        let lock = Lock::take(&directory.join("library.lock"))?
            .ok_or_else(|| RetrievalError::Locked { path: directory.to_owned() })?;
        match LibraryManifest::read(directory) {
            Ok(existing) => existing.require_same(&manifest, directory)?,
            Err(RetrievalError::NotALibrary { .. }) => manifest.write(directory)?,
            Err(e) => return Err(e),
        }
        Segment::remove_temporary_files(&segments)?;
        // What the rows on disk are made with is what it says there, in its words.
        let manifest = LibraryManifest::read(directory)?;
        let segments = Segments::open(directory, &manifest)?;
        let next_sequence = segments.next_sequence;
        let catalog = readable(segments.catalog(&mut |_| {})?)?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            fingerprints: newest_fingerprints(&catalog.entries),
            pending: Vec::new(),
            last_flush: Instant::now(),
            flush_interval: FLUSH_INTERVAL,
            next_sequence,
            damage: catalog.damage,
            _lock: lock,
        })
    }

    /// Lets rows wait so long for the next segment, instead of 20 seconds.
    #[must_use]
    pub fn flush_interval(mut self, interval: Duration) -> Self {
        self.flush_interval = interval;
        self
    }

    /// What was found damaged when the library was opened: [`RetrievalError::DamagedSegment`] and
    /// [`RetrievalError::DamagedRows`]. The library does not have it any more; [`LibraryWriter::finish`] and
    /// [`LibraryWriter::compact`] write anew what is good in the damaged files, and set these aside as
    /// `segments/*.damaged`.
    #[must_use]
    pub fn damage(&self) -> &[RetrievalError] {
        &self.damage
    }

    /// How the rows are made.
    #[must_use]
    pub fn manifest(&self) -> &LibraryManifest {
        &self.manifest
    }

    /// Whether the library has rows of this file in this state, so that it need not be embedded again.
    #[must_use]
    pub fn is_current(&self, path: &Path, fingerprint: FileFingerprint) -> bool {
        self.fingerprints.get(path) == Some(&fingerprint)
    }

    /// Whether the library has rows of this file, in whatever state.
    #[must_use]
    pub fn has(&self, path: &Path) -> bool {
        self.fingerprints.contains_key(path)
    }

    /// The files the library has rows of, in no particular order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.fingerprints.keys().map(PathBuf::as_path)
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
        self.fingerprints.extend(rows.iter().map(|row| (row.entry.path.clone(), row.entry.fingerprint)));
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
            self.pending.clear();
            self.count_segment()?;
        }
        self.last_flush = Instant::now();
        Ok(())
    }

    /// Removes the rows of all files for which `keep` is false; gives back how many files went.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::compact`].
    pub fn prune(&mut self, mut keep: impl FnMut(&Path) -> bool) -> Result<usize, RetrievalError> {
        let before = self.fingerprints.len();
        self.fingerprints.retain(|path, _| keep(path));
        let removed = before - self.fingerprints.len();
        if removed > 0 {
            self.compact()?;
        }
        Ok(removed)
    }

    /// Has the files beneath the folder `from` lie beneath `to` instead, as after their drive was mounted elsewhere:
    /// their rows stay as they are. Gives back how many files these are.
    ///
    /// # Errors
    /// [`RetrievalError::PathNotUtf8`]; [`RetrievalError::Relocation`] where the library has a file of that path
    /// already, with nothing done; those of [`LibraryWriter::compact`].
    pub fn relocate(&mut self, from: &Path, to: &Path) -> Result<usize, RetrievalError> {
        path_text(to)?;
        let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| to.join(rest));
        let moves: HashMap<PathBuf, PathBuf> =
            self.fingerprints.keys().filter_map(|path| Some((path.clone(), moved(path)?))).collect();
        let taken =
            |target: &&PathBuf| self.fingerprints.contains_key(*target) && !moves.contains_key(*target);
        if let Some(taken) = moves.values().find(taken) {
            return Err(RetrievalError::Relocation { path: taken.clone() });
        }
        if !moves.is_empty() {
            self.compact_as(&moves)?;
            let renamed = |(path, state)| (moves.get(&path).cloned().unwrap_or(path), state);
            self.fingerprints = std::mem::take(&mut self.fingerprints).into_iter().map(renamed).collect();
        }
        Ok(moves.len())
    }

    /// Joins all segments into one that holds the live rows alone. Damaged ones are set aside.
    ///
    /// # Errors
    /// [`RetrievalError::Io`]. Nothing is lost then, nor when killed.
    pub fn compact(&mut self) -> Result<(), RetrievalError> {
        self.compact_as(&HashMap::new())
    }

    /// As [`compact`](Self::compact), with other paths of some files.
    fn compact_as(&mut self, moves: &HashMap<PathBuf, PathBuf>) -> Result<(), RetrievalError> {
        self.flush()?;
        let all = Segment::list(&segments_directory(&self.directory))?;
        if all.is_empty() && self.damage.is_empty() {
            return Ok(());
        }
        let Catalog { entries, live, damage } =
            readable(Segments::open(&self.directory, &self.manifest)?.catalog(&mut |_| {})?)?;
        let mut writer = self.start_segment(Some(self.next_sequence - 1))?;
        let (mut rows, mut written) = (entries.iter().zip(live), Ok(()));
        Segments::open(&self.directory, &self.manifest)?.read(
            &mut Vec::new(),
            &mut |mut entry, embedding| {
                let expected = rows.next().filter(|(expected, _)| **expected == entry);
                if written.is_ok() {
                    written = match expected {
                        Some((_, live)) if live && self.fingerprints.contains_key(&entry.path) => {
                            if let Some(path) = moves.get(&entry.path) {
                                entry.path.clone_from(path);
                            }
                            writer.push(LibraryRow { entry, embedding: embedding.to_vec() })
                        }
                        Some(_) => Ok(()),
                        None => Err(self.changed()),
                    };
                }
            },
        )?;
        written?;
        if rows.next().is_some() {
            return Err(self.changed());
        }
        writer.finish()?;
        self.count_segment()?;
        self.damage.clear();
        // From here on the old segments count no more, whether or not they are still there.
        let damaged = damage.iter().filter_map(damaged_file).collect::<HashSet<_>>();
        all.iter().try_for_each(|segment| {
            if damaged.contains(segment.path.as_path()) { segment.set_aside() } else { segment.remove() }
        })
    }

    /// What was read twice was not the same twice.
    fn changed(&self) -> RetrievalError {
        let reason = "it changed while it was read".to_owned();
        RetrievalError::DamagedSegment { path: segments_directory(&self.directory), reason }
    }

    /// Makes all rows durable, joins the segments if they have become many or some are damaged, and ends
    /// writing.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::flush`] and [`LibraryWriter::compact`].
    pub fn finish(mut self) -> Result<(), RetrievalError> {
        self.flush()?;
        let segments = Segment::list(&segments_directory(&self.directory))?.len();
        if segments > MAX_SEGMENTS || !self.damage.is_empty() {
            self.compact()?;
        }
        Ok(())
    }

    /// A segment of the next number is on disk.
    fn count_segment(&mut self) -> Result<(), RetrievalError> {
        self.next_sequence += 1;
        set_newest(&self.directory, self.next_sequence - 1)
    }

    fn start_segment(&self, replaces_through: Option<u64>) -> Result<SegmentWriter, RetrievalError> {
        let segment = Segment::new(&segments_directory(&self.directory), self.next_sequence);
        let settings = self.manifest.settings_checksum();
        SegmentWriter::create(&segment, self.manifest.dim, settings, replaces_through)
    }
}

/// The catalog, if all that is missing from it is damaged for good. What may be read another time is not
/// given up.
fn readable(mut catalog: Catalog) -> Result<Catalog, RetrievalError> {
    match catalog.damage.iter().position(|error| damaged_file(error).is_none()) {
        Some(unreadable) => Err(catalog.damage.swap_remove(unreadable)),
        None => Ok(catalog),
    }
}

/// The segment that is damaged.
fn damaged_file(error: &RetrievalError) -> Option<&Path> {
    match error {
        RetrievalError::DamagedSegment { path, .. } | RetrievalError::DamagedRows { path, .. } => Some(path),
        _ => None,
    }
}
