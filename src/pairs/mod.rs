//! Training pairs as JSON lines.
//!
//! ```json
//! {"task": "t2v", "source": "holiday", "query": {"content": [{"type": "text", "text": "a dog runs"}]},
//!  "positive": {"content": [{"type": "video", "video": "dog.mp4", "nframes": 8}]},
//!  "negatives": [{"content": [{"type": "video", "video": "cat.mp4"}]}]}
//! ```
//!
//! Query, positive and negatives are inputs as `gve embed --input` takes them, instruction included. Lines of
//! one task that stand one behind the other with the same `"group"` come into one batch, so that near misses
//! of each other are told apart at no cost.
//!
//! For an input of one part there is a short form, a string: the path of a video or an image by its ending,
//! or else a text. Without `task` it is what the inputs hold.
//!
//! ```json
//! {"query": "a dog runs", "positive": "dog.mp4", "negatives": ["cat.mp4"]}
//! ```

mod error;
mod index;
mod short;
mod shuffle;
mod task;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::embedder::{FramesPart, ImageSource, Input, InputJson, Part, VideoPart};
use short::Side;

pub use error::PairsError;
pub use index::{Extent, PairIndex, TaskPairs};
pub(crate) use short::named_kind;
pub use shuffle::{Cursor, Shuffled};
pub use task::{Task, UnknownTask};

/// A query and what it should find.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The modalities of query and target.
    pub task: Task,
    /// Where the pair came from, for people.
    pub source: Option<String>,
    /// What the pairs that shall meet in a batch share. Each one's target has to be wrong for the queries of
    /// the others, unless it is the same.
    pub group: Option<String>,
    /// What is asked.
    pub query: Input,
    /// What should be found.
    pub positive: Input,
    /// What is close and wrong; may be empty.
    pub negatives: Vec<Input>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct PairJson {
    #[serde(default)]
    task: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    query: Side,
    positive: Side,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    negatives: Vec<Side>,
}

impl Pair {
    /// A pair of two inputs, of the task that they make.
    ///
    /// # Errors
    /// A sentence that names the one that holds nothing.
    pub fn new(query: Input, positive: Input) -> Result<Self, String> {
        let task = Task::of(&query, &positive)?;
        Ok(Self { task, source: None, group: None, query, positive, negatives: Vec::new() })
    }

    /// Reads one JSON line, whose relative paths are relative to `base`.
    ///
    /// # Errors
    /// A sentence that says what is wrong: no JSON, an unknown key, an unknown task, an input that is none, an
    /// empty text, or one whose modalities are not the task's.
    pub fn from_json(line: &str, base: &Path) -> Result<Self, String> {
        let json: PairJson = serde_json::from_str(line).map_err(|error| unreadable(line, &error))?;
        let read =
            |name: &str, side: Side| side.into_input(base).map_err(|reason| format!("`{name}`: {reason}"));
        let task = json.task.map(|task| task.parse().map_err(|e: UnknownTask| e.to_string())).transpose()?;
        let query = read("query", json.query)?;
        let positive = read("positive", json.positive)?;
        let negatives = (0..).zip(json.negatives).map(|(i, side)| read(&negative(i), side));
        let negatives = negatives.collect::<Result<_, _>>()?;
        let task = match task {
            Some(task) => task,
            None => Task::of(&query, &positive)?,
        };
        let pair = Self { task, source: json.source, group: json.group, query, positive, negatives };
        pair.check()?;
        Ok(pair)
    }

    /// The line of JSON that [`from_json`](Self::from_json) reads as this pair. Paths beneath `base` are
    /// written relative to it, all others as absolute paths.
    ///
    /// # Errors
    /// A sentence that says why there is no such line: an input that has none, as [`Input::to_json`] has it,
    /// or whose modalities are not the task's.
    pub fn to_json(&self, base: &Path) -> Result<String, String> {
        self.check()?;
        let write = |name: &str, input: &Input| {
            let json = InputJson::of(input, None, base).map_err(|error| format!("`{name}`: {error}"))?;
            Ok::<_, String>(Side::Long(json))
        };
        let negatives = self.negatives.iter().enumerate().map(|(i, input)| write(&negative(i), input));
        let json = PairJson {
            task: Some(self.task.to_string()),
            source: self.source.clone(),
            group: self.group.clone(),
            query: write("query", &self.query)?,
            positive: write("positive", &self.positive)?,
            negatives: negatives.collect::<Result<_, _>>()?,
        };
        serde_json::to_string(&json).map_err(|error| format!("not to be written as JSON: {error}"))
    }

    /// Whether all inputs are of the task's modalities and say something.
    fn check(&self) -> Result<(), String> {
        let names: Vec<String> = (0..self.negatives.len()).map(negative).collect();
        let targets: Vec<(&str, &Input)> = std::iter::once(("positive", &self.positive))
            .chain(names.iter().map(String::as_str).zip(&self.negatives))
            .collect();
        self.task.check(&self.query, &targets)?;
        let is_blank = |part: &Part| matches!(part, Part::Text(text) if text.trim().is_empty());
        let mut inputs = std::iter::once(("query", &self.query)).chain(targets);
        match inputs.find(|(_, input)| input.parts.iter().all(is_blank)) {
            Some((name, _)) => Err(format!("`{name}` is an empty text")),
            None => Ok(()),
        }
    }

    /// All files the pair names.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.query, &self.positive].into_iter().chain(&self.negatives).flat_map(files)
    }
}

/// What is wrong with a line that is no pair, and what to do where it is a row of another trainer or data set.
fn unreadable(line: &str, error: &serde_json::Error) -> String {
    // The place inside of the line would read as a line of the file.
    let reason = error.to_string().replace("line 1 column", "column");
    let has_other_keys = ["unknown field", "missing field"].iter().any(|of| reason.starts_with(of));
    let hint = if has_other_keys || !line.trim_start().starts_with('{') {
        "; what others wrote is read by `gve pairs import`, and in settings as { path = \"...\" }"
    } else {
        ""
    };
    format!("not a training pair: {reason}{hint}")
}

/// What errors call a negative.
fn negative(index: usize) -> String {
    format!("negatives[{index}]")
}

fn files(input: &Input) -> impl Iterator<Item = &Path> {
    input.parts.iter().flat_map(|part| {
        let sources: &[ImageSource] = match part {
            Part::Image(image) => std::slice::from_ref(&image.source),
            Part::Frames(frames) => &frames.frames,
            Part::Text(_) | Part::Video(_) => &[],
        };
        let video = if let Part::Video(video) = part { video.source.path() } else { None };
        sources.iter().filter_map(ImageSource::path).chain(video)
    })
}

/// A number that is equal for inputs of equal content and instruction. Made for comparing within one run: two
/// different inputs may share it once in 2^64.
pub fn content_key(input: &Input) -> u64 {
    let mut hasher = DefaultHasher::new();
    input.instruction.hash(&mut hasher);
    for part in &input.parts {
        std::mem::discriminant(part).hash(&mut hasher);
        match part {
            Part::Text(text) => text.hash(&mut hasher),
            Part::Image(image) => {
                hash_source(&image.source, &mut hasher);
                image.pixels.hash(&mut hasher);
            }
            Part::Video(VideoPart { source, sampling, range, clock, pixels, .. }) => {
                (source, clock, pixels).hash(&mut hasher);
                [range.start_seconds, range.end_seconds].map(|time| time.map(f64::to_bits)).hash(&mut hasher);
                json!(sampling).to_string().hash(&mut hasher);
            }
            Part::Frames(FramesPart { frames, fps, pixels }) => {
                (frames.len(), fps.to_bits(), pixels).hash(&mut hasher);
                frames.iter().for_each(|frame| hash_source(frame, &mut hasher));
            }
        }
    }
    hasher.finish()
}

fn hash_source(source: &ImageSource, hasher: &mut impl Hasher) {
    std::mem::discriminant(source).hash(hasher);
    match source {
        ImageSource::Encoded(source) => source.hash(hasher),
        ImageSource::Decoded(image) => (image.dimensions(), image.as_raw()).hash(hasher),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"content": [{"type": "text", "text": "a dog"}]}"#;
    const VIDEO: &str = r#"{"content": [{"type": "video", "video": "dog.mp4", "nframes": 4}]}"#;

    #[test]
    fn a_pair_is_read_with_its_paths() {
        let line = format!(
            r#"{{"task": "t2v", "source": "s", "query": {TEXT}, "positive": {VIDEO}, "negatives": [{VIDEO},
            {{"content": [{{"type": "video", "frames": ["a.png", "/b.png"], "fps": 1}}], "instruction": "i"}}]}}"#
        );
        let pair = Pair::from_json(&line, Path::new("/data")).unwrap();
        assert_eq!((pair.task.to_string().as_str(), pair.source.as_deref()), ("t2v", Some("s")));
        assert_eq!(pair.query, Input::text("a dog"));
        assert_eq!(pair.negatives[1].instruction.as_deref(), Some("i"));
        let files: Vec<_> = pair.files().map(|p| p.to_str().unwrap()).collect();
        assert_eq!(files, ["/data/dog.mp4", "/data/dog.mp4", "/data/a.png", "/b.png"]);
        assert_eq!(content_key(&pair.positive), content_key(&pair.negatives[0]));
        assert_ne!(content_key(&pair.positive), content_key(&pair.negatives[1]));
    }

    #[test]
    fn inputs_that_differ_have_different_keys() {
        let video = |more: &str| {
            let json = format!(r#"{{"content": [{{"type": "video", "video": "dog.mp4"{more}}}]}}"#);
            serde_json::from_str::<InputJson>(&json).unwrap().into_input(Path::new("/data")).unwrap().1
        };
        let (grey, wide) = (image::RgbImage::new(2, 3), image::RgbImage::new(3, 2));
        let inputs = [
            Input::default(),
            Input::text("a"),
            Input::text("a").with_instruction("b"),
            Input::text("b").with_instruction("a"),
            Input::text("a").and_text("b"),
            Input::text("ab"),
            Input::image("dog.mp4"),
            video(""),
            video(r#", "nframes": 4"#),
            video(r#", "nframes": 5"#),
            video(r#", "fps": 4.0"#),
            video(r#", "start": 1.0"#),
            video(r#", "end": 1.0"#),
            video(r#", "end": 1.0, "clock": "display""#),
            video(r#", "max_pixels": 3136"#),
            Input::frames(vec![grey.clone()], 1.0),
            Input::frames(vec![grey.clone()], 2.0),
            Input::frames(vec![wide], 1.0),
            Input::frames(vec![grey.clone(), grey], 1.0),
        ];
        let keys: std::collections::HashSet<u64> = inputs.iter().map(content_key).collect();
        assert_eq!(keys.len(), inputs.len());
    }

    #[test]
    fn what_is_written_is_read_again() {
        let base = Path::new("/data");
        let mut pair = Pair {
            task: "tv2v".parse().unwrap(),
            source: Some("holiday".to_owned()),
            group: Some("beach".to_owned()),
            query: Input::video("/data/cat.mp4").and_text("in the snow").with_instruction("i"),
            positive: Input::video("/data/deep/dog.mp4"),
            negatives: vec![Input::video("/elsewhere/a.mp4"), Input::video("/data/b.mp4")],
        };
        let line = pair.to_json(base).unwrap();
        assert!(line.contains(r#""deep/dog.mp4""#) && !line.contains('\n'), "{line}");
        assert_eq!(Pair::from_json(&line, base).unwrap(), pair);

        pair.negatives = vec![Input::frames(vec![image::RgbImage::new(1, 1)], 1.0)];
        let message = pair.to_json(base).unwrap_err();
        assert!(message.starts_with("`negatives[0]`: content[0]: an image in memory"), "{message}");
        pair.negatives = vec![Input::text("a dog")];
        let message = pair.to_json(base).unwrap_err();
        assert!(message.contains("wants `negatives[0]` to hold video"), "{message}");
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("{".to_owned(), "not a training pair: EOF while parsing an object at column 1"),
            ("video,caption".to_owned(), "what others wrote is read by `gve pairs import`"),
            (r#"{"anchor": "a"}"#.to_owned(), "what others wrote is read by `gve pairs import`"),
            (format!(r#"{{"task": "t2v", "query": {TEXT}}}"#), "`positive`"),
            (format!(r#"{{"task": "t2v", "query": {TEXT}, "positive": {VIDEO}, "extra": 1}}"#), "`extra`"),
            (format!(r#"{{"task": "t2x", "query": {TEXT}, "positive": {VIDEO}}}"#), "unknown task `t2x`"),
            (format!(r#"{{"task": "v2v", "query": {TEXT}, "positive": {VIDEO}}}"#), "`query` to hold video"),
            (
                format!(r#"{{"task": "t2v", "query": {{"content": []}}, "positive": {VIDEO}}}"#),
                "`query`: `content`",
            ),
            (
                format!(r#"{{"task": "t2v", "query": {TEXT}, "positive": {VIDEO}, "negatives": [{TEXT}]}}"#),
                "`negatives[0]` to hold video, it holds text",
            ),
            (format!(r#"{{"task": "t2t", "query": {TEXT}, "positive": {{"contents": []}}}}"#), "`contents`"),
            (format!(r#"{{"query": " ", "positive": {TEXT}}}"#), "`query` is an empty text"),
            (
                format!(r#"{{"query": {TEXT}, "positive": "a", "negatives": ["b", "\n"]}}"#),
                "`negatives[1]` is an empty text",
            ),
        ];
        for (line, named) in cases {
            let message = Pair::from_json(&line, Path::new("")).unwrap_err();
            assert!(message.contains(named), "{line}: {message}");
            assert!(!message.contains('\n'));
        }
    }
}
