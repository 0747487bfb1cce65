use serde::{Deserialize, Serialize};

/// How a query is asked once more, together with what a first search found for it (E2Rank, arXiv 2510.22733):
/// one prompt of the best candidates and the query, whose embedding is compared with those that are stored. The
/// content is `{candidates}{candidate}{its parts}...{query}{its parts}` under the query's instruction. For models
/// that were trained on such prompts, whose parts stand in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PseudoQuery {
    /// What stands in front of the candidates.
    pub candidates: String,
    /// What stands in front of each; `{number}` is its own, from 1.
    pub candidate: String,
    /// What stands in front of the query.
    pub query: String,
    /// Candidates that are read, at most.
    pub most_candidates: usize,
    /// Words of a candidate's text that are read, at most.
    pub words: usize,
    /// Frames of a candidate's video that are looked at.
    pub frames: usize,
    /// Most visual tokens per frame or image of a candidate.
    pub tokens_per_frame: u64,
}

impl Default for PseudoQuery {
    fn default() -> Self {
        Self {
            candidates: "Documents:".to_owned(),
            candidate: "\n[{number}] ".to_owned(),
            query: "\nSearch Query: ".to_owned(),
            most_candidates: 20,
            words: 1024,
            frames: 4,
            tokens_per_frame: 16,
        }
    }
}

impl PseudoQuery {
    /// Whether a query can be asked by it.
    pub(super) fn is_sound(&self) -> bool {
        let limits =
            [self.most_candidates as u64, self.words as u64, self.frames as u64, self.tokens_per_frame];
        !limits.contains(&0)
    }
}
