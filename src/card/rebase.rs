use serde_json::Value;

use super::front_matter::{front_values, with_front_value};
use super::{MARK, is_own, marked};

/// What is said of the name in `adapter_config.json` where that is a folder of the machine that the card was made on.
pub(crate) const LOCAL_BASE: &str = "`base_model_name_or_path` is";
/// What a card calls a base that is in no public place.
pub(crate) const UNKNOWN_BASE: &str = "BASE";

/// What [`UNKNOWN_BASE`] is, of an adapter whose model is in no public place.
pub(crate) fn about_unknown_base() -> String {
    format!(
        "`{UNKNOWN_BASE}` is the model that it was trained on. It is in no public place that is known here: {LOCAL_BASE} its \
         folder on the machine of the run."
    )
}

/// The card `text`, made of the model `base` on the hub. A relation that is there stays. A card that was written here
/// names the base where it said how the model is loaded, and is still told from a person's.
pub(crate) fn with_base(text: &str, base: &str, relation: &str) -> String {
    let own = text.rsplit_once(MARK).filter(|_| is_own(text)).map(|(body, _)| body);
    let mut changed = with_front_value(own.unwrap_or(text), "base_model", &Value::from(base));
    if front_values(&changed, "base_model_relation").is_empty() {
        changed = with_front_value(&changed, "base_model_relation", &Value::from(relation));
    }
    if own.is_none() {
        return changed;
    }
    let paragraphs = changed.split("\n\n").filter(|paragraph| !paragraph.contains(LOCAL_BASE));
    let mut named = paragraphs.collect::<Vec<_>>().join("\n\n");
    for (before, behind) in [("--model ", " "), ("from_pretrained(\"", "\"")] {
        named = named.replace(&format!("{before}{UNKNOWN_BASE}{behind}"), &format!("{before}{base}{behind}"));
    }
    marked(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::Card;

    #[test]
    fn a_base_is_named_and_the_card_is_whose_it_was() {
        let body = format!(
            "# a\n\n## Use\n\n```sh\ngve embed --model BASE --adapter FOLDER\n```\n\n`BASE` is what it was trained on. {LOCAL_BASE} its \
             folder.\n\n```python\nm = M.from_pretrained(\"BASE\")\n```\n\n## Data\n\nd"
        );
        let mut card = Card { body, ..Card::default() };
        card.put("license", "mit");
        let card = card.to_text();
        let changed = with_base(&card, "o/m", "adapter");
        assert!(is_own(&changed), "{changed}");
        assert_eq!(
            changed.rsplit_once(MARK).unwrap().0,
            "---\nlicense: mit\nbase_model: o/m\nbase_model_relation: adapter\n---\n\n# a\n\n## Use\n\n```sh\ngve embed --model o/m --adapter FOLDER\n```\n\n\
             ```python\nm = M.from_pretrained(\"o/m\")\n```\n\n## Data\n\nd\n"
        );
        // Of a person's card no more than the head is changed, and of that no more than has to be.
        let theirs = "\u{feff}---\nbase_model: /x\nbase_model_relation: quantized\n---\n--model BASE --x\n";
        let expected = "---\nbase_model: o/m\nbase_model_relation: quantized\n---\n--model BASE --x\n";
        assert_eq!(with_base(theirs, "o/m", "adapter"), expected);
        let changed = card.replace("## Data", "## My data");
        let changed = with_base(&changed, "o/m", "adapter");
        assert!(!is_own(&changed) && changed.contains("--model BASE"), "{changed}");
    }
}
