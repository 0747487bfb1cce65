//! One model's scores, and what a reader has to know of them.

use std::collections::{BTreeMap, BTreeSet};

use super::aggregate::{Ability, Aggregate};
use crate::manifest::{Candidates, DatasetSpec, Manifest};
use crate::result::{Counts, ModelResults, StoredResult, Subsample};

/// One model's scores and their means.
#[derive(Debug, Clone)]
pub struct Model {
    /// `<folder>@<revision>`, or the paper's name.
    pub name: String,
    /// Whether it is the user's and not the paper's.
    pub yours: bool,
    /// Set where only so many of the first values of its embeddings count.
    pub width: Option<usize>,
    /// Scores by data set, from 0 to 1.
    pub scores: BTreeMap<String, f64>,
    /// The data sets of which only a part was scored.
    pub subsamples: BTreeMap<String, Subsample>,
    /// How much was scored of the benchmark's data sets that are not as large as UVRB's: an incomplete copy,
    /// or a miniature.
    pub other_sizes: BTreeMap<String, Counts>,
    /// Which copy and part of those in `subsamples` and `other_sizes` was scored: what compares to its like.
    pub parts: BTreeMap<String, String>,
    /// What else one has to know of its results, a sentence each.
    pub remarks: Vec<String>,
    /// Means by the formulas of the paper.
    pub aggregate: Aggregate,
}

impl Model {
    pub(super) fn new(name: String, yours: bool, scores: BTreeMap<String, f64>) -> Self {
        Self {
            name,
            yours,
            width: None,
            aggregate: Aggregate::of(&scores),
            scores,
            subsamples: BTreeMap::new(),
            other_sizes: BTreeMap::new(),
            parts: BTreeMap::new(),
            remarks: Vec::new(),
        }
    }

    /// The model as it is, and behind it as it is at each width it was scored at, the widest first.
    pub(super) fn of_results(model: &ModelResults) -> impl Iterator<Item = Self> {
        let whole = Self::whole(model);
        let widths: BTreeSet<usize> =
            model.results.values().flat_map(|stored| stored.result.by_width.keys().copied()).collect();
        let cut: Vec<_> = widths.into_iter().rev().map(|width| whole.cut(model, width)).collect();
        std::iter::once(whole).chain(cut)
    }

    /// The same model where only the first `width` values of its embeddings count.
    fn cut(&self, model: &ModelResults, width: usize) -> Self {
        let at_width =
            |(id, stored): (&String, &StoredResult)| Some((id.clone(), stored.result.score_at_width(width)?));
        let scores: BTreeMap<_, _> = model.results.iter().filter_map(at_width).collect();
        let name = format!("{}, {width} values", self.name);
        Self {
            width: Some(width),
            subsamples: self.subsamples.clone(),
            other_sizes: self.other_sizes.clone(),
            parts: self.parts.clone(),
            ..Self::new(name, true, scores)
        }
    }

    fn whole(model: &ModelResults) -> Self {
        let scores = model.results.iter().map(|(id, stored)| (id.clone(), stored.score)).collect();
        let subsample = |(id, stored): (&String, &StoredResult)| Some((id.clone(), stored.result.subsample?));
        let subsamples: BTreeMap<_, _> = model.results.iter().filter_map(subsample).collect();
        let other_size = |(id, stored): (&String, &StoredResult)| {
            let counts = stored.result.counts.as_ref().filter(|_| stored.result.subsample.is_none())?;
            let spec = Manifest::builtin().get(id).ok()?;
            (!is_whole(counts, spec)).then(|| (id.clone(), counts.clone()))
        };
        let other_sizes: BTreeMap<_, _> = model.results.iter().filter_map(other_size).collect();
        let part = |(id, stored): (&String, &StoredResult)| {
            let subsample = subsamples.get(id).map_or_else(String::new, Subsample::to_string);
            let is_apart = subsamples.contains_key(id) || other_sizes.contains_key(id);
            is_apart.then(|| (id.clone(), format!("{id} {} {subsample};", stored.result.dataset_revision)))
        };
        let parts = model.results.iter().filter_map(part).collect();
        let remarks = failures(model).into_iter().chain(mixed_settings(model)).chain(first_stages(model));
        let remarks = remarks.collect();
        Self { subsamples, other_sizes, parts, remarks, ..Self::new(model.name.clone(), true, scores) }
    }

    pub(super) fn is_apart(&self, abilities: impl IntoIterator<Item = Ability>) -> bool {
        !self.part(abilities).is_empty()
    }

    /// Which copies and parts the mean of `abilities` is of; nothing where it is of whole data sets.
    pub(super) fn part(&self, abilities: impl IntoIterator<Item = Ability>) -> String {
        abilities.into_iter().flat_map(Ability::datasets).map(|id| self.dataset_part(id)).collect()
    }

    pub(super) fn dataset_part(&self, id: &str) -> &str {
        self.parts.get(id).map_or("", String::as_str)
    }

    pub(super) fn note_on_sizes(&self) -> Option<String> {
        let (id, counts) = self.other_sizes.first_key_value().filter(|_| self.width.is_none())?;
        let spec = Manifest::builtin().get(id).ok()?;
        // Where each query has candidates of its own, the manifest does not know the size of the corpus.
        let [documents, theirs] = match spec.candidates {
            Candidates::Corpus => {
                [counts.corpus, spec.corpus].map(|documents| format!(" and {documents} documents"))
            }
            Candidates::PerQuery => [String::new(), String::new()],
        };
        Some(format!(
            "* {}: not of UVRB's size: {}. {id}, for one, has {} queries{documents}, there {}{theirs}. Such scores compare to nothing but \
             their like.",
            self.name,
            self.other_sizes.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
            counts.queries,
            spec.queries,
        ))
    }
}

/// Whether so much is all of a data set.
fn is_whole(counts: &Counts, spec: &DatasetSpec) -> bool {
    let whole_corpus = spec.candidates == Candidates::PerQuery || counts.corpus == spec.corpus;
    counts.queries == spec.queries && whole_corpus
}

/// What could not be embedded.
fn failures(model: &ModelResults) -> Option<String> {
    let (mut ids, mut queries, mut documents) = (Vec::new(), 0, 0);
    for (id, stored) in &model.results {
        let Some(counts) = &stored.result.counts else { continue };
        if counts.failed_queries + counts.failed_documents > 0 {
            ids.push(id.as_str());
            queries += counts.failed_queries;
            documents += counts.failed_documents;
        }
    }
    (!ids.is_empty()).then(|| {
        format!(
            "not embedded, and counted as missed: {}, {} ({})",
            count(queries, "query", "queries"),
            count(documents, "document", "documents"),
            ids.join(", ")
        )
    })
}

/// What the scores were in front of a reranker.
fn first_stages(model: &ModelResults) -> Vec<String> {
    let mut of_reranker = BTreeMap::<String, Vec<String>>::new();
    for (id, stored) in &model.results {
        if let (Some(reranker), Some(score)) = (&stored.result.reranker, stored.result.first_stage_score()) {
            let best = count(reranker.top, "document", "documents");
            let named = format!("{}@{} had read the best {best}", reranker.name, reranker.revision);
            of_reranker.entry(named).or_default().push(format!("{id} {score:.3}"));
        }
    }
    let remark = |(named, scores): (String, Vec<String>)| format!("before {named}: {}", scores.join(", "));
    of_reranker.into_iter().map(remark).collect()
}

/// A number of things in words.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The settings in which results of a model differ; data sets were then not embedded alike.
fn mixed_settings(model: &ModelResults) -> Option<String> {
    let mut values = BTreeMap::<&str, BTreeSet<String>>::new();
    let made_here =
        || model.results.values().map(|stored| &stored.result).filter(|r| r.gve_version.is_some());
    let keys: BTreeSet<&String> = made_here().flat_map(|result| result.settings.keys()).collect();
    for result in made_here() {
        for key in &keys {
            let value = result.settings.get(*key).map_or_else(|| "unset".to_owned(), ToString::to_string);
            values.entry(key).or_default().insert(value);
        }
        let style = result.prompt_style.clone().unwrap_or_default();
        values.entry("prompt style").or_default().insert(style);
    }
    let mixed = values.into_iter().filter(|(_, values)| values.len() > 1);
    let mixed: Vec<String> = mixed
        .map(|(key, values)| format!("{key} ({})", values.into_iter().collect::<Vec<_>>().join(", ")))
        .collect();
    (!mixed.is_empty())
        .then(|| format!("its data sets were not scored alike, but differ in {}", mixed.join("; ")))
}
