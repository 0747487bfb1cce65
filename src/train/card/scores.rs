use std::collections::BTreeSet;
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::RunFacts;
use crate::card::{name_of, table};

/// What the hub's pages call pairs that are kept back.
const HELD_OUT: &str = "held-out pairs";

impl RunFacts<'_> {
    /// The scores of the present weights by name, and those of before the first step.
    fn score_rows(&self) -> Vec<(&str, Option<f64>, f64)> {
        let names =
            self.curves.names().filter(|name| name.starts_with("recall@") || name.starts_with("uvrb/"));
        let row = |name| Some((name, self.curves.at(name, 0), self.curves.at(name, self.step)?));
        names.filter_map(row).collect()
    }

    /// The scores as the hub's pages show them, an entry for each task or data set.
    pub(super) fn model_index(&self) -> Value {
        let rows = self.score_rows();
        let of: BTreeSet<String> = rows.iter().map(|(name, ..)| data_of(name)).collect();
        if of.is_empty() {
            return Value::Null;
        }
        let entry = |data: String| {
            let metrics = rows.iter().filter(|(name, ..)| data_of(name) == data).map(|(name, _, value)| {
                let metric = metric_of(name);
                json!({"type": metric.replace('@', "_at_"), "name": metric, "value": value})
            });
            json!({
                "task": {"type": "retrieval", "name": "Retrieval"},
                "dataset": {"type": if data.starts_with(HELD_OUT) { "held-out" } else { "uvrb" }, "name": data},
                "metrics": metrics.collect::<Vec<_>>(),
            })
        };
        json!([{"name": name_of(&self.config.output), "results": of.into_iter().map(entry).collect::<Vec<_>>()}])
    }

    /// The scores for people.
    pub(super) fn scores(&self) -> String {
        let rows = self.score_rows();
        if rows.is_empty() {
            return "## Scores\n\nThese weights were not scored in the run.\n".to_owned();
        }
        let number = |value: f64| format!("{value:.4}");
        let lines = rows.iter().map(|(name, start, now)| {
            let start = start.map_or_else(|| "not scored".to_owned(), number);
            vec![format!("`{name}`"), start, number(*now)]
        });
        let mut scores =
            format!("## Scores\n\n{}", table(&["score", "before the first step", "these weights"], lines));
        if rows.iter().any(|(name, ..)| name.starts_with("recall@")) {
            scores.push_str(
                "\n`recall@k` is the share of held-out queries that find one of their positives among the first k, out of all positives \
                 of the held-out pairs of the task; without a task it is the mean over tasks.\n",
            );
        }
        if rows.iter().any(|(name, ..)| name.starts_with("uvrb/")) {
            let limit = self.config.evaluation.as_ref().and_then(|evaluation| evaluation.uvrb_limit);
            let limit = limit.map_or(String::new(), |limit| format!(", of {limit} queries each at most"));
            _ = writeln!(scores, "\n`uvrb/` are main scores of data sets of UVRB (arXiv 2510.27571){limit}.");
        }
        scores
    }
}

/// What a score was taken on.
fn data_of(name: &str) -> String {
    match name.split_once('/') {
        Some(("uvrb", set)) => set.to_owned(),
        Some((_, task)) => format!("{HELD_OUT}, {task}"),
        None => format!("{HELD_OUT}, mean over tasks"),
    }
}

/// What a score is.
fn metric_of(name: &str) -> &str {
    match name.split_once('/') {
        Some(("uvrb", _)) => "main score",
        Some((metric, _)) => metric,
        None => name,
    }
}
