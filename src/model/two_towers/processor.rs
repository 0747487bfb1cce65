//! From the parts of an input to the ids of its text; pictures are known by their grids alone.

use std::borrow::Cow;

use crate::model::family::Processor;
use crate::preprocess::{Encoding, Pictures, PreprocessError, PromptPart, TextTokenizer};
use crate::recipe::{Composed, Recipe};

type Result<T, E = PreprocessError> = std::result::Result<T, E>;

/// How a family makes ids of texts.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct TextRule {
    /// What is done to a text before it is tokenised.
    pub(in crate::model) canonical: fn(&str) -> Cow<'_, str>,
    /// Which token is the last that is looked at.
    pub(in crate::model) end: End,
}

/// Which token of a text becomes its embedding.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) enum End {
    /// The first one with this id: what comes behind is not looked at.
    First(u32),
    /// The first of those with the largest id.
    Largest,
    /// The last, once the text is filled up with this token to all positions.
    Filled(u32),
}

/// The settings and the tokenizer of one checkpoint.
#[derive(Debug)]
pub(in crate::model) struct TowersProcessor {
    pictures: Pictures,
    tokenizer: TextTokenizer,
    rule: TextRule,
    /// Ids before a text and behind it.
    surroundings: (Vec<u32>, Vec<u32>),
    /// Tokens of the longest text.
    positions: usize,
    max_length: usize,
    composed: Composed,
}

impl TowersProcessor {
    /// A processor of texts of at most `positions` tokens.
    pub(in crate::model) fn new(
        pictures: Pictures,
        tokenizer: TextTokenizer,
        rule: TextRule,
        positions: usize,
        recipe: &Recipe,
    ) -> Result<Self> {
        let surroundings = tokenizer.surroundings()?;
        let max_length = recipe.max_length.min(positions);
        let least = surroundings.0.len() + surroundings.1.len() + 1;
        if max_length < least {
            let (field, expected) = ("max_length", "room for a token between those that every text has");
            return Err(PreprocessError::InvalidPromptConfig {
                field,
                expected,
                got: max_length.to_string(),
            });
        }
        let composed = recipe.composed;
        Ok(Self { pictures, tokenizer, rule, surroundings, positions, max_length, composed })
    }

    /// The ids of `text`, and how many tokens of it did not fit.
    fn ids(&self, text: &str) -> Result<(Vec<u32>, usize)> {
        let (before, behind) = &self.surroundings;
        let room = self.max_length - behind.len();
        let (mut ids, mut unstored) = (before.clone(), 0);
        self.tokenizer.encode(&(self.rule.canonical)(text), |some| {
            let stored = some.len().min(room - ids.len());
            ids.extend_from_slice(&some[..stored]);
            unstored += some.len() - stored;
        })?;
        ids.extend(behind);
        let last = match self.rule.end {
            End::First(end) => ids.iter().position(|&id| id == end).unwrap_or(0),
            End::Largest => ids.iter().enumerate().rev().max_by_key(|&(_, &id)| id).map_or(0, |(at, _)| at),
            End::Filled(pad) => {
                ids.resize(self.positions, pad);
                self.positions - 1
            }
        };
        ids.truncate(last + 1);
        Ok((ids, unstored))
    }
}

impl Processor for TowersProcessor {
    fn pictures(&self) -> &Pictures {
        &self.pictures
    }

    fn reads_instructions(&self) -> bool {
        false
    }

    fn encode(&self, parts: &[PromptPart<'_>], instruction: Option<&str>) -> Result<Encoding> {
        let refused = |field, expected, got: &str| {
            Err(PreprocessError::InvalidPromptConfig { field, expected, got: got.to_owned() })
        };
        if let Some(instruction) = instruction.filter(|text| !text.is_empty()) {
            let expected = "none, as this model reads no instructions";
            return refused(
                "instruction",
                expected,
                &format!("{:?}", instruction.chars().take(60).collect::<String>()),
            );
        }
        if self.composed == Composed::Refused && parts.len() > 1 {
            return refused("an input", "one text, one image or one video by this model's recipe", "more");
        }
        let text_of = |part: &PromptPart<'_>| match *part {
            PromptPart::Text(text) => Some(text.to_owned()),
            _ => None,
        };
        // Texts side by side are one.
        let runs = parts.chunk_by(|a, b| text_of(a).is_some() && text_of(b).is_some());
        let texts: Vec<String> = runs.filter_map(|run| run.iter().map(text_of).collect()).collect();
        let (input_ids, truncated_tokens) = match texts.as_slice() {
            [] => (Vec::new(), 0),
            [text] => self.ids(text)?,
            _ => return refused("an input", "at most one text for this model", "texts around a picture"),
        };
        Ok(Encoding { input_ids, truncated_tokens, ..Encoding::default() })
    }
}
