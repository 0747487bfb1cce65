//! Training: the model of [`model`](crate::model) with a graph under it.
//!
//! [`TrainableModel`] is a checkpoint of which something is trained: a LoRA adapter on projections of the
//! language layers, or the weights themselves. It reads inputs as an [`Embedder`](crate::Embedder) does, by
//! the same settings, and runs the same layers.
//!
//! A training step asks for [`gradients`](TrainableModel::gradients) of a loss over the embeddings of a
//! batch. How much memory that takes is a matter of [`Memory`]: layers that keep their input alone and are
//! computed again ([gradient checkpointing](https://arxiv.org/abs/1604.06174)), and batches that go through
//! the model in pieces although their loss looks at all of them
//! ([GradCache](https://arxiv.org/abs/2101.06983)). The gradients are the same up to rounding.
//!
//! Nothing here draws random numbers: the start of an adapter and the values that dropout drops are functions
//! of the seed given, so a step that is run again gives the same gradients.

mod batches;
mod card;
mod checkpoint;
mod config;
mod curriculum;
mod error;
mod evaluation;
mod gather;
mod grad_cache;
mod gradients;
mod learner;
mod log;
mod loss;
mod model;
mod negatives;
mod optimizer;
mod page;
mod planner;
mod prober;
mod rank_net;
mod schedule;
#[cfg(test)]
mod seam_tests;
mod settings;
mod side_by_side;
mod sources;
mod starting;
mod trainer;

pub use crate::model::{LoraConfig, Trainable};
pub use config::{
    BatchSection, CheckpointSection, CurriculumSection, DataSection, EvaluationSection, FullSection,
    LogSection, LossKind, LossSection, ModelSection, NegativesSection, OptimizerKind, OptimizerSection,
    PairsImport, PairsSource, SamplerKind, TrainConfig, Trained,
};
pub use curriculum::{Curriculum, Sampler, TaskFacts};
pub use error::TrainError;
pub use evaluation::{Recall, evaluate};
pub use gather::{GatherNegatives, SingleProcess};
pub use grad_cache::Memory;
pub use gradients::Gradients;
pub use log::{Entry, RunLog};
pub use loss::{BatchLoss, Contrast, InfoNce, yes_no};
pub use model::TrainableModel;
pub use negatives::{HardNegatives, mine};
pub use optimizer::{AdamW, AdamWConfig, Muon, MuonConfig, Optimizer, clip};
pub use prober::{Failed, Probe, Prober, probe};
pub use rank_net::RankNet;
pub use schedule::{Decay, Schedule};
pub use settings::Mode;
pub use sources::ImportedPairs;
pub use trainer::{
    Finish, Scorer, Start, TaskEstimate, TrainEstimate, TrainEvent, TrainMemory, Trainer, estimate,
};

pub use crate::embedder::Prepared;
pub use crate::model::Parameters;
