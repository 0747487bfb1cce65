//! What a training run is told: the typed form of `CONFIG.toml`.
//!
//! Every key has a default but `model.path`, `data.pairs` and `output`. A key that nothing reads is an error
//! that names its line, be it unknown or without effect next to the others. `examples/train.toml` explains
//! all keys.

mod file;
mod names;
mod pairs;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::schedule::Decay;
use super::{AdamWConfig, InfoNce, RankNet};
use crate::device::{DType, Device};
use crate::model::LoraConfig;
use crate::pairs::Task;
use crate::recipe::Recipe;
use crate::video::Sampling;

pub use pairs::{PairsImport, PairsSource};

/// A training run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct TrainConfig {
    /// Directory of the run: checkpoints, logs, and the result in `final/`.
    pub output: PathBuf,
    /// Of the order of pairs, the draws of tasks, the initial adapter and dropout.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// Epochs of the curriculum.
    #[serde(default = "default_epochs")]
    pub epochs: usize,
    /// Optimiser steps of an epoch. Default: as many as it takes to see each pair once, in batches of one
    /// task each.
    #[serde(default)]
    pub steps_per_epoch: Option<usize>,
    /// What is trained.
    #[serde(default)]
    pub train: Trained,
    /// The model and how inputs are read.
    pub model: ModelSection,
    /// The adapter, if one is trained.
    #[serde(default)]
    pub lora: Option<LoraConfig>,
    /// The weights, if they are trained themselves.
    #[serde(default)]
    pub full: Option<FullSection>,
    /// Training pairs.
    pub data: DataSection,
    /// Size of batches.
    #[serde(default)]
    pub batch: BatchSection,
    /// What is learnt.
    #[serde(default)]
    pub loss: LossSection,
    /// Which task a batch is of.
    #[serde(default)]
    pub curriculum: CurriculumSection,
    /// Mining of hard negatives.
    #[serde(default)]
    pub negatives: NegativesSection,
    /// The optimiser and its learning rate.
    #[serde(default)]
    pub optimizer: OptimizerSection,
    /// When the state is saved.
    #[serde(default)]
    pub checkpoint: CheckpointSection,
    /// Scoring on the way.
    #[serde(default)]
    pub evaluation: Option<EvaluationSection>,
    /// What is written down.
    #[serde(default)]
    pub log: LogSection,
}

/// Which weights move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trained {
    /// A low-rank adapter of the language layers.
    #[default]
    Lora,
    /// The weights themselves: token embeddings and language layers, and the vision tower where `full.vision`
    /// is set.
    Full,
}

/// `[model]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ModelSection {
    /// A directory in Hugging Face layout, or a hub id.
    pub path: String,
    /// Branch, tag or commit of a hub model.
    #[serde(default)]
    pub revision: Option<String>,
    /// How the model is used, by the name of a recipe. If not given, it is found as everything else that embeds
    /// finds it.
    #[serde(default)]
    pub recipe: Option<String>,
    /// A file of further recipes, in the form of `models.toml`.
    #[serde(default)]
    pub models_file: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal.
    #[serde(default)]
    pub device: Device,
    /// auto, f32, bf16, or int8: frozen weights of linear layers, on the CPU.
    #[serde(default)]
    pub dtype: DType,
    /// Frames per video, evenly spread, where a pair does not say. If not given, the frames of the model's
    /// recipe, as everything else that embeds has them. A run writes down what that came to, where it is a
    /// number.
    #[serde(default)]
    pub frames: Option<usize>,
    /// Most visual tokens, of 28 x 28 pixels in Qwen2.5-VL, per frame or image, where a pair does not say;
    /// [`max_pixels`](Self::max_pixels) in another unit.
    #[serde(default)]
    pub tokens_per_frame: Option<u64>,
    /// Most pixels per frame or image, where a pair does not say. If neither is given: 200 tokens, or what
    /// the model allows, as everything else that embeds has it. A run writes down what that came to.
    #[serde(default)]
    pub max_pixels: Option<u64>,
    /// Longest input in tokens. If not given, that of the model's recipe, which a run writes down.
    #[serde(default)]
    pub max_length: Option<usize>,
}

impl ModelSection {
    /// The area of pictures, whichever way it is given; a visual token has `pixels_per_token`.
    pub(super) fn area(&self, pixels_per_token: u64) -> Option<u64> {
        self.max_pixels.or(self.tokens_per_frame.map(|tokens| tokens.saturating_mul(pixels_per_token)))
    }

    /// What is not given, as `recipe` has it.
    pub(super) fn fill_in(&mut self, recipe: &Recipe) {
        if let Sampling::Uniform { frames } = recipe.sampling {
            self.frames.get_or_insert(frames);
        }
        self.max_length.get_or_insert(recipe.max_length);
    }

    /// The same with `area` as the area of pictures.
    pub(super) fn set_area(&mut self, area: Option<u64>) {
        (self.tokens_per_frame, self.max_pixels) = (None, area);
    }
}

macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $default:expr,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        #[non_exhaustive]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }
    };
}

section!(
    /// `[full]`.
    FullSection {
        /// Whether the vision tower is trained as well.
        vision: bool = false,
    }
);

/// `[data]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct DataSection {
    /// JSONL files of training pairs, any number of tasks in each, and files of others.
    pub pairs: Vec<PairsSource>,
    /// Whether to look for every file the pairs name before the first step.
    #[serde(default = "default_true")]
    pub check_files: bool,
    /// Whether pairs of a group come into one batch. A model that has learned nothing yet learns faster from
    /// pairs that are less alike.
    #[serde(default = "default_true")]
    pub groups: bool,
    /// Share of all pairs that may be left out because a file of theirs cannot be read. With 0 the first ends
    /// the run, and so does a batch of which none is left.
    #[serde(default)]
    pub max_damaged: f64,
}

section!(
    /// `[batch]`.
    BatchSection {
        /// Pairs that are contrasted with each other.
        size: usize = 1024,
        /// Batches whose gradients make up one optimiser step.
        accumulate: usize = 1,
        /// Tokens that run through the model together with their gradient (GradCache): bounds memory, changes
        /// results by rounding alone.
        chunk_tokens: usize = 8192,
        /// Whether layers are computed again in the backward pass instead of remembered.
        gradient_checkpointing: bool = true,
    }
);

/// What a run learns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LossKind {
    /// Embeddings, by [`InfoNce`].
    #[default]
    InfoNce,
    /// A reranker, by [`yes_no`](super::yes_no): each positive is a right answer to its query, and each of its
    /// negatives a wrong one.
    YesNo,
}

section!(
    /// `[loss]`; all but the kind and `rank_net` is of [`InfoNce`].
    LossSection {
        /// What is learnt.
        kind: LossKind = LossKind::InfoNce,
        /// [`InfoNce::temperature`].
        temperature: f64 = InfoNce::default().temperature,
        /// [`InfoNce::direction_weight`].
        direction_weight: f64 = InfoNce::default().direction_weight,
        /// [`InfoNce::mask_duplicates`].
        mask_duplicates: bool = InfoNce::default().mask_duplicates,
        /// [`InfoNce::mask_false_negatives`].
        mask_false_negatives: bool = InfoNce::default().mask_false_negatives,
        /// [`InfoNce::matryoshka_dims`].
        matryoshka_dims: Vec<usize> = InfoNce::default().matryoshka_dims,
        /// What is added to it: pairs then need `negatives`, given or mined.
        rank_net: Option<RankNet> = None,
    }
);

impl EvaluationSection {
    /// The score that says how good the weights are.
    pub fn metric(&self) -> &str {
        let default = if self.pairs.is_empty() { "uvrb/mean" } else { "recall@1" };
        self.metric.as_deref().unwrap_or(default)
    }

    /// Whether there may be such a score.
    fn has_metric(&self) -> bool {
        let metric = self.metric();
        let of_pairs = ["recall@1", "recall@10"].iter().any(|recall| {
            metric.strip_prefix(recall).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        of_pairs && !self.pairs.is_empty() || metric.starts_with("uvrb/") && self.uvrb.is_some()
    }
}

impl LossSection {
    /// The contrastive loss.
    pub fn info_nce(&self) -> InfoNce {
        InfoNce {
            temperature: self.temperature,
            direction_weight: self.direction_weight,
            mask_duplicates: self.mask_duplicates,
            mask_false_negatives: self.mask_false_negatives,
            matryoshka_dims: self.matryoshka_dims.clone(),
        }
    }

    /// Whether queries are asked together with their documents.
    pub(super) fn asks_pseudo_queries(&self) -> bool {
        self.rank_net.as_ref().is_some_and(|ranks| ranks.pseudo_query)
    }

    /// Whether a reranker is learnt.
    pub fn is_of_pairs(&self) -> bool {
        self.kind == LossKind::YesNo
    }

    /// The first setting that makes no sense, by its name, and why.
    fn fault(&self) -> Option<(&'static str, &'static str)> {
        if !self.is_of_pairs() {
            let of_ranks = || self.rank_net.as_ref().and_then(RankNet::fault);
            return self.info_nce().fault().or_else(of_ranks);
        }
        let (ours, default) = (self.info_nce(), InfoNce::default());
        let unread = [
            ("temperature", ours.temperature != default.temperature),
            ("direction_weight", ours.direction_weight != default.direction_weight),
            ("mask_duplicates", ours.mask_duplicates != default.mask_duplicates),
            ("mask_false_negatives", ours.mask_false_negatives != default.mask_false_negatives),
            ("matryoshka_dims", ours.matryoshka_dims != default.matryoshka_dims),
            ("rank_net", self.rank_net.is_some()),
        ];
        let name = unread.into_iter().find(|(_, is_set)| *is_set)?.0;
        Some((name, "has no effect with `kind = \"yes-no\"`: remove it"))
    }
}

/// The kinds of [`Sampler`](super::Sampler).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SamplerKind {
    /// Modality Pyramid.
    #[default]
    Pyramid,
    /// Every task as often.
    Uniform,
    /// By number of pairs.
    Proportional,
}

section!(
    /// `[curriculum]`.
    CurriculumSection {
        /// How batches are spread over tasks.
        sampler: SamplerKind = SamplerKind::Pyramid,
        /// Factors on the sampler's probability of a task, such as `{ t2i = 0.5 }`; 1 for a task that is not
        /// named.
        weights: Option<BTreeMap<Task, f64>> = None,
        /// The share of all batches that is spread evenly over the tasks, whatever the sampler gives them, 0 to 1;
        /// 0.25 if not given.
        floor: Option<f64> = None,
        /// Pyramid: sigma of the first epoch. If not given, 0.1, and that of the last for a prober that does not
        /// know all tasks.
        sigma_start: Option<f64> = None,
        /// Pyramid: sigma of the last epoch; 1.0 if not given.
        sigma_end: Option<f64> = None,
        /// Pyramid: pairs of each task the prober looks at; 256 if not given.
        probe_pairs: Option<usize> = None,
        /// Directory of the embedder that probes and mines for the first epoch; the base model if not given.
        prober: Option<PathBuf> = None,
    }
);

section!(
    /// `[negatives]`.
    NegativesSection {
        /// Hard negatives mined for each pair at the start of an epoch.
        mined: usize = 0,
        /// Most pairs of each task to mine for and among; all if not given. The positives of other pairs are
        /// not known.
        pool: Option<usize> = None,
    }
);

/// The kinds of [`Optimizer`](super::Optimizer).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// AdamW for all parameters.
    #[default]
    AdamW,
    /// Muon for the matrices of the layers, AdamW for the rest.
    Muon,
}

section!(
    /// `[optimizer]`.
    OptimizerSection {
        /// What moves the weights.
        kind: OptimizerKind = OptimizerKind::AdamW,
        /// Rate at the end of the warm-up.
        learning_rate: f64 = 3e-5,
        /// Share of the weights, times the rate, taken off in each step.
        weight_decay: f64 = AdamWConfig::default().weight_decay,
        /// Muon: decay rate of the mean of gradients; 0.95 if not given.
        momentum: Option<f64> = None,
        /// AdamW: decay rates of the two moments.
        betas: [f64; 2] = [AdamWConfig::default().beta1, AdamWConfig::default().beta2],
        /// AdamW: keeps the division from 0.
        eps: f64 = AdamWConfig::default().eps,
        /// Longest gradient; longer ones are scaled down. 0: no bound.
        clip_norm: f64 = 1.0,
        /// How the rate falls.
        schedule: Decay = Decay::Cosine,
        /// Steps in which the rate rises from 0.
        warmup_steps: usize = 0,
    }
);

section!(
    /// `[checkpoint]`.
    CheckpointSection {
        /// Steps from one to the next; there is always one at the end of an epoch.
        every_steps: usize = 100,
        /// How many are kept.
        keep: usize = 3,
    }
);

section!(
    /// `[evaluation]`.
    EvaluationSection {
        /// Held-out pairs, as those of `[data]`.
        pairs: Vec<PairsSource> = Vec::new(),
        /// Folder of UVRB data sets, for `gve train` to score with the program `uvrb`.
        uvrb: Option<PathBuf> = None,
        /// Which of its data sets, by id; all that are there if empty.
        uvrb_datasets: Vec<String> = Vec::new(),
        /// Most queries of each, for a quick look; all if not given.
        uvrb_limit: Option<usize> = None,
        /// The program, if it is neither beside `gve` nor on the search path.
        uvrb_program: Option<PathBuf> = None,
        /// Steps from one to the next; there is always one at the end.
        every_steps: usize = 500,
        /// Minutes after which there is one besides.
        every_minutes: Option<f64> = None,
        /// Whether there is one before the first step.
        at_start: bool = true,
        /// Which score says how good the weights are, more being better: `recall@1` or `recall@10`, the mean over
        /// tasks, one task's, as `recall@1/t2v`, or one of UVRB's, as `uvrb/mean`. If not given, `recall@1`, or
        /// `uvrb/mean` without `pairs`.
        metric: Option<String> = None,
        /// Ends the run after so many evaluations in a row without a better score.
        patience: Option<usize> = None,
        /// A score counts as better only if it is so by more than this.
        min_gain: f64 = 0.0,
    }
);

section!(
    /// `[log]`.
    LogSection {
        /// Whether to write event files for TensorBoard beside `log.jsonl`.
        tensorboard: bool = true,
    }
);

fn default_seed() -> u64 {
    LoraConfig::default().seed
}

fn default_epochs() -> usize {
    3
}

fn default_true() -> bool {
    true
}
