//! Every key that is known of a checkpoint's settings files, in one place: what is read, what must have the value that is built in, and what cannot
//! change an embedding.
//!
//! The keys are those that transformers 4.51 to 5.23 and PEFT up to 0.21 write, and those by which related architectures differ. A key that is in
//! no table is one that nobody here knows: it is told of, or refused, by whoever judges its file.

use serde_json::{Map, Value};

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

/// `config.json`, and every part of it: what any model of transformers may have.
const COMMON: &Table = &[
    (Read, &["model_type"]),
    // Weights that are not floating point, or stand for others.
    (OFF, &["quantization_config", "compression_config", "pruned_heads"]),
    (OFF, &["is_encoder_decoder", "add_cross_attention", "cross_attention_hidden_size"]),
    // What a program that runs the model does with it, or what its training did.
    (
        Harmless,
        &[
            "architectures",
            "attn_implementation",
            "auto_map",
            "chunk_size_feed_forward",
            "dtype",
            "finetuning_task",
            "id2label",
            "initializer_range",
            "is_decoder",
            "keys_to_ignore_at_inference",
            "label2id",
            "name_or_path",
            "num_labels",
            "output_attentions",
            "output_hidden_states",
            "problem_type",
            "processor_class",
            "return_dict",
            "task_specific_params",
            "tf_legacy_loss",
            "tie_encoder_decoder",
            "tokenizer_class",
            "torch_dtype",
            "torchscript",
            "transformers_version",
            "transformers_weights",
            "unsloth_fixed",
            "unsloth_version",
            "use_bfloat16",
            "use_return_dict",
        ],
    ),
    // How text would be generated.
    (
        Harmless,
        &[
            "bad_words_ids",
            "begin_suppress_tokens",
            "diversity_penalty",
            "do_sample",
            "early_stopping",
            "encoder_no_repeat_ngram_size",
            "exponential_decay_length_penalty",
            "forced_bos_token_id",
            "forced_eos_token_id",
            "length_penalty",
            "max_length",
            "min_length",
            "no_repeat_ngram_size",
            "num_beam_groups",
            "num_beams",
            "num_return_sequences",
            "output_scores",
            "prefix",
            "remove_invalid_values",
            "repetition_penalty",
            "return_dict_in_generate",
            "suppress_tokens",
            "temperature",
            "top_k",
            "top_p",
            "typical_p",
        ],
    ),
];

/// The language model's keys: at the top of `config.json`, or in its `text_config`.
const TEXT: &Table = &[
    (
        Read,
        &[
            "head_dim",
            "hidden_act",
            "hidden_size",
            "image_token_id",
            "intermediate_size",
            "layer_types",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "num_key_value_heads",
            "rms_norm_eps",
            "rope_parameters",
            "rope_scaling",
            "rope_theta",
            "video_token_id",
            "vision_start_token_id",
            "vocab_size",
        ],
    ),
    (ONE, &["partial_rotary_factor", "attention_multiplier", "embedding_multiplier", "residual_multiplier"]),
    (Only(&["true"]), &["is_causal"]),
    (OFF, &["use_sliding_window", "no_rope_layers", "rope_interleave", "rope_interleaved", "alibi"]),
    (OFF, &["attn_logit_softcapping", "logit_softcapping", "query_pre_attn_scalar", "scale_embedding"]),
    (OFF, &["mlp_bias", "use_qk_norm", "qk_norm", "use_cla", "attention_sink", "attention_chunk_size"]),
    (OFF, &["num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size"]),
    (
        Harmless,
        &[
            // There is no dropout outside of training, and the reference fine-tunes without.
            "attention_dropout",
            // Whether a layer has a bias is a matter of its tensors; the reference reads no such key.
            "attention_bias",
            "qkv_bias",
            // Without a head there is nothing to tie.
            "tie_word_embeddings",
            // Without `use_sliding_window`, which is judged above.
            "sliding_window",
            "max_window_layers",
            // Tokens come from tokenizer.json.
            "bos_token_id",
            "decoder_start_token_id",
            "eos_token_id",
            "pad_token_id",
            "sep_token_id",
            "vision_end_token_id",
            "vision_token_id",
            "pretraining_tp",
            "use_cache",
            "vision_config",
        ],
    ),
];

/// What stands beside `text_config`. Keys of [`TEXT`] that are there as well are copies that the reference does not read.
const ROOT: &Table = &[(Read, &["text_config"])];

/// `vision_config`.
const VISION: &Table = &[
    (
        Read,
        &[
            "depth",
            "fullatt_block_indexes",
            "hidden_act",
            "hidden_size",
            "in_channels",
            "intermediate_size",
            "num_heads",
            "out_hidden_size",
            "patch_size",
            "rope_parameters",
            "spatial_merge_size",
            "temporal_patch_size",
            "tokens_per_second",
            "window_size",
        ],
    ),
    // Of the relatives: Qwen2-VL and Qwen3-VL.
    (OFF, &["deepstack_visual_indexes", "num_position_embeddings", "mlp_ratio", "embed_dim"]),
    // The reference reads `in_channels` and `patch_size`.
    (Harmless, &["in_chans", "spatial_patch_size"]),
];

/// `rope_scaling` or `rope_parameters` of the language model.
const ROPE: &Table = &[
    (
        Read,
        &[
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "factor",
            "mrope_section",
            "mscale",
            "mscale_all_dim",
            "original_max_position_embeddings",
            "rope_theta",
            "rope_type",
            "type",
        ],
    ),
    (ONE, &["partial_rotary_factor"]),
    (OFF, &["mrope_interleaved"]),
    (Only(&["true"]), &["truncate"]),
];

/// `preprocessor_config.json`, or `image_processor` in `processor_config.json`.
const IMAGE_PROCESSOR: &Table = &[
    (
        Read,
        &[
            "image_mean",
            "image_std",
            "max_pixels",
            "merge_size",
            "min_pixels",
            "patch_size",
            "rescale_factor",
            "size",
            "temporal_patch_size",
        ],
    ),
    (Only(&["true"]), &["do_resize", "do_rescale", "do_normalize"]),
    // Pillow's number for bicubic, the only filter the model was trained with.
    (Only(&["3", "\"bicubic\"", "\"BICUBIC\""]), &["resample"]),
    (Only(&["true"]), &["do_convert_rgb"]),
    (OFF, &["do_center_crop", "do_pad", "crop_size", "pad_size", "do_flip_channel_order", "do_grayscale"]),
    (OFF, &["do_reduce_labels", "do_align_axis", "do_thumbnail", "do_crop_margin", "do_image_splitting"]),
    (
        Harmless,
        &[
            "auto_map",
            "data_format",
            "default_to_square",
            "device",
            "disable_grouping",
            "feature_extractor_type",
            "image_processor_type",
            "image_seq_length",
            "input_data_format",
            "processor_class",
            "return_tensors",
            "use_fast",
        ],
    ),
];

/// `size` in an image processor: bounds of the area, under old names and new.
const PICTURE_SIZE: &Table = &[(Read, &["longest_edge", "max_pixels", "min_pixels", "shortest_edge"])];

/// `video_preprocessor_config.json`, or `video_processor` in `processor_config.json`, beside the keys of [`IMAGE_PROCESSOR`].
const VIDEO_PROCESSOR: &Table = &[(
    // Which frames are looked at, and how large, is the caller's choice, as in the reference's evaluation.
    Harmless,
    &[
        "do_sample_frames",
        "fps",
        "max_frames",
        "max_video_tokens",
        "min_frames",
        "num_frames",
        "return_metadata",
        "video_metadata",
        "video_processor_type",
    ],
)];

/// `processor_config.json` around its two processors.
const PROCESSOR: &Table = &[
    (Read, &["image_processor", "video_processor"]),
    (Harmless, &["auto_map", "chat_template", "image_token", "processor_class", "tokenizer", "video_token"]),
];

/// `tokenizer_config.json`.
const TOKENIZER: &Table = &[
    (OFF, &["add_bos_token", "add_eos_token", "add_prefix_space", "do_lower_case", "split_special_tokens"]),
    (Only(&["\"right\""]), &["truncation_side"]),
    (
        Harmless,
        &[
            "added_tokens_decoder",
            "additional_special_tokens",
            "auto_map",
            "backend",
            "bos_token",
            "chat_template",
            "clean_up_tokenization_spaces",
            "eos_token",
            "errors",
            "extra_special_tokens",
            "image_token",
            "is_local",
            "legacy",
            "local_files_only",
            "max_length",
            // Longer inputs are cut at a length of ours.
            "model_max_length",
            "model_specific_special_tokens",
            "name_or_path",
            "pad_to_multiple_of",
            "pad_token",
            // Nothing is padded.
            "padding_side",
            "pad_token_type_id",
            "processor_class",
            "stride",
            "tokenizer_class",
            "tokenizer_file",
            "truncation_strategy",
            "unk_token",
            "use_fast",
            "video_token",
            "vision_bos_token",
            "vision_eos_token",
        ],
    ),
];

/// `adapter_config.json`.
const ADAPTER: &Table = &[
    (
        Read,
        &[
            "base_model_name_or_path",
            "init_lora_weights",
            "lora_alpha",
            "lora_dropout",
            "peft_type",
            "r",
            "target_modules",
            "use_rslora",
        ],
    ),
    // Layers that are there twice, or change in another way than by a sum.
    (
        OFF,
        &["layer_replication", "use_dora", "use_bdlora", "use_qalora", "velora_config", "monteclora_config"],
    ),
    (OFF, &["alora_invocation_tokens", "arrow_config", "kasa_config", "bias", "lora_bias", "fan_in_fan_out"]),
    // More that is trained than linear layers' factors.
    (OFF, &["modules_to_save", "trainable_token_indices", "target_parameters", "ensure_weight_tying"]),
    (OFF, &["megatron_config", "rank_pattern", "alpha_pattern"]),
    (Only(&["true"]), &["enable_lora"]),
    (
        Harmless,
        &[
            "auto_mapping",
            // Of an initialisation, which `init_lora_weights` names.
            "corda_config",
            "eva_config",
            "loftq_config",
            "lora_ga_config",
            // Which layers have an adapter is a matter of its tensors.
            "exclude_modules",
            "layers_pattern",
            "layers_to_transform",
            "inference_mode",
            "megatron_core",
            "peft_version",
            // Of `use_qalora`, which is judged above.
            "qalora_group_size",
            "revision",
            "runtime_config",
            "task_type",
        ],
    ),
];

/// A file of settings, or a part of one that has keys of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// `config.json` with the language model's keys at the top.
    FlatConfig,
    /// `config.json` around `text_config`.
    NestedConfig,
    TextConfig,
    VisionConfig,
    Rope,
    ImageProcessor,
    PictureSize,
    VideoProcessor,
    Processor,
    Tokenizer,
    Adapter,
}

impl Place {
    fn tables(self) -> &'static [&'static Table] {
        match self {
            Self::FlatConfig => &[TEXT, COMMON],
            Self::NestedConfig => &[ROOT, COMMON],
            Self::TextConfig => &[TEXT, COMMON],
            Self::VisionConfig => &[VISION, COMMON],
            Self::Rope => &[ROPE],
            Self::ImageProcessor => &[IMAGE_PROCESSOR],
            Self::PictureSize => &[PICTURE_SIZE],
            Self::VideoProcessor => &[IMAGE_PROCESSOR, VIDEO_PROCESSOR],
            Self::Processor => &[PROCESSOR],
            Self::Tokenizer => &[TOKENIZER],
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
            None if self == Self::NestedConfig => of(&[TEXT]).map(|_| Harmless),
            rule => rule,
        }
    }
}

/// Holds the keys of `settings` against what is known of `place`. Returns the keys that are unknown and say something, that is, are neither null
/// nor off nor empty.
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
            Place::VisionConfig,
            Place::Rope,
            Place::VideoProcessor,
            Place::Processor,
            Place::Tokenizer,
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
            (Place::ImageProcessor, "do_rescale", json!(true), json!(false)),
            (Place::ImageProcessor, "resample", json!(3), json!(2)),
            (Place::VideoProcessor, "do_normalize", json!(true), json!(false)),
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
