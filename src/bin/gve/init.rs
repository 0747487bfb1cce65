use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use gve::model::init_weights;
use gve::preprocess::learn_tokenizer;
use serde_json::{Value, json};

use crate::output::{Outcome, print};

pub(crate) struct Settings {
    pub(crate) config: PathBuf,
    pub(crate) texts: Vec<PathBuf>,
    pub(crate) vocab: usize,
    pub(crate) max_pixels: u64,
    pub(crate) seed: u64,
    pub(crate) out: PathBuf,
}

pub(crate) fn run(settings: &Settings) -> Result<Outcome> {
    let Settings { config, out, .. } = settings;
    let mut shape: Value =
        serde_json::from_str(&read(config)?).with_context(|| config.display().to_string())?;
    if out.exists() {
        bail!("{} is there already: choose another directory or remove it", out.display());
    }
    let mut texts = Vec::new();
    for path in &settings.texts {
        for (number, line) in read(path)?.lines().enumerate() {
            let line =
                serde_json::from_str(line).with_context(|| format!("{}:{}", path.display(), number + 1))?;
            collect(&line, &mut texts);
        }
    }
    fs::create_dir_all(out).with_context(|| format!("cannot create {}", out.display()))?;
    let special = learn_tokenizer(texts.into_iter(), settings.vocab, &out.join("tokenizer.json"))?;
    let special: BTreeMap<_, _> = special.into_iter().collect();
    for (key, token) in [
        ("bos_token_id", "<|endoftext|>"),
        ("eos_token_id", "<|im_end|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
        ("vision_token_id", "<|vision_pad|>"),
        ("image_token_id", "<|image_pad|>"),
        ("video_token_id", "<|video_pad|>"),
    ] {
        shape[key] = json!(special.get(token));
    }
    shape["vocab_size"] = json!(special.values().max().map(|id| id + 1));
    let write = |name: &str, value: &Value| {
        let path = out.join(name);
        fs::write(&path, format!("{value:#}\n")).with_context(|| format!("cannot write {}", path.display()))
    };
    write("config.json", &shape)?;
    write("preprocessor_config.json", &preprocessor(settings.max_pixels))?;
    write(
        "tokenizer_config.json",
        &json!({
            "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
            "model_max_length": shape["max_position_embeddings"], "clean_up_tokenization_spaces": false,
        }),
    )?;
    write("chat_template.json", &json!({ "chat_template": CHAT_TEMPLATE }))?;
    let parameters = init_weights(out, settings.seed)?;
    print(&format!(
        "{}: {:.2} M parameters, {} tokens",
        out.display(),
        parameters as f64 / 1e6,
        shape["vocab_size"]
    ))?;
    Ok(Outcome::Complete)
}

/// What the chat template makes of a message is fixed in gve; this says the same to transformers.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}\
<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n\
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}\
<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\
<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

fn preprocessor(max_pixels: u64) -> Value {
    json!({
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "min_pixels": 3136, "max_pixels": max_pixels,
    })
}

fn read(path: &PathBuf) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// All values of the keys `text` and `instruction`, however deep.
fn collect(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if matches!(key.as_str(), "text" | "instruction") => {
                        texts.push(text.clone())
                    }
                    _ => collect(value, texts),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, texts)),
        _ => {}
    }
}
