//! From inputs to embeddings: the room that joins video, preprocessing and model.
//!
//! An [`Input`] is prepared (files decoded and sampled, pixels made patches, text made tokens), packed with
//! others into a batch, run through the model, and its last token's hidden state is normalised: the
//! [`Embedding`]. Preparation runs on threads of its own ahead of the model, so that neither
//! waits for the other.

mod builder;
mod embedding;
mod error;
mod input;
mod iter;
mod json;
mod pipeline;
mod prepare;
mod pseudo_query;
mod readers;
mod reranker;
#[cfg(test)]
pub(crate) mod seam_tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use crate::cancel::CancelToken;
pub use builder::EmbedderBuilder;
pub use embedding::{Embedding, SourceInfo};
pub use error::EmbedError;
pub use input::{FramesPart, ImagePart, ImageSource, Input, Part, PixelLimits, RangeClock, VideoPart};
pub use iter::EmbedIter;
pub(crate) use json::InputJson;
pub use json::InputJsonError;

pub use prepare::Prepared;
pub use reranker::{Relevance, Reranker};

pub(crate) use prepare::{Preparer, guarded};
pub(crate) use readers::Readers;

use pipeline::{Job, Outcome, forward_each};

use crate::model::WeightPrecision;
use crate::model::family::{self, Backbone};
use crate::model::qwen2_5_vl::PIXEL_BUDGET;
use crate::options::shown_by;
use crate::preprocess::ProcessorKind;
use crate::recipe::{AdapterId, NamedRecipe, RecipeError};
pub use crate::recipe::{FRAMES_PER_VIDEO, TOKENS_PER_FRAME};
use crate::video::{FrameCount, Sampling};

/// Pixels of one visual token of Qwen2.5-VL, for whoever has no model at hand.
pub const PIXELS_PER_TOKEN: u64 = PIXEL_BUDGET.pixels_per_token;
/// Frames of which Qwen2.5-VL takes multiples, for whoever has no model at hand.
pub const FRAME_FACTOR: usize = PIXEL_BUDGET.frame_factor;

/// What the settings files of the model in `model_dir` say that this release does not know, one line each,
/// beginning with the file's name: whether it changes embeddings cannot be told. What is known to change them
/// and is not built in is an error of [`Embedder::load`] instead.
pub fn unknown_settings(model_dir: &Path) -> Vec<String> {
    let family = family::open(model_dir).ok();
    let keys = family.as_ref().map(|family| family.unknown_keys().to_vec()).unwrap_or_default();
    let of_config = keys.into_iter().map(|key| format!("config.json: key `{key}`"));
    let kind = family.as_ref().map_or(ProcessorKind::VisualTokens, |family| family.processor_kind());
    let template = family.and_then(|family| family.template());
    of_config.chain(crate::preprocess::unknown_settings(model_dir, kind, template)).collect()
}

/// Turns texts, images, videos and compositions of them into embeddings of one space.
///
/// Loading takes seconds, cloning nothing: clones share one model. It is `Send` and `Sync`.
///
/// ```
/// use gve::{Embedder, Input};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// # let image = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/rabbit.png");
/// let embedder = Embedder::load(model_dir)?;
/// let inputs = [Input::image(image), Input::text("a rabbit in the meadow"), Input::image("missing.png")];
/// let embeddings = embedder.embed(&inputs);
/// assert!(embeddings[0].is_ok() && embeddings[1].is_ok());
/// assert!(embeddings[2].as_ref().is_err_and(|e| e.to_string().contains("missing.png")));
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Embedder {
    inner: Arc<Inner>,
}

shown_by!(Embedder |it| { model_id: it.model_id(), revision: it.revision(), dim: it.dim(), device: it.device(), dtype: it.dtype() });

struct Inner {
    id: String,
    revision: String,
    recipe: NamedRecipe,
    backbone: Box<dyn Backbone>,
    /// Values in an embedding.
    dim: usize,
    device: candle_core::Device,
    weights: WeightPrecision,
    preparer: Preparer,
    adapter: Option<AdapterId>,
    fingerprint: String,
    decode_pool: rayon::ThreadPool,
    batch_tokens: usize,
}

/// How far a job has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Inputs that have their embedding or their error.
    pub done: usize,
    /// Inputs in all.
    pub total: usize,
}

impl Embedder {
    /// An embedder with default settings from a model directory in Hugging Face layout.
    ///
    /// # Errors
    /// As [`EmbedderBuilder::build`].
    pub fn load(model_dir: impl Into<PathBuf>) -> Result<Self, EmbedError> {
        Self::builder(model_dir).build()
    }

    /// Settings for an embedder of the model in `model_dir`.
    pub fn builder(model_dir: impl Into<PathBuf>) -> EmbedderBuilder {
        EmbedderBuilder::new(model_dir.into())
    }

    /// What the model is called: its id on the hub or its directory, or as [`EmbedderBuilder::id`] says.
    pub fn model_id(&self) -> &str {
        &self.inner.id
    }

    /// Which state of the model this is: a commit, or the fingerprint of its weights.
    pub fn revision(&self) -> &str {
        &self.inner.revision
    }

    /// Values in an embedding: as many as the model has, or as [`EmbedderBuilder::dim`] says.
    pub fn dim(&self) -> usize {
        self.inner.dim
    }

    /// Whether embeddings may be cut to `dim` values ([`Embedding::cut`]): where the model was trained for
    /// that, or `force` is set.
    ///
    /// # Errors
    /// As [`NamedRecipe::check_dim`].
    pub fn check_dim(&self, dim: usize, force: bool) -> Result<(), RecipeError> {
        self.inner.recipe.check_dim(dim, self.inner.dim, force)
    }

    /// How the model is used, and how that was found.
    pub fn recipe(&self) -> &NamedRecipe {
        &self.inner.recipe
    }

    /// What `query` says where the user gives it no instruction: that of the recipe for a query of its kind.
    pub fn query_instruction(&self, query: &Input) -> Option<&str> {
        self.inner.recipe.recipe.query_instruction.of(query.query_kind())
    }

    /// `query` asked once more, together with `candidates` that a first search found for it, the best first:
    /// what comes of embedding it is compared with the same embeddings. The candidates are read in few words
    /// and frames, as the recipe says.
    ///
    /// ```
    /// use gve::recipe::{PseudoQuery, Recipe};
    /// use gve::{Embedder, Input};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
    /// let mut recipe = Recipe::default();
    /// recipe.pseudo_query = Some(PseudoQuery::default());
    /// let embedder = Embedder::builder(model_dir).recipe(recipe).build()?;
    /// let found = [Input::text("a dog runs"), Input::text("a dog sleeps")];
    /// let asked = embedder.pseudo_query(&Input::text("a dog"), &found)?;
    /// assert_eq!(asked, Input::text("Documents:\n[1] a dog runs\n[2] a dog sleeps\nSearch Query: a dog"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`EmbedError::NoPseudoQuery`] of a model that was not trained for it.
    pub fn pseudo_query<'a>(
        &self,
        query: &Input,
        candidates: impl IntoIterator<Item = &'a Input>,
    ) -> Result<Input, EmbedError> {
        self.inner.preparer.pseudo_query(&self.inner.recipe, query, candidates)
    }

    /// Which frames of a video are looked at, where the input does not say.
    pub fn sampling(&self) -> &Sampling {
        &self.inner.preparer.sampling
    }

    /// How many frames of a video the model takes: multiples of those that share a visual token.
    pub fn frame_count(&self) -> FrameCount {
        self.inner.preparer.frame_count()
    }

    /// Bounds on the area of pictures, where the input does not say.
    pub fn pixels(&self) -> PixelLimits {
        self.inner.preparer.limits(PixelLimits::default())
    }

    /// The instruction of inputs that have none.
    pub fn instruction(&self) -> Option<&str> {
        self.inner.preparer.instruction.as_deref()
    }

    /// Whether the model reads instructions. Where not, an input that has one is an error.
    pub fn reads_instructions(&self) -> bool {
        self.inner.preparer.processor.reads_instructions()
    }

    /// The adapter that is folded into the weights.
    pub fn adapter(&self) -> Option<&AdapterId> {
        self.inner.adapter.as_ref()
    }

    /// What tells the model from others, its adapter aside: see
    /// [`checkpoint_fingerprint`](crate::model::checkpoint_fingerprint).
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// Longest input in tokens; text beyond it is cut off.
    pub fn max_length(&self) -> usize {
        self.inner.preparer.max_length
    }

    /// Where the model runs.
    pub fn device(&self) -> &candle_core::Device {
        &self.inner.device
    }

    /// Precision of the embeddings: that of the weights, or f32 where they are held as they are stored.
    pub fn dtype(&self) -> candle_core::DType {
        self.inner.weights.arithmetic()
    }

    /// How the weights are held.
    pub fn weights(&self) -> WeightPrecision {
        self.inner.weights
    }

    /// How video files are opened.
    #[cfg(feature = "video")]
    pub fn video_options(&self) -> crate::video::VideoOptions {
        self.inner.preparer.video
    }

    /// An input as the model reads it, without running the model: how many tokens it has, say.
    ///
    /// # Errors
    /// [`EmbedError`], naming the file at fault.
    pub fn prepare(&self, input: &Input) -> Result<Prepared, EmbedError> {
        self.inner.preparer.prepare(input)
    }

    /// Embeds one input.
    ///
    /// # Errors
    /// [`EmbedError`], naming the file at fault.
    pub fn embed_one(&self, input: &Input) -> Result<Embedding, EmbedError> {
        let prepared = self.inner.preparer.prepare(input)?;
        let mut embedded = forward_each(&*self.inner, vec![prepared]);
        embedded.pop().unwrap_or_else(|| Err(EmbedError::Job("no result".to_owned())))
    }

    /// Embeds many inputs: one result each, in their order. An input that fails takes nothing
    /// else with it.
    pub fn embed(&self, inputs: &[Input]) -> Vec<Result<Embedding, EmbedError>> {
        self.embed_with(inputs, &CancelToken::new(), |_| {})
    }

    /// As [`embed`](Self::embed), telling `progress` of every result. Inputs whose turn has not
    /// come when `cancel` is set end as [`EmbedError::Cancelled`].
    pub fn embed_with(
        &self,
        inputs: &[Input],
        cancel: &CancelToken,
        mut progress: impl FnMut(Progress),
    ) -> Vec<Result<Embedding, EmbedError>> {
        let total = inputs.len();
        let mut results = Vec::with_capacity(total);
        pipeline::run(&*self.inner, inputs.iter(), cancel, |result| {
            results.push(result);
            progress(Progress { done: results.len(), total });
            true
        });
        results.resize_with(total, || Err(EmbedError::Cancelled));
        results
    }

    /// Embeds inputs as they come, one result each in their order, decoding the next while the
    /// model runs the present ones. Dropping the iterator ends the job, once `inputs` gives its next one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
    /// # let embedder = gve::Embedder::load(model_dir)?;
    /// let inputs = (0..100).map(|i| gve::Input::text(format!("clip number {i}")));
    /// for embedding in embedder.embed_iter(inputs).take(3) {
    ///     println!("{:?}", &embedding?.as_slice()[..4]);
    /// }
    /// # Ok(()) }
    /// ```
    pub fn embed_iter<I>(&self, inputs: I) -> EmbedIter
    where
        I: IntoIterator<Item = Input>,
        I::IntoIter: Send + 'static,
    {
        EmbedIter::start(self.inner.clone(), inputs.into_iter())
    }
}

impl Job for Inner {
    type Output = Embedding;

    fn inner(&self) -> &Inner {
        self
    }

    fn prepare(&self, input: &Input) -> Outcome<Prepared> {
        self.preparer.prepare(input)
    }

    fn forward(&self, batch: &[Prepared]) -> Outcome<Vec<Outcome<Embedding>>> {
        let items: Vec<_> = batch.iter().map(|prepared| &prepared.item).collect();
        let pooled = self.backbone.embed(&items)?;
        let rows: Vec<Vec<f32>> = pooled.to_vec2().map_err(crate::model::ModelError::from)?;
        let embeddings = rows.into_iter().zip(batch).map(|(row, prepared)| {
            Embedding::from_hidden_state(row, self.dim, prepared).ok_or(EmbedError::NotFinite)
        });
        Ok(embeddings.collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_embedded_alone_is_told_why() {
        let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
        let embedder = Embedder::load(model_dir).unwrap();
        let prepare = |text| embedder.inner.preparer.prepare(&Input::text(text)).unwrap();
        let (good, mut bad) = (prepare("a dog"), prepare("a cat"));
        bad.item.encoding.input_ids[0] = u32::MAX;
        let results = forward_each(&*embedder.inner, vec![good, bad]);
        let [Ok(alone), Err(error)] = &results[..] else { panic!("{results:?}") };
        let error = error.to_string();
        assert_eq!(alone.warnings(), [format!("embedded alone, as a batch of 2 failed: {error}")]);
        assert_eq!(alone.as_slice(), embedder.embed_one(&Input::text("a dog")).unwrap().as_slice());
    }
}
