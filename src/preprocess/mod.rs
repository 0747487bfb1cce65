//! Everything between raw media and the tensors the model reads, as plain numbers.
//!
//! Pictures take one road. [`load_image`] reads a file into 8-bit RGB; frames of a video come in as bytes. A
//! [`Patchifier`] takes them one after another: [`target_size`] says how large they become, [`BicubicResizer`] resamples
//! as the reference does, and the pixels are normalised on their way into rows of `pixel_values`. The result,
//! [`VisualPatches`], carries the grid of patches along time, height and width.
//!
//! Prompts take the other. [`Preprocessor::encode`] lays text, images and videos (each known by its grid) out in the
//! chat template, tokenises the text between the control tokens, stands one placeholder for each visual token, cuts
//! to the longest sequence, appends `<|endoftext|>` and numbers everything with [`mrope_positions`].
//!
//! Both follow the reference of the released checkpoints: transformers 4.51.3 (`Qwen2VLImageProcessor`,
//! `get_rope_index`) and qwen-vl-utils 0.0.11. The room knows neither tensors nor video files; sizes, grids and ids go
//! in and out as numbers, so every rule can be tested alone.

mod companions;
mod config;
mod error;
mod image;
mod learn;
mod patchify;
mod positions;
mod preprocessor;
mod prompt;
mod resize;
mod size;
mod stretches;
mod tokenize;

pub use companions::unknown_settings;
pub use config::ImageProcessorConfig;
pub use error::PreprocessError;
pub use image::{ImageLimits, decode_image, load_image};
pub use learn::learn_tokenizer;
pub use patchify::{Patchifier, VisualPatches, patchify_image};
pub use positions::{PositionSpan, mrope_positions};
pub use preprocessor::{Encoding, Preprocessor, PromptConfig, VisualSpan};
pub(crate) use prompt::CHAT_TEMPLATE;
pub use prompt::{DEFAULT_INSTRUCTION, PromptPart, VisualKind};
pub use resize::{BicubicResizer, Rounding};
pub use size::{PixelBounds, PixelSize, smart_resize, target_size};
pub(crate) use tokenize::END_OF_TEXT;
