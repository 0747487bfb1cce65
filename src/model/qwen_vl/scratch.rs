//! What a checkpoint that is made from nothing has beside its weights and its tokenizer.

use serde_json::{Value, json};

use super::prompt::TEMPLATE;
use crate::preprocess::PixelBounds;

/// Keys of `config.json` that hold the id of a special token.
pub(crate) const TOKEN_IDS: [(&str, &str); 7] = [
    ("bos_token_id", "<|endoftext|>"),
    ("eos_token_id", "<|im_end|>"),
    ("vision_start_token_id", "<|vision_start|>"),
    ("vision_end_token_id", "<|vision_end|>"),
    ("vision_token_id", "<|vision_pad|>"),
    ("image_token_id", "<|image_pad|>"),
    ("video_token_id", "<|video_pad|>"),
];

/// What a template puts around texts, its control tokens aside.
pub(crate) const TEMPLATE_TEXT: &str = "system\nYou are a helpful assistant.\nuser\nassistant\n";

/// Settings files by their names, for pictures whose area lies in `pixels`.
pub(crate) fn settings_files(pixels: PixelBounds) -> [(&'static str, Value); 3] {
    [
        ("preprocessor_config.json", preprocessor_config(pixels)),
        ("tokenizer_config.json", tokenizer_config()),
        ("chat_template.json", json!({ "chat_template": TEMPLATE.jinja })),
    ]
}

fn preprocessor_config(pixels: PixelBounds) -> Value {
    json!({
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2_5_VLProcessor",
        "image_mean": [0.481_454_66, 0.457_827_5, 0.408_210_73],
        "image_std": [0.268_629_54, 0.261_302_58, 0.275_777_11],
        "patch_size": 14, "temporal_patch_size": 2, "merge_size": 2,
        "min_pixels": pixels.min_pixels(), "max_pixels": pixels.max_pixels(),
    })
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>",
        "clean_up_tokenization_spaces": false,
    })
}
