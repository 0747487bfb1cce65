//! Towers and parts of towers that several families are made of, each by its own settings.

mod encoder;
mod language;
mod vision;
mod whole_frame;

pub(super) use encoder::{Encoder, EncoderShape};
pub(super) use language::{Additions, Behind, LanguageModel};
pub(crate) use language::{Prefix, Training};
pub(super) use vision::{PATCH_ROPE_THETA, PatchAttention, PatchMerger, patch_embedding, patch_rotary};
pub(super) use whole_frame::{FrameBlock, FrameBlockShape, Frames, NORM_EPS, places_in_units};
