//! What is embedded of a file: the whole of it, and its moments.

use std::sync::mpsc::Sender;

use super::MediaFile;
use crate::embedder::{Embedder, Input, Part, VideoPart};
use crate::media::{MediaKind, Moments, TimeRange};

/// How files become inputs.
pub(super) struct Cut {
    pub(super) moments: Option<Moments>,
    pub(super) embedder: Embedder,
}

impl Cut {
    /// For each file the whole of it and then its moments, which `plans` is told of before. A file is looked at
    /// when its turn comes.
    pub(super) fn inputs(
        self,
        files: Vec<MediaFile>,
        plans: Sender<Vec<TimeRange>>,
    ) -> impl Iterator<Item = Input> + Send + 'static {
        files.into_iter().flat_map(move |file| {
            let ranges = self.ranges(&file);
            // Whoever does not listen any more takes no embeddings either.
            drop(plans.send(ranges.clone()));
            let whole = match file.kind {
                MediaKind::Image => Input::image(&file.path),
                MediaKind::Video => Input::video(&file.path),
            };
            let part = move |range| VideoPart::new(&file.path).with_range(range);
            let parts =
                ranges.into_iter().map(move |range| Input::default().and_part(Part::Video(part(range))));
            std::iter::once(whole).chain(parts)
        })
    }

    /// The moments of a file; none where the whole of it is one. What cannot be opened has none, and the whole
    /// of it says why.
    #[cfg(feature = "video")]
    fn ranges(&self, file: &MediaFile) -> Vec<TimeRange> {
        use crate::video::VideoReader;
        fn windows(duration: f64, length: f64, _: f64) -> Vec<TimeRange> {
            let n = (duration / length).ceil().max(1.0) as usize;
            (0..n)
                .map(|i| {
                    TimeRange::between(duration * i as f64 / n as f64, duration * (i + 1) as f64 / n as f64)
                })
                .collect()
        }

        let (Some(moments), MediaKind::Video) = (self.moments, file.kind) else { return Vec::new() };
        let Ok(reader) = VideoReader::open_with(&file.path, self.embedder.video_options()) else {
            return Vec::new();
        };
        let duration = reader.metadata().duration_seconds;
        let ranges = match moments {
            Moments::Windows { length_seconds, overlap_seconds } => {
                windows(duration, length_seconds, overlap_seconds)
            }
            Moments::Shots { .. } => Vec::new(),
        };
        if ranges.len() > 1 { ranges } else { Vec::new() }
    }

    #[cfg(not(feature = "video"))]
    fn ranges(&self, _: &MediaFile) -> Vec<TimeRange> {
        Vec::new()
    }
}
