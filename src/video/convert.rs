//! Decoded pictures to RGB with the matrix and range they were coded with, and those of high dynamic range to SDR.

use super::hdr::{self, ToneMap};
use ffmpeg_next::{ffi, format::Pixel, frame, software::scaling};
use image::RgbImage;
use std::{ffi::c_int, ptr};

/// swscale may write past the end of a row up to this many pixels, so rows of other widths go through a
/// padded buffer.
const ROW_ALIGNMENT_PIXELS: usize = 32;
const CHANNELS: usize = 3;
/// Of a pixel that is to be tone mapped, which takes more than 8 bits.
const DEEP_BYTES: usize = 6;

/// How pictures come out that a display shows otherwise than they are coded. Others are the same either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Appearance {
    /// As on a display with square pixels and the range of SDR, which is what models have seen most of.
    ///
    /// - High dynamic range (a transfer of PQ or HLG) becomes that of SDR by the curve of ITU-R BT.2390, from
    ///   1000 cd/m² to the 203 of BT.2408's white, with the primaries of BT.709 and sRGB's transfer.
    /// - Where the pixels of a video are not square (anamorphic HDV, DV, DVD), its pictures are as wide as they are
    ///   shown. MP4 and MOV are taken at their header's word.
    #[default]
    AsShown,
    /// As torchcodec, decord and PyAV give them, and with them the reference of most models: coded values of high
    /// dynamic range are taken for those of SDR, which looks grey, and pixels for square.
    AsCoded,
}

/// How colours are coded, by the numbers of ITU-T H.273.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Colours {
    pub(super) matrix: c_int,
    pub(super) transfer: c_int,
    pub(super) primaries: c_int,
}

/// Everything a scaling context is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    format: Pixel,
    width: u32,
    height: u32,
    colours: Colours,
    range: c_int,
}

/// Converts frames, keeping the scaling context from one to the next.
pub(super) struct Converter {
    /// Size of the first picture. Streams that change their size midway are scaled to it, as the `ffmpeg`
    /// command does.
    size: (u32, u32),
    /// How pictures are scaled to it.
    scaling: scaling::Flags,
    appearance: Appearance,
    /// What the container says of the colours.
    declared: Option<Colours>,
    context: Option<(Source, Conversion)>,
    padded_rows: Vec<u8>,
}

/// How pictures of one kind are converted.
struct Conversion {
    context: scaling::Context,
    /// What makes SDR of what the context gives.
    tone_map: Option<ToneMap>,
}

// SAFETY: a scaling context is plain memory without ties to the thread that made it, and `Converter` owns it
// alone.
unsafe impl Send for Converter {}

/// The pixel format that cannot be converted.
#[derive(Debug)]
pub(super) struct UnsupportedPixels {
    pub format: String,
    pub width: u32,
    pub height: u32,
}

impl Converter {
    /// A converter to pictures of this size in pixels; a size of zero takes that of each picture.
    pub(super) fn new(size: (u32, u32), appearance: Appearance) -> Self {
        // What the `ffmpeg` command uses.
        let scaling = scaling::Flags::BICUBIC;
        Self { size, scaling, appearance, declared: None, context: None, padded_rows: Vec::new() }
    }

    /// The same for pictures of a container that says this of their colours.
    pub(super) fn declared_as(self, declared: Option<Colours>) -> Self {
        Self { declared, ..self }
    }

    /// The same to pictures of a size that is small beside theirs: a pixel is the average of its area, as it is
    /// coded.
    pub(super) fn averaging(&self, size: (u32, u32)) -> Self {
        Self { scaling: scaling::Flags::AREA, ..Self::new(size, self.appearance).declared_as(self.declared) }
    }

    /// A copy of `picture` as 8-bit RGB.
    pub(super) fn convert(&mut self, picture: &frame::Video) -> Result<RgbImage, UnsupportedPixels> {
        let mut source = Source::of(picture);
        if self.appearance == Appearance::AsShown {
            source.colours = source.colours.completed_by(self.declared);
        }
        let unsupported = || UnsupportedPixels {
            format: source.format.descriptor().map_or("unknown", |d| d.name()).to_owned(),
            width: source.width,
            height: source.height,
        };
        let size =
            if self.size.0 == 0 || self.size.1 == 0 { (source.width, source.height) } else { self.size };
        if self.context.as_ref().is_none_or(|(made_for, _)| *made_for != source) {
            let tone_map = match self.appearance {
                Appearance::AsShown => source.colours.tone_map(),
                Appearance::AsCoded => None,
            };
            let to = if tone_map.is_some() { Pixel::RGB48LE } else { Pixel::RGB24 };
            let context = source.scaling_context(size, to, self.scaling).ok_or_else(unsupported)?;
            self.context = Some((source, Conversion { context, tone_map }));
        }
        let Some((_, Conversion { context, tone_map })) = &mut self.context else {
            return Err(unsupported());
        };
        let (width, height) = (size.0 as usize, size.1 as usize);
        let mut pixels = vec![0; width * height * CHANNELS];
        if width.is_multiple_of(ROW_ALIGNMENT_PIXELS) && tone_map.is_none() {
            scale(context, picture, &mut pixels, width * CHANNELS);
        } else {
            let pixel_bytes = if tone_map.is_some() { DEEP_BYTES } else { CHANNELS };
            let stride = (width.next_multiple_of(ROW_ALIGNMENT_PIXELS) + ROW_ALIGNMENT_PIXELS) * pixel_bytes;
            self.padded_rows.resize(stride * height, 0);
            scale(context, picture, &mut self.padded_rows, stride);
            let rows = self.padded_rows.chunks_exact(stride);
            for (row, padded) in pixels.chunks_exact_mut(width * CHANNELS).zip(rows) {
                match tone_map {
                    Some(tone_map) => tone_map.map(&padded[..width * DEEP_BYTES], row),
                    None => row.copy_from_slice(&padded[..width * CHANNELS]),
                }
            }
        }
        RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(unsupported)
    }
}

impl Colours {
    /// Where a picture does not say that its range is high and its container does, what that says.
    fn completed_by(self, declared: Option<Self>) -> Self {
        let or = |own, declared| if own == hdr::UNSPECIFIED { declared } else { own };
        let completed = declared.filter(|declared| hdr::is_hdr(declared.transfer)).map(|declared| Self {
            matrix: or(self.matrix, declared.matrix),
            transfer: or(self.transfer, declared.transfer),
            primaries: or(self.primaries, declared.primaries),
        });
        let completed = completed.unwrap_or(self);
        // What is of high range and says no more is of BT.2020.
        let is_vague = hdr::is_hdr(completed.transfer) && completed.matrix == hdr::UNSPECIFIED;
        Self { matrix: if is_vague { hdr::BT2020 } else { completed.matrix }, ..completed }
    }

    /// What brings these to SDR; `None` where they are that, or of a kind that swscale cannot read (ICtCp).
    fn tone_map(self) -> Option<ToneMap> {
        (self.matrix != hdr::ICTCP).then(|| ToneMap::of(self.transfer, self.primaries))?
    }
}

impl Source {
    fn of(picture: &frame::Video) -> Self {
        // SAFETY: the pointer is that of a live frame. The fields are read as integers because files may
        // carry values that the bindings' enums do not name.
        let (colours, range) = unsafe {
            let frame = picture.as_ptr();
            let colours = Colours {
                matrix: ptr::addr_of!((*frame).colorspace).cast::<c_int>().read(),
                transfer: ptr::addr_of!((*frame).color_trc).cast::<c_int>().read(),
                primaries: ptr::addr_of!((*frame).color_primaries).cast::<c_int>().read(),
            };
            (colours, ptr::addr_of!((*frame).color_range).cast::<c_int>().read())
        };
        let (format, width, height) = (picture.format(), picture.width(), picture.height());
        Self { format, width, height, colours, range }
    }

    fn scaling_context(
        self,
        (width, height): (u32, u32),
        to: Pixel,
        flags: scaling::Flags,
    ) -> Option<scaling::Context> {
        if self.width == 0 || self.height == 0 {
            return None;
        }
        let mut context =
            scaling::Context::get(self.format, self.width, self.height, to, width, height, flags).ok()?;
        let (mut inverse, mut table) = (ptr::null_mut(), ptr::null_mut());
        let [mut in_full, mut out_full, mut brightness, mut contrast, mut saturation] = [0 as c_int; 5];
        // SAFETY: the context is live, the out pointers are valid, and the tables they receive belong to the
        // context or are static.
        unsafe {
            let known = ffi::sws_getColorspaceDetails(
                context.as_mut_ptr(),
                &mut inverse,
                &mut in_full,
                &mut table,
                &mut out_full,
                &mut brightness,
                &mut contrast,
                &mut saturation,
            );
            if known >= 0 {
                // Unspecified stays with the default of swscale, BT.601, and the range of the pixel format.
                if self.colours.matrix != hdr::UNSPECIFIED {
                    inverse = ffi::sws_getCoefficients(self.colours.matrix).cast_mut();
                    // RGB of more than 8 bits goes through YUV inside swscale: there and back by the same
                    // matrix.
                    table = inverse;
                }
                if self.range != ffi::AVColorRange::AVCOL_RANGE_UNSPECIFIED as c_int {
                    in_full = c_int::from(self.range == ffi::AVColorRange::AVCOL_RANGE_JPEG as c_int);
                }
                ffi::sws_setColorspaceDetails(
                    context.as_mut_ptr(),
                    inverse,
                    in_full,
                    table,
                    out_full,
                    brightness,
                    contrast,
                    saturation,
                );
            }
        }
        Some(context)
    }
}

/// Runs the conversion into `rows` of `stride` bytes.
fn scale(context: &mut scaling::Context, picture: &frame::Video, rows: &mut [u8], stride: usize) {
    let planes = [rows.as_mut_ptr(), ptr::null_mut(), ptr::null_mut(), ptr::null_mut()];
    let strides = [stride as c_int, 0, 0, 0];
    // SAFETY: `context` was made for the size and format of `picture`, whose planes FFmpeg allocated; `rows`
    // holds as many rows of `stride` bytes as the context writes.
    unsafe {
        let frame = picture.as_ptr();
        ffi::sws_scale(
            context.as_mut_ptr(),
            (*frame).data.as_ptr().cast(),
            (*frame).linesize.as_ptr(),
            0,
            picture.height() as c_int,
            planes.as_ptr(),
            strides.as_ptr(),
        );
    }
}
