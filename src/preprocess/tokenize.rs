//! The checkpoint's tokenizer, restricted to what a prompt needs: ordinary text, and control tokens by name.

use std::path::Path;

use tokenizers::Tokenizer;

use super::error::{PreprocessError, Result};
use super::preprocessor::PromptConfig;
use super::prompt::{ControlToken, VisualKind};

const TOKENIZER_FILE: &str = "tokenizer.json";

pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";
const TURN_START: &str = "<|im_start|>";
const TURN_END: &str = "<|im_end|>";
const VISION_START: &str = "<|vision_start|>";
const VISION_END: &str = "<|vision_end|>";
const IMAGE_PAD: &str = "<|image_pad|>";
const VIDEO_PAD: &str = "<|video_pad|>";

/// Turns text into token ids. Spellings of special tokens in text are text.
#[derive(Debug)]
pub(super) struct PromptTokenizer {
    tokenizer: Tokenizer,
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
    /// Reads `tokenizer.json` in `model_dir` and checks it against the ids of the checkpoint's `config.json`.
    pub(super) fn load(model_dir: &Path, config: &PromptConfig) -> Result<Self> {
        let path = model_dir.join(TOKENIZER_FILE);
        let text = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => PreprocessError::MissingCheckpointFile { path: path.clone() },
            _ => PreprocessError::ReadFile { path: path.clone(), source },
        })?;
        let unusable = |source| PreprocessError::LoadTokenizer { path: path.clone(), source };
        let mut tokenizer = Tokenizer::from_bytes(&text).map_err(unusable)?;
        // The file may carry settings of whoever saved it; length is the prompt's affair.
        tokenizer.with_truncation(None).map_err(unusable)?;
        tokenizer.with_padding(None);
        tokenizer.set_encode_special_tokens(true);
        let special = SpecialTokens::find(&tokenizer, &path)?;
        special.check(config, &path)?;
        Ok(Self { tokenizer, special })
    }

    /// Ids of `text`.
    pub(super) fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self
            .tokenizer
            .encode_fast(text, false)
            .map_err(|source| PreprocessError::Tokenize { bytes: text.len(), source })?;
        Ok(encoding.get_ids().to_vec())
    }

    pub(super) fn control_id(&self, token: ControlToken) -> u32 {
        match token {
            ControlToken::TurnStart => self.special.turn_start,
            ControlToken::TurnEnd => self.special.turn_end,
            ControlToken::VisionStart => self.special.vision_start,
            ControlToken::VisionEnd => self.special.vision_end,
        }
    }

    /// Placeholder of one visual token.
    pub(super) fn pad_id(&self, kind: VisualKind) -> u32 {
        match kind {
            VisualKind::Image => self.special.image_pad,
            VisualKind::Video => self.special.video_pad,
        }
    }

    /// The token whose hidden state is the embedding.
    pub(super) fn end_of_text_id(&self) -> u32 {
        self.special.end_of_text
    }
}

impl SpecialTokens {
    fn find(tokenizer: &Tokenizer, path: &Path) -> Result<Self> {
        let added = tokenizer.get_added_tokens_decoder();
        let find = |token: &'static str| {
            let id = tokenizer
                .token_to_id(token)
                .ok_or_else(|| PreprocessError::MissingSpecialToken { path: path.to_path_buf(), token })?;
            match added.get(&id) {
                Some(added_token) if added_token.special => Ok(id),
                _ => Err(PreprocessError::TokenNotSpecial { path: path.to_path_buf(), token }),
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

    fn check(&self, config: &PromptConfig, path: &Path) -> Result<()> {
        let pairs = [
            ("image_token_id", IMAGE_PAD, self.image_pad, Some(config.image_token_id)),
            ("video_token_id", VIDEO_PAD, self.video_pad, Some(config.video_token_id)),
            ("vision_start_token_id", VISION_START, self.vision_start, config.vision_start_token_id),
            ("vision_end_token_id", VISION_END, self.vision_end, config.vision_end_token_id),
        ];
        for (field, token, tokenizer_id, config_id) in pairs {
            if let Some(config_id) = config_id.filter(|&id| id != tokenizer_id) {
                let path = path.to_path_buf();
                return Err(PreprocessError::TokenIdMismatch { path, field, token, tokenizer_id, config_id });
            }
        }
        Ok(())
    }
}
