//! The checkpoint's tokenizer, restricted to what a prompt needs: ordinary text, and control tokens by name.

use std::path::Path;

use super::error::{PreprocessError, Result};
use super::prompt::{ControlToken, VisualKind};
use super::text_tokenizer::TextTokenizer;

pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
const TURN_START: &str = "<|im_start|>";
const TURN_END: &str = "<|im_end|>";
pub(crate) const VISION_START: &str = "<|vision_start|>";
const VISION_END: &str = "<|vision_end|>";
pub(crate) const IMAGE_PAD: &str = "<|image_pad|>";
pub(crate) const VIDEO_PAD: &str = "<|video_pad|>";

/// Turns text into token ids. Spellings of special tokens in text are text.
#[derive(Debug)]
pub(crate) struct PromptTokenizer {
    text: TextTokenizer,
    special: SpecialTokens,
}

/// Ids of the tokens a prompt is built with.
#[derive(Debug, Clone, Copy)]
struct SpecialTokens {
    end_of_text: u32,
    turn_start: u32,
    turn_end: u32,
    vision_start: u32,
    vision_end: u32,
    image_pad: u32,
    video_pad: u32,
}

impl PromptTokenizer {
    /// Reads `tokenizer.json` in `model_dir` and checks it against the checkpoint's `config.json`:
    /// `config_ids` are its keys, the tokens they mean, and their ids.
    pub(crate) fn load(model_dir: &Path, config_ids: &[(&'static str, &'static str, u32)]) -> Result<Self> {
        let text = TextTokenizer::load(model_dir)?;
        let special = SpecialTokens::find(&text)?;
        check_ids(&text, config_ids)?;
        Ok(Self { text, special })
    }

    /// As [`TextTokenizer::encode`].
    pub(super) fn encode(&self, text: &str, take: impl FnMut(&[u32])) -> Result<()> {
        self.text.encode(text, take)
    }

    /// The id of `token`, as the vocabulary spells it.
    pub(crate) fn token_id(&self, token: &str) -> Option<u32> {
        self.text.id_of(token)
    }

    pub(super) fn control_id(&self, token: ControlToken) -> u32 {
        match token {
            ControlToken::TurnStart => self.special.turn_start,
            ControlToken::TurnEnd => self.special.turn_end,
            ControlToken::VisionStart => self.special.vision_start,
            ControlToken::VisionEnd => self.special.vision_end,
            ControlToken::EndOfText => self.special.end_of_text,
        }
    }

    /// Placeholder of one visual token.
    pub(super) fn pad_id(&self, kind: VisualKind) -> u32 {
        match kind {
            VisualKind::Image => self.special.image_pad,
            VisualKind::Video => self.special.video_pad,
        }
    }
}

impl SpecialTokens {
    fn find(tokenizer: &TextTokenizer) -> Result<Self> {
        let find = |token: &'static str| {
            let path = tokenizer.path().to_path_buf();
            match tokenizer.id_of(token) {
                None => Err(PreprocessError::MissingSpecialToken { path, token }),
                Some(id) if tokenizer.is_special(id) => Ok(id),
                Some(_) => Err(PreprocessError::TokenNotSpecial { path, token }),
            }
        };
        Ok(Self {
            end_of_text: find(END_OF_TEXT)?,
            turn_start: find(TURN_START)?,
            turn_end: find(TURN_END)?,
            vision_start: find(VISION_START)?,
            vision_end: find(VISION_END)?,
            image_pad: find(IMAGE_PAD)?,
            video_pad: find(VIDEO_PAD)?,
        })
    }
}

fn check_ids(tokenizer: &TextTokenizer, config_ids: &[(&'static str, &'static str, u32)]) -> Result<()> {
    for &(field, token, config_id) in config_ids {
        if let Some(tokenizer_id) = tokenizer.id_of(token)
            && config_id != tokenizer_id
        {
            let path = tokenizer.path().to_path_buf();
            return Err(PreprocessError::TokenIdMismatch { path, field, token, tokenizer_id, config_id });
        }
    }
    Ok(())
}
