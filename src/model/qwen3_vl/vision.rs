//! The vision tower: patches of images and videos to tokens of the language model, and to what is added behind
//! its first layers.

use candle_core::{Device, Result, Tensor};

use super::config::DeepstackConfig;
use super::table::Interpolation;
use crate::model::kernels::Activation;
use crate::model::layers::{FrameBlock, Frames, NORM_EPS, patch_embedding};
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{LayerNorm, Linear, Mlp, add, parameter};
use crate::model::qwen_vl::{VisionConfig, VisionFeatures, VisionTower};
use crate::model::{GridThw, ModelError};

/// The tower of Qwen3-VL.
pub(in crate::model) struct DeepstackTower {
    patch_embed: Linear,
    /// Learned positions, (rows, width).
    positions: Tensor,
    blocks: Vec<FrameBlock>,
    merger: Merger,
    deepstack_mergers: Vec<Merger>,
    config: VisionConfig,
    deepstack: DeepstackConfig,
    precision: Precision,
    device: Device,
}

/// A merger and the norm before it.
struct Merger {
    norm: LayerNorm,
    /// Whether a whole unit is normalised at once, instead of each of its patches.
    norm_over_unit: bool,
    layers: Mlp,
}

impl DeepstackTower {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        config: &VisionConfig,
        deepstack: &DeepstackConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let c = config;
        let mergers = loader.at("deepstack_merger_list");
        let deepstack_mergers = (0..deepstack.deepstack_visual_indexes.len())
            .map(|i| Merger::load(&mergers.at(i), c, true))
            .collect::<std::result::Result<_, _>>()?;
        let rows = deepstack.num_position_embeddings;
        Ok(Self {
            patch_embed: patch_embedding(
                &loader.at("patch_embed.proj"),
                c.hidden_size,
                &c.patch_shape(),
                true,
            )?,
            positions: loader.at("pos_embed").activation("weight", &[rows, c.hidden_size])?,
            blocks: c.frame_blocks(loader, ["linear_fc1", "linear_fc2"])?,
            merger: Merger::load(&loader.at("merger"), c, false)?,
            deepstack_mergers,
            config: config.clone(),
            deepstack: deepstack.clone(),
            precision,
            device: device.clone(),
        })
    }
}

impl VisionTower for DeepstackTower {
    fn forward(&self, pixel_values: Tensor, grids: &[GridThw]) -> Result<VisionFeatures> {
        let c = &self.config;
        let (merge, activations) = (c.spatial_merge_size, self.precision.activations);
        let frames = Frames::new(grids, merge, c.hidden_size / c.num_heads, activations, &self.device)?;
        let x = self.patch_embed.forward(&pixel_values)?;
        drop(pixel_values);
        let table = parameter(&self.positions, &x)?;
        let interpolation = Interpolation::new(grids, merge, self.deepstack.table_side());
        let mut x = add(x, &interpolation.of(&table, activations, &self.device)?)?;
        let mut deepstack = Vec::with_capacity(self.deepstack_mergers.len());
        for (i, block) in self.blocks.iter().enumerate() {
            x = block.forward(x, &frames)?;
            if let Ok(place) = self.deepstack.deepstack_visual_indexes.binary_search(&i) {
                deepstack.push(self.deepstack_mergers[place].forward(&x, c)?);
            }
        }
        Ok(VisionFeatures { rows: self.merger.forward(&x, c)?, deepstack })
    }
}

impl Merger {
    fn load(
        loader: &Loader<'_>,
        c: &VisionConfig,
        norm_over_unit: bool,
    ) -> std::result::Result<Self, ModelError> {
        let merged = c.hidden_size * c.merge_unit();
        let normed = if norm_over_unit { merged } else { c.hidden_size };
        let (first, second) = (loader.at("linear_fc1"), loader.at("linear_fc2"));
        Ok(Self {
            norm: LayerNorm::load(&loader.at("norm"), normed, NORM_EPS)?,
            norm_over_unit,
            layers: Mlp::load(&first, &second, [merged, merged, c.out_hidden_size], Activation::Gelu)?,
        })
    }

    /// (patches, width) to (patches / merge unit, language width).
    fn forward(&self, x: &Tensor, c: &VisionConfig) -> Result<Tensor> {
        let units = (x.dim(0)? / c.merge_unit(), c.hidden_size * c.merge_unit());
        let normed = if self.norm_over_unit {
            self.norm.forward(&x.reshape(units)?)?
        } else {
            self.norm.forward(x)?.reshape(units)?
        };
        self.layers.forward(&normed)
    }
}
