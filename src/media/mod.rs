//! Where media come from, what they are by their names, and stretches of them: what the rooms that read, keep
//! and find them have in common.

mod moments;
mod reader;
mod source;

pub use moments::Moments;
pub use reader::MediaReader;
pub use source::MediaSource;

use std::path::Path;

use serde::{Deserialize, Serialize};

/// File name extensions taken for videos, in lower case.
pub const VIDEO_EXTENSIONS: &[&str] = &[
    "360", "3g2", "3gp", "apng", "asf", "avi", "divx", "dv", "f4v", "flv", "gif", "h264", "hevc", "insv",
    "ivf", "m1v", "m2t", "m2ts", "m2v", "m4v", "mjpeg", "mk3d", "mkv", "mod", "mov", "mp4", "mpe", "mpeg",
    "mpg", "mpv", "mts", "mxf", "nut", "ogm", "ogv", "qt", "rm", "tod", "ts", "vob", "webm", "wmv", "wtv",
    "y4m",
];
/// File name extensions taken for images, in lower case.
pub const IMAGE_EXTENSIONS: &[&str] = &[
    "3fr", "arw", "avif", "bmp", "cr2", "cr3", "dib", "dng", "heic", "heif", "hif", "insp", "jfif", "jpe",
    "jpeg", "jpg", "jps", "jxl", "mpo", "nef", "nrw", "orf", "pef", "png", "raf", "rw2", "rwl", "sr2", "srw",
    "tif", "tiff", "webp",
];

/// Pixels of the largest picture that is read where nobody says: more than the 200 megapixels of phones.
/// Pillow's own bound against decompression bombs is two thirds of it.
pub const MAX_PICTURE_PIXELS: u64 = 1 << 28;

/// What kind of file an embedding is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    /// A still image.
    Image,
    /// A video, or a time range of one.
    Video,
}

impl MediaKind {
    /// What a file is by the extension of its name, in whatever case; `None` where that is neither of
    /// [`VIDEO_EXTENSIONS`] nor of [`IMAGE_EXTENSIONS`].
    ///
    /// ```
    /// use gve::media::MediaKind;
    ///
    /// assert_eq!(MediaKind::of_name("holiday/DSC_0001.JPG".as_ref()), Some(MediaKind::Image));
    /// assert_eq!(MediaKind::of_name("loop.gif".as_ref()), Some(MediaKind::Video));
    /// assert_eq!(MediaKind::of_name("notes.txt".as_ref()), None);
    /// ```
    pub fn of_name(path: &Path) -> Option<Self> {
        Self::of_extension(path.extension()?.to_str()?)
    }

    /// As [`of_name`](Self::of_name), given the extension alone, without its dot.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let extension = extension.to_ascii_lowercase();
        let is_one_of = |extensions: &[&str]| extensions.contains(&extension.as_str());
        if is_one_of(VIDEO_EXTENSIONS) {
            Some(Self::Video)
        } else if is_one_of(IMAGE_EXTENSIONS) {
            Some(Self::Image)
        } else {
            None
        }
    }
}

/// Most frames of a video that are taken at a rate where nobody says: `FPS_MAX_FRAMES` of qwen-vl-utils.
pub const DEFAULT_MAX_FRAMES: usize = 768;

/// Which frames to take from a video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Sampling {
    /// A number of frames, evenly spread, the first and the last included.
    Uniform {
        /// Frames wanted; a shorter video gives all it has.
        frames: usize,
    },
    /// So many frames for each second of video, evenly spread.
    Fps {
        /// Frames wanted per second of video.
        fps: f64,
        /// Fewest frames to take; 4 where `None`.
        min_frames: Option<usize>,
        /// Most frames to take; 768 where `None`. Wins over `min_frames`.
        max_frames: Option<usize>,
    },
    /// The frames on display at these times, in seconds from the first frame, in the order given.
    Timestamps(Vec<f64>),
}

/// A stretch of video in seconds from its first frame. The default is the whole of it.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeRange {
    /// Start; `None` is the first frame.
    pub start_seconds: Option<f64>,
    /// End, inclusive; `None` is the last frame.
    pub end_seconds: Option<f64>,
}

impl TimeRange {
    /// The stretch between two times.
    pub fn between(start_seconds: f64, end_seconds: f64) -> Self {
        Self { start_seconds: Some(start_seconds), end_seconds: Some(end_seconds) }
    }

    /// Start and end, where both are known and numbers.
    pub fn bounds(self) -> Option<(f64, f64)> {
        let (start, end) = self.start_seconds.zip(self.end_seconds)?;
        (start.is_finite() && end.is_finite()).then_some((start, end))
    }

    /// Start and end as keys of a map: equal bit for bit.
    pub(crate) fn to_bits(self) -> [Option<u64>; 2] {
        [self.start_seconds, self.end_seconds].map(|bound| bound.map(f64::to_bits))
    }
}
