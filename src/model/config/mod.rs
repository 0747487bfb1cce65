//! `config.json`: what its readers share, whatever the family.

mod rope;
mod text;

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

pub(super) use rope::RopeScaling;
pub use text::TextConfig;
pub(super) use text::{Attention, TextRules, rope_settings};

use super::ModelError;
use super::kernels::Activation;
use crate::settings_keys::shown;
use crate::store::{IoError, limited_file};

/// Bytes that a `config.json` may have; published ones have a few thousand.
const MAX_BYTES: u64 = 16 << 20;
/// What a width, a number of heads or the side of a picture may be. Products of any three of them fit a
/// `usize`, and published ones are far below.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// Layers that a model may have.
pub(super) const MAX_LAYERS: usize = 1 << 12;

/// Refuses the first of `sizes` that is not 1 to `most`.
pub(super) fn within(sizes: &[(&str, usize)], most: usize) -> Result<(), String> {
    match sizes.iter().find(|(_, size)| !(1..=most).contains(size)) {
        Some((name, size)) => Err(format!("{name} is {size}, expected 1 to {most}")),
        None => Ok(()),
    }
}

/// Reads `config.json` in `model_dir`, whose path comes with it for messages.
pub(super) fn read(model_dir: &Path) -> Result<(PathBuf, Value), ModelError> {
    let path = model_dir.join("config.json");
    let text = limited_file::read_text(&path, MAX_BYTES).map_err(IoError::of("read", &path))?;
    match serde_json::from_str(&text) {
        Ok(root) => Ok((path, root)),
        Err(error) => Err(ModelError::Config { path, reason: format!("not valid JSON: {error}") }),
    }
}

/// The keys of the part called `name`.
pub(super) fn object(part: &Value, name: &str) -> Result<Map<String, Value>, String> {
    match part.as_object() {
        Some(keys) => Ok(keys.clone()),
        None => Err(format!("{name} is {}, expected an object", shown(part))),
    }
}

/// The keys of a part that say something: `null` stands for the default.
pub(super) fn set_keys(part: &Value) -> Value {
    let mut part = part.clone();
    if let Some(keys) = part.as_object_mut() {
        keys.retain(|_, value| !value.is_null());
    }
    part
}

/// An activation by its name in transformers.
pub(super) fn activation<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Activation, D::Error> {
    let name = String::deserialize(deserializer)?;
    match name.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu" | "gelu_python" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        "quick_gelu" => Ok(Activation::QuickGelu),
        "relu" => Ok(Activation::Relu),
        other => Err(serde::de::Error::custom(format!(
            "hidden_act is {:?}, which is not supported (expected silu, gelu, gelu_new, gelu_pytorch_tanh, \
             quick_gelu or relu)",
            other.chars().take(40).collect::<String>()
        ))),
    }
}
