//! One input to tokens and patches: files are read, decoded, resized and laid out here.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::RgbImage;

use super::embedding::SourceInfo;
use super::error::EmbedError;
use super::input::{FramesPart, ImagePart, ImageSource, Input, Part, PixelLimits, VideoPart};
use crate::media::{MediaSource, TimeRange};
use crate::model::family::Processor;
use crate::model::{Item, PackedBatch};
use crate::preprocess::{Encoding, ImageLimits, Patchifier, PromptPart, VisualPatches, load_picture};
use crate::recipe::PromptRecipe;
#[cfg(feature = "video")]
use crate::video::VideoOptions;
use crate::video::{FrameCount, Sampling};

/// Turns inputs into what the model reads. Knows of no weights, and may be used from many threads.
pub(crate) struct Preparer {
    pub(super) processor: Box<dyn Processor>,
    pub(super) prompt: PromptRecipe,
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
    /// What the first file with pictures says of itself.
    pub(super) source: Option<SourceInfo>,
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

    /// Inputs packed one behind the other, as [`QwenVl`](crate::model::QwenVl) reads them.
    pub fn pack<'a>(items: impl IntoIterator<Item = &'a Self>) -> PackedBatch<'a> {
        PackedBatch::pack(items.into_iter().map(|prepared| &prepared.item))
    }
}

/// The parts of an input, whose pictures are patches by now.
pub(super) struct Seen<'a> {
    pub(super) parts: &'a [Part],
    /// By their places among the parts.
    pub(super) pictures: BTreeMap<usize, Picture>,
    pub(super) notes: Notes,
}

impl Seen<'_> {
    /// The parts as a prompt has them.
    pub(super) fn named(&self) -> Vec<PromptPart<'_>> {
        self.parts.iter().enumerate().map(|(i, part)| named(part, self.pictures.get(&i))).collect()
    }
}

/// Those of `pictures` that are in a prompt, as it has them, whatever the order they came in; `first` is the
/// place of the first part in the prompt's count.
pub(super) fn take_pictures(
    encoding: &Encoding,
    first: usize,
    pictures: &mut BTreeMap<usize, Picture>,
) -> Vec<VisualPatches> {
    let places = encoding.visual_spans.iter().filter_map(|span| span.part_index.checked_sub(first));
    places.filter_map(|index| pictures.remove(&index)).map(|picture| picture.patches).collect()
}

/// A picture as the prompt names it, and its patches.
pub(super) struct Picture {
    pub(super) patches: VisualPatches,
    /// Of a video.
    timing: Option<Timing>,
}

/// When the frames of a video are shown.
struct Timing {
    second_per_grid: f64,
    frame_seconds: Vec<f64>,
}

/// What is learnt about an input on the way.
#[derive(Default)]
pub(super) struct Notes {
    time_range: Option<TimeRange>,
    source: Option<SourceInfo>,
    pub(super) warnings: Vec<String>,
}

impl Preparer {
    /// Prepares an input. A panic is this input's error.
    pub(crate) fn prepare(&self, input: &Input) -> Result<Prepared, EmbedError> {
        guarded(|| self.prepare_unguarded(input))
    }

    fn prepare_unguarded(&self, input: &Input) -> Result<Prepared, EmbedError> {
        let mut seen = self.look_unguarded(input)?;
        let instruction = input.instruction.as_deref().or(self.instruction.as_deref());
        let encoding = self.processor.encode(&seen.named(), instruction)?;
        let mut visuals = take_pictures(&encoding, 0, &mut seen.pictures);
        // One that is not in the prompt comes last.
        visuals.extend(seen.pictures.into_values().map(|picture| picture.patches));
        Ok(self.prepared(Item { encoding, visuals, behind: 0 }, seen.notes))
    }

    /// Makes patches of the pictures of `input`. A panic is this input's error.
    pub(super) fn look<'a>(&self, input: &'a Input) -> Result<Seen<'a>, EmbedError> {
        guarded(|| self.look_unguarded(input))
    }

    fn look_unguarded<'a>(&self, input: &'a Input) -> Result<Seen<'a>, EmbedError> {
        if input.parts.is_empty() && self.prompt.empty_input.is_none() {
            return Err(EmbedError::EmptyInput);
        }
        let mut notes = Notes::default();
        let mut pictures = BTreeMap::new();
        for (index, part) in input.parts.iter().enumerate() {
            let picture = match part {
                Part::Text(_) => continue,
                Part::Image(image) => match &image.source {
                    ImageSource::Encoded(source) => naming(source, || self.image_patches(image, &mut notes)),
                    ImageSource::Decoded(_) => self.image_patches(image, &mut notes),
                },
                Part::Video(video) => naming(&video.source, || self.video_patches(video, &mut notes)),
                Part::Frames(frames) => self.frames_patches(frames, &mut notes),
            };
            pictures.insert(index, picture?);
        }
        Ok(Seen { parts: &input.parts, pictures, notes })
    }

    /// An item with what is to be told of it.
    pub(super) fn prepared(&self, item: Item, mut notes: Notes) -> Prepared {
        if item.encoding.truncated_tokens > 0 {
            notes.warnings.push(format!(
                "{} tokens of text beyond the limit of {} were cut off",
                item.encoding.truncated_tokens, self.max_length
            ));
        }
        Prepared { item, time_range: notes.time_range, source: notes.source, warnings: notes.warnings }
    }

    fn image_patches(&self, part: &ImagePart, notes: &mut Notes) -> Result<Picture, EmbedError> {
        let (image, captured_seconds) = self.pixels(&part.source)?;
        let (width, height) = image.dimensions();
        notes.source.get_or_insert(SourceInfo { width, height, captured_seconds });
        let limits = self.limits(part.pixels);
        let patches = self.processor.pictures().image(&image, limits.min_pixels, limits.max_pixels)?;
        Ok(Picture { patches, timing: None })
    }

    fn frames_patches(&self, part: &FramesPart, notes: &mut Notes) -> Result<Picture, EmbedError> {
        let pictures = self.processor.pictures();
        let all = part.frames.len();
        let most = pictures.recipe.max_listed_frames.unwrap_or(all);
        let chosen: Vec<usize> = if all > most { spread(all, most) } else { (0..all).collect() };
        if all > most {
            notes.warnings.push(format!("of {all} frames, {most} are looked at, evenly spread"));
        }
        let limits = self.limits(part.pixels);
        let mut patchifier = self.patchifier(part.pixels, chosen.len())?;
        for &index in &chosen {
            let (frame, _) = self.pixels(&part.frames[index])?;
            let (min_pixels, max_pixels) = (limits.min_pixels, part.pixels.max_pixels);
            patchifier.push_image(&*pictures.listed_frame(&frame, min_pixels, max_pixels)?)?;
        }
        // Frames that fill the last patch up are numbered on.
        let factor = pictures.processor.temporal_patch_size() as usize;
        let last = chosen.last().map_or(0, |last| last + 1);
        let padding = last..last + chosen.len().next_multiple_of(factor) - chosen.len();
        let seconds = chosen.into_iter().chain(padding).map(|index| index as f64 / part.fps);
        self.timed(patchifier, part.fps, seconds.collect())
    }

    #[cfg(feature = "video")]
    fn video_patches(&self, part: &VideoPart, notes: &mut Notes) -> Result<Picture, EmbedError> {
        use crate::video::VideoReader;

        let open = || VideoReader::open_with(part.source.clone(), self.video);
        let mut reader = part.readers.take().map_or_else(open, Ok)?;
        let sampling = part.sampling.as_ref().unwrap_or(&self.sampling);
        let pictures = self.processor.pictures();
        let timing = reader.timing();
        let selection = part.select(&timing, sampling, self.frame_count())?;
        let mut patchifier = self.patchifier(part.pixels, selection.indices.len())?;
        for frame in reader.frames(&selection.indices) {
            patchifier.push_image(&frame?.image)?;
        }
        let metadata = reader.metadata();
        notes.source.get_or_insert(SourceInfo {
            width: metadata.width,
            height: metadata.height,
            captured_seconds: metadata.created_seconds,
        });
        notes.time_range.get_or_insert(covered(reader.metadata().duration_seconds, part.range));
        notes.warnings.extend(reader.warnings().iter().map(ToString::to_string));
        part.readers.give_back(reader);
        // The last frame fills the last patch up.
        let factor = pictures.processor.temporal_patch_size() as usize;
        let frames = selection.indices.len().next_multiple_of(factor);
        let last = selection.indices.last().copied();
        let indices =
            selection.indices.into_iter().chain(std::iter::repeat_n(last, frames).flatten()).take(frames);
        let seconds = indices.map(|index| index as f64 / timing.average_fps());
        self.timed(patchifier, selection.sample_fps, seconds.collect())
    }

    #[cfg(not(feature = "video"))]
    fn video_patches(&self, part: &VideoPart, _: &mut Notes) -> Result<Picture, EmbedError> {
        Err(EmbedError::NoVideoSupport { path: part.source.label() })
    }

    fn patchifier(&self, pixels: PixelLimits, num_frames: usize) -> Result<Patchifier, EmbedError> {
        let PixelLimits { min_pixels, max_pixels, total_pixels } = self.limits(pixels);
        Ok(self.processor.pictures().video(num_frames, min_pixels, max_pixels, total_pixels)?)
    }

    fn timed(
        &self,
        patchifier: Patchifier,
        sample_fps: f64,
        frame_seconds: Vec<f64>,
    ) -> Result<Picture, EmbedError> {
        let second_per_grid = self.processor.pictures().processor.second_per_grid(sample_fps)?;
        let timing = Some(Timing { second_per_grid, frame_seconds });
        Ok(Picture { patches: patchifier.finish()?, timing })
    }

    /// A picture, and when it was taken.
    fn pixels<'a>(&self, source: &'a ImageSource) -> Result<(Cow<'a, RgbImage>, Option<i64>), EmbedError> {
        match source {
            ImageSource::Encoded(media) => naming(media, || {
                let transparency = self.processor.pictures().recipe.transparency;
                let picture = load_picture(media, &self.image_limits, transparency)?;
                Ok((Cow::Owned(picture.pixels), picture.captured_seconds))
            }),
            ImageSource::Decoded(image) => Ok((Cow::Borrowed(image), None)),
        }
    }

    pub(super) fn frame_count(&self) -> FrameCount {
        FrameCount::MultipleOf(self.processor.pictures().budget.frame_factor)
    }

    /// The part's own bounds, else the embedder's.
    pub(super) fn limits(&self, part: PixelLimits) -> PixelLimits {
        let min_pixels = part.min_pixels.or(self.pixels.min_pixels);
        let default = self.default_max_pixels.max(min_pixels.unwrap_or(0));
        let max_pixels = part.max_pixels.or(self.pixels.max_pixels).unwrap_or(default);
        let total_pixels = part.total_pixels.or(self.pixels.total_pixels);
        PixelLimits { min_pixels, max_pixels: Some(max_pixels), total_pixels }
    }
}

/// What `work` gives. A panic, which can only come out of a library for files, is an error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> Result<T, EmbedError>) -> Result<T, EmbedError> {
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

/// A part as a prompt has it.
fn named<'a>(part: &'a Part, picture: Option<&'a Picture>) -> PromptPart<'a> {
    match (part, picture) {
        (Part::Text(text), _) => PromptPart::Text(text),
        (_, Some(Picture { patches, timing: Some(timing) })) => PromptPart::Video {
            grid_thw: patches.grid_thw,
            second_per_grid: timing.second_per_grid,
            frame_seconds: &timing.frame_seconds,
        },
        (_, picture) => {
            PromptPart::Image { grid_thw: picture.map_or([0; 3], |picture| picture.patches.grid_thw) }
        }
    }
}

/// `most` of `all` places, evenly spread and cut to integers, as the class of Qwen3-VL-Embedding chooses.
pub(super) fn spread(all: usize, most: usize) -> Vec<usize> {
    let step = all.saturating_sub(1) as f64 / most.saturating_sub(1).max(1) as f64;
    (0..most).map(|i| ((i as f64 * step) as usize).min(all - 1)).collect()
}
