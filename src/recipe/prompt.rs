use serde::{Deserialize, Serialize};

/// How the parts of an input become a prompt. The default is GVE's way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PromptRecipe {
    /// What is laid around the parts.
    pub template: Template,
    /// The instruction of inputs with pictures that have none, where it is another than that of texts.
    pub instruction_of: PictureInstruction,
    /// Where an input's instruction stands.
    pub instruction_in: InstructionPlace,
    /// Whether an instruction is trimmed, and closed by a full stop unless its last character is punctuation
    /// (Unicode's category P).
    pub close_instruction: bool,
    /// In which order the parts stand.
    pub order: PartOrder,
    /// The text of an input without parts, which is refused where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub empty_input: Option<String>,
    /// What stands behind the parts in the user's turn; `{parts}` is what there was, of "sentence", "image" and
    /// "video", joined by "and".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closing: Option<String>,
    /// Whether `<|endoftext|>` stands behind the prompt.
    pub end_of_text: EndOfText,
    /// How tokens are numbered.
    pub positions: Positions,
}

impl Default for PromptRecipe {
    fn default() -> Self {
        Self {
            template: Template::Chat,
            instruction_of: PictureInstruction::default(),
            instruction_in: InstructionPlace::System,
            close_instruction: false,
            order: PartOrder::Given,
            empty_input: None,
            closing: None,
            end_of_text: EndOfText::Kept,
            positions: Positions::Mrope,
        }
    }
}

/// The instruction of inputs with pictures that have none; that of the recipe where there is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct PictureInstruction {
    /// Of inputs with an image, and no video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Of inputs with a video.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<String>,
}

/// What is laid around the parts of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Template {
    /// A system turn, a user's turn, and the start of an answer.
    Chat,
    /// Nothing: placeholders without marks around them, the instruction and the texts, a space between each.
    Bare,
}

/// Where the instruction of an input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum InstructionPlace {
    /// It is the system turn, in the place of the recipe's own.
    System,
    /// It stands in front of the texts; the system turn is always the recipe's.
    User,
}

/// In which order the parts of an input stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PartOrder {
    /// As they are given.
    Given,
    /// Images and videos as they are given, then texts.
    MediaFirst,
    /// Videos, then images, then texts.
    VideosFirst,
}

/// Whether `<|endoftext|>` stands behind a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndOfText {
    /// It does: what is in front of it is cut to length.
    Kept,
    /// It does where nothing is cut: a prompt that is too long loses it first.
    Cut,
    /// It does not.
    None,
}

/// How the tokens of a prompt are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Positions {
    /// By the family's rule for texts, rows, columns and time.
    Mrope,
    /// 0, 1, 2, ... whatever the token: as models were trained whose code gave no positions.
    Linear,
}
