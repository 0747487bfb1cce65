use serde_json::{Map, Value};

use super::Layout;
use crate::import::error::Fault;
use crate::import::reading::{Reading, Row};
use crate::pairs::Pair;

/// Lines of this program.
pub(super) const PAIRS: Layout = Layout {
    name: "pairs",
    about: "gve's own lines: task, query, positive, negatives",
    keys: &[&["task", "query", "positive"]],
    looks,
    read,
};

fn looks(fields: &Map<String, Value>) -> bool {
    let is_input = |key: &str| fields.get(key).is_some_and(|value| value.get("content").is_some());
    fields.contains_key("query")
        && fields.contains_key("positive")
        && (fields.contains_key("task") || is_input("query") || is_input("positive"))
}

fn read(row: &Row, reading: &Reading<'_>) -> Result<Vec<Pair>, Fault> {
    let root = reading.settings.media.as_deref().unwrap_or(&reading.base);
    let line = Value::Object(row.fields.clone()).to_string();
    Ok(vec![Pair::from_json(&line, root)?])
}
