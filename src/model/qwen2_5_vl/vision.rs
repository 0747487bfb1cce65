//! The vision tower: patches of images and videos to tokens of the language model.

use candle_core::{Device, Result, Tensor};

use super::config::VisionConfig;
use super::window::Geometry;
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{
    AttentionPlan, GatedMlp, Linear, RmsNorm, RotaryTable, add, apply_rope, attention, inverse_frequencies,
};
use crate::model::segments::Segments;
use crate::model::{GridThw, ModelError};

/// Base of the vision tower's rotary embedding; the configuration files of transformers 4 have no field for it.
pub(super) const ROPE_THETA: f64 = 10_000.0;
/// Epsilon of its norms, likewise.
const NORM_EPS: f64 = 1e-6;

pub(super) struct VisionTower {
    patch_embed: Linear,
    blocks: Vec<Block>,
    merger: Merger,
    config: VisionConfig,
    precision: Precision,
    device: Device,
}

struct Block {
    norm1: RmsNorm,
    qkv: Linear,
    proj: Linear,
    norm2: RmsNorm,
    mlp: GatedMlp,
    num_heads: usize,
}

/// Joins the patches of a unit and maps them to the language model's width.
struct Merger {
    norm: RmsNorm,
    first: Linear,
    second: Linear,
}

impl VisionTower {
    pub(super) fn load(
        loader: &Loader<'_>,
        config: &VisionConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let c = config;
        // The reference's convolution has a stride as long as its kernel: a matrix product over
        // flattened patches.
        let kernel = [c.hidden_size, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size];
        let kernel = loader.at("patch_embed.proj").weight("weight", &kernel)?;
        let blocks = (0..c.depth)
            .map(|i| Block::load(&loader.at("blocks").at(i), c))
            .collect::<std::result::Result<_, _>>()?;
        let merger = loader.at("merger");
        let merged = c.hidden_size * c.merge_unit();
        Ok(Self {
            patch_embed: Linear::new(
                kernel.reshape((c.hidden_size, c.patch_len()))?,
                None,
                loader.products(),
            )?,
            blocks,
            merger: Merger {
                norm: RmsNorm::load(&merger.at("ln_q"), c.hidden_size, NORM_EPS)?,
                first: Linear::load(&merger.at("mlp.0"), merged, merged, true)?,
                second: Linear::load(&merger.at("mlp.2"), merged, c.out_hidden_size, true)?,
            },
            config: config.clone(),
            precision,
            device: device.clone(),
        })
    }

    /// Whether any tensor of the tower is trained; then all of them are.
    pub(super) fn is_trained(&self) -> bool {
        self.patch_embed.frozen().is_none()
    }

    /// `pixel_values` (patches, patch length) of the visuals with `grids`, one behind the other,
    /// to (patches / merge unit, language width) in the same order.
    pub(super) fn forward(&self, pixel_values: Tensor, grids: &[GridThw]) -> Result<Tensor> {
        let geometry = Geometry::new(grids, &self.config);
        let order = |units: Vec<u32>| Tensor::new(units, &self.device);
        let rotary = self.rotary_table(&geometry.positions)?;
        let plan = |segments: &Segments| AttentionPlan::new(segments, segments, false, &self.device);
        let (windows, frames) = (plan(&geometry.windows)?, plan(&geometry.frames)?);

        let x = self.patch_embed.forward(&pixel_values)?;
        drop(pixel_values);
        let (patches, width) = x.dims2()?;
        let units = patches / self.config.merge_unit();
        let mut x = x
            .reshape((units, self.config.merge_unit() * width))?
            .index_select(&order(geometry.window_order)?, 0)?
            .reshape((patches, width))?;
        for (i, block) in self.blocks.iter().enumerate() {
            let whole_frame = self.config.fullatt_block_indexes.binary_search(&i).is_ok();
            x = block.forward(x, &rotary, if whole_frame { &frames } else { &windows })?;
        }
        self.merger.forward(&x, units)?.index_select(&order(geometry.original_order)?, 0)
    }

    /// The first half of a head's frequencies turns with the row, the second with the column.
    fn rotary_table(&self, positions: &[[u32; 2]]) -> Result<RotaryTable> {
        let half = self.config.hidden_size / self.config.num_heads / 2;
        let frequencies = inverse_frequencies(ROPE_THETA, half);
        let angles: Vec<f32> = positions
            .iter()
            .flat_map(|place| place.iter().flat_map(|&p| frequencies.iter().map(move |f| p as f32 * f)))
            .collect();
        RotaryTable::new(&angles, half, 1.0, self.precision.activations, &self.device)
    }
}

impl Block {
    fn load(loader: &Loader<'_>, c: &VisionConfig) -> std::result::Result<Self, ModelError> {
        let width = c.hidden_size;
        Ok(Self {
            norm1: RmsNorm::load(&loader.at("norm1"), width, NORM_EPS)?,
            qkv: Linear::load(&loader.at("attn.qkv"), width, 3 * width, true)?,
            proj: Linear::load(&loader.at("attn.proj"), width, width, true)?,
            norm2: RmsNorm::load(&loader.at("norm2"), width, NORM_EPS)?,
            mlp: GatedMlp::load(&loader.at("mlp"), width, c.intermediate_size, true, c.hidden_act)?,
            num_heads: c.num_heads,
        })
    }

    fn forward(&self, x: Tensor, rotary: &RotaryTable, plan: &AttentionPlan) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let qkv = self.qkv.forward(&self.norm1.forward(&x)?)?;
        // Views into the fused result: (rows, 3, heads, head width).
        let fused = qkv.reshape((rows, 3, self.num_heads, width / self.num_heads))?;
        let part = |i: usize| fused.narrow(1, i, 1)?.squeeze(1);
        let (q, k) = (apply_rope(part(0)?, rotary)?, apply_rope(part(1)?, rotary)?);
        let attended = self.proj.forward(&attention(&q, &k, &part(2)?, plan)?)?;
        let x = add(x, &attended)?;
        let fed = self.mlp.forward(&self.norm2.forward(&x)?)?;
        add(x, &fed)
    }
}

impl Merger {
    fn forward(&self, x: &Tensor, units: usize) -> Result<Tensor> {
        let x = self.norm.forward(x)?.reshape((units, ()))?;
        self.second.forward(&self.first.forward(&x)?.gelu_erf()?)
    }
}
