//! SigLIP (Zhai et al. 2023, arXiv 2303.15343) and SigLIP 2 of one resolution (arXiv 2502.14786), as
//! `SiglipModel` of transformers: a tower of texts that looks both ways and at padding too, and one of
//! pictures that is pooled by attention.

mod text;
mod vision;

use std::path::Path;

use serde_json::{Value, json};

use super::adapter::ModuleNames;
use super::family::{Backbone, Family, Processor};
use super::layers::patch_embedding;
use super::loader::Weights;
use super::ops::Linear;
use super::two_towers::{
    MODULE_NAMES, TextTower, TowersConfig, TowersDefaults, TowersProcessor, TwoTowers, wrapper,
};
use super::{ModelError, ModelShape};
use crate::preprocess::{FixedSize, Pictures, PreprocessError, ProcessorKind, TextTokenizer};
use crate::recipe::Recipe;
use vision::AttentionPooling;

/// Shape of a SigLIP checkpoint.
#[derive(Debug)]
pub(super) struct Config {
    towers: TowersConfig,
    /// Values in an embedding.
    dim: usize,
}

impl Config {
    pub(super) fn parse(root: &Value) -> Result<Self, String> {
        let shared = json!({
            "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6,
        });
        let defaults = TowersDefaults::over(
            &shared,
            json!({"vocab_size": 32000, "max_position_embeddings": 64, "eos_token_id": 49407}),
            json!({"num_channels": 3, "image_size": 224, "patch_size": 16}),
        );
        let towers = TowersConfig::parse(root, defaults)?;
        let dim = towers.vision.shape.hidden_size;
        let of_texts = towers.text.projection_size.unwrap_or(towers.text.shape.hidden_size);
        if of_texts != dim {
            return Err(format!("texts become {of_texts} values and pictures {dim}: these must be equal"));
        }
        Ok(Self { towers, dim })
    }

    fn fixed_size(&self) -> FixedSize {
        FixedSize {
            name: "Siglip",
            crops: false,
            default_side: 224,
            image_mean: [0.5; 3],
            image_std: [0.5; 3],
            image_size: self.towers.vision.image_size as u32,
            patch_size: self.towers.vision.patch_size as u32,
        }
    }
}

impl Family for Config {
    fn shape(&self) -> ModelShape {
        self.towers.shape(self.dim)
    }

    fn pictures(&self, model_dir: &Path, recipe: &Recipe) -> Result<Pictures, PreprocessError> {
        Pictures::load_fixed(model_dir, self.fixed_size(), &recipe.pictures)
    }

    fn processor(&self, model_dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError> {
        let (pictures, tokenizer) = (self.pictures(model_dir, recipe)?, TextTokenizer::load(model_dir)?);
        let rule = text::rule(model_dir, &tokenizer)?;
        let positions = self.towers.text.max_position_embeddings;
        let processor = TowersProcessor::new(pictures, tokenizer, rule, positions, recipe)?;
        Ok(Box::new(processor))
    }

    fn load(&self, weights: &Weights<'_>, recipe: &Recipe) -> Result<Box<dyn Backbone>, ModelError> {
        let Weights { precision, device, .. } = *weights;
        let TowersConfig { text, vision, .. } = &self.towers;
        let wrapper = wrapper(weights.checkpoint)?;
        let at = |name| weights.at(&format!("{wrapper}{name}"));
        let (text_at, vision_at) = (at("text_model"), at("vision_model"));
        let head = Linear::load(&text_at.at("head"), text.shape.hidden_size, self.dim, true)?;
        let (pixels, width) = (vision_at.at("embeddings.patch_embedding"), vision.shape.hidden_size);
        let patches = patch_embedding(&pixels, width, &vision.patch(), true)?;
        Ok(Box::new(TwoTowers {
            text: TextTower::load(&text_at, text, false, head, precision, device)?,
            patches,
            pictures: Box::new(AttentionPooling::load(&vision_at, vision, device)?),
            trains_vision: vision_at.trains(),
            config: vision.clone(),
            composed: recipe.composed,
            precision,
            device: device.clone(),
        }))
    }

    fn longest(&self) -> Option<usize> {
        Some(self.towers.text.max_position_embeddings)
    }

    fn processor_kind(&self) -> ProcessorKind {
        ProcessorKind::FixedSize(self.fixed_size())
    }

    fn unknown_keys(&self) -> &[String] {
        &self.towers.unknown_keys
    }

    fn module_names(&self) -> ModuleNames {
        MODULE_NAMES
    }
}
