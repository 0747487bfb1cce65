//! The transformer of CLIP and its kin: blocks with a layer norm before attention and feed-forward layer, and
//! a bias everywhere.

use std::sync::Arc;

use candle_core::{Device, Result, Tensor};
use serde::Deserialize;

use super::Training;
use crate::model::ModelError;
use crate::model::config::activation;
use crate::model::kernels::{Activation, Products};
use crate::model::loader::Loader;
use crate::model::ops::{
    AttentionPlan, Dropout, LayerNorm, Linear, Mlp, add, attention, checkpointed, recycle,
};
use crate::model::segments::Segments;

/// Shape of an encoder, as `config.json` spells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::model) struct EncoderShape {
    /// Width of the residual stream.
    pub(in crate::model) hidden_size: usize,
    /// Width of the feed-forward layers.
    pub(in crate::model) intermediate_size: usize,
    /// Number of blocks.
    pub(in crate::model) num_hidden_layers: usize,
    /// Number of attention heads.
    pub(in crate::model) num_attention_heads: usize,
    /// What the feed-forward layers have in their middle.
    #[serde(deserialize_with = "activation")]
    pub(in crate::model) hidden_act: Activation,
    /// Epsilon of the norms.
    pub(in crate::model) layer_norm_eps: f64,
}

pub(in crate::model) struct Encoder {
    layers: Vec<Arc<EncoderLayer>>,
    causal: bool,
    device: Device,
}

struct EncoderLayer {
    layer_norm1: LayerNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    out_proj: Linear,
    layer_norm2: LayerNorm,
    mlp: Mlp,
    num_heads: usize,
    products: Products,
}

/// What a block has to know of its rows beside their values.
struct Pass {
    plan: AttentionPlan,
    dropout: Option<Dropout>,
    /// The rows whose queries and feed-forward layers are computed, where these are not all.
    queries: Option<(Tensor, Option<Dropout>)>,
}

impl Encoder {
    /// Takes the blocks at `layers`. In a `causal` encoder rows see those before them, else all of theirs.
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        shape: &EncoderShape,
        causal: bool,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let layers = (0..shape.num_hidden_layers)
            .map(|i| EncoderLayer::load(&loader.at("layers").at(i), shape).map(Arc::new))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self { layers, causal, device: device.clone() })
    }

    /// (rows, hidden) of `sequences` to the same.
    pub(in crate::model) fn forward(
        &self,
        x: Tensor,
        sequences: &Segments,
        training: &Training,
    ) -> Result<Tensor> {
        let plan = AttentionPlan::new(sequences, sequences, self.causal, &self.device)?;
        let pass = Pass { plan, dropout: training.dropout.clone(), queries: None };
        self.run(x, &self.layers, pass, training)
    }

    /// The same at `rows` alone, one of each sequence and the last in a causal encoder, (sequences, hidden).
    /// In the last block only their queries and feed-forward layers are computed.
    pub(in crate::model) fn forward_to(
        &self,
        x: Tensor,
        sequences: &Segments,
        rows: &[u32],
        training: &Training,
    ) -> Result<Tensor> {
        let index = Tensor::new(rows, &self.device)?;
        let Some((last, before)) = self.layers.split_last() else { return x.index_select(&index, 0) };
        let dropout = || training.dropout.clone();
        let plan = AttentionPlan::new(sequences, sequences, self.causal, &self.device)?;
        let x = self.run(x, before, Pass { plan, dropout: dropout(), queries: None }, training)?;
        let one_each = Segments::from_lengths(vec![1; rows.len()]);
        let plan = AttentionPlan::new(&one_each, sequences, self.causal, &self.device)?;
        let queries = Some((index, dropout().map(|dropout| dropout.select(rows))));
        let pass = Pass { plan, dropout: dropout(), queries };
        self.run(x, std::slice::from_ref(last), pass, training)
    }

    fn run(
        &self,
        mut x: Tensor,
        layers: &[Arc<EncoderLayer>],
        pass: Pass,
        training: &Training,
    ) -> Result<Tensor> {
        let pass = Arc::new(pass);
        for layer in layers {
            x = match &training.checkpointing {
                Some(sink) => {
                    let (layer, pass) = (layer.clone(), pass.clone());
                    checkpointed(&x, sink, move |x| layer.forward(x.clone(), &pass))?
                }
                None => layer.forward(x, &pass)?,
            };
        }
        Ok(x)
    }
}

impl EncoderLayer {
    fn load(loader: &Loader<'_>, shape: &EncoderShape) -> std::result::Result<Self, ModelError> {
        let (width, eps) = (shape.hidden_size, shape.layer_norm_eps);
        let (attn, mlp) = (loader.at("self_attn"), loader.at("mlp"));
        let linear = |name| Linear::load(&attn.at(name), width, width, true);
        Ok(Self {
            layer_norm1: LayerNorm::load(&loader.at("layer_norm1"), width, eps)?,
            q_proj: linear("q_proj")?,
            k_proj: linear("k_proj")?,
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            layer_norm2: LayerNorm::load(&loader.at("layer_norm2"), width, eps)?,
            mlp: Mlp::load(
                &mlp.at("fc1"),
                &mlp.at("fc2"),
                [width, shape.intermediate_size, width],
                shape.hidden_act,
            )?,
            num_heads: shape.num_attention_heads,
            products: loader.between_activations(),
        })
    }

    /// (rows, hidden) to the same, or to (queries, hidden) where only some rows are asked for.
    fn forward(&self, x: Tensor, pass: &Pass) -> Result<Tensor> {
        let normed = self.layer_norm1.forward(&x)?;
        let heads = |x: Tensor| {
            let (rows, width) = x.dims2()?;
            x.reshape((rows, self.num_heads, width / self.num_heads))
        };
        let dropout = pass.dropout.as_ref();
        let k = heads(self.k_proj.forward_dropping(&normed, dropout)?)?;
        let v = heads(self.v_proj.forward_dropping(&normed, dropout)?)?;
        let (x, normed, dropout) = match &pass.queries {
            None => (x, normed, dropout),
            Some((rows, dropout)) => {
                (x.index_select(rows, 0)?, normed.index_select(rows, 0)?, dropout.as_ref())
            }
        };
        let q = heads(self.q_proj.forward_dropping(&normed, dropout)?)?;
        recycle(normed)?;
        let attended = attention(&q, &k, &v, &pass.plan, self.products)?;
        [q, k, v].into_iter().try_for_each(recycle)?;
        let projected = self.out_proj.forward_dropping(&attended, dropout)?;
        recycle(attended)?;
        let x = add(x, &projected)?;
        recycle(projected)?;
        let normed = self.layer_norm2.forward(&x)?;
        let fed = self.mlp.forward_dropping(&normed, dropout)?;
        recycle(normed)?;
        let x = add(x, &fed)?;
        recycle(fed)?;
        Ok(x)
    }
}
