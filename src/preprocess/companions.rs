//! The settings files around `preprocessor_config.json`: what they say must agree with it, or be what is
//! built in.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::ImageProcessorConfig;
use super::config::{PREPROCESSOR_FILE, PROCESSOR_FILE, ProcessorKind, read_object};
use super::error::{PreprocessError, Result};
use crate::settings_keys::{Place, judge};
use crate::store::limited_file;

const VIDEO_FILE: &str = "video_preprocessor_config.json";
const TOKENIZER_FILE: &str = "tokenizer_config.json";
const TEMPLATE_FILES: [&str; 2] = ["chat_template.jinja", "chat_template.json"];

/// The prompt that is built in for a family of models, as its checkpoints spell it for transformers.
#[derive(Debug)]
pub struct ChatTemplate {
    /// The family's name.
    pub family: &'static str,
    /// The layout as a template of Jinja.
    pub jinja: &'static str,
    /// Texts that the templates of its checkpoints put out between their tags, for every prompt.
    pub every_prompt: &'static [&'static str],
    /// Further ones, which callers may ask for.
    pub on_demand: &'static [&'static str],
}

/// Holds the video processor, the processor and the tokenizer of the checkpoint in `model_dir` against
/// `image`, which is of `kind` and used for videos too.
pub(super) fn check(model_dir: &Path, image: &ImageProcessorConfig, kind: ProcessorKind) -> Result<()> {
    let unsupported =
        |name: &str, reason| PreprocessError::UnsupportedSetting { path: model_dir.join(name), reason };
    for (name, keys, place) in files(model_dir, kind)? {
        judge(&keys, place).map_err(|reason| unsupported(name, reason))?;
        if place == kind.place() || place == Place::VideoProcessor {
            let other = kind.read(keys, place, &model_dir.join(name))?;
            // How large the frames of a video are is the caller's choice, as in the reference's evaluation.
            let same = if place == Place::VideoProcessor { image.is_like(&other) } else { *image == other };
            if !same {
                let kind = if place == Place::VideoProcessor { "video_processor" } else { "image_processor" };
                return Err(unsupported(
                    name,
                    format!(
                        "the {kind} differs from {PREPROCESSOR_FILE}, whose settings are used for images and \
                         videos alike: make them equal"
                    ),
                ));
            }
        }
    }
    Ok(())
}

/// What the settings of images, videos, tokens and prompts in `model_dir` say that nobody here knows: keys,
/// with their files, and a template of prompts that is another than `built_in`. Files that cannot be read are
/// passed over: loading the model says why.
pub fn unknown_settings(
    model_dir: &Path,
    kind: ProcessorKind,
    built_in: Option<&ChatTemplate>,
) -> Vec<String> {
    let mut unknown = Vec::new();
    for (name, keys, place) in files(model_dir, kind).unwrap_or_default() {
        let found = judge(&keys, place).unwrap_or_default();
        unknown.extend(found.into_iter().map(|key| format!("{name}: key `{key}`")));
    }
    if let Some(built_in) = built_in
        && let Some(name) = foreign_template(model_dir, built_in)
    {
        unknown.push(format!("{name}: a prompt other than {}'s, which is built in", built_in.family));
    }
    unknown
}

/// What `tokenizer_config.json` says that `tokenizer.json` does not.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenizerSettings {
    pub(crate) tokenizer_class: Option<String>,
    pub(crate) do_lower_case: Option<bool>,
    pub(crate) add_bos_token: Option<bool>,
    pub(crate) add_eos_token: Option<bool>,
    #[serde(default, deserialize_with = "spelling")]
    pub(crate) pad_token: Option<String>,
    #[serde(skip)]
    path: PathBuf,
}

impl TokenizerSettings {
    /// Reads those of the checkpoint in `model_dir`.
    ///
    /// # Errors
    /// A file that is missing or damaged.
    pub(crate) fn load(model_dir: &Path) -> Result<Self> {
        let path = model_dir.join(TOKENIZER_FILE);
        let missing = || PreprocessError::MissingCheckpointFile { path: path.clone() };
        let keys = read_object(&path)?.ok_or_else(missing)?;
        let settings = Self::deserialize(Value::Object(keys))
            .map_err(|reason| PreprocessError::ParseConfig { path: path.clone(), reason })?;
        Ok(Self { path, ..settings })
    }

    /// That something in the file is not built in.
    pub(crate) fn unsupported(&self, reason: String) -> PreprocessError {
        PreprocessError::UnsupportedSetting { path: self.path.clone(), reason }
    }
}

/// A token, which old files have as an object.
fn spelling<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let token = Option::<Value>::deserialize(deserializer)?;
    let spelling = |token: &Value| token.get("content").unwrap_or(token).as_str().map(str::to_owned);
    Ok(token.as_ref().and_then(spelling))
}

type Keys = serde_json::Map<String, Value>;

/// Every settings file that is there, and the parts that have keys of their own.
fn files(model_dir: &Path, kind: ProcessorKind) -> Result<Vec<(&'static str, Keys, Place)>> {
    let mut found = Vec::new();
    let tokenizer = match kind {
        ProcessorKind::VisualTokens => Place::Tokenizer,
        ProcessorKind::FixedSize(_) => Place::TextTokenizer,
    };
    for (name, place) in [
        (PREPROCESSOR_FILE, kind.place()),
        (VIDEO_FILE, Place::VideoProcessor),
        (PROCESSOR_FILE, Place::Processor),
        (TOKENIZER_FILE, tokenizer),
    ] {
        let Some(keys) = read_object(&model_dir.join(name))? else { continue };
        for (part, place) in [("image_processor", kind.place()), ("video_processor", Place::VideoProcessor)] {
            if let (PROCESSOR_FILE, Some(Value::Object(keys))) = (name, keys.get(part)) {
                found.push((name, keys.clone(), place));
            }
        }
        found.push((name, keys, place));
    }
    Ok(found)
}

/// The file whose template is not `built_in`, as far as the texts between its tags tell.
fn foreign_template(model_dir: &Path, built_in: &ChatTemplate) -> Option<&'static str> {
    let [jinja, json] = TEMPLATE_FILES;
    let in_json = |name| {
        let keys = read_object(&model_dir.join(name)).ok()??;
        keys.get("chat_template")?.as_str().map(str::to_owned)
    };
    let (name, template) = limited_file::read_text(&model_dir.join(jinja), super::config::MAX_BYTES)
        .ok()
        .map(|text| (jinja, text))
        .or_else(|| in_json(json).map(|text| (json, text)))
        .or_else(|| in_json(TOKENIZER_FILE).map(|text| (TOKENIZER_FILE, text)))?;
    let texts = texts_between_tags(&template);
    let all: String = texts.concat();
    let ChatTemplate { every_prompt, on_demand, .. } = built_in;
    let complete = every_prompt.iter().all(|text| all.contains(text));
    let known = |text: &&str| every_prompt.iter().chain(*on_demand).any(|known| known.contains(text));
    (!complete || !texts.iter().all(known)).then_some(name)
}

/// What a template puts out as it stands: all that is in no tag. As transformers sets Jinja up, a line end
/// behind a statement is dropped.
fn texts_between_tags(template: &str) -> Vec<&str> {
    let mut texts = Vec::new();
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let close = match rest[start + 1..].chars().next() {
            Some('%') => "%}",
            Some('{') => "}}",
            Some('#') => "#}",
            _ => break,
        };
        texts.push(&rest[..start]);
        let Some(end) = rest[start..].find(close) else { return texts };
        rest = &rest[start + end + 2..];
        if close != "}}" {
            rest = rest.strip_prefix('\n').unwrap_or(rest);
        }
    }
    texts.push(rest);
    texts.retain(|text| !text.is_empty());
    texts
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        folder
    }

    fn image() -> Value {
        json!({"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14, "temporal_patch_size": 2,
            "merge_size": 2})
    }

    fn load(files: &[(&str, Value)]) -> Result<ImageProcessorConfig> {
        ImageProcessorConfig::load(folder(files).path())
    }

    #[test]
    fn files_that_agree_are_read() {
        // As transformers 5.23 writes them.
        let video = json!({"size": {"longest_edge": 602112, "shortest_edge": 100352}, "do_convert_rgb": true,
            "do_resize": true, "resample": 3, "do_rescale": true, "rescale_factor": 0.00392156862745098,
            "do_normalize": true,
            "do_sample_frames": false, "return_metadata": false, "patch_size": 14, "temporal_patch_size": 2,
            "merge_size": 2, "min_frames": 4, "max_frames": 768, "max_video_tokens": 128000,
            "image_mean": [0.48145466, 0.4578275, 0.40821073],
            "image_std": [0.26862954, 0.26130258, 0.27577711],
            "video_processor_type": "Qwen2VLVideoProcessor"});
        let tokenizer = json!({"add_bos_token": false, "padding_side": "left", "model_max_length": 131072,
            "truncation_side": "right"});
        load(&[(PREPROCESSOR_FILE, image()), (VIDEO_FILE, video.clone()), (TOKENIZER_FILE, tokenizer)])
            .unwrap();
        let processor = json!({"processor_class": "P", "image_processor": image(), "video_processor": video});
        load(&[(PROCESSOR_FILE, processor.clone())]).unwrap();
        load(&[(PREPROCESSOR_FILE, image()), (PROCESSOR_FILE, processor)]).unwrap();
    }

    #[test]
    fn what_differs_or_is_not_built_in_is_refused_with_its_file() {
        let with = |key: &str, value: Value| {
            let mut image = image();
            image[key] = value;
            image
        };
        for (name, value, named) in [
            (VIDEO_FILE, with("image_mean", json!([0.5, 0.5, 0.5])), "video_processor"),
            (VIDEO_FILE, with("temporal_patch_size", json!(4)), "video_processor"),
            (VIDEO_FILE, json!({"do_rescale": false}), "do_rescale"),
            (PROCESSOR_FILE, json!({"image_processor": with("patch_size", json!(16))}), "image_processor"),
            (
                PROCESSOR_FILE,
                json!({"image_processor": with("max_pixels", json!(784000))}),
                "image_processor",
            ),
            (PROCESSOR_FILE, json!({"video_processor": with("resample", json!(2))}), "resample"),
            (TOKENIZER_FILE, json!({"add_bos_token": true}), "add_bos_token"),
            (TOKENIZER_FILE, json!({"add_eos_token": true}), "add_eos_token"),
            (TOKENIZER_FILE, json!({"truncation_side": "left"}), "truncation_side"),
            (TOKENIZER_FILE, json!(7), "an object"),
        ] {
            let message = load(&[(PREPROCESSOR_FILE, image()), (name, value)]).unwrap_err().to_string();
            assert!(message.contains(name) && message.contains(named), "{message}");
        }
        for (key, value) in [
            ("do_resize", json!(false)),
            ("do_center_crop", json!(true)),
            ("do_pad", json!(true)),
            ("do_convert_rgb", json!(false)),
            ("size", json!({"height": 224, "width": 224})),
        ] {
            let message = load(&[(PREPROCESSOR_FILE, with(key, value))]).unwrap_err().to_string();
            assert!(message.contains(PREPROCESSOR_FILE) && message.contains(key), "{message}");
        }
    }
}
