//! Decoded pictures to RGB with the matrix and range they were coded with.

use ffmpeg_next::{ffi, format::Pixel, frame, software::scaling};
use image::RgbImage;
use std::{ffi::c_int, ptr};

/// swscale may write past the end of a row up to this many pixels, so rows of other widths go through a
/// padded buffer.
const ROW_ALIGNMENT_PIXELS: usize = 32;
const CHANNELS: usize = 3;

/// Everything a scaling context is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Source {
    format: Pixel,
    width: u32,
    height: u32,
    colorspace: c_int,
    range: c_int,
}

/// Converts frames, keeping the scaling context from one to the next.
pub(super) struct Converter {
    /// Size of the first picture. Streams that change their size midway are scaled to it, as the `ffmpeg`
    /// command does.
    size: (u32, u32),
    /// How pictures are scaled to it.
    scaling: scaling::Flags,
    context: Option<(Source, scaling::Context)>,
    padded_rows: Vec<u8>,
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
    pub(super) fn new(size: (u32, u32)) -> Self {
        // What the `ffmpeg` command uses.
        Self { size, scaling: scaling::Flags::BICUBIC, context: None, padded_rows: Vec::new() }
    }

    /// A converter to pictures of a size that is small beside theirs: a pixel is the average of its area.
    pub(super) fn averaging(size: (u32, u32)) -> Self {
        Self { scaling: scaling::Flags::AREA, ..Self::new(size) }
    }

    /// A copy of `picture` as 8-bit RGB.
    pub(super) fn convert(&mut self, picture: &frame::Video) -> Result<RgbImage, UnsupportedPixels> {
        let source = Source::of(picture);
        let unsupported = || UnsupportedPixels {
            format: source.format.descriptor().map_or("unknown", |d| d.name()).to_owned(),
            width: source.width,
            height: source.height,
        };
        let size =
            if self.size.0 == 0 || self.size.1 == 0 { (source.width, source.height) } else { self.size };
        if self.context.as_ref().is_none_or(|(made_for, _)| *made_for != source) {
            self.context =
                Some((source, source.scaling_context(size, self.scaling).ok_or_else(unsupported)?));
        }
        let Some((_, context)) = &mut self.context else {
            return Err(unsupported());
        };
        let (width, height) = (size.0 as usize, size.1 as usize);
        let mut pixels = vec![0; width * height * CHANNELS];
        if width.is_multiple_of(ROW_ALIGNMENT_PIXELS) {
            scale(context, picture, &mut pixels, width * CHANNELS);
        } else {
            let stride = (width.next_multiple_of(ROW_ALIGNMENT_PIXELS) + ROW_ALIGNMENT_PIXELS) * CHANNELS;
            self.padded_rows.resize(stride * height, 0);
            scale(context, picture, &mut self.padded_rows, stride);
            let rows = self.padded_rows.chunks_exact(stride);
            for (row, padded) in pixels.chunks_exact_mut(width * CHANNELS).zip(rows) {
                row.copy_from_slice(&padded[..width * CHANNELS]);
            }
        }
        RgbImage::from_raw(size.0, size.1, pixels).ok_or_else(unsupported)
    }
}

impl Source {
    fn of(picture: &frame::Video) -> Self {
        // SAFETY: the pointer is that of a live frame. The fields are read as integers because files may
        // carry values that the bindings' enums do not name.
        let (colorspace, range) = unsafe {
            let frame = picture.as_ptr();
            (
                ptr::addr_of!((*frame).colorspace).cast::<c_int>().read(),
                ptr::addr_of!((*frame).color_range).cast::<c_int>().read(),
            )
        };
        Self { format: picture.format(), width: picture.width(), height: picture.height(), colorspace, range }
    }

    fn scaling_context(self, (width, height): (u32, u32), flags: scaling::Flags) -> Option<scaling::Context> {
        if self.width == 0 || self.height == 0 {
            return None;
        }
        let mut context =
            scaling::Context::get(self.format, self.width, self.height, Pixel::RGB24, width, height, flags)
                .ok()?;
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
                if self.colorspace != ffi::AVColorSpace::AVCOL_SPC_UNSPECIFIED as c_int {
                    inverse = ffi::sws_getCoefficients(self.colorspace).cast_mut();
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
