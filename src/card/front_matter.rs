//! The YAML at the head of a card: as much of it as the hub's keys need. It is written in blocks, and read by
//! lines.

use serde_json::Value;

/// What stands before and behind it.
const FENCE: &str = "---";
/// What some programs put before a text in UTF-8.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// The head that says these keys; nothing where there are none.
pub(super) fn written(keys: &[(&'static str, Value)]) -> String {
    if keys.is_empty() {
        return String::new();
    }
    let lines: String = keys.iter().map(|(key, value)| entry(key, value, "")).collect();
    format!("{FENCE}\n{lines}{FENCE}\n")
}

/// `key: value`, with what hangs below it.
fn entry(key: &str, value: &Value, indent: &str) -> String {
    match value {
        Value::Array(items) => {
            let items: String = items.iter().map(|value| item(value, indent)).collect();
            format!("{indent}{key}:\n{items}")
        }
        Value::Object(fields) => {
            let deeper = format!("{indent}  ");
            let fields: String = fields.iter().map(|(key, value)| entry(key, value, &deeper)).collect();
            format!("{indent}{key}:\n{fields}")
        }
        value => format!("{indent}{key}: {}\n", scalar(value)),
    }
}

/// `- value`; the keys of an object stand below one another.
fn item(value: &Value, indent: &str) -> String {
    let Value::Object(fields) = value else { return format!("{indent}- {}\n", scalar(value)) };
    let deeper = format!("{indent}  ");
    let lines: String = fields.iter().map(|(key, value)| entry(key, value, &deeper)).collect();
    format!("{indent}- {}", lines.strip_prefix(&deeper).unwrap_or(&lines))
}

/// A text as it is where YAML takes it for that text, else quoted as in JSON, which YAML reads.
fn scalar(value: &Value) -> String {
    let Value::String(text) = value else { return value.to_string() };
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/' | ' ');
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_good)
        && !text.ends_with(' ')
        // Words that mean something else.
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"].contains(&text.to_lowercase().as_str());
    if is_plain { text.clone() } else { value.to_string() }
}

/// The lines of the head of a card, and where the line begins that ends it.
fn head(text: &str) -> Option<(Vec<(usize, &str)>, usize)> {
    let start = text.trim_start_matches(BYTE_ORDER_MARK);
    let mut at = text.len() - start.len();
    let mut lines = start.split_inclusive('\n').map(|line| {
        at += line.len();
        (at - line.len(), line.trim_end())
    });
    lines.next().filter(|(_, first)| *first == FENCE)?;
    let mut head = Vec::new();
    for (start, line) in lines {
        if line == FENCE {
            return Some((head, start));
        }
        head.push((start, line));
    }
    None
}

/// Whether a line goes on with the key above it.
fn goes_on(line: &str) -> bool {
    line.starts_with([' ', '\t', '-', '#']) || line.is_empty()
}

/// The texts that the head of the card `text` has at `key`: one, those of a list, or none.
pub(crate) fn front_values(text: &str, key: &str) -> Vec<String> {
    let Some((lines, _)) = head(text) else { return Vec::new() };
    let mut lines = lines.into_iter().map(|(_, line)| line);
    let Some(value) = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(':')) else {
        return Vec::new();
    };
    let value = value.trim();
    let values: Vec<&str> = match value.strip_prefix('[').and_then(|list| list.strip_suffix(']')) {
        Some(list) => list.split(',').collect(),
        None if !value.is_empty() => vec![value],
        None => lines
            .take_while(|line| goes_on(line))
            .filter_map(|line| line.trim_start().strip_prefix("- "))
            .collect(),
    };
    values.into_iter().map(unquoted).filter(|value| !value.is_empty()).collect()
}

fn unquoted(value: &str) -> String {
    let value = value.trim();
    if let Ok(text) = serde_json::from_str::<String>(value) {
        return text;
    }
    match value.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
        Some(text) => text.replace("''", "'"),
        None => value.split(" #").next().unwrap_or_default().trim_end().to_owned(),
    }
}

/// The card `text` whose head says `value` at `key`, whatever it said before.
pub(crate) fn with_front_value(text: &str, key: &str, value: &Value) -> String {
    let line = entry(key, value, "");
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    let Some((lines, end)) = head(text) else {
        return format!("{FENCE}\n{line}{FENCE}\n\n{text}");
    };
    let is_key = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
    let Some(number) = lines.iter().position(|(_, line)| is_key(line)) else {
        return format!("{}{line}{}", &text[..end], &text[end..]);
    };
    let after = lines[number + 1..].iter().find(|(_, line)| !goes_on(line)).map_or(end, |(start, _)| *start);
    format!("{}{line}{}", &text[..lines[number].0], &text[after..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_yaml_as_the_hub_reads_it() {
        let metric = json!({"type": "recall_at_1", "value": 0.5});
        let results = json!([{"task": {"type": "retrieval"}, "metrics": [metric, {"value": 1}]}]);
        let keys = [
            ("base_model", json!("o/m")),
            ("license", json!("apache-2.0")),
            ("tags", json!(["a", "no", "1.0", "b: c", "ä \"q\""])),
            ("model-index", json!([{"name": "x", "results": results}])),
        ];
        let expected = "\
---
base_model: o/m
license: apache-2.0
tags:
- a
- \"no\"
- \"1.0\"
- \"b: c\"
- \"ä \\\"q\\\"\"
model-index:
- name: x
  results:
  - metrics:
    - type: recall_at_1
      value: 0.5
    - value: 1
    task:
      type: retrieval
---
";
        assert_eq!(written(&keys), expected);
        assert_eq!(written(&[]), "");
        assert_eq!(front_values(expected, "tags"), ["a", "no", "1.0", "b: c", "ä \"q\""]);
    }

    #[test]
    fn heads_of_others_are_read() {
        let text = "---\nlicense: 'apache-2.0'  \nlicense_name: x # y\ntags: [a, \"b\"]\nbase_model:\n- o/m\n  \nlanguage:\n  - en\n---\nlicense: mit\n";
        for (key, expected) in [
            ("license", &["apache-2.0"][..]),
            ("license_name", &["x"]),
            ("tags", &["a", "b"]),
            ("base_model", &["o/m"]),
            ("language", &["en"]),
            ("lic", &[]),
            ("nothing", &[]),
        ] {
            assert_eq!(front_values(text, key), expected, "{key}");
        }
        assert_eq!(front_values(&format!("{BYTE_ORDER_MARK}{text}"), "license"), ["apache-2.0"]);
        for headless in ["", "# a\n", "license: mit\n", "---\nlicense: mit\n"] {
            assert_eq!(front_values(headless, "license"), [""; 0], "{headless}");
        }
    }

    #[test]
    fn a_key_is_replaced_with_all_below_it() {
        let set = |text: &str| with_front_value(text, "base_model", &json!("o/m"));
        for (text, expected) in [
            ("# a", "---\nbase_model: o/m\n---\n\n# a"),
            ("\u{feff}# a", "---\nbase_model: o/m\n---\n\n# a"),
            ("---\na: b\n---\n# a", "---\na: b\nbase_model: o/m\n---\n# a"),
            ("---\nbase_model:\n- x/y\n- x/z\na: b\n---\n", "---\nbase_model: o/m\na: b\n---\n"),
            ("---\nbase_model: \"/x\"\n---\n", "---\nbase_model: o/m\n---\n"),
            ("---\nbase_model_relation: a\n---\n", "---\nbase_model_relation: a\nbase_model: o/m\n---\n"),
        ] {
            assert_eq!(set(text), expected, "{text}");
        }
    }
}
