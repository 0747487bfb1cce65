use std::path::PathBuf;

use image::RgbImage;

use crate::media::TimeRange;
use crate::video::Sampling;

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
    /// A video file; needs the feature `video`.
    Video(VideoPart),
    /// Frames of a video that are at hand already.
    Frames(FramesPart),
}

/// A still image.
#[derive(Debug, Clone, PartialEq)]
pub struct ImagePart {
    /// Where the pixels come from.
    pub source: ImageSource,
    /// Its size when embedded.
    pub pixels: PixelLimits,
}

/// Where an image's pixels come from.
#[derive(Debug, Clone, PartialEq)]
pub enum ImageSource {
    /// An encoded file.
    Path(PathBuf),
    /// Decoded pixels.
    Memory(RgbImage),
}

/// A video file, or a range of it.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoPart {
    /// The file.
    pub path: PathBuf,
    /// Which frames to look at; `None`: the embedder's own sampling.
    pub sampling: Option<Sampling>,
    /// The part of the file to look at; all of it by default.
    pub range: TimeRange,
    /// The size of its frames when embedded.
    pub pixels: PixelLimits,
}

/// Frames that were sampled elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct FramesPart {
    /// The frames in order of time, all of one size.
    pub frames: Vec<ImageSource>,
    /// Frames per second of *these frames*, not of the video they came from: the model's sense
    /// of time rests on it.
    pub fps: f64,
    /// The size of the frames when embedded.
    pub pixels: PixelLimits,
}

/// Bounds on the area of an image or frame as the model sees it, in pixels. `None`: the
/// embedder's own bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PixelLimits {
    /// Smaller pictures are enlarged to this area.
    pub min_pixels: Option<u64>,
    /// Larger pictures are reduced to this area. It holds for small ones too: where it lies below the default smallest area, the
    /// reference would grow them past it (see [`PixelBudget::for_video`](crate::preprocess::PixelBudget::for_video)).
    pub max_pixels: Option<u64>,
}

impl Input {
    /// An input of one text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().and_text(text)
    }

    /// An input of one image file.
    pub fn image(path: impl Into<PathBuf>) -> Self {
        Self::default().and_image(path)
    }

    /// An input of one video file, sampled as the embedder is set to.
    pub fn video(path: impl Into<PathBuf>) -> Self {
        Self::default().and_video(path)
    }

    /// An input of frames in memory that are `1 / fps` seconds apart.
    pub fn frames(frames: Vec<RgbImage>, fps: f64) -> Self {
        Self::default().and_part(Part::Frames(FramesPart {
            frames: frames.into_iter().map(ImageSource::Memory).collect(),
            fps,
            pixels: PixelLimits::default(),
        }))
    }

    /// Adds a text behind the parts so far.
    #[must_use]
    pub fn and_text(self, text: impl Into<String>) -> Self {
        self.and_part(Part::Text(text.into()))
    }

    /// Adds an image file behind the parts so far.
    #[must_use]
    pub fn and_image(self, path: impl Into<PathBuf>) -> Self {
        self.and_part(Part::Image(ImagePart {
            source: ImageSource::Path(path.into()),
            pixels: PixelLimits::default(),
        }))
    }

    /// Adds a video file behind the parts so far.
    #[must_use]
    pub fn and_video(self, path: impl Into<PathBuf>) -> Self {
        self.and_part(Part::Video(VideoPart {
            path: path.into(),
            sampling: None,
            range: TimeRange::default(),
            pixels: PixelLimits::default(),
        }))
    }

    /// Adds any part behind the parts so far.
    #[must_use]
    pub fn and_part(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// Sets the instruction.
    #[must_use]
    pub fn with_instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }
}
