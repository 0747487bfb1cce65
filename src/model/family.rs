//! The seam between what holds for every model and what a family of models has of its own.
//!
//! [`open`] reads `config.json` once; its `model_type` says which [`Family`] the checkpoint is of. The family
//! makes the two things that embedding takes: a [`Processor`], which turns the parts of an input into an
//! [`Item`] and knows no weights, and a [`Backbone`], which turns items into one vector each. Nobody beyond a
//! family's folder asks which one it is.
//!
//! The unit is the item, not a batch of one layout, so that every kind of model fits. One that reads text and
//! pictures as one sequence packs items as it likes ([`PackedBatch`](super::PackedBatch)). Two towers side by
//! side run texts through the one and pictures through the other, and put the rows back in the order of the
//! items; a processor refuses parts that no tower takes together. A reranker scores the vector that a
//! backbone pools, which is not normalised here, with rows of a head.
//!
//! What a family is, is code. How one of its checkpoints is used is data: the [`Recipe`].

use std::fmt::Debug;
use std::path::Path;

use candle_core::{Device, Tensor};
use serde_json::Value;

use super::adapter::{LoraAdapter, ModuleNames};
use super::init::RandomWeights;
use super::layers::{Prefix, Training};
use super::loader::{Weights, load_folded, load_trained};
use super::packed::Item;
use super::qwen_vl::{self, Variant};
use super::qwen2_5_vl::Qwen25Vl;
use super::qwen2_vl::Qwen2Vl;
use super::qwen3_vl::Qwen3Vl;
use super::trainable::{Parameters, Trainable};
use super::{ModelError, ModelShape, WeightPrecision, clip, config, siglip};
use crate::preprocess::{ChatTemplate, Encoding, Pictures, PreprocessError, ProcessorKind, PromptPart};
use crate::recipe::Recipe;

/// The families that are built in, by the `model_type` of `config.json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelType {
    /// `qwen2_vl`
    Qwen2Vl,
    /// `qwen2_5_vl`
    Qwen25Vl,
    /// `qwen3_vl`
    Qwen3Vl,
    /// `clip`
    Clip,
    /// `siglip`, which SigLIP 2 of one resolution is as well
    Siglip,
}

impl ModelType {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Qwen2Vl, Self::Qwen25Vl, Self::Qwen3Vl, Self::Clip, Self::Siglip];

    /// How `config.json` spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Qwen2Vl => "qwen2_vl",
            Self::Qwen25Vl => "qwen2_5_vl",
            Self::Qwen3Vl => "qwen3_vl",
            Self::Clip => "clip",
            Self::Siglip => "siglip",
        }
    }

    /// That of the model in `model_dir`.
    ///
    /// # Errors
    /// [`ModelError::Io`] without a `config.json`, [`ModelError::Config`] for one that is not built in.
    pub fn read(model_dir: &Path) -> Result<Self, ModelError> {
        let (path, root) = config::read(model_dir)?;
        Self::of(&root).map_err(|reason| ModelError::Config { path, reason })
    }

    /// That of a `config.json`.
    pub(super) fn of(root: &Value) -> Result<Self, String> {
        let name = root.get("model_type").and_then(Value::as_str);
        Self::ALL.into_iter().find(|known| name == Some(known.name())).ok_or_else(|| {
            let known = Self::ALL.map(|known| format!("{:?}", known.name())).join(" or ");
            let hint = match name {
                Some("siglip2") => {
                    "that is NaFlex, whose pictures have any shape; SigLIP 2 of one resolution, such as \
                     google/siglip2-base-patch16-224, is \"siglip\""
                }
                _ => "of other architectures this crate knows nothing",
            };
            let name = name.map_or("missing".to_owned(), |name| format!("{name:?}"));
            format!("model_type is {name}, expected {known}: {hint}")
        })
    }

    /// What it has of its own, if it is of the Qwen-VL line.
    pub(super) fn qwen_vl(self) -> Option<&'static dyn Variant> {
        match self {
            Self::Qwen2Vl => Some(&Qwen2Vl),
            Self::Qwen25Vl => Some(&Qwen25Vl),
            Self::Qwen3Vl => Some(&Qwen3Vl),
            Self::Clip | Self::Siglip => None,
        }
    }

    fn family(self, root: &Value) -> Result<Box<dyn Family>, String> {
        Ok(match (self, self.qwen_vl()) {
            (_, Some(variant)) => Box::new(qwen_vl::Config::parse(root, variant)?),
            (Self::Clip, _) => Box::new(clip::Config::parse(root)?),
            (Self::Siglip, _) => Box::new(siglip::Config::parse(root)?),
            _ => return Err(format!("model_type is {:?}, which is not built in", self.name())),
        })
    }
}

/// The family of the checkpoint in `model_dir`, with what its `config.json` says.
///
/// # Errors
/// [`ModelError::Io`] without the file, [`ModelError::Config`] for a model type that is not built in or
/// numbers that do not fit together.
pub(crate) fn open(model_dir: &Path) -> Result<Box<dyn Family>, ModelError> {
    let (path, root) = config::read(model_dir)?;
    let family = ModelType::of(&root).and_then(|model_type| model_type.family(&root));
    family.map_err(|reason| ModelError::Config { path, reason })
}

/// What a checkpoint is, by its `config.json`.
pub(crate) trait Family: Debug + Send + Sync {
    /// What it is in numbers.
    fn shape(&self) -> ModelShape;

    /// Values in an embedding.
    fn dim(&self) -> usize {
        self.shape().dim
    }

    /// How pictures become patches, by the settings in `model_dir` and the recipe.
    ///
    /// # Errors
    /// As [`Pictures::load`].
    fn pictures(&self, model_dir: &Path, recipe: &Recipe) -> Result<Pictures, PreprocessError>;

    /// What turns inputs into items, by the settings in `model_dir`.
    ///
    /// # Errors
    /// Files that are missing or damaged, or do not fit the family.
    fn processor(&self, model_dir: &Path, recipe: &Recipe) -> Result<Box<dyn Processor>, PreprocessError>;

    /// Takes the weights.
    ///
    /// # Errors
    /// A missing or misshapen tensor.
    fn load(&self, weights: &Weights<'_>, recipe: &Recipe) -> Result<Box<dyn Backbone>, ModelError>;

    /// Rows of the language head of the tokens `ids`, (ids, dim), f32 on the CPU, without which a model is no
    /// reranker.
    ///
    /// # Errors
    /// [`ModelError::NoHead`] where the family or the checkpoint has none, and a damaged one.
    fn head_rows(&self, model_dir: &Path, _ids: &[u32]) -> Result<Tensor, ModelError> {
        Err(ModelError::NoHead { path: model_dir.to_owned(), reason: "models of its family have none" })
    }

    /// Whether the rows of the language head are those of the token embeddings, which a loss over it moves too.
    fn ties_head(&self) -> bool {
        false
    }

    /// How a checkpoint is used of which no entry of `models.toml` knows.
    fn recipe(&self) -> Recipe {
        Recipe::default()
    }

    /// Tokens of the longest text, where that is a matter of the weights.
    fn longest(&self) -> Option<usize> {
        None
    }

    /// Which image processor the family has.
    fn processor_kind(&self) -> ProcessorKind {
        ProcessorKind::VisualTokens
    }

    /// Keys of `config.json` that nobody here knows, with their places: whether they change an embedding
    /// cannot be told.
    fn unknown_keys(&self) -> &[String] {
        &[]
    }

    /// The prompt that is built in, where the family has one.
    fn template(&self) -> Option<&'static ChatTemplate> {
        None
    }

    /// Which modules are trained and adapted.
    fn module_names(&self) -> ModuleNames {
        ModuleNames::default()
    }

    /// Random tensors of this shape.
    ///
    /// # Errors
    /// [`ModelError::Scratch`] where the family is not made from nothing.
    fn random_weights(&self, _weights: &mut RandomWeights) -> Result<(), ModelError> {
        Err(ModelError::Scratch)
    }
}

impl dyn Family {
    /// Loads the weights in `model_dir`, an adapter folded in before they are rounded to `precision`.
    ///
    /// # Errors
    /// A missing or misshapen tensor; [`ModelError::Memory`] before any weight is loaded;
    /// [`ModelError::AdapterBinding`] and [`ModelError::AdapterShape`] for an adapter that was made for
    /// another model.
    pub(crate) fn backbone(
        &self,
        model_dir: &Path,
        recipe: &Recipe,
        precision: WeightPrecision,
        device: &Device,
        adapter: Option<&LoraAdapter>,
    ) -> Result<Box<dyn Backbone>, ModelError> {
        load_folded(model_dir, precision, device, adapter, |weights| self.load(weights, recipe))
    }

    /// As [`backbone`](Self::backbone), with what `trainable` says made trainable; also what is trained, by
    /// name.
    pub(crate) fn trainable_backbone(
        &self,
        model_dir: &Path,
        recipe: &Recipe,
        precision: WeightPrecision,
        device: &Device,
        trainable: Trainable,
    ) -> Result<(Box<dyn Backbone>, Parameters), ModelError> {
        let names = self.module_names();
        load_trained(model_dir, precision, device, trainable, names, |weights| self.load(weights, recipe))
    }
}

/// Turns the parts of inputs into numbers. It has no state that changes: many threads use one.
pub(crate) trait Processor: Send + Sync {
    /// How pictures become patches.
    fn pictures(&self) -> &Pictures;

    /// Whether an instruction is anything to the model. Where not, one that is given is an error.
    fn reads_instructions(&self) -> bool {
        true
    }

    /// Token ids and positions of `parts`, of which pictures are known by their grids. Without an
    /// `instruction`, or with an empty one, that of the recipe holds.
    ///
    /// # Errors
    /// Parts that the family does not take together, or that do not fit into its length.
    fn encode(
        &self,
        parts: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<Encoding, PreprocessError>;

    /// As [`encode`](Self::encode), of a query and a candidate by the recipe's `reranking`; the parts of the
    /// candidate are numbered on from the query's.
    ///
    /// # Errors
    /// Also a family without such prompts, or a recipe that is not one of a reranker.
    fn encode_pair(
        &self,
        _query: &[PromptPart<'_>],
        _candidate: &[PromptPart<'_>],
        _instruction: Option<&str>,
    ) -> Result<Encoding, PreprocessError> {
        let (field, expected) = ("model_type", "of a family whose models score pairs");
        Err(PreprocessError::InvalidPromptConfig { field, expected, got: "another".to_owned() })
    }

    /// The id of `token`, as the vocabulary spells it.
    fn token_id(&self, _token: &str) -> Option<u32> {
        None
    }
}

/// What a family's vision tower makes of the pictures of some items, for nobody but its own
/// [`Backbone::pooled`]: rows that take the places of placeholders, say, and behind them features that are
/// added to early layers.
pub(crate) type VisualRows = Vec<Tensor>;

/// A model with its weights.
pub(crate) trait Backbone: Send + Sync {
    /// What depends on the pictures of `items` and on the vision tower alone; `None` without pictures, or
    /// where
    /// [`pooled`](Self::pooled) sees to them. Where the tower is not trained, all passes over the same items
    /// share it. Part of a graph where `record` is set and the tower is trained.
    ///
    /// # Errors
    /// [`ModelError::Batch`] for pictures that contradict themselves, and tensor operations that fail.
    fn visual_rows(&self, items: &[&Item], record: bool) -> Result<Option<VisualRows>, ModelError>;

    /// One vector for each of `items`, (items, dim), f32 on the CPU, of any length. With `record` the result
    /// is part of a graph that reaches down to the trainable tensors.
    ///
    /// # Errors
    /// [`ModelError::Batch`] when items contradict themselves, and tensor operations that fail.
    fn pooled(
        &self,
        items: &[&Item],
        visual_rows: Option<&VisualRows>,
        record: bool,
        training: &Training,
    ) -> Result<Tensor, ModelError>;

    /// Rows of the token embeddings of `ids`, (ids, dim), f32 on the CPU; part of a graph where `record` is set
    /// and they are trained.
    ///
    /// # Errors
    /// [`ModelError::NoPrefix`] where a family has none.
    fn token_rows(&self, _ids: &[u32], _record: bool) -> Result<Tensor, ModelError> {
        Err(ModelError::NoPrefix)
    }

    /// What items that begin as `item` does have in common.
    ///
    /// # Errors
    /// As [`pooled`](Self::pooled), and [`ModelError::NoPrefix`] where nothing can be kept.
    fn prefix(&self, _item: &Item) -> Result<Prefix, ModelError> {
        Err(ModelError::NoPrefix)
    }

    /// As [`pooled`](Self::pooled) without a graph, where each item stands behind as much of `prefix` as its
    /// `behind` says.
    ///
    /// # Errors
    /// Those of [`prefix`](Self::prefix).
    fn pooled_behind(&self, _prefix: &Prefix, _items: &[&Item]) -> Result<Tensor, ModelError> {
        Err(ModelError::NoPrefix)
    }

    /// [`visual_rows`](Self::visual_rows) and [`pooled`](Self::pooled) without a graph.
    fn embed(&self, items: &[&Item]) -> Result<Tensor, ModelError> {
        let visual_rows = self.visual_rows(items, false)?;
        self.pooled(items, visual_rows.as_ref(), false, &Training::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_model_type_that_is_not_built_in_is_told_from_those_that_are() {
        for known in ModelType::ALL {
            assert_eq!(ModelType::of(&json!({"model_type": known.name()})), Ok(known));
        }
        for (config, got) in [(json!({"model_type": "bert"}), "\"bert\""), (json!({}), "missing")] {
            let reason = ModelType::of(&config).unwrap_err();
            assert!(
                reason.starts_with(&format!("model_type is {got}, expected \"qwen2_vl\" or ")),
                "{reason}"
            );
        }
    }
}
