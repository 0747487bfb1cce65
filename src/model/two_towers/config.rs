//! `config.json` of models of two towers.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::model::config::{MAX_LAYERS, MAX_SIZE, object, set_keys};
use crate::model::layers::EncoderShape;
use crate::model::{ModelShape, TextShape, VisionShape};
use crate::settings_keys::{Place, judge};

/// Longest side of a picture in pixels.
const MAX_SIDE: usize = 1 << 12;

/// Both towers' shapes, as `config.json` spells them.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::model) struct TowersConfig {
    pub(in crate::model) text: TextTowerConfig,
    pub(in crate::model) vision: PictureTowerConfig,
    /// Keys that nobody here knows, with their places.
    pub(in crate::model) unknown_keys: Vec<String>,
}

/// `text_config`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::model) struct TextTowerConfig {
    #[serde(flatten)]
    pub(in crate::model) shape: EncoderShape,
    /// Size of the vocabulary.
    pub(in crate::model) vocab_size: usize,
    /// Tokens of the longest text.
    pub(in crate::model) max_position_embeddings: usize,
    /// The token that ends a text.
    pub(in crate::model) eos_token_id: u32,
    /// Width behind the head, where the tower has one of its own.
    #[serde(default)]
    pub(in crate::model) projection_size: Option<usize>,
}

/// `vision_config`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(in crate::model) struct PictureTowerConfig {
    #[serde(flatten)]
    pub(in crate::model) shape: EncoderShape,
    /// Colour channels.
    num_channels: usize,
    /// Side of a picture in pixels.
    pub(in crate::model) image_size: usize,
    /// Side of a patch in pixels. What is left over of a picture is not looked at.
    pub(in crate::model) patch_size: usize,
}

impl PictureTowerConfig {
    /// Channels, rows and columns of a patch.
    pub(in crate::model) fn patch(&self) -> [usize; 3] {
        [self.num_channels, self.patch_size, self.patch_size]
    }

    /// Values in one patch.
    pub(in crate::model) fn patch_len(&self) -> usize {
        self.patch().iter().product()
    }

    /// Patches along a side of a picture.
    pub(in crate::model) fn patches_per_side(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Patches of a picture.
    pub(in crate::model) fn num_patches(&self) -> usize {
        self.patches_per_side().pow(2)
    }
}

/// What a family's `config.json` may leave out, as transformers has it.
pub(in crate::model) struct TowersDefaults {
    pub(in crate::model) text: Value,
    pub(in crate::model) vision: Value,
}

impl TowersDefaults {
    /// What both towers have by default, and further or other keys of each.
    pub(in crate::model) fn over(shared: &Value, text: Value, vision: Value) -> Self {
        let with = |own: Value| {
            let mut keys = shared.clone();
            if let (Some(keys), Value::Object(own)) = (keys.as_object_mut(), own) {
                keys.extend(own);
            }
            keys
        };
        Self { text: with(text), vision: with(vision) }
    }
}

impl TowersConfig {
    /// Checks and takes what a `config.json` says.
    ///
    /// # Errors
    /// Keys whose values are not built in, and numbers that do not fit together.
    pub(in crate::model) fn parse(root: &Value, defaults: TowersDefaults) -> Result<Self, String> {
        let mut unknown_keys = judge(&object(root, "the file")?, Place::TwoTowers)?;
        let text = part(root, "text_config", Place::TextTower, defaults.text, &mut unknown_keys)?;
        let vision = part(root, "vision_config", Place::VisionTower, defaults.vision, &mut unknown_keys)?;
        let config = Self { text, vision, unknown_keys };
        config.check()?;
        Ok(config)
    }

    /// The towers in numbers, whose embeddings have `dim` values.
    pub(in crate::model) fn shape(&self, dim: usize) -> ModelShape {
        let (text, vision) = (&self.text, &self.vision);
        let text = TextShape {
            layers: text.shape.num_hidden_layers,
            heads: text.shape.num_attention_heads,
            key_value_heads: text.shape.num_attention_heads,
            vocab: text.vocab_size,
        };
        let vision = VisionShape {
            blocks: vision.shape.num_hidden_layers,
            hidden: vision.shape.hidden_size,
            patch: vision.patch_size,
            window: None,
        };
        ModelShape { dim, text, vision }
    }

    fn check(&self) -> Result<(), String> {
        let (t, v) = (&self.text, &self.vision);
        let towers = [("text_config", &t.shape), ("vision_config", &v.shape)];
        let of_shape = |(part, shape): (&'static str, &EncoderShape)| {
            let EncoderShape { hidden_size, intermediate_size, num_attention_heads, .. } = *shape;
            [
                (part, "hidden_size", hidden_size, MAX_SIZE),
                (part, "intermediate_size", intermediate_size, MAX_SIZE),
                (part, "num_attention_heads", num_attention_heads, MAX_SIZE),
                (part, "num_hidden_layers", shape.num_hidden_layers, MAX_LAYERS),
            ]
        };
        let sizes = [
            ("text_config", "vocab_size", t.vocab_size, MAX_SIZE),
            ("text_config", "max_position_embeddings", t.max_position_embeddings, MAX_SIZE),
            ("text_config", "projection_size", t.projection_size.unwrap_or(1), MAX_SIZE),
            ("vision_config", "num_channels", v.num_channels, 3),
            ("vision_config", "patch_size", v.patch_size, 256),
            ("vision_config", "image_size", v.image_size, MAX_SIDE),
        ];
        let sizes = towers.into_iter().flat_map(of_shape).chain(sizes);
        for (part, name, size, most) in sizes {
            let least = if name == "num_channels" { 3 } else { 1 };
            if !(least..=most).contains(&size) {
                return Err(format!("{part}.{name} is {size}, expected {least} to {most}"));
            }
        }
        if v.patch_size > v.image_size {
            return Err("vision_config.patch_size must not be larger than image_size".to_owned());
        }
        for (part, shape) in towers {
            if !shape.hidden_size.is_multiple_of(shape.num_attention_heads) {
                return Err(format!("{part}.hidden_size must be a multiple of num_attention_heads"));
            }
            if !(shape.layer_norm_eps.is_finite() && shape.layer_norm_eps >= 0.0) {
                return Err(format!("{part}.layer_norm_eps is no small positive number"));
            }
        }
        Ok(())
    }
}

/// A part of the file over its `defaults`. Old files have it a second time as `NAME_dict`, which wins there.
fn part<T: DeserializeOwned>(
    root: &Value,
    name: &'static str,
    place: Place,
    defaults: Value,
    unknown_keys: &mut Vec<String>,
) -> Result<T, String> {
    let told = |name: &str| root.get(name).filter(|value| !value.is_null());
    let mut keys = defaults;
    if let Some(value) = told(&format!("{name}_dict")).or_else(|| told(name)) {
        let given: Map<String, Value> = object(value, name)?;
        let unknown = judge(&given, place).map_err(|reason| format!("{name}: {reason}"))?;
        unknown_keys.extend(unknown.into_iter().map(|key| format!("{name}.{key}")));
        if let (Some(keys), Value::Object(given)) = (keys.as_object_mut(), set_keys(value)) {
            keys.extend(given);
        }
    }
    T::deserialize(keys).map_err(|error| format!("{name}: {error}"))
}
