//! TIFF of the kinds that `image` refuses or would hold twice: palettes, gray of 2 and 4 bits, YCbCr, and
//! plain RGB.

use std::borrow::Cow;
use std::io::Cursor;

use ::image::error::{DecodingError, ImageFormatHint};
use ::image::metadata::Orientation;
use ::image::{ImageError, ImageFormat};
use tiff::decoder::{Decoder, DecodingResult, Limits};
use tiff::tags::Tag;
use tiff::{TiffError, TiffResult};

use super::exif::{Entry, Numbers};
use super::jpeg;
use crate::preprocess::size::PixelSize;

/// What the samples of a picture stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Samples {
    /// Places in a colour map.
    Palette,
    /// Fewer than 8 bits, 0 being white or black.
    Gray,
    Rgb,
    YCbCr,
}

/// The tags that decide, of the first picture in the file.
#[derive(Debug, Default, Clone, Copy)]
struct Tags {
    photometric: u16,
    /// Where the value of `photometric` lies in the file.
    photometric_at: usize,
    bits: u16,
    samples: u16,
    planar: u16,
    compression: u16,
    /// 2 where the first pixel of a byte has its lowest bits.
    fill_order: u16,
    is_tiled: bool,
    little_endian: bool,
}

/// Whether this is the beginning of a BigTIFF file, whose places take 64 bits.
pub(super) fn is_big(head: &[u8]) -> bool {
    head.starts_with(b"II\x2b\0") || head.starts_with(b"MM\0\x2b")
}

const GRAY: u16 = 1;
const JPEG: u16 = 7;

/// A picture that is about to be read.
pub(super) struct Tiff<'a> {
    decoder: Decoder<Cursor<Cow<'a, [u8]>>>,
    samples: Samples,
    bits: u16,
    size: PixelSize,
    /// Bytes held beside the picture itself.
    copied_bytes: u64,
}

impl<'a> Tiff<'a> {
    /// Looks at a file. `None` where it is not of the kinds read here.
    pub(super) fn open(bytes: &'a [u8]) -> Result<Option<Self>, ImageError> {
        let Some(tags) = Tags::read(bytes) else { return Ok(None) };
        // The decoder stops with a panic at the one, and takes the other for the usual order.
        if tags.is_tiled && tags.planar == 2 && tags.samples > 1 {
            return Err(unsupported("tiles of one colour each"));
        }
        if tags.fill_order == 2 && tags.bits < 8 && tags.compression == 1 {
            return Err(unsupported("pixels that begin with the lowest bit of a byte"));
        }
        if tags.compression == JPEG {
            check_chunks(bytes, if tags.planar == 1 { tags.samples } else { 1 })?;
        }
        let samples = match (tags.photometric, tags.bits, tags.samples, tags.planar) {
            (0 | 1, 2 | 4, 1, _) => Samples::Gray,
            (2, 8, 3, 1) => Samples::Rgb,
            (3, 1 | 2 | 4 | 8, 1, _) => Samples::Palette,
            (6, 8, 3, 1) => Samples::YCbCr,
            _ => return Ok(None),
        };
        let (bytes, copied_bytes) = match samples {
            // The decoder knows no palettes, but a place in one is a number like a level of gray.
            Samples::Palette => (Cow::Owned(tags.as_gray(bytes)), bytes.len() as u64),
            _ => (Cow::Borrowed(bytes), 0),
        };
        let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
        let (width, height) = decoder.dimensions().map_err(failed)?;
        let size = PixelSize::new(width, height);
        Ok(Some(Self { decoder, samples, bits: tags.bits, size, copied_bytes }))
    }

    pub(super) fn size(&self) -> PixelSize {
        self.size
    }

    /// Bytes held at a time until there is RGB, the file left out.
    pub(super) fn held_bytes(&self) -> u64 {
        let rgb = self.size.area().saturating_mul(3);
        let decoded = match self.samples {
            Samples::Rgb | Samples::YCbCr => 0,
            Samples::Gray | Samples::Palette => self.size.area().saturating_mul(u64::from(self.bits)) / 8,
        };
        rgb.saturating_add(decoded).saturating_add(self.copied_bytes)
    }

    /// Reads the picture: RGB, and how it is to be turned.
    pub(super) fn read(mut self, max_bytes: u64) -> Result<(Vec<u8>, Orientation), ImageError> {
        let mut limits = Limits::default();
        limits.decoding_buffer_size = usize::try_from(max_bytes).unwrap_or(usize::MAX);
        limits.intermediate_buffer_size = limits.decoding_buffer_size;
        self.decoder = self.decoder.with_limits(limits);
        let orientation = self.decoder.find_tag_unsigned::<u16>(Tag::Orientation).map_err(failed)?;
        let orientation = orientation.and_then(|value| Orientation::from_exif(u8::try_from(value).ok()?));
        let rgb = self.rgb().map_err(failed)?;
        Ok((rgb, orientation.unwrap_or(Orientation::NoTransforms)))
    }

    fn rgb(&mut self) -> TiffResult<Vec<u8>> {
        let colors = match self.samples {
            Samples::Palette => color_map(&self.decoder.get_tag_u16_vec(Tag::ColorMap)?, self.bits),
            Samples::Gray => {
                (0..1 << self.bits).map(|level| [(level * 255 / ((1 << self.bits) - 1)) as u8; 3]).collect()
            }
            Samples::Rgb | Samples::YCbCr => Vec::new(),
        };
        let mut decoded = DecodingResult::U8(Vec::new());
        let layout = self.decoder.read_image_to_buffer(&mut decoded)?;
        let unexpected = || TiffError::LimitsExceeded;
        let DecodingResult::U8(mut decoded) = decoded else { return Err(unexpected()) };
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        match self.samples {
            Samples::Rgb => {}
            Samples::YCbCr => {
                decoded.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = from_ycbcr(*pixel))
            }
            Samples::Palette | Samples::Gray => {
                let row_bytes = layout.row_stride.map_or(decoded.len(), usize::from).max(1);
                decoded = look_up(&decoded, row_bytes, width, self.bits, &colors);
            }
        }
        if decoded.len() != width * height * 3 {
            return Err(unexpected());
        }
        Ok(decoded)
    }
}

impl Tags {
    /// The tags of the first directory; `None` where there is none, or the file is none of TIFF's plain kind.
    fn read(bytes: &[u8]) -> Option<Self> {
        let numbers = Numbers::of(bytes)?;
        let little_endian = numbers.little_endian;
        let directory = numbers.long(4)?;
        numbers.short(directory)?;
        let mut tags =
            Self { bits: 1, samples: 1, planar: 1, compression: 1, little_endian, ..Self::default() };
        for entry in numbers.entries(directory) {
            let Entry { tag, kind, count, value_at } = entry?;
            // All of these are of type SHORT, and more than two of them lie elsewhere.
            let value = |at| (kind == 3).then(|| numbers.short(at)).flatten();
            let first =
                |count: usize| if count > 2 { value(numbers.long(value_at)?) } else { value(value_at) };
            match tag {
                258 => tags.bits = first(count)?,
                259 => tags.compression = first(count)?,
                262 => (tags.photometric, tags.photometric_at) = (first(count)?, value_at),
                277 => tags.samples = first(count)?,
                266 => tags.fill_order = first(count)?,
                284 => tags.planar = first(count)?,
                322 => tags.is_tiled = true,
                _ => {}
            }
        }
        (tags.photometric_at > 0).then_some(tags)
    }

    /// The file with its palette declared to be gray.
    fn as_gray(self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let gray = if self.little_endian { GRAY.to_le_bytes() } else { GRAY.to_be_bytes() };
        if let Some(value) = bytes.get_mut(self.photometric_at..self.photometric_at + 2) {
            value.copy_from_slice(&gray);
        }
        bytes
    }
}

/// JPEG data are decoded as far as they go and laid out by the sizes of the file, so that those that are cut
/// short or of another size would be other pictures: each strip and tile must be whole, of its size and of so
/// many `samples`.
fn check_chunks(bytes: &[u8], samples: u16) -> Result<(), ImageError> {
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(failed)?;
    let (width, height) = decoder.dimensions().map_err(failed)?;
    let mut number = |tag| decoder.find_tag_unsigned::<u32>(tag).map_err(failed);
    let rows = number(Tag::RowsPerStrip)?.unwrap_or(height).clamp(1, height.max(1));
    let tile = number(Tag::TileWidth)?.zip(number(Tag::TileLength)?);
    let tables = decoder.find_tag(Tag::JPEGTables).map_err(failed)?;
    let tables = tables.map(|tables| tables.into_u8_vec()).transpose().map_err(failed)?;
    // Each chunk takes the place of their end.
    let tables = tables.as_deref().and_then(|tables| tables.get(..tables.len().checked_sub(2)?));
    let (columns, most_rows) = tile.unwrap_or((width, rows));
    let (offsets, lengths) = match tile {
        None => (Tag::StripOffsets, Tag::StripByteCounts),
        Some(_) => (Tag::TileOffsets, Tag::TileByteCounts),
    };
    let offsets = decoder.find_tag_unsigned_vec::<u64>(offsets).map_err(failed)?.unwrap_or_default();
    let lengths = decoder.find_tag_unsigned_vec::<u64>(lengths).map_err(failed)?.unwrap_or_default();
    for (number, (start, length)) in offsets.iter().zip(&lengths).enumerate() {
        let end = usize::try_from(start.saturating_add(*length)).ok();
        let chunk = usize::try_from(*start).ok().zip(end).and_then(|(start, end)| bytes.get(start..end));
        let jpeg = chunk.filter(|chunk| chunk.len() > 2).and_then(|chunk| match tables {
            None => Some(Cow::Borrowed(chunk)),
            Some(tables) => Some(Cow::Owned([tables, chunk.get(2..)?].concat())),
        });
        let incomplete = || failed(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        let found = jpeg::examine(&jpeg.ok_or_else(incomplete)?, u64::from(columns) * u64::from(most_rows));
        if found.extent == jpeg::Extent::Incomplete {
            return Err(incomplete());
        }
        // The last strip of a plane may be as high as the others, or end with the picture.
        let least_rows = match tile {
            None => rows.min(height - (number as u32 % height.div_ceil(rows).max(1)) * rows),
            Some(_) => most_rows,
        };
        let fits = |(width, height, components): (usize, usize, usize)| {
            let right_height = (least_rows as usize..=most_rows as usize).contains(&height);
            width == columns as usize && right_height && components == usize::from(samples)
        };
        if !found.shape.is_none_or(fits) {
            let reason = format!("strip or tile {number} is of another size than the file says");
            return Err(ImageError::Decoding(DecodingError::new(ImageFormat::Tiff.into(), reason)));
        }
    }
    Ok(())
}

/// The colours of a map in 8 bits. Its values have 16; in files of some old writers, 8.
fn color_map(map: &[u16], bits: u16) -> Vec<[u8; 3]> {
    let colors = 1_usize << bits;
    let shift = if map.iter().all(|value| *value < 256) { 0 } else { 8 };
    let value = |place: usize| map.get(place).map_or(0, |value| (value >> shift) as u8);
    (0..colors).map(|color| [value(color), value(colors + color), value(2 * colors + color)]).collect()
}

/// Replaces places by colours. A row begins with a byte.
fn look_up(packed: &[u8], row_bytes: usize, width: usize, bits: u16, colors: &[[u8; 3]]) -> Vec<u8> {
    let bits = usize::from(bits);
    let per_byte = 8 / bits;
    let mask = (1_usize << bits) - 1;
    let mut rgb = Vec::with_capacity(packed.len() / row_bytes * width * 3);
    for row in packed.chunks_exact(row_bytes) {
        for x in 0..width {
            let byte = row.get(x / per_byte).copied().unwrap_or(0);
            let place = usize::from(byte) >> (8 - bits * (x % per_byte + 1)) & mask;
            rgb.extend(colors.get(place).copied().unwrap_or_default());
        }
    }
    rgb
}

/// JFIF's equations (ITU-R BT.601, full range).
fn from_ycbcr([luma, blue, red]: [u8; 3]) -> [u8; 3] {
    let (luma, blue, red) = (f32::from(luma), f32::from(blue) - 128.0, f32::from(red) - 128.0);
    // Casts saturate.
    [luma + 1.402 * red, luma - 0.344_136 * blue - 0.714_136 * red, luma + 1.772 * blue]
        .map(|level| level.round() as u8)
}

fn unsupported(what: &str) -> ImageError {
    let reason = format!("{what} are not supported: store it in another way");
    ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), reason))
}

fn failed(error: TiffError) -> ImageError {
    match error {
        TiffError::IoError(error) => ImageError::IoError(error),
        error => ImageError::Decoding(DecodingError::new(ImageFormatHint::Exact(ImageFormat::Tiff), error)),
    }
}
