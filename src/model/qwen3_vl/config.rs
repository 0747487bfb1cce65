use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::config::{MAX_SIZE, TextRules, set_keys, within};
use crate::model::family::ModelType;
use crate::model::qwen_vl::{Steps, Tower, Variant, VisionConfig, read_vision};
use crate::preprocess::{ChatTemplate, PixelBudget};
use crate::settings_keys::Place;

/// How large pictures are where nobody says, by qwen-vl-utils 0.0.14.
pub const PIXEL_BUDGET: PixelBudget = PixelBudget::of_qwen_vl_utils(32);

/// What the vision tower has beside its blocks.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DeepstackConfig {
    /// Rows of the table of positions: a square.
    pub num_position_embeddings: usize,
    /// Blocks behind which features for the language tower's layers are taken, the first layer's first.
    pub deepstack_visual_indexes: Vec<usize>,
}

impl DeepstackConfig {
    /// Side of the table of positions.
    pub fn table_side(&self) -> usize {
        self.num_position_embeddings.isqrt()
    }
}

/// The family.
pub(in crate::model) struct Qwen3Vl;

impl Variant for Qwen3Vl {
    fn model_type(&self) -> ModelType {
        ModelType::Qwen3Vl
    }

    fn vision_keys(&self) -> Place {
        Place::Qwen3VisionConfig
    }

    fn text_rules(&self) -> TextRules {
        TextRules::QWEN3
    }

    fn vision(&self, part: &Value) -> Result<VisionConfig, String> {
        let mut keys = set_keys(part);
        let deepstack =
            DeepstackConfig::deserialize(&keys).map_err(|error| format!("vision_config: {error}"))?;
        if let Some(keys) = keys.as_object_mut() {
            // The default of transformers.
            keys.entry("hidden_act").or_insert_with(|| json!("gelu_pytorch_tanh"));
        }
        let vision = read_vision(keys, Tower::Deepstack(deepstack.clone()))?;
        let rows = deepstack.num_position_embeddings;
        within(&[("vision_config.num_position_embeddings", rows)], MAX_SIZE)?;
        if deepstack.table_side().pow(2) != rows {
            return Err(format!("vision_config.num_position_embeddings is {rows}, expected a square"));
        }
        let indexes = &deepstack.deepstack_visual_indexes;
        if !indexes.is_sorted_by(|a, b| a < b) || indexes.iter().any(|&i| i >= vision.depth) {
            return Err(format!(
                "vision_config.deepstack_visual_indexes is {indexes:?}, expected rising numbers below depth, \
                 {}",
                vision.depth
            ));
        }
        Ok(vision)
    }

    fn budget(&self) -> PixelBudget {
        PIXEL_BUDGET
    }

    fn steps(&self) -> Steps {
        Steps::Stamped
    }

    /// Those of the published checkpoints put texts out from within tags, which are not looked into.
    fn template(&self) -> Option<&'static ChatTemplate> {
        None
    }
}
