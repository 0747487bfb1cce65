use candle_core::{Device, Result, Tensor};

use crate::model::ModelError;
use crate::model::layers::{Encoder, Training};
use crate::model::loader::Loader;
use crate::model::ops::{LayerNorm, Linear, parameter};
use crate::model::two_towers::{PictureTower, PictureTowerConfig, frame_segments};

/// The tower of pictures: a class token before the patches is what becomes the embedding.
pub(super) struct ClassToken {
    class_embedding: Tensor,
    position_embedding: Tensor,
    /// `pre_layrnorm`, as the checkpoints spell it.
    pre_layernorm: LayerNorm,
    encoder: Encoder,
    post_layernorm: LayerNorm,
    projection: Linear,
}

impl ClassToken {
    pub(super) fn load(
        loader: &Loader<'_>,
        config: &PictureTowerConfig,
        projection: Linear,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let (width, eps) = (config.shape.hidden_size, config.shape.layer_norm_eps);
        let embeddings = loader.at("embeddings");
        let norm = |name| LayerNorm::load(&loader.at(name), width, eps);
        Ok(Self {
            class_embedding: embeddings.activation("class_embedding", &[width])?,
            position_embedding: embeddings
                .at("position_embedding")
                .activation("weight", &[config.num_patches() + 1, width])?,
            pre_layernorm: norm("pre_layrnorm")?,
            encoder: Encoder::load(&loader.at("encoder"), &config.shape, false, device)?,
            post_layernorm: norm("post_layernorm")?,
            projection,
        })
    }
}

impl PictureTower for ClassToken {
    fn pooled(&self, patches: Tensor, frames: usize, training: &Training) -> Result<Tensor> {
        let width = patches.dim(1)?;
        let patches = patches.reshape((frames, (), width))?;
        let class = parameter(&self.class_embedding, &patches)?.expand((frames, 1, width))?;
        let positions = parameter(&self.position_embedding, &patches)?;
        let x = Tensor::cat(&[class, patches], 1)?.broadcast_add(&positions)?;
        let rows = x.dim(1)?;
        let x = self.pre_layernorm.forward(&x.reshape((frames * rows, width))?)?;
        let first: Vec<u32> = (0..frames).map(|frame| (frame * rows) as u32).collect();
        let x = self.encoder.forward_to(x, &frame_segments(frames, rows), &first, training)?;
        self.projection.forward(&self.post_layernorm.forward(&x)?)
    }

    fn extra_rows(&self) -> usize {
        1
    }
}
