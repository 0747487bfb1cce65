//! Towers and parts of towers that several families are made of, each by its own settings.

mod language;

pub(super) use language::LanguageModel;
pub(crate) use language::Training;
