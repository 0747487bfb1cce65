//! Adding to a library.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::catalog::{Catalog, segments_directory};
use super::entry::{FileFingerprint, LibraryRow, newest_fingerprints};
use super::manifest::LibraryManifest;
use super::segment::{Segment, SegmentWriter, path_text};
use crate::retrieval::RetrievalError;

/// Rows that wait for the next segment, at most.
const FLUSH_ROWS: usize = 256;
/// How long a row waits for the next segment, at most, as long as rows keep coming.
const FLUSH_INTERVAL: Duration = Duration::from_secs(20);
/// [`LibraryWriter::finish`] joins the segments when there are more.
const MAX_SEGMENTS: usize = 32;
/// How far the length of a stored embedding may be from 1. Wide enough for vectors rounded to 16 bits.
const LENGTH_TOLERANCE: f64 = 0.02;

/// The one writer of a library directory.
///
/// Rows are safe once they are flushed: by [`LibraryWriter::append`] every 256 rows or 20 seconds, or by
/// [`LibraryWriter::flush`] and [`LibraryWriter::finish`]. A writer dropped or killed loses only rows that were
/// not flushed.
#[derive(Debug)]
pub struct LibraryWriter {
    directory: PathBuf,
    manifest: LibraryManifest,
    fingerprints: HashMap<PathBuf, FileFingerprint>,
    pending: Vec<LibraryRow>,
    last_flush: Instant,
    next_sequence: u64,
    /// Locked as long as it is open.
    _lock: File,
}

impl LibraryWriter {
    /// Opens the library in `directory` for adding, or starts one there. `manifest` says how the rows to come
    /// are made; it must match that of an existing library.
    ///
    /// # Errors
    /// [`RetrievalError::Locked`] while another process writes; [`RetrievalError::ManifestMismatch`] listing what
    /// differs; those of [`Library::open`](super::Library::open).
    pub fn create_or_open(
        directory: impl AsRef<Path>,
        manifest: LibraryManifest,
    ) -> Result<Self, RetrievalError> {
        let directory = directory.as_ref();
        let segments = segments_directory(directory);
        fs::create_dir_all(&segments).map_err(RetrievalError::io("create the directory", &segments))?;
        let lock = lock(directory)?;
        match LibraryManifest::read(directory) {
            Ok(existing) => existing.require_same(&manifest, directory)?,
            Err(RetrievalError::NotALibrary { .. }) => manifest.write(directory)?,
            Err(e) => return Err(e),
        }
        Segment::remove_temporary_files(&segments)?;
        let catalog = Catalog::read(directory)?;
        let entries: Vec<_> = catalog.entries().cloned().collect();
        Ok(Self {
            directory: directory.to_owned(),
            manifest,
            fingerprints: newest_fingerprints(&entries),
            pending: Vec::new(),
            last_flush: Instant::now(),
            next_sequence: catalog.segments.last().map_or(1, |s| s.sequence + 1),
            _lock: lock,
        })
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

    /// The files the library has rows of, in no particular order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.fingerprints.keys().map(PathBuf::as_path)
    }

    /// Adds rows; rows of an older state of the same file count no more.
    ///
    /// Give all rows of a file in one call: they become durable together.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`], [`RetrievalError::InvalidEmbedding`] if a vector is not of length 1,
    /// [`RetrievalError::PathNotUtf8`]; none of the rows is then added. [`RetrievalError::Io`] from flushing.
    pub fn append(&mut self, rows: &[LibraryRow]) -> Result<(), RetrievalError> {
        for row in rows {
            self.check(row)?;
        }
        self.fingerprints.extend(rows.iter().map(|row| (row.entry.path.clone(), row.entry.fingerprint)));
        self.pending.extend_from_slice(rows);
        if self.pending.len() >= FLUSH_ROWS || self.last_flush.elapsed() >= FLUSH_INTERVAL {
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
        let length = row.embedding.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
        // Written so that NaN is refused.
        if (length - 1.0).abs() <= LENGTH_TOLERANCE {
            return Ok(());
        }
        Err(RetrievalError::InvalidEmbedding { what, reason: format!("its length is {length}, expected 1") })
    }

    /// Makes all rows added so far durable.
    ///
    /// # Errors
    /// [`RetrievalError::Io`]; the rows then still wait.
    pub fn flush(&mut self) -> Result<(), RetrievalError> {
        if !self.pending.is_empty() {
            let mut writer = SegmentWriter::create(&self.next_segment(), self.manifest.dim, None)?;
            for row in &self.pending {
                writer.push(row.clone())?;
            }
            writer.finish()?;
            self.pending.clear();
            self.next_sequence += 1;
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

    /// Joins all segments into one that holds the live rows alone.
    ///
    /// # Errors
    /// [`RetrievalError::DamagedSegment`], [`RetrievalError::Io`]. Nothing is lost then, nor when killed.
    pub fn compact(&mut self) -> Result<(), RetrievalError> {
        self.flush()?;
        let catalog = Catalog::read(&self.directory)?;
        let Some(last) = catalog.segments.last() else {
            return Ok(());
        };
        let dim = self.manifest.dim;
        let mut writer = SegmentWriter::create(&self.next_segment(), dim, Some(last.sequence))?;
        for (segment, contents) in &catalog.contents {
            let mut failed = Ok(());
            segment.for_each_embedding(dim, |row, embedding| {
                let (entry, live) = contents.get(row).ok_or("it has more embeddings than rows")?;
                if *live && self.fingerprints.contains_key(&entry.path) && failed.is_ok() {
                    failed = writer.push(LibraryRow { entry: entry.clone(), embedding: embedding.to_vec() });
                }
                Ok(())
            })?;
            failed?;
        }
        writer.finish()?;
        self.next_sequence += 1;
        // From here on the old segments count no more, whether or not they are still there.
        catalog.segments.iter().try_for_each(Segment::remove)
    }

    /// Makes all rows durable, joins the segments if they have become many, and ends writing.
    ///
    /// # Errors
    /// Those of [`LibraryWriter::flush`] and [`LibraryWriter::compact`].
    pub fn finish(mut self) -> Result<(), RetrievalError> {
        self.flush()?;
        if Segment::list(&segments_directory(&self.directory))?.len() > MAX_SEGMENTS {
            self.compact()?;
        }
        Ok(())
    }

    fn next_segment(&self) -> Segment {
        Segment::new(&segments_directory(&self.directory), self.next_sequence)
    }
}

fn lock(directory: &Path) -> Result<File, RetrievalError> {
    let path = directory.join("library.lock");
    let file =
        File::options().create(true).append(true).open(&path).map_err(RetrievalError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RetrievalError::Locked { path: directory.to_owned() }),
        Err(TryLockError::Error(source)) => Err(RetrievalError::Io { path, action: "lock", source }),
    }
}
