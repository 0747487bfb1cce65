//! From the pieces of a prompt to token ids within a longest sequence.

use super::error::{PreprocessError, Result};
use super::prompt::{ControlToken, PositionSpan, PromptPiece, VisualKind};
use super::tokenize::PromptTokenizer;

/// A prompt as the language model reads it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Encoding {
    /// Token ids. Of GVE the last is `<|endoftext|>`, whose hidden state is the embedding.
    pub input_ids: Vec<u32>,
    /// Rotary positions along time, height and width, each as long as `input_ids`.
    pub position_ids: [Vec<u32>; 3],
    /// Where the visual tokens lie, in the order of the parts.
    pub visual_spans: Vec<VisualSpan>,
    /// Tokens that were cut off the end to keep `max_length`.
    pub truncated_tokens: usize,
}

impl Encoding {
    /// Without the first `tokens`, and without visual ones that begin among them.
    pub(crate) fn skip(&mut self, tokens: usize) {
        self.input_ids.drain(..tokens.min(self.input_ids.len()));
        for axis in &mut self.position_ids {
            axis.drain(..tokens.min(axis.len()));
        }
        self.visual_spans.retain(|span| span.start >= tokens);
        for span in &mut self.visual_spans {
            span.start -= tokens;
        }
    }
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

/// A prompt under construction.
#[derive(Debug, Default)]
pub(crate) struct Sequence {
    /// Token ids, cut to length; those of visual tokens are placeholders.
    pub(crate) ids: Vec<u32>,
    /// The same as runs that are numbered as one.
    pub(crate) spans: Vec<PositionSpan>,
    /// Where the visual tokens lie.
    pub(crate) visuals: Vec<VisualSpan>,
    /// Tokens that were cut off the end.
    pub(crate) truncated_tokens: usize,
    /// Tokens that were counted but not stored because they can never fit.
    unstored: usize,
}

impl Sequence {
    /// The tokens of `pieces` within `max_length`, and where `append_end_of_text` is set `<|endoftext|>`
    /// behind what is left of them.
    ///
    /// # Errors
    /// [`PreprocessError::VisualTokenLimit`] where the cut would lose visual tokens, and what the tokenizer
    /// says.
    pub(crate) fn of(
        pieces: &[PromptPiece],
        tokenizer: &PromptTokenizer,
        max_length: usize,
        append_end_of_text: bool,
    ) -> Result<Self> {
        let mut sequence = Self::default();
        for piece in pieces {
            match piece {
                PromptPiece::Control(token) => {
                    sequence.push_text(&[tokenizer.control_id(*token)], max_length);
                }
                PromptPiece::Text(text) => {
                    tokenizer.encode(text, |ids| sequence.push_text(ids, max_length))?;
                }
                PromptPiece::Visual { part_index, kind, span } => {
                    let visual =
                        VisualSpan { part_index: *part_index, kind: *kind, start: 0, len: span.num_tokens() };
                    sequence.push_visual(visual, *span, tokenizer.pad_id(*kind), max_length);
                }
            }
        }
        let appended: &[u32] =
            if append_end_of_text { &[tokenizer.control_id(ControlToken::EndOfText)] } else { &[] };
        sequence.truncated_tokens = sequence.truncate(max_length, appended.len())?;
        sequence.push_text(appended, max_length);
        Ok(sequence)
    }

    /// The tokens of `pieces`, of which all but the end, from where the last turn ends, is cut to `max_length`
    /// in the manner of Qwen3-VL-Reranker: control tokens and visual ones stay, and text is left out behind as
    /// much of it as has room beside them.
    ///
    /// # Errors
    /// [`PreprocessError::VisualTokenLimit`] where control tokens and visual ones alone are too many, and what
    /// the tokenizer says.
    pub(crate) fn keeping_end(
        pieces: &[PromptPiece],
        tokenizer: &PromptTokenizer,
        max_length: usize,
    ) -> Result<Self> {
        let is_end = |piece: &PromptPiece| *piece == PromptPiece::Control(ControlToken::TurnEnd);
        let cut = pieces.iter().rposition(is_end).unwrap_or(pieces.len());
        let (mut kept, mut last_visual) = (0_usize, 0);
        for piece in &pieces[..cut] {
            match piece {
                PromptPiece::Control(_) => kept = kept.saturating_add(1),
                PromptPiece::Text(_) => {}
                PromptPiece::Visual { part_index, span, .. } => {
                    (kept, last_visual) = (kept.saturating_add(span.num_tokens()), *part_index);
                }
            }
        }
        let Some(mut room) = max_length.checked_sub(kept) else {
            return Err(PreprocessError::VisualTokenLimit {
                part_index: last_visual,
                needed_tokens: kept,
                allowed_tokens: max_length,
            });
        };
        let mut sequence = Self::default();
        for (index, piece) in pieces.iter().enumerate() {
            match piece {
                PromptPiece::Control(token) => {
                    sequence.push_text(&[tokenizer.control_id(*token)], usize::MAX);
                }
                PromptPiece::Text(text) if index > cut => {
                    tokenizer.encode(text, |ids| sequence.push_text(ids, usize::MAX))?;
                }
                PromptPiece::Text(text) => tokenizer.encode(text, |ids| {
                    let fit = ids.len().min(room);
                    room -= fit;
                    sequence.truncated_tokens += ids.len() - fit;
                    sequence.push_text(&ids[..fit], usize::MAX);
                })?,
                PromptPiece::Visual { part_index, kind, span } => {
                    let visual =
                        VisualSpan { part_index: *part_index, kind: *kind, start: 0, len: span.num_tokens() };
                    sequence.push_visual(visual, *span, tokenizer.pad_id(*kind), usize::MAX);
                }
            }
        }
        Ok(sequence)
    }

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

    /// Cuts text off the end so that `more` tokens fit into `max_length`, and returns how many tokens went.
    fn truncate(&mut self, max_length: usize, more: usize) -> Result<usize> {
        let allowed = max_length.saturating_sub(more);
        if let Some(last) = self.visuals.last() {
            let end = last.start.saturating_add(last.len);
            if end > allowed {
                return Err(PreprocessError::VisualTokenLimit {
                    part_index: last.part_index,
                    needed_tokens: end.saturating_add(more),
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
