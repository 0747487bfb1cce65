//! Everything between raw media and the tensors the model reads, as plain numbers.
//!
//! Pictures take one road. [`load_image`] reads a file into 8-bit RGB; frames of a video come in as bytes,
//! those of another program by a [`FrameView`]. A [`Patchifier`] takes them one after another:
//! [`target_size`] says how large they become, [`Resizer`] resamples as the reference does, and the
//! pixels are normalised on their way into rows of `pixel_values`. The result, [`VisualPatches`], carries the
//! grid of patches along time, height and width.
//!
//! Prompts take the other. A [`PromptPart`] is text, or an image or a video known by its grid. How parts are
//! laid out and numbered differs between families of models and lies with them (`model`);
//! here the text between the control tokens is tokenised, one placeholder stands for each visual token, and
//! the whole is cut to the longest sequence.
//!
//! Both follow the reference of the released checkpoints: transformers 4.51.3 (`Qwen2VLImageProcessor`)
//! and qwen-vl-utils 0.0.11. The room knows neither tensors nor video files; sizes, grids and ids go
//! in and out as numbers, so every rule can be tested alone.

mod charsmap;
mod companions;
mod config;
mod error;
mod fit;
mod fixed;
mod image;
mod patchify;
mod pictures;
mod prompt;
mod resize;
mod sequence;
mod size;
mod stretches;
mod text_tokenizer;
mod tokenize;
mod train_tokenizer;

pub(crate) use companions::TokenizerSettings;
pub use companions::{ChatTemplate, unknown_settings};
pub use config::{ImageProcessorConfig, ProcessorKind};
pub use error::PreprocessError;
pub use fixed::FixedSize;
pub(crate) use image::load_picture;
pub use image::{FrameView, ImageLimits, PixelFormat, decode_image, load_image, load_image_with};
pub(crate) use image::{has_decoder, is_picture};
pub use patchify::{Patchifier, VisualPatches, patchify_image};
pub use pictures::Pictures;
pub(crate) use prompt::{ControlToken, PromptPiece, Rendering};
pub use prompt::{PositionSpan, PromptPart, VisualKind};
pub use resize::{Filter, Placement, Resizer, Rounding};
pub(crate) use sequence::Sequence;
pub use sequence::{Encoding, VisualSpan};
pub use size::{PixelBounds, PixelBudget, PixelSize, smart_resize, target_size};
pub(crate) use text_tokenizer::TextTokenizer;
pub(crate) use tokenize::{END_OF_TEXT, IMAGE_PAD, PromptTokenizer, VIDEO_PAD, VISION_START};
pub use train_tokenizer::train_tokenizer;
