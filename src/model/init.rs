//! Checkpoints that nothing was learned in yet, to train small models from nothing.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::memory::shortage;
use super::{Config, ModelError};
use crate::Random;
use crate::device::available_memory;
use crate::hash::{FNV_OFFSET, fnv};

/// Writes random weights for the `config.json` in `model_dir` as `model.safetensors` beside it, in f32 and under the names of Qwen2.5-VL. Returns
/// the number of parameters.
///
/// Linear layers start normal with a deviation of `1 / sqrt(inputs)`, those that add to the residual stream smaller by
/// `sqrt(2 layers)` (Radford et al., "Language Models are Unsupervised Multitask Learners", section 2.3); norms are ones, biases zeros. Every
/// tensor is a function of `seed` and its name.
///
/// # Errors
/// Those of [`Config::load`], [`ModelError::Memory`] and [`ModelError::Write`].
pub fn init_weights(model_dir: &Path, seed: u64) -> Result<usize, ModelError> {
    let config = Config::load(model_dir)?;
    if let Some(available) = available_memory()
        && available < bytes(&config)
    {
        let reason = shortage(bytes(&config), available, &[]);
        return Err(ModelError::Memory { path: model_dir.to_owned(), reason });
    }
    let mut weights = Weights { seed, tensors: BTreeMap::new() };
    weights.vision(&config)?;
    weights.language(&config)?;
    let path = model_dir.join("model.safetensors");
    candle_core::safetensors::save(
        &weights.tensors.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
        &path,
    )?;
    Ok(weights.tensors.values().map(Tensor::elem_count).sum())
}

/// Bytes of a model's matrices in f32; the rest is small.
fn bytes(config: &Config) -> u64 {
    let (text, vision) = (&config.text, &config.vision);
    let product =
        |factors: &[usize]| factors.iter().fold(1u64, |product, &n| product.saturating_mul(n as u64));
    let heads = text.head_dim() * (text.num_attention_heads + text.num_key_value_heads);
    let merged = vision.hidden_size * vision.merge_unit();
    let values = [
        product(&[text.vocab_size, text.hidden_size]),
        product(&[text.num_hidden_layers, text.hidden_size, 2 * heads + 3 * text.intermediate_size]),
        product(&[vision.patch_len(), vision.hidden_size]),
        product(&[vision.depth, vision.hidden_size, 4 * vision.hidden_size + 3 * vision.intermediate_size]),
        product(&[merged, merged + text.hidden_size]),
    ];
    values.into_iter().fold(0u64, u64::saturating_add).saturating_mul(4)
}

struct Weights {
    seed: u64,
    tensors: BTreeMap<String, Tensor>,
}

impl Weights {
    fn vision(&mut self, config: &Config) -> Result<(), ModelError> {
        let vision = &config.vision;
        let (hidden, wide) = (vision.hidden_size, vision.intermediate_size);
        let branch = (2.0 * vision.depth as f64).sqrt();
        let patch = [vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size];
        let inputs = patch.iter().product();
        self.normal("visual.patch_embed.proj.weight", &[&[hidden], &patch[..]].concat(), inputs, 1.0)?;
        for block in 0..vision.depth {
            let name = |part: &str| format!("visual.blocks.{block}.{part}");
            self.ones(&name("norm1.weight"), hidden)?;
            self.ones(&name("norm2.weight"), hidden)?;
            self.linear(&name("attn.qkv"), hidden, 3 * hidden, 1.0, true)?;
            self.linear(&name("attn.proj"), hidden, hidden, branch, true)?;
            self.linear(&name("mlp.gate_proj"), hidden, wide, 1.0, true)?;
            self.linear(&name("mlp.up_proj"), hidden, wide, 1.0, true)?;
            self.linear(&name("mlp.down_proj"), wide, hidden, branch, true)?;
        }
        let merged = hidden * vision.spatial_merge_size.pow(2);
        self.ones("visual.merger.ln_q.weight", hidden)?;
        self.linear("visual.merger.mlp.0", merged, merged, 1.0, true)?;
        self.linear("visual.merger.mlp.2", merged, config.text.hidden_size, 1.0, true)
    }

    fn language(&mut self, config: &Config) -> Result<(), ModelError> {
        let text = &config.text;
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

    fn linear(
        &mut self,
        name: &str,
        inputs: usize,
        outputs: usize,
        divisor: f64,
        bias: bool,
    ) -> Result<(), ModelError> {
        self.normal(&format!("{name}.weight"), &[outputs, inputs], inputs, divisor)?;
        if bias {
            let zeros = Tensor::zeros(outputs, candle_core::DType::F32, &Device::Cpu)?;
            self.tensors.insert(format!("{name}.bias"), zeros);
        }
        Ok(())
    }

    fn ones(&mut self, name: &str, size: usize) -> Result<(), ModelError> {
        self.tensors.insert(name.to_owned(), Tensor::ones(size, candle_core::DType::F32, &Device::Cpu)?);
        Ok(())
    }

    /// Normal numbers by the transform of Box and Muller.
    fn normal(&mut self, name: &str, shape: &[usize], inputs: usize, divisor: f64) -> Result<(), ModelError> {
        let mut random = Random::derived(self.seed, &[fnv(FNV_OFFSET, name.as_bytes())]);
        let deviation = 1.0 / (inputs as f64).sqrt() / divisor;
        let count = shape.iter().product();
        let numbers: Vec<f32> = (0..count)
            .map(|_| {
                let (radius, angle) = (1.0 - random.unit(), random.unit());
                let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
                (deviation * normal) as f32
            })
            .collect();
        self.tensors.insert(name.to_owned(), Tensor::from_vec(numbers, shape, &Device::Cpu)?);
        Ok(())
    }
}
