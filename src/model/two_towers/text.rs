use candle_core::{DType, Device, Tensor};

use super::TextTowerConfig;
use crate::model::ModelError;
use crate::model::layers::{Encoder, Training};
use crate::model::loader::{Loader, Precision};
use crate::model::ops::{LayerNorm, Linear};
use crate::model::packed::part_of_graph;
use crate::model::segments::Segments;

/// The tower of texts: what its last token becomes, through a head.
pub(in crate::model) struct TextTower {
    token_embedding: Tensor,
    position_embedding: Tensor,
    encoder: Encoder,
    final_layer_norm: LayerNorm,
    head: Linear,
    activations: DType,
    device: Device,
}

impl TextTower {
    /// Takes the tower at `loader`. In a `causal` one tokens see those before them.
    pub(in crate::model) fn load(
        loader: &Loader<'_>,
        config: &TextTowerConfig,
        causal: bool,
        head: Linear,
        precision: Precision,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let (shape, embeddings) = (&config.shape, loader.at("embeddings"));
        let table = |name, rows| embeddings.at(name).weight("weight", &[rows, shape.hidden_size]);
        Ok(Self {
            token_embedding: table("token_embedding", config.vocab_size)?,
            position_embedding: table("position_embedding", config.max_position_embeddings)?,
            encoder: Encoder::load(&loader.at("encoder"), shape, causal, device)?,
            final_layer_norm: LayerNorm::load(
                &loader.at("final_layer_norm"),
                shape.hidden_size,
                shape.layer_norm_eps,
            )?,
            head,
            activations: precision.activations,
            device: device.clone(),
        })
    }

    /// One row for each of `texts`, (texts, dim).
    pub(super) fn pooled(
        &self,
        texts: &[&[u32]],
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError> {
        let ids = texts.concat();
        let (vocabulary, positions) = (self.token_embedding.dim(0)?, self.position_embedding.dim(0)?);
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
            return Err(ModelError::Batch(format!(
                "token id {id} is outside of the vocabulary of {vocabulary}: the tokenizer belongs to another \
                 model"
            )));
        }
        if let Some(text) = texts.iter().find(|text| text.len() > positions) {
            return Err(ModelError::Batch(format!("a text of {} tokens, expected {positions}", text.len())));
        }
        let places: Vec<u32> = texts.iter().flat_map(|text| 0..text.len() as u32).collect();
        let rows_of = |table: &Tensor, rows: Vec<u32>| {
            let table = if record { table.clone() } else { table.detach() };
            table.index_select(&Tensor::new(rows, &self.device)?, 0)?.to_dtype(self.activations)
        };
        let x = (rows_of(&self.token_embedding, ids)? + rows_of(&self.position_embedding, places)?)?;
        let x = if record { part_of_graph(x)? } else { x };
        let sequences = Segments::from_lengths(texts.iter().map(|text| text.len()));
        let x = self.encoder.forward_to(x, &sequences, &sequences.last_rows(), training)?;
        Ok(self.head.forward(&self.final_layer_norm.forward(&x)?)?)
    }
}
