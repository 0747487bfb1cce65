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
