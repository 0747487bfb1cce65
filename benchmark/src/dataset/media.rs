//! From a path in an index file to the file or the frames it stands for.

use std::cmp::Ordering;
use std::path::{Component, Path, PathBuf};

use gve::{FramesPart, ImagePart, ImageSource, MediaSource, Part, VideoPart};

/// Where the frame caches lie beside `videos/`.
const FRAME_CACHES: &str = "videos_frames";

/// The media of one data set.
pub(super) struct Media<'a> {
    /// What paths are relative to.
    pub(super) directory: &'a Path,
    /// See [`LoadOptions`](super::LoadOptions).
    pub(super) frame_cache_fps: Option<f64>,
}

impl Media<'_> {
    /// The image at `path`, which need not exist.
    pub(super) fn image(&self, path: &str) -> Result<Part, String> {
        let path = self.resolve(&self.inside(path)?, "images");
        Ok(Part::Image(ImagePart::new(MediaSource::from(path))))
    }

    /// The video at `path`, which need not exist, or its cached frames.
    pub(super) fn video(&self, path: &str) -> Result<Part, String> {
        let path = self.inside(path)?;
        if let Some(fps) = self.frame_cache_fps
            && let Some(frames) = self.cached_frames(&path)?
        {
            let frames = frames.into_iter().map(|frame| ImageSource::Encoded(frame.into())).collect();
            return Ok(Part::Frames(FramesPart::new(frames, fps)));
        }
        Ok(Part::Video(VideoPart::new(self.resolve(&path, "videos"))))
    }

    /// `path` as a path below the directory. What leads out of it is refused: index files come from
    /// strangers.
    fn inside(&self, path: &str) -> Result<PathBuf, String> {
        let out =
            || format!("`{path}` leads out of the data set's folder: use a path relative to that folder");
        let given = Path::new(path);
        let relative = given.strip_prefix(self.directory).unwrap_or(given);
        let mut inside = PathBuf::new();
        for component in relative.components() {
            match component {
                Component::Normal(name) => inside.push(name),
                Component::CurDir => {}
                Component::ParentDir if inside.pop() => {}
                Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(out()),
            }
        }
        if inside.as_os_str().is_empty() { Err(format!("`{path}` names no file")) } else { Ok(inside) }
    }

    /// Paths are relative to the directory or to its folder of that kind. Where there is neither file, the
    /// one named in messages is the one more likely meant.
    fn resolve(&self, path: &Path, folder: &str) -> PathBuf {
        let plain = self.directory.join(path);
        let in_folder = self.directory.join(folder).join(path);
        let names_folder = path.starts_with("videos") || path.starts_with("images");
        if plain.is_file() || (names_folder && !in_folder.is_file()) { plain } else { in_folder }
    }

    /// The pictures in `videos_frames/<path without suffix>/`, in order of their numbers; `None` where there
    /// are none.
    fn cached_frames(&self, path: &Path) -> Result<Option<Vec<PathBuf>>, String> {
        let caches = self.directory.join(FRAME_CACHES);
        let stem = path.with_extension("");
        let below_videos = stem.strip_prefix("videos").unwrap_or(&stem);
        for folder in [caches.join(below_videos), caches.join(&stem)] {
            if !folder.is_dir() {
                continue;
            }
            let mut frames = pictures(&folder)
                .map_err(|error| format!("cannot list the frames in {}: {error}", folder.display()))?;
            if !frames.is_empty() {
                frames.sort_by(|a, b| numeric_order(&name(a), &name(b)));
                return Ok(Some(frames));
            }
        }
        Ok(None)
    }
}

fn pictures(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let jpeg = |path: &Path| {
        let suffix = path.extension().map(|suffix| suffix.to_ascii_lowercase());
        suffix.is_some_and(|suffix| suffix == "jpg" || suffix == "jpeg")
    };
    let paths = std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path()));
    paths.filter(|path| path.as_ref().map_or(true, |path| jpeg(path))).collect()
}

fn name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Orders names as people count: `2.jpg` before `10.jpg`; names that count the same, by their spelling.
fn numeric_order(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let order = match (digits(left), digits(right)) {
            (Some(first), Some(second)) => {
                (left, right) = (&left[first.len()..], &right[second.len()..]);
                // Of any length: without leading zeros, the longer number is the greater.
                let (first, second) = (first.trim_start_matches('0'), second.trim_start_matches('0'));
                first.len().cmp(&second.len()).then_with(|| first.cmp(second))
            }
            _ => {
                let (mut first, mut second) = (left.chars(), right.chars());
                let order = first.next().cmp(&second.next());
                if left.is_empty() || right.is_empty() {
                    return order.then_with(|| a.cmp(b));
                }
                (left, right) = (first.as_str(), second.as_str());
                order
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// The digits that `text` opens with.
fn digits(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_in_the_order_of_their_numbers() {
        let expected =
            ["1.jpg", "2.jpg", "010.jpg", "10.jpg", "20.jpg", "frame_9.jpg", "frame_10.jpg", "frame_10b.jpg"];
        for turn in 0..expected.len() {
            let mut names = expected;
            names.rotate_left(turn);
            names.sort_by(|a, b| numeric_order(a, b));
            assert_eq!(names, expected);
        }
    }

    #[test]
    fn paths_stay_inside() {
        let media = Media { directory: Path::new("/data/set"), frame_cache_fps: None };
        for (path, inside) in [
            ("videos/a.mp4", "videos/a.mp4"),
            ("./videos//a.mp4", "videos/a.mp4"),
            ("videos/../images/a.png", "images/a.png"),
            ("/data/set/videos/a.mp4", "videos/a.mp4"),
            ("a..b/c.mp4", "a..b/c.mp4"),
        ] {
            assert_eq!(media.inside(path), Ok(PathBuf::from(inside)));
        }
        for path in ["../a.mp4", "videos/../../a.mp4", "/etc/passwd", "/data/set/../a.mp4"] {
            let error = media.inside(path).unwrap_err();
            assert!(error.contains(path) && error.contains("leads out"), "{error}");
        }
        assert!(media.inside(".").unwrap_err().contains("names no file"));
    }
}
