use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::config::TrainConfig;
use super::grad_cache::pieces;
use super::{Gradients, Mode, Parameters, Prepared, TrainError, starting};
use crate::embedder::{EmbedderBuilder, Input, Preparer};
use crate::model::family::{self, Backbone, Family, VisualRows};
use crate::model::{
    AdapterLayout, BaseModel, Dropout, GradientSink, Item, LoraAdapter, LoraConfig, ModelError, Trainable,
    Training, sentence_transformers, write_checkpoint,
};
use crate::options::shown_by;
use crate::random::Random;
use crate::recipe::{NamedRecipe, PartOrder, Recipe};

/// A model of which something is trained.
///
/// ```
/// use gve::train::{LoraConfig, Memory, Trainable, TrainableModel};
/// use gve::{Embedder, Input};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let model_dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/tiny-a/model");
/// let model = TrainableModel::load(Embedder::builder(model_dir), Trainable::Lora(LoraConfig::default()))?;
/// let items = [model.prepare(&Input::text("a dog runs"))?, model.prepare(&Input::text("a cat sleeps"))?];
/// // Pull the two apart: the gradients of their cosine.
/// let (cosine, gradients) = model.gradients(&[&items[0], &items[1]], 0, Memory::default(), |embeddings| {
///     Ok((embeddings.get(0)? * embeddings.get(1)?)?.sum_all()?)
/// })?;
/// assert!(cosine <= 1.0 && gradients.norm()? > 0.0);
/// for (name, var) in model.parameters() {
///     if let Some(gradient) = gradients.get(name) {
///         var.set(&(var.as_tensor() - (gradient * 1e-3)?)?)?;
///     }
/// }
/// # Ok(()) }
/// ```
pub struct TrainableModel {
    backbone: Box<dyn Backbone>,
    /// Values in an embedding.
    dim: usize,
    preparer: Preparer,
    recipe: NamedRecipe,
    is_described: bool,
    trainable: Trainable,
    /// Whether anything of the vision tower is.
    trains_vision: bool,
    parameters: Parameters,
    /// Of a reranker.
    head: Option<Head>,
    model_dir: PathBuf,
    /// Tokens that go through the model together where there is no graph.
    batch_tokens: usize,
}

shown_by!(TrainableModel |it| { model_dir: it.model_dir, dim: it.dim });

/// The rows of the language head that say yes and no.
enum Head {
    /// Those of the token embeddings, which are trained.
    Embeddings([u32; 2]),
    /// Such as stay as they are, (2, dim).
    Frozen(Tensor),
}

/// Items for the model, and what does not change from one pass over them to the next.
pub(super) struct Batch<'a> {
    items: Vec<&'a Item>,
    /// Rows of the visuals, unless the vision tower is trained.
    visual_rows: Option<VisualRows>,
    /// Places of the items in the whole batch.
    pub(super) places: Range<usize>,
}

/// What a pass over a batch gives.
pub(super) struct Pass {
    pub(super) embeddings: Tensor,
    /// Where checkpointed layers leave the gradients of their parameters.
    pub(super) sink: Option<Arc<GradientSink>>,
}

impl TrainableModel {
    /// Loads the model in the directory of `settings`, onto its device and in its precision; inputs are
    /// sampled and resized by `settings` as well. What is trained is kept in f32. On the CPU only f32 makes
    /// sense for [`Trainable::Full`], and activations are always f32.
    ///
    /// # Errors
    /// [`TrainError::Setting`], a device that is not there, a checkpoint that cannot be loaded. An adapter
    /// set in `settings` is an error: start from it with [`load_state`](Self::load_state), or merge it first. So
    /// is a width that embeddings are cut to.
    pub fn load(settings: EmbedderBuilder, trainable: Trainable) -> Result<Self, TrainError> {
        Self::load_as(settings, trainable, family::open)
    }

    /// As [`load`](Self::load), of a model that is a reranker by its recipe, or shall become one: instead of an
    /// embedding, an item that [`prepare_pair`](Self::prepare_pair) made has the two values that say yes and no
    /// before the softmax. Where the head's rows are those of the token embeddings and these are trained, both
    /// are; a head of its own stays as it is.
    ///
    /// # Errors
    /// Also those of [`EmbedderBuilder::build_reranker`].
    pub fn load_reranker(settings: EmbedderBuilder, trainable: Trainable) -> Result<Self, TrainError> {
        Self::load_reranker_as(settings, trainable, family::open)
    }

    /// As [`load_reranker`](Self::load_reranker), where `open` says what the checkpoint in a directory is.
    pub(crate) fn load_reranker_as(
        settings: EmbedderBuilder,
        trainable: Trainable,
        open: impl FnOnce(&Path) -> Result<Box<dyn Family>, ModelError>,
    ) -> Result<Self, TrainError> {
        let family = open(settings.model_dir())?;
        let labels = settings.labels(&*family)?;
        let rows = family.head_rows(settings.model_dir(), &labels)?;
        let moves = family.ties_head() && matches!(trainable, Trainable::Full { .. });
        let head = if moves { Head::Embeddings(labels) } else { Head::Frozen(rows) };
        Ok(Self { head: Some(head), ..Self::load_as(settings, trainable, |_| Ok(family))? })
    }

    /// As [`load`](Self::load), where `open` says what the checkpoint in a directory is.
    pub(crate) fn load_as(
        settings: EmbedderBuilder,
        trainable: Trainable,
        open: impl FnOnce(&Path) -> Result<Box<dyn Family>, ModelError>,
    ) -> Result<Self, TrainError> {
        let adapter = settings.adapter_dir().map(|adapter| adapter.display().to_string());
        let dim = settings.dim_set().map(|dim| dim.to_string());
        for (setting, expected, got) in [
            ("adapter", "none (merge it into the model first)", adapter),
            ("dim", "none (the loss has matryoshka_dims)", dim),
        ] {
            if let Some(got) = got {
                return Err(TrainError::Setting { setting, expected: expected.to_owned(), got });
            }
        }
        let model_dir = settings.model_dir().to_owned();
        let family = open(&model_dir)?;
        let names = family.module_names();
        let (trainable, start) = match trainable {
            Trainable::Lora(lora) => {
                let (lora, start) = starting::with_start(lora.of_family(names.projections))?;
                if let Some((setting, reason)) = lora.fault() {
                    return Err(starting::wrong(setting, reason));
                }
                (Trainable::Lora(lora), start)
            }
            full => (full, None),
        };
        let (device, dtype) = settings.place()?;
        let recipe = settings.recipe_of(&*family)?;
        let (backbone, parameters) =
            family.trainable_backbone(&model_dir, &recipe.recipe, dtype, &device, trainable.clone())?;
        if let Trainable::Lora(lora) = &trainable {
            starting::check(lora, &parameters, names)?;
        }
        let batch_tokens = settings.batch_tokens_on(&device);
        let model = Self {
            backbone,
            dim: family.dim(),
            preparer: settings.preparer(&*family, &recipe.recipe)?,
            is_described: sentence_transformers::describes(&*family, &recipe.recipe),
            recipe,
            trainable,
            trains_vision: parameters.keys().any(|name| names.is_vision(name)),
            parameters,
            head: None,
            model_dir,
            batch_tokens,
        };
        if let Some((path, adapter)) = start {
            model.load_state(&adapter.tensors(AdapterLayout::Flat)).map_err(|error| {
                let reason = format!("{error}: was it trained for another model?");
                TrainError::Checkpoint { path, reason }
            })?;
        }
        Ok(model)
    }

    /// Values in an embedding; of a reranker 2.
    pub fn dim(&self) -> usize {
        if self.head.is_some() { 2 } else { self.dim }
    }

    /// Whether it runs on the CPU.
    pub(super) fn is_on_cpu(&self) -> bool {
        self.parameters.values().all(|var| var.device().is_cpu())
    }

    /// What it is made of, in a run with these settings.
    pub(super) fn base(&self, config: &TrainConfig) -> BaseModel {
        BaseModel::find(&config.model.path, config.model.revision.as_deref(), &self.model_dir)
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &Path {
        &self.model_dir
    }

    /// What of it is trained.
    pub(super) fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// Whether sentence-transformers finds in an adapter how it embeds, and binds all of it: transformers 5, which it comes with,
    /// has the names of the nested layout, and leaves what is of the vision tower without effect.
    pub(super) fn describes_adapter(&self) -> bool {
        let is_bound = |lora: &LoraConfig| lora.layout == AdapterLayout::Nested && !self.trains_vision;
        matches!(&self.trainable, Trainable::Lora(lora) if is_bound(lora))
            && self.is_described
            && sentence_transformers::takes_adapters(&self.model_dir)
    }

    /// Whether sentence-transformers finds in a whole checkpoint how it embeds.
    pub(super) fn is_described(&self) -> bool {
        self.is_described
    }

    /// How it is used.
    pub(super) fn recipe(&self) -> &Recipe {
        &self.recipe.recipe
    }

    /// What is trained, in f32. A name is that of `adapter_model.safetensors` (flat layout), or that of the
    /// checkpoint where the weights themselves are trained. Setting the values changes the model.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Decodes, resizes and tokenises an input. Needs no weights: other threads may prepare while the model
    /// runs.
    ///
    /// # Errors
    /// [`TrainError::Embed`] naming the file at fault.
    pub fn prepare(&self, input: &Input) -> Result<Prepared, TrainError> {
        Ok(self.preparer.prepare(input)?)
    }

    /// As [`prepare`](Self::prepare), a query with a candidate.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare); also a recipe that says nothing of pairs.
    pub fn prepare_pair(&self, query: &Input, candidate: &Input) -> Result<Prepared, TrainError> {
        Ok(self.preparer.prepare_pair(query, candidate)?)
    }

    /// Has the recipe of what is trained say that its embeddings may be cut to these widths.
    pub(super) fn train_for_widths(&mut self, dims: &[usize]) {
        let own = self.dim();
        let shorter: Vec<usize> = dims.iter().copied().filter(|&dim| dim < own).collect();
        let widths = &mut self.recipe.recipe.widths;
        *widths = std::mem::take(widths).trained_for(&shorter);
    }

    /// Has the recipe of what is trained say how queries are asked together with their documents, by default
    /// unless it says so.
    ///
    /// # Errors
    /// [`TrainError::Config`] of a model that reads no such prompt.
    pub(super) fn require_pseudo_queries(&mut self) -> Result<(), TrainError> {
        self.recipe.recipe.pseudo_query.get_or_insert_default();
        let reason = if self.recipe.recipe.prompt.order != PartOrder::Given {
            "the recipe moves the parts of an input: set it to false, or name a recipe in `model.recipe` whose \
             `prompt.order` is \"given\""
        } else if self.preparer.pseudo_query(&self.recipe, &Input::default(), []).is_err() {
            "the model reads the parts of an input one by one: set it to false"
        } else {
            return Ok(());
        };
        Err(TrainError::Config { place: "loss.rank_net.pseudo_query".to_owned(), reason: reason.to_owned() })
    }

    /// `query` asked together with the best of `documents`, in an order that does not tell which is better.
    ///
    /// # Errors
    /// As [`Embedder::pseudo_query`](crate::Embedder::pseudo_query).
    pub(super) fn pseudo_query_shuffled(
        &self,
        query: &Input,
        documents: &[&Input],
        random: &mut Random,
    ) -> Result<Input, TrainError> {
        let most = self.recipe.recipe.pseudo_query.as_ref().map_or(0, |recipe| recipe.most_candidates);
        let read = &documents[..documents.len().min(most)];
        let order = random.permutation(read.len());
        let shuffled = order.into_iter().map(|place| read[place]);
        Ok(self.preparer.pseudo_query(&self.recipe, query, shuffled)?)
    }

    /// Embeddings of `items`, (items, dim), each of length 1, in f32 on the CPU. In [`Mode::Train`] they are
    /// part of a graph, whose gradients [`backward`](Self::backward) collects; [`gradients`](Self::gradients)
    /// does both with less memory.
    ///
    /// # Errors
    /// A tensor operation that failed.
    pub fn embed(&self, items: &[&Prepared], mode: Mode) -> Result<Tensor, TrainError> {
        if items.is_empty() {
            return Ok(Tensor::zeros((0, self.dim()), DType::F32, &Device::Cpu)?);
        }
        if let Mode::Train { .. } = mode {
            return Ok(self.embed_with_graph(&self.batch(items, 0..items.len())?, mode, false)?.embeddings);
        }
        let pieces = pieces(items, self.batch_tokens).into_iter();
        let embeddings = pieces.map(|piece| self.embed_without_graph(&self.batch(items, piece)?, mode));
        Ok(Tensor::cat(&embeddings.collect::<Result<Vec<_>, _>>()?, 0)?)
    }

    /// Gradients of `loss`, a scalar made of embeddings of this model, with respect to the parameters.
    ///
    /// # Errors
    /// A tensor operation that failed.
    pub fn backward(&self, loss: &Tensor) -> Result<Gradients, TrainError> {
        Ok(Gradients::collect(&self.parameters, &loss.backward()?, &HashMap::new())?)
    }

    /// The values of all parameters by name, copied, on the CPU.
    ///
    /// # Errors
    /// A tensor operation that failed.
    pub fn state(&self) -> Result<BTreeMap<String, Tensor>, TrainError> {
        let copies = self
            .parameters
            .iter()
            .map(|(name, var)| Ok((name.clone(), var.as_detached_tensor().copy()?.to_device(&Device::Cpu)?)));
        copies.collect()
    }

    /// Sets all parameters to the values of an earlier [`state`](Self::state), or to those of an adapter in
    /// the flat layout ([`LoraAdapter::tensors`]).
    ///
    /// # Errors
    /// [`TrainError::State`] when a parameter is missing, unknown or of another shape; nothing is changed
    /// then.
    pub fn load_state(&self, state: &BTreeMap<String, Tensor>) -> Result<(), TrainError> {
        let wrong = |reason| TrainError::State { reason };
        for (name, var) in &self.parameters {
            let value = state.get(name).ok_or_else(|| wrong(format!("it has no `{name}`")))?;
            if value.dims() != var.dims() {
                let (got, expected) = (value.dims(), var.dims());
                return Err(wrong(format!("`{name}` has shape {got:?}, expected {expected:?}")));
            }
        }
        if let Some(unknown) = state.keys().find(|name| !self.parameters.contains_key(*name)) {
            return Err(wrong(format!("`{unknown}` is not trained here")));
        }
        for (name, var) in &self.parameters {
            if let Some(value) = state.get(name) {
                var.set(&value.to_dtype(var.dtype())?.to_device(var.device())?)?;
            }
        }
        Ok(())
    }

    /// The adapter as it stands; `None` when the weights themselves are trained. `base_model` names the model
    /// for those who read it.
    ///
    /// # Errors
    /// A tensor operation that failed.
    pub fn adapter(&self, base_model: Option<&BaseModel>) -> Result<Option<LoraAdapter>, TrainError> {
        match &self.trainable {
            Trainable::Full { .. } => Ok(None),
            Trainable::Lora(lora) => {
                let adapter = LoraAdapter::from_tensors(lora.settings(base_model), self.state()?)?;
                Ok(Some(adapter.with_recipe(self.recipe.clone())))
            }
        }
    }

    /// Writes what was trained: an adapter for PEFT under the names of [`LoraConfig::layout`](crate::model::LoraConfig::layout), or a whole
    /// checkpoint in Hugging Face layout, whose directory must not exist.
    ///
    /// # Errors
    /// Files that cannot be written.
    pub fn save(&self, directory: &Path, base_model: Option<&BaseModel>) -> Result<(), TrainError> {
        match (self.adapter(base_model)?, &self.trainable) {
            (Some(adapter), Trainable::Lora(lora)) => adapter.write(directory, lora.layout)?,
            _ => {
                let mut state = self.state()?;
                write_checkpoint(&self.model_dir, &self.recipe, directory, |name| state.remove(name))?;
            }
        }
        Ok(())
    }

    /// The items at `places`; frozen vision towers are run here, once for all passes.
    pub(super) fn batch<'a>(
        &self,
        items: &[&'a Prepared],
        places: Range<usize>,
    ) -> Result<Batch<'a>, TrainError> {
        let items: Vec<&Item> = items[places.clone()].iter().map(|prepared| &prepared.item).collect();
        let visual_rows = if self.trains_vision { None } else { self.backbone.visual_rows(&items, false)? };
        Ok(Batch { items, visual_rows, places })
    }

    /// Embeddings by `mode` with a graph, whose layers keep their input alone where there is `checkpointing`.
    pub(super) fn embed_with_graph(
        &self,
        batch: &Batch<'_>,
        mode: Mode,
        checkpointing: bool,
    ) -> Result<Pass, TrainError> {
        let parameters = || self.parameters.values().cloned().collect();
        let sink = checkpointing.then(|| Arc::new(GradientSink::new(parameters())));
        let training = Training { dropout: self.dropout(batch, mode), checkpointing: sink.clone() };
        Ok(Pass { embeddings: self.run(batch, true, training)?, sink })
    }

    /// The same embeddings, dropout included, but without a graph.
    pub(super) fn embed_without_graph(&self, batch: &Batch<'_>, mode: Mode) -> Result<Tensor, TrainError> {
        self.run(batch, false, Training { dropout: self.dropout(batch, mode), checkpointing: None })
    }

    fn run(&self, batch: &Batch<'_>, record: bool, training: Training) -> Result<Tensor, TrainError> {
        let seen;
        let visual_rows = match &batch.visual_rows {
            Some(rows) => Some(rows),
            None => {
                seen = self.backbone.visual_rows(&batch.items, record)?;
                seen.as_ref()
            }
        };
        let pooled = self.backbone.pooled(&batch.items, visual_rows, record, &training)?;
        let head = match &self.head {
            None => {
                let length = pooled.sqr()?.sum_keepdim(1)?.sqrt()?;
                return Ok(pooled.broadcast_div(&length)?);
            }
            Some(Head::Embeddings(labels)) => self.backbone.token_rows(labels, record)?,
            Some(Head::Frozen(rows)) => rows.clone(),
        };
        Ok(pooled.matmul(&head.t()?)?)
    }

    fn dropout(&self, batch: &Batch<'_>, mode: Mode) -> Option<Dropout> {
        match (&self.trainable, mode) {
            (Trainable::Lora(lora), Mode::Train { seed }) if lora.dropout > 0.0 => {
                let numbers = batch.places.clone().map(|place| place as u64);
                let sequences = numbers.zip(batch.items.iter().map(|item| item.num_tokens()));
                Some(Dropout::new(lora.dropout as f32, seed, sequences))
            }
            _ => None,
        }
    }
}
