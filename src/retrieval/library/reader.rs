//! Reading a library.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView2};

use super::catalog::{Catalog, Segments};
use super::entry::LibraryEntry;
use super::manifest::LibraryManifest;
use super::search::{Share, shares};
use crate::retrieval::RetrievalError;

/// All live rows of a library directory, in memory.
///
/// A snapshot: rows that a writer adds later are seen by opening anew.
#[derive(Debug)]
pub struct Library {
    directory: PathBuf,
    manifest: LibraryManifest,
    entries: Vec<LibraryEntry>,
    shares: Vec<Share>,
    embeddings: Array2<f32>,
    damage: Vec<RetrievalError>,
}

/// How often opening starts over when a writer deletes the segments being read.
const MAX_ATTEMPTS: usize = 8;

impl Library {
    /// Reads the manifest and all live rows. Needs no lock and may run beside a writer.
    ///
    /// What is damaged does not keep the rest from being read: see [`Library::damage`].
    ///
    /// # Errors
    /// [`RetrievalError::NotALibrary`], [`RetrievalError::InvalidManifest`], [`RetrievalError::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, RetrievalError> {
        let directory = directory.as_ref();
        let manifest = LibraryManifest::read(directory)?;
        let mut attempt = 1;
        loop {
            match Self::read(directory, &manifest) {
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

    fn read(directory: &Path, manifest: &LibraryManifest) -> Result<Self, RetrievalError> {
        let segments = Segments::open(directory, manifest)?;
        let dim = manifest.dim;
        let mut values: Vec<f32> = Vec::with_capacity(segments.rows() * dim);
        let Catalog { entries, live, damage, .. } =
            segments.catalog(&mut |embedding| values.extend_from_slice(embedding))?;
        let mut rows = 0;
        for (row, _) in live.iter().enumerate().filter(|(_, live)| **live) {
            values.copy_within(row * dim..(row + 1) * dim, rows * dim);
            rows += 1;
        }
        values.truncate(rows * dim);
        let entries = entries.into_iter().zip(live).filter_map(|(entry, live)| live.then_some(entry));
        let entries: Vec<LibraryEntry> = entries.collect();
        let embeddings = Array2::from_shape_vec((rows, dim), values).map_err(|e| {
            // Cannot happen: every embedding was checked to be `dim` wide.
            RetrievalError::InvalidFile { path: directory.to_owned(), reason: e.to_string() }
        })?;
        Ok(Self {
            directory: directory.to_owned(),
            manifest: manifest.clone(),
            shares: shares(&entries),
            entries,
            embeddings,
            damage,
        })
    }

    /// What could not be read, of which there is nothing among the rows: [`RetrievalError::DamagedSegment`],
    /// [`RetrievalError::DamagedRows`], [`RetrievalError::ForeignSegment`] and [`RetrievalError::Io`]. Empty
    /// as a rule.
    #[must_use]
    pub fn damage(&self) -> &[RetrievalError] {
        &self.damage
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

    /// The embeddings, `[rows, dim]`.
    #[must_use]
    pub fn embeddings(&self) -> ArrayView2<'_, f32> {
        self.embeddings.view()
    }

    /// What each row is among those of its file.
    pub(super) fn shares(&self) -> &[Share] {
        &self.shares
    }
}
