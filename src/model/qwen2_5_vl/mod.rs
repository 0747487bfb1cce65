//! Qwen2.5-VL, of which GVE is an embedder.

mod backbone;
mod config;
mod positions;
mod processor;
mod prompt;
mod vision;
mod window;

pub use backbone::Qwen25Vl;
pub use config::{Config, VisionConfig};
pub use positions::mrope_positions;
pub use processor::{Preprocessor, PromptConfig};
pub use prompt::DEFAULT_INSTRUCTION;
pub(crate) use prompt::{CHAT_TEMPLATE, TEMPLATE_TEXT};

use crate::preprocess::PreprocessError;

type Result<T, E = PreprocessError> = std::result::Result<T, E>;
