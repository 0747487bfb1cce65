use std::borrow::Cow;
use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};

use super::readers::Readers;
use crate::media::{MediaSource, TimeRange};
use crate::options::with_fields;
use crate::preprocess::{ImageLimits, PreprocessError, load_image};
use crate::recipe::QueryKind;
use crate::video::{FrameCount, Sampling, Selection, StreamTiming, VideoError, select};

/// What becomes one embedding: texts, images and videos in the order given, under an optional
/// instruction.
///
/// ```
/// use gve::Input;
///
/// let query = Input::text("now in the forest")
///     .and_image("rabbit.png")
///     .with_instruction("Find the clip that corresponds to the given text and the given image.");
/// assert_eq!(query.parts.len(), 2);
/// ```
///
/// Files are no more than one place that videos and images come from. An upload is embedded as it came:
///
/// ```
/// use gve::{Embedder, Input, MediaSource};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let embedder = Embedder::load(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model"))?;
/// # let upload = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/rabbit.png"))?;
/// let image = Input::image(MediaSource::bytes(upload).named("upload 17"));
/// let embedding = embedder.embed_one(&image)?;
/// # assert_eq!(embedding.dim(), embedder.dim());
///
/// let damaged = Input::image(MediaSource::bytes(b"no picture").named("upload 18"));
/// assert!(embedder.embed_one(&damaged).is_err_and(|error| error.to_string().contains("upload 18")));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    /// The content, in order.
    pub parts: Vec<Part>,
    /// Replaces the system turn, which otherwise is the embedder's own.
    pub instruction: Option<String>,
}

/// One piece of an [`Input`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Part {
    /// Text. Strings that spell special tokens stay ordinary text.
    Text(String),
    /// A still image.
    Image(ImagePart),
    /// A video; needs the feature `video`.
    Video(VideoPart),
    /// Frames of a video that are at hand already.
    Frames(FramesPart),
}

/// A still image.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ImagePart {
    /// Where the pixels come from.
    pub source: ImageSource,
    /// Its size when embedded.
    pub pixels: PixelLimits,
}

impl ImagePart {
    /// An image of the size that the embedder chooses.
    pub fn new(source: impl Into<ImageSource>) -> Self {
        Self { source: source.into(), pixels: PixelLimits::default() }
    }
}

with_fields!(ImagePart {
    with_pixels(pixels: PixelLimits),
});

/// Where an image's pixels come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// An image file, or the bytes of one.
    Encoded(MediaSource),
    /// Pixels. [`FrameView`](crate::preprocess::FrameView) makes them of RGBA and of rows that lie apart.
    Decoded(RgbImage),
}

impl ImageSource {
    /// The path of an image file; `None` for what is no file.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Encoded(source) => source.path(),
            Self::Decoded(_) => None,
        }
    }

    /// The pixels, decoded if need be.
    ///
    /// # Errors
    /// As [`load_image`].
    pub fn pixels(&self, limits: &ImageLimits) -> Result<Cow<'_, RgbImage>, PreprocessError> {
        match self {
            Self::Encoded(source) => load_image(source.clone(), limits).map(Cow::Owned),
            Self::Decoded(image) => Ok(Cow::Borrowed(image)),
        }
    }
}

impl From<MediaSource> for ImageSource {
    fn from(source: MediaSource) -> Self {
        Self::Encoded(source)
    }
}

impl From<RgbImage> for ImageSource {
    fn from(image: RgbImage) -> Self {
        Self::Decoded(image)
    }
}

/// What the times of a range of video are. It makes a difference where frames are not evenly spaced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RangeClock {
    /// Numbers of frames over the average rate of the video, as qwen-vl-utils counts, and both ends belong to
    /// the range.
    #[default]
    AverageRate,
    /// When frames come up, as players count, and shots and hits in a library are told: a frame that comes up
    /// at the end is none of the range. Where none comes up it is the one that is on display.
    Display,
}

/// A video, or a range of it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct VideoPart {
    /// The file, or the bytes of one.
    pub source: MediaSource,
    /// Which frames to look at; `None`: the embedder's own sampling.
    pub sampling: Option<Sampling>,
    /// The part of the file to look at; all of it by default.
    pub range: TimeRange,
    /// What the times of `range` are.
    pub clock: RangeClock,
    /// The size of its frames when embedded.
    pub pixels: PixelLimits,
    /// Readers of the file that it shares with other parts.
    pub(crate) readers: Readers,
}

impl VideoPart {
    /// A whole video, sampled as the embedder is set to.
    pub fn new(source: impl Into<MediaSource>) -> Self {
        let (range, pixels) = (TimeRange::default(), PixelLimits::default());
        let (clock, readers) = (RangeClock::default(), Readers::default());
        Self { source: source.into(), sampling: None, range, clock, pixels, readers }
    }
}

with_fields!(VideoPart {
    with_sampling(sampling: Option<Sampling>),
    with_range(range: TimeRange),
    with_clock(clock: RangeClock),
    with_pixels(pixels: PixelLimits),
});

impl VideoPart {
    /// The frames of its range that `sampling` takes, of a video with this timing.
    ///
    /// # Errors
    /// Those of [`select`].
    pub fn select(
        &self,
        timing: &StreamTiming,
        sampling: &Sampling,
        count: FrameCount,
    ) -> Result<Selection, VideoError> {
        let range = match self.clock {
            RangeClock::AverageRate => self.range,
            RangeClock::Display => timing.by_average_rate(self.range),
        };
        select(timing, sampling, range, count)
    }

    /// Has the file read by what other parts of it are read by.
    pub(crate) fn sharing(self, readers: &Readers) -> Self {
        Self { readers: readers.clone(), ..self }
    }
}

/// Frames that were sampled elsewhere.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct FramesPart {
    /// The frames in order of time, all of one size.
    pub frames: Vec<ImageSource>,
    /// Frames per second of *these frames*, not of the video they came from: the model's sense
    /// of time rests on it.
    pub fps: f64,
    /// The size of the frames when embedded.
    pub pixels: PixelLimits,
}

impl FramesPart {
    /// Frames that are `1 / fps` seconds apart.
    pub fn new(frames: Vec<ImageSource>, fps: f64) -> Self {
        Self { frames, fps, pixels: PixelLimits::default() }
    }
}

with_fields!(FramesPart {
    with_pixels(pixels: PixelLimits),
});

/// Bounds on the area of an image or frame as the model sees it, in pixels. `None`: the
/// embedder's own bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct PixelLimits {
    /// Smaller pictures are enlarged to this area.
    pub min_pixels: Option<u64>,
    /// Larger pictures are reduced to this area. It holds for small ones too: where it lies below the default
    /// smallest area, the reference would grow them past it (see
    /// [`PixelBudget::for_video`](crate::preprocess::PixelBudget::for_video)).
    pub max_pixels: Option<u64>,
    /// Frames of a video are reduced until all of them have no more than this area together.
    pub total_pixels: Option<u64>,
}

with_fields!(PixelLimits {
    with_min_pixels(min_pixels: Option<u64>),
    with_max_pixels(max_pixels: Option<u64>),
    with_total_pixels(total_pixels: Option<u64>),
});

impl Input {
    /// An input of one text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().and_text(text)
    }

    /// An input of one image: a path, or [bytes or a reader](MediaSource).
    pub fn image(source: impl Into<MediaSource>) -> Self {
        Self::default().and_image(source)
    }

    /// An input of one video, sampled as the embedder is set to: a path, or [bytes or a reader](MediaSource).
    pub fn video(source: impl Into<MediaSource>) -> Self {
        Self::default().and_video(source)
    }

    /// An input of frames in memory that are `1 / fps` seconds apart.
    pub fn frames(frames: Vec<RgbImage>, fps: f64) -> Self {
        let frames = frames.into_iter().map(ImageSource::Decoded).collect();
        Self::default().and_part(Part::Frames(FramesPart::new(frames, fps)))
    }

    /// Adds a text behind the parts so far.
    #[must_use]
    pub fn and_text(self, text: impl Into<String>) -> Self {
        self.and_part(Part::Text(text.into()))
    }

    /// Adds an image behind the parts so far.
    #[must_use]
    pub fn and_image(self, source: impl Into<MediaSource>) -> Self {
        self.and_part(Part::Image(ImagePart::new(source.into())))
    }

    /// Adds a video behind the parts so far.
    #[must_use]
    pub fn and_video(self, source: impl Into<MediaSource>) -> Self {
        self.and_part(Part::Video(VideoPart::new(source)))
    }

    /// Adds any part behind the parts so far.
    #[must_use]
    pub fn and_part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// What it is made of, as a query.
    pub fn query_kind(&self) -> QueryKind {
        let has = |is: fn(&Part) -> bool| self.parts.iter().any(is);
        let is_video = |part: &Part| matches!(part, Part::Video(_) | Part::Frames(_));
        let [text, image, video] = [
            has(|part| matches!(part, Part::Text(_))),
            has(|part| matches!(part, Part::Image(_))),
            has(is_video),
        ];
        match (text, image, video) {
            (true, _, true) => QueryKind::TextAndVideo,
            (true, true, false) => QueryKind::TextAndImage,
            (false, _, true) => QueryKind::Video,
            (false, true, false) => QueryKind::Image,
            (_, false, false) => QueryKind::Text,
        }
    }

    /// Sets the instruction.
    #[must_use]
    pub fn with_instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten frames in a second, then one a second.
    #[test]
    fn a_range_is_of_frame_numbers_or_of_times_of_display() {
        let pts = (0..10).map(|i| f64::from(i) / 10.0).chain((0..10).map(|i| f64::from(i) + 1.0)).collect();
        let timing = StreamTiming::from_pts(pts, 20.0 / 11.0);
        let part = VideoPart::new("a.mp4").with_range(TimeRange::between(0.0, 1.0));
        let frames = |part: &VideoPart| {
            part.select(&timing, &Sampling::Uniform { frames: 20 }, FrameCount::Exact).unwrap().indices
        };
        assert_eq!(frames(&part), [0, 1]);
        assert_eq!(frames(&part.with_clock(RangeClock::Display)), (0..10).collect::<Vec<_>>());
    }
}
