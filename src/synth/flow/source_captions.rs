use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::hash::{FNV_OFFSET, fnv};
use crate::media::TimeRange;
use crate::store::IoError;
use crate::synth::SynthError;
use crate::text::{LineError, Lines};

/// Captions that came with the videos: JSON lines of a video, a caption and, where it is not about all of the
/// video, a time range in seconds.
///
/// ```json
/// {"video": "rabbit.mp4", "caption": "a rabbit wakes up", "start": 2, "end": 7.5}
/// ```
#[derive(Debug, Default)]
pub struct SourceCaptions {
    by_video: BTreeMap<PathBuf, Vec<SourceCaption>>,
    fingerprint: Option<String>,
}

/// A caption that came with a video.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SourceCaption {
    pub(super) text: String,
    pub(super) range: TimeRange,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    video: PathBuf,
    caption: String,
    #[serde(default)]
    start: Option<f64>,
    #[serde(default)]
    end: Option<f64>,
}

impl SourceCaptions {
    /// Reads captions of `videos`; relative paths are relative to the file.
    ///
    /// # Errors
    /// [`SynthError::Content`] for a line that is no caption or of a video that is not among `videos`;
    /// [`SynthError::Io`].
    pub fn read(path: &Path, videos: &[PathBuf]) -> Result<Self, SynthError> {
        let bytes = fs::read(path).map_err(IoError::of("read", path))?;
        let base = path.parent().unwrap_or(Path::new(""));
        // A video may be a link, and then has another name in full.
        let in_full = |video: &PathBuf| video.canonicalize().unwrap_or_else(|_| video.clone());
        let videos: HashMap<PathBuf, &PathBuf> = videos.iter().map(|video| (in_full(video), video)).collect();
        let mut by_video: BTreeMap<PathBuf, Vec<SourceCaption>> = BTreeMap::new();
        for line in Lines::new(&bytes[..]) {
            let fault = |line, reason| SynthError::Content { path: path.to_owned(), line, reason };
            let line = line.map_err(|error| match error {
                LineError::Text { number, reason } => fault(number, reason),
                error => fault(0, error.to_string()),
            })?;
            let (video, caption) =
                parse(&line.text, base, &videos).map_err(|reason| fault(line.number, reason))?;
            by_video.entry(video).or_default().push(caption);
        }
        Ok(Self { by_video, fingerprint: Some(format!("{:016x}", fnv(FNV_OFFSET, &bytes))) })
    }

    /// The captions of a video, in the order of the file.
    pub(super) fn of(&self, video: &Path) -> &[SourceCaption] {
        self.by_video.get(video).map_or(&[], Vec::as_slice)
    }

    /// The time ranges that captions of a video name, each once, in the order of the file.
    pub(super) fn ranges(&self, video: &Path) -> Vec<TimeRange> {
        let mut ranges = Vec::new();
        for caption in self.of(video) {
            if !ranges.contains(&caption.range) {
                ranges.push(caption.range);
            }
        }
        ranges
    }

    /// A hash of the file, if there is one.
    pub(super) fn fingerprint(&self) -> Option<String> {
        self.fingerprint.clone()
    }
}

fn parse(
    line: &str,
    base: &Path,
    videos: &HashMap<PathBuf, &PathBuf>,
) -> Result<(PathBuf, SourceCaption), String> {
    let line: Line = serde_json::from_str(line).map_err(|error| {
        format!("not a caption: {}", error.to_string().replace("line 1 column", "column"))
    })?;
    let path = base.join(&line.video);
    let in_full = path.canonicalize().map_err(|error| format!("cannot use {}: {error}", path.display()))?;
    let video = videos.get(&in_full).ok_or_else(|| format!("{} is not among the videos", path.display()))?;
    let start = line.start.unwrap_or(0.0);
    if !(start >= 0.0 && start < line.end.unwrap_or(f64::INFINITY)) {
        return Err("`start` must be at least 0 and lie before `end`".to_owned());
    }
    let range = TimeRange { start_seconds: line.start, end_seconds: line.end };
    Ok((video.to_path_buf(), SourceCaption { text: line.caption, range }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captions_are_read_by_video() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let videos = ["a.mp4", "b.mp4"].map(|name| root.join(name));
        videos.iter().for_each(|video| fs::write(video, "").unwrap());
        let file = root.join("captions.jsonl");
        let lines = [
            r#"{"video": "a.mp4", "caption": "one", "start": 1, "end": 2.5}"#,
            "",
            r#"{"video": "a.mp4", "caption": "two", "start": 1, "end": 2.5}"#,
            r#"{"video": "a.mp4", "caption": "three"}"#,
        ];
        fs::write(&file, lines.join("\n")).unwrap();
        let captions = SourceCaptions::read(&file, &videos).unwrap();
        let texts: Vec<&str> = captions.of(&videos[0]).iter().map(|c| c.text.as_str()).collect();
        assert_eq!(texts, ["one", "two", "three"]);
        let range = TimeRange { start_seconds: Some(1.0), end_seconds: Some(2.5) };
        assert_eq!(captions.ranges(&videos[0]), [range, TimeRange::default()]);
        assert!(captions.of(&videos[1]).is_empty() && captions.fingerprint().is_some());

        // As other programs write it.
        fs::write(&file, format!("\u{feff}{}\r\n", lines.join("\r\n"))).unwrap();
        assert_eq!(SourceCaptions::read(&file, &videos).unwrap().of(&videos[0]), captions.of(&videos[0]));

        for (line, expected) in [
            ("{", "captions.jsonl:1: not a caption: EOF while parsing an object at column 1"),
            (r#"{"video": "a.mp4"}"#, "missing field `caption`"),
            (r#"{"video": "c.mp4", "caption": "a"}"#, "cannot use"),
            (r#"{"video": "captions.jsonl", "caption": "a"}"#, "is not among the videos"),
            (r#"{"video": "a.mp4", "caption": "a", "start": 3, "end": 3}"#, "before `end`"),
            (r#"{"video": "a.mp4", "caption": "a", "from": 3}"#, "unknown field `from`"),
        ] {
            fs::write(&file, line).unwrap();
            let message = SourceCaptions::read(&file, &videos).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_video_that_is_a_link_is_known_by_its_own_name() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, video) = (folder.path().join("blob"), folder.path().join("a.mp4"));
        fs::write(&kept, "").unwrap();
        std::os::unix::fs::symlink(&kept, &video).unwrap();
        let file = folder.path().join("captions.jsonl");
        fs::write(&file, r#"{"video": "a.mp4", "caption": "one"}"#).unwrap();
        let captions = SourceCaptions::read(&file, std::slice::from_ref(&video)).unwrap();
        assert_eq!(captions.of(&video).len(), 1);
    }
}
