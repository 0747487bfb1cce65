//! Bicubic resampling of 8-bit RGB with antialiasing, as the reference resamples.
//!
//! The kernel is cubic convolution with a = -0.5, stretched by the scale when shrinking. Pillow, which the
//! reference resizes images with, rounds to 8 bits between the horizontal and the vertical pass; torchvision,
//! which it resizes video frames with, rounds once at the end. [`Rounding`] chooses. Resizing crates keep the
//! kernel's weights in too few bits to come out equal to either, and on strong enlargements the embedding
//! shows it. Columns are resized before rows, as all releases of Pillow did until 13 began to choose the order
//! by the shape of the picture.

use rayon::prelude::*;

use super::error::{PreprocessError, Result};
use super::size::PixelSize;

const CHANNELS: usize = 3;
/// Reach of the kernel in pixels of the larger grid.
const SUPPORT: f64 = 2.0;

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

/// A bicubic resampler that keeps its working memory from one picture to the next.
#[derive(Debug)]
pub struct BicubicResizer {
    rounding: Rounding,
    fixed: Vec<u8>,
    float: Vec<f32>,
}

impl BicubicResizer {
    /// A resampler without working memory yet.
    pub fn new(rounding: Rounding) -> Self {
        Self { rounding, fixed: Vec::new(), float: Vec::new() }
    }

    /// Resizes `rgb`, `from.height x from.width x 3` bytes, into `target`, which is replaced by
    /// `to.height x to.width x 3` bytes.
    ///
    /// # Errors
    /// [`PreprocessError::Resize`] where `rgb` does not have the length that `from` asks for.
    pub fn resize(&mut self, rgb: &[u8], from: PixelSize, to: PixelSize, target: &mut Vec<u8>) -> Result<()> {
        let expected = from.area().saturating_mul(CHANNELS as u64);
        if rgb.len() as u64 != expected || expected == 0 || to.area() == 0 {
            let reason = format!("expected {expected} bytes, at least one pixel, got {}", rgb.len());
            return Err(PreprocessError::Resize { from, to, reason });
        }
        target.resize(to.height as usize * to.width as usize * CHANNELS, 0);
        match self.rounding {
            Rounding::EachPassByShape if rows_lead(from, to) => {
                let between = PixelSize::new(from.width, to.height);
                let mut rows = vec![0; between.area() as usize * CHANNELS];
                passes::<Fixed>(rgb, from, between, &mut self.fixed, &mut rows);
                passes::<Fixed>(&rows, between, to, &mut self.fixed, target);
            }
            Rounding::EachPass | Rounding::EachPassByShape => {
                passes::<Fixed>(rgb, from, to, &mut self.fixed, target);
            }
            Rounding::Once => passes::<Float>(rgb, from, to, &mut self.float, target),
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
    fn taps(from: u32, to: u32) -> Vec<Taps<Self::Sum>>;
    fn keep(sum: Self::Sum) -> Self::Kept;
    fn level(sum: Self::Sum) -> u8;
}

/// Pillow's: 22 bits behind the point, 8-bit values between the passes.
struct Fixed;

const FRACTION_BITS: u32 = 22;

impl Arithmetic for Fixed {
    type Sum = i32;
    type Kept = u8;

    fn taps(from: u32, to: u32) -> Vec<Taps<i32>> {
        let fixed = |weight: &f64| (weight * f64::from(1 << FRACTION_BITS)).round() as i32;
        exact_taps(from, to)
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

    fn taps(from: u32, to: u32) -> Vec<Taps<f32>> {
        torch_taps(from, to).collect()
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
    rgb: &[u8],
    from: PixelSize,
    to: PixelSize,
    kept: &mut Vec<A::Kept>,
    target: &mut [u8],
) {
    let (source_row, row) = (from.width as usize * CHANNELS, to.width as usize * CHANNELS);
    let columns = A::taps(from.width, to.width);
    let rows = A::taps(from.height, to.height);
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

/// The taps of every target pixel along one side, by exact weights.
fn exact_taps(from: u32, to: u32) -> impl Iterator<Item = Taps<f64>> {
    let scale = f64::from(from) / f64::from(to);
    let stretch = scale.max(1.0);
    let reach = SUPPORT * stretch;
    (0..to).map(move |target| {
        let center = (f64::from(target) + 0.5) * scale;
        let first = (center - reach + 0.5).max(0.0) as u32;
        let end = ((center + reach + 0.5) as u32).min(from);
        let weights: Vec<f64> =
            (first..end).map(|x| cubic((f64::from(x) - center + 0.5) / stretch)).collect();
        let total: f64 = weights.iter().sum();
        Taps { first: first as usize, weights: weights.iter().map(|w| w / total).collect() }
    })
}

/// The taps of every target pixel along one side, by weights that are rounded wherever
/// `_upsample_bicubic2d_aa` of PyTorch rounds them on a processor with fused multiply-add. They lie up to
/// 4e-6 from the exact ones, which changes the level of one value in ten thousand.
fn torch_taps(from: u32, to: u32) -> impl Iterator<Item = Taps<f32>> {
    let scale = from as f32 / to as f32;
    let (reach, inverse) = if scale >= 1.0 { (2.0 * scale, 1.0 / scale) } else { (2.0, 1.0) };
    (0..to).map(move |target| {
        let center = (f64::from(scale) * (f64::from(target) + 0.5)) as f32;
        let first = (f64::from(center) - f64::from(reach) + 0.5).max(0.0) as u32;
        let end = ((f64::from(center) + f64::from(reach) + 0.5) as u32).min(from);
        let offset = first as f32 - center;
        let mut weights: Vec<f32> = (0..end - first)
            .map(|x| cubic_fused(((f64::from(x as f32 + offset) + 0.5) * f64::from(inverse)) as f32))
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

    #[test]
    fn a_flat_picture_stays_flat() {
        for rounding in [Rounding::EachPass, Rounding::Once] {
            let (from, to) = (PixelSize::new(31, 17), PixelSize::new(56, 84));
            let flat: Vec<u8> = [10, 200, 255].repeat(31 * 17);
            let mut target = vec![1; 9];
            BicubicResizer::new(rounding).resize(&flat, from, to, &mut target).unwrap();
            assert_eq!(target, [10, 200, 255].repeat(56 * 84));
        }
    }

    #[test]
    fn a_buffer_of_another_length_is_refused() {
        let mut target = Vec::new();
        let size = PixelSize::new(4, 4);
        let mut resizer = BicubicResizer::new(Rounding::EachPass);
        let error = resizer.resize(&[0; 47], size, PixelSize::new(28, 28), &mut target).unwrap_err();
        assert!(error.to_string().contains("4x4"), "{error}");
    }
}
