use std::io::Cursor;
use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::DynamicImage;
use image::codecs::jpeg::JpegEncoder;

use super::clip::Clip;
use super::settings::FlowSettings;
use crate::video::{FrameCount, Sampling, VideoOptions, VideoReader, select};

/// Quality of the pictures that are sent: small, and no detail that matters is lost.
const JPEG_QUALITY: u8 = 85;

/// Pictures that the captioner is shown together.
#[derive(Debug, Clone)]
pub(super) struct Pictures {
    /// Stands before them.
    pub(super) title: &'static str,
    pub(super) source: PictureSource,
}

#[derive(Debug, Clone)]
pub(super) enum PictureSource {
    /// Frames of a clip, evenly spread.
    Clip(Clip),
    /// An image file.
    File(PathBuf),
}

impl PictureSource {
    /// What tells the pictures apart from others of the run, without a look at them.
    pub(super) fn name(&self) -> String {
        match self {
            Self::Clip(clip) => Clip::id(clip.place),
            Self::File(path) => path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    /// The pictures as data URLs of JPEG files, or why there are none.
    pub(super) fn data_urls(
        &self,
        settings: &FlowSettings,
        options: VideoOptions,
    ) -> Result<Vec<String>, String> {
        match self {
            Self::File(path) => {
                let image = image::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(vec![data_url(&image, settings.picture_side)?])
            }
            Self::Clip(clip) => {
                let said = |error: crate::video::VideoError| error.to_string();
                let mut reader = VideoReader::open_with(&*clip.path, options).map_err(said)?;
                let sampling = Sampling::Uniform { frames: settings.frames };
                let selection =
                    select(&reader.timing(), &sampling, clip.range, FrameCount::Exact).map_err(said)?;
                let frames = reader.frames(&selection.indices);
                frames
                    .map(|frame| {
                        data_url(&DynamicImage::ImageRgb8(frame.map_err(said)?.image), settings.picture_side)
                    })
                    .collect()
            }
        }
    }
}

/// A picture, reduced to sides of at most `side` pixels.
fn data_url(image: &DynamicImage, side: u32) -> Result<String, String> {
    let reduced = (image.width().max(image.height()) > side).then(|| image.thumbnail(side, side));
    let image = reduced.as_ref().unwrap_or(image).to_rgb8();
    let mut bytes = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY)
        .encode_image(&image)
        .map_err(|error| format!("cannot write a picture as JPEG: {error}"))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_sent_as_small_jpeg_files() {
        for (size, side, expected) in
            [((40, 20), 10, (10, 5)), ((40, 20), 40, (40, 20)), ((4, 8), 512, (4, 8))]
        {
            let url = data_url(&DynamicImage::new_rgb8(size.0, size.1), side).unwrap();
            let bytes = STANDARD.decode(url.strip_prefix("data:image/jpeg;base64,").unwrap()).unwrap();
            let image = image::load_from_memory_with_format(&bytes, image::ImageFormat::Jpeg).unwrap();
            assert_eq!((image.width(), image.height()), expected);
        }
        let missing = PictureSource::File("/nowhere/a.jpg".into());
        let error = missing.data_urls(&FlowSettings::default(), VideoOptions::default()).unwrap_err();
        assert!(error.starts_with("/nowhere/a.jpg: "), "{error}");
    }
}
