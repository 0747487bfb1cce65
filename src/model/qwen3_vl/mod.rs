//! Qwen3-VL, of which Qwen3-VL-Embedding and Qwen3-VL-Reranker are made: a vision tower with a table of positions,
//! whose features also go into early layers of the language tower, time as text, and the language tower of
//! Qwen3.

mod config;
mod table;
mod vision;

pub(super) use config::Qwen3Vl;
pub use config::{DeepstackConfig, PIXEL_BUDGET};
pub(super) use vision::DeepstackTower;
