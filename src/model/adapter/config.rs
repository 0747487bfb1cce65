use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::{AdapterLayout, LoraSettings, ModuleNames, ends_with, module_within};
use crate::card::BaseModel;
use crate::model::trainable::begins;
use crate::options::with_fields;

/// Most rank of an adapter: more than a layer of any model is wide.
const MAX_RANK: usize = 1 << 16;

/// What `target_modules` says for all linear layers.
const ALL_LINEAR: &str = "all-linear";

/// A low-rank adapter that is to be trained (Hu et al. 2021), as the section `[lora]` of a run's file has it,
/// under its own names or PEFT's. The default is the recipe of the paper (arXiv 2510.27571): r 16, alpha 32,
/// dropout 0.1 on all projections but the attention's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank: width of the two factors.
    #[serde(alias = "lora_r")]
    pub r: usize,
    /// The adapter's share is scaled by `alpha / r`.
    #[serde(alias = "lora_alpha")]
    pub alpha: f64,
    /// Chance that a value of the adapter's input is dropped in training, in the language layers and the
    /// encoders of two towers.
    #[serde(alias = "lora_dropout")]
    pub dropout: f64,
    /// Linear layers that get one, by the last parts of their names: of the language model, or of both towers; or
    /// by their whole names, wherever they are. `all-linear`, alone: all linear layers of the model, those of the
    /// vision tower and of the way out of it included, as PEFT means it. In a family that has not all of the
    /// default ones, the default is all of its own.
    #[serde(deserialize_with = "one_or_many")]
    pub target_modules: Vec<String>,
    /// Whether `target_modules` are looked for in the vision tower of a language model, too.
    pub vision: bool,
    /// Whether the share is scaled by `alpha / sqrt(r)` instead (rsLoRA, Kalajdzievski 2023).
    #[serde(alias = "rslora")]
    pub use_rslora: bool,
    /// Whether lengths and directions of the rows of the weights are trained apart (DoRA, Liu et al. 2024).
    #[serde(alias = "dora")]
    pub use_dora: bool,
    /// Modules that are trained themselves and become part of the adapter, by the last parts of their names:
    /// `embed_tokens`, `norm`, `merger`.
    pub modules_to_save: Vec<String>,
    /// Adapter directory to start from, instead of a random one. Its kind, r, alpha and modules hold.
    pub init: Option<PathBuf>,
    /// Whose names the tensors have in files. Says nothing about their values.
    pub layout: AdapterLayout,
    /// Where the random start of the adapter comes from. In a run it is the seed of the run.
    #[serde(skip, default = "default_seed")]
    pub seed: u64,
}

with_fields!(LoraConfig {
    with_r(r: usize),
    with_alpha(alpha: f64),
    with_dropout(dropout: f64),
    with_target_modules(target_modules: Vec<String>),
    with_vision(vision: bool),
    with_use_rslora(use_rslora: bool),
    with_use_dora(use_dora: bool),
    with_modules_to_save(modules_to_save: Vec<String>),
    with_init(init: Option<PathBuf>),
    with_layout(layout: AdapterLayout),
    with_seed(seed: u64),
});

fn default_seed() -> u64 {
    LoraConfig::default().seed
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ModuleNames::default().projections.iter().filter(|name| **name != "o_proj");
        Self {
            r: 16,
            alpha: 32.0,
            dropout: 0.1,
            target_modules: targets.map(|name| (*name).to_owned()).collect(),
            vision: false,
            use_rslora: false,
            use_dora: false,
            modules_to_save: Vec::new(),
            init: None,
            layout: AdapterLayout::default(),
            seed: 42,
        }
    }
}

impl LoraConfig {
    /// The first setting that makes no sense, whatever the model is: its name, and why.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        #[rustfmt::skip]
        let faults = [
            ("r", self.r == 0, "must be at least 1".to_owned()),
            ("r", self.r > MAX_RANK, format!("must be at most {MAX_RANK}")),
            ("alpha", !(self.alpha.is_finite() && self.alpha > 0.0), "must be a positive number".to_owned()),
            ("dropout", !(0.0..1.0).contains(&self.dropout), "must be at least 0 and less than 1".to_owned()),
            ("target_modules", self.target_modules.is_empty(), "names no module".to_owned()),
            ("target_modules", self.is_all_linear() && self.target_modules.len() > 1, "has names beside all-linear, which are among those".to_owned()),
            ("vision", self.vision && self.is_all_linear(), "has no effect with `target_modules = \"all-linear\"`, which is both towers: remove it".to_owned()),
            ("target_modules", self.target_modules.iter().any(String::is_empty), "has an empty name".to_owned()),
            ("modules_to_save", self.modules_to_save.iter().any(String::is_empty), "has an empty name".to_owned()),
        ];
        faults.into_iter().find(|(_, is_wrong, _)| *is_wrong).map(|(name, _, reason)| (name, reason))
    }

    fn is_all_linear(&self) -> bool {
        self.target_modules.iter().any(|target| target == ALL_LINEAR)
    }

    /// The first of `target_modules` that is none of the `adapted` modules.
    pub(crate) fn missed_target(&self, adapted: &[&str]) -> Option<&str> {
        let is_there = |target: &str| adapted.iter().any(|module| ends_with(module, target));
        self.target_modules
            .iter()
            .map(String::as_str)
            .find(|target| *target != ALL_LINEAR && !is_there(target))
    }

    /// The first of `modules_to_save` that none of the trained `tensors` is of.
    pub(crate) fn missed_module(&self, tensors: &[&str]) -> Option<&str> {
        let is_there = |target: &str| tensors.iter().any(|name| module_within(name, target).is_some());
        self.modules_to_save.iter().map(String::as_str).find(|target| !is_there(target))
    }

    /// Whether the tensor `name` of a checkpoint is trained itself.
    pub(in crate::model) fn saves(&self, name: &str) -> bool {
        self.modules_to_save.iter().any(|target| module_within(name, target).is_some())
    }

    /// Whether the linear layer `module` of a model with these names gets one.
    pub(in crate::model) fn adapts(&self, module: &str, names: &ModuleNames) -> bool {
        if self.is_all_linear() {
            return !begins(module, names.left_out);
        }
        let is_there = begins(module, names.adapted) || self.vision && begins(module, names.vision);
        self.target_modules.iter().any(|target| target == module || is_there && ends_with(module, target))
    }

    /// The same for models whose linear layers are `projections`.
    pub(crate) fn of_family(self, projections: &[&str]) -> Self {
        let is_default = self.target_modules == Self::default().target_modules;
        let has_all = self.target_modules.iter().all(|name| projections.contains(&name.as_str()));
        let own = || projections.iter().map(|name| (*name).to_owned()).collect();
        Self { target_modules: if is_default && !has_all { own() } else { self.target_modules }, ..self }
    }

    /// What its files say. `base_model` names the model for those who read them.
    pub(crate) fn settings(&self, base_model: Option<&BaseModel>) -> LoraSettings {
        LoraSettings {
            r: self.r,
            alpha: self.alpha,
            dropout: self.dropout,
            target_modules: self.target_modules.clone(),
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
            modules_to_save: self.modules_to_save.clone(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            base_model: base_model.map(BaseModel::name_or_path),
            revision: base_model.and_then(BaseModel::revision).map(str::to_owned),
        }
    }
}

/// Names, or the one that stands for all.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a list of names, or \"all-linear\"")]
    enum Names {
        Many(Vec<String>),
        One(String),
    }
    match Names::deserialize(deserializer)? {
        Names::Many(names) => Ok(names),
        Names::One(name) if name == ALL_LINEAR => Ok(vec![name]),
        Names::One(name) => Err(serde::de::Error::custom(format!(
            "{name:?} stands alone, expected a list of names, or \"{ALL_LINEAR}\""
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_fine_and_nonsense_is_named() {
        let recipe = LoraConfig::default();
        assert_eq!((recipe.fault(), recipe.target_modules.len()), (None, 6));
        for (config, named) in [
            (LoraConfig { r: 0, ..recipe.clone() }, "r"),
            (LoraConfig { r: MAX_RANK + 1, ..recipe.clone() }, "r"),
            (LoraConfig { alpha: f64::NAN, ..recipe.clone() }, "alpha"),
            (LoraConfig { dropout: 1.0, ..recipe.clone() }, "dropout"),
            (LoraConfig { target_modules: vec![], ..recipe.clone() }, "target_modules"),
        ] {
            assert_eq!(config.fault().map(|(name, _)| name), Some(named));
        }
    }
}
