//! From TOML to entries, with the line of whatever is wrong.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;

use super::{Candidates, DatasetSpec, Domain, Layout, MainMetric, SubDomain, Task};
use crate::Error;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Defaults,
    #[serde(default)]
    dataset: Vec<Spanned<Entry>>,
}

/// What an entry takes where it has no value of its own.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Defaults {
    source: Option<String>,
    licence: Option<String>,
    metric: Option<MainMetric>,
    layout: Option<Layout>,
    candidates: Option<Candidates>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    title: String,
    task: Task,
    domain: Option<Domain>,
    sub_domain: Option<SubDomain>,
    prompt: String,
    metric: Option<MainMetric>,
    queries: usize,
    corpus: usize,
    source: Option<String>,
    licence: Option<String>,
    layout: Option<Layout>,
    candidates: Option<Candidates>,
}

/// Prompts by id, each with its line.
pub(super) fn prompts(text: &str, path: &Path) -> Result<BTreeMap<String, (String, usize)>, Error> {
    let prompts: BTreeMap<String, Spanned<String>> = from_toml(text, path)?;
    let with_line = |(id, prompt): (String, Spanned<String>)| {
        let line = line_of(text, prompt.span().start);
        (id, (prompt.into_inner(), line))
    };
    Ok(prompts.into_iter().map(with_line).collect())
}

fn from_toml<T: serde::de::DeserializeOwned>(text: &str, path: &Path) -> Result<T, Error> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map(|span| line_of(text, span.start));
        Error::invalid(path, line, error.message())
    })
}

/// The entries of `text`, each with its line.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<(DatasetSpec, usize)>, Error> {
    let file: File = from_toml(text, path)?;
    if file.dataset.is_empty() {
        return Err(Error::invalid(path, None, "it holds no [[dataset]]"));
    }
    let Defaults { source, licence, metric, layout, candidates } = file.defaults;
    file.dataset
        .into_iter()
        .map(|entry| {
            let line = line_of(text, entry.span().start);
            let entry = entry.into_inner();
            let id = entry.id.clone();
            let fault = |reason: String| Error::invalid(path, line, format!("data set `{id}`: {reason}"));
            let missing = |key| fault(format!("no `{key}`, neither here nor in [defaults]"));
            let spec = DatasetSpec {
                metric: entry.metric.or(metric).ok_or_else(|| missing("metric"))?,
                source: entry.source.or_else(|| source.clone()).ok_or_else(|| missing("source"))?,
                licence: entry.licence.or_else(|| licence.clone()).ok_or_else(|| missing("licence"))?,
                layout: entry.layout.or(layout).ok_or_else(|| missing("layout"))?,
                candidates: entry.candidates.or(candidates).ok_or_else(|| missing("candidates"))?,
                id: entry.id,
                title: entry.title,
                task: entry.task,
                domain: entry.domain,
                sub_domain: entry.sub_domain,
                prompt: entry.prompt,
                queries: entry.queries,
                corpus: entry.corpus,
            };
            validate(&spec).map_err(|reason| fault(reason.to_owned()))?;
            Ok((spec, line))
        })
        .collect()
}

fn validate(spec: &DatasetSpec) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if spec.id.is_empty() || !spec.id.chars().all(plain) || spec.id.starts_with('.') {
        return Err("the id names folders and files: use letters, digits, `-`, `_` and `.`, not first a `.`");
    }
    if spec.prompt.trim().is_empty() {
        return Err("`prompt` is empty: say what the queries look for");
    }
    if spec.queries == 0 || spec.corpus == 0 {
        return Err("`queries` and `corpus` are the counts of a complete copy, at least 1");
    }
    match (spec.task, spec.domain, spec.sub_domain) {
        (Task::Composed | Task::Visual, Some(_), _) => Err("`domain` goes with task TXT only"),
        (_, Some(Domain::FineGrained), None) => Err("domain FG needs a `sub_domain`: S, T or PR"),
        (_, Some(Domain::CoarseGrained | Domain::LongContext) | None, Some(_)) => {
            Err("`sub_domain` goes with domain FG only")
        }
        _ => Ok(()),
    }
}

/// The line, from 1, of a byte of `text`.
fn line_of(text: &str, byte: usize) -> usize {
    text.bytes().take(byte).filter(|byte| *byte == b'\n').count() + 1
}
