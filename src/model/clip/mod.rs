//! CLIP (Radford et al. 2021, arXiv 2103.00020), as `CLIPModel` of transformers: a causal tower of texts, and
//! one of pictures with a class token.

mod vision;

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Value, json};

use super::adapter::ModuleNames;
use super::config::MAX_SIZE;
use super::family::{Backbone, Family, Processor};
use super::layers::patch_embedding;
use super::loader::Weights;
use super::ops::Linear;
use super::two_towers::{
    End, MODULE_NAMES, TextRule, TextTower, TowersConfig, TowersDefaults, TowersProcessor, TwoTowers, wrapper,
};
use super::{ModelError, ModelShape};
use crate::preprocess::{FixedSize, Pictures, PreprocessError, ProcessorKind, TextTokenizer};
use crate::recipe::Recipe;
use vision::ClassToken;

/// What old files have for the end of a text, whatever their tokenizer says.
const OLD_END: u32 = 2;

/// Shape of a CLIP checkpoint.
#[derive(Debug)]
pub(super) struct Config {
    towers: TowersConfig,
    /// Values in an embedding.
    projection_dim: usize,
}

impl Config {
    pub(super) fn parse(root: &Value) -> Result<Self, String> {
        let shared = json!({"hidden_act": "quick_gelu", "layer_norm_eps": 1e-5, "num_hidden_layers": 12});
        let defaults = TowersDefaults::over(
            &shared,
            json!({
                "hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8, "vocab_size": 49408,
                "max_position_embeddings": 77, "eos_token_id": 49407,
            }),
            json!({
                "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_channels": 3,
                "image_size": 224, "patch_size": 32,
            }),
        );
        let towers = TowersConfig::parse(root, defaults)?;
        let projection_dim = match root.get("projection_dim").filter(|value| !value.is_null()) {
            None => 512,
            Some(value) => value.as_u64().unwrap_or(0) as usize,
        };
        if !(1..=MAX_SIZE).contains(&projection_dim) {
            return Err(format!("projection_dim is {projection_dim}, expected 1 to {MAX_SIZE}"));
        }
        Ok(Self { towers, projection_dim })
    }

    fn fixed_size(&self) -> FixedSize {
        FixedSize {
            name: "CLIP",
            crops: true,
            default_side: 224,
            image_mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            image_std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            image_size: self.towers.vision.image_size as u32,
            patch_size: self.towers.vision.patch_size as u32,
        }
    }
}

impl Family for Config {
    fn shape(&self) -> ModelShape {
        self.towers.shape(self.projection_dim)
    }

    fn pictures(&self, model_dir: &Path, recipe: &Recipe) -> Result<Pictures, PreprocessError> {
        Pictures::load_fixed(model_dir, self.fixed_size(), &recipe.pictures)
    }

    fn processor(&self, model_dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError> {
        let (pictures, tokenizer) = (self.pictures(model_dir, recipe)?, TextTokenizer::load(model_dir)?);
        let text = &self.towers.text;
        let end = if text.eos_token_id == OLD_END { End::Largest } else { End::First(text.eos_token_id) };
        let rule = TextRule { canonical: |text| Cow::Borrowed(text), end };
        let positions = text.max_position_embeddings;
        let processor = TowersProcessor::new(pictures, tokenizer, rule, positions, recipe)?;
        Ok(Box::new(processor))
    }

    fn load(&self, weights: &Weights<'_>, recipe: &Recipe) -> Result<Box<dyn Backbone>, ModelError> {
        let Weights { precision, device, .. } = *weights;
        let TowersConfig { text, vision, .. } = &self.towers;
        let dim = self.projection_dim;
        let wrapper = wrapper(weights.checkpoint)?;
        let at = |name| weights.at(&format!("{wrapper}{name}"));
        let (text_at, vision_at, width) = (at("text_model"), at("vision_model"), vision.shape.hidden_size);
        let head = Linear::load(&at("text_projection"), text.shape.hidden_size, dim, false)?;
        let projection = Linear::load(&at("visual_projection"), width, dim, false)?;
        let pixels = vision_at.at("embeddings.patch_embedding");
        let patches = patch_embedding(&pixels, width, &vision.patch(), false)?;
        Ok(Box::new(TwoTowers {
            text: TextTower::load(&text_at, text, true, head, precision, device)?,
            patches,
            pictures: Box::new(ClassToken::load(&vision_at, vision, projection, device)?),
            trains_vision: vision_at.trains() || at("visual_projection").trains(),
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
