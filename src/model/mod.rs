//! Models that embed: tensors in, vectors out.
//!
//! A family of models has a folder with what it has of its own ([`qwen2_5_vl`], [`qwen3_vl`]), and shares the
//! rest; that of the Qwen-VL line is [`qwen_vl`]. A
//! [`Checkpoint`] maps the weights, `config.json` says of which family they are ([`ModelType`]) and gives
//! their shapes, and the family's layers run them. Sequences of a batch are packed one behind the other
//! instead of padded to a common length: every row that is computed is a row that was asked for, and
//! attention is told which rows belong together. The same packing serves the vision tower, whose windows and
//! frames are just shorter sequences.
//!
//! Nothing is generated: of the language head a reranker takes two rows, and keys and values are kept of a
//! query alone whose candidates are scored. In the last decoder layer only the token that is pooled has its
//! query and feed-forward layer computed.
//!
//! The same layers are trained. Their operations have a backward pass, and [`LoraAdapter`] is what training
//! mostly leaves behind: it is folded into the weights when a model is loaded, or into a checkpoint of its
//! own ([`merge_adapter`]).

mod adapter;
pub(crate) mod cards;
// Maps files into memory.
#[allow(unsafe_code)]
mod checkpoint;
mod clip;
mod config;
mod error;
pub(crate) mod family;
mod fingerprint;
mod init;
#[allow(unsafe_code)]
mod kernels;
mod layers;
mod loader;
mod memory;
mod merge;
mod ops;
mod packed;
pub mod qwen2_5_vl;
mod qwen2_vl;
pub mod qwen3_vl;
pub mod qwen_vl;
mod segments;
pub(crate) mod sentence_transformers;
mod shape;
mod siglip;
#[cfg(test)]
pub(crate) mod skeleton;
mod storage;
mod trainable;
mod two_towers;
mod usage;

pub use crate::card::BaseModel;
pub use crate::device::WeightPrecision;
pub use adapter::{AdapterLayout, LoraAdapter, LoraConfig, LoraSettings};
pub(crate) use adapter::{ModuleNames, module_name};
pub use checkpoint::Checkpoint;
pub use config::TextConfig;
pub use error::ModelError;
pub use family::ModelType;
pub use fingerprint::checkpoint_fingerprint;
pub use init::init_weights;
pub use kernels::Activation;
pub(crate) use layers::{Prefix, Training};
pub use memory::MemoryNeed;
pub use merge::{convert_checkpoint, merge_adapter, rename_adapter, write_checkpoint};
pub(crate) use ops::{Dropout, GradientSink};
pub(crate) use packed::Item;
pub use packed::{GridThw, PackedBatch, Visual};
pub use qwen_vl::{Config, QwenVl, VisionConfig};
pub use shape::{ModelShape, TextShape, VisionShape};
pub use trainable::{Parameters, Trainable};
pub(crate) use usage::{AdapterClues, architecture, find_recipe};
