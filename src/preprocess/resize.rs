//! Resampling of 8-bit RGB with antialiasing, as the reference resamples.
//!
//! The kernel, a [`Filter`], is stretched by the scale when shrinking. Pillow, which the
//! reference resizes images with, rounds to 8 bits between the horizontal and the vertical pass; torchvision,
//! which it resizes video frames with, rounds once at the end. [`Rounding`] chooses. Resizing crates keep the
//! kernel's weights in too few bits to come out equal to either, and on strong enlargements the embedding
//! shows it. Columns are resized before rows, as all releases of Pillow did until 13 began to choose the order
//! by the shape of the picture.

use std::ops::Range;

use rayon::prelude::*;

use super::error::{PreprocessError, Result};
use super::size::PixelSize;

const CHANNELS: usize = 3;

/// The kernel by which pixels are weighed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Cubic convolution with a = -0.5 (Keys, 1981).
    Bicubic,
    /// A triangle.
    Bilinear,
}

impl Filter {
    /// Reach in pixels of the larger grid.
    fn support(self) -> f64 {
        match self {
            Self::Bicubic => 2.0,
            Self::Bilinear => 1.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Bicubic => cubic(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }

    fn weight_fused(self, x: f32) -> f32 {
        match self {
            Self::Bicubic => cubic_fused(x),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
        }
    }
}

/// What is made of a picture: of the picture resized to `resized`, the part of `size` whose upper left corner
/// lies at `left` and `top`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// Size of the whole.
    pub resized: PixelSize,
    /// Columns left of the part.
    pub left: u32,
    /// Rows above the part.
    pub top: u32,
    /// Size of the part.
    pub size: PixelSize,
}

impl Placement {
    /// All of a picture of `size`.
    pub const fn whole(size: PixelSize) -> Self {
        Self { resized: size, left: 0, top: 0, size }
    }
}

/// When values are rounded to 8 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// After each pass: `PIL.Image.resize` up to Pillow 12.
    EachPass,
    /// The same by Pillow 13, which resizes rows before columns where the height loses more than twice as many
    /// pixels as the width.
    EachPassByShape,
    /// Once, at the end: `torchvision.transforms.functional.resize` of a tensor.
    Once,
}

/// A resampler that keeps its working memory from one picture to the next.
#[derive(Debug)]
pub struct Resizer {
    filter: Filter,
    rounding: Rounding,
    fixed: Vec<u8>,
    float: Vec<f32>,
}

impl Resizer {
    /// A resampler without working memory yet.
    pub fn new(filter: Filter, rounding: Rounding) -> Self {
        Self { filter, rounding, fixed: Vec::new(), float: Vec::new() }
    }

    /// Resizes `rgb`, `from.height x from.width x 3` bytes, into `target`, which is replaced by
    /// `to.size.height x to.size.width x 3` bytes. Only the part that `to` asks for is computed.
    ///
    /// # Errors
    /// [`PreprocessError::Resize`] where `rgb` does not have the length that `from` asks for, or the part
    /// does not lie in the whole.
    pub fn resize(&mut self, rgb: &[u8], from: PixelSize, to: Placement, target: &mut Vec<u8>) -> Result<()> {
        let ends = [to.left.checked_add(to.size.width), to.top.checked_add(to.size.height)];
        let lies_within = ends[0].is_some_and(|end| end <= to.resized.width)
            && ends[1].is_some_and(|end| end <= to.resized.height);
        let expected = from.area().saturating_mul(CHANNELS as u64);
        if rgb.len() as u64 != expected || expected == 0 || to.size.area() == 0 || !lies_within {
            let reason = format!(
                "expected {expected} bytes and a part of at least one pixel within the whole, got {} bytes \
                 and {to:?}",
                rgb.len()
            );
            return Err(PreprocessError::Resize { from, to: to.resized, reason });
        }
        target.resize(to.size.height as usize * to.size.width as usize * CHANNELS, 0);
        match self.rounding {
            Rounding::EachPassByShape if rows_lead(from, to.resized) => {
                // A pass over the rows alone, and one over the columns of what came of it.
                let size = PixelSize::new(from.width, to.size.height);
                let whole = PixelSize::new(from.width, to.resized.height);
                let between = Placement { resized: whole, left: 0, top: to.top, size };
                let mut rows = vec![0; size.area() as usize * CHANNELS];
                passes::<Fixed>(self.filter, rgb, from, between, &mut self.fixed, &mut rows);
                let whole = PixelSize::new(to.resized.width, size.height);
                let columns = Placement { resized: whole, left: to.left, top: 0, size: to.size };
                passes::<Fixed>(self.filter, &rows, size, columns, &mut self.fixed, target);
            }
            Rounding::EachPass | Rounding::EachPassByShape => {
                passes::<Fixed>(self.filter, rgb, from, to, &mut self.fixed, target);
            }
            Rounding::Once => passes::<Float>(self.filter, rgb, from, to, &mut self.float, target),
        }
        Ok(())
    }
}

/// Whether Pillow 13 resizes rows first.
fn rows_lead(from: PixelSize, to: PixelSize) -> bool {
    let lost = |from: u32, to: u32| i64::from(from) - i64::from(to);
    let (columns, rows) = (lost(from.width, to.width), lost(from.height, to.height));
    rows > 0 && rows > 2 * columns
}

/// How sums are formed, and what is kept between the passes.
trait Arithmetic {
    /// A weight, and a sum of weighted values.
    type Sum: Copy
        + Default
        + Send
        + Sync
        + std::ops::Mul<Output = Self::Sum>
        + std::ops::AddAssign
        + From<u8>;
    /// A value between the passes.
    type Kept: Copy + Default + Send + Sync + Into<Self::Sum>;
    /// Those of the target pixels `targets`, of `to` in all.
    fn taps(filter: Filter, from: u32, to: u32, targets: Range<u32>) -> Vec<Taps<Self::Sum>>;
    fn keep(sum: Self::Sum) -> Self::Kept;
    fn level(sum: Self::Sum) -> u8;
}

/// Pillow's: 22 bits behind the point, 8-bit values between the passes.
struct Fixed;

const FRACTION_BITS: u32 = 22;

impl Arithmetic for Fixed {
    type Sum = i32;
    type Kept = u8;

    fn taps(filter: Filter, from: u32, to: u32, targets: Range<u32>) -> Vec<Taps<i32>> {
        let fixed = |weight: &f64| (weight * f64::from(1 << FRACTION_BITS)).round() as i32;
        exact_taps(filter, from, to, targets)
            .map(|taps| Taps { first: taps.first, weights: taps.weights.iter().map(fixed).collect() })
            .collect()
    }

    fn keep(sum: i32) -> u8 {
        Self::level(sum)
    }

    fn level(sum: i32) -> u8 {
        ((sum + (1 << (FRACTION_BITS - 1))) >> FRACTION_BITS).clamp(0, 255) as u8
    }
}

/// torchvision's: floating point until the end.
struct Float;

impl Arithmetic for Float {
    type Sum = f32;
    type Kept = f32;

    fn taps(filter: Filter, from: u32, to: u32, targets: Range<u32>) -> Vec<Taps<f32>> {
        torch_taps(filter, from, to, targets).collect()
    }

    fn keep(sum: f32) -> f32 {
        sum
    }

    fn level(sum: f32) -> u8 {
        // Casts saturate.
        sum.round_ties_even() as u8
    }
}

/// Columns first, rows second.
fn passes<A: Arithmetic>(
    filter: Filter,
    rgb: &[u8],
    from: PixelSize,
    to: Placement,
    kept: &mut Vec<A::Kept>,
    target: &mut [u8],
) {
    let (source_row, row) = (from.width as usize * CHANNELS, to.size.width as usize * CHANNELS);
    let columns = A::taps(filter, from.width, to.resized.width, to.left..to.left + to.size.width);
    let rows = A::taps(filter, from.height, to.resized.height, to.top..to.top + to.size.height);
    kept.resize(from.height as usize * row, A::Kept::default());
    kept.par_chunks_mut(row).zip(rgb.par_chunks(source_row)).for_each(|(out, source)| {
        for (pixel, taps) in out.chunks_exact_mut(CHANNELS).zip(&columns) {
            let mut sums = [A::Sum::default(); CHANNELS];
            for (source, &weight) in source[taps.first * CHANNELS..].chunks_exact(CHANNELS).zip(&taps.weights)
            {
                for (sum, &value) in sums.iter_mut().zip(source) {
                    *sum += weight * A::Sum::from(value);
                }
            }
            pixel.copy_from_slice(&sums.map(A::keep));
        }
    });
    let kept = &*kept;
    target.par_chunks_mut(row).zip(&rows).for_each_init(
        || vec![A::Sum::default(); row],
        |sums, (out, taps)| {
            sums.fill(A::Sum::default());
            for (source, &weight) in kept[taps.first * row..].chunks_exact(row).zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(source) {
                    *sum += weight * value.into();
                }
            }
            for (level, &sum) in out.iter_mut().zip(sums.iter()) {
                *level = A::level(sum);
            }
        },
    );
}

/// The source pixels that one target pixel is made of, and their weights.
struct Taps<T> {
    first: usize,
    weights: Vec<T>,
}

/// The taps of target pixels along one side, by exact weights.
fn exact_taps(filter: Filter, from: u32, to: u32, targets: Range<u32>) -> impl Iterator<Item = Taps<f64>> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let reach = filter.support() * stretch;
    targets.map(move |target| {
        let center = (f64::from(target) + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as u32;
        let end = ((center + reach + 0.5) as u32).min(from);
        let weights: Vec<f64> =
            (first..end).map(|x| filter.weight((f64::from(x) - center + 0.5) / stretch)).collect();
        let total: f64 = weights.iter().sum();
        Taps { first: first as usize, weights: weights.iter().map(|w| w / total).collect() }
    })
}

/// The taps of target pixels along one side, by weights that are rounded wherever `_upsample_bicubic2d_aa` of
/// PyTorch rounds them on a processor with fused multiply-add. They lie up to 4e-6 from the exact ones, which
/// changes the level of one value in ten thousand.
fn torch_taps(filter: Filter, from: u32, to: u32, targets: Range<u32>) -> impl Iterator<Item = Taps<f32>> {
    let scale = from as f32 / to as f32;
    let support = filter.support() as f32;
    let (reach, inverse) = if scale >= 1.0 { (support * scale, 1.0 / scale) } else { (support, 1.0) };
    targets.map(move |target| {
        let center = (f64::from(scale) * (f64::from(target) + 0.5)) as f32;
        let first = (f64::from(center) - f64::from(reach) + 0.5).max(0.0) as u32;
        let end = ((f64::from(center) + f64::from(reach) + 0.5) as u32).min(from);
        let offset = first as f32 - center;
        let mut weights: Vec<f32> = (0..end - first)
            .map(|x| filter.weight_fused(((f64::from(x as f32 + offset) + 0.5) * f64::from(inverse)) as f32))
            .collect();
        let total: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= total);
        Taps { first: first as usize, weights }
    })
}

/// Cubic convolution with a = -0.5 (Keys, 1981).
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// As [`cubic`] in f32, each multiplication fused with the addition behind it.
fn cubic_fused(x: f32) -> f32 {
    const A: f32 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0).mul_add(x, -(A + 3.0)) * x).mul_add(x, 1.0)
    } else if x < 2.0 {
        A.mul_add(x, -5.0 * A).mul_add(x, 8.0 * A).mul_add(x, -4.0 * A)
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [(Filter, Rounding); 6] = [
        (Filter::Bicubic, Rounding::EachPass),
        (Filter::Bicubic, Rounding::Once),
        (Filter::Bilinear, Rounding::EachPass),
        (Filter::Bilinear, Rounding::Once),
        (Filter::Bicubic, Rounding::EachPassByShape),
        (Filter::Bilinear, Rounding::EachPassByShape),
    ];

    fn noise(size: PixelSize) -> Vec<u8> {
        (0..size.area() as u32 * 3).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn resized(how: (Filter, Rounding), rgb: &[u8], from: PixelSize, to: Placement) -> Vec<u8> {
        let mut target = vec![1; 9];
        Resizer::new(how.0, how.1).resize(rgb, from, to, &mut target).unwrap();
        target
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        for how in ALL {
            let (from, to) = (PixelSize::new(31, 17), Placement::whole(PixelSize::new(56, 84)));
            let flat = [10, 200, 255].repeat(31 * 17);
            assert_eq!(resized(how, &flat, from, to), [10, 200, 255].repeat(56 * 84), "{how:?}");
        }
    }

    /// A rounding more changes levels by one; between kernels they differ by far more on noise.
    #[test]
    fn both_ways_to_round_are_of_one_filter() {
        let from = PixelSize::new(40, 30);
        let rgb = noise(from);
        for size in [PixelSize::new(17, 13), PixelSize::new(90, 61)] {
            let [cubic, cubic_once, linear, linear_once, ..] =
                ALL.map(|how| resized(how, &rgb, from, Placement::whole(size)));
            let most = |a: &[u8], b: &[u8]| a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            // The cubic kernel overshoots, which is cut off between the passes or not.
            assert!(most(&linear, &linear_once) <= 1);
            assert!(most(&cubic, &cubic_once) < most(&cubic, &linear) && most(&cubic, &linear) > 10);
        }
    }

    #[test]
    fn a_part_is_cut_out_of_the_whole() {
        let (from, resized_to) = (PixelSize::new(31, 90), PixelSize::new(40, 60));
        let rgb = noise(from);
        for how in ALL {
            let whole = resized(how, &rgb, from, Placement::whole(resized_to));
            let (left, top, size) = (7, 13, PixelSize::new(20, 30));
            let part = resized(how, &rgb, from, Placement { resized: resized_to, left, top, size });
            let rows = (top..top + size.height).flat_map(|y| {
                let start = ((y * resized_to.width + left) * 3) as usize;
                whole[start..start + 60].iter().copied()
            });
            assert_eq!(part, rows.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_buffer_of_another_length_and_a_part_beyond_the_whole_are_refused() {
        let mut resizer = Resizer::new(Filter::Bicubic, Rounding::EachPass);
        let (from, whole) = (PixelSize::new(4, 4), Placement::whole(PixelSize::new(28, 28)));
        let mut refused = |length: usize, to: Placement| {
            let error = resizer.resize(&vec![0; length], from, to, &mut Vec::new()).unwrap_err().to_string();
            assert!(error.contains("4x4"), "{error}");
        };
        refused(47, whole);
        refused(48, Placement { left: 1, ..whole });
        refused(48, Placement { top: u32::MAX, ..whole });
    }
}
