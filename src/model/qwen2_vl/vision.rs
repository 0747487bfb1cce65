//! The vision tower: patches of images and videos to tokens of the language model.

use candle_core::{Device, Result, Tensor};

use crate::model::kernels::Activation;
use crate::model::layers::{FrameBlock, Frames, NORM_EPS, patch_embedding};
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{LayerNorm, Linear, Mlp};
use crate::model::qwen_vl::{VisionConfig, VisionFeatures, VisionTower};
use crate::model::{GridThw, ModelError};

/// The tower of Qwen2-VL.
pub(in crate::model) struct WholeTower {
    patch_embed: Linear,
    blocks: Vec<FrameBlock>,
    /// Before the merger.
    norm: LayerNorm,
    merger: Mlp,
    config: VisionConfig,
    precision: Precision,
    device: Device,
}

impl WholeTower {
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        config: &VisionConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let c = config;
        let merger = loader.at("merger");
        let merged = c.hidden_size * c.merge_unit();
        let sizes = [merged, merged, c.out_hidden_size];
        Ok(Self {
            patch_embed: patch_embedding(
                &loader.at("patch_embed.proj"),
                c.hidden_size,
                &c.patch_shape(),
                false,
            )?,
            blocks: c.frame_blocks(loader, ["fc1", "fc2"])?,
            norm: LayerNorm::load(&merger.at("ln_q"), c.hidden_size, NORM_EPS)?,
            merger: Mlp::load(&merger.at("mlp.0"), &merger.at("mlp.2"), sizes, Activation::Gelu)?,
            config: config.clone(),
            precision,
            device: device.clone(),
        })
    }
}

impl VisionTower for WholeTower {
    fn forward(&self, pixel_values: Tensor, grids: &[GridThw]) -> Result<VisionFeatures> {
        let c = &self.config;
        let head_width = c.hidden_size / c.num_heads;
        let activations = self.precision.activations;
        let frames = Frames::new(grids, c.spatial_merge_size, head_width, activations, &self.device)?;
        let mut x = self.patch_embed.forward(&pixel_values)?;
        drop(pixel_values);
        for block in &self.blocks {
            x = block.forward(x, &frames)?;
        }
        let units = x.dim(0)? / c.merge_unit();
        let rows = self.merger.forward(&self.norm.forward(&x)?.reshape((units, ()))?)?;
        Ok(VisionFeatures { rows, deepstack: Vec::new() })
    }
}
