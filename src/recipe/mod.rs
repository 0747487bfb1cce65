//! How published checkpoints are used, as data. What a checkpoint is lies in its `config.json` and in the code
//! of its family (`model`): one architecture is published under many recipes.
//!
//! [`Recipes`] reads them from `models.toml` and from a user's own file, and finds that of a checkpoint: by its
//! hub id, by what lies beside its weights ([`NamedRecipe::FILE_NAME`]), by the model that an adapter is of, or
//! by its architecture. A [`NamedRecipe`] also knows how it was found.

mod catalog;
mod error;
mod fingerprint;
mod named;
mod pictures;
mod prompt;
mod pseudo_query;
mod query;
mod reranking;
mod widths;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::media::{DEFAULT_MAX_FRAMES, Sampling};
pub(crate) use catalog::Sought;
pub use catalog::{PublishedModel, RecipeEntry, Recipes};
pub use error::RecipeError;
pub use fingerprint::RecipeId;
pub use named::{FoundBy, NamedRecipe};
pub use pictures::{FirstResize, FramesAs, PassOrder, PictureRecipe, Transparency};
pub use prompt::{
    EndOfText, InstructionPlace, PartOrder, PictureInstruction, Positions, PromptRecipe, Template,
};
pub use pseudo_query::PseudoQuery;
pub use query::{QueryInstruction, QueryKind};
pub use reranking::Reranking;
pub use widths::Widths;

/// Frames per video in the published evaluation of GVE, and wherever nobody says.
pub const FRAMES_PER_VIDEO: usize = 8;
/// Most visual tokens per frame there, and wherever nobody says and the checkpoint does not allow less.
pub const TOKENS_PER_FRAME: u64 = 200;

/// How a checkpoint wants to be used. The default is GVE's way, by the authors' evaluation (arXiv
/// 2510.27571).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Recipe {
    /// The instruction of inputs that have none; of a reranker, what it is told to do.
    pub instruction: String,
    /// How the parts of an input become a prompt.
    pub prompt: PromptRecipe,
    /// How images and frames become patches.
    pub pictures: PictureRecipe,
    /// What becomes of the hidden states of a sequence.
    pub pooling: Pooling,
    /// What becomes of an input of several parts, in models whose parts are embedded one by one.
    pub composed: Composed,
    /// Which frames of a video are looked at.
    pub sampling: Sampling,
    /// Most visual tokens per frame or image, where the checkpoint does not allow less.
    pub tokens_per_frame: u64,
    /// Longest sequence in tokens, what is appended included; of a reranker without the end of its prompt.
    pub max_length: usize,
    /// Widths below its own that its embeddings may be cut to.
    pub widths: Widths,
    /// What a query says where the user gives no instruction.
    pub query_instruction: QueryInstruction,
    /// How pairs are scored, by a model that is a reranker.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reranking: Option<Reranking>,
    /// How a query is asked once more together with what was found for it, by a model that was trained for that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pseudo_query: Option<PseudoQuery>,
}

/// How the hidden states of a sequence become one vector.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// That of the last token, behind the final norm.
    #[default]
    LastToken,
}

/// What becomes of an input of several parts, in models whose parts are embedded one by one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Composed {
    /// The mean of the normalised parts.
    #[default]
    Mean,
    /// It is an error.
    Refused,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            instruction: "You are a helpful assistant.".to_owned(),
            prompt: PromptRecipe::default(),
            pictures: PictureRecipe::default(),
            pooling: Pooling::LastToken,
            composed: Composed::Mean,
            sampling: Sampling::Uniform { frames: FRAMES_PER_VIDEO },
            tokens_per_frame: TOKENS_PER_FRAME,
            max_length: 8192,
            widths: Widths::default(),
            query_instruction: QueryInstruction::default(),
            reranking: None,
            pseudo_query: None,
        }
    }
}

impl Recipe {
    /// Frames of a video, at most.
    pub fn frames_per_video(&self) -> usize {
        match &self.sampling {
            Sampling::Uniform { frames } => *frames,
            Sampling::Fps { max_frames, .. } => max_frames.unwrap_or(DEFAULT_MAX_FRAMES),
            Sampling::Timestamps(times) => times.len(),
        }
    }

    /// What no model can be used with, in words.
    fn fault(&self) -> Option<String> {
        let rules = [
            ("sampling", self.frames_per_video() == 0, "must be of at least 1 frame"),
            ("tokens_per_frame", self.tokens_per_frame == 0, "must be at least 1"),
            ("max_length", self.max_length < 2, "must be at least 2"),
            ("widths", !self.widths.is_sound(), "must be at least 1 and rise"),
            (
                "pseudo_query",
                self.pseudo_query.as_ref().is_some_and(|asked| !asked.is_sound()),
                "must have numbers of at least 1",
            ),
            (
                "pseudo_query",
                self.pseudo_query.is_some() && self.prompt.order != PartOrder::Given,
                "needs `prompt.order = \"given\"`: candidates are told apart by what stands around them",
            ),
        ];
        let fault = rules.into_iter().find(|(_, is_wrong, _)| *is_wrong);
        fault.map(|(key, _, reason)| format!("`{key}` {reason}"))
    }
}

/// Which adapter is folded into a model: where it is, and what was in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterId {
    /// Its directory, absolute.
    pub directory: PathBuf,
    /// A hash of its files, so that an adapter that is trained further is told from what it was.
    pub fingerprint: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_entry_leaves_out_is_as_gve_has_it_and_typos_are_errors() {
        let read = |text: &str| toml::from_str::<Recipe>(text);
        assert_eq!(read("").unwrap(), Recipe::default());
        let other = read("max_length = 3200\n[prompt]\nend_of_text = \"none\"").unwrap();
        let prompt = PromptRecipe { end_of_text: EndOfText::None, ..PromptRecipe::default() };
        assert_eq!(other, Recipe { prompt, max_length: 3200, ..Recipe::default() });
        for (text, expected) in [
            ("maxlength = 3200", "max_length"),
            ("pooling = \"mean\"", "last_token"),
            ("widths = 64", "a list of widths"),
            ("widths = { from = 64, upto = 128 }", "a list of widths"),
            ("query_instruction = { texts = \"a\" }", "text_and_image"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
