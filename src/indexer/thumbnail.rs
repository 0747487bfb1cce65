use image::RgbImage;
use image::imageops::FilterType;

use crate::embedder::EmbedError;
use crate::media::MediaKind;
use crate::preprocess::{ImageLimits, load_image};
use crate::retrieval::LibraryHit;

/// A picture of what was found, for display: of a video the frame in the middle of the moment. Neither side is
/// longer than `side` pixels.
///
/// # Errors
/// The file is gone or cannot be decoded; [`EmbedError::NoVideoSupport`] of a video without the feature `video`.
pub fn thumbnail(hit: &LibraryHit, side: u32) -> Result<RgbImage, EmbedError> {
    let image = match hit.entry.kind {
        MediaKind::Image => load_image(&hit.entry.path, &ImageLimits::default())?,
        MediaKind::Video => frame(hit)?,
    };
    let (width, height) = image.dimensions();
    let longest = width.max(height).max(1);
    if longest <= side {
        return Ok(image);
    }
    let scaled = |length: u32| (u64::from(length) * u64::from(side) / u64::from(longest)).max(1) as u32;
    Ok(image::imageops::resize(&image, scaled(width), scaled(height), FilterType::Triangle))
}

#[cfg(feature = "video")]
fn frame(hit: &LibraryHit) -> Result<RgbImage, EmbedError> {
    use crate::media::TimeRange;
    use crate::video::{FrameCount, Sampling, VideoReader, select};

    let path = &hit.entry.path;
    let mut reader = VideoReader::open(path)?;
    let (start, end) =
        hit.time_range.and_then(TimeRange::bounds).unwrap_or((0.0, reader.metadata().duration_seconds));
    let middle = Sampling::Timestamps(vec![f64::midpoint(start, end)]);
    let selection = select(&reader.timing(), &middle, TimeRange::default(), FrameCount::MultipleOf(1))?;
    let frame = reader.frames(&selection.indices).next();
    let none = || EmbedError::Job(format!("{}: no frame between {start} and {end} s", path.display()));
    Ok(frame.ok_or_else(none)??.image)
}

#[cfg(not(feature = "video"))]
fn frame(hit: &LibraryHit) -> Result<RgbImage, EmbedError> {
    Err(EmbedError::NoVideoSupport { path: hit.entry.path.clone() })
}
