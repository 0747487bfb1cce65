//! Qwen2.5-VL, of which GVE is an embedder: a vision tower with windows, and time as positions.

mod config;
mod vision;
mod window;

pub(super) use config::Qwen25Vl;
pub use config::{PIXEL_BUDGET, WindowConfig};
pub(super) use vision::WindowedTower;
