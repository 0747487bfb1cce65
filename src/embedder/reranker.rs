use std::path::PathBuf;
use std::sync::Arc;

use super::builder::EmbedderBuilder;
use super::error::EmbedError;
use super::input::Input;
use super::pipeline::{self, Job, Outcome, forward_each};
use super::prepare::{Notes, Prepared, Seen, guarded, take_pictures};
use super::{CancelToken, Inner, Preparer, Progress};
use crate::model::{Item, ModelError, Prefix, WeightPrecision};
use crate::options::shown_by;
use crate::preprocess::{Encoding, VisualPatches};
use crate::recipe::{AdapterId, NamedRecipe};

/// Says of candidates how well they answer a query, by reading both together: slower than comparing
/// embeddings, and better where a search has brought a hundred of them together.
///
/// Loading takes seconds, cloning nothing: clones share one model. It is `Send` and `Sync`.
///
/// ```no_run
/// use gve::{Input, Reranker};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let reranker = Reranker::load("Qwen3-VL-Reranker-2B")?;
/// let query = Input::text("a dog catches a ball");
/// let candidates = [Input::video("park.mp4"), Input::video("kitchen.mp4"), Input::image("ball.png")];
/// for (candidate, relevance) in candidates.iter().zip(reranker.score(&query, &candidates)?) {
///     println!("{candidate:?}: {:.3}", relevance?.score);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Reranker {
    shared: Arc<Shared>,
}

shown_by!(Reranker |it| { model_id: it.shared.inner.id, revision: it.shared.inner.revision, device: it.shared.inner.device });

struct Shared {
    inner: Inner,
    /// Rows of the language head: of the token that says yes, and of that which says no.
    head: [Vec<f32>; 2],
}

/// How well a candidate answers a query.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Relevance {
    /// The probability of yes rather than no, in [0, 1].
    pub score: f32,
    /// What it comes from: yes and no before the softmax.
    pub logits: [f32; 2],
    /// Tokens of the pair, visual ones included.
    pub num_tokens: usize,
    /// What was odd about the candidate but no reason to fail.
    pub warnings: Vec<String>,
}

impl Reranker {
    /// A reranker with default settings from a model directory in Hugging Face layout.
    ///
    /// # Errors
    /// As [`EmbedderBuilder::build_reranker`].
    pub fn load(model_dir: impl Into<PathBuf>) -> Result<Self, EmbedError> {
        Self::builder(model_dir).build_reranker()
    }

    /// Settings for a reranker that is the model in `model_dir`.
    pub fn builder(model_dir: impl Into<PathBuf>) -> EmbedderBuilder {
        EmbedderBuilder::new(model_dir.into())
    }

    pub(super) fn new(inner: Inner, head: Vec<Vec<f32>>) -> Result<Self, EmbedError> {
        let rows = <[Vec<f32>; 2]>::try_from(head);
        let head =
            rows.map_err(|rows| EmbedError::Job(format!("{} rows of a head, expected 2", rows.len())))?;
        Ok(Self { shared: Arc::new(Shared { inner, head }) })
    }

    /// What tells the model from others, its adapter aside: see
    /// [`checkpoint_fingerprint`](crate::model::checkpoint_fingerprint).
    pub fn fingerprint(&self) -> &str {
        &self.shared.inner.fingerprint
    }

    /// The adapter that is folded into the weights.
    pub fn adapter(&self) -> Option<&AdapterId> {
        self.shared.inner.adapter.as_ref()
    }

    /// Precision of the scores: that of the weights, or f32 where they are held as they are stored.
    pub fn dtype(&self) -> candle_core::DType {
        self.shared.inner.weights.arithmetic()
    }

    /// How the weights are held.
    pub fn weights(&self) -> WeightPrecision {
        self.shared.inner.weights
    }

    /// How the model is used, and how that was found.
    pub fn recipe(&self) -> &NamedRecipe {
        &self.shared.inner.recipe
    }

    /// A pair as the model reads it, without running the model.
    ///
    /// # Errors
    /// [`EmbedError`], naming the file at fault.
    pub fn prepare(&self, query: &Input, candidate: &Input) -> Result<Prepared, EmbedError> {
        self.shared.inner.preparer.prepare_pair(query, candidate)
    }

    /// Scores candidates for one query: one result each, in their order. A candidate that fails takes nothing
    /// else with it. What the prompt says before the candidate, the query's pictures included, is computed once.
    ///
    /// The query's own instruction takes the place of the recipe's.
    ///
    /// # Errors
    /// Those of the query.
    pub fn score(
        &self,
        query: &Input,
        candidates: &[Input],
    ) -> Result<Vec<Result<Relevance, EmbedError>>, EmbedError> {
        self.score_with(query, candidates, &CancelToken::new(), |_| {})
    }

    /// As [`score`](Self::score), telling `progress` of every result. Candidates whose turn has not come when
    /// `cancel` is set end as [`EmbedError::Cancelled`].
    ///
    /// # Errors
    /// Those of the query.
    pub fn score_with(
        &self,
        query: &Input,
        candidates: &[Input],
        cancel: &CancelToken,
        mut progress: impl FnMut(Progress),
    ) -> Result<Vec<Result<Relevance, EmbedError>>, EmbedError> {
        let total = candidates.len();
        let mut results = Vec::with_capacity(total);
        let job = Scoring::begin(&self.shared, query)?;
        pipeline::run(&job, candidates.iter(), cancel, |result| {
            results.push(result);
            progress(Progress { done: results.len(), total });
            true
        });
        results.resize_with(total, || Err(EmbedError::Cancelled));
        Ok(results)
    }

    /// Scores one candidate.
    ///
    /// # Errors
    /// [`EmbedError`], naming the file at fault.
    pub fn score_one(&self, query: &Input, candidate: &Input) -> Result<Relevance, EmbedError> {
        let job = Scoring::begin(&self.shared, query)?;
        let mut scored = forward_each(&job, vec![job.prepare(candidate)?]);
        scored.pop().unwrap_or_else(|| Err(EmbedError::Job("no result".to_owned())))
    }
}

impl Preparer {
    /// A pair as the model reads it. A panic is its error.
    pub(crate) fn prepare_pair(&self, query: &Input, candidate: &Input) -> Result<Prepared, EmbedError> {
        let query = Query { seen: self.look(query)?, instruction: query.instruction.as_deref() };
        guarded(|| {
            let (encoding, mut visuals, notes) = query.with(self, candidate)?;
            visuals.splice(0..0, query.visuals(&encoding));
            Ok(self.prepared(Item { encoding, visuals, behind: 0 }, notes))
        })
    }
}

/// A query whose pictures are patches by now.
struct Query<'a> {
    seen: Seen<'a>,
    instruction: Option<&'a str>,
}

impl Query<'_> {
    /// The prompt with a candidate, whose own pictures come with it.
    fn with(
        &self,
        preparer: &Preparer,
        candidate: &Input,
    ) -> Result<(Encoding, Vec<VisualPatches>, Notes), EmbedError> {
        let mut seen = preparer.look(candidate)?;
        let instruction = self.instruction.or(preparer.instruction.as_deref());
        let encoding = preparer.processor.encode_pair(&self.seen.named(), &seen.named(), instruction)?;
        let visuals = take_pictures(&encoding, self.seen.parts.len(), &mut seen.pictures);
        seen.notes.warnings.splice(0..0, self.seen.notes.warnings.iter().cloned());
        Ok((encoding, visuals, seen.notes))
    }

    /// Its own pictures as a prompt has them.
    fn visuals(&self, encoding: &Encoding) -> Vec<VisualPatches> {
        // A video may stand there step by step, and is one picture all the same.
        let mut places: Vec<usize> = encoding.visual_spans.iter().map(|span| span.part_index).collect();
        places.dedup();
        let pictures = places.iter().filter_map(|place| self.seen.pictures.get(place));
        pictures.map(|picture| picture.patches.clone()).collect()
    }
}

/// The candidates of one query.
struct Scoring<'a> {
    shared: &'a Shared,
    query: Query<'a>,
    /// The prompt with a candidate that says nothing: the others begin as it does.
    beginning: Encoding,
    /// Where the query's pictures end in it.
    pictures_end: usize,
    prefix: Prefix,
}

impl<'a> Scoring<'a> {
    fn begin(shared: &'a Shared, query: &'a Input) -> Result<Self, EmbedError> {
        let preparer = &shared.inner.preparer;
        let query = Query { seen: preparer.look(query)?, instruction: query.instruction.as_deref() };
        let (encoding, _, _) = guarded(|| query.with(preparer, &Input::text("")))?;
        let pictures_end = encoding.visual_spans.iter().map(|span| span.start + span.len).max().unwrap_or(0);
        let item = Item { visuals: query.visuals(&encoding), encoding, behind: 0 };
        let prefix = shared.inner.backbone.prefix(&item)?;
        Ok(Self { shared, query, beginning: item.encoding, pictures_end, prefix })
    }

    /// How many tokens at the beginning of `encoding` are those of all candidates; one at the least is its own.
    /// A text that was cut may leave so few that not all pictures of the query are among them, and then none
    /// are.
    fn shared_tokens(&self, encoding: &Encoding) -> usize {
        let same = encoding.input_ids.iter().zip(&self.beginning.input_ids).enumerate().take_while(
            |&(place, (own, other))| {
                let positions = encoding.position_ids.iter().zip(&self.beginning.position_ids);
                own == other && positions.into_iter().all(|(own, other)| own.get(place) == other.get(place))
            },
        );
        let same = same.count().min(encoding.input_ids.len().saturating_sub(1));
        if same < self.pictures_end { 0 } else { same }
    }
}

impl Job for Scoring<'_> {
    type Output = Relevance;

    fn inner(&self) -> &Inner {
        &self.shared.inner
    }

    fn prepare(&self, candidate: &Input) -> Outcome<Prepared> {
        let preparer = &self.shared.inner.preparer;
        guarded(|| {
            let (mut encoding, mut visuals, notes) = self.query.with(preparer, candidate)?;
            let behind = self.shared_tokens(&encoding);
            if behind == 0 {
                visuals.splice(0..0, self.query.visuals(&encoding));
            }
            encoding.skip(behind);
            Ok(preparer.prepared(Item { encoding, visuals, behind }, notes))
        })
    }

    fn forward(&self, batch: &[Prepared]) -> Outcome<Vec<Outcome<Relevance>>> {
        let items: Vec<_> = batch.iter().map(|prepared| &prepared.item).collect();
        let pooled = self.shared.inner.backbone.pooled_behind(&self.prefix, &items)?;
        let rows: Vec<Vec<f32>> = pooled.to_vec2().map_err(ModelError::from)?;
        Ok(rows.iter().zip(batch).map(|(row, prepared)| self.shared.relevance(row, prepared)).collect())
    }
}

impl Shared {
    fn relevance(&self, hidden: &[f32], prepared: &Prepared) -> Outcome<Relevance> {
        // In f64, so that sums of long vectors are exact to f32.
        let logit = |row: &Vec<f32>| -> f64 {
            row.iter().zip(hidden).map(|(&w, &h)| f64::from(w) * f64::from(h)).sum()
        };
        let [yes, no] = self.head.each_ref().map(logit);
        let score = 1.0 / (1.0 + (no - yes).exp());
        if score.is_nan() {
            return Err(EmbedError::NotFinite);
        }
        Ok(Relevance {
            score: score as f32,
            logits: [yes as f32, no as f32],
            num_tokens: prepared.item.behind + prepared.num_tokens(),
            warnings: prepared.warnings.clone(),
        })
    }
}
