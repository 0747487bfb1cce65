//! The vision tower: patches of images and videos to tokens of the language model.

use candle_core::{Device, Result, Tensor};

use super::config::WindowConfig;
use super::window::Geometry;
use crate::model::layers::{PatchAttention, PatchMerger, patch_embedding, patch_rotary};
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{AttentionPlan, GatedMlp, Linear, RmsNorm, RotaryTable, add};
use crate::model::qwen_vl::{VisionConfig, VisionFeatures, VisionTower};
use crate::model::segments::Segments;
use crate::model::{GridThw, ModelError};

/// Epsilon of the norms; the configuration files have no field for it.
const NORM_EPS: f64 = 1e-6;

/// The tower of Qwen2.5-VL.
pub(in crate::model) struct WindowedTower {
    patch_embed: Linear,
    blocks: Vec<Block>,
    /// Before the merger.
    norm: RmsNorm,
    merger: PatchMerger,
    config: VisionConfig,
    windows: WindowConfig,
    precision: Precision,
    device: Device,
}

struct Block {
    norm1: RmsNorm,
    attn: PatchAttention,
    norm2: RmsNorm,
    mlp: GatedMlp,
}

impl WindowedTower {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        config: &VisionConfig,
        windows: &WindowConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let c = config;
        let blocks = (0..c.depth)
            .map(|i| Block::load(&loader.at("blocks").at(i), c))
            .collect::<std::result::Result<_, _>>()?;
        let merger = loader.at("merger");
        let merged = c.hidden_size * c.merge_unit();
        Ok(Self {
            patch_embed: patch_embedding(
                &loader.at("patch_embed.proj"),
                c.hidden_size,
                &c.patch_shape(),
                false,
            )?,
            blocks,
            norm: RmsNorm::load(&merger.at("ln_q"), c.hidden_size, NORM_EPS)?,
            merger: PatchMerger::load(&merger.at("mlp.0"), &merger.at("mlp.2"), merged, c.out_hidden_size)?,
            config: config.clone(),
            windows: windows.clone(),
            precision,
            device: device.clone(),
        })
    }
}

impl VisionTower for WindowedTower {
    fn forward(&self, pixel_values: Tensor, grids: &[GridThw]) -> Result<VisionFeatures> {
        let geometry = Geometry::new(grids, &self.config, &self.windows);
        let order = |units: Vec<u32>| Tensor::new(units, &self.device);
        let head_width = self.config.hidden_size / self.config.num_heads;
        let activations = self.precision.activations;
        let rotary = patch_rotary(&geometry.positions, head_width, activations, &self.device)?;
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
            let whole_frame = self.windows.fullatt_block_indexes.binary_search(&i).is_ok();
            x = block.forward(x, &rotary, if whole_frame { &frames } else { &windows })?;
        }
        let x = self.norm.forward(&x)?.reshape((units, ()))?;
        let rows = self.merger.forward(&x)?.index_select(&order(geometry.original_order)?, 0)?;
        Ok(VisionFeatures { rows, deepstack: Vec::new() })
    }
}

impl Block {
    fn load(loader: &Loader<'_>, c: &VisionConfig) -> std::result::Result<Self, ModelError> {
        let width = c.hidden_size;
        Ok(Self {
            norm1: RmsNorm::load(&loader.at("norm1"), width, NORM_EPS)?,
            attn: PatchAttention::load(&loader.at("attn"), width, c.num_heads)?,
            norm2: RmsNorm::load(&loader.at("norm2"), width, NORM_EPS)?,
            mlp: GatedMlp::load(&loader.at("mlp"), width, c.intermediate_size, true, c.hidden_act)?,
        })
    }

    fn forward(&self, x: Tensor, rotary: &RotaryTable, plan: &AttentionPlan) -> Result<Tensor> {
        let attended = self.attn.forward(&self.norm1.forward(&x)?, rotary, plan)?;
        let x = add(x, &attended)?;
        let fed = self.mlp.forward(&self.norm2.forward(&x)?)?;
        add(x, &fed)
    }
}
