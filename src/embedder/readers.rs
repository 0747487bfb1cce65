//! Readers of a video that is looked at many times: opening one reads the whole file.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

#[cfg(feature = "video")]
use crate::video::VideoReader;
#[cfg(not(feature = "video"))]
type VideoReader = std::convert::Infallible;

/// Readers that are open and in nobody's hands, shared by parts of one file. None are kept by default. They are closed with
/// the last of the parts.
#[derive(Clone, Default)]
pub(crate) struct Readers(Option<Arc<Mutex<Vec<VideoReader>>>>);

impl Readers {
    /// For parts of one file, which is read with the same options.
    pub(crate) fn shared() -> Self {
        Self(Some(Arc::default()))
    }

    /// One that is open.
    #[cfg(feature = "video")]
    pub(super) fn take(&self) -> Option<VideoReader> {
        self.0.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps a reader, which has read without an error, for the next.
    #[cfg(feature = "video")]
    pub(crate) fn give_back(&self, mut reader: VideoReader) {
        if let Some(readers) = &self.0 {
            reader.forget_warnings();
            readers.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
        }
    }
}

/// What is read does not depend on them.
impl PartialEq for Readers {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Readers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Readers")
    }
}

#[cfg(all(test, feature = "video", unix))]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::embedder::{Embedder, Input, Part, VideoPart};
    use crate::media::TimeRange;

    /// A file that is gone is read on by who has it open, and by nobody else.
    #[test]
    fn parts_of_a_file_are_read_by_one_reader() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folder = tempfile::tempdir().unwrap();
        let clip = folder.path().join("clip.mp4");
        std::fs::copy(golden.join("media/ntsc.mp4"), &clip).unwrap();
        let embedder = Embedder::load(golden.join("tiny-a/model")).unwrap();
        let embed = |start: f64, readers: &Readers| {
            let part = VideoPart::new(&clip).with_range(TimeRange::between(start, start + 0.4));
            let input = Input::default().and_part(Part::Video(part.sharing(readers)));
            embedder.embed_one(&input).map(|embedding| embedding.as_slice().to_vec())
        };
        let ranges = [0.0, 0.5, 0.2];
        let alone = ranges.map(|start| embed(start, &Readers::default()).unwrap());
        let readers = Readers::shared();
        let first = embed(ranges[0], &readers).unwrap();
        std::fs::remove_file(&clip).unwrap();
        let others = [1, 2].map(|place| embed(ranges[place], &readers).unwrap());
        assert_eq!([first, others[0].clone(), others[1].clone()], alone);
        assert!(embed(ranges[1], &Readers::default()).is_err());
    }
}
