//! The language model without its head: token embeddings, decoder layers, final norm.

use candle_core::{Device, Result, Tensor};

use super::ModelError;
use super::config::TextConfig;
use super::loader::{Loader, Precision};
use super::ops::{
    AttentionPlan, GatedMlp, Linear, RmsNorm, RotaryTable, add, apply_rope, attention, inverse_frequencies,
};
use super::segments::Segments;

pub(super) struct LanguageModel {
    embed_tokens: Tensor,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
    config: TextConfig,
    precision: Precision,
    device: Device,
}

struct DecoderLayer {
    input_layernorm: RmsNorm,
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    post_attention_layernorm: RmsNorm,
    mlp: GatedMlp,
    head_dim: usize,
}

impl LanguageModel {
    pub(super) fn load(
        loader: &Loader<'_>,
        config: &TextConfig,
        precision: Precision,
        device: &Device,
    ) -> std::result::Result<Self, ModelError> {
        let embed_tokens =
            loader.at("embed_tokens").weight("weight", &[config.vocab_size, config.hidden_size])?;
        let layers = (0..config.num_hidden_layers)
            .map(|i| DecoderLayer::load(&loader.at("layers").at(i), config))
            .collect::<std::result::Result<_, _>>()?;
        Ok(Self {
            embed_tokens,
            layers,
            norm: RmsNorm::load(&loader.at("norm"), config.hidden_size, config.rms_norm_eps)?,
            config: config.clone(),
            precision,
            device: device.clone(),
        })
    }

    /// Embeddings of `ids`, (ids, hidden).
    pub(super) fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        self.embed_tokens
            .index_select(&Tensor::new(ids, &self.device)?, 0)?
            .to_dtype(self.precision.activations)
    }

    /// Final-norm hidden states of every row: (rows, hidden) to (rows, hidden).
    pub(super) fn hidden_states(
        &self,
        x: Tensor,
        position_ids: &[Vec<u32>; 3],
        sequences: &Segments,
    ) -> Result<Tensor> {
        let rotary = self.rotary_table(position_ids)?;
        let x = self.run(x, &self.layers, &rotary, sequences)?;
        self.norm.forward(&x)
    }

    /// Final-norm hidden state of each sequence's last row: (rows, hidden) to
    /// (sequences, hidden). In the last layer only those rows' queries and feed-forward layers
    /// are computed.
    pub(super) fn last_hidden_states(
        &self,
        x: Tensor,
        position_ids: &[Vec<u32>; 3],
        sequences: &Segments,
    ) -> Result<Tensor> {
        let rotary = self.rotary_table(position_ids)?;
        let last_rows = Tensor::new(sequences.last_rows(), &self.device)?;
        let x = match self.layers.split_last() {
            Some((last, before)) => {
                let x = self.run(x, before, &rotary, sequences)?;
                let one_each = Segments::from_lengths(vec![1; sequences.count()]);
                let plan = AttentionPlan::new(&one_each, sequences, true, &self.device)?;
                last.forward(x, Some(&last_rows), &rotary, &plan)?
            }
            None => x.index_select(&last_rows, 0)?,
        };
        self.norm.forward(&x)
    }

    fn run(
        &self,
        mut x: Tensor,
        layers: &[DecoderLayer],
        rotary: &RotaryTable,
        sequences: &Segments,
    ) -> Result<Tensor> {
        let plan = AttentionPlan::new(sequences, sequences, true, &self.device)?;
        for layer in layers {
            x = layer.forward(x, None, rotary, &plan)?;
        }
        Ok(x)
    }

    /// Multimodal rotary embedding: each frequency turns with the position of its section, by
    /// `mrope_section` (arXiv 2502.13923, section 2.1.2).
    fn rotary_table(&self, position_ids: &[Vec<u32>; 3]) -> Result<RotaryTable> {
        let half = self.config.head_dim() / 2;
        let sections = self.config.mrope_section.iter().enumerate();
        let section_of = sections.flat_map(|(section, &n)| std::iter::repeat_n(section, n));
        let frequencies: Vec<(usize, f32)> =
            section_of.zip(inverse_frequencies(self.config.rope_theta, 2 * half)).collect();
        let [temporal, height, width] = position_ids;
        let mut angles = Vec::with_capacity(temporal.len() * half);
        for ((&t, &h), &w) in temporal.iter().zip(height).zip(width) {
            angles.extend(frequencies.iter().map(|&(axis, f)| [t, h, w][axis] as f32 * f));
        }
        RotaryTable::new(&angles, half, self.precision.activations, &self.device)
    }
}

impl DecoderLayer {
    fn load(loader: &Loader<'_>, c: &TextConfig) -> std::result::Result<Self, ModelError> {
        let attn = loader.at("self_attn");
        let (hidden, head_dim) = (c.hidden_size, c.head_dim());
        let (queries, keys) = (c.num_attention_heads * head_dim, c.num_key_value_heads * head_dim);
        Ok(Self {
            input_layernorm: RmsNorm::load(&loader.at("input_layernorm"), hidden, c.rms_norm_eps)?,
            q_proj: Linear::load(&attn.at("q_proj"), hidden, queries, true)?,
            k_proj: Linear::load(&attn.at("k_proj"), hidden, keys, true)?,
            v_proj: Linear::load(&attn.at("v_proj"), hidden, keys, true)?,
            o_proj: Linear::load(&attn.at("o_proj"), queries, hidden, false)?,
            post_attention_layernorm: RmsNorm::load(
                &loader.at("post_attention_layernorm"),
                hidden,
                c.rms_norm_eps,
            )?,
            mlp: GatedMlp::load(&loader.at("mlp"), hidden, c.intermediate_size, false)?,
            head_dim,
        })
    }

    /// (rows, hidden) to (rows, hidden), or to (`query_rows`, hidden) where only those are asked
    /// for; `plan` must have been made for the same rows.
    fn forward(
        &self,
        x: Tensor,
        query_rows: Option<&Tensor>,
        rotary: &RotaryTable,
        plan: &AttentionPlan,
    ) -> Result<Tensor> {
        let normed = self.input_layernorm.forward(&x)?;
        let heads = |x: Tensor| {
            let rows = x.dim(0)?;
            x.reshape((rows, (), self.head_dim))
        };
        let k = apply_rope(heads(self.k_proj.forward(&normed)?)?, rotary)?;
        let v = heads(self.v_proj.forward(&normed)?)?;
        let (x, q) = match query_rows {
            None => {
                let q = heads(self.q_proj.forward(&normed)?)?;
                (x, apply_rope(q, rotary)?)
            }
            Some(rows) => {
                let q = heads(self.q_proj.forward(&normed.index_select(rows, 0)?)?)?;
                (x.index_select(rows, 0)?, apply_rope(q, &rotary.select(rows)?)?)
            }
        };
        let attended = self.o_proj.forward(&attention(&q, &k, &v, plan)?)?;
        let x = add(x, &attended)?;
        let fed = self.mlp.forward(&self.post_attention_layernorm.forward(&x)?)?;
        add(x, &fed)
    }
}
