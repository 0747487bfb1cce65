//! Settings that some modules have for themselves.

use std::collections::BTreeMap;

use regex::Regex;

/// A setting by patterns of modules' names, as `rank_pattern` and `alpha_pattern` of PEFT have it
/// (`get_pattern_key`): a regular expression for a whole name, or for what stands behind one of its dots.
pub(super) struct ByName<T> {
    key: &'static str,
    patterns: Vec<(Regex, T)>,
    otherwise: T,
}

impl<T: Copy + PartialEq> ByName<T> {
    /// That of `key` in `adapter_config.json`; modules that match none have `otherwise`.
    pub(super) fn new(
        key: &'static str,
        patterns: &BTreeMap<String, T>,
        otherwise: T,
    ) -> Result<Self, String> {
        let compile = |(pattern, value): (&String, &T)| {
            let whole = format!("^(?:.*\\.)?(?:{pattern})$");
            let regex = Regex::new(&whole).map_err(|_| {
                format!(
                    "{key} has {pattern:?}, which is no pattern that is understood here: name the modules"
                )
            })?;
            Ok((regex, *value))
        };
        let patterns = patterns.iter().map(compile).collect::<Result<_, String>>()?;
        Ok(Self { key, patterns, otherwise })
    }

    /// That of the module that the model calls `name`.
    pub(super) fn of(&self, name: &str) -> Result<T, String> {
        let mut values =
            self.patterns.iter().filter(|(regex, _)| regex.is_match(name)).map(|(_, value)| *value);
        let Some(first) = values.next() else { return Ok(self.otherwise) };
        match values.all(|value| value == first) {
            true => Ok(first),
            // The first in the order of the file would hold, which is a matter of chance.
            false => Err(format!("{} has several values for the module `{name}`: leave one", self.key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_those_of_peft() {
        let of = |patterns: &[(&str, usize)], name: &str| {
            let patterns = patterns.iter().map(|(pattern, value)| ((*pattern).to_owned(), *value)).collect();
            ByName::new("rank_pattern", &patterns, 16).and_then(|ranks| ranks.of(name))
        };
        let module = "model.language_model.layers.12.self_attn.q_proj";
        for (pattern, expected) in [
            ("q_proj", 4),
            ("self_attn.q_proj", 4),
            (r"layers\.(?:1|12)\..*", 4),
            ("model.language_model.layers.12.self_attn.q_proj", 4),
            ("proj", 16),
            ("layers.1", 16),
            ("layers.2.self_attn.q_proj", 16),
        ] {
            assert_eq!(of(&[(pattern, 4)], module), Ok(expected), "{pattern}");
        }
        assert_eq!(of(&[("q_proj", 4), ("self_attn.q_proj", 4)], module), Ok(4));
        let reason = of(&[("q_proj", 4), ("self_attn.q_proj", 8)], module).unwrap_err();
        assert!(reason.contains("rank_pattern") && reason.contains(module), "{reason}");
        let reason = of(&[("(?!x)q_proj", 4)], module).unwrap_err();
        assert!(reason.contains("(?!x)q_proj"), "{reason}");
    }
}
