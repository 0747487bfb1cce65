//! Towers and parts of towers that several families are made of, each by its own settings.

mod language;
mod vision;

pub(super) use language::LanguageModel;
pub(crate) use language::Training;
pub(super) use vision::{PATCH_ROPE_THETA, PatchAttention, PatchMerger, patch_rotary};
