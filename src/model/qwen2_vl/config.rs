use serde::Deserialize;
use serde_json::{Value, json};

use crate::model::config::{TextRules, set_keys};
use crate::model::family::ModelType;
use crate::model::qwen_vl::{Steps, TEMPLATE, Tower, Variant, VisionConfig, read_vision};
use crate::model::qwen2_5_vl::PIXEL_BUDGET;
use crate::preprocess::{ChatTemplate, PixelBudget};
use crate::settings_keys::Place;

/// What the files of this family call otherwise than those of its successors.
#[derive(Deserialize)]
struct Widths {
    /// Width of the tower.
    embed_dim: usize,
    /// That of the feed-forward layers over it.
    #[serde(default = "four")]
    mlp_ratio: usize,
    /// Width of the language model.
    hidden_size: usize,
}

/// The default of transformers.
fn four() -> usize {
    4
}

/// The family.
pub(in crate::model) struct Qwen2Vl;

impl Variant for Qwen2Vl {
    fn model_type(&self) -> ModelType {
        ModelType::Qwen2Vl
    }

    fn vision_keys(&self) -> Place {
        Place::Qwen2VisionConfig
    }

    fn text_rules(&self) -> TextRules {
        TextRules::QWEN2
    }

    fn vision(&self, part: &Value) -> Result<VisionConfig, String> {
        let mut keys = set_keys(part);
        let widths = Widths::deserialize(&keys).map_err(|error| format!("vision_config: {error}"))?;
        let Widths { embed_dim, mlp_ratio, hidden_size } = widths;
        let intermediate_size =
            embed_dim.checked_mul(mlp_ratio).ok_or("vision_config.mlp_ratio is too large for embed_dim")?;
        if let Some(keys) = keys.as_object_mut() {
            keys.insert("hidden_size".to_owned(), json!(embed_dim));
            keys.insert("intermediate_size".to_owned(), json!(intermediate_size));
            keys.insert("out_hidden_size".to_owned(), json!(hidden_size));
            keys.entry("hidden_act").or_insert_with(|| json!("quick_gelu"));
        }
        read_vision(keys, Tower::Whole)
    }

    fn budget(&self) -> PixelBudget {
        PIXEL_BUDGET
    }

    fn steps(&self) -> Steps {
        Steps::Counted
    }

    fn template(&self) -> Option<&'static ChatTemplate> {
        Some(&TEMPLATE)
    }
}
