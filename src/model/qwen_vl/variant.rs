//! What a family of the Qwen-VL line has of its own.

use std::fmt;

use candle_core::{Device, Result, Tensor};
use serde_json::Value;

use super::{Tower, VisionConfig};
use crate::model::config::TextRules;
use crate::model::family::ModelType;
use crate::model::init::RandomWeights;
use crate::model::loader::{Loader, Precision};
use crate::model::qwen2_5_vl::WindowedTower;
use crate::model::qwen2_vl::WholeTower;
use crate::model::qwen3_vl::DeepstackTower;
use crate::model::{GridThw, ModelError};
use crate::preprocess::{ChatTemplate, PixelBudget};
use crate::settings_keys::Place;

/// A family's own: how its files are read, and its vision tower.
pub(in crate::model) trait Variant: Sync {
    /// Which one it is.
    fn model_type(&self) -> ModelType;

    /// The keys of `vision_config`.
    fn vision_keys(&self) -> Place;

    /// How the language tower's settings are read.
    fn text_rules(&self) -> TextRules;

    /// Reads and checks `vision_config`.
    fn vision(&self, part: &Value) -> std::result::Result<VisionConfig, String>;

    /// How large pictures are where neither an input nor a recipe says.
    fn budget(&self) -> PixelBudget;

    /// How the steps of a video in time are told from each other.
    fn steps(&self) -> Steps;

    /// The prompt for transformers, where it is known what its checkpoints carry.
    fn template(&self) -> Option<&'static ChatTemplate>;

    /// Random tensors of the tower under the names of its checkpoints.
    ///
    /// # Errors
    /// [`ModelError::Scratch`] where the family is not made from nothing.
    fn random_vision(
        &self,
        _config: &VisionConfig,
        _weights: &mut RandomWeights,
    ) -> std::result::Result<(), ModelError> {
        Err(ModelError::Scratch)
    }
}

impl PartialEq for dyn Variant {
    fn eq(&self, other: &Self) -> bool {
        self.model_type() == other.model_type()
    }
}

impl fmt::Debug for dyn Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model_type().fmt(f)
    }
}

/// How the steps of a video in time are told from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::model) enum Steps {
    /// By temporal positions that are apart as the steps are in time (Qwen2.5-VL).
    Timed,
    /// By temporal positions that are one apart (Qwen2-VL).
    Counted,
    /// By the time as text in front of each, which is a picture of its own otherwise (Qwen3-VL).
    Stamped,
}

/// The vision tower that `config` describes.
pub(super) fn load_tower(
    loader: &Loader<'_>,
    config: &VisionConfig,
    precision: Precision,
    device: &Device,
) -> std::result::Result<Box<dyn VisionTower>, ModelError> {
    Ok(match &config.tower {
        Tower::Whole => Box::new(WholeTower::load(loader, config, precision, device)?),
        Tower::Windowed(windows) => {
            Box::new(WindowedTower::load(loader, config, windows, precision, device)?)
        }
        Tower::Deepstack(deepstack) => {
            Box::new(DeepstackTower::load(loader, config, deepstack, precision, device)?)
        }
    })
}

/// The vision tower of a family.
pub(in crate::model) trait VisionTower: Send + Sync {
    /// `pixel_values` (patches, patch length) of the visuals with `grids`, one behind the other, to what the
    /// language tower sees of them.
    fn forward(&self, pixel_values: Tensor, grids: &[GridThw]) -> Result<VisionFeatures>;
}

/// What the language tower sees of visuals, all in their order.
pub(in crate::model) struct VisionFeatures {
    /// What takes the places of placeholders, (visual tokens, language width).
    pub(in crate::model) rows: Tensor,
    /// What is added there behind the first layers of the language tower, of the same shape: one for each.
    pub(in crate::model) deepstack: Vec<Tensor>,
}
