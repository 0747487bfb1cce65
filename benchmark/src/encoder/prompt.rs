//! How a query is told what is searched for.

use std::fmt;
use std::str::FromStr;

use gve::{Input, Part};
use serde::{Deserialize, Serialize};

/// Where a data set's prompt goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptStyle {
    /// The system turn, as GVE was trained.
    #[default]
    System,
    /// A line of text in front of the content, for models without a system turn.
    Text,
    /// Nowhere.
    None,
}

/// Not the name of a style.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown prompt style `{0}`: expected system, text or none")]
pub struct UnknownPromptStyle(String);

impl PromptStyle {
    /// `input` under `prompt`. An empty prompt is none. As system turn it replaces an instruction that is
    /// there.
    pub fn apply(self, input: &Input, prompt: &str) -> Input {
        let mut input = input.clone();
        match self {
            _ if prompt.is_empty() => {}
            Self::System => input.instruction = Some(prompt.to_owned()),
            // Parts follow each other without a gap, so the line is ended here.
            Self::Text => input.parts.insert(0, Part::Text(format!("{prompt}\n"))),
            Self::None => {}
        }
        input
    }
}

impl FromStr for PromptStyle {
    type Err = UnknownPromptStyle;

    fn from_str(name: &str) -> Result<Self, UnknownPromptStyle> {
        match name {
            "system" => Ok(Self::System),
            "text" => Ok(Self::Text),
            "none" => Ok(Self::None),
            _ => Err(UnknownPromptStyle(name.to_owned())),
        }
    }
}

impl fmt::Display for PromptStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "system",
            Self::Text => "text",
            Self::None => "none",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_style_puts_the_prompt_in_its_place() {
        let query = Input::image("a.png").and_text("in the forest");
        let prompt = "Find the clip.";
        let in_front = Input::text("Find the clip.\n").and_image("a.png").and_text("in the forest");
        for (style, prompt, expected) in [
            (PromptStyle::System, prompt, query.clone().with_instruction(prompt)),
            (PromptStyle::Text, prompt, in_front),
            (PromptStyle::None, prompt, query.clone()),
            (PromptStyle::System, "", query.clone()),
            (PromptStyle::Text, "", query.clone()),
        ] {
            assert_eq!(style.apply(&query, prompt), expected, "{style} {prompt:?}");
        }
    }

    #[test]
    fn an_instruction_gives_way_to_the_system_turn_only() {
        let query = Input::text("a dog").with_instruction("old");
        assert_eq!(PromptStyle::System.apply(&query, "new").instruction.as_deref(), Some("new"));
        assert_eq!(PromptStyle::Text.apply(&query, "new").instruction.as_deref(), Some("old"));
        assert_eq!(PromptStyle::System.apply(&query, "").instruction.as_deref(), Some("old"));
    }

    #[test]
    fn names_round_trip_and_typos_are_errors() {
        for name in ["system", "text", "none"] {
            let style = name.parse::<PromptStyle>().unwrap();
            assert_eq!(style.to_string(), name);
            assert_eq!(serde_json::to_value(style).unwrap(), name);
        }
        assert!("System".parse::<PromptStyle>().unwrap_err().to_string().contains("system, text or none"));
    }
}
