//! HEIC, AVIF and JPEG XL, which `image` does not decode, into RGB.

use ::image::error::{DecodingError, ImageFormatHint};
use ::image::{ImageError, RgbImage, imageops};

use super::heif::{Change, Fault, Heif, Picture};
use super::jxl::Jxl;
use super::samples::{over_white, to_rgb};
use super::{Encoded, HEADER_BYTES, LoadedPicture, exif};
use crate::preprocess::error::{PreprocessError, Result};
use crate::preprocess::size::PixelSize;
use crate::recipe::Transparency;
use crate::video::{CodedPicture, StillError, decode_still};

/// Bytes of a pixel that a decoder of video holds: three samples of two bytes, of the picture and of another.
const CODED_PIXEL_BYTES: u64 = 12;
/// Decoders work on pictures whose sides are multiples of so much.
const BLOCK: u32 = 64;

impl Encoded<'_> {
    pub(super) fn decode_heif(&self) -> Result<LoadedPicture> {
        let heif = Heif::open(self.bytes).map_err(|fault| self.faulty(fault))?;
        let picture = heif.picture().map_err(|fault| self.faulty(fault))?;
        let transparency = match self.transparency {
            Transparency::White => heif.transparency().transpose().map_err(|fault| self.faulty(fault))?,
            Transparency::Dropped => None,
        };
        let mut held_bytes = 0_u64;
        for Picture { size, part_size, .. } in std::iter::once(&picture).chain(&transparency) {
            self.check_size(*size)?;
            self.check_size(*part_size)?;
            let parts = part_size.area().saturating_mul(CODED_PIXEL_BYTES);
            held_bytes = held_bytes.saturating_add(size.area().saturating_mul(3)).saturating_add(parts);
        }
        self.check_memory(picture.size, held_bytes)?;
        let mut pixels = self.joined(&picture)?;
        if let Some(transparency) = &transparency {
            if transparency.size != picture.size {
                let reason =
                    format!("its transparency is of {} pixels, not {}", transparency.size, picture.size);
                return Err(self.faulty(Fault::Refused(reason)));
            }
            let shades = self.joined(transparency)?;
            for (pixel, shade) in pixels.pixels_mut().zip(shades.pixels()) {
                pixel.0 = pixel.0.map(|level| over_white(level, shade.0[0]));
            }
        }
        for change in heif.changes(picture.size).map_err(|fault| self.faulty(fault))? {
            pixels = match change {
                Change::Cut { left, top, size } => cut(pixels, left, top, size),
                Change::Turn(orientation) => {
                    let size = PixelSize::new(pixels.width(), pixels.height());
                    self.turned(pixels.into_raw(), size, orientation)?
                }
            };
        }
        let exif = heif.exif();
        let captured_seconds = exif.and_then(|exif| exif::captured_seconds(&exif));
        Ok(LoadedPicture { pixels, captured_seconds })
    }

    /// The parts of a picture in their places.
    fn joined(&self, picture: &Picture<'_>) -> Result<RgbImage> {
        let Picture { size, part_size, columns, parts } = picture;
        if let [only] = &parts[..] {
            return Ok(cut(self.decoded(only, *part_size)?, 0, 0, *size));
        }
        let mut all = RgbImage::new(size.width, size.height);
        for (place, part) in (0_u32..).zip(parts) {
            let part = cut(self.decoded(part, *part_size)?, 0, 0, *part_size);
            let (left, top) = (place % columns * part_size.width, place / columns * part_size.height);
            imageops::replace(&mut all, &part, i64::from(left), i64::from(top));
        }
        Ok(all)
    }

    /// A picture that is at least as large as it is said to be.
    fn decoded(&self, coded: &CodedPicture<'_>, size: PixelSize) -> Result<RgbImage> {
        let side = |side: u32| u64::from(side).next_multiple_of(u64::from(BLOCK));
        let picture =
            decode_still(coded, side(size.width) * side(size.height)).map_err(|error| match error {
                StillError::NoDecoder(reason) => PreprocessError::NoImageDecoder {
                    place: self.place.to_owned(),
                    format: coded.codec.name(),
                    reason,
                },
                StillError::Undecodable(reason) => self.faulty(Fault::Refused(reason)),
            })?;
        if picture.width() < size.width || picture.height() < size.height {
            let (width, height) = picture.dimensions();
            let reason = format!("its data are of {width}x{height} pixels, and it says {size}");
            return Err(self.faulty(Fault::Refused(reason)));
        }
        Ok(picture)
    }

    pub(super) fn decode_jxl(&self) -> Result<LoadedPicture> {
        let failed = |error| self.undecodable_as("JPEG XL", error);
        let memory_bytes = self.limits.max_memory_bytes.max(HEADER_BYTES);
        let jxl = Jxl::open(self.bytes, memory_bytes).map_err(failed)?;
        let size = jxl.size();
        self.check_size(size)?;
        self.check_memory(size, jxl.held_bytes())?;
        if !jxl.is_whole() {
            return Err(self.faulty(Fault::Incomplete));
        }
        let captured_seconds = jxl.exif().and_then(exif::captured_seconds);
        let (samples, color) = jxl.read().map_err(failed)?;
        let rgb = to_rgb(samples, color, self.transparency);
        let pixels = RgbImage::from_raw(size.width, size.height, rgb);
        let pixels = pixels.ok_or(PreprocessError::EmptyPicture { size })?;
        Ok(LoadedPicture { pixels, captured_seconds })
    }

    fn faulty(&self, fault: Fault) -> PreprocessError {
        match fault {
            Fault::Incomplete => PreprocessError::IncompleteImage { place: self.place.to_owned() },
            Fault::Refused(reason) => self.undecodable_as("HEIC or AVIF", reason.into()),
        }
    }

    pub(super) fn undecodable_as(
        &self,
        format: &str,
        reason: Box<dyn std::error::Error + Send + Sync>,
    ) -> PreprocessError {
        let format = ImageFormatHint::Name(format.to_owned());
        self.undecodable(ImageError::Decoding(DecodingError::new(format, reason)))
    }
}

/// A part of a picture, which may be all of it.
fn cut(picture: RgbImage, left: u32, top: u32, size: PixelSize) -> RgbImage {
    if picture.dimensions() == (size.width, size.height) {
        return picture;
    }
    imageops::crop_imm(&picture, left, top, size.width, size.height).to_image()
}
