//! From a prompt to the ids and positions the language model reads.

use std::path::Path;

use super::config::ImageProcessorConfig;
use super::error::{PreprocessError, Result};
use super::positions::{PositionSpan, mrope_positions};
use super::prompt::{PromptPart, PromptPiece, VisualKind, render};
use super::tokenize::PromptTokenizer;

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

/// A prompt as the language model reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoding {
    /// Token ids; the last is `<|endoftext|>`, whose hidden state is the embedding.
    pub input_ids: Vec<u32>,
    /// Rotary positions along time, height and width, each as long as `input_ids`.
    pub position_ids: [Vec<u32>; 3],
    /// Where the visual tokens lie, in the order of the parts.
    pub visual_spans: Vec<VisualSpan>,
    /// Tokens that were cut off the end to keep `max_length`.
    pub truncated_tokens: usize,
}

/// The visual tokens of one part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VisualSpan {
    /// Index of the part in the prompt.
    pub part_index: usize,
    /// Image or video.
    pub kind: VisualKind,
    /// Index of the first visual token in `input_ids`.
    pub start: usize,
    /// Number of visual tokens: `grid_thw` multiplied out, divided by `spatial_merge_size` squared.
    pub len: usize,
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
        let tokenizer = PromptTokenizer::load(model_dir, &prompt)?;
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
        let mut sequence = Sequence::default();
        for piece in &pieces {
            match piece {
                PromptPiece::Control(token) => {
                    sequence.push_text(&[self.tokenizer.control_id(*token)], self.prompt.max_length);
                }
                PromptPiece::Text(text) => {
                    self.tokenizer.encode(text, |ids| sequence.push_text(ids, self.prompt.max_length))?;
                }
                PromptPiece::Visual { part_index, kind, span } => {
                    let visual =
                        VisualSpan { part_index: *part_index, kind: *kind, start: 0, len: span.num_tokens() };
                    sequence.push_visual(visual, *span, self.tokenizer.pad_id(*kind), self.prompt.max_length);
                }
            }
        }
        let truncated_tokens = sequence.truncate(self.prompt.max_length)?;
        sequence.push_text(&[self.tokenizer.end_of_text_id()], self.prompt.max_length);
        Ok(Encoding {
            position_ids: mrope_positions(&sequence.spans, self.prompt.tokens_per_second)?,
            input_ids: sequence.ids,
            visual_spans: sequence.visuals,
            truncated_tokens,
        })
    }
}

/// A prompt under construction.
#[derive(Debug, Default)]
struct Sequence {
    ids: Vec<u32>,
    spans: Vec<PositionSpan>,
    visuals: Vec<VisualSpan>,
    /// Tokens that were counted but not stored because they can never fit.
    unstored: usize,
}

impl Sequence {
    fn push_text(&mut self, ids: &[u32], max_length: usize) {
        // Nothing may be stored behind what is not.
        let room = if self.unstored > 0 { 0 } else { max_length.saturating_sub(self.ids.len()) };
        let (stored, unstored) = ids.split_at(room.min(ids.len()));
        self.ids.extend_from_slice(stored);
        self.unstored = self.unstored.saturating_add(unstored.len());
        self.spans.push(PositionSpan::Text { len: ids.len() });
    }

    fn push_visual(&mut self, visual: VisualSpan, span: PositionSpan, pad_id: u32, max_length: usize) {
        let start = self.ids.len().saturating_add(self.unstored);
        if visual.len > max_length.saturating_sub(start) {
            self.unstored = self.unstored.saturating_add(visual.len);
        } else {
            self.ids.resize(self.ids.len() + visual.len, pad_id);
        }
        self.spans.push(span);
        self.visuals.push(VisualSpan { start, ..visual });
    }

    /// Cuts text off the end so that one more token fits into `max_length`, and returns how many tokens went.
    fn truncate(&mut self, max_length: usize) -> Result<usize> {
        let allowed = max_length.saturating_sub(1);
        if let Some(last) = self.visuals.last() {
            let end = last.start.saturating_add(last.len);
            if end > allowed {
                return Err(PreprocessError::VisualTokenLimit {
                    part_index: last.part_index,
                    needed_tokens: end.saturating_add(1),
                    allowed_tokens: max_length,
                });
            }
        }
        let truncated = self.ids.len().saturating_add(self.unstored).saturating_sub(allowed);
        self.unstored = 0;
        self.ids.truncate(allowed);
        let mut excess = truncated;
        for span in self.spans.iter_mut().rev() {
            let PositionSpan::Text { len } = span else { break };
            let cut = excess.min(*len);
            *len -= cut;
            excess -= cut;
        }
        Ok(truncated)
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
