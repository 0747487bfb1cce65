//! Qwen2-VL, of which GME, Unite, VLM2Vec-V2 and others are embedders: a vision tower over whole frames, and the
//! language tower of Qwen2.5-VL.

mod config;
mod vision;

pub(super) use config::Qwen2Vl;
pub(super) use vision::WholeTower;
