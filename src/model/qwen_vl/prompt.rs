//! The chat template: which pieces a prompt is made of, before any of them is a number.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{Result, Steps};
use crate::preprocess::{
    ChatTemplate, ControlToken, PositionSpan, PreprocessError, PromptPart, PromptPiece, Rendering, VisualKind,
};
use crate::recipe::{EndOfText, FramesAs, InstructionPlace, PartOrder, Recipe, Reranking, Template};

/// The layout for transformers, and what tells it from others'.
pub(crate) const TEMPLATE: ChatTemplate = ChatTemplate {
    family: "Qwen2.5-VL",
    jinja: "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}\
<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n\
{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}\
{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% elif part['type'] == 'video' %}\
<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\
<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    every_prompt: &[
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>",
        "<|vision_start|><|image_pad|><|vision_end|>",
        "<|vision_start|><|video_pad|><|vision_end|>",
        "<|im_start|>assistant\n",
    ],
    on_demand: &[
        "<|im_end|>\n",
        // Numbers of pictures, which are off unless a caller asks for them.
        "Picture ",
        "Video ",
        ": ",
        "\n",
    ],
};

/// Texts that end in punctuation.
static PUNCTUATED: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\p{P}\z").ok());

/// How the prompts of a checkpoint are laid out.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) recipe: Recipe,
    pub(super) steps: Steps,
    pub(super) spatial_merge_size: usize,
    pub(super) temporal_patch_size: usize,
}

impl Layout {
    /// The pieces of the prompt of `parts` under `instruction`, up to where `<|endoftext|>` may stand.
    pub(super) fn render(
        &self,
        parts: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<Vec<PromptPiece>> {
        let mut prompt = Rendering::default();
        match self.recipe.prompt.template {
            Template::Bare => self.bare(&mut prompt, parts, instruction)?,
            _ => self.chat(&mut prompt, parts, instruction)?,
        }
        if self.recipe.prompt.end_of_text == EndOfText::Cut {
            prompt.control(ControlToken::EndOfText);
        }
        Ok(prompt.finish())
    }

    /// A system turn, a user's turn and the start of an answer.
    fn chat(
        &self,
        prompt: &mut Rendering,
        parts: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<()> {
        let recipe = &self.recipe.prompt;
        let given = self.given(instruction);
        let default = self.default_instruction(parts);
        let (system, in_front) = match recipe.instruction_in {
            InstructionPlace::User => (default, given),
            _ => (given.unwrap_or(default), None),
        };
        begin_user_turn(prompt, &system);
        let mut in_front = in_front.as_deref();
        for index in self.order(parts) {
            match parts[index] {
                PromptPart::Text(text) => {
                    prompt.text(in_front.take().unwrap_or_default());
                    prompt.text(text);
                }
                _ => self.picture(prompt, index, &parts[index], true)?,
            }
        }
        prompt.text(in_front.unwrap_or_default());
        if parts.is_empty() {
            prompt.text(recipe.empty_input.as_deref().unwrap_or_default());
        }
        if let Some(closing) = &recipe.closing {
            prompt.text(&closing.replace("{parts}", &names(parts)));
        }
        begin_answer(prompt);
        Ok(())
    }

    /// The pieces of the prompt of a query and a candidate, whose parts are numbered on from the query's.
    pub(super) fn render_pair(
        &self,
        reranking: &Reranking,
        query: &[PromptPart<'_>],
        candidate: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<Vec<PromptPiece>> {
        let mut prompt = Rendering::default();
        begin_user_turn(&mut prompt, &self.recipe.instruction);
        prompt.text(&reranking.instruct);
        prompt.text(instruction.filter(|text| !text.is_empty()).unwrap_or(&reranking.instruction));
        let sides = [(&reranking.query, query, 0), (&reranking.candidate, candidate, query.len())];
        for (heading, parts, first) in sides {
            prompt.text(heading);
            for index in self.order(parts) {
                match parts[index] {
                    PromptPart::Text(text) => prompt.text(text),
                    _ => self.picture(&mut prompt, first + index, &parts[index], true)?,
                }
            }
            if parts.is_empty() {
                prompt.text(self.recipe.prompt.empty_input.as_deref().unwrap_or_default());
            }
        }
        begin_answer(&mut prompt);
        Ok(prompt.finish())
    }

    /// Placeholders, instruction and texts, as far as they say something, a space between each.
    fn bare(
        &self,
        prompt: &mut Rendering,
        parts: &[PromptPart<'_>],
        instruction: Option<&str>,
    ) -> Result<()> {
        let default = self.default_instruction(parts);
        let mut instruction =
            Some(self.given(instruction).unwrap_or(default)).filter(|text| !text.is_empty());
        let mut is_first = true;
        let mut separated = |prompt: &mut Rendering, text: &str| {
            if !std::mem::take(&mut is_first) {
                prompt.text(" ");
            }
            prompt.text(text);
        };
        for index in self.order(parts) {
            match parts[index] {
                PromptPart::Text(text) => {
                    for text in [instruction.take().unwrap_or_default().as_ref(), text] {
                        if !text.is_empty() {
                            separated(prompt, text);
                        }
                    }
                }
                _ => {
                    separated(prompt, "");
                    self.picture(prompt, index, &parts[index], false)?;
                }
            }
        }
        if let Some(instruction) = instruction {
            separated(prompt, &instruction);
        }
        Ok(())
    }

    /// What stands in the place of an instruction.
    fn default_instruction(&self, parts: &[PromptPart<'_>]) -> Cow<'_, str> {
        let has = |is_kind: fn(&PromptPart<'_>) -> bool| parts.iter().any(is_kind);
        let of_pictures = &self.recipe.prompt.instruction_of;
        let own = if has(|part| matches!(part, PromptPart::Video { .. })) {
            of_pictures.video.as_deref()
        } else if has(|part| matches!(part, PromptPart::Image { .. })) {
            of_pictures.image.as_deref()
        } else {
            None
        };
        Cow::Borrowed(own.unwrap_or(&self.recipe.instruction))
    }

    /// The instruction of an input, if it has one that says something.
    fn given<'a>(&self, instruction: Option<&'a str>) -> Option<Cow<'a, str>> {
        let text = instruction?;
        if !self.recipe.prompt.close_instruction {
            return Some(text).filter(|text| !text.is_empty()).map(Cow::Borrowed);
        }
        // What Python strips.
        let text = text.trim_matches(|c: char| c.is_whitespace() || ('\x1c'..='\x1f').contains(&c));
        match (text, PUNCTUATED.as_ref()) {
            ("", _) => None,
            (text, Some(punctuated)) if punctuated.is_match(text) => Some(Cow::Borrowed(text)),
            (text, _) => Some(Cow::Owned(format!("{text}."))),
        }
    }

    /// The places of parts in the prompt.
    fn order(&self, parts: &[PromptPart<'_>]) -> Vec<usize> {
        let rank = |index: &usize| match (self.recipe.prompt.order, &parts[*index]) {
            (PartOrder::MediaFirst, PromptPart::Image { .. } | PromptPart::Video { .. }) => 0,
            (PartOrder::VideosFirst, PromptPart::Video { .. }) => 0,
            (PartOrder::VideosFirst, PromptPart::Image { .. }) => 1,
            (PartOrder::MediaFirst | PartOrder::VideosFirst, PromptPart::Text(_)) => 2,
            _ => 0,
        };
        let mut order: Vec<usize> = (0..parts.len()).collect();
        order.sort_by_key(rank);
        order
    }

    /// The placeholders of an image or a video, with marks around them where the template has these.
    fn picture(
        &self,
        prompt: &mut Rendering,
        part_index: usize,
        part: &PromptPart<'_>,
        marked: bool,
    ) -> Result<()> {
        let mut block = |kind, token_grid_thw, second_per_grid, stamp: &str| {
            prompt.text(stamp);
            if marked {
                prompt.control(ControlToken::VisionStart);
            }
            let span = PositionSpan::Visual { token_grid_thw, second_per_grid };
            prompt.visual(part_index, kind, span);
            if marked {
                prompt.control(ControlToken::VisionEnd);
            }
        };
        match *part {
            PromptPart::Text(_) => {}
            PromptPart::Image { grid_thw } => {
                block(VisualKind::Image, self.merged_grid(part_index, grid_thw)?, 0.0, "");
            }
            PromptPart::Video { grid_thw, second_per_grid, frame_seconds } => {
                let grid @ [steps, rows, columns] = self.merged_grid(part_index, grid_thw)?;
                let step = [1, rows, columns];
                match self.steps {
                    _ if self.recipe.pictures.frames_as == FramesAs::Images => {
                        (0..steps).for_each(|_| block(VisualKind::Image, step, 0.0, ""));
                    }
                    Steps::Timed => block(VisualKind::Video, grid, checked_duration(second_per_grid)?, ""),
                    Steps::Counted => block(VisualKind::Video, grid, 1.0, ""),
                    Steps::Stamped => {
                        for stamp in self.stamps(steps, frame_seconds)? {
                            block(VisualKind::Video, step, 0.0, &stamp);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The time of each step in words: that between its first and its last frame.
    fn stamps(&self, steps: usize, frame_seconds: &[f64]) -> Result<Vec<String>> {
        if let Some(&bad) = frame_seconds.iter().find(|seconds| !(seconds.is_finite() && **seconds >= 0.0)) {
            return Err(PreprocessError::InvalidTiming { field: "frame_seconds", got: bad });
        }
        let stamps: Vec<String> = frame_seconds
            .chunks(self.temporal_patch_size)
            .map(|frames| match (frames.first(), frames.last()) {
                (Some(first), Some(last)) => format!("<{:.1} seconds>", (first + last) / 2.0),
                _ => String::new(),
            })
            .collect();
        if stamps.len() != steps {
            let got = frame_seconds.len() as f64;
            return Err(PreprocessError::InvalidTiming { field: "number of frame_seconds", got });
        }
        Ok(stamps)
    }

    fn merged_grid(&self, part_index: usize, grid_thw: [usize; 3]) -> Result<[usize; 3]> {
        let spatial_merge_size = self.spatial_merge_size;
        let [steps, rows, columns] = grid_thw;
        let divides = |side: usize| side > 0 && side.checked_rem(spatial_merge_size) == Some(0);
        if steps == 0 || !divides(rows) || !divides(columns) {
            return Err(PreprocessError::InvalidGrid { part_index, grid_thw, spatial_merge_size });
        }
        Ok([steps, rows / spatial_merge_size, columns / spatial_merge_size])
    }
}

/// The system turn, and the beginning of the user's.
fn begin_user_turn(prompt: &mut Rendering, system: &str) {
    prompt.control(ControlToken::TurnStart);
    prompt.text("system\n");
    prompt.text(system);
    prompt.control(ControlToken::TurnEnd);
    prompt.text("\n");
    prompt.control(ControlToken::TurnStart);
    prompt.text("user\n");
}

/// The end of the user's turn, and the beginning of an answer.
fn begin_answer(prompt: &mut Rendering) {
    prompt.control(ControlToken::TurnEnd);
    prompt.text("\n");
    prompt.control(ControlToken::TurnStart);
    prompt.text("assistant\n");
}

fn checked_duration(second_per_grid: f64) -> Result<f64> {
    if second_per_grid.is_finite() && second_per_grid > 0.0 {
        return Ok(second_per_grid);
    }
    Err(PreprocessError::InvalidTiming { field: "second_per_grid", got: second_per_grid })
}

/// What there is among `parts`, in words.
fn names(parts: &[PromptPart<'_>]) -> String {
    let name = |part: &PromptPart<'_>| match part {
        PromptPart::Text(_) => "sentence",
        PromptPart::Image { .. } => "image",
        PromptPart::Video { .. } => "video",
    };
    let there = |wanted: &&str| parts.iter().any(|part| name(part) == *wanted);
    ["sentence", "image", "video"].into_iter().filter(there).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests;
