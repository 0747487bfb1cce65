//! Vision towers whose blocks attend over whole frames: the blocks, and where patches lie.

use candle_core::{DType, Device, Result, Tensor};

use super::{PatchAttention, patch_rotary};
use crate::model::kernels::Activation;
use crate::model::loader::Loader;
use crate::model::ops::{AttentionPlan, LayerNorm, Mlp, RotaryTable, add, recycle};
use crate::model::segments::Segments;
use crate::model::{GridThw, ModelError};

/// Epsilon of the norms; the configuration files have no field for it.
pub(in crate::model) const NORM_EPS: f64 = 1e-6;

/// Attention within a frame and a plain feed-forward layer, each behind a layer norm.
pub(in crate::model) struct FrameBlock {
    norm1: LayerNorm,
    attn: PatchAttention,
    norm2: LayerNorm,
    mlp: Mlp,
}

/// The shape of a [`FrameBlock`], and what its feed-forward layers are called.
pub(in crate::model) struct FrameBlockShape {
    pub(in crate::model) width: usize,
    pub(in crate::model) num_heads: usize,
    pub(in crate::model) intermediate: usize,
    pub(in crate::model) activation: Activation,
    pub(in crate::model) feed_forward: [&'static str; 2],
}

impl FrameBlock {
    /// Those at the numbers `0..depth`.
    pub(in crate::model) fn load_all(
        loader: &Loader<'_>,
        depth: usize,
        shape: &FrameBlockShape,
    ) -> std::result::Result<Vec<Self>, ModelError> {
        (0..depth).map(|i| Self::load(&loader.at(i), shape)).collect()
    }

    fn load(loader: &Loader<'_>, shape: &FrameBlockShape) -> std::result::Result<Self, ModelError> {
        let &FrameBlockShape { width, num_heads, intermediate, activation, feed_forward } = shape;
        let [first, second] = feed_forward.map(|name| loader.at("mlp").at(name));
        Ok(Self {
            norm1: LayerNorm::load(&loader.at("norm1"), width, NORM_EPS)?,
            attn: PatchAttention::load(&loader.at("attn"), width, num_heads)?,
            norm2: LayerNorm::load(&loader.at("norm2"), width, NORM_EPS)?,
            mlp: Mlp::load(&first, &second, [width, intermediate, width], activation)?,
        })
    }

    /// (patches, width) to the same.
    pub(in crate::model) fn forward(&self, x: Tensor, frames: &Frames) -> Result<Tensor> {
        let normed = self.norm1.forward(&x)?;
        let attended = self.attn.forward(&normed, &frames.rotary, &frames.plan)?;
        recycle(normed)?;
        let x = add(x, &attended)?;
        recycle(attended)?;
        let normed = self.norm2.forward(&x)?;
        let fed = self.mlp.forward(&normed)?;
        recycle(normed)?;
        let x = add(x, &fed)?;
        recycle(fed)?;
        Ok(x)
    }
}

/// What blocks have to know of the patches of visuals beside their values.
pub(in crate::model) struct Frames {
    rotary: RotaryTable,
    plan: AttentionPlan,
}

impl Frames {
    /// Of visuals with `grids`, one behind the other, in units of `merge` x `merge` patches.
    pub(in crate::model) fn new(
        grids: &[GridThw],
        merge: usize,
        head_width: usize,
        activations: DType,
        device: &Device,
    ) -> Result<Self> {
        let lengths =
            grids.iter().flat_map(|&[steps, rows, columns]| std::iter::repeat_n(rows * columns, steps));
        let segments = Segments::from_lengths(lengths);
        let places: Vec<[u32; 2]> = grids
            .iter()
            .flat_map(|&[steps, rows, columns]| {
                std::iter::repeat_n(places_in_units(rows, columns, merge), steps).flatten()
            })
            .collect();
        Ok(Self {
            rotary: patch_rotary(&places, head_width, activations, device)?,
            plan: AttentionPlan::new(&segments, &segments, false, device)?,
        })
    }
}

/// Row and column of each patch of a frame of `rows` x `columns`, unit by unit.
pub(in crate::model) fn places_in_units(rows: usize, columns: usize, merge: usize) -> Vec<[u32; 2]> {
    let mut places = Vec::with_capacity(rows * columns);
    for top in (0..rows).step_by(merge) {
        for left in (0..columns).step_by(merge) {
            for row in top..top + merge {
                places.extend((left..left + merge).map(|column| [row as u32, column as u32]));
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_come_unit_by_unit() {
        let places = places_in_units(4, 6, 2);
        assert_eq!(places.len(), 24);
        assert_eq!(places[..5], [[0, 0], [0, 1], [1, 0], [1, 1], [0, 2]]);
        assert_eq!(places[12], [2, 0]);
        assert_eq!(places_in_units(2, 3, 1), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]);
    }
}
