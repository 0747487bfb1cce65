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
mod tests {
    use std::path::Path;

    use super::*;
    use crate::preprocess::{ProcessorKind, unknown_settings};
    use crate::recipe::Recipes;
    use serde_json::{Value, json};

    fn spelled(layout: &Layout, parts: &[PromptPart<'_>], instruction: Option<&str>) -> String {
        let spell = |piece: &PromptPiece| match piece {
            PromptPiece::Control(ControlToken::TurnStart) => "<|im_start|>".to_owned(),
            PromptPiece::Control(ControlToken::TurnEnd) => "<|im_end|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionStart) => "<|vision_start|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionEnd) => "<|vision_end|>".to_owned(),
            PromptPiece::Control(ControlToken::EndOfText) => "<|endoftext|>".to_owned(),
            PromptPiece::Text(text) => text.clone(),
            PromptPiece::Visual { kind, span, .. } => format!("[{kind:?} x {}]", span.num_tokens()),
        };
        layout.render(parts, instruction).unwrap().iter().map(spell).collect()
    }

    fn layout(steps: Steps) -> Layout {
        Layout { recipe: Recipe::default(), steps, spatial_merge_size: 2, temporal_patch_size: 2 }
    }

    #[test]
    fn the_template_keeps_the_order_of_parts() {
        let parts = [
            PromptPart::Text("first "),
            PromptPart::Text("words"),
            PromptPart::Video { grid_thw: [4, 6, 10], second_per_grid: 1.0, frame_seconds: &[] },
            PromptPart::Image { grid_thw: [1, 2, 2] },
            PromptPart::Text("last"),
        ];
        assert_eq!(
            spelled(&layout(Steps::Timed), &parts, Some("Find it.")),
            "<|im_start|>system\nFind it.<|im_end|>\n<|im_start|>user\nfirst words<|vision_start|>[Video x 60]\
             <|vision_end|><|vision_start|>[Image x 1]<|vision_end|>last<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    /// Where nothing is given, pictures and videos have the instruction of their kind in either template.
    #[test]
    fn instructions_of_pictures_hold_without_turns_too() {
        let recipe = Recipes::builtin().get("vlm2vec-v2").unwrap().recipe.clone();
        let layout = Layout { recipe, ..layout(Steps::Counted) };
        let video = PromptPart::Video { grid_thw: [4, 6, 10], second_per_grid: 1.0, frame_seconds: &[] };
        let image = PromptPart::Image { grid_thw: [1, 2, 2] };
        for (parts, instruction, expected) in [
            (&[video][..], None, "[Video x 60] Understand the content of the provided video."),
            (&[image], None, "[Image x 1] Represent the given image."),
            (&[image], Some("Find it."), "[Image x 1] Find it."),
            (&[PromptPart::Text("a dog")], None, "a dog"),
        ] {
            assert_eq!(spelled(&layout, parts, instruction), expected);
        }
    }

    #[test]
    fn text_beside_template_text_is_one_piece() {
        let pieces = layout(Steps::Timed).render(&[PromptPart::Text("\n a")], None).unwrap();
        assert!(pieces.contains(&PromptPiece::Text("user\n\n a".to_owned())));
    }

    #[test]
    fn bad_grids_and_timings_are_refused_by_part() {
        for grid_thw in [[0, 2, 2], [1, 0, 2], [1, 2, 3], [1, 3, 2]] {
            let parts = [PromptPart::Text("x"), PromptPart::Image { grid_thw }];
            assert!(matches!(
                layout(Steps::Timed).render(&parts, None),
                Err(PreprocessError::InvalidGrid { part_index: 1, .. })
            ));
        }
        for second_per_grid in [0.0, -1.0, f64::NAN] {
            let parts = [PromptPart::Video { grid_thw: [1, 2, 2], second_per_grid, frame_seconds: &[] }];
            assert!(matches!(
                layout(Steps::Timed).render(&parts, None),
                Err(PreprocessError::InvalidTiming { .. })
            ));
        }
    }

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        folder
    }

    #[test]
    fn unknown_keys_and_other_prompts_are_told_of() {
        let qwen = "{% set image_count = namespace(value=0) %}{% for message in messages %}{% if loop.first and message['role'] != 'system' %}\
            <|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}<|im_start|>{{ message['role'] }}\n\
            {% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}{% for content in message['content'] %}\
            {% if content['type'] == 'image' %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}\
            <|vision_start|><|image_pad|><|vision_end|>{% elif content['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>\
            {% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endif %}{% endfor %}\
            {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
        let told = |template: &str| {
            unknown_settings(
                folder(&[("chat_template.json", json!({"chat_template": template}))]).path(),
                ProcessorKind::VisualTokens,
                Some(&TEMPLATE),
            )
        };
        assert_eq!(told(qwen), [""; 0]);
        for other in [
            qwen.replace("a helpful", "an unhelpful"),
            qwen.replace("<|vision_end|>", ""),
            "{{ text }}".into(),
            format!("Query: {qwen}"),
        ] {
            assert!(
                matches!(told(&other).as_slice(), [line] if line.starts_with("chat_template.json")),
                "{other}"
            );
        }
        let strange = json!({"patch_size": 14, "sharpen": 0.5});
        let tokenizer = json!({"chat_template": qwen, "spell": "out"});
        let files = [("preprocessor_config.json", strange), ("tokenizer_config.json", tokenizer)];
        assert_eq!(
            unknown_settings(folder(&files).path(), ProcessorKind::VisualTokens, Some(&TEMPLATE)),
            ["preprocessor_config.json: key `sharpen`", "tokenizer_config.json: key `spell`"]
        );
        for model in ["tests/golden/tiny-a/model", "assets/nano"] {
            assert_eq!(
                unknown_settings(
                    &Path::new(env!("CARGO_MANIFEST_DIR")).join(model),
                    ProcessorKind::VisualTokens,
                    Some(&TEMPLATE)
                ),
                [""; 0]
            );
        }
    }
}
