//! Checkpoints that nothing was learned in yet, to train small models from nothing.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::memory::shortage;
use super::{ModelError, TextConfig, family};
use crate::device::available_memory;
use crate::hash::{FNV_OFFSET, fnv};
use crate::random::Random;

/// Writes random weights for the `config.json` in `model_dir` as `model.safetensors` beside it, in f32 and
/// under the names of Qwen2.5-VL. Returns the number of parameters.
///
/// Linear layers start normal with a deviation of `1 / sqrt(inputs)`, those that add to the residual stream
/// smaller by `sqrt(2 layers)` (Radford et al., "Language Models are Unsupervised Multitask Learners",
/// section 2.3); norms are ones, biases zeros. Every tensor is a function of `seed` and its name.
///
/// # Errors
/// Those of [`Config::load`](super::Config::load), [`ModelError::Memory`] and [`ModelError::Io`].
pub fn init_weights(model_dir: &Path, seed: u64) -> Result<usize, ModelError> {
    let family = family::open(model_dir)?;
    let mut sizes = RandomWeights { seed, tensors: None, values: 0 };
    family.random_weights(&mut sizes)?;
    let needed = sizes.values.saturating_mul(4);
    if let Some(available) = available_memory()
        && available < needed
    {
        let reason = shortage(needed, available, &[]);
        return Err(ModelError::Memory { path: model_dir.to_owned(), reason });
    }
    let mut weights = RandomWeights { seed, tensors: Some(HashMap::new()), values: 0 };
    family.random_weights(&mut weights)?;
    let path = model_dir.join("model.safetensors");
    candle_core::safetensors::save(&weights.tensors.unwrap_or_default(), &path)?;
    Ok(weights.values as usize)
}

/// Random tensors by name, or merely their number of values.
pub(crate) struct RandomWeights {
    seed: u64,
    /// `None` where values are only counted.
    tensors: Option<HashMap<String, Tensor>>,
    values: u64,
}

impl RandomWeights {
    /// Those of a language model.
    pub(super) fn language(&mut self, text: &TextConfig) -> Result<(), ModelError> {
        let (hidden, wide) = (text.hidden_size, text.intermediate_size);
        let queries = text.head_dim() * text.num_attention_heads;
        let keys = text.head_dim() * text.num_key_value_heads;
        let branch = (2.0 * text.num_hidden_layers as f64).sqrt();
        // A norm comes first, which makes the size of embeddings a matter of how fast they change.
        self.normal("model.embed_tokens.weight", &[text.vocab_size, hidden], hidden, 1.0)?;
        for layer in 0..text.num_hidden_layers {
            let name = |part: &str| format!("model.layers.{layer}.{part}");
            self.ones(&name("input_layernorm.weight"), hidden)?;
            self.ones(&name("post_attention_layernorm.weight"), hidden)?;
            self.linear(&name("self_attn.q_proj"), hidden, queries, 1.0, true)?;
            self.linear(&name("self_attn.k_proj"), hidden, keys, 1.0, true)?;
            self.linear(&name("self_attn.v_proj"), hidden, keys, 1.0, true)?;
            self.linear(&name("self_attn.o_proj"), queries, hidden, branch, false)?;
            self.linear(&name("mlp.gate_proj"), hidden, wide, 1.0, false)?;
            self.linear(&name("mlp.up_proj"), hidden, wide, 1.0, false)?;
            self.linear(&name("mlp.down_proj"), wide, hidden, branch, false)?;
        }
        self.ones("model.norm.weight", hidden)
    }

    /// A linear layer, smaller by `divisor`.
    pub(super) fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        divisor: f64,
        bias: bool,
    ) -> Result<(), ModelError> {
        self.normal(&format!("{name}.weight"), &[outputs, inputs], inputs, divisor)?;
        if bias {
            self.add(&format!("{name}.bias"), &[outputs], || {
                Ok(Tensor::zeros(outputs, DType::F32, &Device::Cpu)?)
            })?;
        }
        Ok(())
    }

    /// The scales of a norm.
    pub(super) fn ones(&mut self, name: &str, size: usize) -> Result<(), ModelError> {
        self.add(name, &[size], || Ok(Tensor::ones(size, DType::F32, &Device::Cpu)?))
    }

    /// Normal numbers by the transform of Box and Muller.
    pub(super) fn normal(
        &mut self,
        name: &str,
        shape: &[usize],
        inputs: usize,
        divisor: f64,
    ) -> Result<(), ModelError> {
        let mut random = Random::derived(self.seed, &[fnv(FNV_OFFSET, name.as_bytes())]);
        let deviation = 1.0 / (inputs as f64).sqrt() / divisor;
        self.add(name, shape, || {
            let count = shape.iter().product();
            let numbers: Vec<f32> = (0..count)
                .map(|_| {
                    let (radius, angle) = (1.0 - random.unit(), random.unit());
                    let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                    (deviation * normal) as f32
                })
                .collect();
            Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
        })
    }

    fn add(
        &mut self,
        name: &str,
        shape: &[usize],
        make: impl FnOnce() -> Result<Tensor, ModelError>,
    ) -> Result<(), ModelError> {
        let values = shape.iter().fold(1u64, |values, &side| values.saturating_mul(side as u64));
        self.values = self.values.saturating_add(values);
        if let Some(tensors) = &mut self.tensors {
            tensors.insert(name.to_owned(), make()?);
        }
        Ok(())
    }
}
