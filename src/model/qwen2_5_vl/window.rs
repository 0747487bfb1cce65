//! Geometry of the vision tower: which patches share a window, and where each patch lies.
//!
//! Everything here is arithmetic on grids, in merged units: a unit is the square of
//! `spatial_merge_size` x `spatial_merge_size` patches that becomes one token, and patches arrive
//! unit by unit. Reference: `get_window_index` and `rot_pos_emb` of
//! `Qwen2_5_VisionTransformerPretrainedModel` in transformers 4.51.

use super::config::WindowConfig;
use crate::model::GridThw;
use crate::model::qwen_vl::VisionConfig;
use crate::model::segments::Segments;

/// Order and grouping of the patches of several visuals for the vision tower.
pub(super) struct Geometry {
    /// Unit at each place of window order.
    pub(super) window_order: Vec<u32>,
    /// Place in window order of each unit.
    pub(super) original_order: Vec<u32>,
    /// Patches of one window, in window order. Border windows are smaller.
    pub(super) windows: Segments,
    /// Patches of one temporal slice, in window order.
    pub(super) frames: Segments,
    /// Row and column of every patch, in window order.
    pub(super) positions: Vec<[u32; 2]>,
}

impl Geometry {
    pub(super) fn new(grids: &[GridThw], config: &VisionConfig, windows: &WindowConfig) -> Self {
        let merge = config.spatial_merge_size;
        let side = windows.window_size / merge / config.patch_size;
        let mut window_order = Vec::new();
        let mut window_lengths = Vec::new();
        let mut frame_lengths = Vec::new();
        let mut positions = Vec::new();
        let mut first_unit = 0;
        for &[frames, height, width] in grids {
            let (rows, columns) = (height / merge, width / merge);
            for frame in 0..frames {
                frame_lengths.push(height * width);
                for window in windows_of(rows, columns, side) {
                    window_lengths.push(window.len() * config.merge_unit());
                    for (row, column) in window {
                        let unit = first_unit + (frame * rows + row) * columns + column;
                        window_order.push(unit as u32);
                        positions.extend((0..merge * merge).map(|i| {
                            [(row * merge + i / merge) as u32, (column * merge + i % merge) as u32]
                        }));
                    }
                }
            }
            first_unit += frames * rows * columns;
        }
        let mut original_order = vec![0; window_order.len()];
        for (place, &unit) in window_order.iter().enumerate() {
            original_order[unit as usize] = place as u32;
        }
        Self {
            window_order,
            original_order,
            windows: Segments::from_lengths(window_lengths),
            frames: Segments::from_lengths(frame_lengths),
            positions,
        }
    }
}

/// The windows of a `rows` x `columns` frame, each a list of (row, column).
fn windows_of(rows: usize, columns: usize, side: usize) -> Vec<Vec<(usize, usize)>> {
    let mut windows = Vec::new();
    for top in (0..rows).step_by(side) {
        for left in (0..columns).step_by(side) {
            let window = (top..rows.min(top + side))
                .flat_map(|row| (left..columns.min(left + side)).map(move |column| (row, column)))
                .collect();
            windows.push(window);
        }
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> VisionConfig {
        serde_json::from_value(serde_json::json!({
            "depth": 1, "hidden_size": 32, "num_heads": 4, "intermediate_size": 72,
            "out_hidden_size": 64, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2
        }))
        .unwrap()
    }

    fn geometry(grids: &[GridThw]) -> Geometry {
        let windows = WindowConfig { window_size: 112, fullatt_block_indexes: vec![] };
        Geometry::new(grids, &config(), &windows)
    }

    #[test]
    fn border_windows_are_smaller() {
        // 6 x 10 patches are 3 x 5 units: a window of 3 x 4 and one of 3 x 1.
        let geometry = geometry(&[[1, 6, 10]]);
        let lengths: Vec<usize> = geometry.windows.ranges().map(|r| r.len()).collect();
        assert_eq!(lengths, [48, 12]);
        assert_eq!(geometry.window_order, [0, 1, 2, 3, 5, 6, 7, 8, 10, 11, 12, 13, 4, 9, 14]);
        assert_eq!(geometry.frames, Segments::from_lengths([60]));
        assert_eq!(geometry.positions[..5], [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]);
        assert_eq!(geometry.positions[48], [0, 8]);
    }

    #[test]
    fn orders_are_inverse_over_several_visuals() {
        let geometry = geometry(&[[2, 20, 36], [1, 4, 6], [3, 2, 2]]);
        let units = geometry.window_order.len();
        assert_eq!(units, 2 * 180 + 6 + 3);
        for (place, &unit) in geometry.window_order.iter().enumerate() {
            assert_eq!(geometry.original_order[unit as usize] as usize, place);
        }
        assert_eq!(geometry.windows.num_rows(), geometry.frames.num_rows());
        assert_eq!(geometry.frames.count(), 6);
    }
}
