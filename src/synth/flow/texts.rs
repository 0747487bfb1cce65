use std::collections::{HashMap, HashSet};

use super::caption_rules::{broken_rule, duplicate_key};
use super::journal::Journal;
use super::report::{Filter, Judgement};
use super::settings::FlowSettings;
use crate::embedder::{CancelToken, Embedder, Input, Progress};
use crate::hash::{FNV_OFFSET, fnv};
use crate::retrieval::dot;
use crate::synth::SynthError;

/// Judges texts about clips and frames: by the rules for captions, by the embedder, and by whether they were
/// kept before.
pub(super) struct TextJudge<'a> {
    embedder: &'a Embedder,
    settings: &'a FlowSettings,
    cosines: Journal<f32>,
    kept: HashSet<String>,
}

/// A text, and the embedding of what it is about.
pub(super) struct Candidate<'a> {
    pub(super) item: String,
    pub(super) style: &'static str,
    pub(super) text: String,
    pub(super) target: &'a [f32],
}

impl<'a> TextJudge<'a> {
    pub(super) fn new(embedder: &'a Embedder, settings: &'a FlowSettings, cosines: Journal<f32>) -> Self {
        Self { embedder, settings, cosines, kept: HashSet::new() }
    }

    /// One judgement for each candidate, in their order. `on_progress` hears of the texts that have to be
    /// embedded.
    ///
    /// # Errors
    /// [`SynthError::Cancelled`]; [`SynthError::Io`]. A text that cannot be embedded is dropped.
    pub(super) fn judge(
        &mut self,
        candidates: &[Candidate<'_>],
        cancel: &CancelToken,
        on_progress: impl FnMut(Progress),
    ) -> Result<Vec<Judgement>, SynthError> {
        let mut judgements: Vec<Judgement> =
            candidates.iter().map(|candidate| self.judge_by_reading(candidate)).collect();
        let failures = self.measure(candidates, &judgements, cancel, on_progress)?;
        for (judgement, candidate) in judgements.iter_mut().zip(candidates).filter(|(j, _)| j.is_kept()) {
            let key = key(candidate);
            *judgement = match self.cosines.get(&key) {
                Some(&cosine) => self.judge_by_cosine(judgement.clone(), f64::from(cosine)),
                None => {
                    // Embedding ends for all where it breaks for one.
                    let reason = failures.get(&key).map_or("it was not embedded", String::as_str);
                    judgement.clone().dropped(Filter::NotEmbedded, reason)
                }
            };
        }
        // Of the same words, the first that are kept stay: words about another clip may have been dropped
        // there.
        for (judgement, candidate) in judgements.iter_mut().zip(candidates).filter(|(j, _)| j.is_kept()) {
            if !self.kept.insert(duplicate_key(&candidate.text)) {
                *judgement = judgement.clone().dropped(Filter::Duplicate, "the same words stood before");
            }
        }
        Ok(judgements)
    }

    fn judge_by_reading(&self, candidate: &Candidate<'_>) -> Judgement {
        let judgement = Judgement::of_text(&candidate.item, candidate.style, &candidate.text);
        if let Some((filter, reason)) = broken_rule(&candidate.text, self.settings.min_words) {
            return judgement.dropped(filter, reason);
        }
        judgement
    }

    fn judge_by_cosine(&self, judgement: Judgement, cosine: f64) -> Judgement {
        let judgement = judgement.measured("cosine", cosine);
        if cosine >= self.settings.min_cosine {
            return judgement;
        }
        let reason = format!("its cosine is {cosine:.3}, at least {} is asked for", self.settings.min_cosine);
        judgement.dropped(Filter::Inconsistent, reason)
    }

    /// Measures what is kept so far and was not measured before. Gives why a text could not be, by its key.
    fn measure(
        &mut self,
        candidates: &[Candidate<'_>],
        judgements: &[Judgement],
        cancel: &CancelToken,
        mut on_progress: impl FnMut(Progress),
    ) -> Result<HashMap<String, String>, SynthError> {
        let unknown: Vec<&Candidate<'_>> = candidates
            .iter()
            .zip(judgements)
            .filter(|(candidate, judgement)| {
                judgement.is_kept() && self.cosines.get(&key(candidate)).is_none()
            })
            .map(|(candidate, _)| candidate)
            .collect();
        let inputs: Vec<Input> = unknown.iter().map(|candidate| Input::text(&candidate.text)).collect();
        let embeddings = self.embedder.embed_iter(inputs);
        let mut failures = HashMap::new();
        for (done, (candidate, embedding)) in (1..).zip(unknown.iter().zip(embeddings)) {
            if cancel.is_cancelled() {
                return Err(SynthError::Cancelled);
            }
            match embedding {
                Ok(embedding) => {
                    self.cosines.insert(key(candidate), dot(embedding.as_slice(), candidate.target))?;
                }
                Err(error) => drop(failures.insert(key(candidate), error.to_string())),
            }
            on_progress(Progress { done, total: unknown.len() });
        }
        Ok(failures)
    }
}

fn key(candidate: &Candidate<'_>) -> String {
    format!("{} {:016x}", candidate.item, fnv(FNV_OFFSET, candidate.text.as_bytes()))
}
