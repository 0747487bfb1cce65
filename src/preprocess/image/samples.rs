//! Samples of any kind become 8-bit RGB.

use ::image::ColorType;

use crate::recipe::Transparency;

/// Turns samples as `image` decodes them, in the machine's byte order, into 8-bit RGB, and lays what is
/// transparent over white, or leaves transparency out. Where a pixel has three bytes or more this happens in
/// place.
pub(super) fn to_rgb(samples: Vec<u8>, color: ColorType, transparency: Transparency) -> Vec<u8> {
    let deep = |pair: [u8; 2]| to_eight_bits(u16::from_ne_bytes(pair));
    let float = |four: [u8; 4]| (f32::from_ne_bytes(four).clamp(0.0, 1.0) * 255.0).round() as u8;
    let over_white = |level, alpha| match transparency {
        Transparency::Dropped => level,
        Transparency::White => over_white(level, alpha),
    };
    let blended = |level: [u8; 3], alpha| level.map(|level| over_white(level, alpha));
    match color {
        ColorType::L8 => pixels_to_rgb(samples, |[level]| [level; 3]),
        ColorType::La8 => pixels_to_rgb(samples, |[level, alpha]| [over_white(level, alpha); 3]),
        ColorType::Rgba8 => pixels_to_rgb(samples, |[r, g, b, alpha]| blended([r, g, b], alpha)),
        ColorType::L16 => pixels_to_rgb(samples, |pair: [u8; 2]| [deep(pair); 3]),
        ColorType::La16 => pixels_to_rgb(samples, |[a, b, c, d]| [over_white(deep([a, b]), deep([c, d])); 3]),
        ColorType::Rgb16 => pixels_to_rgb(samples, |[a, b, c, d, e, f]| [[a, b], [c, d], [e, f]].map(deep)),
        ColorType::Rgba16 => pixels_to_rgb(samples, |[a, b, c, d, e, f, g, h]| {
            blended([[a, b], [c, d], [e, f]].map(deep), deep([g, h]))
        }),
        ColorType::Rgb32F => pixels_to_rgb(samples, |pixel: [u8; 12]| {
            let mut levels = pixel.as_chunks::<4>().0.iter().map(|four| float(*four));
            std::array::from_fn(|_| levels.next().unwrap_or_default())
        }),
        ColorType::Rgba32F => pixels_to_rgb(samples, |pixel: [u8; 16]| {
            let mut levels = pixel.as_chunks::<4>().0.iter().map(|four| float(*four));
            let rgb = std::array::from_fn(|_| levels.next().unwrap_or_default());
            blended(rgb, levels.next().unwrap_or_default())
        }),
        // RGB of 8 bits, all there is besides.
        _ => samples,
    }
}

/// Replaces each pixel of `N` bytes by three.
fn pixels_to_rgb<const N: usize>(mut samples: Vec<u8>, rgb: impl Fn([u8; N]) -> [u8; 3]) -> Vec<u8> {
    let pixels = samples.len() / N;
    if N < 3 {
        let mut grown = Vec::with_capacity(pixels * 3);
        samples.as_chunks::<N>().0.iter().for_each(|pixel| grown.extend(rgb(*pixel)));
        return grown;
    }
    for pixel in 0..pixels {
        let mut from = [0; N];
        from.copy_from_slice(&samples[pixel * N..(pixel + 1) * N]);
        samples[pixel * 3..pixel * 3 + 3].copy_from_slice(&rgb(from));
    }
    samples.truncate(pixels * 3);
    samples.shrink_to_fit();
    samples
}

/// A 16-bit level in 8 bits, rounded.
fn to_eight_bits(level: u16) -> u8 {
    ((u32::from(level) + 128) / 257) as u8
}

/// `(level * alpha + 255 * (255 - alpha)) / 255`, rounded, in Pillow's integer arithmetic.
pub(super) fn over_white(level: u8, alpha: u8) -> u8 {
    let (level, alpha) = (u32::from(level), u32::from(alpha));
    let sum = level * alpha + 255 * (255 - alpha) + 128;
    (((sum >> 8) + sum) >> 8) as u8
}
