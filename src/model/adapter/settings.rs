use serde_json::{Value, json};

/// The settings of an adapter, as `adapter_config.json` has them.
#[derive(Debug, Clone, PartialEq)]
pub struct LoraSettings {
    /// Rank of the factors.
    pub r: usize,
    /// The change is scaled by `alpha / r`.
    pub alpha: f64,
    /// Dropout on the adapter's input while it was trained.
    pub dropout: f64,
    /// Modules that have an adapter, as the file has it: names, or their last parts, or one pattern. Which modules an adapter really has is a matter
    /// of its tensors: [`LoraAdapter::module_names`](super::LoraAdapter::module_names).
    pub target_modules: Vec<String>,
    /// The change is scaled by `alpha / sqrt(r)` instead (Kalajdzievski 2023).
    pub use_rslora: bool,
    /// The model it was trained on: a hub id or a directory.
    pub base_model: Option<String>,
}

impl LoraSettings {
    /// Factor of `B A`.
    pub fn scale(&self) -> f64 {
        let r = self.r as f64;
        self.alpha / if self.use_rslora { r.sqrt() } else { r }
    }

    /// Reads `adapter_config.json`; whatever would change the result and is not supported is an error.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let config: Value = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
        let kind = config.get("peft_type").and_then(Value::as_str);
        if kind != Some("LORA") {
            return Err(format!("peft_type is {kind:?}, expected \"LORA\""));
        }
        let is_unset = |value: &Value| match value {
            Value::Null | Value::Bool(false) => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::String(text) => text == "none",
            _ => false,
        };
        let unsupported = [
            "use_dora",
            "fan_in_fan_out",
            "bias",
            "modules_to_save",
            "rank_pattern",
            "alpha_pattern",
            "lora_bias",
        ];
        for key in unsupported {
            if let Some(value) = config.get(key).filter(|value| !is_unset(value)) {
                return Err(format!("{key} is {value}, which is not supported"));
            }
        }
        let number = |key: &str| config.get(key).and_then(Value::as_f64).ok_or(format!("{key} is missing"));
        let r = config
            .get("r")
            .and_then(Value::as_u64)
            .filter(|r| *r > 0)
            .ok_or("r must be a positive number")?;
        let strings = |value: &Value| match value {
            Value::String(one) => vec![one.clone()],
            Value::Array(many) => many.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            r: r as usize,
            alpha: number("lora_alpha")?,
            dropout: number("lora_dropout").unwrap_or(0.0),
            target_modules: config.get("target_modules").map(strings).unwrap_or_default(),
            use_rslora: config.get("use_rslora").and_then(Value::as_bool).unwrap_or(false),
            base_model: config.get("base_model_name_or_path").and_then(Value::as_str).map(str::to_owned),
        })
    }

    /// `adapter_config.json` of an adapter of the modules that `target_modules` matches. The modules settings name by their last parts would
    /// have namesakes in the vision tower.
    pub(super) fn to_json(&self, target_modules: &str) -> Value {
        // PEFT says that it is an integer.
        let is_integer = self.alpha.fract() == 0.0 && self.alpha.abs() < 1e9;
        let alpha = if is_integer { json!(self.alpha as i64) } else { json!(self.alpha) };
        json!({
            "peft_type": "LORA",
            "task_type": "FEATURE_EXTRACTION",
            "base_model_name_or_path": self.base_model,
            "r": self.r,
            "lora_alpha": alpha,
            "lora_dropout": self.dropout,
            "target_modules": target_modules,
            "use_rslora": self.use_rslora,
            "bias": "none",
            "fan_in_fan_out": false,
            "inference_mode": true,
        })
    }
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
            base_model: Some("Alibaba-NLP/GVE-3B".into()),
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
            ("use_dora", json!(true)),
            ("modules_to_save", json!(["embed_tokens"])),
            ("rank_pattern", json!({"q_proj": 4})),
            ("bias", json!("all")),
            ("r", json!(0)),
            ("lora_alpha", json!(null)),
        ] {
            let mut config = settings.to_json("q_proj");
            config[key] = value;
            let reason = LoraSettings::parse(&config.to_string()).unwrap_err();
            assert!(reason.contains(key), "{reason}");
        }
    }
}
