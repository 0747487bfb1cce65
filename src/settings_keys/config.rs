//! `config.json`: the keys of language and vision towers.

use super::Rule::{Harmless, Only, Read};
use super::{OFF, ONE, Table};

/// How `quantization_config` tells of linear layers in int8, in the words of the library compressed-tensors:
/// a scale per output, and activations that are rounded when they arrive.
pub(crate) const INT8_STORAGE: &str = r#"{
    "quant_method": "compressed-tensors",
    "format": "int-quantized",
    "quantization_status": "compressed",
    "config_groups": {
        "group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "channel", "dynamic": false},
            "input_activations": {"num_bits": 8, "type": "int", "symmetric": true, "strategy": "token", "dynamic": true}
        }
    },
    "ignore": ["lm_head"]
}"#;

/// `config.json`, and every part of it: what any model of transformers may have.
pub(super) const COMMON: &Table = &[
    (Read, &["model_type"]),
    // Weights that are not floating point, or stand for others.
    (Only(&["{}", INT8_STORAGE]), &["quantization_config"]),
    (OFF, &["compression_config", "pruned_heads"]),
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
pub(super) const TEXT: &Table = &[
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
            "tie_word_embeddings",
            "video_token_id",
            "vision_start_token_id",
            "vocab_size",
        ],
    ),
    (ONE, &["partial_rotary_factor", "attention_multiplier", "embedding_multiplier", "residual_multiplier"]),
    (Only(&["true"]), &["is_causal"]),
    (OFF, &["use_sliding_window", "no_rope_layers", "rope_interleave", "rope_interleaved", "alibi"]),
    (OFF, &["attn_logit_softcapping", "logit_softcapping", "query_pre_attn_scalar", "scale_embedding"]),
    (OFF, &["mlp_bias", "use_cla", "attention_sink", "attention_chunk_size"]),
    (OFF, &["num_experts", "num_local_experts", "num_experts_per_tok", "moe_intermediate_size"]),
    (
        Harmless,
        &[
            // There is no dropout outside of training, and the reference fine-tunes without.
            "attention_dropout",
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

/// Further keys of the language models of Qwen2-VL and Qwen2.5-VL.
pub(super) const QWEN2_TEXT: &Table = &[
    (OFF, &["use_qk_norm", "qk_norm"]),
    // Whether a layer has a bias is a matter of its tensors; the reference reads no such key.
    (Harmless, &["attention_bias", "qkv_bias"]),
];

/// Further keys of the language model of Qwen3-VL.
pub(super) const QWEN3_TEXT: &Table =
    &[(OFF, &["attention_bias", "qkv_bias"]), (Only(&["true"]), &["use_qk_norm", "qk_norm"])];

/// What stands beside `text_config`. Keys of [`TEXT`] that are there as well are copies that the reference
/// does not read.
pub(super) const ROOT: &Table = &[(Read, &["text_config"])];

/// `vision_config` of any family of the Qwen-VL line.
pub(super) const VISION: &Table = &[
    (
        Read,
        &[
            "depth",
            "hidden_act",
            "hidden_size",
            "in_channels",
            "num_heads",
            "patch_size",
            "rope_parameters",
            "spatial_merge_size",
            "temporal_patch_size",
        ],
    ),
    // The reference reads `in_channels` and `patch_size`.
    (Harmless, &["in_chans", "spatial_patch_size"]),
];

/// Further keys of Qwen2.5-VL's.
pub(super) const QWEN25_VISION: &Table = &[
    (
        Read,
        &[
            "fullatt_block_indexes",
            "intermediate_size",
            "out_hidden_size",
            "tokens_per_second",
            "window_size",
        ],
    ),
    (OFF, &["deepstack_visual_indexes", "num_position_embeddings", "mlp_ratio", "embed_dim"]),
];

/// Further keys of Qwen2-VL's.
pub(super) const QWEN2_VISION: &Table = &[
    (Read, &["embed_dim", "mlp_ratio"]),
    (OFF, &["deepstack_visual_indexes", "num_position_embeddings", "fullatt_block_indexes", "window_size"]),
];

/// Further keys of Qwen3-VL's.
pub(super) const QWEN3_VISION: &Table = &[
    (Read, &["deepstack_visual_indexes", "intermediate_size", "num_position_embeddings", "out_hidden_size"]),
    (OFF, &["fullatt_block_indexes", "mlp_ratio", "embed_dim", "tokens_per_second", "window_size"]),
];

/// `rope_scaling` or `rope_parameters` of the language model.
pub(super) const ROPE: &Table = &[
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
    (Only(&["true"]), &["truncate"]),
];

/// Further ones of Qwen2-VL and Qwen2.5-VL, whose sections lie one behind the other.
pub(super) const QWEN2_ROPE: &Table = &[(OFF, &["mrope_interleaved"])];

/// Further ones of Qwen3-VL, whose sections alternate.
pub(super) const QWEN3_ROPE: &Table = &[(Only(&["true"]), &["mrope_interleaved"])];

/// What stands around the towers of CLIP and SigLIP.
pub(super) const TWO_TOWERS: &Table = &[
    (Read, &["projection_dim", "text_config", "text_config_dict", "vision_config", "vision_config_dict"]),
    // Of the loss, and of the start of training.
    (Harmless, &["initializer_factor", "logit_scale_init_value"]),
];

/// Their `text_config`.
pub(super) const TEXT_TOWER: &Table = &[
    (
        Read,
        &[
            "eos_token_id",
            "hidden_act",
            "hidden_size",
            "intermediate_size",
            "layer_norm_eps",
            "max_position_embeddings",
            "num_attention_heads",
            "num_hidden_layers",
            "projection_size",
            "vocab_size",
        ],
    ),
    (
        Harmless,
        &[
            "attention_dropout",
            "bos_token_id",
            "decoder_start_token_id",
            "dropout",
            "initializer_factor",
            "pad_token_id",
            // The one that holds stands beside the towers.
            "projection_dim",
            "sep_token_id",
            "tie_word_embeddings",
        ],
    ),
];

/// Their `vision_config`.
pub(super) const VISION_TOWER: &Table = &[
    (
        Read,
        &[
            "hidden_act",
            "hidden_size",
            "image_size",
            "intermediate_size",
            "layer_norm_eps",
            "num_attention_heads",
            "num_channels",
            "num_hidden_layers",
            "patch_size",
        ],
    ),
    (Only(&["true"]), &["vision_use_head"]),
    (
        Harmless,
        &[
            "attention_dropout",
            "bos_token_id",
            "decoder_start_token_id",
            "dropout",
            "eos_token_id",
            "initializer_factor",
            "pad_token_id",
            "projection_dim",
            "sep_token_id",
            "tie_word_embeddings",
        ],
    ),
];
