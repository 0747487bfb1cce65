//! The chat template: which pieces a prompt is made of, before any of them is a number.

use super::error::{PreprocessError, Result};
use super::positions::PositionSpan;

/// System turn where no instruction is given.
pub const DEFAULT_INSTRUCTION: &str = "You are a helpful assistant.";

/// The same layout for transformers, as a checkpoint's chat template.
pub(crate) const CHAT_TEMPLATE: &str = "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}\
<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n\
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}\
<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\
<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// One part of what is embedded. Parts keep the order in which they are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum PromptPart<'a> {
    /// Text. Spellings of special tokens in it, such as `<|im_end|>`, are ordinary text.
    Text(&'a str),
    /// An image, by the grid of its patches ([`VisualPatches::grid_thw`](super::VisualPatches::grid_thw)).
    Image {
        /// Patches along time, height and width.
        grid_thw: [usize; 3],
    },
    /// A video, by the grid of its patches.
    Video {
        /// Patches along time, height and width.
        grid_thw: [usize; 3],
        /// Seconds between steps in time,
        /// [`ImageProcessorConfig::second_per_grid`](super::ImageProcessorConfig::second_per_grid).
        second_per_grid: f64,
    },
}

/// Whether visual tokens belong to an image or to a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VisualKind {
    /// Expanded from `<|image_pad|>`.
    Image,
    /// Expanded from `<|video_pad|>`.
    Video,
}

/// Tokens that only the template may set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ControlToken {
    TurnStart,
    TurnEnd,
    VisionStart,
    VisionEnd,
}

/// A piece of a rendered prompt. Text between two tokens is one piece, so that it is tokenised as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PromptPiece {
    Control(ControlToken),
    Text(String),
    Visual { part_index: usize, kind: VisualKind, span: PositionSpan },
}

/// Lays `parts` out as the checkpoint's chat template does for a system turn, a user turn and the start of the answer.
/// A missing or empty `instruction` gives [`DEFAULT_INSTRUCTION`].
pub(super) fn render(
    parts: &[PromptPart<'_>],
    instruction: Option<&str>,
    spatial_merge_size: usize,
) -> Result<Vec<PromptPiece>> {
    let system = instruction.filter(|text| !text.is_empty()).unwrap_or(DEFAULT_INSTRUCTION);
    let mut prompt = Rendering { pieces: Vec::new(), text: String::new() };
    prompt.control(ControlToken::TurnStart);
    prompt.text.push_str("system\n");
    prompt.text.push_str(system);
    prompt.control(ControlToken::TurnEnd);
    prompt.text.push('\n');
    prompt.control(ControlToken::TurnStart);
    prompt.text.push_str("user\n");
    for (part_index, part) in parts.iter().enumerate() {
        let (kind, grid_thw, second_per_grid) = match *part {
            PromptPart::Text(text) => {
                prompt.text.push_str(text);
                continue;
            }
            PromptPart::Image { grid_thw } => (VisualKind::Image, grid_thw, 0.0),
            PromptPart::Video { grid_thw, second_per_grid } => {
                (VisualKind::Video, grid_thw, checked_duration(second_per_grid)?)
            }
        };
        let token_grid_thw = merged_grid(part_index, grid_thw, spatial_merge_size)?;
        prompt.control(ControlToken::VisionStart);
        let span = PositionSpan::Visual { token_grid_thw, second_per_grid };
        prompt.pieces.push(PromptPiece::Visual { part_index, kind, span });
        prompt.control(ControlToken::VisionEnd);
    }
    prompt.control(ControlToken::TurnEnd);
    prompt.text.push('\n');
    prompt.control(ControlToken::TurnStart);
    prompt.text.push_str("assistant\n");
    prompt.end_text();
    Ok(prompt.pieces)
}

struct Rendering {
    pieces: Vec<PromptPiece>,
    /// Text since the last token.
    text: String,
}

impl Rendering {
    fn control(&mut self, token: ControlToken) {
        self.end_text();
        self.pieces.push(PromptPiece::Control(token));
    }

    fn end_text(&mut self) {
        if !self.text.is_empty() {
            self.pieces.push(PromptPiece::Text(std::mem::take(&mut self.text)));
        }
    }
}

fn checked_duration(second_per_grid: f64) -> Result<f64> {
    if second_per_grid.is_finite() && second_per_grid > 0.0 {
        return Ok(second_per_grid);
    }
    Err(PreprocessError::InvalidTiming { field: "second_per_grid", got: second_per_grid })
}

fn merged_grid(part_index: usize, grid_thw: [usize; 3], spatial_merge_size: usize) -> Result<[usize; 3]> {
    let [steps, rows, columns] = grid_thw;
    let divides = |side: usize| side > 0 && side.checked_rem(spatial_merge_size) == Some(0);
    if steps == 0 || !divides(rows) || !divides(columns) {
        return Err(PreprocessError::InvalidGrid { part_index, grid_thw, spatial_merge_size });
    }
    Ok([steps, rows / spatial_merge_size, columns / spatial_merge_size])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(parts: &[PromptPart<'_>], instruction: Option<&str>) -> String {
        let spell = |piece: &PromptPiece| match piece {
            PromptPiece::Control(ControlToken::TurnStart) => "<|im_start|>".to_owned(),
            PromptPiece::Control(ControlToken::TurnEnd) => "<|im_end|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionStart) => "<|vision_start|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionEnd) => "<|vision_end|>".to_owned(),
            PromptPiece::Text(text) => text.clone(),
            PromptPiece::Visual { kind, span, .. } => format!("[{kind:?} x {}]", span.num_tokens()),
        };
        render(parts, instruction, 2).unwrap().iter().map(spell).collect()
    }

    #[test]
    fn the_template_keeps_the_order_of_parts() {
        let parts = [
            PromptPart::Text("first "),
            PromptPart::Text("words"),
            PromptPart::Video { grid_thw: [4, 6, 10], second_per_grid: 1.0 },
            PromptPart::Image { grid_thw: [1, 2, 2] },
            PromptPart::Text("last"),
        ];
        assert_eq!(
            spelled(&parts, Some("Find it.")),
            "<|im_start|>system\nFind it.<|im_end|>\n<|im_start|>user\nfirst words<|vision_start|>[Video x 60]\
             <|vision_end|><|vision_start|>[Image x 1]<|vision_end|>last<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn no_instruction_gives_the_default_system_turn() {
        for instruction in [None, Some("")] {
            assert_eq!(
                spelled(&[], instruction),
                "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n<|im_end|>\n\
                 <|im_start|>assistant\n"
            );
        }
    }

    #[test]
    fn text_beside_template_text_is_one_piece() {
        let pieces = render(&[PromptPart::Text("\n a")], None, 2).unwrap();
        assert!(pieces.contains(&PromptPiece::Text("user\n\n a".to_owned())));
    }

    #[test]
    fn bad_grids_and_timings_are_refused_by_part() {
        for grid_thw in [[0, 2, 2], [1, 0, 2], [1, 2, 3], [1, 3, 2]] {
            let parts = [PromptPart::Text("x"), PromptPart::Image { grid_thw }];
            assert!(matches!(
                render(&parts, None, 2),
                Err(PreprocessError::InvalidGrid { part_index: 1, .. })
            ));
        }
        for second_per_grid in [0.0, -1.0, f64::NAN] {
            let parts = [PromptPart::Video { grid_thw: [1, 2, 2], second_per_grid }];
            assert!(matches!(render(&parts, None, 2), Err(PreprocessError::InvalidTiming { .. })));
        }
    }
}
