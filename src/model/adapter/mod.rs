//! Low-rank adapters as PEFT stores them (`adapter_config.json` and `adapter_model.safetensors`), and their
//! way into a model's weights.
//!
//! Names differ between libraries: the language layers are `model.layers` up to transformers 4.51 and
//! `model.language_model.layers` since, and tensors may carry the adapter's name (`lora_A.default.weight`).
//! Here a module has one name: `layers.0.self_attn.q_proj`, or `visual.blocks.0.attn.qkv` in the vision
//! tower.

mod config;
mod folding;
mod id;
mod patterns;
mod peft;
mod saved;
mod settings;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

pub use config::LoraConfig;
pub(super) use folding::Folding;
pub(super) use saved::saved_name;
use saved::{ends_with, module_within};
pub use settings::LoraSettings;

use super::ModelError;
use super::ops::Magnitude;
use super::trainable::begins;
use crate::recipe::NamedRecipe;

/// A trained low-rank adapter.
#[derive(Debug, Clone)]
pub struct LoraAdapter {
    /// Where it was read from, for messages.
    directory: PathBuf,
    settings: LoraSettings,
    /// How the model that it is folded into is used.
    recipe: Option<NamedRecipe>,
    modules: BTreeMap<String, LoraModule>,
    /// Tensors that take the places of the checkpoint's, by the name of their module here and their own, in f32
    /// on the CPU.
    saved: BTreeMap<String, Tensor>,
}

/// One module's change, `scale * B A`, in f32 on the CPU.
#[derive(Debug, Clone)]
struct LoraModule {
    /// (r, in).
    a: Tensor,
    /// (out, r).
    b: Tensor,
    /// What `scale` is made of, with the rank.
    alpha: f64,
    /// Lengths of the rows of the changed weights, (out), where they have their own (DoRA).
    magnitude: Option<Tensor>,
}

/// How the tensors of an adapter file are called: as the modules of `Qwen2_5_VLForConditionalGeneration` in
/// the transformers release that will read it. PEFT binds no others, and says so in a warning alone. gve
/// reads both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdapterLayout {
    /// `base_model.model.model.language_model.layers.*`, since transformers 4.52.
    #[default]
    Nested,
    /// `base_model.model.model.layers.*`, up to transformers 4.51.
    Flat,
}

impl LoraAdapter {
    /// Reads the adapter in `directory`.
    ///
    /// # Errors
    /// [`ModelError::Io`] for a missing file, [`ModelError::Adapter`] for one that is no LoRA adapter, is
    /// of a kind that is not supported (trained biases, embeddings or single tokens), or does not hold both
    /// factors of every module.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        peft::read(directory)
    }

    /// Writes the adapter into `directory`, which is made if need be. Each file appears under its name when
    /// it is complete. `target_modules` in `adapter_config.json` is a pattern of exactly the adapted modules:
    /// bare names such as `up_proj` are also those of the vision tower. Its [recipe](Self::recipe) lies beside.
    ///
    /// # Errors
    /// [`ModelError::Io`] naming the file.
    pub fn write(&self, directory: &Path, layout: AdapterLayout) -> Result<(), ModelError> {
        peft::write(self, directory, layout)
    }

    /// An adapter of `tensors` by their names, in any layout.
    ///
    /// # Errors
    /// [`ModelError::Adapter`] when a name is no adapter's or a module lacks a factor.
    pub fn from_tensors(
        settings: LoraSettings,
        tensors: impl IntoIterator<Item = (String, Tensor)>,
    ) -> Result<Self, ModelError> {
        peft::collect(Path::new("adapter"), settings, tensors)
    }

    /// Where it was read from; `None` for one that was made of tensors.
    pub(crate) fn directory(&self) -> Option<&Path> {
        Some(self.directory.as_path()).filter(|directory| directory.is_dir())
    }

    /// Rank, scale and what else was set.
    pub fn settings(&self) -> &LoraSettings {
        &self.settings
    }

    /// How the model that it is folded into is used, where that lies beside it.
    pub fn recipe(&self) -> Option<&NamedRecipe> {
        self.recipe.as_ref()
    }

    /// The same, with how the model that it is folded into is used.
    #[must_use]
    pub fn with_recipe(self, recipe: NamedRecipe) -> Self {
        Self { recipe: Some(recipe), ..self }
    }

    /// Names of the adapted modules, sorted.
    pub fn module_names(&self) -> impl Iterator<Item = &str> {
        self.modules.keys().map(String::as_str)
    }

    /// Names of the modules that take the places of the checkpoint's, sorted.
    pub(crate) fn saved_modules(&self) -> BTreeSet<&str> {
        let targets = &self.settings.modules_to_save;
        self.saved_names()
            .map(|tensor| {
                let named = targets.iter().find_map(|target| module_within(tensor, module_name(target)));
                // PEFT takes what ends so without a dot, too.
                named.unwrap_or_else(|| tensor.rsplit_once('.').map_or(tensor, |(module, _)| module))
            })
            .collect()
    }

    /// Names of the tensors that take the places of the checkpoint's, each behind that of its module, sorted.
    pub fn saved_names(&self) -> impl Iterator<Item = &str> {
        self.saved.keys().map(String::as_str)
    }

    /// All tensors by their names in an adapter file, in f32 on the CPU.
    pub fn tensors(&self, layout: AdapterLayout) -> BTreeMap<String, Tensor> {
        let named = |(module, parts): (&String, &LoraModule)| {
            let factors = [(Part::A, &parts.a), (Part::B, &parts.b)].into_iter();
            let all = factors.chain(parts.magnitude.iter().map(|lengths| (Part::Magnitude, lengths)));
            let named = all.map(|(part, tensor)| (tensor_name(module, part, layout), tensor.clone()));
            named.collect::<Vec<_>>()
        };
        let saved = self.saved.iter().map(|(name, tensor)| (saved_name(name, layout), tensor.clone()));
        self.modules.iter().flat_map(named).chain(saved).collect()
    }

    /// The rows of a language head that the adapter replaces, of the tokens `ids`.
    pub(crate) fn head_rows(&self, ids: &[u32]) -> Result<Option<Tensor>, ModelError> {
        let Some(head) = self.saved.get(HEAD) else { return Ok(None) };
        Ok(Some(head.index_select(&Tensor::new(ids, head.device())?, 0)?))
    }

    /// `weight`, (out, in) in f32, as the module changes it.
    fn changed(&self, module: &LoraModule, weight: &Tensor) -> Result<Tensor, ModelError> {
        let scale = self.settings.scale_of(module.alpha, module.a.dim(0)?);
        let delta = (module.b.matmul(&module.a)? * scale)?.to_device(weight.device())?;
        let sum = (weight + delta)?;
        let Some(lengths) = &module.magnitude else { return Ok(sum) };
        let factors = (lengths.to_device(weight.device())? / Magnitude::of(&sum)?)?;
        Ok(sum.broadcast_mul(&factors.unsqueeze(1)?)?)
    }
}

/// Which modules of a family are what, by the beginnings of their names here.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ModuleNames {
    /// The vision tower's, which are trained only where that is asked for.
    pub(crate) vision: &'static [&'static str],
    /// Those that a fresh adapter may be put on.
    pub(crate) adapted: &'static [&'static str],
    /// The linear layers among them, by the last parts of their names.
    pub(crate) projections: &'static [&'static str],
    /// Linear layers that never get one, as PEFT's would be without effect.
    pub(crate) left_out: &'static [&'static str],
}

impl ModuleNames {
    /// Whether the tensor called `name` is of the vision tower.
    pub(crate) fn is_vision(&self, name: &str) -> bool {
        begins(module_name(name), self.vision)
    }
}

/// Those of the line of Qwen-VL.
impl Default for ModuleNames {
    fn default() -> Self {
        let projections = &["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        Self { vision: &["visual."], adapted: &["layers."], projections, left_out: &[] }
    }
}

/// The one name of a module, whatever layout its own comes from.
pub(crate) fn module_name(name: &str) -> &str {
    let mut rest = name.strip_prefix("base_model.model.").unwrap_or(name);
    let wrappers = ["model.", "language_model.", "clip.", "siglip."];
    while let Some(shorter) = wrappers.iter().find_map(|wrapper| rest.strip_prefix(wrapper)) {
        rest = shorter;
    }
    rest
}

/// Beginnings of names that are the same in every release: those of models of two towers, and the head.
const SETTLED: [&str; 5] =
    ["text_model.", "vision_model.", "text_projection", "visual_projection", "lm_head"];

/// What the tensors of an adapted module are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    A,
    B,
    Magnitude,
}

/// Name of a tensor of an adapted module in an adapter file, in the layout `layout`.
pub(super) fn tensor_name(module: &str, part: Part, layout: AdapterLayout) -> String {
    let part = match part {
        Part::A => "lora_A.weight",
        Part::B => "lora_B.weight",
        // PEFT writes it without `.weight`, and reads it either way; transformers 5 binds it so alone.
        Part::Magnitude => "lora_magnitude_vector.weight",
    };
    format!("base_model.model.{}{module}.{part}", parent(module, layout))
}

/// The language head, which no embedding is made by.
const HEAD: &str = "lm_head.weight";

/// What stands before a module's name in the layout `layout`.
fn parent(module: &str, layout: AdapterLayout) -> &'static str {
    match (module.starts_with("visual."), layout) {
        _ if SETTLED.iter().any(|start| module.starts_with(start)) => "",
        (true, AdapterLayout::Flat) => "",
        (false, AdapterLayout::Nested) => "model.language_model.",
        _ => "model.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_layout_has_one_name() {
        for (name, module) in [
            ("base_model.model.model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            ("base_model.model.model.language_model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            ("model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            // Trained on `AutoModel`, of both lines.
            ("base_model.model.language_model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            ("base_model.model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            ("model.language_model.layers.3.mlp.up_proj", "layers.3.mlp.up_proj"),
            ("base_model.model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"),
            ("model.visual.blocks.0.attn.qkv", "visual.blocks.0.attn.qkv"),
            ("base_model.model.text_model.encoder.layers.0.mlp.fc1", "text_model.encoder.layers.0.mlp.fc1"),
            // Of a model around the towers.
            (
                "base_model.model.clip.text_model.encoder.layers.0.mlp.fc1",
                "text_model.encoder.layers.0.mlp.fc1",
            ),
            ("siglip.vision_model.encoder.layers.0.mlp.fc1", "vision_model.encoder.layers.0.mlp.fc1"),
        ] {
            assert_eq!(module_name(name), module);
        }
        for module in
            ["layers.3.mlp.up_proj", "visual.blocks.0.attn.qkv", "vision_model.encoder.layers.0.mlp.fc1"]
        {
            for layout in [AdapterLayout::Flat, AdapterLayout::Nested] {
                let name = tensor_name(module, Part::A, layout);
                assert_eq!(module_name(name.strip_suffix(".lora_A.weight").unwrap()), module);
            }
        }
    }
}
