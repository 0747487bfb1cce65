//! Pixels that another program holds, as they lie there.

use ::image::RgbImage;

use super::samples::over_white;
use crate::preprocess::{PixelSize, PreprocessError};

/// What a pixel of a [`FrameView`] is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Red, green and blue, of 8 bits each.
    Rgb8,
    /// Red, green, blue and opacity, of 8 bits each, the colours not multiplied by it.
    Rgba8,
    /// Blue, green, red and opacity, as toolkits on Windows and Apple's have them; otherwise as
    /// [`Rgba8`](Self::Rgba8).
    Bgra8,
}

impl PixelFormat {
    /// Bytes of a pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Rgba8 | Self::Bgra8 => 4,
        }
    }
}

/// A picture in somebody else's memory, row by row from the top, each as many bytes behind the one before as
/// `stride` says.
///
/// ```
/// use gve::Input;
/// use gve::preprocess::{FrameView, PixelFormat};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Two rows of one red pixel, which is half transparent in the second; rows begin at multiples of 8 bytes.
/// let data = [255, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 128];
/// let view = FrameView { width: 1, height: 2, stride: 8, format: PixelFormat::Rgba8, data: &data };
/// let frame = view.to_rgb()?;
/// assert_eq!(frame.as_raw(), &[255, 0, 0, 255, 127, 127]);
/// let video = Input::frames(vec![frame], 1.0);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameView<'a> {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Bytes from the beginning of a row to that of the next.
    pub stride: usize,
    /// What a pixel is made of.
    pub format: PixelFormat,
    /// The rows, from the first byte of the first one to the last pixel of the last one or the end of its
    /// stride.
    pub data: &'a [u8],
}

impl FrameView<'_> {
    /// The pixels as they are embedded: what is transparent is laid over white, as in image files.
    ///
    /// # Errors
    /// [`PreprocessError::EmptyPicture`]; [`PreprocessError::FrameBuffer`] where stride or data do not fit
    /// the size.
    pub fn to_rgb(&self) -> Result<RgbImage, PreprocessError> {
        let Self { width, height, stride, format, data } = *self;
        let size = PixelSize::new(width, height);
        let empty = || PreprocessError::EmptyPicture { size };
        if size.area() == 0 {
            return Err(empty());
        }
        let row = (width as usize).saturating_mul(format.bytes());
        let unfit =
            |what, expected, got| Err(PreprocessError::FrameBuffer { size, format, what, expected, got });
        if stride < row {
            return unfit("its stride", row..=usize::MAX, stride);
        }
        let all_but_last = stride.saturating_mul(height as usize - 1);
        let fitting = all_but_last.saturating_add(row)..=all_but_last.saturating_add(stride);
        if !fitting.contains(&data.len()) {
            return unfit("its data", fitting, data.len());
        }
        let mut rgb = Vec::with_capacity(data.len() / format.bytes() * 3);
        for row in data.chunks(stride).filter_map(|chunk| chunk.get(..row)) {
            match format {
                PixelFormat::Rgb8 => rgb.extend_from_slice(row),
                PixelFormat::Rgba8 => row.as_chunks().0.iter().for_each(|&[red, green, blue, alpha]| {
                    rgb.extend([red, green, blue].map(|level| over_white(level, alpha)));
                }),
                PixelFormat::Bgra8 => row.as_chunks().0.iter().for_each(|&[blue, green, red, alpha]| {
                    rgb.extend([red, green, blue].map(|level| over_white(level, alpha)));
                }),
            }
        }
        RgbImage::from_raw(width, height, rgb).ok_or_else(empty)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_lie_apart_are_put_together() {
        let view = |format, stride, data| FrameView { width: 2, height: 2, stride, format, data };
        let rgb: Vec<u8> = (1..=12).collect();
        assert_eq!(view(PixelFormat::Rgb8, 6, &rgb).to_rgb().unwrap().as_raw(), &rgb);
        let apart = [&rgb[..6], &[0, 0], &rgb[6..]].concat();
        assert_eq!(view(PixelFormat::Rgb8, 8, &apart).to_rgb().unwrap().as_raw(), &rgb);
        let padded = [&apart[..], &[0, 0]].concat();
        assert_eq!(view(PixelFormat::Rgb8, 8, &padded).to_rgb().unwrap().as_raw(), &rgb);
        let rgba = [1, 2, 3, 255, 4, 5, 6, 255, 0, 0, 7, 8, 9, 255, 10, 11, 12, 0];
        let blended = view(PixelFormat::Rgba8, 10, &rgba).to_rgb().unwrap().into_raw();
        assert_eq!(blended, [1, 2, 3, 4, 5, 6, 7, 8, 9, 255, 255, 255]);
        let bgra = [3, 2, 1, 255, 6, 5, 4, 255, 0, 0, 9, 8, 7, 255, 12, 11, 10, 0];
        assert_eq!(view(PixelFormat::Bgra8, 10, &bgra).to_rgb().unwrap().into_raw(), blended);
    }

    #[test]
    fn sizes_that_do_not_fit_are_named() {
        let line = |width, height, stride, format, bytes: usize| {
            let data = &vec![0; bytes];
            FrameView { width, height, stride, format, data }.to_rgb().unwrap_err().to_string()
        };
        let (rgb, rgba) = (PixelFormat::Rgb8, PixelFormat::Rgba8);
        assert!(line(0, 2, 0, rgb, 0).contains("a picture of 0x2"));
        assert_eq!(
            line(2, 2, 5, rgb, 10),
            "a frame of 2x2 pixels of Rgb8: its stride must be at least 6 bytes, got 5"
        );
        assert_eq!(
            line(2, 2, 10, rgba, 17),
            "a frame of 2x2 pixels of Rgba8: its data must be 18 to 20 bytes, got 17"
        );
        assert!(line(2, 2, 6, rgb, 16).ends_with("its data must be 12 bytes, got 16"));
        assert!(line(u32::MAX, u32::MAX, usize::MAX, rgba, 1).ends_with("got 1"));
    }
}
