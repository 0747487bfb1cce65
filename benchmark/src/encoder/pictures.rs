//! The pictures an input shows: images, and the sampled frames of videos.

use gve::preprocess::ImageLimits;
use gve::{ImageSource, Part, Sampling, VideoPart};
use image::RgbImage;

use super::EncodeError;

/// Hands every picture of `part` to `visit`, one at a time and in order. Videos are sampled with `sampling`,
/// or as the part itself says. A text has none.
pub(super) fn visit_pictures(
    part: &Part,
    sampling: &Sampling,
    visit: &mut dyn FnMut(&RgbImage) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    match part {
        Part::Text(_) => Ok(()),
        Part::Image(image) => visit_source(&image.source, visit),
        Part::Frames(frames) => frames.frames.iter().try_for_each(|frame| visit_source(frame, visit)),
        Part::Video(video) => visit_video(video, sampling, visit),
        _ => Err(EncodeError("an input part of unknown kind".into())),
    }
}

fn visit_source(
    source: &ImageSource,
    visit: &mut dyn FnMut(&RgbImage) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    visit(&*source.pixels(&ImageLimits::default()).map_err(EncodeError::new)?)
}

#[cfg(feature = "video")]
fn visit_video(
    part: &VideoPart,
    sampling: &Sampling,
    visit: &mut dyn FnMut(&RgbImage) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    use gve::embedder::FRAME_FACTOR;
    use gve::video::{FrameCount, VideoReader};

    use super::video_options;

    let named = |error| EncodeError(format!("{}: {error}", part.source));
    let mut reader =
        VideoReader::open_with(part.source.clone(), video_options()).map_err(EncodeError::new)?;
    let sampling = part.sampling.as_ref().unwrap_or(sampling);
    // The sampler sees numbers only, so its errors do not name the file.
    let selection =
        part.select(&reader.timing(), sampling, FrameCount::MultipleOf(FRAME_FACTOR)).map_err(named)?;
    for frame in reader.frames(&selection.indices) {
        visit(&frame.map_err(EncodeError::new)?.image)?;
    }
    Ok(())
}

#[cfg(not(feature = "video"))]
fn visit_video(
    part: &VideoPart,
    _: &Sampling,
    _: &mut dyn FnMut(&RgbImage) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    Err(EncodeError(format!("{}: this build cannot decode video", part.source)))
}
