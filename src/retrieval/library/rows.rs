//! From files to their rows.

use std::path::Path;

use super::reader::Library;
use crate::media::TimeRange;

impl Library {
    /// The rows of a file, which [`entries`](Self::entries) and [`embedding`](Self::embedding) know by their
    /// numbers; none of a file that the library does not have. Paths are compared as in
    /// [`Filter::under`](super::Filter::under). Every row is looked at.
    ///
    /// What is like a file is found by its embedding, without reading the file:
    ///
    /// ```
    /// use gve::media::MediaKind;
    /// # use gve::indexer::library_manifest;
    /// use gve::retrieval::{FileFingerprint, Library, LibraryEntry, LibraryRow, LibraryWriter};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let folder = tempfile::tempdir()?;
    /// # let model = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
    /// # let embedder = gve::Embedder::load(model)?;
    /// # let mut writer = LibraryWriter::create_or_open(folder.path(), library_manifest(&embedder))?;
    /// # let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
    /// # let row = |path: &str, angle: f32| {
    /// #     let mut embedding = vec![0.0; embedder.dim()];
    /// #     (embedding[0], embedding[1]) = (angle.cos(), angle.sin());
    /// #     LibraryRow { entry: LibraryEntry::new(path, MediaKind::Image, fingerprint), embedding }
    /// # };
    /// # writer.append(&[row("/a.png", 0.0), row("/b.png", 2.0), row("/c.png", 0.5)])?;
    /// # writer.finish()?;
    /// # let directory = folder.path();
    /// let library = Library::open(directory)?;
    /// let row = library.rows_of("/a.png".as_ref()).next().ok_or("not in the library")?;
    /// let embedding = library.embedding(row)?.ok_or("damaged")?;
    /// let like_it = library.search((&embedding[..]).into(), 2)?;
    /// // Itself, and what comes next.
    /// assert_eq!((like_it[0].row, like_it[1].entry.path.to_str()), (row, Some("/c.png")));
    /// # Ok(()) }
    /// ```
    pub fn rows_of<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = usize> + use<'a> {
        let rows = self.entries().iter().enumerate();
        rows.filter(move |(_, entry)| entry.path == path).map(|(row, _)| row)
    }

    /// How long a video is, in seconds, as far as its rows tell: to the last frame that any of them has looked
    /// at, which for a whole video is a frame's length before its end. `None` for an image, a file that the
    /// library does not have, and rows whose time nobody said. It is what
    /// [`Filter::lasting`](super::Filter::lasting) goes by.
    #[must_use]
    pub fn duration_seconds(&self, path: &Path) -> Option<f64> {
        let range = |row: usize| self.entries()[row].time_range.and_then(TimeRange::bounds);
        self.rows_of(path).filter_map(range).map(|(_, end)| end).reduce(f64::max)
    }
}
