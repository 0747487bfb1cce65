use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{DynamicImage, RgbImage};

use super::pictures::{Look, pictures};
use crate::embedder::{Input, Part};

/// Longest side in pixels; a page shows them at half of that or more.
const SIDE: u32 = 192;
/// JPEG quality, of 100.
const QUALITY: u8 = 70;

/// A JPEG of the first visual part of `input` as a `data:` URI: the image, or a frame from the middle of the
/// video. `None` where there is nothing to see.
///
/// # Errors
/// Why it cannot be decoded, in one line.
pub fn thumbnail(input: &Input) -> Result<Option<String>, String> {
    let Some(part) = input.parts.iter().find(|part| !matches!(part, Part::Text(_))) else { return Ok(None) };
    pictures(part, Look::Middle)?.pop().map(encode).transpose()
}

fn encode(picture: RgbImage) -> Result<String, String> {
    let small = DynamicImage::ImageRgb8(picture).thumbnail(SIDE, SIDE);
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .encode_image(&small)
        .map_err(|error| error.to_string())?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(jpeg)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media");

    fn decoded(uri: &str) -> DynamicImage {
        let base64 = uri.strip_prefix("data:image/jpeg;base64,").unwrap();
        image::load_from_memory(&STANDARD.decode(base64).unwrap()).unwrap()
    }

    #[test]
    fn pictures_are_small_and_keep_their_shape() {
        let tall =
            thumbnail(&Input::text("a tower").and_image(format!("{MEDIA}/tall.png"))).unwrap().unwrap();
        let tall = decoded(&tall);
        assert_eq!(tall.height(), SIDE);
        assert!(tall.width() < SIDE / 2, "{}", tall.width());
        assert_eq!(thumbnail(&Input::text("no picture")), Ok(None));
    }

    #[cfg(feature = "video")]
    #[test]
    fn videos_show_a_frame_from_their_middle() {
        let video = thumbnail(&Input::video(format!("{MEDIA}/bunny.mp4"))).unwrap().unwrap();
        assert!(video.len() < 20_000, "{}", video.len());
        assert_eq!(decoded(&video).width(), SIDE);
        let missing = thumbnail(&Input::video("no/such.mp4")).unwrap_err();
        assert!(missing.contains("no/such.mp4") && !missing.contains('\n'), "{missing}");
    }
}
