//! What the families of the Qwen-VL line share: texts, images and videos as one sequence under a chat template,
//! three-axis rotary positions, a language tower, and a vision tower whose rows take the places of
//! placeholders.
//!
//! What differs lies in the families' folders, `qwen2_vl`, [`qwen2_5_vl`](super::qwen2_5_vl) and
//! [`qwen3_vl`](super::qwen3_vl), each behind one `Variant`. How a checkpoint is prompted is its
//! [`Recipe`](crate::recipe::Recipe)'s affair.

mod backbone;
mod config;
mod family;
mod positions;
mod processor;
mod prompt;
mod scratch;
mod variant;

pub use backbone::QwenVl;
pub(in crate::model) use config::read_vision;
pub use config::{Config, Tower, VisionConfig};
pub use positions::mrope_positions;
pub use processor::Preprocessor;
pub(crate) use prompt::TEMPLATE;
pub(crate) use scratch::{TEMPLATE_TEXT, TOKEN_IDS, settings_files};
pub(in crate::model) use variant::{Steps, Variant, VisionFeatures, VisionTower};

use crate::preprocess::PreprocessError;

type Result<T, E = PreprocessError> = std::result::Result<T, E>;
