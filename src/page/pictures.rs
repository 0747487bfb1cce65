//! What is to be seen of an input.

use image::RgbImage;

use crate::embedder::{self, ImageSource, Part};
use crate::preprocess::ImageLimits;

/// How much of what moves is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// The picture in the middle.
    Middle,
    /// Of a video the first picture, the middle one and the last, none of which may be damaged; all of the
    /// frames that are given as such.
    Throughout,
}

/// Pictures of a part of an input; none of a text.
///
/// # Errors
/// Why one cannot be decoded, in one line.
pub(crate) fn pictures(part: &Part, look: Look) -> Result<Vec<RgbImage>, String> {
    match part {
        Part::Text(_) => Ok(Vec::new()),
        Part::Image(part) => Ok(vec![still(&part.source)?]),
        Part::Frames(part) => {
            let middle = part.frames.len() / 2;
            let looked_at = part.frames.iter().enumerate().filter(|(number, _)| match look {
                Look::Middle => *number == middle,
                Look::Throughout => true,
            });
            looked_at.map(|(_, frame)| still(frame)).collect()
        }
        Part::Video(part) => guarded(|| video::frames(part, look)),
    }
}

fn still(source: &ImageSource) -> Result<RgbImage, String> {
    guarded(|| {
        let picture = source.pixels(&ImageLimits::default()).map_err(|error| error.to_string())?;
        Ok(picture.into_owned())
    })
}

/// What `work` gives. A panic, which can only come out of a library for files, is an error.
fn guarded<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    embedder::guarded(|| Ok(work())).map_err(|error| error.to_string())?
}

#[cfg(feature = "video")]
mod video {
    use std::num::NonZeroUsize;

    use image::RgbImage;

    use super::Look;
    use crate::embedder::VideoPart;
    use crate::video::{FrameCount, Sampling, Seeking, VideoError, VideoOptions, VideoReader, Warning};

    pub(super) fn frames(part: &VideoPart, look: Look) -> Result<Vec<RgbImage>, String> {
        let mut reader = open(part, look).map_err(|error| error.to_string())?;
        // What is wrong with a range does not name the file.
        let frames = decode(&mut reader, part, look).map_err(|error| match error {
            VideoError::EmptyRange { .. } => format!("{}: {error}", part.source),
            error => error.to_string(),
        })?;
        if frames.is_empty() {
            return Err(format!("{}: no frame could be decoded", part.source));
        }
        let is_damage = |warning: &&Warning| !matches!(warning, Warning::ClockRestarts { .. });
        match reader.warnings().iter().find(is_damage) {
            Some(warning) if look == Look::Throughout => Err(format!("{}: {warning}", part.source)),
            _ => Ok(frames),
        }
    }

    fn open(part: &VideoPart, look: Look) -> Result<VideoReader, VideoError> {
        let options = match look {
            // Any frame about there will do, so a long file is not read through.
            Look::Middle => VideoOptions::default().with_seeking(Seeking::Approximate),
            // Many are looked at side by side.
            Look::Throughout => VideoOptions::default().with_threads(NonZeroUsize::new(1)),
        };
        VideoReader::open_with(part.source.clone(), options)
    }

    fn decode(reader: &mut VideoReader, part: &VideoPart, look: Look) -> Result<Vec<RgbImage>, VideoError> {
        let three = Sampling::Uniform { frames: 3 };
        let mut indices = part.select(&reader.timing(), &three, FrameCount::Exact)?.indices;
        if look == Look::Middle {
            indices = indices.get(indices.len() / 2).copied().into_iter().collect();
        }
        reader.frames(&indices).map(|frame| Ok(frame?.image)).collect()
    }
}

#[cfg(not(feature = "video"))]
mod video {
    use image::RgbImage;

    use super::Look;
    use crate::embedder::VideoPart;

    pub(super) fn frames(part: &VideoPart, _: Look) -> Result<Vec<RgbImage>, String> {
        Err(format!("{}: built without the feature `video`", part.source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_of_one_medium() {
        let panicked = guarded(|| if 1 + 1 == 2 { panic!("of a decoder") } else { Ok(()) });
        assert_eq!(panicked, Err(embedder::EmbedError::Panicked.to_string()));
    }
}
