//! What is embedded of a file: the whole of it, and its moments.

#[cfg(feature = "video")]
use std::ops::Range;
use std::sync::mpsc::Sender;

use super::MediaFile;
use super::identity::{Identity, Known, Pending};
use crate::embedder::{CancelToken, Embedder, Input, Part, RangeClock, Readers, VideoPart};
use crate::media::{MediaKind, Moments, TimeRange};
use crate::retrieval::{Carried, ContentHash, FileFingerprint};
#[cfg(feature = "video")]
use crate::video::{MomentLengths, Seeking, VideoReader, shots_among, windows};
use crate::video::{ShotOptions, VideoError};

/// What is to become of a file.
pub(super) struct Plan {
    /// Files of the library of which it is known now what they hold.
    pub(super) learnt: Vec<Carried>,
    /// Its state when its turn came.
    pub(super) fingerprint: FileFingerprint,
    /// What it holds, where it can be read.
    pub(super) content: Option<ContentHash>,
    pub(super) step: Step,
}

pub(super) enum Step {
    /// The whole of it is embedded, and its moments, or why there are none.
    Embed(Result<Vec<TimeRange>, VideoError>),
    /// The library has it.
    Carry(Carried),
    /// Another file is being embedded that holds the same.
    Wait,
    /// Somebody asked to stop.
    Stop,
}

/// How files become inputs.
#[derive(Clone)]
pub(super) struct Cut {
    pub(super) moments: Option<Moments>,
    pub(super) embedder: Embedder,
    pub(super) cancel: CancelToken,
}

impl Cut {
    /// For each file that is to be embedded the whole of it and then its moments. `plans` is told of each
    /// file before. A file is looked at when its turn comes.
    pub(super) fn inputs(
        self,
        files: Vec<Pending>,
        mut identity: Identity,
        may_wait: bool,
        plans: Sender<Plan>,
    ) -> impl Iterator<Item = Input> + Send + 'static {
        files.into_iter().flat_map(move |mut pending| {
            // It may have waited for long.
            if let Ok(now) = FileFingerprint::of_file(&pending.file.path)
                && now != pending.fingerprint
            {
                (pending.fingerprint, pending.content) = (now, None);
            }
            let mut learnt = Vec::new();
            // What cannot be read fails where it is embedded, and says why.
            let looked = identity.look(&pending, may_wait, &mut learnt).ok();
            let content = looked.as_ref().map(|(content, _)| *content);
            let (step, inputs) = match looked {
                _ if self.cancel.is_cancelled() => (Step::Stop, None),
                Some((_, Known::Carried(carried))) => (Step::Carry(carried), None),
                Some((_, Known::UnderWay)) => (Step::Wait, None),
                Some((_, Known::New)) | None => {
                    let readers = Readers::shared();
                    let moments = self.moments_of(&pending.file, &readers);
                    let ranges =
                        moments.iter().flatten().map(|range| certain(self.moments, *range)).collect();
                    (Step::Embed(moments), Some(inputs_of(&pending.file, ranges, readers)))
                }
            };
            // Whoever does not listen any more takes no embeddings either.
            let fingerprint = pending.fingerprint;
            drop(plans.send(Plan { learnt, fingerprint, content, step }));
            inputs.into_iter().flatten()
        })
    }

    /// How many moments a video of this length has, about, where others have one in so many seconds.
    pub(super) fn count(&self, seconds: f64, seen: Option<f64>) -> usize {
        let count = match self.moments {
            None => return 0,
            Some(Moments::Windows { length_seconds, overlap_seconds }) => {
                // Less what `windows` takes for rounding.
                ((seconds - overlap_seconds) / (length_seconds - overlap_seconds) - 1e-9).ceil()
            }
            Some(Moments::Shots { min_seconds, max_seconds }) => {
                (seconds / seen.unwrap_or(f64::midpoint(min_seconds, max_seconds))).round()
            }
        };
        if count > 1.0 { count as usize } else { 0 }
    }
}

/// What is of a moment for certain: where a shot ends is known to half the time between two frames that were
/// looked at, and the frames about there may be of the next one.
fn certain(moments: Option<Moments>, moment: TimeRange) -> TimeRange {
    let (Some(Moments::Shots { .. }), Some((start, end))) = (moments, moment.bounds()) else { return moment };
    let doubt = 0.5 / ShotOptions::default().fps;
    // Of a very short one nothing would be left.
    if end - start > 4.0 * doubt { TimeRange::between(start + doubt, end - doubt) } else { moment }
}

/// The whole of a file, and what of it is on display in `ranges`, read by `readers`.
pub(super) fn inputs_of(
    file: &MediaFile,
    ranges: Vec<TimeRange>,
    readers: Readers,
) -> impl Iterator<Item = Input> + Send + use<> {
    let path = file.path.clone();
    let part = move |range| {
        let part = VideoPart::new(&path).with_range(range).with_clock(RangeClock::Display).sharing(&readers);
        Input::default().and_part(Part::Video(part))
    };
    let whole = match file.kind {
        MediaKind::Image => Input::image(&file.path),
        MediaKind::Video => part(TimeRange::default()),
    };
    std::iter::once(whole).chain(ranges.into_iter().map(part))
}

#[cfg(feature = "video")]
impl Cut {
    /// The moments of a file; none where the whole of it is one.
    /// What was opened for it is given to `readers`.
    fn moments_of(&self, file: &MediaFile, readers: &Readers) -> Result<Vec<TimeRange>, VideoError> {
        let (Some(moments), MediaKind::Video) = (self.moments, file.kind) else { return Ok(Vec::new()) };
        let mut reader = self.open(file)?;
        let all = 0..reader.metadata().frames;
        let ranges = cut(&mut reader, moments, all, &self.cancel)?;
        readers.give_back(reader);
        Ok(if ranges.len() < 2 { Vec::new() } else { ranges })
    }

    /// An open file.
    pub(super) fn open(&self, file: &MediaFile) -> Result<VideoReader, VideoError> {
        VideoReader::open_with(&file.path, self.embedder.video_options())
    }

    /// How long a video is by its header.
    pub(super) fn header_seconds(&self, file: &MediaFile) -> Option<f64> {
        let options = self.embedder.video_options().with_seeking(Seeking::Approximate);
        let reader = VideoReader::open_with(&file.path, options).ok()?;
        Some(reader.metadata().duration_seconds)
    }
}

/// The moments of a part of a video, all times from its beginning.
#[cfg(feature = "video")]
pub(super) fn cut(
    reader: &mut VideoReader,
    moments: Moments,
    frames: Range<usize>,
    cancel: &CancelToken,
) -> Result<Vec<TimeRange>, VideoError> {
    match moments {
        Moments::Windows { length_seconds, overlap_seconds } => {
            let duration = reader.seconds_from_first(frames.end) - reader.seconds_from_first(frames.start);
            windows(duration, length_seconds, overlap_seconds)
        }
        Moments::Shots { min_seconds, max_seconds } => {
            let lengths =
                MomentLengths::default().with_shortest_seconds(min_seconds).with_longest_seconds(max_seconds);
            shots_among(reader, &ShotOptions::default(), frames, cancel)?.moments(lengths)
        }
    }
}

#[cfg(not(feature = "video"))]
impl Cut {
    fn moments_of(&self, _: &MediaFile, _: &Readers) -> Result<Vec<TimeRange>, VideoError> {
        Ok(Vec::new())
    }

    pub(super) fn header_seconds(&self, _: &MediaFile) -> Option<f64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_about_a_cut_are_of_neither_shot() {
        let (moment, short) = (TimeRange::between(3.0, 7.0), TimeRange::between(3.0, 3.2));
        let windows = Moments::Windows { length_seconds: 4.0, overlap_seconds: 0.0 };
        assert_eq!(certain(Some(windows), moment), moment);
        assert_eq!(certain(Some(Moments::shots()), short), short);
        let inner = certain(Some(Moments::shots()), moment);
        assert_eq!(inner, TimeRange::between(3.0625, 6.9375));
    }
}
