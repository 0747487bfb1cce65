use super::{EvaluateOptions, Event};
use crate::Error;
use crate::dataset::{Dataset, Query};
use crate::encoder::PairScorer;
use crate::ranking::{Ranked, best_first};

/// What is added to the score of a document that was scored again: it stands in front of all that were not,
/// whose scores are cosines.
const IN_FRONT: f32 = 1.0;

/// A reranker's look at rankings of a data set.
pub(super) struct SecondLook<'a> {
    pub(super) second: &'a PairScorer,
    pub(super) dataset: &'a Dataset,
    pub(super) options: &'a EvaluateOptions,
}

impl SecondLook<'_> {
    /// `ranking` with its best ranked by what the reranker says, each with 1 more than its score; behind them
    /// stands what could not be scored, and what nobody looked at, as it was. Gives how many could not.
    pub(super) fn rank(
        &self,
        query: &Query,
        ranking: &[Ranked],
        observe: &mut dyn FnMut(Event<'_>) -> Result<(), Error>,
    ) -> Result<(Vec<Ranked>, usize), Error> {
        let corpus = &self.dataset.corpus;
        let (best, rest) = ranking.split_at(self.second.reference().top.min(ranking.len()));
        let prompted = self.options.prompt_style.apply(&query.input, &self.options.prompt);
        let inputs: Vec<_> = best.iter().map(|ranked| &corpus[ranked.document].input).collect();
        let (mut scored, mut failed) = (Vec::with_capacity(ranking.len()), Vec::new());
        for (ranked, score) in best.iter().zip(self.second.score(&prompted, &inputs)?) {
            match score {
                Ok(score) => scored.push(Ranked { score, ..*ranked }),
                Err(error) => {
                    let document = &corpus[ranked.document].id;
                    observe(Event::NotScored { query: &query.id, document, error: &error })?;
                    failed.push(*ranked);
                }
            }
        }
        let id = |ranked: &Ranked| corpus[ranked.document].id.as_str();
        scored.sort_by(|a, b| best_first((a.score, id(a)), (b.score, id(b))));
        scored.iter_mut().for_each(|ranked| ranked.score += IN_FRONT);
        let count = failed.len();
        scored.extend(failed.iter().chain(rest));
        Ok((scored, count))
    }
}
