//! The rows of all segments, without their embeddings, and which of them are live.

use std::path::{Path, PathBuf};

use super::entry::{LibraryEntry, live_rows};
use super::segment::Segment;
use crate::retrieval::RetrievalError;

/// Where the segments lie in a library directory.
pub(super) fn segments_directory(library: &Path) -> PathBuf {
    library.join("segments")
}

pub(super) struct Catalog {
    /// All segments in the directory, oldest first, those that were replaced included.
    pub(super) segments: Vec<Segment>,
    /// For each segment that counts its rows in the order of the file, each with whether it is live.
    pub(super) contents: Vec<(Segment, Vec<(LibraryEntry, bool)>)>,
}

impl Catalog {
    pub(super) fn read(library: &Path) -> Result<Self, RetrievalError> {
        let segments = Segment::list(&segments_directory(library))?;
        let mut read = Vec::with_capacity(segments.len());
        for segment in &segments {
            read.push((segment.clone(), segment.read_entries()?));
        }
        // A compaction that was cut off before deleting leaves segments whose rows count no more.
        let replaced = read.iter().filter_map(|(_, contents)| contents.replaces_through).max();
        read.retain(|(segment, _)| replaced.is_none_or(|last| segment.sequence > last));
        let lengths: Vec<usize> = read.iter().map(|(_, contents)| contents.entries.len()).collect();
        let kept: Vec<Segment> = read.iter().map(|(segment, _)| segment.clone()).collect();
        let entries: Vec<LibraryEntry> =
            read.into_iter().flat_map(|(_, contents)| contents.entries).collect();
        let live = live_rows(&entries);
        let mut rows = entries.into_iter().zip(live);
        let contents = kept
            .into_iter()
            .zip(lengths)
            .map(|(segment, len)| (segment, rows.by_ref().take(len).collect()))
            .collect();
        Ok(Self { segments, contents })
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &LibraryEntry> {
        self.contents.iter().flat_map(|(_, rows)| rows.iter().map(|(entry, _)| entry))
    }

    pub(super) fn live_count(&self) -> usize {
        self.contents.iter().flat_map(|(_, rows)| rows).filter(|(_, live)| *live).count()
    }
}
