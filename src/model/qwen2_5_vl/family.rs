use std::path::Path;

use super::{Config, PIXEL_BUDGET, Preprocessor, Qwen25Vl, TEMPLATE};
use crate::model::ModelError;
use crate::model::family::{Backbone, Family, Processor};
use crate::model::init::RandomWeights;
use crate::model::loader::Weights;
use crate::preprocess::{ChatTemplate, Pictures, PreprocessError};
use crate::recipe::{Pooling, Recipe};

impl Family for Config {
    fn dim(&self) -> usize {
        self.text.hidden_size
    }

    fn pictures(&self, model_dir: &Path) -> Result<Pictures, PreprocessError> {
        Pictures::load(model_dir, PIXEL_BUDGET)
    }

    fn processor(&self, model_dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError> {
        Ok(Box::new(Preprocessor::load(model_dir, self, recipe.clone())?))
    }

    fn load(&self, weights: &Weights<'_>, recipe: &Recipe) -> Result<Box<dyn Backbone>, ModelError> {
        match recipe.pooling {
            Pooling::LastToken => Ok(Box::new(Qwen25Vl::new(self, weights)?)),
        }
    }

    fn unknown_keys(&self) -> &[String] {
        &self.unknown_keys
    }

    fn template(&self) -> Option<&'static ChatTemplate> {
        Some(&TEMPLATE)
    }

    fn random_weights(&self, weights: &mut RandomWeights) -> Result<(), ModelError> {
        self.random_vision(weights)?;
        weights.language(&self.text)
    }
}

impl Config {
    fn random_vision(&self, weights: &mut RandomWeights) -> Result<(), ModelError> {
        let vision = &self.vision;
        let (hidden, wide) = (vision.hidden_size, vision.intermediate_size);
        let branch = (2.0 * vision.depth as f64).sqrt();
        let patch = [vision.in_channels, vision.temporal_patch_size, vision.patch_size, vision.patch_size];
        let inputs = patch.iter().product();
        weights.normal("visual.patch_embed.proj.weight", &[&[hidden], &patch[..]].concat(), inputs, 1.0)?;
        for block in 0..vision.depth {
            let name = |part: &str| format!("visual.blocks.{block}.{part}");
            weights.ones(&name("norm1.weight"), hidden)?;
            weights.ones(&name("norm2.weight"), hidden)?;
            weights.linear(&name("attn.qkv"), hidden, 3 * hidden, 1.0, true)?;
            weights.linear(&name("attn.proj"), hidden, hidden, branch, true)?;
            weights.linear(&name("mlp.gate_proj"), hidden, wide, 1.0, true)?;
            weights.linear(&name("mlp.up_proj"), hidden, wide, 1.0, true)?;
            weights.linear(&name("mlp.down_proj"), wide, hidden, branch, true)?;
        }
        let merged = hidden * vision.merge_unit();
        weights.ones("visual.merger.ln_q.weight", hidden)?;
        weights.linear("visual.merger.mlp.0", merged, merged, 1.0, true)?;
        weights.linear("visual.merger.mlp.2", merged, self.text.hidden_size, 1.0, true)
    }
}
