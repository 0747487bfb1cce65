use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value};

/// Differences that a message names, at most.
const MOST: usize = 5;

/// A setting in which two runs differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// The setting, with the names of the sections it is in: `optimizer.learning_rate`.
    pub name: String,
    /// Its value in what was written before; null where there is none.
    pub there: Value,
    /// Its value now; null where there is none.
    pub here: Value,
}

/// What tells two runs apart; nothing where they are one. Displays as one line, which names the first few.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Differences(Vec<Difference>);

/// Compares the settings of what was written before with those at hand, both as serde writes them. A setting
/// that is null is one that is missing.
pub fn differences(there: &Value, here: &Value) -> Differences {
    let mut found = Differences::default();
    found.collect("", there, here);
    found
}

impl Differences {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = &Difference> {
        self.0.iter()
    }

    fn collect(&mut self, name: &str, there: &Value, here: &Value) {
        if let (Value::Object(there), Value::Object(here)) = (there, here) {
            let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
            let value = |object: &Map<String, Value>, key| object.get(key).cloned().unwrap_or_default();
            for key in keys {
                let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
                self.collect(&name, &value(there, key), &value(here, key));
            }
        } else if there != here {
            self.0.push(Difference { name: name.to_owned(), there: there.clone(), here: here.clone() });
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Value| if value.is_null() { "missing".to_owned() } else { value.to_string() };
        write!(f, "{}: {} there, {} here", self.name, show(&self.there), show(&self.here))
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> = self.iter().take(MOST).map(ToString::to_string).collect();
        write!(f, "{}", named.join("; "))?;
        match self.0.len().saturating_sub(MOST) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_setting_that_differs_is_named_with_both_values() {
        let there = json!({"seed": 1, "model": {"path": "m", "dim": 4}, "frames": [1, 2], "gone": true, "none": null});
        assert!(differences(&there, &there).is_empty());
        let here = json!({"seed": 2, "model": {"path": "m", "dim": 8}, "frames": [1], "new": 0.5});
        assert_eq!(
            differences(&there, &here).to_string(),
            "frames: [1,2] there, [1] here; gone: true there, missing here; model.dim: 4 there, 8 here; \
             new: missing there, 0.5 here; seed: 1 there, 2 here"
        );
        // A setting of another kind is told as far as the two have the same names.
        let (one, other) = (json!({"uniform": {"frames": 8}}), json!({"fps": {"fps": 2.0}}));
        assert_eq!(
            differences(&json!({ "sampling": one }), &json!({ "sampling": other })).to_string(),
            "sampling.fps: missing there, {\"fps\":2.0} here; sampling.uniform: {\"frames\":8} there, \
             missing here"
        );
    }

    #[test]
    fn a_message_names_the_first_few() {
        let settings =
            |value: i32| (b'a'..=b'h').map(|key| (char::from(key).to_string(), value.into())).collect();
        let found = differences(&Value::Object(settings(1)), &Value::Object(settings(2)));
        assert_eq!(found.iter().count(), 8);
        assert!(found.to_string().ends_with("e: 1 there, 2 here; and 3 more"), "{found}");
    }
}
