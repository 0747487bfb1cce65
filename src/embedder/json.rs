//! Inputs as JSON lines.
//!
//! ```json
//! {"id": "q1", "instruction": "...", "content": [
//!   {"type": "text", "text": "..."},
//!   {"type": "image", "image": "a.png", "max_pixels": 37632},
//!   {"type": "video", "video": "b.mp4", "nframes": 8, "start": 1.5, "end": 9.0},
//!   {"type": "video", "frames": ["f0.png", "f1.png"], "fps": 1.0}]}
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::input::{FramesPart, ImagePart, ImageSource, Input, Part, PixelLimits, RangeClock, VideoPart};
use crate::media::TimeRange;
use crate::text::Id;
use crate::video::Sampling;

/// A line of JSON that is not an input, or an input that no line of JSON could say.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputJsonError {
    /// Not JSON, an unknown key, a missing or mistyped value.
    #[error("not an input: {0}")]
    Json(serde_json::Error),
    /// Nothing to embed.
    #[error("`content` is empty: give at least one text, image or video")]
    EmptyContent,
    /// Values that contradict each other or make no sense.
    #[error("content[{index}]: {reason}")]
    Part {
        /// Place of the part in `content`, from 0.
        index: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// An input as it stands in JSON, by itself or inside of something larger.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct InputJson {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instruction: Option<String>,
    content: Vec<Content>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
enum Content {
    Text {
        text: String,
    },
    Image {
        image: PathBuf,
        #[serde(skip_serializing_if = "Option::is_none")]
        min_pixels: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_pixels: Option<u64>,
    },
    Video(Video),
}

#[derive(Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Video {
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frames: Option<Vec<PathBuf>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nframes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fps: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_frames: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_frames: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    clock: Option<RangeClock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_pixels: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_pixels: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_pixels: Option<u64>,
}

impl Input {
    /// Reads one JSON line, whose relative paths are relative to `base`. Returns the line's `id`
    /// beside the input.
    ///
    /// # Errors
    /// [`InputJsonError`]; unknown keys are errors.
    pub fn from_json(line: &str, base: &Path) -> Result<(Option<String>, Self), InputJsonError> {
        serde_json::from_str::<InputJson>(line).map_err(InputJsonError::Json)?.into_input(base)
    }

    /// The line of JSON that [`from_json`](Self::from_json) reads as this `id` and this input. Paths beneath
    /// `base` are written relative to it, all others as absolute paths.
    ///
    /// # Errors
    /// [`InputJsonError`] where there is no such line: images and videos that are no files,
    /// [`Sampling::Timestamps`], paths that are not UTF-8, and whatever `from_json` refuses.
    pub fn to_json(&self, id: Option<&str>, base: &Path) -> Result<String, InputJsonError> {
        serde_json::to_string(&InputJson::of(self, id, base)?).map_err(InputJsonError::Json)
    }
}

impl InputJson {
    /// The inverse of [`into_input`](Self::into_input).
    pub(crate) fn of(input: &Input, id: Option<&str>, base: &Path) -> Result<Self, InputJsonError> {
        let content = input
            .parts
            .iter()
            .enumerate()
            .map(|(index, part)| {
                Content::of(part, base).map_err(|reason| InputJsonError::Part { index, reason })
            })
            .collect::<Result<_, _>>()?;
        let id = id.map(|id| Id(id.to_owned()));
        let json = Self { id, instruction: input.instruction.clone(), content };
        // The rules for what makes sense are written down once, where lines are read.
        json.clone().into_input(base)?;
        Ok(json)
    }

    /// The line's `id` and the input; relative paths are relative to `base`.
    pub(crate) fn into_input(self, base: &Path) -> Result<(Option<String>, Input), InputJsonError> {
        if self.content.is_empty() {
            return Err(InputJsonError::EmptyContent);
        }
        let parts = self
            .content
            .into_iter()
            .enumerate()
            .map(|(index, content)| {
                content.into_part(base).map_err(|reason| InputJsonError::Part { index, reason })
            })
            .collect::<Result<_, _>>()?;
        let id = self.id.map(|id| id.0);
        Ok((id, Input { parts, instruction: self.instruction }))
    }
}

impl Content {
    fn of(part: &Part, base: &Path) -> Result<Self, &'static str> {
        match part {
            Part::Text(text) => Ok(Self::Text { text: text.clone() }),
            Part::Image(ImagePart { pixels: PixelLimits { total_pixels: Some(_), .. }, .. }) => {
                Err("`total_pixels` is of all frames of a video: an image has `max_pixels`")
            }
            Part::Image(ImagePart { source, pixels: PixelLimits { min_pixels, max_pixels, .. } }) => {
                Ok(Self::Image {
                    image: source_path(source, base)?,
                    min_pixels: *min_pixels,
                    max_pixels: *max_pixels,
                })
            }
            Part::Video(video) => Ok(Self::Video(Video::of(video, base)?)),
            Part::Frames(FramesPart { frames, fps, pixels }) => Ok(Self::Video(Video {
                frames: Some(frames.iter().map(|frame| source_path(frame, base)).collect::<Result<_, _>>()?),
                fps: Some(*fps),
                min_pixels: pixels.min_pixels,
                max_pixels: pixels.max_pixels,
                total_pixels: pixels.total_pixels,
                ..Video::default()
            })),
        }
    }

    fn into_part(self, base: &Path) -> Result<Part, &'static str> {
        match self {
            Self::Text { text } => Ok(Part::Text(text)),
            Self::Image { image, min_pixels, max_pixels } => Ok(Part::Image(ImagePart {
                source: ImageSource::Encoded(base.join(image).into()),
                pixels: limits(min_pixels, max_pixels)?,
            })),
            Self::Video(video) => video.into_part(base),
        }
    }
}

impl Video {
    fn of(part: &VideoPart, base: &Path) -> Result<Self, &'static str> {
        let TimeRange { start_seconds: start, end_seconds: end } = part.range;
        let PixelLimits { min_pixels, max_pixels, total_pixels } = part.pixels;
        let path = part.source.path().ok_or("a video in memory has no form in JSON: write it to a file")?;
        let video = Some(relative(path, base)?);
        let clock = (part.clock != RangeClock::default()).then_some(part.clock);
        let plain =
            Self { video, start, end, clock, min_pixels, max_pixels, total_pixels, ..Self::default() };
        match part.sampling {
            None => Ok(plain),
            Some(Sampling::Uniform { frames }) => Ok(Self { nframes: Some(frames), ..plain }),
            Some(Sampling::Fps { fps, min_frames, max_frames }) => {
                Ok(Self { fps: Some(fps), min_frames, max_frames, ..plain })
            }
            Some(Sampling::Timestamps(_)) => Err("time stamps of single frames have no form in JSON"),
        }
    }

    fn into_part(mut self, base: &Path) -> Result<Part, &'static str> {
        let pixels = limits(self.min_pixels, self.max_pixels)?.with_total_pixels(self.total_pixels);
        if self.fps.is_some_and(|fps| !(fps.is_finite() && fps > 0.0)) {
            return Err("`fps` must be a positive number");
        }
        match (self.video.take(), self.frames.take()) {
            (Some(video), None) => Ok(Part::Video(VideoPart {
                sampling: self.sampling()?,
                range: self.range()?,
                clock: self.clock.unwrap_or_default(),
                pixels,
                ..VideoPart::new(base.join(video))
            })),
            (None, Some(frames)) => Ok(Part::Frames(FramesPart {
                fps: self.fps_of_frames(&frames)?,
                frames: frames.into_iter().map(|f| ImageSource::Encoded(base.join(f).into())).collect(),
                pixels,
            })),
            _ => Err("a video part takes either `video` (a file) or `frames` (a list of images)"),
        }
    }

    fn sampling(&self) -> Result<Option<Sampling>, &'static str> {
        let bounded = self.min_frames.is_some() || self.max_frames.is_some();
        match (self.nframes, self.fps) {
            (Some(_), Some(_)) => Err("give `nframes` or `fps`, not both"),
            (_, None) if bounded => Err("`min_frames` and `max_frames` go with `fps`"),
            (Some(0), None) => Err("`nframes` must be at least 1"),
            (Some(frames), None) => Ok(Some(Sampling::Uniform { frames })),
            (None, Some(fps)) => {
                let (min_frames, max_frames) = (self.min_frames, self.max_frames);
                if min_frames.zip(max_frames).is_some_and(|(min, max)| min > max) {
                    return Err("`min_frames` is larger than `max_frames`");
                }
                Ok(Some(Sampling::Fps { fps, min_frames, max_frames }))
            }
            (None, None) => Ok(None),
        }
    }

    fn range(&self) -> Result<TimeRange, &'static str> {
        let (start_seconds, end_seconds) = (self.start, self.end);
        let start = start_seconds.unwrap_or(0.0);
        if !(start >= 0.0 && start < end_seconds.unwrap_or(f64::INFINITY)) {
            return Err("`start` must be at least 0 and lie before `end`");
        }
        Ok(TimeRange { start_seconds, end_seconds })
    }

    fn fps_of_frames(&self, frames: &[PathBuf]) -> Result<f64, &'static str> {
        let only_for_files = [self.nframes, self.min_frames, self.max_frames].iter().any(Option::is_some)
            || self.start.is_some()
            || self.end.is_some()
            || self.clock.is_some();
        if only_for_files {
            return Err("`frames` are taken as they are: only `fps` and pixel bounds go with them");
        }
        if frames.is_empty() {
            return Err("`frames` is empty");
        }
        self.fps.ok_or(
            "`frames` need `fps`, the frames per second of this list: the model's sense of time rests on it",
        )
    }
}

fn source_path(source: &ImageSource, base: &Path) -> Result<PathBuf, &'static str> {
    let path = source.path().ok_or("an image in memory has no form in JSON: write it to a file")?;
    relative(path, base)
}

/// A path that, joined to `base`, leads to the file at `path`.
fn relative(path: &Path, base: &Path) -> Result<PathBuf, &'static str> {
    if let Ok(beneath) = path.strip_prefix(base) {
        return Ok(beneath.to_owned());
    }
    std::path::absolute(path).map_err(|_| "its path is empty, or relative to no directory")
}

fn limits(min_pixels: Option<u64>, max_pixels: Option<u64>) -> Result<PixelLimits, &'static str> {
    if let (Some(min), Some(max)) = (min_pixels, max_pixels)
        && min > max
    {
        return Err("`min_pixels` is larger than `max_pixels`");
    }
    Ok(PixelLimits { min_pixels, max_pixels, total_pixels: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaSource;

    fn parse(line: &str) -> Result<(Option<String>, Input), InputJsonError> {
        Input::from_json(line, Path::new("/data"))
    }

    #[test]
    fn parts_keep_their_order_and_paths_their_base() {
        let line = r#"{"id": "q1", "instruction": "Find it.", "content": [
            {"type": "video", "video": "b.mp4", "fps": 2, "max_frames": 10, "start": 1.5},
            {"type": "text", "text": "then"},
            {"type": "image", "image": "/abs/a.png", "max_pixels": 37632},
            {"type": "video", "frames": ["f0.png", "f1.png"], "fps": 1.0}]}"#
            .replace('\n', " ");
        let (id, input) = parse(&line).unwrap();
        assert_eq!(id.as_deref(), Some("q1"));
        assert_eq!(input.instruction.as_deref(), Some("Find it."));
        let numbered = parse(r#"{"id": 7, "content": [{"type": "text", "text": ""}]}"#).unwrap();
        assert_eq!(numbered, (Some("7".to_owned()), Input::text("")));
        let expected = [
            Part::Video(
                VideoPart::new("/data/b.mp4")
                    .with_sampling(Some(Sampling::Fps { fps: 2.0, min_frames: None, max_frames: Some(10) }))
                    .with_range(TimeRange { start_seconds: Some(1.5), end_seconds: None }),
            ),
            Part::Text("then".into()),
            Part::Image(ImagePart {
                source: ImageSource::Encoded("/abs/a.png".into()),
                pixels: PixelLimits { max_pixels: Some(37632), ..PixelLimits::default() },
            }),
            Part::Frames(FramesPart {
                frames: vec![
                    ImageSource::Encoded("/data/f0.png".into()),
                    ImageSource::Encoded("/data/f1.png".into()),
                ],
                fps: 1.0,
                pixels: PixelLimits::default(),
            }),
        ];
        assert_eq!(input.parts, expected);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let image =
            |path: &str, pixels| Part::Image(ImagePart { source: ImageSource::Encoded(path.into()), pixels });
        let video = |sampling, start_seconds, end_seconds| {
            let range = TimeRange { start_seconds, end_seconds };
            Part::Video(VideoPart { sampling, range, ..VideoPart::new("/data/b.mp4") })
        };
        let (min_pixels, max_pixels) = (Some(784), Some(37632));
        let pixels = PixelLimits { min_pixels, max_pixels, total_pixels: Some(100_352) };
        let input = Input::text("a \"dog\"\n<|im_end|>")
            .and_part(image("/data/deep/a.png", pixels.with_total_pixels(None)))
            .and_part(image("/elsewhere/a.png", PixelLimits::default()))
            .and_part(video(None, None, Some(2.5)))
            .and_part(video(Some(Sampling::Uniform { frames: 8 }), Some(0.1), None))
            .and_part(Part::Video(VideoPart::new("/data/b.mp4").with_clock(RangeClock::Display)))
            .and_part(video(
                Some(Sampling::Fps { fps: 0.5, min_frames: Some(4), max_frames: None }),
                None,
                None,
            ))
            .and_part(Part::Frames(FramesPart {
                frames: vec![ImageSource::Encoded("/data/f0.png".into())],
                fps: 1.0,
                pixels,
            }))
            .with_instruction("Find it.");
        let line = input.to_json(Some("q1"), Path::new("/data")).unwrap();
        assert!(line.contains(r#""deep/a.png""#) && line.contains(r#""/elsewhere/a.png""#), "{line}");
        assert!(!line.contains('\n') && !line.contains("null"), "{line}");
        assert_eq!(parse(&line).unwrap(), (Some("q1".to_owned()), input));

        let line = Input::image("a.png").to_json(None, Path::new("out")).unwrap();
        let absolute = std::path::absolute("a.png").unwrap();
        assert_eq!(Input::from_json(&line, Path::new("out")).unwrap(), (None, Input::image(absolute)));
    }

    #[test]
    fn what_no_line_could_say_is_not_written() {
        let sampled = |sampling| {
            let mut input = Input::video("a.mp4");
            if let Part::Video(video) = &mut input.parts[0] {
                video.sampling = Some(sampling);
            }
            input
        };
        let cases = [
            (Input::default(), "empty"),
            (Input::frames(vec![image::RgbImage::new(1, 1)], 1.0), "content[0]: an image in memory"),
            (Input::image(MediaSource::bytes(b"")), "an image in memory"),
            (Input::video(MediaSource::bytes(b"")), "a video in memory"),
            (sampled(Sampling::Timestamps(vec![1.0])), "time stamps"),
            (sampled(Sampling::Uniform { frames: 0 }), "at least 1"),
            (sampled(Sampling::Fps { fps: f64::NAN, min_frames: None, max_frames: None }), "positive"),
            (Input::video(""), "path is empty"),
        ];
        for (input, named) in cases {
            let message = input.to_json(None, Path::new("/data")).unwrap_err().to_string();
            assert!(message.contains(named), "{input:?}: {message}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("{", "not an input"),
            (r#"{"content": []}"#, "empty"),
            (r#"{"contents": []}"#, "contents"),
            (r#"{"content": [{"type": "text", "txt": "a"}]}"#, "txt"),
            (r#"{"content": [{"type": "image", "image": "a", "nframes": 2}]}"#, "nframes"),
            (r#"{"content": [{"type": "video", "video": "a", "typo": 2}]}"#, "typo"),
            (r#"{"content": [{"type": "audio", "audio": "a"}]}"#, "audio"),
            (r#"{"content": [{"type": "video"}]}"#, "either `video`"),
            (r#"{"content": [{"type": "video", "video": "a", "nframes": 2, "fps": 1}]}"#, "not both"),
            (r#"{"content": [{"type": "video", "video": "a", "min_frames": 2}]}"#, "go with `fps`"),
            (r#"{"content": [{"type": "video", "video": "a", "nframes": 0}]}"#, "at least 1"),
            (r#"{"content": [{"type": "video", "video": "a", "fps": -1}]}"#, "positive"),
            (r#"{"content": [{"type": "video", "video": "a", "start": 3, "end": 2}]}"#, "before `end`"),
            (r#"{"content": [{"type": "video", "frames": ["a"]}]}"#, "need `fps`"),
            (r#"{"content": [{"type": "video", "frames": [], "fps": 1}]}"#, "`frames` is empty"),
            (r#"{"content": [{"type": "image", "image": "a", "min_pixels": 9, "max_pixels": 8}]}"#, "larger"),
        ];
        for (line, named) in cases {
            let message = parse(line).unwrap_err().to_string();
            assert!(message.contains(named), "{line}: {message}");
            assert!(!message.contains('\n'));
        }
    }
}
