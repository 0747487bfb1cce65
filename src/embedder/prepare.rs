//! One input to tokens and patches: files are read, decoded, resized and laid out here.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::RgbImage;

use super::error::EmbedError;
use super::input::{FramesPart, ImagePart, ImageSource, Input, Part, PixelLimits, VideoPart};
use crate::media::{MediaSource, TimeRange};
use crate::model::family::Processor;
use crate::model::{Item, PackedBatch};
use crate::preprocess::{ImageLimits, Patchifier, PromptPart, VisualPatches};
use crate::video::Sampling;
#[cfg(feature = "video")]
use crate::video::VideoOptions;

/// Turns inputs into what the model reads. Knows of no weights, and may be used from many threads.
pub(crate) struct Preparer {
    pub(super) processor: Box<dyn Processor>,
    pub(super) sampling: Sampling,
    pub(super) pixels: PixelLimits,
    /// Largest area of a picture, where neither it nor `pixels` says; gives way to a smallest area that is
    /// asked for.
    pub(super) default_max_pixels: u64,
    /// Longest sequence in tokens.
    pub(super) max_length: usize,
    pub(super) instruction: Option<String>,
    #[cfg(feature = "video")]
    pub(super) video: VideoOptions,
    pub(super) image_limits: ImageLimits,
}

/// An input as the model reads it: token ids, positions and patches.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) item: Item,
    /// Stretch of the first video file that was looked at, in seconds.
    pub(super) time_range: Option<TimeRange>,
    pub(super) warnings: Vec<String>,
}

impl Prepared {
    /// Tokens the model reads, visual ones included.
    pub fn num_tokens(&self) -> usize {
        self.item.num_tokens()
    }

    /// What was odd about the input but no reason to fail.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Inputs packed one behind the other, as [`Qwen25Vl`](crate::model::Qwen25Vl) reads them.
    pub fn pack<'a>(items: impl IntoIterator<Item = &'a Self>) -> PackedBatch<'a> {
        PackedBatch::pack(items.into_iter().map(|prepared| &prepared.item))
    }
}

/// A video's patches, and the seconds between their temporal steps.
struct TimedPatches {
    patches: VisualPatches,
    second_per_grid: f64,
}

/// What is learnt about an input on the way.
#[derive(Default)]
struct Notes {
    time_range: Option<TimeRange>,
    warnings: Vec<String>,
}

impl Preparer {
    /// Prepares an input. A panic is this input's error.
    pub(crate) fn prepare(&self, input: &Input) -> Result<Prepared, EmbedError> {
        guarded(|| self.prepare_unguarded(input))
    }

    fn prepare_unguarded(&self, input: &Input) -> Result<Prepared, EmbedError> {
        if input.parts.is_empty() {
            return Err(EmbedError::EmptyInput);
        }
        let mut parts = Vec::with_capacity(input.parts.len());
        let mut visuals = Vec::new();
        let mut notes = Notes::default();
        for part in &input.parts {
            let (prompt_part, patches) = match part {
                Part::Text(text) => {
                    parts.push(PromptPart::Text(text));
                    continue;
                }
                Part::Image(image) => {
                    let patches = match &image.source {
                        ImageSource::Encoded(source) => naming(source, || self.image_patches(image)),
                        ImageSource::Decoded(_) => self.image_patches(image),
                    }?;
                    (PromptPart::Image { grid_thw: patches.grid_thw }, patches)
                }
                Part::Video(video) => timed(naming(&video.source, || self.video_patches(video, &mut notes))?),
                Part::Frames(frames) => timed(self.frames_patches(frames)?),
            };
            parts.push(prompt_part);
            visuals.push(patches);
        }
        let instruction = input.instruction.as_deref().or(self.instruction.as_deref());
        let encoding = self.processor.encode(&parts, instruction)?;
        if encoding.truncated_tokens > 0 {
            notes.warnings.push(format!(
                "{} tokens of text beyond the limit of {} were cut off",
                encoding.truncated_tokens, self.max_length
            ));
        }
        let Notes { time_range, warnings } = notes;
        Ok(Prepared { item: Item { encoding, visuals }, time_range, warnings })
    }

    fn image_patches(&self, part: &ImagePart) -> Result<VisualPatches, EmbedError> {
        let image = self.pixels(&part.source)?;
        let limits = self.limits(part.pixels);
        Ok(self.processor.pictures().image(&image, limits.min_pixels, limits.max_pixels)?)
    }

    fn frames_patches(&self, part: &FramesPart) -> Result<TimedPatches, EmbedError> {
        let mut patchifier = self.patchifier(part.pixels, part.frames.len())?;
        for frame in &part.frames {
            patchifier.push_image(&*self.pixels(frame)?)?;
        }
        self.timed(patchifier, part.fps)
    }

    #[cfg(feature = "video")]
    fn video_patches(&self, part: &VideoPart, notes: &mut Notes) -> Result<TimedPatches, EmbedError> {
        use crate::video::{FrameCount, VideoReader, select};

        let mut reader = VideoReader::open_with(part.source.clone(), self.video)?;
        let sampling = part.sampling.as_ref().unwrap_or(&self.sampling);
        let count = FrameCount::MultipleOf(self.processor.pictures().budget.frame_factor);
        let selection = select(&reader.timing(), sampling, part.range, count)?;
        let mut patchifier = self.patchifier(part.pixels, selection.indices.len())?;
        for frame in reader.frames(&selection.indices) {
            patchifier.push_image(&frame?.image)?;
        }
        notes.time_range.get_or_insert(covered(reader.metadata().duration_seconds, part.range));
        notes.warnings.extend(reader.warnings().iter().map(ToString::to_string));
        self.timed(patchifier, selection.sample_fps)
    }

    #[cfg(not(feature = "video"))]
    fn video_patches(&self, part: &VideoPart, _: &mut Notes) -> Result<TimedPatches, EmbedError> {
        Err(EmbedError::NoVideoSupport { path: part.source.label() })
    }

    fn patchifier(&self, pixels: PixelLimits, num_frames: usize) -> Result<Patchifier, EmbedError> {
        let limits = self.limits(pixels);
        Ok(self.processor.pictures().video(num_frames, limits.min_pixels, limits.max_pixels)?)
    }

    fn timed(&self, patchifier: Patchifier, sample_fps: f64) -> Result<TimedPatches, EmbedError> {
        let second_per_grid = self.processor.pictures().processor.second_per_grid(sample_fps)?;
        Ok(TimedPatches { patches: patchifier.finish()?, second_per_grid })
    }

    fn pixels<'a>(&self, source: &'a ImageSource) -> Result<Cow<'a, RgbImage>, EmbedError> {
        match source {
            ImageSource::Encoded(media) => naming(media, || Ok(source.pixels(&self.image_limits)?)),
            ImageSource::Decoded(image) => Ok(Cow::Borrowed(image)),
        }
    }

    /// The part's own bounds, else the embedder's.
    pub(super) fn limits(&self, part: PixelLimits) -> PixelLimits {
        let min_pixels = part.min_pixels.or(self.pixels.min_pixels);
        let default = self.default_max_pixels.max(min_pixels.unwrap_or(0));
        let max_pixels = part.max_pixels.or(self.pixels.max_pixels).unwrap_or(default);
        PixelLimits { min_pixels, max_pixels: Some(max_pixels) }
    }
}

/// What `work` gives. A panic, which can only come out of a library for files, is an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, EmbedError>) -> Result<T, EmbedError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(EmbedError::Panicked))
}

/// What `work` on a source gives. An error, also of a panic, names the source.
fn naming<T>(source: &MediaSource, work: impl FnOnce() -> Result<T, EmbedError>) -> Result<T, EmbedError> {
    guarded(work).map_err(|error| error.at(&source.label()))
}

/// The part of a video of `duration` seconds that lies in `range`.
#[cfg(feature = "video")]
fn covered(duration: f64, range: TimeRange) -> TimeRange {
    let end = range.end_seconds.map_or(duration, |end| end.min(duration));
    TimeRange::between(range.start_seconds.unwrap_or(0.0), end)
}

fn timed(video: TimedPatches) -> (PromptPart<'static>, VisualPatches) {
    let TimedPatches { patches, second_per_grid } = video;
    (PromptPart::Video { grid_thw: patches.grid_thw, second_per_grid }, patches)
}
