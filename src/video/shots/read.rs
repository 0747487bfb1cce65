//! The shots of a file.

use super::picture::{COLUMNS, ROWS};
use super::{ShotDetector, ShotOptions, Shots};
use crate::cancel::CancelToken;
use crate::video::sample::{invalid, positive};
use crate::video::small::small_pictures;
use crate::video::{VideoError, VideoReader};
use std::ops::Range;

/// Finds the shots of an open video by looking at [`ShotOptions::fps`] of its frames a second, in order and
/// each once. Times are those of the container, from the first frame on, whatever the frame rate does. Memory
/// is that of the reader, whatever the length of the video. What is decoded is scaled down at once, so that
/// looking costs little beside decoding.
///
/// A boundary lies between two frames that were looked at. The new shot is taken to come up in the middle of
/// the times at which it can.
///
/// ```no_run
/// use gve::CancelToken;
/// use gve::video::{MomentLengths, ShotOptions, VideoReader, shots};
///
/// # fn main() -> Result<(), gve::video::VideoError> {
/// let mut reader = VideoReader::open("film.mp4")?;
/// let shots = shots(&mut reader, &ShotOptions::default(), &CancelToken::new())?;
/// for moment in shots.moments(MomentLengths::default())? {
///     println!("{moment:?}");
/// }
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`VideoError::InvalidSampling`] for options that are not as [`ShotOptions`] says,
/// [`VideoError::Cancelled`] where `cancel` is set, and those of [`VideoReader::frames`]. Damage is tolerated
/// as it is there: where a neighbour stands in for a frame, nothing changes.
pub fn shots(
    reader: &mut VideoReader,
    options: &ShotOptions,
    cancel: &CancelToken,
) -> Result<Shots, VideoError> {
    let all = 0..reader.metadata().frames;
    shots_among(reader, options, all, cancel)
}

/// Those of a part of the video, all times from its beginning.
pub(crate) fn shots_among(
    reader: &mut VideoReader,
    options: &ShotOptions,
    frames: Range<usize>,
    cancel: &CancelToken,
) -> Result<Shots, VideoError> {
    let fps = positive("the frames to look at in a second", options.fps)?;
    if !(0.0..=1.0).contains(&options.threshold) {
        return Err(invalid("the least strength of a boundary", "0 to 1", options.threshold));
    }
    let start = reader.seconds_from_first(frames.start);
    let duration_seconds = reader.seconds_from_first(frames.end) - start;
    let mut detector = ShotDetector::new(options);
    small_pictures(reader, fps, (COLUMNS as u32, ROWS as u32), frames, cancel, |picture| {
        detector.push(&picture.image, f64::midpoint(picture.since_seconds, picture.seconds) - start);
    })?;
    Ok(detector.finish(duration_seconds))
}
