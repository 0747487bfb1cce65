//! The second look at a ranking, by a reranker of this repository.

use std::path::PathBuf;

use gve::recipe::RecipeId;
use gve::{EmbedError, Input, Reranker};
use serde::{Deserialize, Serialize};

use super::content::{ContentHasher, Fields};
use super::record::{self, Sha256Digest};
use super::{EncodeError, OnDamage};
use crate::Error;

/// Which reranker read the best of every ranking, and how many of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RerankerReference {
    /// `org/model`, a path or a bare name.
    pub name: String,
    /// What makes the name mean one set of weights.
    pub revision: String,
    /// How gve uses it.
    pub recipe: RecipeId,
    /// Documents of each ranking that it read.
    pub top: usize,
}

/// Scores of pairs, each of which is computed once: those of a query are kept when the last of them is there.
pub struct PairScorer {
    reranker: Reranker,
    reference: RerankerReference,
    cache: Option<(PathBuf, ContentHasher)>,
    on_damage: Box<OnDamage>,
}

impl PairScorer {
    /// A scorer of the best `top` of a ranking by `reranker`, whose weights are `revision` of `name`, which an
    /// adapter adds to. Scores are kept in `cache`.
    pub fn new(
        reranker: Reranker,
        name: impl Into<String>,
        revision: &str,
        top: usize,
        cache: Option<PathBuf>,
    ) -> Self {
        let revision = match reranker.adapter() {
            Some(adapter) => format!("{revision}+{}", adapter.fingerprint),
            None => revision.to_owned(),
        };
        let reference =
            RerankerReference { name: name.into(), revision, recipe: reranker.recipe().id(), top };
        let cache = cache.map(|directory| {
            let hasher = ContentHasher::persistent(directory.join("files"));
            (directory, hasher)
        });
        Self { reranker, reference, cache, on_damage: Box::new(|_| {}) }
    }

    /// Tells `on_damage` of what is kept, cannot be read and is made again.
    #[must_use]
    pub fn on_damage(self, on_damage: impl Fn(&Error) + Send + Sync + 'static) -> Self {
        Self { on_damage: Box::new(on_damage), ..self }
    }

    /// What it is.
    pub fn reference(&self) -> &RerankerReference {
        &self.reference
    }

    /// How well each of `candidates` answers `query`: one result each, in their order. Candidates of a query
    /// that cannot be read fail as it does.
    ///
    /// # Errors
    /// A reranker that cannot go on, and scores that cannot be kept.
    pub fn score(
        &self,
        query: &Input,
        candidates: &[&Input],
    ) -> Result<Vec<Result<f32, EncodeError>>, Error> {
        let key = self.key(query, candidates);
        if let Some(kept) = key.and_then(|key| self.read(&key, candidates.len())) {
            return Ok(kept.into_iter().map(Ok).collect());
        }
        let inputs: Vec<Input> = candidates.iter().map(|&candidate| candidate.clone()).collect();
        let scored = match self.reranker.score(query, &inputs) {
            Ok(scored) => scored,
            Err(error) => {
                let error = EncodeError::new(error);
                return Ok(candidates.iter().map(|_| Err(error.clone())).collect());
            }
        };
        let mut scores = Vec::with_capacity(scored.len());
        for relevance in scored {
            scores.push(match relevance {
                Ok(relevance) => Ok(relevance.score),
                Err(EmbedError::Job(reason)) => {
                    return Err(Error::Encoder { encoder: self.reference.name.clone(), reason });
                }
                Err(error) => Err(EncodeError::new(error)),
            });
        }
        let good: Option<Vec<f32>> = scores.iter().map(|score| score.as_ref().ok().copied()).collect();
        if let (Some((directory, _)), Some(key), Some(good)) = (&self.cache, key, good) {
            let bytes: Vec<u8> = good.iter().flat_map(|score| score.to_le_bytes()).collect();
            record::write(directory, &key, &bytes)?;
        }
        Ok(scores)
    }

    /// That of a query with its candidates; `None` where nothing is kept, or a file cannot be read.
    fn key(&self, query: &Input, candidates: &[&Input]) -> Option<Sha256Digest> {
        let (_, hasher) = self.cache.as_ref()?;
        let mut key = Fields::new("uvrb pairs 1");
        let RerankerReference { name, revision, recipe, .. } = &self.reference;
        for part in [name.as_str(), revision, &recipe.hash, env!("CARGO_PKG_VERSION")] {
            key.bytes(part.as_bytes());
        }
        key.bytes(self.reranker.weights().arithmetic_name().as_bytes()).bytes(&hasher.key(query).ok()?);
        for candidate in candidates {
            key.bytes(&hasher.key(candidate).ok()?);
        }
        Some(key.finish())
    }

    fn read(&self, key: &Sha256Digest, count: usize) -> Option<Vec<f32>> {
        let (directory, _) = self.cache.as_ref()?;
        let bytes = record::read(directory, key).unwrap_or_else(|error| {
            (self.on_damage)(&error);
            None
        })?;
        let (scores, rest) = bytes.as_chunks();
        let scores: Vec<f32> = scores.iter().map(|&score| f32::from_le_bytes(score)).collect();
        (rest.is_empty() && scores.len() == count).then_some(scores)
    }
}
