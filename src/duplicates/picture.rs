//! Greys of a picture, at two sizes.

use image::RgbImage;

use super::border::Frame;

/// Cells across and down of what is decoded.
pub(super) const GREY_SIDE: usize = 96;
/// Cells across and down of what is kept.
pub(super) const SIDE: usize = 24;
pub(super) const CELLS: usize = SIDE * SIDE;

/// What is kept of a picture without its borders, row by row.
pub(super) type Picture = [u8; CELLS];

/// A picture as it was decoded, with its borders, row by row.
#[derive(Clone)]
pub(super) struct Grey(pub(super) Box<[u8]>);

impl Grey {
    /// Luma of BT.601 of a picture of [`GREY_SIDE`] pixels across and down.
    pub(super) fn of(image: &RgbImage) -> Self {
        let luma = |pixel: &[u8]| {
            let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            ((299 * r + 587 * g + 114 * b + 500) / 1000) as u8
        };
        Self(image.as_raw().chunks_exact(3).map(luma).collect())
    }

    /// The averages of cells of what lies within `frame`.
    pub(super) fn within(&self, frame: Frame) -> Picture {
        let columns = shares(frame.left, frame.right);
        let rows = shares(frame.top, frame.bottom);
        let mut picture = [0; CELLS];
        for (row, lines) in rows.iter().enumerate() {
            for (column, cells) in columns.iter().enumerate() {
                let (mut sum, mut whole) = (0.0, 0.0);
                for &(line, height) in lines {
                    for &(cell, width) in cells {
                        sum += height * width * f32::from(self.0[line * GREY_SIDE + cell]);
                        whole += height * width;
                    }
                }
                picture[row * SIDE + column] = (sum / whole).round() as u8;
            }
        }
        picture
    }
}

/// For each of [`SIDE`] parts of the cells from `start` to `end`, which cells it takes and how much of each.
fn shares(start: usize, end: usize) -> Vec<Vec<(usize, f32)>> {
    let width = (end - start) as f32 / SIDE as f32;
    let part = |index: usize| {
        let from = start as f32 + index as f32 * width;
        let to = (from + width).min(end as f32);
        let share = |cell: usize| (to.min(cell as f32 + 1.0) - from.max(cell as f32), cell);
        let cells = (from as usize..end).map(share).take_while(|(share, _)| *share > 0.0);
        cells.filter(|(share, _)| *share > 1e-3).map(|(share, cell)| (cell, share)).collect()
    };
    (0..SIDE).map(part).collect()
}
