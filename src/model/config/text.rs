//! The language model's part of `config.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{MAX_LAYERS, MAX_SIZE, RopeScaling, activation, set_keys, within};
use crate::model::kernels::Activation;
use crate::settings_keys::Place;

/// How the settings of a line of language models are read, and what is built in without being settings.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct TextRules {
    /// `config.json` with the language model's keys at the top.
    pub(in crate::model) flat: Place,
    /// The keys of `text_config`.
    pub(in crate::model) nested: Place,
    /// Those of the rotary embedding.
    pub(in crate::model) rope: Place,
    attention: Attention,
    mrope: MropeLayout,
}

impl TextRules {
    /// Qwen2 and Qwen2.5.
    pub(in crate::model) const QWEN2: Self = Self {
        flat: Place::FlatConfig,
        nested: Place::TextConfig,
        rope: Place::Rope,
        attention: Attention::Biased,
        mrope: MropeLayout::Blocks,
    };
    /// Qwen3.
    pub(in crate::model) const QWEN3: Self = Self {
        flat: Place::Qwen3TextConfig,
        nested: Place::Qwen3TextConfig,
        rope: Place::Qwen3Rope,
        attention: Attention::Normed,
        mrope: MropeLayout::Interleaved,
    };
}

/// What is done to queries and keys before they turn.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::model) enum Attention {
    /// Queries, keys and values have a bias (Qwen2).
    #[default]
    Biased,
    /// None has a bias, and queries and keys have an RMS norm over each head (Qwen3).
    Normed,
}

/// Which rotary frequencies follow which of the three positions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::model) enum MropeLayout {
    /// Temporal, height and width one behind the other, by `mrope_section` (arXiv 2502.13923, section 2.1.2).
    #[default]
    Blocks,
    /// Every second of three is height and every third width, as far as three times their sections reach; the
    /// rest is temporal (`apply_interleaved_mrope` of transformers 4.57).
    Interleaved,
}

impl MropeLayout {
    /// The position that each of `half` frequencies follows: 0 temporal, 1 height, 2 width.
    pub(in crate::model) fn axes(self, sections: [usize; 3], half: usize) -> Vec<usize> {
        match self {
            Self::Blocks => {
                let sections = sections.into_iter().enumerate();
                sections.flat_map(|(axis, n)| std::iter::repeat_n(axis, n)).collect()
            }
            Self::Interleaved => (0..half)
                .map(|j| match j % 3 {
                    0 => 0,
                    axis if j < 3 * sections[axis] => axis,
                    _ => 0,
                })
                .collect(),
        }
    }
}

/// Shape of the language model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct TextConfig {
    /// Width of the residual stream, and of the embedding.
    pub hidden_size: usize,
    /// Width of the gated feed-forward layer.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads.
    pub num_key_value_heads: usize,
    /// Width of a head; `hidden_size / num_attention_heads` where the file does not say.
    #[serde(default)]
    head_dim: Option<usize>,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Epsilon of the RMS norms.
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    #[serde(default)]
    pub rope_theta: f64,
    /// How many rotary frequencies follow the temporal, height and width positions.
    #[serde(skip)]
    pub mrope_section: [usize; 3],
    /// How those frequencies are scaled.
    #[serde(skip)]
    pub(in crate::model) rope_scaling: RopeScaling,
    #[serde(skip)]
    pub(in crate::model) mrope: MropeLayout,
    #[serde(skip)]
    pub(in crate::model) attention: Attention,
    /// What the gate of the feed-forward layers goes through.
    #[serde(default, deserialize_with = "activation")]
    pub hidden_act: Activation,
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }

    /// Reads and checks the language model's part of `config.json`, whose rotary settings are `rope`.
    pub(in crate::model) fn read(
        part: &Value,
        rope: &Map<String, Value>,
        rules: &TextRules,
    ) -> Result<Self, String> {
        let mut text = Self::deserialize(text_keys(part)).map_err(|e| e.to_string())?;
        text.mrope_section = rope
            .get("mrope_section")
            .and_then(|v| <[usize; 3]>::deserialize(v).ok())
            .ok_or("mrope_section must hold three numbers: temporal, height, width")?;
        if let Some(theta) = rope.get("rope_theta").and_then(Value::as_f64) {
            text.rope_theta = theta;
        }
        let positions = part.get("max_position_embeddings").and_then(Value::as_f64).filter(|n| *n >= 1.0);
        text.rope_scaling = RopeScaling::read(rope, positions)?;
        (text.mrope, text.attention) = (rules.mrope, rules.attention);
        text.check().map(|()| text)
    }

    /// Every relation between numbers that the layers rely on.
    fn check(&self) -> Result<(), String> {
        within(
            &[
                ("hidden_size", self.hidden_size),
                ("intermediate_size", self.intermediate_size),
                ("num_attention_heads", self.num_attention_heads),
                ("num_key_value_heads", self.num_key_value_heads),
                ("head_dim", self.head_dim()),
                ("vocab_size", self.vocab_size),
            ],
            MAX_SIZE,
        )?;
        within(&[("num_hidden_layers", self.num_hidden_layers)], MAX_LAYERS)?;
        within(&self.mrope_section.map(|n| ("mrope_section", n.max(1))), MAX_SIZE)?;
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return Err(format!("rms_norm_eps is {}, expected a small positive number", self.rms_norm_eps));
        }
        let relations = [
            (
                self.num_attention_heads.is_multiple_of(self.num_key_value_heads),
                "num_attention_heads must be a multiple of num_key_value_heads",
            ),
            (
                2 * self.mrope_section.iter().sum::<usize>() == self.head_dim(),
                "mrope_section must add up to half of a head's width",
            ),
            (self.rope_theta > 0.0, "rope_theta is missing or not positive"),
        ];
        match relations.iter().find(|(holds, _)| !holds) {
            Some((_, rule)) => Err((*rule).to_owned()),
            None => Ok(()),
        }
    }
}

/// The language model's rotary settings.
pub(in crate::model) fn rope_settings(text: &Value) -> Result<&Map<String, Value>, String> {
    let of = |key: &str| text.get(key).and_then(Value::as_object);
    match (of("rope_scaling"), of("rope_parameters")) {
        (Some(old), Some(new)) if old != new => {
            Err("rope_scaling and rope_parameters differ: transformers 4 reads the one and transformers 5 the other".to_owned())
        }
        (old, new) => {
            new.or(old).ok_or_else(|| "rope_scaling (or rope_parameters) with mrope_section is missing".to_owned())
        }
    }
}

/// Those of the language model, as many key and value heads as others where the file does not say.
fn text_keys(text: &Value) -> Value {
    let mut text = set_keys(text);
    if let Some(keys) = text.as_object_mut()
        && let Some(heads) = keys.get("num_attention_heads").cloned()
    {
        keys.entry("num_key_value_heads").or_insert(heads);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sections of Qwen3-VL: height takes 1, 4, ..., 58, width 2, 5, ..., 59, time the rest.
    #[test]
    fn interleaved_frequencies_end_where_their_sections_do() {
        let axes = MropeLayout::Interleaved.axes([24, 20, 20], 64);
        let of = |axis: usize| (0..64).filter(|&j| axes[j] == axis).collect::<Vec<_>>();
        assert_eq!(of(1), (1..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(2), (2..60).step_by(3).collect::<Vec<_>>());
        assert_eq!(of(0).len(), 24);
        assert_eq!(axes[60..], [0; 4]);
        assert_eq!(MropeLayout::Blocks.axes([1, 2, 1], 4), [0, 1, 1, 2]);
    }
}
