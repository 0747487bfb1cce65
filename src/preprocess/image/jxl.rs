//! JPEG XL.

use ::image::ColorType;
use jxl_oxide::{AllocTracker, AuxBoxData, JxlImage, PixelFormat};

use crate::preprocess::size::PixelSize;

/// A file, or what follows the head of its container.
const CODESTREAM: &[u8] = b"\xff\x0a";
const CONTAINER: &[u8] = b"\0\0\0\x0cJXL \x0d\x0a\x87\x0a";

/// Bytes that a decoder holds for a pixel: three channels of 32 bits, twice.
const HELD_BYTES: u64 = 24;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// Whether this is the beginning of such a file.
pub(super) fn is_jxl(bytes: &[u8]) -> bool {
    bytes.starts_with(CODESTREAM) || bytes.starts_with(CONTAINER)
}

/// A file whose heads have been read.
pub(super) struct Jxl {
    image: JxlImage,
    color: ColorType,
}

impl Jxl {
    /// Reads heads and data, decoding none of these. No more than `max_bytes` are held then and later.
    pub(super) fn open(bytes: &[u8], max_bytes: u64) -> Result<Self, Error> {
        let memory = AllocTracker::with_limit(usize::try_from(max_bytes).unwrap_or(usize::MAX));
        let image = JxlImage::builder().alloc_tracker(memory).read(bytes)?;
        let color = match image.pixel_format() {
            PixelFormat::Gray => ColorType::L8,
            PixelFormat::Graya => ColorType::La8,
            PixelFormat::Rgb => ColorType::Rgb8,
            PixelFormat::Rgba => ColorType::Rgba8,
            PixelFormat::Cmyk | PixelFormat::Cmyka => return Err("it is for printing, in CMYK".into()),
        };
        Ok(Self { image, color })
    }

    /// Its size, turned as it is shown.
    pub(super) fn size(&self) -> PixelSize {
        PixelSize::new(self.image.width(), self.image.height())
    }

    /// Bytes held at a time until there are samples, the file left out.
    pub(super) fn held_bytes(&self) -> u64 {
        let sample_bytes = u64::from(self.color.bytes_per_pixel()).max(3);
        self.size().area().saturating_mul(HELD_BYTES + sample_bytes)
    }

    /// Whether the data of its first picture are all there.
    pub(super) fn is_whole(&self) -> bool {
        self.image.num_loaded_keyframes() > 0
    }

    /// Its EXIF data, behind the place at which they begin.
    pub(super) fn exif(&self) -> Option<&[u8]> {
        let Ok(AuxBoxData::Data(exif)) = self.image.aux_boxes().first_exif() else { return None };
        exif.payload().get(exif.tiff_header_offset() as usize..)
    }

    /// Samples of 8 bits of the first picture, as it is shown, and what a pixel is made of.
    pub(super) fn read(&self) -> Result<(Vec<u8>, ColorType), Error> {
        let picture = self.image.render_frame(0)?;
        let area = usize::try_from(self.size().area()).unwrap_or(usize::MAX);
        let mut samples = vec![0_u8; area.saturating_mul(usize::from(self.color.bytes_per_pixel()))];
        let mut stream = picture.stream();
        if stream.write_to_buffer(&mut samples) != samples.len() {
            return Err("its picture is not of its size".into());
        }
        Ok((samples, self.color))
    }
}
