//! From a prompt to the ids and positions the language model reads.

use std::path::Path;

use super::Result;
use super::positions::mrope_positions;
use super::prompt::render;
use crate::preprocess::{
    Encoding, IMAGE_PAD, ImageProcessorConfig, PreprocessError, PromptPart, PromptTokenizer, Sequence,
    VIDEO_PAD, VISION_END, VISION_START,
};

/// What a prompt must know of the checkpoint's `config.json`. Fields are spelled as there.
#[derive(Debug, Clone, PartialEq)]
pub struct PromptConfig {
    /// Patches along each side that are merged into one visual token (`vision_config.spatial_merge_size`).
    pub spatial_merge_size: usize,
    /// Temporal ids per second of video (`vision_config.tokens_per_second`).
    pub tokens_per_second: f64,
    /// Id of `<|image_pad|>`.
    pub image_token_id: u32,
    /// Id of `<|video_pad|>`.
    pub video_token_id: u32,
    /// Id of `<|vision_start|>`, where the configuration names it.
    pub vision_start_token_id: Option<u32>,
    /// Id of `<|vision_end|>`, where the configuration names it.
    pub vision_end_token_id: Option<u32>,
    /// Longest sequence, the final `<|endoftext|>` included; [`PromptConfig::DEFAULT_MAX_LENGTH`] is the evaluation
    /// default.
    pub max_length: usize,
}

impl PromptConfig {
    /// Sequence length of the published evaluation, in tokens.
    pub const DEFAULT_MAX_LENGTH: usize = 8192;
}

/// The settings and the tokenizer of one checkpoint.
///
/// It has no state that changes, so one may serve many threads.
#[derive(Debug)]
pub struct Preprocessor {
    image_processor: ImageProcessorConfig,
    prompt: PromptConfig,
    tokenizer: PromptTokenizer,
}

impl Preprocessor {
    /// Reads `preprocessor_config.json` and `tokenizer.json` in `model_dir` and checks that they agree with `prompt`,
    /// which the caller takes from `config.json`.
    ///
    /// # Errors
    /// Missing, unreadable or damaged files; special tokens that are missing or whose ids disagree; settings that
    /// cannot be run with. Each names the file and the key.
    pub fn load(model_dir: &Path, prompt: PromptConfig) -> Result<Self> {
        let image_processor = ImageProcessorConfig::load(model_dir)?;
        check(&prompt, &image_processor)?;
        let tokenizer = PromptTokenizer::load(
            model_dir,
            &[
                ("image_token_id", IMAGE_PAD, Some(prompt.image_token_id)),
                ("video_token_id", VIDEO_PAD, Some(prompt.video_token_id)),
                ("vision_start_token_id", VISION_START, prompt.vision_start_token_id),
                ("vision_end_token_id", VISION_END, prompt.vision_end_token_id),
            ],
        )?;
        Ok(Self { image_processor, prompt, tokenizer })
    }

    /// How pictures become patches.
    pub fn image_processor(&self) -> &ImageProcessorConfig {
        &self.image_processor
    }

    /// How prompts become ids.
    pub fn prompt_config(&self) -> &PromptConfig {
        &self.prompt
    }

    /// Encodes a prompt: a system turn holding `instruction` (or the default), a user turn holding `parts`, the start of
    /// the answer, cut to `max_length - 1` tokens, and `<|endoftext|>`.
    ///
    /// # Errors
    /// [`PreprocessError::VisualTokenLimit`] where the cut would lose visual tokens (text is cut silently, see
    /// [`Encoding::truncated_tokens`]); [`PreprocessError::InvalidGrid`] and [`PreprocessError::InvalidTiming`] for parts
    /// that no checkpoint can read; [`PreprocessError::PositionLimit`].
    pub fn encode(&self, parts: &[PromptPart<'_>], instruction: Option<&str>) -> Result<Encoding> {
        let pieces = render(parts, instruction, self.prompt.spatial_merge_size)?;
        let sequence = Sequence::of(&pieces, &self.tokenizer, self.prompt.max_length)?;
        Ok(Encoding {
            position_ids: mrope_positions(&sequence.spans, self.prompt.tokens_per_second)?,
            input_ids: sequence.ids,
            visual_spans: sequence.visuals,
            truncated_tokens: sequence.truncated_tokens,
        })
    }
}

fn check(prompt: &PromptConfig, image_processor: &ImageProcessorConfig) -> Result<()> {
    let invalid =
        |field, expected, got: String| Err(PreprocessError::InvalidPromptConfig { field, expected, got });
    if prompt.max_length < 2 {
        return invalid("max_length", "at least 2", prompt.max_length.to_string());
    }
    if !(prompt.tokens_per_second.is_finite() && prompt.tokens_per_second > 0.0) {
        return invalid("tokens_per_second", "a positive number", prompt.tokens_per_second.to_string());
    }
    if prompt.spatial_merge_size != image_processor.merge_size() as usize {
        let expected = "the merge_size of preprocessor_config.json";
        return invalid("spatial_merge_size", expected, prompt.spatial_merge_size.to_string());
    }
    Ok(())
}
