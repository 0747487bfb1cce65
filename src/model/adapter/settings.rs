use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::peft;
use crate::model::ModelError;
use crate::settings_keys::{Place, judge, shown};

/// Ways in which PEFT starts an adapter and leaves the weights below it as they are. The others change these
/// too (`pissa`, `olora`, `loftq`, `corda`, `lora_ga`): their factors mean something beside the changed
/// weights only, unless PEFT has converted them, which it writes down as `true`.
const PLAIN_STARTS: [&str; 4] = ["gaussian", "eva", "orthogonal", "mica"];

/// Ranks that an adapter may have.
const RANKS: std::ops::RangeInclusive<u64> = 1..=1 << 20;

/// The settings of an adapter, as `adapter_config.json` has them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LoraSettings {
    /// Rank of the factors.
    pub r: usize,
    /// The change is scaled by `alpha / r`.
    pub alpha: f64,
    /// Dropout on the adapter's input while it was trained.
    pub dropout: f64,
    /// Modules that have an adapter, as the file has it: names, or their last parts, or one pattern. Which
    /// modules an adapter really has is a matter of its tensors:
    /// [`LoraAdapter::module_names`](super::LoraAdapter::module_names).
    pub target_modules: Vec<String>,
    /// The change is scaled by `alpha / sqrt(r)` instead (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// The rows of the changed weights are brought to lengths of their own (Liu et al. 2024).
    pub use_dora: bool,
    /// Modules that the adapter replaces as a whole, by the ends of their names.
    pub modules_to_save: Vec<String>,
    /// Ranks of modules that have another than `r`, by patterns of their names.
    pub rank_pattern: BTreeMap<String, usize>,
    /// The same of `alpha`.
    pub alpha_pattern: BTreeMap<String, f64>,
    /// The model it was trained on: a hub id or a directory.
    pub base_model: Option<String>,
    /// Which revision of it, where it is on the hub.
    pub revision: Option<String>,
}

impl LoraSettings {
    /// Those of the adapter in `directory`.
    ///
    /// # Errors
    /// As [`LoraAdapter::read`](super::LoraAdapter::read).
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        peft::read_settings(directory)
    }

    /// Factor of `B A`, but of modules that `rank_pattern` or `alpha_pattern` names.
    pub fn scale(&self) -> f64 {
        self.scale_of(self.alpha, self.r)
    }

    /// Factor of `B A` of a module with this `alpha` and rank.
    pub(super) fn scale_of(&self, alpha: f64, rank: usize) -> f64 {
        let r = rank as f64;
        alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Reads `adapter_config.json`; whatever would change the result and is not supported is an error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let config: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
        let keys =
            config.as_object().ok_or_else(|| format!("it is {}, expected an object", shown(&config)))?;
        let kind = config.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            return Err(format!("peft_type is {kind:?}, expected \"LORA\""));
        }
        if let Some(unknown) = judge(keys, Place::Adapter)?.first() {
            return Err(format!(
                "{unknown} is {}, a setting that is not known here: whether it changes the result cannot be \
                 told",
                shown(&config[unknown])
            ));
        }
        match config.get("init_lora_weights") {
            None | Some(Value::Null | Value::Bool(_)) => {}
            Some(Value::String(start)) if PLAIN_STARTS.contains(&start.to_lowercase().as_str()) => {}
            Some(other) => {
                return Err(format!(
                    "init_lora_weights is {}, which changes the weights of the model too; have PEFT convert the adapter \
                     (`path_initial_model_for_weight_conversion` of `save_pretrained`)",
                    shown(other)
                ));
            }
        }
        let number = |key: &str| {
            let number = config.get(key).and_then(Value::as_f64).filter(|n| n.is_finite());
            number.ok_or(format!("{key} is missing, or no number"))
        };
        let r = config
            .get("r")
            .and_then(Value::as_u64)
            .filter(|r| RANKS.contains(r))
            .ok_or("r must be a positive number")?;
        let strings = |key: &str| match config.get(key) {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let text = |key: &str| config.get(key).and_then(Value::as_str).map(str::to_owned);
        let flag = |key: &str| config.get(key).and_then(Value::as_bool).unwrap_or(false);
        let ranks = by_name(&config, "rank_pattern", |value| {
            value.as_u64().filter(|r| RANKS.contains(r)).map(|r| r as usize)
        })?;
        let alphas = by_name(&config, "alpha_pattern", |value| value.as_f64().filter(|n| n.is_finite()))?;
        Ok(Self {
            r: r as usize,
            alpha: number("lora_alpha")?,
            dropout: number("lora_dropout").unwrap_or(0.0),
            target_modules: strings("target_modules"),
            use_rslora: flag("use_rslora"),
            use_dora: flag("use_dora"),
            modules_to_save: strings("modules_to_save"),
            rank_pattern: ranks,
            alpha_pattern: alphas,
            base_model: text("base_model_name_or_path"),
            revision: text("revision"),
        })
    }

    /// `adapter_config.json` of an adapter of the modules that `target_modules` matches. The modules settings
    /// name by their last parts would have namesakes in the vision tower.
    pub(super) fn to_json(&self, target_modules: &str) -> Value {
        let patterns: Map<String, Value> =
            self.alpha_pattern.iter().map(|(name, &alpha)| (name.clone(), number(alpha))).collect();
        let saved = (!self.modules_to_save.is_empty()).then_some(&self.modules_to_save);
        json!({
            "peft_type": "LORA", "task_type": "FEATURE_EXTRACTION",
            "base_model_name_or_path": self.base_model,
            "revision": self.revision,
            "r": self.r,
            "lora_alpha": number(self.alpha),
            "lora_dropout": self.dropout,
            "target_modules": target_modules,
            "use_rslora": self.use_rslora,
            "use_dora": self.use_dora,
            "modules_to_save": saved,
            "rank_pattern": self.rank_pattern,
            "alpha_pattern": patterns,
            "bias": "none", "fan_in_fan_out": false, "inference_mode": true,
        })
    }
}

/// A number as PEFT has it, which says of alpha that it is an integer.
fn number(value: f64) -> Value {
    let is_integer = value.fract() == 0.0 && value.abs() < 1e9;
    if is_integer { json!(value as i64) } else { json!(value) }
}

/// The object at `key`, whose values `read` takes.
fn by_name<T>(
    config: &Value,
    key: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<BTreeMap<String, T>, String> {
    let value = match config.get(key) {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(value) => value,
    };
    let entries = value.as_object().map(|object| {
        object.iter().map(|(name, value)| Some((name.clone(), read(value)?))).collect::<Option<_>>()
    });
    entries.flatten().ok_or_else(|| format!("{key} is {}, expected numbers by name", shown(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_back_and_the_unsupported_is_named() {
        let settings = LoraSettings {
            r: 16,
            alpha: 32.0,
            dropout: 0.1,
            target_modules: vec!["q_proj".into(), "down_proj".into()],
            use_rslora: false,
            use_dora: true,
            modules_to_save: vec!["embed_tokens".into()],
            rank_pattern: BTreeMap::from([("q_proj".into(), 4)]),
            alpha_pattern: BTreeMap::from([("q_proj".into(), 0.5), ("up_proj".into(), 3.0)]),
            base_model: Some("Alibaba-NLP/GVE-3B".into()),
            revision: Some("0123".into()),
        };
        let written = settings.to_json("q_proj|down_proj");
        let read = LoraSettings::parse(&written.to_string()).unwrap();
        assert_eq!(
            read,
            LoraSettings { target_modules: vec!["q_proj|down_proj".into()], ..settings.clone() }
        );
        assert_eq!(written["lora_alpha"].as_i64(), Some(32));
        assert_eq!(LoraSettings { alpha: 0.5, ..settings.clone() }.to_json("")["lora_alpha"], 0.5);
        assert_eq!(settings.scale(), 2.0);
        assert_eq!(LoraSettings { use_rslora: true, ..settings.clone() }.scale(), 8.0);
        for (key, value) in [
            ("peft_type", json!("IA3")),
            ("rank_pattern", json!({"q_proj": 0})),
            ("rank_pattern", json!(["q_proj"])),
            ("alpha_pattern", json!({"q_proj": "4"})),
            ("bias", json!("all")),
            ("lora_bias", json!(true)),
            ("init_lora_weights", json!("pissa")),
            ("init_lora_weights", json!("pissa_niter_16")),
            ("init_lora_weights", json!("olora")),
            ("init_lora_weights", json!("loftq")),
            ("init_lora_weights", json!("corda")),
            ("init_lora_weights", json!("lora_ga")),
            ("init_lora_weights", json!("of tomorrow")),
            ("layer_replication", json!([[0, 4], [2, 5]])),
            ("megatron_config", json!({"tensor_model_parallel_size": 2})),
            ("trainable_token_indices", json!([1, 2])),
            ("target_parameters", json!(["experts.gate_up_proj"])),
            ("alora_invocation_tokens", json!([3])),
            ("arrow_config", json!({"top_k": 3})),
            ("use_qalora", json!(true)),
            ("use_bdlora", json!({"nblocks": 2})),
            ("a_setting_of_tomorrow", json!(2)),
            ("r", json!(0)),
            ("lora_alpha", json!(null)),
        ] {
            let mut config = settings.to_json("q_proj");
            config[key] = value;
            let reason = LoraSettings::parse(&config.to_string()).unwrap_err();
            assert!(reason.contains(key), "{reason}");
        }
    }
    /// What PEFT 0.21.2 writes for `LoraConfig(r=8, target_modules=["q_proj"])`, and keys of earlier
    /// releases.
    #[test]
    fn defaults_of_peft_are_read() {
        let written = r#"{"alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null,
            "auto_mapping": null,
            "base_model_name_or_path": "m", "bias": "none", "corda_config": null, "ensure_weight_tying": false,
            "eva_config": null,
            "exclude_modules": null, "fan_in_fan_out": false, "inference_mode": true,
            "init_lora_weights": true, "kasa_config": null, "layer_replication": null, "layers_pattern": null,
            "layers_to_transform": null, "loftq_config": {}, "lora_alpha": 8, "lora_bias": false,
            "lora_dropout": 0.0, "lora_ga_config": null, "megatron_config": null,
            "megatron_core": "megatron.core", "modules_to_save": null, "monteclora_config": null,
            "peft_type": "LORA", "peft_version": "0.21.2", "qalora_group_size": 16, "r": 8,
            "rank_pattern": {}, "revision": null, "target_modules": ["q_proj"], "target_parameters": null,
            "task_type": "FEATURE_EXTRACTION", "trainable_token_indices": null, "use_bdlora": null,
            "use_dora": false,
            "use_qalora": false, "use_rslora": false, "velora_config": null, "not_there_yet": null}"#;
        let settings = LoraSettings::parse(written).unwrap();
        assert_eq!((settings.r, settings.scale()), (8, 1.0));
        for start in [json!(false), json!("gaussian"), json!("eva"), json!("orthogonal")] {
            let mut config: Value = serde_json::from_str(written).unwrap();
            config["init_lora_weights"] = start;
            assert!(LoraSettings::parse(&config.to_string()).is_ok());
        }
    }
}
