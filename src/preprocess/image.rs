//! Reads still images into 8-bit RGB.

use std::borrow::Cow;
use std::io::{Cursor, Read};

use ::image::metadata::Orientation;
use ::image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, RgbImage};

use super::error::{PreprocessError, Result};
use super::size::PixelSize;
use crate::media::{MAX_PICTURE_PIXELS, MediaSource};
use crate::options::with_fields;
use crate::recipe::Transparency;
use crate::store::IoError;
use crate::video::{StillCodec, can_decode_still};

use samples::to_rgb;
use told::Told;

mod bits;
mod boxes;
mod exif;
mod heif;
mod jpeg;
mod jxl;
mod newer;
mod raw;
mod samples;
mod tiff;
mod told;
mod view;

pub use view::{FrameView, PixelFormat};

/// Whether this is the beginning of a picture that `image` does not know.
pub(crate) fn is_picture(head: &[u8]) -> bool {
    // Raw files of cameras begin as TIFF does, and may have no picture that can be read.
    let is_tiff = head.starts_with(b"II\x2a\0") || head.starts_with(b"MM\0\x2a") || tiff::is_big(head);
    heif::is_heif(head) || jxl::is_jxl(head) || raw::has_own_head(head) || is_tiff
}

/// Whether pictures of this extension, in lower case, can be decoded, as far as that depends on FFmpeg.
pub(crate) fn has_decoder(extension: &str) -> bool {
    match extension {
        "avif" => can_decode_still(StillCodec::Av1),
        "heic" | "heif" | "hif" => can_decode_still(StillCodec::Hevc),
        _ => true,
    }
}

/// What an image file may cost before it is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageLimits {
    /// Largest encoded size in bytes.
    pub max_bytes: u64,
    /// Largest width times height.
    pub max_pixels: u64,
    /// Most bytes held at a time on the way to 8-bit RGB: the file, the samples it holds in their own
    /// precision, and what its decoder needs beside them. Told from the header, before any of it is held.
    pub max_memory_bytes: u64,
}

with_fields!(ImageLimits {
    with_max_bytes(max_bytes: u64),
    with_max_pixels(max_pixels: u64),
    with_max_memory_bytes(max_memory_bytes: u64),
});

impl Default for ImageLimits {
    /// 256 MiB of file, 268,435,456 pixels (phones have 200 million) and 1200 MiB of memory, which is enough
    /// for as many pixels of 8 bits with transparency.
    fn default() -> Self {
        Self { max_bytes: 256 << 20, max_pixels: MAX_PICTURE_PIXELS, max_memory_bytes: 1200 << 20 }
    }
}

/// Reads an image, out of a file, [bytes or a reader](MediaSource): PNG, JPEG, GIF, WebP, BMP, TIFF, JPEG XL,
/// HEIC or AVIF, or the largest JPEG in a camera's raw file, known by its content and not by its name. HEIC
/// and AVIF need the cargo feature `video`, and an FFmpeg with a decoder of HEVC and AV1.
///
/// It is turned as it says it is to be shown, transparency is laid over white (as `qwen_vl_utils.to_rgb`
/// does), and 16-bit channels are scaled to 8 bits. Of an animation this is the first picture.
///
/// The picture is whole or refused, whatever the format: a file that ends before its picture does is an
/// error. What lies behind the picture, or that nothing does, not even the mark of its end, is not.
///
/// # Errors
/// [`PreprocessError::Io`], also for pipes and devices, [`PreprocessError::DecodeImage`],
/// [`PreprocessError::IncompleteImage`], [`PreprocessError::NoImageDecoder`], and the limits as
/// [`PreprocessError::ImageByteLimit`], [`PreprocessError::ImagePixelLimit`] and [`PreprocessError::ImageMemoryLimit`].
pub fn load_image(source: impl Into<MediaSource>, limits: &ImageLimits) -> Result<RgbImage> {
    load_image_with(source, limits, Transparency::White)
}

/// As [`load_image`], with a choice of what becomes of transparency.
///
/// # Errors
/// As [`load_image`].
pub fn load_image_with(
    source: impl Into<MediaSource>,
    limits: &ImageLimits,
    transparency: Transparency,
) -> Result<RgbImage> {
    load_picture(&source.into(), limits, transparency).map(|picture| picture.pixels)
}

/// An image, and what its file says of it.
pub(crate) struct LoadedPicture {
    /// Upright.
    pub(crate) pixels: RgbImage,
    /// When it was taken by the clock of the camera, in seconds from the beginning of 1970.
    pub(crate) captured_seconds: Option<i64>,
}

/// As [`load_image_with`], with what the file says of the picture.
pub(crate) fn load_picture(
    media: &MediaSource,
    limits: &ImageLimits,
    transparency: Transparency,
) -> Result<LoadedPicture> {
    let place = media.to_string();
    if let Some(bytes) = media.in_memory() {
        return decode(bytes, &place, limits, transparency);
    }
    let mut bytes = Vec::new();
    let reader = media.open().map_err(IoError::of("read", media.label()))?;
    let read = reader.take(limits.max_bytes.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(IoError::of("read", media.label()))?;
    decode(&bytes, &place, limits, transparency)
}

/// Decodes an image held in memory, as [`load_image`] does; `place` names it in errors.
///
/// # Errors
/// As [`load_image`], without the reading.
pub fn decode_image(bytes: &[u8], place: &str, limits: &ImageLimits) -> Result<RgbImage> {
    decode(bytes, place, limits, Transparency::White).map(|picture| picture.pixels)
}

fn decode(
    bytes: &[u8],
    place: &str,
    limits: &ImageLimits,
    transparency: Transparency,
) -> Result<LoadedPicture> {
    if bytes.is_empty() {
        return Err(PreprocessError::EmptyImage { place: place.to_owned() });
    }
    if bytes.len() as u64 > limits.max_bytes {
        return Err(PreprocessError::ImageByteLimit {
            place: place.to_owned(),
            bytes: bytes.len() as u64,
            limit_bytes: limits.max_bytes,
        });
    }
    let file_bytes = bytes.len() as u64;
    Encoded { bytes, place, limits, transparency, file_bytes, told: Told::default() }.decode()
}

/// An image, and what it may cost.
#[derive(Clone, Copy)]
struct Encoded<'a> {
    bytes: &'a [u8],
    place: &'a str,
    limits: &'a ImageLimits,
    transparency: Transparency,
    /// Length of the file that it is or is part of.
    file_bytes: u64,
    /// What the file says of an image that is only a part of it.
    told: Told,
}

/// Bytes that resampling takes for a row and for a column: kernel weights, and a row of one visual token's
/// width.
const RESAMPLING_ROW_BYTES: u64 = 352;
const RESAMPLING_COLUMN_BYTES: u64 = 16;
/// For what is read of a file before its size is known, colour profiles above all.
const HEADER_BYTES: u64 = 64 << 20;

impl Encoded<'_> {
    fn decode(&self) -> Result<LoadedPicture> {
        if heif::is_heif(self.bytes) {
            return self.decode_heif();
        }
        if jxl::is_jxl(self.bytes) {
            return self.decode_jxl();
        }
        let raw = raw::Raw::open(self.bytes);
        match raw {
            Some(raw::Raw { is_cut: true, .. }) => {
                return Err(PreprocessError::IncompleteImage { place: self.place.to_owned() });
            }
            Some(raw::Raw { preview: Some(bytes), orientation, captured_seconds, .. }) => {
                return Self { bytes, told: Told { orientation, captured_seconds }, ..*self }.decode_jpeg();
            }
            _ => {}
        }
        if tiff::is_big(self.bytes) {
            return Err(self.undecodable_as("BigTIFF", "only the plain kind of TIFF is read".into()));
        }
        let format = ::image::guess_format(self.bytes).map_err(|error| match raw {
            Some(_) => self.undecodable_as("raw file of a camera", "there is no JPEG in it".into()),
            None => self.undecodable(error),
        })?;
        match format {
            ImageFormat::Jpeg => self.decode_jpeg(),
            ImageFormat::Tiff => {
                let opened = tiff::Tiff::open(self.bytes).map_err(|error| self.undecodable(error));
                let decoded = opened.and_then(|tiff| match tiff {
                    Some(tiff) => self.decode_tiff(tiff),
                    None => self.decode_by(format, self.bytes, Beside::SecondPicture),
                });
                match decoded {
                    Err(PreprocessError::DecodeImage { .. }) if raw.is_some() => {
                        Err(self.undecodable_as("raw file of a camera", "there is no JPEG in it".into()))
                    }
                    decoded => decoded,
                }
            }
            ImageFormat::WebP => self.decode_by(format, self.bytes, webp_beside(self.bytes)),
            ImageFormat::Gif => self.decode_by(format, self.bytes, Beside::PixelBytes(4)),
            _ => self.decode_by(format, self.bytes, Beside::PixelBytes(0)),
        }
    }

    fn decode_jpeg(&self) -> Result<LoadedPicture> {
        let examined = jpeg::examine(self.bytes, self.limits.max_pixels);
        let bytes = match examined.extent {
            jpeg::Extent::Incomplete => {
                return Err(PreprocessError::IncompleteImage { place: self.place.to_owned() });
            }
            // Without the marker the decoder would give up on the last rows.
            jpeg::Extent::Whole { ended: false } => Cow::Owned([self.bytes, &[0xff, 0xd9]].concat()),
            jpeg::Extent::Whole { ended: true } | jpeg::Extent::Unknown => Cow::Borrowed(self.bytes),
        };
        // The decoder has a copy of the file.
        let copies = (bytes.len() as u64).saturating_mul(if matches!(bytes, Cow::Owned(_)) { 2 } else { 1 });
        let beside = Beside::Bytes(copies.saturating_add(examined.coefficient_bytes));
        self.decode_by(ImageFormat::Jpeg, &bytes, beside)
    }

    fn decode_tiff(&self, tiff: tiff::Tiff<'_>) -> Result<LoadedPicture> {
        let size = tiff.size();
        self.check_size(size)?;
        self.check_memory(size, tiff.held_bytes())?;
        let (rgb, orientation) =
            tiff.read(self.limits.max_memory_bytes).map_err(|error| self.undecodable(error))?;
        let captured_seconds = exif::captured_seconds(self.bytes);
        Ok(LoadedPicture { pixels: self.turned(rgb, size, orientation)?, captured_seconds })
    }

    /// Decodes by `image`, which needs so much memory beside the picture.
    fn decode_by(&self, format: ImageFormat, bytes: &[u8], beside: Beside) -> Result<LoadedPicture> {
        let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
        reader.limits(memory(HEADER_BYTES));
        let mut decoder = reader.into_decoder().map_err(|error| self.undecodable(error))?;
        let (width, height) = decoder.dimensions();
        let size = PixelSize::new(width, height);
        self.check_size(size)?;
        let (color, samples) = (decoder.color_type(), decoder.total_bytes());
        // Fewer than three bytes a pixel grow into a picture beside them, others shrink where they lie.
        let grown = if color.bytes_per_pixel() < 3 { size.area().saturating_mul(3) } else { 0 };
        let beside = match beside {
            Beside::Bytes(bytes) => bytes,
            Beside::PixelBytes(bytes) => size.area().saturating_mul(bytes),
            // Four samples may become three.
            Beside::SecondPicture => samples.saturating_mul(4) / 3,
        };
        self.check_memory(size, samples.saturating_add(grown.max(beside)))?;
        decoder.set_limits(memory(self.limits.max_memory_bytes)).map_err(|error| self.undecodable(error))?;
        let own = Told::of(&mut decoder, format, self.bytes).map_err(|error| self.undecodable(error))?;
        let orientation = self.told.orientation.or(own.orientation).unwrap_or(Orientation::NoTransforms);
        let captured_seconds = self.told.captured_seconds.or(own.captured_seconds);
        let mut buffer = vec![0; usize::try_from(samples).unwrap_or(usize::MAX)];
        decoder.read_image(&mut buffer).map_err(|error| self.undecodable(error))?;
        let pixels = self.turned(to_rgb(buffer, color, self.transparency), size, orientation)?;
        Ok(LoadedPicture { pixels, captured_seconds })
    }

    fn turned(&self, rgb: Vec<u8>, size: PixelSize, orientation: Orientation) -> Result<RgbImage> {
        let on_its_side = matches!(
            orientation,
            Orientation::Rotate90
                | Orientation::Rotate270
                | Orientation::Rotate90FlipH
                | Orientation::Rotate270FlipH
        );
        if on_its_side {
            self.check_memory(size, size.area().saturating_mul(2 * 3))?;
        }
        let picture = RgbImage::from_raw(size.width, size.height, rgb);
        let mut picture = DynamicImage::ImageRgb8(picture.ok_or(PreprocessError::EmptyPicture { size })?);
        picture.apply_orientation(orientation);
        Ok(picture.into_rgb8())
    }

    fn check_size(&self, size: PixelSize) -> Result<()> {
        if size.area() == 0 {
            return Err(PreprocessError::EmptyPicture { size });
        }
        if size.area() > self.limits.max_pixels {
            return Err(PreprocessError::ImagePixelLimit {
                place: self.place.to_owned(),
                size,
                limit_pixels: self.limits.max_pixels,
            });
        }
        Ok(())
    }

    /// Refuses what would need more than is allowed: `held_bytes`, the file, and what follows for a picture
    /// of this size.
    fn check_memory(&self, size: PixelSize, held_bytes: u64) -> Result<()> {
        let resampling =
            u64::from(size.height) * RESAMPLING_ROW_BYTES + u64::from(size.width) * RESAMPLING_COLUMN_BYTES;
        let needed_bytes = held_bytes.saturating_add(self.file_bytes).saturating_add(resampling);
        if needed_bytes > self.limits.max_memory_bytes {
            return Err(PreprocessError::ImageMemoryLimit {
                place: self.place.to_owned(),
                size,
                needed_bytes,
                limit_bytes: self.limits.max_memory_bytes,
            });
        }
        Ok(())
    }

    fn undecodable(&self, reason: ImageError) -> PreprocessError {
        PreprocessError::DecodeImage { place: self.place.to_owned(), reason }
    }
}

/// What a decoder holds beside the samples it hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beside {
    Bytes(u64),
    PixelBytes(u64),
    SecondPicture,
}

/// Planes of luma and chroma for lossy pictures, the picture once more with transparency for lossless ones,
/// and a canvas on top for animations.
fn webp_beside(bytes: &[u8]) -> Beside {
    const ANIMATION: u8 = 2;
    match (bytes.get(12..16), bytes.get(20)) {
        (Some(b"VP8 "), _) => Beside::PixelBytes(2),
        (Some(b"VP8X"), Some(flags)) if flags & ANIMATION != 0 => Beside::PixelBytes(10),
        _ => Beside::PixelBytes(4),
    }
}

fn memory(bytes: u64) -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(bytes);
    limits
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::image::{GrayAlphaImage, ImageBuffer, Luma, LumaA, Rgb, Rgba, RgbaImage};

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

    /// A JPEG of 16 x 8 pixels, left half black and right half white, that says it must be turned by 90
    /// degrees.
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
        let limited = |max_bytes, max_pixels| ImageLimits { max_bytes, max_pixels, ..ImageLimits::default() };
        let limit = |max_bytes, max_pixels| load_image(&path, &limited(max_bytes, max_pixels)).unwrap_err();
        let bytes = limit(20, 1200);
        assert!(matches!(&bytes, PreprocessError::ImageByteLimit { limit_bytes: 20, .. }));
        let pixels = limit(10_000, 1199);
        assert!(matches!(&pixels, PreprocessError::ImagePixelLimit { limit_pixels: 1199, .. }));
        for error in [bytes, pixels] {
            assert!(error.to_string().contains("big.png") && !error.to_string().contains('\n'));
        }
        assert!(load_image(&path, &limited(10_000, 1200)).is_ok());
    }

    #[test]
    fn damaged_and_missing_files_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = load_image(dir.path().join("none.png"), &ImageLimits::default()).unwrap_err();
        assert!(missing.to_string().contains("none.png"));
        let whole = png(RgbImage::from_fn(64, 64, |x, y| Rgb([x as u8, y as u8, (x * y) as u8])));
        for bytes in [&b""[..], b"not an image", &whole[..60], &whole[..whole.len() / 2]] {
            let error = decode_image(bytes, "broken.png", &ImageLimits::default()).unwrap_err();
            match &error {
                PreprocessError::EmptyImage { .. } => assert!(bytes.is_empty()),
                error => assert!(matches!(error, PreprocessError::DecodeImage { .. }), "{error}"),
            }
            assert!(error.to_string().contains("broken.png"));
        }
    }
}
