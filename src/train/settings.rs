use super::TrainError;
use crate::model::{AdapterLayout, ModuleNames};

/// What of a model is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trainable {
    /// A low-rank adapter; the checkpoint's own weights stay as they are.
    Lora(LoraConfig),
    /// The weights of the language model, token embeddings included.
    Full {
        /// Train the vision tower as well.
        vision: bool,
    },
}

/// A low-rank adapter (Hu et al. 2021). The default is the recipe of the paper (arXiv 2510.27571): r 16, alpha 32, dropout 0.1 on all
/// projections but the attention's output.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraConfig {
    /// Rank.
    pub r: usize,
    /// The adapter's share is scaled by `alpha / r`.
    pub alpha: f64,
    /// Chance that a value of the adapter's input is dropped in training.
    pub dropout: f64,
    /// Linear layers of the language model that get one, by the last part of their name.
    pub target_modules: Vec<String>,
    /// Where the random start of the adapter comes from.
    pub seed: u64,
    /// Whose names the tensors have in files.
    pub layout: AdapterLayout,
}

impl Default for LoraConfig {
    fn default() -> Self {
        let targets = ModuleNames::default().projections.iter().filter(|name| **name != "o_proj");
        Self {
            r: 16,
            alpha: 32.0,
            dropout: 0.1,
            target_modules: targets.map(|name| (*name).to_owned()).collect(),
            seed: 42,
            layout: AdapterLayout::default(),
        }
    }
}

impl LoraConfig {
    /// Fails where no adapter can be trained by these settings; `projections` may have one.
    pub(super) fn check(&self, projections: &[&str]) -> Result<(), TrainError> {
        let wrong = |setting, expected: &str, got: String| {
            Err(TrainError::Setting { setting, expected: expected.to_owned(), got })
        };
        if self.r == 0 {
            return wrong("r", "a positive number", self.r.to_string());
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return wrong("alpha", "a positive number", self.alpha.to_string());
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return wrong("dropout", "a number from 0 to below 1", self.dropout.to_string());
        }
        let expected = || format!("some of {}", projections.join(", "));
        match self.target_modules.iter().find(|target| !projections.contains(&target.as_str())) {
            Some(unknown) => wrong("target_modules", &expected(), unknown.clone()),
            None if self.target_modules.is_empty() => {
                wrong("target_modules", &expected(), "empty".to_owned())
            }
            None => Ok(()),
        }
    }
}

/// How a batch is embedded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As for search: no dropout, no graph.
    Evaluate,
    /// With a graph down to the parameters, and dropout on adapters. What is dropped depends on `seed`, on the place of an item in the
    /// batch and on nothing else: steps want different seeds, repetitions of a step the same.
    Train {
        /// Where the dropout masks come from.
        seed: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_fine_and_nonsense_is_named() {
        let recipe = LoraConfig::default();
        recipe.check(ModuleNames::default().projections).unwrap();
        assert_eq!(recipe.target_modules.len(), 6);
        for (config, named) in [
            (LoraConfig { r: 0, ..recipe.clone() }, "r is 0"),
            (LoraConfig { alpha: f64::NAN, ..recipe.clone() }, "alpha"),
            (LoraConfig { dropout: 1.0, ..recipe.clone() }, "dropout is 1"),
            (LoraConfig { target_modules: vec!["q_prj".into()], ..recipe.clone() }, "q_prj"),
            (LoraConfig { target_modules: vec![], ..recipe.clone() }, "target_modules"),
        ] {
            let message = config.check(ModuleNames::default().projections).unwrap_err().to_string();
            assert!(message.contains(named), "{message}");
        }
    }
}
