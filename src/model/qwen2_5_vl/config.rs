use serde::Deserialize;
use serde_json::Value;

use crate::model::ModelError;
use crate::model::config::{MAX_SIZE, TextRules, set_keys, within};
use crate::model::family::ModelType;
use crate::model::init::RandomWeights;
use crate::model::qwen_vl::{Steps, TEMPLATE, Tower, Variant, VisionConfig, read_vision};
use crate::preprocess::{ChatTemplate, PixelBudget};
use crate::settings_keys::Place;

/// How large pictures are where nobody says, by qwen-vl-utils 0.0.11. A visual token is the square of patch
/// size x merge size.
pub const PIXEL_BUDGET: PixelBudget = PixelBudget::of_qwen_vl_utils(28);

/// The windows of the vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct WindowConfig {
    /// Side of an attention window in pixels.
    pub window_size: usize,
    /// Blocks that attend over the whole frame instead of a window, rising.
    pub fullatt_block_indexes: Vec<usize>,
}

/// Temporal position ids per second of video.
#[derive(Deserialize)]
struct Timing {
    #[serde(default = "default_rate")]
    tokens_per_second: f64,
}

/// The default of transformers, which files leave out.
fn default_rate() -> f64 {
    4.0
}

/// The family.
pub(in crate::model) struct Qwen25Vl;

impl Variant for Qwen25Vl {
    fn model_type(&self) -> ModelType {
        ModelType::Qwen25Vl
    }

    fn vision_keys(&self) -> Place {
        Place::VisionConfig
    }

    fn text_rules(&self) -> TextRules {
        TextRules::QWEN2
    }

    fn vision(&self, part: &Value) -> Result<VisionConfig, String> {
        let keys = set_keys(part);
        let of = |error: serde_json::Error| format!("vision_config: {error}");
        let mut windows = WindowConfig::deserialize(&keys).map_err(of)?;
        windows.fullatt_block_indexes.sort_unstable();
        let Timing { tokens_per_second } = Timing::deserialize(&keys).map_err(of)?;
        let mut vision = read_vision(keys, Tower::Windowed(windows.clone()))?;
        vision.tokens_per_second = Some(tokens_per_second);
        within(&[("vision_config.window_size", windows.window_size)], MAX_SIZE)?;
        let window_unit = vision.patch_size * vision.spatial_merge_size;
        if windows.window_size < window_unit || !windows.window_size.is_multiple_of(window_unit) {
            return Err(
                "vision_config.window_size must be a multiple of patch_size * spatial_merge_size".to_owned()
            );
        }
        if tokens_per_second <= 0.0 {
            return Err("vision_config.tokens_per_second must be positive".to_owned());
        }
        Ok(vision)
    }

    fn budget(&self) -> PixelBudget {
        PIXEL_BUDGET
    }

    fn steps(&self) -> Steps {
        Steps::Timed
    }

    fn template(&self) -> Option<&'static ChatTemplate> {
        Some(&TEMPLATE)
    }

    fn random_vision(&self, vision: &VisionConfig, weights: &mut RandomWeights) -> Result<(), ModelError> {
        let (hidden, wide) = (vision.hidden_size, vision.intermediate_size);
        let branch = (2.0 * vision.depth as f64).sqrt();
        let patch = vision.patch_shape();
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
        weights.linear("visual.merger.mlp.2", merged, vision.out_hidden_size, 1.0, true)
    }
}
