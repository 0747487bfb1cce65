use candle_core::{Device, Result, Tensor};

use crate::model::ModelError;
use crate::model::kernels::Products;
use crate::model::layers::{Encoder, Training};
use crate::model::loader::Loader;
use crate::model::ops::{AttentionPlan, LayerNorm, Linear, Mlp, attention, parameter};
use crate::model::segments::Segments;
use crate::model::two_towers::{PictureTower, PictureTowerConfig, frame_segments};

/// The tower of pictures: a learned probe attends to the patches, and what it finds is the embedding.
pub(super) struct AttentionPooling {
    position_embedding: Tensor,
    encoder: Encoder,
    post_layernorm: LayerNorm,
    probe: Tensor,
    q: Linear,
    k: Linear,
    v: Linear,
    out_proj: Linear,
    layernorm: LayerNorm,
    mlp: Mlp,
    num_heads: usize,
    products: Products,
    device: Device,
}

impl AttentionPooling {
    pub(super) fn load(
        loader: &Loader<'_>,
        config: &PictureTowerConfig,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let shape = &config.shape;
        let (width, eps) = (shape.hidden_size, shape.layer_norm_eps);
        let positions = loader.at("embeddings.position_embedding");
        let head = loader.at("head");
        let (attn, mlp) = (head.at("attention"), head.at("mlp"));
        // `torch.nn.MultiheadAttention` has its three projections in one.
        let weight = attn.weight("in_proj_weight", &[3 * width, width])?;
        let bias = attn.activation("in_proj_bias", &[3 * width])?;
        let part = |i: usize| {
            let (weight, bias) = (weight.narrow(0, i * width, width)?, bias.narrow(0, i * width, width)?);
            Linear::from_weight(weight, Some(bias), &attn)
        };
        Ok(Self {
            position_embedding: positions.activation("weight", &[config.num_patches(), width])?,
            encoder: Encoder::load(&loader.at("encoder"), shape, false, device)?,
            post_layernorm: LayerNorm::load(&loader.at("post_layernorm"), width, eps)?,
            probe: head.activation("probe", &[1, 1, width])?,
            q: part(0)?,
            k: part(1)?,
            v: part(2)?,
            out_proj: Linear::load(&attn.at("out_proj"), width, width, true)?,
            layernorm: LayerNorm::load(&head.at("layernorm"), width, eps)?,
            mlp: Mlp::load(
                &mlp.at("fc1"),
                &mlp.at("fc2"),
                [width, shape.intermediate_size, width],
                shape.hidden_act,
            )?,
            num_heads: shape.num_attention_heads,
            products: loader.between_activations(),
            device: device.clone(),
        })
    }
}

impl PictureTower for AttentionPooling {
    fn pooled(&self, patches: Tensor, frames: usize, training: &Training) -> Result<Tensor> {
        let (rows, width) = patches.dims2()?;
        let positions = parameter(&self.position_embedding, &patches)?;
        let x = patches.reshape((frames, rows / frames, width))?.broadcast_add(&positions)?;
        let segments = frame_segments(frames, rows / frames);
        let x = self.encoder.forward(x.reshape((rows, width))?, &segments, training)?;
        let x = self.post_layernorm.forward(&x)?;
        let heads = |x: Tensor| {
            let rows = x.dim(0)?;
            x.reshape((rows, self.num_heads, width / self.num_heads))
        };
        // All frames are asked the same.
        let probe = self.q.forward(&parameter(&self.probe, &x)?.reshape((1, width))?)?;
        let q = heads(probe.broadcast_as((frames, width))?.contiguous()?)?;
        let (k, v) = (heads(self.k.forward(&x)?)?, heads(self.v.forward(&x)?)?);
        let one_each = Segments::from_lengths(vec![1; frames]);
        let plan = AttentionPlan::new(&one_each, &segments, false, &self.device)?;
        let x = self.out_proj.forward(&attention(&q, &k, &v, &plan, self.products)?)?;
        &x + self.mlp.forward(&self.layernorm.forward(&x)?)?
    }

    fn extra_rows(&self) -> usize {
        0
    }
}
