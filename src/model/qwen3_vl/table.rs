//! The learned positions of patches: a square table that is stretched over each frame.
//!
//! Reference: `fast_pos_embed_interpolate` of `Qwen3VLVisionModel` in transformers 4.57.

use candle_core::{DType, Device, Result, Tensor};

use crate::model::GridThw;
use crate::model::layers::places_in_units;

/// What each patch takes from the table: four rows and their weights.
pub(super) struct Interpolation {
    /// Rows of the table, one list for each of the four neighbours.
    rows: [Vec<u32>; 4],
    weights: [Vec<f32>; 4],
}

impl Interpolation {
    /// Of visuals with `grids`, one behind the other, in units of `merge` x `merge` patches; every step in time
    /// takes the same. The table has `side` rows and columns, and its corners lie on those of a frame.
    pub(super) fn new(grids: &[GridThw], merge: usize, side: usize) -> Self {
        let mut all = Self { rows: Default::default(), weights: Default::default() };
        for &[steps, rows, columns] in grids {
            let (down, across) = (places(rows, side), places(columns, side));
            for _ in 0..steps {
                for [row, column] in places_in_units(rows, columns, merge) {
                    all.push(side, &down[row as usize], &across[column as usize]);
                }
            }
        }
        all
    }

    fn push(&mut self, side: usize, down: &Place, across: &Place) {
        let corners = [
            (down.floor, across.floor, (1.0 - down.share) * (1.0 - across.share)),
            (down.floor, across.ceil, (1.0 - down.share) * across.share),
            (down.ceil, across.floor, down.share * (1.0 - across.share)),
            (down.ceil, across.ceil, down.share * across.share),
        ];
        let lists = self.rows.iter_mut().zip(&mut self.weights);
        for ((rows, weights), (row, column, weight)) in lists.zip(corners) {
            rows.push((row * side + column) as u32);
            weights.push(weight);
        }
    }

    /// The embedding of each patch, (patches, width), out of `table` (rows, width).
    pub(super) fn of(&self, table: &Tensor, dtype: DType, device: &Device) -> Result<Tensor> {
        let patches = self.rows[0].len();
        let corner = |(rows, weights): (&Vec<u32>, &Vec<f32>)| {
            let weights = Tensor::from_slice(weights, (patches, 1), device)?;
            table
                .index_select(&Tensor::new(rows.as_slice(), device)?, 0)?
                .to_dtype(DType::F32)?
                .broadcast_mul(&weights)
        };
        let mut corners = self.rows.iter().zip(&self.weights).map(corner);
        let first = corners.next().unwrap_or_else(|| Tensor::zeros((0, 0), DType::F32, device));
        corners.try_fold(first?, |sum, corner| sum + corner?)?.to_dtype(dtype)
    }
}

/// Where a line of patches lies between two of the table.
struct Place {
    floor: usize,
    ceil: usize,
    /// How much of `ceil` it takes.
    share: f32,
}

/// `patches` places spread over `side` lines, both ends included: `torch.linspace(0, side - 1, patches)`, which
/// counts from both ends in f32.
fn places(patches: usize, side: usize) -> Vec<Place> {
    let last = side.saturating_sub(1) as f32;
    let step = if patches > 1 { last / (patches - 1) as f32 } else { 0.0 };
    let at = |i: usize| {
        if i < patches / 2 { step * i as f32 } else { last - step * (patches - 1 - i) as f32 }
    };
    (0..patches)
        .map(|i| {
            let value = if patches == 1 { 0.0 } else { at(i) };
            let floor = value as usize;
            Place { floor, ceil: (floor + 1).min(side.saturating_sub(1)), share: value - floor as f32 }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `torch.linspace(0, 11, 5)` is 0, 2.75, 5.5, 8.25, 11.
    #[test]
    fn corners_lie_on_corners() {
        let places = places(5, 12);
        let shown: Vec<_> = places.iter().map(|p| (p.floor, p.ceil, p.share)).collect();
        assert_eq!(shown, [(0, 1, 0.0), (2, 3, 0.75), (5, 6, 0.5), (8, 9, 0.25), (11, 11, 0.0)]);
        assert!(super::places(1, 12).iter().all(|p| (p.floor, p.share) == (0, 0.0)));
    }

    #[test]
    fn a_frame_of_the_size_of_the_table_takes_it_as_it_is_in_units() {
        let table = Tensor::arange(0f32, 16.0, &Device::Cpu).unwrap().reshape((16, 1)).unwrap();
        let taken = Interpolation::new(&[[2, 4, 4]], 2, 4).of(&table, DType::F32, &Device::Cpu).unwrap();
        let taken: Vec<f32> = taken.flatten_all().unwrap().to_vec1().unwrap();
        assert_eq!(taken[..8], [0.0, 1.0, 4.0, 5.0, 2.0, 3.0, 6.0, 7.0]);
        assert_eq!(taken[..16], taken[16..]);
    }
}
