//! Parts of vision towers: attention between patches, and the way from patches to tokens of the language
//! model.

use candle_core::{DType, Device, Result, Tensor};

use crate::model::ModelError;
use crate::model::kernels::Products;
use crate::model::loader::Loader;
use crate::model::ops::{
    AttentionPlan, Linear, RotaryTable, apply_rope, attention, inverse_frequencies, recycle,
};

/// Base of the rotary embedding; the configuration files of transformers 4 have no field for it.
pub(in crate::model) const PATCH_ROPE_THETA: f64 = 10_000.0;

/// The layer that takes patches of `[channels, frames, height, width]`, or without frames, to `width` values.
/// The reference has a convolution with a stride as long as its kernel: a matrix product over flattened
/// patches.
pub(in crate::model) fn patch_embedding(
    loader: &Loader<'_>,
    width: usize,
    patch: &[usize],
    bias: bool,
) -> std::result::Result<Linear, ModelError> {
    let kernel = loader.weight("weight", &[&[width], patch].concat())?;
    let bias = bias.then(|| loader.activation("bias", &[width])).transpose()?;
    let kernel = kernel.reshape((width, patch.iter().product::<usize>()))?;
    Ok(Linear::from_weight(kernel, bias, loader)?)
}

/// Self-attention with one projection for queries, keys and values.
pub(in crate::model) struct PatchAttention {
    qkv: Linear,
    proj: Linear,
    num_heads: usize,
    products: Products,
}

impl PatchAttention {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        width: usize,
        num_heads: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            qkv: Linear::load(&loader.at("qkv"), width, 3 * width, true)?,
            proj: Linear::load(&loader.at("proj"), width, width, true)?,
            num_heads,
            products: loader.between_activations(),
        })
    }

    /// (patches, width) to the same.
    pub(in crate::model) fn forward(
        &self,
        x: &Tensor,
        rotary: &RotaryTable,
        plan: &AttentionPlan,
    ) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        // Views into the fused result: (rows, 3, heads, head width).
        let fused = self.qkv.forward(x)?.reshape((rows, 3, self.num_heads, width / self.num_heads))?;
        let part = |i: usize| fused.narrow(1, i, 1)?.squeeze(1);
        let (q, k) = (apply_rope(part(0)?, rotary)?, apply_rope(part(1)?, rotary)?);
        let attended = attention(&q, &k, &part(2)?, plan, self.products)?;
        recycle(fused)?;
        let projected = self.proj.forward(&attended)?;
        recycle(attended)?;
        Ok(projected)
    }
}

/// Rotary embedding of patches by row and column: the first half of a head's frequencies turns with the row,
/// the second with the column.
pub(in crate::model) fn patch_rotary(
    positions: &[[u32; 2]],
    head_width: usize,
    activations: DType,
    device: &Device,
) -> Result<RotaryTable> {
    let half = head_width / 2;
    let frequencies = inverse_frequencies(PATCH_ROPE_THETA, half);
    let angles: Vec<f32> = positions
        .iter()
        .flat_map(|place| place.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f)))
        .collect();
    RotaryTable::new(&angles, half, 1.0, activations, device)
}

/// Maps units of patches, side by side in a row, to the language model's width.
pub(in crate::model) struct PatchMerger {
    first: Linear,
    second: Linear,
}

impl PatchMerger {
    /// Takes the layers at `first` and `second`; a unit has `merged` values.
    pub(in crate::model) fn load(
        first: &Loader<'_>,
        second: &Loader<'_>,
        merged: usize,
        outputs: usize,
    ) -> std::result::Result<Self, ModelError> {
        Ok(Self {
            first: Linear::load(first, merged, merged, true)?,
            second: Linear::load(second, merged, outputs, true)?,
        })
    }

    /// (units, merged) to (units, outputs).
    pub(in crate::model) fn forward(&self, units: &Tensor) -> Result<Tensor> {
        self.second.forward(&self.first.forward(units)?.gelu_erf()?)
    }
}
