//! How a decoded picture is turned before it is shown.

use image::{RgbImage, imageops};

/// Quarter turns and a mirror, read from a display matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Orientation {
    /// Clockwise quarter turns, 0 to 3, applied after the mirror.
    pub quarter_turns: u8,
    /// Whether left and right are swapped first.
    pub mirrored: bool,
}

impl Orientation {
    /// Reads the upper left 2x2 part `[a, b, c, d]` of a display matrix (ISO/IEC 14496-12 `tkhd`), which maps
    /// a pixel `(x, y)` to `(a x + c y, b x + d y)`. Angles between quarter turns go to the nearest one.
    pub fn from_matrix([a, b, c, d]: [i32; 4]) -> Self {
        let (a, b, c, d) = (f64::from(a), f64::from(b), f64::from(c), f64::from(d));
        if a == 0.0 && b == 0.0 {
            return Self::default();
        }
        let mirrored = a * d - b * c < 0.0;
        // A mirror in front negates the column that x is multiplied with.
        let (a, b) = if mirrored { (-a, -b) } else { (a, b) };
        let quarter_turns = (b.atan2(a) / std::f64::consts::FRAC_PI_2).round() as i64;
        Self { quarter_turns: quarter_turns.rem_euclid(4) as u8, mirrored }
    }

    /// Width and height in pixels after turning.
    pub fn turned_size(self, width: u32, height: u32) -> (u32, u32) {
        if self.quarter_turns % 2 == 1 { (height, width) } else { (width, height) }
    }

    /// Turns a picture.
    pub fn apply(self, mut image: RgbImage) -> RgbImage {
        if self.mirrored {
            imageops::flip_horizontal_in_place(&mut image);
        }
        match self.quarter_turns {
            1 => imageops::rotate90(&image),
            2 => {
                imageops::rotate180_in_place(&mut image);
                image
            }
            3 => imageops::rotate270(&image),
            _ => image,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Columns: matrix, quarter turns, mirrored, and the four pixels of `0 1 / 2 3` after turning.
    #[test]
    fn matrices_turn_pictures() {
        const ONE: i32 = 1 << 16;
        let table = [
            ([ONE, 0, 0, ONE], 0, false, [0, 1, 2, 3]),
            ([0, ONE, -ONE, 0], 1, false, [2, 0, 3, 1]),
            ([-ONE, 0, 0, -ONE], 2, false, [3, 2, 1, 0]),
            ([0, -ONE, ONE, 0], 3, false, [1, 3, 0, 2]),
            ([-ONE, 0, 0, ONE], 0, true, [1, 0, 3, 2]),
            ([ONE, 0, 0, -ONE], 2, true, [2, 3, 0, 1]),
            ([0, ONE, ONE, 0], 3, true, [0, 2, 1, 3]),
            ([0, 0, 0, 0], 0, false, [0, 1, 2, 3]),
        ];
        for (matrix, quarter_turns, mirrored, pixels) in table {
            let orientation = Orientation::from_matrix(matrix);
            assert_eq!(orientation, Orientation { quarter_turns, mirrored }, "{matrix:?}");
            let image = RgbImage::from_fn(2, 2, |x, y| image::Rgb([(y * 2 + x) as u8; 3]));
            let turned: Vec<u8> = orientation.apply(image).pixels().map(|p| p.0[0]).collect();
            assert_eq!(turned, pixels, "{matrix:?}");
        }
    }

    #[test]
    fn quarter_turns_swap_the_sides() {
        let turned = Orientation { quarter_turns: 1, mirrored: false };
        assert_eq!(turned.turned_size(320, 180), (180, 320));
        assert_eq!(Orientation { quarter_turns: 2, mirrored: true }.turned_size(320, 180), (320, 180));
    }
}
