//! Which tensors of a model are trained, taken down while it is loaded.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{DType, Result, Tensor, Var};

use super::adapter::{AdapterLayout, LoraConfig, ModuleNames, Part, module_name, saved_name, tensor_name};
use super::kernels::mix64;
use super::ops::{Lora, Magnitude};
use crate::hash::{FNV_OFFSET, fnv};

/// Parameters to train, by name.
pub type Parameters = BTreeMap<String, Var>;

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// A low-rank adapter on linear layers that the family has for it; the checkpoint's own weights stay as
    /// they are, but those of [`LoraConfig::modules_to_save`].
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
        let name = module_name(name);
        match &self.trainable {
            Trainable::Lora(config) => config.saves(name),
            Trainable::Full { vision } => *vision || !begins(name, self.names.vision),
        }
    }

    /// Whether anything is trained whose name begins with `prefix` in the checkpoint.
    pub(super) fn trains_in(&self, prefix: &str) -> bool {
        let is_in = |name: &String| module_name(name).starts_with(module_name(prefix));
        self.parameters.borrow().keys().any(is_in)
    }

    /// The checkpoint's tensor `name`, which starts as `tensor`, as a trained one.
    pub(super) fn own(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        match self.trainable {
            Trainable::Lora(_) => self.parameter(&saved_name(module_name(name), AdapterLayout::Flat), tensor),
            Trainable::Full { .. } => self.parameter(name, tensor),
        }
    }

    /// A trained tensor that starts as `tensor`.
    fn parameter(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let var = Var::from_tensor(tensor)?;
        let tensor = var.as_tensor().clone();
        self.parameters.borrow_mut().insert(name.to_owned(), var);
        Ok(tensor)
    }

    /// The adapter of the linear layer at `prefix` with these weights, (outputs, inputs), where it gets one: `A`
    /// uniform within `1 / sqrt(inputs)`, which is Kaiming's with `a = sqrt(5)`, and `B` zero, as PEFT starts.
    pub(super) fn lora(&self, prefix: &str, weight: &Tensor) -> Result<Option<Lora>> {
        let Trainable::Lora(config) = &self.trainable else { return Ok(None) };
        let module = module_name(prefix);
        if !config.adapts(module, &self.names) || self.trains(&format!("{prefix}.weight")) {
            return Ok(None);
        }
        let ((outputs, inputs), device) = (weight.dims2()?, weight.device());
        let salt = fnv(FNV_OFFSET, module.as_bytes());
        let r = config.r;
        let bound = 1.0 / (inputs as f32).sqrt();
        let start = mix64(config.seed ^ salt);
        let a: Vec<f32> = (0..(r * inputs) as u64).map(|i| bound * uniform(start.wrapping_add(i))).collect();
        let a = Tensor::from_vec(a, (r, inputs), device)?;
        let b = Tensor::zeros((outputs, r), DType::F32, device)?;
        let part =
            |part, tensor: &Tensor| self.parameter(&tensor_name(module, part, AdapterLayout::Flat), tensor);
        let magnitude = config.use_dora.then(|| {
            let lengths = part(Part::Magnitude, &Magnitude::of(weight)?)?;
            Magnitude::new(lengths, weight)
        });
        let lora = Lora::new(part(Part::A, &a)?, part(Part::B, &b)?, config.settings(None).scale(), salt);
        Ok(Some(lora.with_magnitude(magnitude.transpose()?)))
    }
}

/// Whether a name begins as one of `starts`.
pub(super) fn begins(name: &str, starts: &[&str]) -> bool {
    starts.iter().any(|start| name.starts_with(start))
}

/// A number in [-1, 1) for each `index`.
fn uniform(index: u64) -> f32 {
    // 24 bits, which an f32 holds exactly.
    (mix64(index) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn every_layer_drops_by_a_mask_of_its_own() {
        let target_modules = vec!["q_proj".into(), "k_proj".into(), "up_proj".into()];
        let config = LoraConfig { r: 1, target_modules, ..LoraConfig::default() };
        let recorder = Recorder::new(Trainable::Lora(config), ModuleNames::default());
        let modules = ["self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj"];
        let names = (0..4).flat_map(|layer| modules.map(|module| format!("model.layers.{layer}.{module}")));
        let weight = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
        let salt = |name: String| recorder.lora(&name, &weight).unwrap().unwrap().salt();
        let salts: std::collections::BTreeSet<u64> = names.map(salt).collect();
        assert_eq!(salts.len(), 12);
    }

    #[test]
    fn starts_are_uniform_seeded_and_differ_between_layers() {
        let start = |seed, prefix: &str| -> Vec<f32> {
            let target_modules = vec!["q_proj".into()];
            let config = LoraConfig { r: 8, target_modules, seed, ..LoraConfig::default() };
            let recorder = Recorder::new(Trainable::Lora(config), ModuleNames::default());
            let weight = Tensor::zeros((100, 400), DType::F32, &Device::Cpu).unwrap();
            assert!(recorder.lora("model.layers.0.self_attn.o_proj", &weight).unwrap().is_none());
            assert!(recorder.lora("visual.q_proj", &weight).unwrap().is_none());
            recorder.lora(prefix, &weight).unwrap().unwrap();
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
