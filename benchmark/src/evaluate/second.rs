use super::{EvaluateOptions, Event};
use crate::Error;
use crate::dataset::{Dataset, Query};
use crate::encoder::PairScorer;
use crate::ranking::{Ranked, best_first};

/// What is added to the score of a document that was scored again: it stands in front of all that were not,
/// whose scores are cosines.
const IN_FRONT: f32 = 2.0;

/// A reranker's look at rankings of a data set.
pub(super) struct SecondLook<'a> {
    pub(super) second: &'a PairScorer,
    pub(super) dataset: &'a Dataset,
    pub(super) options: &'a EvaluateOptions,
}

impl SecondLook<'_> {
    /// `ranking` with its best ranked by what the reranker says, each with 2 more than its score; behind them
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
        put_in_front(&mut scored);
        let count = failed.len();
        scored.extend(failed.iter().chain(rest));
        Ok((scored, count))
    }
}

/// Adds [`IN_FRONT`] to sorted scores. What f32 does not tell apart there still differs afterwards, so that whoever
/// sorts by them again finds the same order.
fn put_in_front(scored: &mut [Ranked]) {
    let mut last: Option<(f32, f32)> = None;
    for ranked in scored {
        let said = ranked.score;
        ranked.score = match last {
            Some((before, in_front)) if said == before => in_front,
            Some((_, in_front)) => (said + IN_FRONT).min(in_front.next_down()),
            None => said + IN_FRONT,
        };
        last = Some((said, ranked.score));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_scores_keep_their_order_in_front_of_cosines() {
        let said = [0.75, 3e-9, 2e-9, 2e-9, 0.0];
        let mut scored: Vec<_> =
            (0..).zip(said).map(|(document, score)| Ranked { document, score }).collect();
        put_in_front(&mut scored);
        let scores: Vec<f32> = scored.iter().map(|ranked| ranked.score).collect();
        assert_eq!(scores[0], 2.75);
        assert!(scores[1] > scores[2] && scores[2] == scores[3] && scores[3] > scores[4], "{scores:?}");
        assert!(scores[4] > 1.9, "{scores:?}");
    }
}
