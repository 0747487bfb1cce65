//! Which modules PEFT is told to adapt.

use std::collections::{BTreeMap, BTreeSet};

/// A regular expression that matches the full names of `modules` in a model of either layout, and those of no
/// other module of it: what `target_modules` of `adapter_config.json` may be. A list would match by the last
/// part of a name, and the language layers and the blocks of the vision tower share theirs.
pub(super) fn target_modules<'a>(modules: impl Iterator<Item = &'a str>) -> String {
    // By what stands before the number of a layer and what stands behind it: the numbers.
    let mut layers: BTreeMap<(&str, &str), BTreeSet<usize>> = BTreeMap::new();
    let mut patterns = Vec::new();
    for module in modules {
        match split_at_number(module) {
            Some((stem, number, part)) => {
                layers.entry((stem, part)).or_default().insert(number);
            }
            None => patterns.push(escape(module)),
        }
    }
    // Parts of the same layers share their numbers.
    let mut parts: BTreeMap<(&str, BTreeSet<usize>), Vec<String>> = BTreeMap::new();
    for ((stem, part), numbers) in layers {
        parts.entry((stem, numbers)).or_default().push(escape(part));
    }
    patterns.extend(parts.into_iter().map(|((stem, numbers), parts)| {
        let numbers = numbers.iter().map(usize::to_string);
        format!("{}\\.{}\\.{}", escape(stem), any_of(numbers.collect()), any_of(parts))
    }));
    format!("(?:.*\\.)?{}", any_of(patterns))
}

/// `layers.3.mlp.up_proj` as `layers`, 3 and `mlp.up_proj`.
fn split_at_number(module: &str) -> Option<(&str, usize, &str)> {
    module.match_indices('.').find_map(|(dot, _)| {
        let (number, part) = module[dot + 1..].split_once('.')?;
        Some((&module[..dot], number.parse().ok()?, part))
    })
}

pub(super) fn escape(name: &str) -> String {
    name.replace('.', "\\.")
}

fn any_of(patterns: Vec<String>) -> String {
    format!("(?:{})", patterns.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pattern_names_each_adapted_module_and_no_other() {
        let pattern = |modules: &[&str]| target_modules(modules.iter().copied());
        assert_eq!(
            pattern(&[
                "layers.0.mlp.up_proj",
                "layers.1.mlp.up_proj",
                "layers.0.self_attn.q_proj",
                "layers.1.self_attn.q_proj"
            ]),
            r"(?:.*\.)?(?:layers\.(?:0|1)\.(?:mlp\.up_proj|self_attn\.q_proj))"
        );
        // Parts of other layers, the vision tower, and what has no number.
        assert_eq!(
            pattern(&[
                "layers.10.mlp.up_proj",
                "layers.2.mlp.down_proj",
                "layers.2.mlp.up_proj",
                "visual.blocks.3.attn.qkv",
                "embed_tokens"
            ]),
            concat!(
                r"(?:.*\.)?(?:embed_tokens|layers\.(?:2)\.(?:mlp\.down_proj)|layers\.(?:2|10)\.(?:mlp\.up_proj)",
                r"|visual\.blocks\.(?:3)\.(?:attn\.qkv))"
            )
        );
    }
}
