use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::EmbedError;
use super::input::PixelLimits;
use super::{Embedder, Inner, Preparer, Reranker};
use crate::device::{DType, Device};
use crate::model::family::{self, Family};
use crate::model::{
    AdapterClues, LoraAdapter, LoraSettings, ModelError, WeightPrecision, checkpoint_fingerprint, find_recipe,
};
use crate::preprocess::{ImageLimits, PreprocessError};
use crate::recipe::{AdapterId, NamedRecipe, Recipe, Recipes};
use crate::video::Sampling;
#[cfg(feature = "video")]
use crate::video::VideoOptions;

/// Tokens of a batch: a processor is busy with few, a GPU wants many.
const CPU_BATCH_TOKENS: usize = 512;
const GPU_BATCH_TOKENS: usize = 16_384;
/// Threads that decode ahead of the model, at the most.
const MAX_DECODE_THREADS: usize = 8;

/// Settings of an [`Embedder`] or a [`Reranker`]; the defaults are those of the published evaluation.
///
/// ```
/// use gve::{DType, Device, Embedder, Input};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// let embedder = Embedder::builder(model_dir)
///     .device(Device::Cpu)
///     .dtype(DType::F32)
///     .tokens_per_frame(100)
///     .build()?;
/// assert_eq!(embedder.embed_one(&Input::text("a dog runs"))?.dim(), embedder.dim());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct EmbedderBuilder {
    model_dir: PathBuf,
    id: Option<String>,
    revision: Option<String>,
    adapter: Option<PathBuf>,
    device: Device,
    dtype: DType,
    recipes: Option<Recipes>,
    recipe: Option<NamedRecipe>,
    dim: Option<usize>,
    force_dim: bool,
    sampling: Option<Sampling>,
    pixels: PixelLimits,
    tokens_per_frame: Option<u64>,
    instruction: Option<String>,
    max_length: Option<usize>,
    batch_tokens: Option<usize>,
    decode_threads: Option<usize>,
    #[cfg(feature = "video")]
    video: VideoOptions,
    image_limits: ImageLimits,
}

impl EmbedderBuilder {
    pub(super) fn new(model_dir: PathBuf) -> Self {
        Self {
            model_dir,
            id: None,
            revision: None,
            adapter: None,
            device: Device::default(),
            dtype: DType::default(),
            recipes: None,
            recipe: None,
            dim: None,
            force_dim: false,
            sampling: None,
            pixels: PixelLimits::default(),
            tokens_per_frame: None,
            instruction: None,
            max_length: None,
            batch_tokens: None,
            decode_threads: None,
            #[cfg(feature = "video")]
            video: VideoOptions::default(),
            image_limits: ImageLimits::default(),
        }
    }

    /// What the model is called where its embeddings are kept, and which state of it this is: the id on the
    /// hub and a commit. Default: its directory, and the fingerprint of its weights.
    pub fn id(mut self, id: impl Into<String>, revision: Option<String>) -> Self {
        (self.id, self.revision) = (Some(id.into()), revision);
        self
    }

    /// A PEFT adapter (`adapter_config.json` and `adapter_model.safetensors`) to fold into the weights while
    /// they are loaded.
    pub fn adapter(mut self, directory: impl Into<PathBuf>) -> Self {
        self.adapter = Some(directory.into());
        self
    }

    /// Where the model runs.
    pub fn device(mut self, device: Device) -> Self {
        self.device = device;
        self
    }

    /// Precision of the weights.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// How the checkpoint is used, where no other setting says: a [`Recipe`](crate::recipe::Recipe), or one of
    /// [`Recipes`] by its name. Default: what [`find_recipe`](Self::find_recipe) finds.
    pub fn recipe(mut self, recipe: impl Into<NamedRecipe>) -> Self {
        self.recipe = Some(recipe.into());
        self
    }

    /// Where the recipe of the checkpoint is looked for. Default: [`Recipes::builtin`].
    pub fn recipes(mut self, recipes: Recipes) -> Self {
        self.recipes = Some(recipes);
        self
    }

    /// Values that an embedding keeps: it is cut to so many and normalised again. Default: as many as the model
    /// has. Refused where the model was not trained for that, unless [`force_dim`](Self::force_dim) is set.
    pub fn dim(mut self, values: usize) -> Self {
        self.dim = Some(values);
        self
    }

    /// Cuts embeddings to any [`dim`](Self::dim).
    pub fn force_dim(mut self, force: bool) -> Self {
        self.force_dim = force;
        self
    }

    /// Which frames of a video to look at, where the input does not say. Default, which is also `None`: those
    /// of the recipe, which are 8, evenly spread, unless it says otherwise.
    pub fn sampling(mut self, sampling: impl Into<Option<Sampling>>) -> Self {
        self.sampling = sampling.into();
        self
    }

    /// Bounds on the area of pictures, where the input does not say. Default: 200 visual tokens at most, or
    /// what the checkpoint's `preprocessor_config.json` allows if that is less.
    pub fn pixels(mut self, pixels: PixelLimits) -> Self {
        (self.pixels, self.tokens_per_frame) = (pixels, None);
        self
    }

    /// Most visual tokens per frame or image, which are 28 x 28 pixels each of Qwen2.5-VL. Default: 200, or
    /// what the checkpoint allows if that is less.
    pub fn tokens_per_frame(mut self, tokens: u64) -> Self {
        self.tokens_per_frame = Some(tokens);
        self
    }

    /// The instruction of inputs that have none. Default: the chat template's system turn.
    pub fn instruction(mut self, instruction: impl Into<String>) -> Self {
        self.instruction = Some(instruction.into());
        self
    }

    /// Longest input in tokens; text beyond it is cut off. Default: 8192.
    pub fn max_length(mut self, tokens: usize) -> Self {
        self.max_length = Some(tokens);
        self
    }

    /// Most tokens that are run through the model together; an input of more goes by itself. More is faster
    /// on a GPU and takes more memory. Default: 512 on the CPU, 16384 elsewhere.
    pub fn batch_tokens(mut self, tokens: usize) -> Self {
        self.batch_tokens = Some(tokens);
        self
    }

    /// Threads that decode ahead of the model. Default: half of the cores, at most 8.
    pub fn decode_threads(mut self, threads: usize) -> Self {
        self.decode_threads = Some(threads);
        self
    }

    /// How video files are opened.
    #[cfg(feature = "video")]
    pub fn video(mut self, options: VideoOptions) -> Self {
        self.video = options;
        self
    }

    /// Bounds on image files.
    pub fn image_limits(mut self, limits: ImageLimits) -> Self {
        self.image_limits = limits;
        self
    }

    /// Loads the model.
    ///
    /// # Errors
    /// A device that is not there, a largest area of pictures below a visual token, or a checkpoint or an
    /// adapter that cannot be loaded.
    pub fn build(self) -> Result<Embedder, EmbedError> {
        self.build_as(family::open)
    }

    /// Loads the model as a [`Reranker`]: its recipe has a `reranking`.
    ///
    /// # Errors
    /// Also [`EmbedError::NoReranker`] for a recipe that says nothing of pairs, or of tokens that are not in the
    /// vocabulary, and [`ModelError::NoHead`] for a checkpoint without the language head that scores.
    pub fn build_reranker(self) -> Result<Reranker, EmbedError> {
        let family = family::open(&self.model_dir)?;
        let labels = self.labels(&*family)?;
        let adapted = self.adapter.as_deref().map(|adapter| adapted_head(adapter, &labels)).transpose()?;
        let head = match adapted.flatten() {
            Some(rows) => rows,
            None => family.head_rows(&self.model_dir, &labels)?,
        };
        let head = head.to_vec2().map_err(ModelError::from)?;
        Reranker::new(self.inner(|_| Ok(family))?, head)
    }

    /// As [`build`](Self::build), where `open` says what the checkpoint in a directory is.
    pub(crate) fn build_as(
        self,
        open: impl FnOnce(&Path) -> Result<Box<dyn Family>, ModelError>,
    ) -> Result<Embedder, EmbedError> {
        let inner = self.inner(open)?;
        if inner.recipe.recipe.reranking.is_some() {
            return Err(EmbedError::NoEmbedder { recipe: inner.recipe.name });
        }
        Ok(Embedder { inner: Arc::new(inner) })
    }

    /// The model and what works ahead of it.
    fn inner(
        self,
        open: impl FnOnce(&Path) -> Result<Box<dyn Family>, ModelError>,
    ) -> Result<Inner, EmbedError> {
        let (device, precision) = self.place()?;
        let fingerprint = checkpoint_fingerprint(&self.model_dir)?;
        let family = open(&self.model_dir)?;
        let (adapter, id) = match &self.adapter {
            None => (None, None),
            Some(directory) => (Some(LoraAdapter::read(directory)?), Some(AdapterId::of(directory)?)),
        };
        let recipe = self.recipe_of(&*family)?;
        let dim = self.dim_of(&*family, &recipe)?;
        let preparer = self.clone().preparer(&*family, &recipe.recipe)?;
        let backbone =
            family.backbone(&self.model_dir, &recipe.recipe, precision, &device, adapter.as_ref())?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = self.decode_threads.unwrap_or((cores / 2).clamp(1, MAX_DECODE_THREADS));
        let decode_pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("gve-decode-{i}"))
            .build()
            .map_err(|e| EmbedError::Job(e.to_string()))?;
        let batch_tokens = self.batch_tokens_on(&device);
        let revision = self.revision.unwrap_or_else(|| fingerprint.clone());
        Ok(Inner {
            id: self.id.unwrap_or_else(|| self.model_dir.display().to_string()),
            revision,
            recipe,
            dim,
            weights: precision,
            device,
            backbone,
            preparer,
            adapter: id,
            fingerprint,
            decode_pool,
            batch_tokens,
        })
    }

    /// How the model will be used, and how that was found: as told, else by what lies beside the adapter, what
    /// the adapter was made for, the model's id on the hub (by its place in the hub's cache), what lies beside
    /// its weights, or its architecture.
    ///
    /// # Errors
    /// A model that is of no architecture that is built in, or damaged files of recipes.
    pub fn find_recipe(&self) -> Result<NamedRecipe, EmbedError> {
        self.recipe_of(&*family::open(&self.model_dir)?)
    }

    /// The tokens of the recipe's `reranking` that say yes and no.
    pub(crate) fn labels(&self, family: &dyn Family) -> Result<[u32; 2], EmbedError> {
        let recipe = self.recipe_of(family)?;
        let refused = |reason| EmbedError::NoReranker { path: self.model_dir.clone(), reason };
        let Some(reranking) = &recipe.recipe.reranking else {
            let name = &recipe.name;
            return Err(refused(format!("its recipe, {name}, says nothing of pairs: name one that does")));
        };
        let processor = family.processor(&self.model_dir, &recipe.recipe)?;
        let id = |token: &String| {
            let missing = || format!("its vocabulary has no token {token:?}, which its scores are made of");
            processor.token_id(token).ok_or_else(|| refused(missing()))
        };
        Ok([id(&reranking.yes)?, id(&reranking.no)?])
    }

    /// The directory of the model.
    pub(crate) fn model_dir(&self) -> &Path {
        &self.model_dir
    }

    /// The adapter set, if any.
    pub(crate) fn adapter_dir(&self) -> Option<&Path> {
        self.adapter.as_deref()
    }

    /// Whether it was told how the model is used.
    pub(crate) fn has_recipe(&self) -> bool {
        self.recipe.is_some()
    }

    /// The recipes that one is looked for in.
    pub(crate) fn known_recipes(&self) -> &Recipes {
        self.recipes.as_ref().unwrap_or_else(|| Recipes::builtin())
    }

    /// The width that embeddings are cut to, if any.
    pub(crate) fn dim_set(&self) -> Option<usize> {
        self.dim
    }

    /// Opens the device, and says in which precision the weights are to be there.
    pub(crate) fn place(&self) -> Result<(candle_core::Device, WeightPrecision), EmbedError> {
        let device = self.device.open_for(self.dtype)?;
        let dtype = self.dtype.weights_on(&device);
        Ok((device, dtype))
    }

    /// Tokens that go through the model together on `device`.
    pub(crate) fn batch_tokens_on(&self, device: &candle_core::Device) -> usize {
        let default = if device.is_cpu() { CPU_BATCH_TOKENS } else { GPU_BATCH_TOKENS };
        self.batch_tokens.unwrap_or(default)
    }

    /// How the checkpoint, which is of `family`, is used by these settings.
    pub(crate) fn recipe_of(&self, family: &dyn Family) -> Result<NamedRecipe, EmbedError> {
        if let Some(given) = &self.recipe {
            return Ok(given.clone());
        }
        let adapter = self.adapter.as_deref().map(AdapterClues::read).transpose()?.unwrap_or_default();
        Ok(find_recipe(self.known_recipes(), &self.model_dir, family, &adapter)?)
    }

    /// Values that an embedding keeps.
    fn dim_of(&self, family: &dyn Family, recipe: &NamedRecipe) -> Result<usize, EmbedError> {
        let width = family.dim();
        let Some(dim) = self.dim else { return Ok(width) };
        recipe.check_dim(dim, width, self.force_dim)?;
        Ok(dim)
    }

    /// What turns inputs into tokens and patches, by these settings.
    pub(crate) fn preparer(self, family: &dyn Family, recipe: &Recipe) -> Result<Preparer, EmbedError> {
        let longest = family.longest().unwrap_or(usize::MAX);
        let max_length = self.max_length.unwrap_or(recipe.max_length).min(longest);
        let recipe = Recipe { max_length, ..recipe.clone() };
        let processor = family.processor(&self.model_dir, &recipe)?;
        let pictures = processor.pictures();
        let mut pixels = self.pixels;
        if let Some(tokens) = self.tokens_per_frame {
            pixels.max_pixels = Some(pictures.budget.pixels(tokens));
        }
        let least_pixels = pictures.budget.pixels_per_token;
        if let Some(max_pixels) = pixels.max_pixels.filter(|&most| most < least_pixels) {
            let min_pixels = pixels.min_pixels.unwrap_or(0);
            return Err(PreprocessError::InvalidPixelBounds { min_pixels, max_pixels, least_pixels }.into());
        }
        Ok(Preparer {
            default_max_pixels: pictures.max_pixels(recipe.tokens_per_frame),
            processor,
            sampling: self.sampling.unwrap_or(recipe.sampling),
            prompt: recipe.prompt,
            pixels,
            max_length: recipe.max_length,
            instruction: self.instruction,
            #[cfg(feature = "video")]
            video: self.video,
            image_limits: self.image_limits,
        })
    }
}

/// The rows of the language head that the adapter in `directory` brings along, of the tokens `ids`.
fn adapted_head(directory: &Path, ids: &[u32]) -> Result<Option<candle_core::Tensor>, ModelError> {
    // Most bring none, and need not be read for it.
    if LoraSettings::read(directory)?.modules_to_save.is_empty() {
        return Ok(None);
    }
    LoraAdapter::read(directory)?.head_rows(ids)
}
