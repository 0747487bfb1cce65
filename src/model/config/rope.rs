//! How the language model's rotary frequencies are scaled: `rope_scaling` (transformers 4) or
//! `rope_parameters` (transformers 5).

use serde_json::{Map, Value};

use crate::settings_keys::shown;

/// Scaling of the rotary embedding, by its `rope_type`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(in crate::model) enum RopeScaling {
    /// None: `default` or `mrope`.
    #[default]
    Plain,
    /// Positions are divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Low frequencies are divided by a factor, high ones are not (Peng et al. 2023, arXiv 2309.00071).
    Yarn {
        /// The divisor.
        factor: f64,
        /// Positions that the frequencies were trained for.
        original_positions: f64,
        /// Rotations over the original positions from which on a frequency is kept.
        beta_fast: f64,
        /// Rotations below which it is divided.
        beta_slow: f64,
        /// What sines and cosines are multiplied with.
        attention_factor: f64,
    },
}

impl RopeScaling {
    /// Reads the settings, `rope`, of a model with `max_position_embeddings`.
    ///
    /// # Errors
    /// A type that is not built in, one that is told twice in different ways, and numbers that releases of
    /// transformers read differently.
    pub(super) fn read(
        rope: &Map<String, Value>,
        max_position_embeddings: Option<f64>,
    ) -> Result<Self, String> {
        // The files of Qwen2.5-VL say `mrope` where later releases say `default`.
        let kind = |key: &str| match rope.get(key).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(Value::String(name)) if name == "mrope" => Ok(Some("default")),
            Some(Value::String(name)) => Ok(Some(name.as_str())),
            Some(other) => Err(format!("{key} is {}, expected a name", shown(other))),
        };
        let name = match (kind("rope_type")?, kind("type")?) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!(
                    "rope_type is {a:?} and type is {b:?}, of which releases of transformers read one or the \
                     other: make them equal"
                ));
            }
            (a, b) => a.or(b).unwrap_or("default"),
        };
        let factor = optional(rope, "factor")?;
        match name {
            "default" => Ok(Self::Plain),
            "linear" => {
                Ok(Self::Linear { factor: factor.ok_or("factor of rope_type \"linear\" is missing")? })
            }
            "yarn" => Self::yarn(rope, factor, max_position_embeddings),
            other => Err(format!(
                "rope_type is {other:?}, which is not supported (expected default, mrope, linear or yarn)"
            )),
        }
    }

    fn yarn(
        rope: &Map<String, Value>,
        factor: Option<f64>,
        max_position_embeddings: Option<f64>,
    ) -> Result<Self, String> {
        let (factor, original_positions) = match (
            factor,
            optional(rope, "original_max_position_embeddings")?,
            max_position_embeddings,
        ) {
            (Some(factor), Some(original), Some(max)) if (factor * original - max).abs() > 1e-6 * max => {
                return Err(format!(
                    "factor is {factor}, but max_position_embeddings / original_max_position_embeddings is {}: \
                         transformers 4.51 takes the one and transformers 5 the other; make them equal",
                    max / original
                ));
            }
            (Some(factor), Some(original), _) | (Some(factor), None, Some(original)) => (factor, original),
            (None, Some(original), Some(max)) => (max / original, original),
            (None, None, _) => return Err("factor of rope_type \"yarn\" is missing".to_owned()),
            _ => return Err("max_position_embeddings is missing, which rope_type \"yarn\" needs".to_owned()),
        };
        let spread = |scale: f64| if factor <= 1.0 { 1.0 } else { 0.1 * scale * factor.ln() + 1.0 };
        let attention_factor = match optional(rope, "attention_factor")? {
            Some(factor) => factor,
            None => match (optional(rope, "mscale")?, optional(rope, "mscale_all_dim")?) {
                (Some(mscale), Some(all)) => spread(mscale) / spread(all),
                _ => spread(1.0),
            },
        };
        Ok(Self::Yarn {
            factor,
            original_positions,
            beta_fast: optional(rope, "beta_fast")?.unwrap_or(32.0),
            beta_slow: optional(rope, "beta_slow")?.unwrap_or(1.0),
            attention_factor,
        })
    }

    /// What sines and cosines are multiplied with.
    pub(in crate::model) fn attention_factor(self) -> f32 {
        match self {
            Self::Yarn { attention_factor, .. } => attention_factor as f32,
            Self::Plain | Self::Linear { .. } => 1.0,
        }
    }

    /// Scales the frequencies of a head, in radians per position, whose base is `theta`:
    /// `_compute_yarn_parameters` and its neighbours in `modeling_rope_utils.py` of transformers.
    pub(in crate::model) fn apply(self, frequencies: &mut [f32], theta: f64) {
        match self {
            Self::Plain => {}
            Self::Linear { factor } => frequencies.iter_mut().for_each(|f| *f /= factor as f32),
            Self::Yarn { factor, original_positions, beta_fast, beta_slow, .. } => {
                let width = 2 * frequencies.len();
                // The dimension whose frequency turns so many times over the original positions.
                let dimension = |rotations: f64| {
                    width as f64 * (original_positions / (rotations * std::f64::consts::TAU)).ln()
                        / (2.0 * theta.ln())
                };
                let low = dimension(beta_fast).floor().max(0.0);
                let high = dimension(beta_slow).ceil().min(width as f64 - 1.0);
                let high = if low == high { high + 0.001 } else { high };
                for (i, f) in frequencies.iter_mut().enumerate() {
                    let divided = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0) as f32;
                    *f = *f / factor as f32 * divided + *f * (1.0 - divided);
                }
            }
        }
    }
}

/// A positive number; none where it is missing, `null` or 0, which transformers takes for missing.
fn optional(rope: &Map<String, Value>, key: &str) -> Result<Option<f64>, String> {
    match rope.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(0.0) => Ok(None),
            Some(number) if number > 0.0 && number.is_finite() => Ok(Some(number)),
            _ => Err(format!("{key} is {}, expected a positive number", shown(value))),
        },
    }
}
