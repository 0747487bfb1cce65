//! The chat template: which pieces a prompt is made of, before any of them is a number.

use super::Result;
use crate::preprocess::{
    ChatTemplate, ControlToken, PositionSpan, PreprocessError, PromptPart, PromptPiece, Rendering, VisualKind,
};

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

/// Lays `parts` out as the checkpoint's chat template does for a system turn, a user turn and the start of
/// the answer.
pub(super) fn render(
    parts: &[PromptPart<'_>],
    system: &str,
    spatial_merge_size: usize,
) -> Result<Vec<PromptPiece>> {
    let mut prompt = Rendering::default();
    prompt.control(ControlToken::TurnStart);
    prompt.text("system\n");
    prompt.text(system);
    prompt.control(ControlToken::TurnEnd);
    prompt.text("\n");
    prompt.control(ControlToken::TurnStart);
    prompt.text("user\n");
    for (part_index, part) in parts.iter().enumerate() {
        let (kind, grid_thw, second_per_grid) = match *part {
            PromptPart::Text(text) => {
                prompt.text(text);
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
        prompt.visual(part_index, kind, span);
        prompt.control(ControlToken::VisionEnd);
    }
    prompt.control(ControlToken::TurnEnd);
    prompt.text("\n");
    prompt.control(ControlToken::TurnStart);
    prompt.text("assistant\n");
    Ok(prompt.finish())
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
    use std::path::Path;

    use super::*;
    use crate::preprocess::unknown_settings;
    use serde_json::{Value, json};

    fn spelled(parts: &[PromptPart<'_>], system: &str) -> String {
        let spell = |piece: &PromptPiece| match piece {
            PromptPiece::Control(ControlToken::TurnStart) => "<|im_start|>".to_owned(),
            PromptPiece::Control(ControlToken::TurnEnd) => "<|im_end|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionStart) => "<|vision_start|>".to_owned(),
            PromptPiece::Control(ControlToken::VisionEnd) => "<|vision_end|>".to_owned(),
            PromptPiece::Text(text) => text.clone(),
            PromptPiece::Visual { kind, span, .. } => format!("[{kind:?} x {}]", span.num_tokens()),
        };
        render(parts, system, 2).unwrap().iter().map(spell).collect()
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
            spelled(&parts, "Find it."),
            "<|im_start|>system\nFind it.<|im_end|>\n<|im_start|>user\nfirst words<|vision_start|>[Video x 60]\
             <|vision_end|><|vision_start|>[Image x 1]<|vision_end|>last<|im_end|>\n<|im_start|>assistant\n"
        );
    }

    #[test]
    fn text_beside_template_text_is_one_piece() {
        let pieces = render(&[PromptPart::Text("\n a")], "Find it.", 2).unwrap();
        assert!(pieces.contains(&PromptPiece::Text("user\n\n a".to_owned())));
    }

    #[test]
    fn bad_grids_and_timings_are_refused_by_part() {
        for grid_thw in [[0, 2, 2], [1, 0, 2], [1, 2, 3], [1, 3, 2]] {
            let parts = [PromptPart::Text("x"), PromptPart::Image { grid_thw }];
            assert!(matches!(
                render(&parts, "Find it.", 2),
                Err(PreprocessError::InvalidGrid { part_index: 1, .. })
            ));
        }
        for second_per_grid in [0.0, -1.0, f64::NAN] {
            let parts = [PromptPart::Video { grid_thw: [1, 2, 2], second_per_grid }];
            assert!(matches!(render(&parts, "Find it.", 2), Err(PreprocessError::InvalidTiming { .. })));
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
            unknown_settings(folder(&files).path(), Some(&TEMPLATE)),
            ["preprocessor_config.json: key `sharpen`", "tokenizer_config.json: key `spell`"]
        );
        for model in ["tests/golden/tiny-a/model", "assets/nano"] {
            assert_eq!(
                unknown_settings(&Path::new(env!("CARGO_MANIFEST_DIR")).join(model), Some(&TEMPLATE)),
                [""; 0]
            );
        }
    }
}
