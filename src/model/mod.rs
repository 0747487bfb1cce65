//! Qwen2.5-VL as an embedder: tensors in, hidden states out.
//!
//! A [`Checkpoint`] maps the weights, [`Config`] gives their shapes, and [`Qwen25Vl`] runs them. Sequences of a
//! batch are packed one behind the other instead of padded to a common length: every row that is
//! computed is a row that was asked for, and attention is told which rows belong together. The
//! same packing serves the vision tower, whose windows and frames are just shorter sequences.
//!
//! There is no language head and no key-value cache. In the last decoder layer only the token
//! that is pooled has its query and feed-forward layer computed.
//!
//! The same layers are trained. Their operations have a backward pass, and [`LoraAdapter`] is what training mostly leaves behind: it is
//! folded into the weights when a model is loaded, or into a checkpoint of its own ([`merge_adapter`]).

mod adapter;
mod checkpoint;
mod config;
mod error;
mod files;
mod fingerprint;
mod init;
mod kernels;
mod layers;
mod loader;
mod memory;
mod merge;
mod ops;
mod packed;
pub mod qwen2_5_vl;
mod segments;
pub(crate) mod sentence_transformers;
mod trainable;

pub use adapter::{AdapterId, AdapterLayout, LoraAdapter, LoraSettings};
pub use checkpoint::Checkpoint;
pub use config::TextConfig;
pub use error::ModelError;
pub(crate) use files::{write_directory, write_file};
pub use fingerprint::checkpoint_fingerprint;
pub use init::init_weights;
pub use kernels::Activation;
pub(crate) use layers::Training;
pub use loader::WeightPrecision;
pub use memory::MemoryNeed;
pub use merge::{convert_checkpoint, merge_adapter, write_checkpoint};
pub(crate) use ops::{Dropout, GradientSink};
pub use packed::{GridThw, PackedBatch, Visual};
pub use qwen2_5_vl::{Config, Qwen25Vl, VisionConfig};
pub(crate) use trainable::TrainableParts;
