//! The language model's part of `config.json`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{RopeScaling, activation, set_keys};
use crate::model::kernels::Activation;

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
    /// What the gate of the feed-forward layers goes through.
    #[serde(default, deserialize_with = "activation")]
    pub hidden_act: Activation,
}

impl TextConfig {
    /// Width of one attention head.
    pub fn head_dim(&self) -> usize {
        self.head_dim.unwrap_or(self.hidden_size / self.num_attention_heads.max(1))
    }
    /// Reads the language model's part of `config.json`, whose rotary settings are `rope`.
    pub(in crate::model) fn read(part: &Value, rope: &Map<String, Value>) -> Result<Self, String> {
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
        Ok(text)
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
