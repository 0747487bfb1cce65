//! The pictures of a video, small, at a low rate: for whoever looks at all of it.

use super::{VideoError, VideoReader};
use crate::cancel::CancelToken;
use image::RgbImage;
use std::ops::Range;

/// A picture that was scaled down as soon as it was decoded.
pub(crate) struct SmallPicture {
    pub(crate) image: RgbImage,
    /// When it comes up, in seconds after the first frame.
    pub(crate) seconds: f64,
    /// When the frame after the one looked at before comes up: since then the like of this may be on display.
    pub(crate) since_seconds: f64,
}

/// Gives `take` at most `fps` pictures a second of those of `frames`, of `size` pixels across and down, in
/// order, each once. Times are those of the container, whatever the frame rate does: of every `1 / fps` seconds
/// it is the first frame. Memory is that of the reader, whatever the length of the video.
///
/// # Errors
/// [`VideoError::Cancelled`] where `cancel` is set, and those of [`VideoReader::frames`].
pub(crate) fn small_pictures(
    reader: &mut VideoReader,
    fps: f64,
    size: (u32, u32),
    frames: Range<usize>,
    cancel: &CancelToken,
    mut take: impl FnMut(SmallPicture),
) -> Result<(), VideoError> {
    let mut converter = reader.small_converter(size);
    let mut at = (!frames.is_empty()).then_some(frames.start);
    let mut since_seconds = at.map_or(0.0, |first| reader.seconds_from_first(first));
    while let Some(index) = at {
        if cancel.is_cancelled() {
            return Err(VideoError::Cancelled);
        }
        // A rate that divides that of the video must not miss frames by rounding.
        let slot = |index: usize| (reader.seconds_from_first(index) * fps + 1e-6).floor();
        let next = (index + 1..frames.end).find(|next| slot(*next) > slot(index));
        let image = reader.small(index, next, &mut converter)?;
        take(SmallPicture { image, seconds: reader.seconds_from_first(index), since_seconds });
        if next.is_some() {
            since_seconds = reader.seconds_from_first(index + 1);
        }
        at = next;
    }
    Ok(())
}
