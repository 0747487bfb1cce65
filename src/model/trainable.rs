//! Which tensors of a model are trained, taken down while it is loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::adapter::{AdapterLayout, LoraConfig, ModuleNames, module_name, tensor_name};
use super::kernels::mix64;
use super::ops::Lora;
use crate::hash::{FNV_OFFSET, fnv};

/// Parameters to train, by name.
pub type Parameters = BTreeMap<String, Var>;

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// A low-rank adapter on linear layers that the family has for it; the checkpoint's own weights stay as
    /// they are.
    Lora(LoraConfig),
    /// The weights of the language model, token embeddings included.
    Full {
        /// Train the vision tower as well.
        vision: bool,
    },
}

/// Makes tensors trainable as the layers load them.
pub(super) struct Recorder {
    trainable: Trainable,
    names: ModuleNames,
    parameters: RefCell<Parameters>,
}

impl Recorder {
    pub(super) fn new(trainable: Trainable, names: ModuleNames) -> Self {
        Self { trainable, names, parameters: RefCell::default() }
    }

    /// What is trained, in f32, by the name that PEFT or the checkpoint gives it.
    pub(super) fn into_parameters(self) -> Parameters {
        self.parameters.into_inner()
    }

    /// Whether the checkpoint's tensor `name` itself is trained.
    pub(super) fn trains(&self, name: &str) -> bool {
        match self.trainable {
            Trainable::Lora(_) => false,
            Trainable::Full { vision } => vision || !begins(module_name(name), self.names.vision),
        }
    }

    /// A trained tensor that starts as `tensor`.
    pub(super) fn parameter(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let var = Var::from_tensor(tensor)?;
        let tensor = var.as_tensor().clone();
        self.parameters.borrow_mut().insert(name.to_owned(), var);
        Ok(tensor)
    }

    /// The adapter of the linear layer at `prefix`, where it gets one: `A` uniform within `1 / sqrt(inputs)`,
    /// which is Kaiming's with `a = sqrt(5)`, and `B` zero, as PEFT starts.
    pub(super) fn lora(
        &self,
        prefix: &str,
        inputs: usize,
        outputs: usize,
        device: &Device,
    ) -> Result<Option<Lora>> {
        let Trainable::Lora(config) = &self.trainable else { return Ok(None) };
        let module = module_name(prefix);
        let last = module.rsplit('.').next().unwrap_or(module);
        if !begins(module, self.names.adapted) || !config.target_modules.iter().any(|target| target == last) {
            return Ok(None);
        }
        let salt = fnv(FNV_OFFSET, module.as_bytes());
        let r = config.r;
        let bound = 1.0 / (inputs as f32).sqrt();
        let start = mix64(config.seed ^ salt);
        let a: Vec<f32> = (0..(r * inputs) as u64).map(|i| bound * uniform(start.wrapping_add(i))).collect();
        let a = Tensor::from_vec(a, (r, inputs), device)?;
        let b = Tensor::zeros((outputs, r), DType::F32, device)?;
        let name = |factor| tensor_name(module, factor, AdapterLayout::Flat);
        let (a, b) = (self.parameter(&name('A'), &a)?, self.parameter(&name('B'), &b)?);
        Ok(Some(Lora::new(a, b, config.settings(None).scale(), salt)))
    }
}

/// Whether a name begins as one of `starts`.
fn begins(name: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| name.starts_with(start))
}

/// A number in [-1, 1) for each `index`.
fn uniform(index: u64) -> f32 {
    // 24 bits, which an f32 holds exactly.
    (mix64(index) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layer_drops_by_a_mask_of_its_own() {
        let target_modules = vec!["q_proj".into(), "k_proj".into(), "up_proj".into()];
        let config = LoraConfig { r: 1, target_modules, ..LoraConfig::default() };
        let recorder = Recorder::new(Trainable::Lora(config), ModuleNames::default());
        let modules = ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"];
        let names = (0..4).flat_map(|layer| modules.map(|module| format!("model.layers.{layer}.{module}")));
        let salt = |name: String| recorder.lora(&name, 2, 2, &Device::Cpu).unwrap().unwrap().salt();
        let salts: std::collections::BTreeSet<u64> = names.map(salt).collect();
        assert_eq!(salts.len(), 12);
    }

    #[test]
    fn starts_are_uniform_seeded_and_differ_between_layers() {
        let start = |seed, prefix: &str| -> Vec<f32> {
            let target_modules = vec!["q_proj".into()];
            let config = LoraConfig { r: 8, target_modules, seed, ..LoraConfig::default() };
            let recorder = Recorder::new(Trainable::Lora(config), ModuleNames::default());
            assert!(recorder.lora("model.layers.0.self_attn.o_proj", 4, 4, &Device::Cpu).unwrap().is_none());
            assert!(recorder.lora("visual.q_proj", 4, 4, &Device::Cpu).unwrap().is_none());
            recorder.lora(prefix, 400, 100, &Device::Cpu).unwrap().unwrap();
            let [a, b]: [Var; 2] =
                recorder.into_parameters().into_values().collect::<Vec<_>>().try_into().unwrap();
            let b: Vec<f32> = b.flatten_all().unwrap().to_vec1().unwrap();
            assert!(b.iter().all(|&v| v == 0.0));
            a.flatten_all().unwrap().to_vec1().unwrap()
        };
        let first = start(1, "model.layers.0.self_attn.q_proj");
        assert_eq!(first, start(1, "model.language_model.layers.0.self_attn.q_proj"));
        assert_ne!(first, start(2, "model.layers.0.self_attn.q_proj"));
        assert_ne!(first, start(1, "model.layers.1.self_attn.q_proj"));
        let variance = first.iter().map(|v| v * v).sum::<f32>() / first.len() as f32;
        // 1 / 20 squared, over 3.
        assert!((variance * 1200.0 - 1.0).abs() < 0.05, "{variance}");
        assert!(first.iter().all(|v| v.abs() <= 0.05));
    }
}
