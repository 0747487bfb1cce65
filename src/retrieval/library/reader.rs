//! Searching a library.

use std::path::{Path, PathBuf};

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};

use super::catalog::Catalog;
use super::entry::LibraryEntry;
use super::manifest::LibraryManifest;
use crate::retrieval::{RetrievalError, rank};

/// All live rows of a library directory, in memory.
///
/// A snapshot: rows that a writer adds later are seen by opening anew.
#[derive(Debug, Clone)]
pub struct Library {
    directory: PathBuf,
    manifest: LibraryManifest,
    entries: Vec<LibraryEntry>,
    embeddings: Array2<f32>,
}

/// A row of a library found by a search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LibraryHit<'a> {
    /// Cosine similarity with the query.
    pub score: f32,
    /// What was found.
    pub entry: &'a LibraryEntry,
}

/// How often opening starts over when a writer deletes the segments being read.
const MAX_ATTEMPTS: usize = 8;

impl Library {
    /// Reads the manifest and all live rows. Needs no lock and may run beside a writer.
    ///
    /// # Errors
    /// [`RetrievalError::NotALibrary`], [`RetrievalError::InvalidManifest`],
    /// [`RetrievalError::DamagedSegment`] naming the file, [`RetrievalError::Io`].
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, RetrievalError> {
        let directory = directory.as_ref();
        let manifest = LibraryManifest::read(directory)?;
        let mut attempt = 1;
        loop {
            match Self::read_rows(directory, &manifest) {
                // A compaction has replaced a segment between listing and reading it.
                Err(RetrievalError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound && attempt < MAX_ATTEMPTS =>
                {
                    attempt += 1;
                }
                result => {
                    let (entries, embeddings) = result?;
                    return Ok(Self { directory: directory.to_owned(), manifest, entries, embeddings });
                }
            }
        }
    }

    fn read_rows(
        directory: &Path,
        manifest: &LibraryManifest,
    ) -> Result<(Vec<LibraryEntry>, Array2<f32>), RetrievalError> {
        let catalog = Catalog::read(directory)?;
        let dim = manifest.dim;
        let rows = catalog.live_count();
        let mut entries = Vec::with_capacity(rows);
        let mut values = Vec::with_capacity(rows * dim);
        for (segment, contents) in catalog.contents {
            segment.for_each_embedding(dim, |row, embedding| {
                let (entry, live) = contents.get(row).ok_or("it has more embeddings than rows")?;
                if *live {
                    if embedding.iter().any(|x| !x.is_finite()) {
                        return Err(format!("row {row} holds NaN or infinity"));
                    }
                    values.extend_from_slice(embedding);
                    entries.push(entry.clone());
                }
                Ok(())
            })?;
        }
        let embeddings = Array2::from_shape_vec((entries.len(), dim), values).map_err(|e| {
            // Cannot happen: every embedding was checked to be `dim` wide.
            RetrievalError::InvalidFile { path: directory.to_owned(), reason: e.to_string() }
        })?;
        Ok((entries, embeddings))
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

    /// The `k` rows most similar to `query`, an L2-normalised vector of the library's dimension; best first.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`], [`RetrievalError::NonFiniteScore`].
    pub fn search(
        &self,
        query: ArrayView1<'_, f32>,
        k: usize,
    ) -> Result<Vec<LibraryHit<'_>>, RetrievalError> {
        if query.len() != self.manifest.dim {
            return Err(RetrievalError::DimensionMismatch {
                what: "the query".into(),
                expected: self.manifest.dim,
                got: query.len(),
            });
        }
        let rankings = rank(query.insert_axis(Axis(0)), self.embeddings.view(), k)?;
        Ok(rankings
            .iter()
            .flatten()
            .map(|m| LibraryHit { score: m.score, entry: &self.entries[m.row] })
            .collect())
    }
}
