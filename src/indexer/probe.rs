//! What a few files take, of which the rest is estimated.

use std::time::Instant;

use super::moments::{Cut, inputs_of};
use super::{IndexError, MediaFile};
use crate::embedder::{EmbedError, Input, Readers};
use crate::media::TimeRange;
use crate::video::VideoError;

/// Moments that are embedded, of all files together: enough for decoding to run ahead of the model.
const MOMENTS: usize = 8;
/// How much of a video is cut into moments, at least: in seconds, and in moments of the greatest length.
#[cfg(feature = "video")]
const STRETCH: (f64, f64) = (40.0, 3.0);
/// Where that begins: behind the opening titles, but not far, for some files can only be decoded from the
/// start.
#[cfg(feature = "video")]
const BEGINNING_SECONDS: f64 = 60.0;

/// What some things take together.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Cost {
    pub(super) seconds: f64,
    pub(super) tokens: f64,
    /// Of how many that is.
    pub(super) count: f64,
}

impl Cost {
    /// What `count` others like these take; where none came to anything, no more than these took.
    pub(super) fn times(self, count: usize) -> Self {
        let factor = if self.count > 0.0 { count as f64 / self.count } else { 1.0 };
        Self { seconds: self.seconds * factor, tokens: self.tokens * factor, count: self.count * factor }
    }

    /// Embeds them.
    fn of(cut: &Cut, inputs: &[Input]) -> Result<Self, IndexError> {
        let start = Instant::now();
        let embedded = cut.embedder.embed_with(inputs, &cut.cancel, |_| {});
        let seconds = start.elapsed().as_secs_f64();
        if cut.cancel.is_cancelled() || embedded.iter().any(|one| matches!(one, Err(EmbedError::Cancelled))) {
            return Err(IndexError::Cancelled);
        }
        let tokens = embedded.iter().flatten().map(|one| one.num_tokens() as f64).sum();
        Ok(Self { seconds, tokens, count: embedded.iter().flatten().count() as f64 })
    }
}

/// What files of one kind take.
#[derive(Debug, Default)]
pub(super) struct Probe {
    /// Each as a whole.
    pub(super) whole: Cost,
    /// Each of their moments, once they are known.
    pub(super) moment: Cost,
    /// Opening each for its moments.
    pub(super) opening: Cost,
    /// Seconds that it takes to cut a second of video into moments.
    pub(super) cutting: f64,
    /// What a moment is long, in seconds, where that was seen.
    pub(super) moment_seconds: Option<f64>,
}

impl Probe {
    pub(super) fn of<'a>(cut: &Cut, files: impl Iterator<Item = &'a MediaFile>) -> Result<Self, IndexError> {
        let files: Vec<_> = files.map(|file| (file, Readers::shared())).collect();
        let wholes = files.iter().flat_map(|(file, readers)| inputs_of(file, Vec::new(), readers.clone()));
        let mut probe = Self { whole: Cost::of(cut, &wholes.collect::<Vec<_>>())?, ..Self::default() };
        let (mut moments, mut looked) = (Vec::new(), Looked::default());
        for (file, readers) in &files {
            let most = MOMENTS.div_ceil(files.len());
            match cut.look(file, most, readers) {
                Ok(found) => {
                    probe.opening.seconds += found.opening;
                    probe.opening.count += 1.0;
                    looked.stretch += found.stretch;
                    looked.cutting += found.cutting;
                    looked.length += found.length;
                    looked.ranges.extend_from_slice(&found.ranges);
                    let first = found.ranges.into_iter().take(most).collect();
                    moments.extend(inputs_of(file, first, readers.clone()).skip(1));
                }
                Err(VideoError::Cancelled) => return Err(IndexError::Cancelled),
                // As one of mean length.
                Err(_) => {}
            }
        }
        probe.moment = Cost::of(cut, &moments)?;
        if !looked.ranges.is_empty() {
            probe.cutting = looked.cutting / looked.stretch;
            probe.moment_seconds = Some(looked.length / looked.ranges.len() as f64);
        }
        Ok(probe)
    }
}

/// What came of cutting a stretch of a video.
#[derive(Default)]
struct Looked {
    /// Seconds that it took to open it.
    opening: f64,
    /// Seconds that it took to cut the stretch.
    cutting: f64,
    /// How long the stretch is, in seconds.
    stretch: f64,
    /// Moments that lie in it as a whole, if there are any.
    ranges: Vec<TimeRange>,
    /// How long these are together, in seconds.
    length: f64,
}

#[cfg(feature = "video")]
impl Cut {
    /// Cuts a stretch of a file, and has `readers` open, so that none of `most` of its moments opens one.
    fn look(&self, file: &MediaFile, most: usize, readers: &Readers) -> Result<Looked, VideoError> {
        use super::moments::cut;
        use crate::media::{MediaKind, Moments};

        let (Some(moments), MediaKind::Video) = (self.moments, file.kind) else {
            return Ok(Looked::default());
        };
        let start = Instant::now();
        let mut reader = self.open(file)?;
        let opening = start.elapsed().as_secs_f64();
        let (timing, duration) = (reader.timing(), reader.metadata().duration_seconds);
        let longest = match moments {
            Moments::Shots { max_seconds, .. } => max_seconds,
            Moments::Windows { length_seconds, .. } => length_seconds,
        };
        let stretch = STRETCH.0.max(STRETCH.1 * longest);
        let from = BEGINNING_SECONDS.min((duration - stretch).max(0.0) / 2.0);
        let to = from + stretch;
        let first = timing.displayed_at(from);
        let end =
            if to < duration { timing.displayed_at(to).max(first + 1) } else { reader.metadata().frames };
        let [cuts_first, cuts_last] = [first > 0, end < reader.metadata().frames].map(usize::from);
        let frames = first..end;
        let [from, to] = [frames.start, frames.end].map(|frame| reader.seconds_from_first(frame));
        // Getting there is no part of it.
        drop(cut(&mut reader, moments, frames.start..frames.start + 1, &self.cancel)?);
        let start = Instant::now();
        let ranges = cut(&mut reader, moments, frames, &self.cancel)?;
        let cutting = start.elapsed().as_secs_f64();
        // An end of the stretch that is none of the video cuts a moment.
        let whole = if ranges.len() > 2 { &ranges[cuts_first..ranges.len() - cuts_last] } else { &ranges };
        readers.give_back(reader);
        // This one is open, and that of the whole.
        for _ in 2..most.min(whole.len()).min(rayon::current_num_threads()) {
            readers.give_back(self.open(file)?);
        }
        let bounds = || whole.iter().filter_map(|range| range.bounds());
        let shifted = bounds().map(|(start, end)| TimeRange::between(from + start, from + end));
        let length = bounds().map(|(start, end)| end - start).sum();
        Ok(Looked { opening, cutting, stretch: to - from, ranges: shifted.collect(), length })
    }
}

#[cfg(not(feature = "video"))]
impl Cut {
    fn look(&self, _: &MediaFile, _: usize, _: &Readers) -> Result<Looked, VideoError> {
        Ok(Looked::default())
    }
}
