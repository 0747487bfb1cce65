//! Qwen2.5-VL, of which GVE is an embedder.

mod backbone;
mod config;
mod family;
mod positions;
mod processor;
mod prompt;
mod scratch;
mod vision;
mod window;

pub use backbone::Qwen25Vl;
pub use config::{Config, VisionConfig};
pub use positions::mrope_positions;
pub use processor::Preprocessor;
pub(crate) use prompt::TEMPLATE;
pub(crate) use scratch::{TEMPLATE_TEXT, TOKEN_IDS, settings_files};

use crate::preprocess::{PixelBudget, PreprocessError};

/// How large pictures are where nobody says, by qwen-vl-utils 0.0.11. A visual token is the square of patch
/// size x merge size.
pub const PIXEL_BUDGET: PixelBudget = PixelBudget {
    pixels_per_token: 28 * 28,
    image_tokens: (4, 16_384),
    frame_tokens: (128, 768),
    // 90 % of 128,000.
    video_tokens: 115_200,
    frame_factor: 2,
};

type Result<T, E = PreprocessError> = std::result::Result<T, E>;
