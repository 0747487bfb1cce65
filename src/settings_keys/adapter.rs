//! `adapter_config.json`, as PEFT writes it.

use super::Rule::{Harmless, Only, Read};
use super::{OFF, Table};

/// `adapter_config.json`.
pub(super) const ADAPTER: &Table = &[
    (
        Read,
        &[
            "alpha_pattern",
            "base_model_name_or_path",
            "init_lora_weights",
            "lora_alpha",
            "lora_dropout",
            "modules_to_save",
            "peft_type",
            "r",
            "rank_pattern",
            "revision",
            "target_modules",
            "use_dora",
            "use_rslora",
        ],
    ),
    // Layers that are there twice, or change in another way than by a sum.
    (OFF, &["layer_replication", "use_bdlora", "use_qalora", "velora_config", "monteclora_config"]),
    (OFF, &["alora_invocation_tokens", "arrow_config", "kasa_config", "bias", "lora_bias"]),
    // More that is trained than linear layers' factors and whole modules.
    (OFF, &["trainable_token_indices", "target_parameters", "ensure_weight_tying", "megatron_config"]),
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
            // Of layers that keep their weights transposed, as no model here does: of others PEFT takes it back.
            "fan_in_fan_out",
            "layers_pattern",
            "layers_to_transform",
            "inference_mode",
            "megatron_core",
            "peft_version",
            // Of `use_qalora`, which is judged above.
            "qalora_group_size",
            "runtime_config",
            "task_type",
        ],
    ),
];
