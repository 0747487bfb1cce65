use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// The numbers of a log, by name and step.
#[derive(Debug, Default)]
pub(in crate::train) struct Curves {
    curves: BTreeMap<String, Vec<(usize, f64)>>,
    last_step: usize,
    best: Option<(usize, String, f64)>,
    end: Option<String>,
}

/// A curve, and what it is called.
pub(in crate::train) type Named<'a> = (&'a str, &'a [(usize, f64)]);

impl Curves {
    /// Those of the lines of a log. A line that is not whole, as a run that was killed leaves it, is passed over.
    pub(in crate::train) fn read(log: &str) -> Self {
        let mut curves = Self::default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).for_each(|entry| curves.add(&entry));
        curves
    }

    fn add(&mut self, entry: &Value) {
        let step = entry["step"].as_u64().unwrap_or_default() as usize;
        self.last_step = self.last_step.max(step);
        match entry["event"].as_str() {
            Some("step") => {
                for name in [
                    "loss",
                    "positive_score",
                    "hardest_negative_gap",
                    "learning_rate",
                    "gradient_norm",
                    "pairs_per_second",
                ] {
                    self.push(name.to_owned(), step, &entry[name]);
                }
                self.push_all("task_share/", step, &entry["task_shares"]);
            }
            Some("epoch") => {
                self.push_all("alignment/", step, &entry["alignment"]);
                self.push_all("separation/", step, &entry["separation"]);
                self.push_all("probability/", step, &entry["probabilities"]);
            }
            Some("evaluation") => {
                let by_task = entry["recall"].as_object().into_iter().flatten();
                for name in ["recall@1", "recall@10"] {
                    let values: Vec<(&String, &Value)> =
                        by_task.clone().map(|(task, recall)| (task, &recall[name])).collect();
                    values.iter().for_each(|(task, value)| self.push(format!("{name}/{task}"), step, value));
                    let known: Vec<f64> = values.iter().filter_map(|(_, value)| value.as_f64()).collect();
                    if known.len() > 1 {
                        let mean = known.iter().sum::<f64>() / known.len() as f64;
                        self.push(name.to_owned(), step, &mean.into());
                    }
                }
            }
            Some("scores") => self.push_all("", step, &entry["scores"]),
            Some("best") => {
                let metric = entry["metric"].as_str().unwrap_or_default().to_owned();
                self.best = entry["value"].as_f64().map(|value| (step, metric, value));
            }
            Some("stopped") => self.end = entry["reason"].as_str().map(str::to_owned),
            _ => {}
        }
    }

    fn push_all(&mut self, prefix: &str, step: usize, values: &Value) {
        for (name, value) in values.as_object().into_iter().flatten() {
            self.push(format!("{prefix}{name}"), step, value);
        }
    }

    fn push(&mut self, name: String, step: usize, value: &Value) {
        if let Some(value) = value.as_f64() {
            self.curves.entry(name).or_default().push((step, value));
        }
    }

    pub(in crate::train) fn named(&self, name: &str) -> Option<Named<'_>> {
        self.curves.get_key_value(name).map(|(name, points)| (name.as_str(), points.as_slice()))
    }

    /// Those whose names begin so.
    pub(in crate::train) fn with_prefix(&self, prefix: &str) -> impl Iterator<Item = Named<'_>> {
        let curves = self.curves.iter().filter(move |(name, _)| name.starts_with(prefix));
        curves.map(|(name, points)| (name.as_str(), points.as_slice()))
    }

    pub(in crate::train) fn names(&self) -> impl Iterator<Item = &str> {
        self.curves.keys().map(String::as_str)
    }

    /// The steps at which one of them has a value.
    pub(in crate::train) fn steps_of(&self, names: &[&str]) -> BTreeSet<usize> {
        let points = names.iter().filter_map(|name| self.curves.get(*name)).flatten();
        points.map(|(step, _)| *step).collect()
    }

    pub(in crate::train) fn at(&self, name: &str, step: usize) -> Option<f64> {
        self.curves.get(name)?.iter().find(|(at, _)| *at == step).map(|(_, value)| *value)
    }

    pub(in crate::train) fn last_step(&self) -> usize {
        self.last_step
    }

    /// Step, metric and value of the best weights.
    pub(in crate::train) fn best(&self) -> Option<(usize, &str, f64)> {
        self.best.as_ref().map(|(step, metric, value)| (*step, metric.as_str(), *value))
    }

    /// Why the run ended before its last step; nothing where it went on since.
    pub(in crate::train) fn end(&self) -> Option<&str> {
        self.end.as_deref()
    }
}
