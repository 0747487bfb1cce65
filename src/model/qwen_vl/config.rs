//! `config.json` of a checkpoint of the Qwen-VL line.
//!
//! Two layouts exist: the language model's fields at the top level (transformers 4), or under
//! `text_config` with the rotary settings in `rope_parameters` (transformers 5). Both read into
//! one [`Config`]; field names are the file's own.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::variant::Variant;
use crate::model::ModelError;
use crate::model::config::{
    self, MAX_LAYERS, MAX_SIZE, TextConfig, TextRules, activation, object, rope_settings, within,
};
use crate::model::family::ModelType;
use crate::model::kernels::Activation;
use crate::model::layers::{FrameBlock, FrameBlockShape, PATCH_ROPE_THETA};
use crate::model::loader::Loader;
use crate::model::qwen2_5_vl::WindowConfig;
use crate::model::qwen3_vl::DeepstackConfig;
use crate::settings_keys::{Place, judge, shown};

/// In the language model's part or at the top.
const TIED: &str = "tie_word_embeddings";

/// Shape of a model of the Qwen-VL line, as its `config.json` spells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// The language model, whose `hidden_size` is the embedding's dimension.
    pub text: TextConfig,
    /// The vision tower.
    pub vision: VisionConfig,
    /// Id of `<|image_pad|>`, the placeholder of one merged image patch.
    pub image_token_id: u32,
    /// Id of `<|video_pad|>`, the placeholder of one merged video patch.
    pub video_token_id: u32,
    /// Id of `<|vision_start|>`.
    pub vision_start_token_id: u32,
    /// Whether the rows of the language head are those of the token embeddings.
    pub tied_head: bool,
    /// Keys of the file that nobody here knows, with their places: whether they change an embedding cannot be
    /// told.
    pub unknown_keys: Vec<String>,
    /// What the family has of its own.
    pub(super) variant: &'static dyn Variant,
}

/// Shape of the vision tower.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct VisionConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Width of the tower.
    pub hidden_size: usize,
    /// Number of attention heads.
    pub num_heads: usize,
    /// Width of the feed-forward layer.
    pub intermediate_size: usize,
    /// Width after the merger: the language model's `hidden_size`.
    pub out_hidden_size: usize,
    /// Colour channels of a patch.
    #[serde(default = "three")]
    pub in_channels: usize,
    /// Side of a patch in pixels.
    pub patch_size: usize,
    /// Patches of a side merged into one token.
    pub spatial_merge_size: usize,
    /// Frames of a patch.
    pub temporal_patch_size: usize,
    /// What the feed-forward layers go through.
    #[serde(default, deserialize_with = "activation")]
    pub hidden_act: Activation,
    /// Temporal position ids per second of video, where positions tell the time.
    #[serde(skip)]
    pub tokens_per_second: Option<f64>,
    /// What the families do not share.
    #[serde(skip)]
    pub tower: Tower,
}

/// What the vision towers of the families do not share.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub enum Tower {
    /// Blocks that attend over whole frames (Qwen2-VL).
    #[default]
    Whole,
    /// Blocks most of which attend within windows (Qwen2.5-VL).
    Windowed(WindowConfig),
    /// Blocks over whole frames, a table of positions, and features for early layers (Qwen3-VL).
    Deepstack(DeepstackConfig),
}

fn three() -> usize {
    3
}

impl VisionConfig {
    /// A patch: channels, frames, height, width.
    pub fn patch_shape(&self) -> [usize; 4] {
        [self.in_channels, self.temporal_patch_size, self.patch_size, self.patch_size]
    }

    /// Values in one patch.
    pub fn patch_len(&self) -> usize {
        self.patch_shape().iter().product()
    }

    /// Blocks over whole frames, whose feed-forward layers are called so.
    pub(in crate::model) fn frame_blocks(
        &self,
        loader: &Loader<'_>,
        feed_forward: [&'static str; 2],
    ) -> Result<Vec<FrameBlock>, ModelError> {
        let shape = FrameBlockShape {
            width: self.hidden_size,
            num_heads: self.num_heads,
            intermediate: self.intermediate_size,
            activation: self.hidden_act,
            feed_forward,
        };
        FrameBlock::load_all(&loader.at("blocks"), self.depth, &shape)
    }

    /// Patches merged into one token.
    pub fn merge_unit(&self) -> usize {
        self.spatial_merge_size * self.spatial_merge_size
    }
}

/// The numbers that all towers have, out of the keys of a `vision_config`, with what is the family's.
pub(in crate::model) fn read_vision(keys: Value, tower: Tower) -> Result<VisionConfig, String> {
    let vision = VisionConfig::deserialize(keys).map_err(|e| format!("vision_config: {e}"))?;
    let v = &vision;
    within(
        &[
            ("vision_config.hidden_size", v.hidden_size),
            ("vision_config.intermediate_size", v.intermediate_size),
            ("vision_config.out_hidden_size", v.out_hidden_size),
            ("vision_config.num_heads", v.num_heads),
        ],
        MAX_SIZE,
    )?;
    // Products of these occur with one another.
    within(
        &[
            ("vision_config.in_channels", v.in_channels),
            ("vision_config.patch_size", v.patch_size),
            ("vision_config.temporal_patch_size", v.temporal_patch_size),
            ("vision_config.spatial_merge_size", v.spatial_merge_size),
        ],
        256,
    )?;
    within(&[("vision_config.depth", v.depth)], MAX_LAYERS)?;
    if !v.hidden_size.is_multiple_of(4 * v.num_heads) {
        return Err("vision_config.hidden_size must be a multiple of four times num_heads".to_owned());
    }
    Ok(VisionConfig { tower, ..vision })
}

impl Config {
    /// Reads and checks `config.json` in `model_dir`.
    ///
    /// # Errors
    /// [`ModelError::Io`] without the file, [`ModelError::Config`] when it describes another
    /// kind of model or numbers that do not fit together.
    pub fn load(model_dir: &Path) -> Result<Self, ModelError> {
        let (path, root) = config::read(model_dir)?;
        let config = ModelType::of(&root).and_then(|model_type| match model_type.qwen_vl() {
            Some(variant) => Self::parse(&root, variant),
            None => Err(format!("model_type is {:?}, which is not of the Qwen-VL line", model_type.name())),
        });
        config.map_err(|reason| ModelError::Config { path, reason })
    }

    /// The family.
    pub fn model_type(&self) -> ModelType {
        self.variant.model_type()
    }

    /// Checks and takes what the `config.json` of a family says.
    pub(in crate::model) fn parse(root: &Value, variant: &'static dyn Variant) -> Result<Self, String> {
        let nested = root.get("text_config").filter(|value| !value.is_null());
        let text_value = nested.unwrap_or(root);
        let rope = rope_settings(text_value)?;
        let vision = root.get("vision_config").ok_or("vision_config is missing")?;
        let unknown_keys = judge_all(root, nested, vision, rope, variant)?;

        let text = TextConfig::read(text_value, rope, &variant.text_rules())?;
        let id = |key: &str| {
            root.get(key)
                .or_else(|| text_value.get(key))
                .and_then(Value::as_u64)
                .and_then(|id| u32::try_from(id).ok())
                .ok_or(format!("{key} is missing"))
        };
        let config = Self {
            vision: variant.vision(vision)?,
            image_token_id: id("image_token_id")?,
            video_token_id: id("video_token_id")?,
            vision_start_token_id: id("vision_start_token_id")?,
            text,
            tied_head: [text_value, root].iter().find_map(|part| part.get(TIED)?.as_bool()).unwrap_or(false),
            unknown_keys,
            variant,
        };
        if config.vision.out_hidden_size != config.text.hidden_size {
            return Err("vision_config.out_hidden_size must equal hidden_size".to_owned());
        }
        Ok(config)
    }
}

/// Refuses keys whose values are not built in, and returns those that nobody knows, with their places.
fn judge_all(
    root: &Value,
    nested: Option<&Value>,
    vision: &Value,
    rope: &Map<String, Value>,
    variant: &dyn Variant,
) -> Result<Vec<String>, String> {
    let TextRules { flat, nested: text_place, rope: rope_place, .. } = variant.text_rules();
    let root_place = if nested.is_some() { Place::NestedConfig } else { flat };
    let mut unknown = judge(&object(root, "the file")?, root_place)?;
    let mut parts = vec![
        ("vision_config", object(vision, "vision_config")?, variant.vision_keys()),
        ("rope", rope.clone(), rope_place),
    ];
    if let Some(text) = nested {
        parts.push(("text_config", object(text, "text_config")?, text_place));
    }
    for (name, keys, place) in parts {
        let found = judge(&keys, place).map_err(|reason| format!("{name}: {reason}"))?;
        unknown.extend(found.into_iter().map(|key| format!("{name}.{key}")));
    }
    let text = nested.unwrap_or(root);
    match text.get("layer_types") {
        None | Some(Value::Null) => {}
        Some(Value::Array(kinds)) if kinds.iter().all(|kind| kind == "full_attention") => {}
        Some(other) => {
            return Err(format!(
                "layer_types is {}, of which only \"full_attention\" is supported",
                shown(other)
            ));
        }
    }
    vision_rope(vision)?;
    Ok(unknown)
}

/// The vision tower's rotary embedding, which only transformers 5 writes down, is built in.
fn vision_rope(vision: &Value) -> Result<(), String> {
    let Some(rope) = vision.get("rope_parameters").filter(|value| !value.is_null()) else { return Ok(()) };
    let kind = rope.get("rope_type").or_else(|| rope.get("type")).and_then(Value::as_str).unwrap_or("axial");
    let theta = rope.get("rope_theta").and_then(Value::as_f64).unwrap_or(PATCH_ROPE_THETA);
    if !["axial", "default"].contains(&kind) || theta != PATCH_ROPE_THETA {
        return Err(format!(
            "vision_config: rope_parameters is {}, which is not supported (expected type axial and theta \
             10000)",
            shown(rope)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parse(root: &Value) -> Result<Config, String> {
        Config::parse(root, ModelType::of(root)?.qwen_vl().unwrap())
    }

    fn flat() -> Value {
        json!({
            "model_type": "qwen2_5_vl", "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
            "vocab_size": 640, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
            "image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 7,
            "vision_config": {
                "depth": 4, "hidden_size": 32, "num_heads": 4, "intermediate_size": 72,
                "out_hidden_size": 64, "patch_size": 14, "spatial_merge_size": 2,
                "temporal_patch_size": 2, "window_size": 112, "fullatt_block_indexes": [3, 1]
            }
        })
    }

    #[test]
    fn both_layouts_read_alike() {
        let old = parse(&flat()).unwrap();
        let mut new = flat();
        let root = new.as_object_mut().unwrap();
        let mut text = Map::new();
        for key in [
            "hidden_size",
            "intermediate_size",
            "num_hidden_layers",
            "num_attention_heads",
            "num_key_value_heads",
            "vocab_size",
            "rms_norm_eps",
        ] {
            text.insert(key.into(), root.remove(key).unwrap());
        }
        root.remove("rope_theta");
        root.remove("rope_scaling");
        text.insert("rope_parameters".into(), json!({"rope_theta": 1e6, "mrope_section": [2, 3, 3]}));
        root.insert("text_config".into(), text.into());
        assert_eq!(parse(&new).unwrap(), old);
        let windows = WindowConfig { window_size: 112, fullatt_block_indexes: vec![1, 3] };
        assert_eq!(old.vision.tower, Tower::Windowed(windows));
        assert_eq!(old.text.head_dim(), 16);
    }

    #[test]
    fn contradictions_are_named() {
        let cases = [
            ("/num_key_value_heads", json!(3), "num_key_value_heads"),
            ("/rope_scaling/mrope_section", json!([2, 3, 4]), "mrope_section"),
            ("/vision_config/out_hidden_size", json!(65), "out_hidden_size"),
            ("/vision_config/window_size", json!(100), "window_size"),
            ("/num_attention_heads", json!(0), "num_attention_heads"),
        ];
        for (pointer, value, named) in cases {
            let mut config = flat();
            *config.pointer_mut(pointer).unwrap() = value;
            let reason = parse(&config).unwrap_err();
            assert!(reason.contains(named), "{pointer}: {reason}");
        }
    }
}
