//! Modules that an adapter replaces as a whole: `modules_to_save`.

use super::{AdapterLayout, parent};

/// The module of `tensor`, or one around it, that is called `target`, or something and `target` behind a dot. PEFT
/// takes names that end so without a dot, too.
pub(super) fn module_within<'a>(tensor: &'a str, target: &str) -> Option<&'a str> {
    let mut around = tensor.match_indices('.').map(|(dot, _)| &tensor[..dot]);
    around.find(|module| ends_with(module, target))
}

/// Whether a module is called `target`, or something and `target` behind a dot.
pub(super) fn ends_with(module: &str, target: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Name of a replaced tensor in an adapter file, in the layout `layout`.
pub(in crate::model) fn saved_name(tensor: &str, layout: AdapterLayout) -> String {
    format!("base_model.model.{}{tensor}", parent(tensor, layout))
}

/// What `modules_to_save` has to say in the layout `layout` so that PEFT replaces `modules` and no others: it takes
/// every module whose name ends so.
pub(super) fn modules_to_save<'a>(
    modules: impl IntoIterator<Item = &'a str>,
    layout: AdapterLayout,
) -> Vec<String> {
    // `AutoModel` has no `model.` before it.
    let short = |module: &str| match (parent(module, layout), layout) {
        ("model.language_model.", _) => format!("language_model.{module}"),
        ("model.", AdapterLayout::Flat) => format!("model.{module}"),
        _ => module.to_owned(),
    };
    modules.into_iter().map(short).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_whole_part_of_a_name() {
        for (tensor, target, module) in [
            ("norm.weight", "norm", Some("norm")),
            ("visual.merger.mlp.0.weight", "merger", Some("visual.merger")),
            ("visual.merger.mlp.0.weight", "mlp.0", Some("visual.merger.mlp.0")),
            ("visual.merger.mlp.0.weight", "visual", Some("visual")),
            ("layers.0.input_layernorm.weight", "norm", None),
            ("norm.weight", "weight", None),
            ("embed_tokens.weight", "visual.embed_tokens", None),
        ] {
            assert_eq!(module_within(tensor, target), module, "{tensor} {target}");
        }
    }

    #[test]
    fn what_peft_is_told_ends_the_names_of_these_modules_alone() {
        let told = |layout| modules_to_save(["lm_head", "norm", "visual.merger"], layout);
        assert_eq!(told(AdapterLayout::Nested), ["lm_head", "language_model.norm", "visual.merger"]);
        assert_eq!(told(AdapterLayout::Flat), ["lm_head", "model.norm", "visual.merger"]);
    }
}
