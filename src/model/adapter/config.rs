use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{AdapterLayout, LoraSettings, ModuleNames};
use crate::options::with_fields;

/// Most rank of an adapter: more than a layer of any model is wide.
const MAX_RANK: usize = 1 << 16;

/// A low-rank adapter that is to be trained (Hu et al. 2021), as the section `[lora]` of a run's file has it.
/// The default is the recipe of the paper (arXiv 2510.27571): r 16, alpha 32, dropout 0.1 on all projections
/// but the attention's output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct LoraConfig {
    /// Rank: width of the two factors.
    pub r: usize,
    /// The adapter's share is scaled by `alpha / r`.
    pub alpha: f64,
    /// Chance that a value of the adapter's input is dropped in training.
    pub dropout: f64,
    /// Linear layers that get one, by the last part of their name: of the language model, or of both towers.
    /// In a family that has not all of the default ones, the default is all of its own.
    pub target_modules: Vec<String>,
    /// Adapter directory to start from, instead of a random one. Its r, alpha and modules hold.
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
            init: None,
            layout: AdapterLayout::default(),
            seed: 42,
        }
    }
}

impl LoraConfig {
    /// The first setting that makes no sense, whatever the model is: its name, and why.
    pub(crate) fn fault(&self) -> Option<(&'static str, String)> {
        let faults = [
            ("r", self.r == 0, "must be at least 1".to_owned()),
            ("r", self.r > MAX_RANK, format!("must be at most {MAX_RANK}")),
            ("alpha", !(self.alpha.is_finite() && self.alpha > 0.0), "must be a positive number".to_owned()),
            ("dropout", !(0.0..1.0).contains(&self.dropout), "must be at least 0 and less than 1".to_owned()),
            ("target_modules", self.target_modules.is_empty(), "names no module".to_owned()),
        ];
        faults.into_iter().find(|(_, is_wrong, _)| *is_wrong).map(|(name, _, reason)| (name, reason))
    }

    /// The same for models whose linear layers are `projections`.
    pub(crate) fn of_family(self, projections: &[&str]) -> Self {
        let is_default = self.target_modules == Self::default().target_modules;
        let has_all = self.target_modules.iter().all(|name| projections.contains(&name.as_str()));
        let own = || projections.iter().map(|name| (*name).to_owned()).collect();
        Self { target_modules: if is_default && !has_all { own() } else { self.target_modules }, ..self }
    }

    /// What its files say. `base_model` names the model for those who read them.
    pub(crate) fn settings(&self, base_model: Option<&str>) -> LoraSettings {
        LoraSettings {
            r: self.r,
            alpha: self.alpha,
            dropout: self.dropout,
            target_modules: self.target_modules.clone(),
            use_rslora: false,
            base_model: base_model.map(str::to_owned),
        }
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
