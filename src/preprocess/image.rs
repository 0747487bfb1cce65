//! Reads still images into 8-bit RGB.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;

use ::image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Limits, Rgb, RgbImage};

use super::error::{PreprocessError, Result};
use super::size::PixelSize;

/// What an image file may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageLimits {
    /// Largest encoded size in bytes.
    pub max_bytes: u64,
    /// Largest width times height.
    pub max_pixels: u64,
}

impl Default for ImageLimits {
    /// 256 MiB and 178,956,970 pixels (the size at which Pillow refuses an image as a decompression bomb).
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_pixels: 178_956_970 }
    }
}

/// Reads the image at `path`: PNG, JPEG, GIF, WebP, BMP or TIFF, known by its content and not by its name.
///
/// The orientation in its EXIF data is applied, transparency is laid over white (as `qwen_vl_utils.to_rgb` does), and
/// 16-bit channels are scaled to 8 bits. Of an animation this is the first picture.
///
/// # Errors
/// [`PreprocessError::ReadFile`], [`PreprocessError::DecodeImage`], and the two limits as
/// [`PreprocessError::ImageByteLimit`] and [`PreprocessError::ImagePixelLimit`].
pub fn load_image(path: &Path, limits: &ImageLimits) -> Result<RgbImage> {
    let unreadable = |source| PreprocessError::ReadFile { path: path.to_path_buf(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
    decode_image(&bytes, &path.display().to_string(), limits)
}

/// Decodes an image held in memory, as [`load_image`] does; `place` names it in errors.
///
/// # Errors
/// As [`load_image`], without the reading.
pub fn decode_image(bytes: &[u8], place: &str, limits: &ImageLimits) -> Result<RgbImage> {
    if bytes.len() as u64 > limits.max_bytes {
        return Err(PreprocessError::ImageByteLimit {
            place: place.to_owned(),
            bytes: bytes.len() as u64,
            limit_bytes: limits.max_bytes,
        });
    }
    let undecodable = |source| PreprocessError::DecodeImage { place: place.to_owned(), source };
    let mut reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|error| undecodable(error.into()))?;
    reader.limits(decoder_limits(limits));
    let mut decoder = reader.into_decoder().map_err(undecodable)?;
    let (width, height) = decoder.dimensions();
    let size = PixelSize::new(width, height);
    if size.area() > limits.max_pixels {
        return Err(PreprocessError::ImagePixelLimit {
            place: place.to_owned(),
            size,
            limit_pixels: limits.max_pixels,
        });
    }
    let orientation = decoder.orientation().map_err(undecodable)?;
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error: ImageError| undecodable(error))?;
    picture.apply_orientation(orientation);
    if size.area() == 0 {
        return Err(PreprocessError::EmptyPicture { size });
    }
    Ok(to_rgb(picture))
}

/// Memory a decoder may take: room for the allowed pixels at the widest sample format, and for the encoded bytes.
fn decoder_limits(limits: &ImageLimits) -> Limits {
    const WIDEST_PIXEL_BYTES: u64 = 16;
    let mut decoder_limits = Limits::default();
    let pixels = limits.max_pixels.saturating_mul(WIDEST_PIXEL_BYTES);
    decoder_limits.max_alloc = Some(pixels.saturating_add(limits.max_bytes));
    decoder_limits
}

/// Drops transparency by laying the picture over white.
fn to_rgb(picture: DynamicImage) -> RgbImage {
    if !picture.color().has_alpha() {
        return picture.into_rgb8();
    }
    let rgba = picture.into_rgba8();
    let (width, height) = rgba.dimensions();
    let mut rgb = RgbImage::new(width, height);
    for (target, source) in rgb.pixels_mut().zip(rgba.pixels()) {
        let [red, green, blue, alpha] = source.0;
        *target = Rgb([red, green, blue].map(|level| over_white(level, alpha)));
    }
    rgb
}

/// `(level * alpha + 255 * (255 - alpha)) / 255`, rounded, in Pillow's integer arithmetic.
fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let sum = level * alpha + 255 * (255 - alpha) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayAlphaImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgba, RgbaImage};

    fn png(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.into().write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn first_pixel(bytes: &[u8]) -> [u8; 3] {
        decode_image(bytes, "test", &ImageLimits::default()).unwrap().get_pixel(0, 0).0
    }

    #[test]
    fn transparency_is_laid_over_white() {
        let rgba = |pixel| png(RgbaImage::from_pixel(2, 2, Rgba(pixel)));
        assert_eq!(first_pixel(&rgba([10, 20, 30, 255])), [10, 20, 30]);
        assert_eq!(first_pixel(&rgba([10, 20, 30, 0])), [255, 255, 255]);
        // Pillow: Image.new("RGB", size, white).paste(image, mask=alpha)
        assert_eq!(first_pixel(&rgba([0, 100, 200, 128])), [127, 177, 227]);
        let gray = png(GrayAlphaImage::from_pixel(2, 2, LumaA([0, 51])));
        assert_eq!(first_pixel(&gray), [204, 204, 204]);
    }

    #[test]
    fn sixteen_bits_are_scaled_to_eight() {
        let deep: ImageBuffer<Luma<u16>, Vec<u16>> = ImageBuffer::from_pixel(1, 1, Luma([0x8080]));
        assert_eq!(first_pixel(&png(DynamicImage::ImageLuma16(deep))), [128, 128, 128]);
        let deep: ImageBuffer<Rgba<u16>, Vec<u16>> =
            ImageBuffer::from_pixel(1, 1, Rgba([0, 0xffff, 0, 0xffff]));
        assert_eq!(first_pixel(&png(DynamicImage::ImageRgba16(deep))), [0, 255, 0]);
    }

    /// A JPEG of 16 x 8 pixels, left half black and right half white, that says it must be turned by 90 degrees.
    fn turned_jpeg() -> Vec<u8> {
        let picture = RgbImage::from_fn(16, 8, |x, _| Rgb([if x < 8 { 0 } else { 255 }; 3]));
        let mut jpeg = Cursor::new(Vec::new());
        picture.write_to(&mut jpeg, ImageFormat::Jpeg).unwrap();
        let jpeg = jpeg.into_inner();
        let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
        exif.extend(b"\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"); // tag 0x112, one short: 6
        [&jpeg[..2], &exif, &jpeg[2..]].concat()
    }

    #[test]
    fn exif_orientation_is_applied() {
        let upright = decode_image(&turned_jpeg(), "test", &ImageLimits::default()).unwrap();
        assert_eq!(upright.dimensions(), (8, 16));
        assert!(upright.get_pixel(4, 1).0[0] < 30 && upright.get_pixel(4, 14).0[0] > 225);
    }

    #[test]
    fn limits_are_errors_of_their_own_and_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.png");
        std::fs::write(&path, png(RgbImage::new(40, 30))).unwrap();
        let limit =
            |max_bytes, max_pixels| load_image(&path, &ImageLimits { max_bytes, max_pixels }).unwrap_err();
        let bytes = limit(20, 1200);
        assert!(matches!(&bytes, PreprocessError::ImageByteLimit { limit_bytes: 20, .. }));
        let pixels = limit(10_000, 1199);
        assert!(matches!(&pixels, PreprocessError::ImagePixelLimit { limit_pixels: 1199, .. }));
        for error in [bytes, pixels] {
            assert!(error.to_string().contains("big.png") && !error.to_string().contains('\n'));
        }
        assert!(load_image(&path, &ImageLimits { max_bytes: 10_000, max_pixels: 1200 }).is_ok());
    }

    #[test]
    fn damaged_and_missing_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load_image(&dir.path().join("none.png"), &ImageLimits::default()).unwrap_err();
        assert!(missing.to_string().contains("none.png"));
        let whole = png(RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8, y as u8, (x * y) as u8])));
        for bytes in [&b""[..], b"not an image", &whole[..60], &whole[..whole.len() / 2]] {
            let error = decode_image(bytes, "broken.png", &ImageLimits::default()).unwrap_err();
            assert!(matches!(&error, PreprocessError::DecodeImage { .. }), "{error}");
            assert!(error.to_string().contains("broken.png"));
        }
    }
}
