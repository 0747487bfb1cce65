//! Every key that is known of a checkpoint's settings files, in one place: what is read, what must have the
//! value that is built in, and what cannot change an embedding.
//!
//! The keys are those that transformers 4.51 to 5.23 and PEFT up to 0.21 write, and those by which related
//! architectures differ. A key that is in no table is one that nobody here knows: it is reported, or refused,
//! by whoever judges its file.

mod adapter;
mod config;
mod processor;

use serde_json::{Map, Value};

use adapter::ADAPTER;
pub(crate) use config::INT8_STORAGE;
use config::{
    COMMON, QWEN2_ROPE, QWEN2_TEXT, QWEN2_VISION, QWEN3_ROPE, QWEN3_TEXT, QWEN3_VISION, QWEN25_VISION, ROOT,
    ROPE, TEXT, TEXT_TOWER, TWO_TOWERS, VISION, VISION_TOWER,
};
use processor::{
    ANY_TOKENIZER, FIXED_SIZE_PROCESSOR, FIXED_SIZE_SIDES, IMAGE_PROCESSOR, PICTURE_SIZE, PICTURES,
    PROCESSOR, TEXT_TOKENIZER, TOKENIZER, VIDEO_PROCESSOR,
};

/// What a key is to us.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Rule {
    /// It is read by the code that reads the file.
    Read,
    /// It cannot change an embedding.
    Harmless,
    /// It must be one of these values, which are JSON, or `null`: what is built in.
    Only(&'static [&'static str]),
}

use Rule::{Harmless, Only, Read};

/// Keys that share a rule.
type Table = [(Rule, &'static [&'static str])];

/// Off, as far as a switch can be.
const OFF: Rule = Only(&["false", "0", "0.0", "[]", "{}", "\"\"", "\"none\""]);
const ONE: Rule = Only(&["1", "1.0"]);

/// A file of settings, or a part of one that has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `config.json` with the language model's keys at the top.
    FlatConfig,
    /// `config.json` around `text_config`.
    NestedConfig,
    TextConfig,
    /// Either of these for Qwen3-VL.
    Qwen3TextConfig,
    VisionConfig,
    Qwen2VisionConfig,
    Qwen3VisionConfig,
    Rope,
    Qwen3Rope,
    /// `config.json` around `text_config` and `vision_config` of two towers.
    TwoTowers,
    TextTower,
    VisionTower,
    ImageProcessor,
    PictureSize,
    FixedSizeProcessor,
    FixedSizeSides,
    VideoProcessor,
    Processor,
    Tokenizer,
    TextTokenizer,
    Adapter,
}

impl Place {
    fn tables(self) -> &'static [&'static Table] {
        match self {
            Self::FlatConfig | Self::TextConfig => &[TEXT, QWEN2_TEXT, COMMON],
            Self::Qwen3TextConfig => &[TEXT, QWEN3_TEXT, COMMON],
            Self::NestedConfig => &[ROOT, COMMON],
            Self::VisionConfig => &[VISION, QWEN25_VISION, COMMON],
            Self::Qwen2VisionConfig => &[VISION, QWEN2_VISION, COMMON],
            Self::Qwen3VisionConfig => &[VISION, QWEN3_VISION, COMMON],
            Self::Rope => &[ROPE, QWEN2_ROPE],
            Self::Qwen3Rope => &[ROPE, QWEN3_ROPE],
            Self::TwoTowers => &[TWO_TOWERS, COMMON],
            Self::TextTower => &[TEXT_TOWER, COMMON],
            Self::VisionTower => &[VISION_TOWER, COMMON],
            Self::ImageProcessor => &[IMAGE_PROCESSOR, PICTURES],
            Self::PictureSize => &[PICTURE_SIZE],
            Self::FixedSizeProcessor => &[FIXED_SIZE_PROCESSOR, PICTURES],
            Self::FixedSizeSides => &[FIXED_SIZE_SIDES],
            Self::VideoProcessor => &[IMAGE_PROCESSOR, PICTURES, VIDEO_PROCESSOR],
            Self::Processor => &[PROCESSOR],
            Self::Tokenizer => &[TOKENIZER, ANY_TOKENIZER],
            Self::TextTokenizer => &[TEXT_TOKENIZER, ANY_TOKENIZER],
            Self::Adapter => &[ADAPTER],
        }
    }

    /// What `key` is here; `None` for one that nobody knows.
    fn rule(self, key: &str) -> Option<Rule> {
        let of = |tables: &[&'static Table]| {
            let mut rows = tables.iter().flat_map(|table| table.iter());
            rows.find(|(_, keys)| keys.contains(&key)).map(|(rule, _)| *rule)
        };
        match of(self.tables()) {
            // By convention of transformers, what begins so is not part of a checkpoint.
            None if key.starts_with('_') => Some(Harmless),
            None if self == Self::NestedConfig => of(&[TEXT, QWEN2_TEXT]).map(|_| Harmless),
            rule => rule,
        }
    }
}

/// Holds the keys of `settings` against what is known of `place`. Returns the keys that are unknown and say
/// something, that is, are neither null nor off nor empty.
///
/// # Errors
/// The first key whose value changes the numbers in a way that is not built in.
pub(crate) fn judge(settings: &Map<String, Value>, place: Place) -> Result<Vec<String>, String> {
    let mut unknown = Vec::new();
    for (key, value) in settings {
        match place.rule(key) {
            Some(Read | Harmless) => {}
            Some(Only(values)) => {
                let is_built_in =
                    values.iter().any(|text| serde_json::from_str(text).is_ok_and(|v: Value| v == *value));
                if !value.is_null() && !is_built_in {
                    return Err(format!(
                        "{key} is {}, which is not supported (expected {})",
                        shown(value),
                        values[0]
                    ));
                }
            }
            None if says_nothing(value) => {}
            None => unknown.push(key.clone()),
        }
    }
    Ok(unknown)
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// A value as a message shows it: not longer than a line.
pub(crate) fn shown(value: &Value) -> String {
    const LONGEST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn judged(place: Place, settings: Value) -> Result<Vec<String>, String> {
        judge(settings.as_object().unwrap(), place)
    }

    #[test]
    fn no_key_has_two_rules_in_one_place() {
        for place in [
            Place::FlatConfig,
            Place::NestedConfig,
            Place::Qwen3TextConfig,
            Place::VisionConfig,
            Place::Qwen2VisionConfig,
            Place::Qwen3VisionConfig,
            Place::Rope,
            Place::Qwen3Rope,
            Place::TwoTowers,
            Place::TextTower,
            Place::VisionTower,
            Place::FixedSizeProcessor,
            Place::VideoProcessor,
            Place::Processor,
            Place::Tokenizer,
            Place::TextTokenizer,
            Place::Adapter,
        ] {
            let mut keys: Vec<&str> =
                place.tables().iter().flat_map(|t| t.iter()).flat_map(|(_, k)| k.iter().copied()).collect();
            let count = keys.len();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(keys.len(), count, "{place:?} lists a key twice");
        }
    }

    #[test]
    fn values_that_are_not_built_in_are_refused_and_unknown_keys_told_of() {
        for (place, key, good, bad) in [
            (Place::FlatConfig, "use_sliding_window", json!(false), json!(true)),
            (Place::TextConfig, "partial_rotary_factor", json!(1.0), json!(0.5)),
            (Place::NestedConfig, "quantization_config", json!(null), json!({"quant_method": "awq"})),
            (Place::VisionConfig, "deepstack_visual_indexes", json!([]), json!([5, 11])),
            (Place::Rope, "mrope_interleaved", json!(false), json!(true)),
            (Place::Qwen3Rope, "mrope_interleaved", json!(true), json!(false)),
            (Place::Qwen3TextConfig, "attention_bias", json!(false), json!(true)),
            (Place::Qwen3VisionConfig, "window_size", json!(null), json!(112)),
            (Place::Qwen2VisionConfig, "fullatt_block_indexes", json!([]), json!([7])),
            (Place::ImageProcessor, "do_rescale", json!(true), json!(false)),
            (Place::ImageProcessor, "resample", json!(3), json!(2)),
            (Place::VideoProcessor, "do_normalize", json!(true), json!(false)),
            (Place::FixedSizeProcessor, "do_pad", json!(false), json!(true)),
            (Place::VisionTower, "vision_use_head", json!(true), json!(false)),
            (Place::TextTokenizer, "padding_side", json!("right"), json!("left")),
            (Place::Tokenizer, "add_bos_token", json!(false), json!(true)),
            (Place::Tokenizer, "truncation_side", json!("right"), json!("left")),
            (Place::Adapter, "layer_replication", json!(null), json!([[0, 2], [1, 3]])),
        ] {
            assert_eq!(judged(place, json!({ key: good })), Ok(vec![]), "{place:?} {key}");
            let reason = judged(place, json!({ key: bad })).unwrap_err();
            assert!(reason.starts_with(key), "{reason}");
        }
        let settings = json!({"a_new_key": 0.5, "another": null, "off": false, "empty": {}, "_private": 1});
        assert_eq!(judged(Place::FlatConfig, settings), Ok(vec!["a_new_key".to_owned()]));
        let long = json!({"quantization_config": "x".repeat(10_000)});
        assert!(judged(Place::FlatConfig, long).unwrap_err().len() < 200);
    }
}
