//! Which size a picture is resized to: pure arithmetic on widths, heights and areas.
//!
//! The reference resizes twice: `qwen_vl_utils` by the bounds of the prompt part, then the image processor by
//! the bounds of the checkpoint. [`target_size`] is the composition of both, so that pixels are resampled
//! once.

use std::fmt;

use super::config::ImageProcessorConfig;
use super::error::{PreprocessError, Result};

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl PixelSize {
    /// A size of `width` columns and `height` rows.
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Width times height.
    pub const fn area(self) -> u64 {
        self.width as u64 * self.height as u64
    }
}

impl fmt::Display for PixelSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Lower and upper bound of the area of a resized picture, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBounds {
    min_pixels: u64,
    max_pixels: u64,
    /// Whether growth may not round up past `max_pixels`: so where the lower bound is a mere default.
    strict_max: bool,
}

impl PixelBounds {
    /// Explicit bounds.
    ///
    /// # Errors
    /// [`PreprocessError::InvalidPixelBounds`] where `max_pixels` is 0 or below `min_pixels`.
    pub fn new(min_pixels: u64, max_pixels: u64) -> Result<Self> {
        if max_pixels == 0 || max_pixels < min_pixels {
            return Err(PreprocessError::InvalidPixelBounds { min_pixels, max_pixels, least_pixels: 1 });
        }
        Ok(Self { min_pixels, max_pixels, strict_max: false })
    }

    fn with_default_min(min_pixels: Option<u64>, default_min: u64, max_pixels: u64) -> Result<Self> {
        let min = min_pixels.unwrap_or(default_min.min(max_pixels));
        Ok(Self { strict_max: min_pixels.is_none(), ..Self::new(min, max_pixels)? })
    }

    /// Bounds known to be in order.
    pub(super) const fn constant(min_pixels: u64, max_pixels: u64) -> Self {
        Self { min_pixels, max_pixels, strict_max: false }
    }

    /// Smallest area.
    pub fn min_pixels(self) -> u64 {
        self.min_pixels
    }

    /// Largest area.
    pub fn max_pixels(self) -> u64 {
        self.max_pixels
    }
}

/// How large the pictures of a family of models are where nobody says, in visual tokens: the rules of
/// `qwen_vl_utils` with a family's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelBudget {
    /// Area of one visual token, of which all bounds are multiples.
    pub pixels_per_token: u64,
    /// Fewest and most visual tokens of an image.
    pub image_tokens: (u64, u64),
    /// Fewest and most visual tokens of a frame.
    pub frame_tokens: (u64, u64),
    /// Most visual tokens of all frames of a video.
    pub video_tokens: u64,
    /// Frames that share one visual token (`FRAME_FACTOR`).
    pub frame_factor: usize,
}

impl PixelBudget {
    /// That of qwen-vl-utils 0.0.11 and 0.0.14, for visual tokens of `side` x `side` pixels.
    pub const fn of_qwen_vl_utils(side: u64) -> Self {
        Self {
            pixels_per_token: side * side,
            image_tokens: (4, 16_384),
            frame_tokens: (128, 768),
            // 90 % of 128,000.
            video_tokens: 115_200,
            frame_factor: 2,
        }
    }

    /// Bounds of an image part unless told
    /// otherwise (`qwen_vl_utils.fetch_image`). A default gives way to an explicit bound on the other side.
    ///
    /// Here this differs from the reference, as in [`PixelBudget::for_video`]: an image smaller than the
    /// default smallest area is grown to it there, past a `max_pixels` that lies below.
    ///
    /// # Errors
    /// As [`PixelBounds::new`].
    pub fn for_image(&self, min_pixels: Option<u64>, max_pixels: Option<u64>) -> Result<PixelBounds> {
        let (least, most) = self.image_tokens;
        let max = max_pixels.unwrap_or(self.pixels(most).max(min_pixels.unwrap_or(0)));
        PixelBounds::with_default_min(min_pixels, self.pixels(least), max)
    }

    /// Bounds of each frame of a decoded video unless told otherwise, within the area of the whole video, which
    /// is `total_pixels` or that of its tokens (`qwen_vl_utils.fetch_video`). As there, an explicit `max_pixels` can lower the upper bound but not
    /// raise it.
    ///
    /// A `max_pixels` below the default smallest area (100,352 pixels of Qwen2.5-VL) lowers that too, and
    /// holds. The reference keeps its default then: it shrinks frames larger than `max_pixels`, but grows
    /// smaller ones to 100,352 pixels, past the bound it was given. So only for clips that are smaller than
    /// such a `max_pixels` do sizes differ from the reference's. Who wants its size gives it as `min_pixels`
    /// and `max_pixels`.
    ///
    /// # Errors
    /// [`PreprocessError::NoFrames`] where `num_frames` is 0; else as [`PixelBounds::new`].
    pub fn for_video(
        &self,
        min_pixels: Option<u64>,
        max_pixels: Option<u64>,
        total_pixels: Option<u64>,
        num_frames: usize,
    ) -> Result<PixelBounds> {
        if num_frames == 0 {
            return Err(PreprocessError::NoFrames);
        }
        let (least, most) = self.frame_tokens;
        let total = total_pixels.unwrap_or(self.pixels(self.video_tokens));
        let share = total.saturating_mul(self.frame_factor as u64) / num_frames as u64;
        let floor = min_pixels.unwrap_or(self.pixels(least));
        let ceiling = self.pixels(most).min(share).max(floor.saturating_mul(105) / 100);
        let max = max_pixels.unwrap_or(ceiling).min(ceiling);
        PixelBounds::with_default_min(min_pixels, self.pixels(least), max)
    }

    /// Area of `tokens` visual tokens.
    pub fn pixels(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(self.pixels_per_token)
    }
}

/// The size closest to `size` in aspect whose sides are multiples of `factor` and whose area lies within
/// `bounds`.
///
/// Follows `smart_resize` of `qwen_vl_utils`, with Python's rounding of halves to even. Where the reference
/// computes a side of zero (extreme aspect ratios), that side is one factor here and the other is cut to keep
/// the area within `max_pixels`; the reference's refusal of ratios above 200 is therefore not needed. As in
/// the reference, growth to an explicit `min_pixels` rounds sides up, so bounds that lie close together can
/// be exceeded by part of a factor.
///
/// # Errors
/// [`PreprocessError::EmptyPicture`] where a side is zero, [`PreprocessError::InvalidPixelBounds`] where
/// `max_pixels` is below `factor * factor`.
pub fn smart_resize(size: PixelSize, factor: u32, bounds: PixelBounds) -> Result<PixelSize> {
    if size.area() == 0 {
        return Err(PreprocessError::EmptyPicture { size });
    }
    let unit = u64::from(factor.max(1));
    let PixelBounds { min_pixels, max_pixels, strict_max } = bounds;
    if max_pixels < unit * unit {
        return Err(PreprocessError::InvalidPixelBounds {
            min_pixels,
            max_pixels,
            least_pixels: unit * unit,
        });
    }
    let (width, height, area) = (f64::from(size.width), f64::from(size.height), size.area() as f64);
    let unit_f = unit as f64;
    let round = |side: f64| ((side / unit_f).round_ties_even() as u64).max(1);
    let (mut columns, mut rows) = (round(width), round(height));
    let max_units = max_pixels / (unit * unit);
    let shrink = || {
        let beta = (area / max_pixels as f64).sqrt();
        fit(((width / beta / unit_f).floor() as u64, (height / beta / unit_f).floor() as u64), max_units)
    };
    let pixels = |columns: u64, rows: u64| columns.saturating_mul(rows).saturating_mul(unit * unit);
    if pixels(columns, rows) > max_pixels {
        (columns, rows) = shrink();
    } else if pixels(columns, rows) < min_pixels {
        let beta = (min_pixels as f64 / area).sqrt();
        (columns, rows) = ((width * beta / unit_f).ceil() as u64, (height * beta / unit_f).ceil() as u64);
        if strict_max && pixels(columns, rows) > max_pixels {
            (columns, rows) = shrink();
        }
    }
    let side =
        |units: u64| u32::try_from(units.saturating_mul(unit)).unwrap_or(u32::MAX / factor.max(1) * factor);
    Ok(PixelSize::new(side(columns), side(rows)))
}

/// Lifts a zero side to one unit, cutting the other side to `max_units` in all.
fn fit((columns, rows): (u64, u64), max_units: u64) -> (u64, u64) {
    match (columns, rows) {
        (0, rows) => (1, rows.clamp(1, max_units)),
        (columns, 0) => (columns.min(max_units), 1),
        sides => sides,
    }
}

/// Size a picture of `size` is resized to: the part's own `bounds` first, then the bounds of the checkpoint.
///
/// # Errors
/// As [`smart_resize`].
pub fn target_size(size: PixelSize, bounds: PixelBounds, config: &ImageProcessorConfig) -> Result<PixelSize> {
    let factor = config.resize_factor();
    let requested = smart_resize(size, factor, bounds)?;
    smart_resize(requested, factor, config.pixel_bounds())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// That of Qwen2.5-VL.
    const BUDGET: PixelBudget = PixelBudget {
        pixels_per_token: 784,
        image_tokens: (4, 16_384),
        frame_tokens: (128, 768),
        video_tokens: 115_200,
        frame_factor: 2,
    };

    fn resized(width: u32, height: u32, min: u64, max: u64) -> (u32, u32) {
        let size =
            smart_resize(PixelSize::new(width, height), 28, PixelBounds::new(min, max).unwrap()).unwrap();
        (size.width, size.height)
    }

    #[test]
    fn agrees_with_the_reference() {
        // qwen_vl_utils.smart_resize(height, width, 28, min, max)
        let (min, max) = (4 * 784, 16_384 * 784);
        for (input, expected) in [
            ((1280, 720), (1288, 728)),
            ((70, 98), (56, 112)),  // 2.5 -> 2, 3.5 -> 4
            ((42, 126), (56, 112)), // 1.5 -> 2, 4.5 -> 4
            ((14, 14), (56, 56)),   // 0.5 -> 0 -> one factor, then grown
            ((1, 1), (56, 56)),
            ((6000, 4000), (4368, 2912)),
        ] {
            assert_eq!(resized(input.0, input.1, min, max), expected, "{input:?}");
        }
        assert_eq!(resized(1280, 720, 4 * 784, 200 * 784), (504, 280));
        assert_eq!(resized(640, 360, 128 * 784, 768 * 784), (644, 364));
    }

    #[test]
    fn extreme_ratios_keep_one_factor_and_the_area() {
        assert_eq!(resized(3000, 20, 784, 48 * 784), (48 * 28, 28));
        assert_eq!(resized(20, 3000, 784, 48 * 784), (28, 48 * 28));
        assert_eq!(resized(1, 100_000, 784, 784), (28, 28));
    }

    #[test]
    fn sides_are_multiples_and_areas_within_bounds() {
        let mut state = 1u64;
        let mut next = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % limit
        };
        for _ in 0..20_000 {
            let size = PixelSize::new(next(5000) as u32 + 1, next(5000) as u32 + 1);
            let max = (next(2000) + 1) * 784 + next(784);
            let bounds = BUDGET.for_image(None, Some(max)).unwrap();
            let to = smart_resize(size, 28, bounds).unwrap();
            assert!(
                to.width > 0 && to.height > 0 && to.width.is_multiple_of(28) && to.height.is_multiple_of(28),
                "{size} {max} {to}"
            );
            assert!(to.area() <= max, "{size} {max} {to}");
        }
    }

    #[test]
    fn video_bounds_follow_the_number_of_frames() {
        let bounds = |min, max, frames| {
            let b = BUDGET.for_video(min, max, None, frames).unwrap();
            (b.min_pixels(), b.max_pixels())
        };
        assert_eq!(bounds(None, None, 8), (128 * 784, 768 * 784));
        assert_eq!(bounds(None, None, 600), (128 * 784, 384 * 784));
        assert_eq!(bounds(None, None, 100_000), (128 * 784, 105_369));
        assert_eq!(bounds(None, Some(16 * 784), 8), (16 * 784, 16 * 784));
        assert_eq!(bounds(None, Some(1000 * 784), 8), (128 * 784, 768 * 784));
        assert_eq!(bounds(Some(1000 * 784), None, 8), (1000 * 784, 1050 * 784));
        assert!(matches!(BUDGET.for_video(None, None, None, 0), Err(PreprocessError::NoFrames)));
    }

    #[test]
    fn a_lowered_minimum_never_exceeds_the_maximum() {
        let bounds = BUDGET.for_video(None, Some(16 * 784), None, 8).unwrap();
        for (width, height) in [(60, 100), (33, 90), (1, 1), (20, 400), (111, 112)] {
            let to = smart_resize(PixelSize::new(width, height), 28, bounds).unwrap();
            assert!(to.area() <= 16 * 784, "{width}x{height} -> {to}");
        }
    }

    #[test]
    fn the_reference_grows_small_clips_past_the_bound_it_was_given() {
        let of_a_part = BUDGET.for_video(None, Some(16 * 784), None, 8).unwrap();
        // qwen_vl_utils.smart_resize(height, width, 28, 128 * 784, 16 * 784), which is what fetch_video
        // calls.
        for ((width, height), reference, ours) in [
            ((60, 100), (252, 420), (84, 140)),
            ((80, 80), (336, 336), (112, 112)),
            // Larger than the bound, a clip is shrunk by both.
            ((320, 180), (140, 84), (140, 84)),
        ] {
            let size = PixelSize::new(width, height);
            let keeping_the_default = PixelBounds::constant(128 * 784, 16 * 784);
            let there = smart_resize(size, 28, keeping_the_default).unwrap();
            let here = smart_resize(size, 28, of_a_part).unwrap();
            assert_eq!(((there.width, there.height), (here.width, here.height)), (reference, ours), "{size}");
            assert!(here.area() <= of_a_part.max_pixels());
        }
    }

    #[test]
    fn impossible_bounds_are_refused() {
        assert!(PixelBounds::new(10, 5).is_err());
        assert!(PixelBounds::new(0, 0).is_err());
        let bounds = PixelBounds::new(0, 783).unwrap();
        let error = smart_resize(PixelSize::new(9, 9), 28, bounds).unwrap_err();
        assert!(matches!(error, PreprocessError::InvalidPixelBounds { least_pixels: 784, .. }));
        let empty = smart_resize(PixelSize::new(0, 9), 28, PixelBounds::new(0, 784).unwrap());
        assert!(matches!(empty, Err(PreprocessError::EmptyPicture { .. })));
    }
}
