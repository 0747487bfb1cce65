use std::collections::VecDeque;

use image::RgbImage;
use image::imageops::{self, FilterType};

use super::border::Borders;
use super::picture::{CELLS, GREY_SIDE, Grey, Picture};
use crate::cancel::CancelToken;
use crate::media::{MediaKind, MediaSource};
use crate::video::{VideoError, VideoMetadata, VideoOptions, VideoReader, small_pictures};

/// Pictures looked at in a second of video.
pub(super) const FPS: f64 = 4.0;
/// How many times of each of these quarters a clip is looked at.
const PHASES: u32 = 4;
/// Pictures before and after one that tell of its borders: 8 s.
const BORDER_REACH: usize = 32;
/// A picture is the one before where no cell differs by so much of 255, and the mean by less than the other.
const SAME_CELL: u8 = 6;
const SAME_MEAN: f32 = 0.5;

/// What a video or an image looks like: small greys without borders, four of each second of video, fewer
/// where nothing changes. 0.6 KB each: 8 MB for an hour in which something always moves.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Fingerprint {
    /// What it is of.
    pub kind: MediaKind,
    /// Width in pixels, after rotation.
    pub width: u32,
    /// Height in pixels, after rotation.
    pub height: u32,
    /// Seconds from the start of the first frame to the end of the last; 0 of an image.
    pub duration_seconds: f64,
    /// Average frames per second; 0 of an image.
    pub fps: f64,
    /// FFmpeg's short name of the codec; empty of an image.
    pub codec: String,
    /// Length of the file; 0 where nobody said.
    pub size_bytes: u64,
    /// Share of the frame that is picture and no border, of 1: 0.75 of a letterbox that covers a quarter. The
    /// mean of all pictures.
    pub picture_share: f64,
    /// When each of the pictures comes up, in seconds after the first frame, rising.
    pub(super) seconds: Vec<f32>,
    pub(super) pictures: Vec<Picture>,
}

impl Fingerprint {
    /// How many pictures it keeps. Without one it is like nothing.
    #[must_use]
    pub fn pictures(&self) -> usize {
        self.pictures.len()
    }

    /// When a picture comes up, in seconds after the first frame.
    pub(super) fn seconds_of(&self, picture: u32) -> f64 {
        self.seconds.get(picture as usize).map_or(0.0, |seconds| f64::from(*seconds))
    }

    /// The picture on display at a time; the first or last one beyond the ends.
    pub(super) fn displayed_at(&self, seconds: f64) -> usize {
        self.seconds.partition_point(|start| f64::from(*start) <= seconds + 1e-3).saturating_sub(1)
    }

    fn of_video(metadata: &VideoMetadata) -> Self {
        Self {
            kind: MediaKind::Video,
            width: metadata.width,
            height: metadata.height,
            duration_seconds: metadata.duration_seconds,
            fps: metadata.average_fps,
            codec: metadata.codec.clone(),
            size_bytes: 0,
            picture_share: 1.0,
            seconds: Vec::new(),
            pictures: Vec::new(),
        }
    }

    /// Keeps a picture, unless it is the one before.
    fn keep(&mut self, seconds: f64, picture: Picture) {
        let is_same = self.pictures.last().is_some_and(|last| {
            let differences = || last.iter().zip(&picture).map(|(a, b)| a.abs_diff(*b));
            let sum: u32 = differences().map(u32::from).sum();
            differences().all(|cell| cell < SAME_CELL) && sum as f32 / (CELLS as f32) < SAME_MEAN
        });
        if !is_same {
            self.seconds.push(seconds as f32);
            self.pictures.push(picture);
        }
    }
}

/// Looks at all of a video, each frame once at the most, in the memory of its reader and of 8 s of small
/// pictures. The frame rate may vary; times are those of the container, from the first frame on.
///
/// ```
/// use gve::CancelToken;
/// use gve::duplicates::fingerprint;
/// use gve::video::VideoOptions;
///
/// # fn main() -> Result<(), gve::video::VideoError> {
/// # let clip = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/ntsc.mp4");
/// let fingerprint = fingerprint(clip, VideoOptions::default(), &CancelToken::new())?;
/// assert!(fingerprint.pictures() > 1);
/// # Ok(()) }
/// ```
///
/// # Errors
/// A [`VideoError`] of [`VideoReader`]; [`VideoError::Cancelled`] where `cancel` is set.
pub fn fingerprint(
    source: impl Into<MediaSource>,
    options: VideoOptions,
    cancel: &CancelToken,
) -> Result<Fingerprint, VideoError> {
    looked_at(source.into(), 1, options, cancel)?.pop().ok_or(VideoError::Cancelled)
}

/// A clip as it is seen from four times of each quarter of a second on, for [`locate`]: what changes faster
/// than four times a second looks unlike in two videos that are not looked at in the same moments, and those of
/// a clip are not those of what it was cut from. The first is its [`fingerprint`].
///
/// [`locate`]: super::Fingerprints::locate
///
/// # Errors
/// Those of [`fingerprint`].
pub fn fingerprint_clip(
    source: impl Into<MediaSource>,
    options: VideoOptions,
    cancel: &CancelToken,
) -> Result<Vec<Fingerprint>, VideoError> {
    looked_at(source.into(), PHASES, options, cancel)
}

fn looked_at(
    source: MediaSource,
    phases: u32,
    options: VideoOptions,
    cancel: &CancelToken,
) -> Result<Vec<Fingerprint>, VideoError> {
    let mut reader = VideoReader::open_with(source, options)?;
    let empty = Fingerprint::of_video(reader.metadata());
    let fps = FPS * f64::from(phases);
    // When each phase begins, and the quarter it was in last.
    let phase = |phase| (f64::from(phase) / fps, -1, Look::new(empty.clone()));
    let mut phases: Vec<(f64, i64, Look)> = (0..phases).map(phase).collect();
    let side = GREY_SIDE as u32;
    let frames = 0..reader.metadata().frames;
    small_pictures(&mut reader, fps, (side, side), frames, cancel, |picture| {
        let grey = Grey::of(&picture.image);
        for (start, last, look) in &mut phases {
            let quarter = ((picture.seconds - *start) * FPS + 1e-6).floor() as i64;
            if quarter > *last {
                *last = quarter;
                look.take(picture.seconds, grey.clone());
            }
        }
    })?;
    Ok(phases.into_iter().map(|(.., look)| look.finish()).collect())
}

/// A fingerprint under way. What pictures around it tell of its borders, a picture waits for.
pub(super) struct Look {
    fingerprint: Fingerprint,
    borders: Borders,
    waiting: VecDeque<(f64, Grey)>,
    /// Shares of the frame that are no border, of how many pictures.
    shares: (f64, u32),
}

impl Look {
    pub(super) fn new(fingerprint: Fingerprint) -> Self {
        Self { fingerprint, borders: Borders::new(), waiting: VecDeque::new(), shares: (0.0, 0) }
    }

    pub(super) fn take(&mut self, seconds: f64, grey: Grey) {
        self.borders.push(&grey, 2 * BORDER_REACH + 1);
        self.waiting.push_back((seconds, grey));
        if self.waiting.len() > BORDER_REACH {
            self.keep_next();
        }
    }

    pub(super) fn finish(mut self) -> Fingerprint {
        while !self.waiting.is_empty() {
            self.keep_next();
        }
        if self.shares.1 > 0 {
            self.fingerprint.picture_share = self.shares.0 / f64::from(self.shares.1);
        }
        self.fingerprint
    }

    fn keep_next(&mut self) {
        if let Some((seconds, grey)) = self.waiting.pop_front() {
            let frame = self.borders.frame();
            self.shares = (self.shares.0 + frame.share(), self.shares.1 + 1);
            self.fingerprint.keep(seconds, grey.within(frame));
        }
    }
}

/// That of an image, which is like other images and like videos of one picture.
#[must_use]
pub fn fingerprint_image(image: &RgbImage) -> Fingerprint {
    let (width, height) = image.dimensions();
    let fingerprint = Fingerprint {
        kind: MediaKind::Image,
        width,
        height,
        duration_seconds: 0.0,
        fps: 0.0,
        codec: String::new(),
        size_bytes: 0,
        picture_share: 1.0,
        seconds: Vec::new(),
        pictures: Vec::new(),
    };
    let mut look = Look::new(fingerprint);
    if width > 0 && height > 0 {
        let side = GREY_SIDE as u32;
        look.take(0.0, Grey::of(&imageops::resize(image, side, side, FilterType::Triangle)));
    }
    look.finish()
}
