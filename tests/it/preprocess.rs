//! The preprocessing room against the reference: every golden case, and fixtures for resizing, positions and
//! text.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gve::model::qwen_vl::{Config, Preprocessor, mrope_positions};
use gve::model::qwen2_5_vl::PIXEL_BUDGET;
use gve::preprocess::{
    Encoding, Filter, ImageLimits, ImageProcessorConfig, Patchifier, PixelBounds, PixelSize, Placement,
    PositionSpan, PreprocessError, PromptPart, Resizer, Rounding, VisualKind, VisualPatches, load_image,
    patchify_image, smart_resize,
};
use gve::recipe::Recipe;
use gve_test_support::golden::{fixture_dirs, golden_dir};
use safetensors::SafeTensors;
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// A golden directory: a checkpoint and the cases that were run through the reference.
struct GoldenSet {
    dir: PathBuf,
    preprocessor: Preprocessor,
    cases: Vec<Value>,
}

/// Sizes of the clips, whose frames most cases do not hold.
const CLIPS: [(&str, PixelSize); 3] = [
    ("bunny.mp4", PixelSize::new(1280, 720)),
    ("testsrc.mp4", PixelSize::new(320, 180)),
    ("ntsc.mp4", PixelSize::new(352, 240)),
];

impl GoldenSet {
    fn load(dir: PathBuf) -> Self {
        let model = dir.join("model");
        let preprocessor = Preprocessor::load(&model, &config(&model), Recipe::default()).unwrap();
        let cases = json(&dir.join("cases.json")).as_array().unwrap().clone();
        Self { dir, preprocessor, cases }
    }

    fn tensors(&self, case: &Value) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
        let name = case["name"].as_str().unwrap();
        let bytes = std::fs::read(self.dir.join(format!("cases/{name}.safetensors"))).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        file.tensors()
            .into_iter()
            .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
            .collect()
    }

    fn encode(&self, case: &Value) -> (Encoding, Vec<VisualPatches>) {
        let config = self.preprocessor.image_processor();
        let content = case["content"].as_array().unwrap();
        let mut parts = Vec::new();
        let mut images = Vec::new();
        for part in content {
            let (min, max) = (part["min_pixels"].as_u64(), part["max_pixels"].as_u64());
            if let Some(text) = part["text"].as_str() {
                parts.push(PromptPart::Text(text));
            } else if let Some(name) = part["image"].as_str() {
                let image =
                    load_image(golden_dir().join("media").join(name), &ImageLimits::default()).unwrap();
                let patches =
                    patchify_image(config, &image, PIXEL_BUDGET.for_image(min, max).unwrap()).unwrap();
                parts.push(PromptPart::Image { grid_thw: patches.grid_thw });
                images.push(patches);
            } else {
                let num_frames = part["frame_indices"].as_array().unwrap().len();
                let bounds = PIXEL_BUDGET.for_video(min, max, None, num_frames).unwrap();
                let name = part["video"].as_str().unwrap();
                let size = CLIPS.iter().find(|(clip, _)| *clip == name).unwrap().1;
                let target = gve::preprocess::target_size(size, bounds, config).unwrap();
                let grid_thw =
                    [num_frames.div_ceil(2), target.height as usize / 14, target.width as usize / 14];
                let second_per_grid = config.second_per_grid(part["sample_fps"].as_f64().unwrap()).unwrap();
                parts.push(PromptPart::Video { grid_thw, second_per_grid, frame_seconds: &[] });
            }
        }
        (self.preprocessor.encode(&parts, case["system"].as_str()).unwrap(), images)
    }
}

fn golden_sets() -> Vec<GoldenSet> {
    fixture_dirs().into_iter().map(GoldenSet::load).collect()
}

fn config(model: &Path) -> Config {
    Config::load(model).unwrap()
}

fn tiny(max_length: usize) -> Preprocessor {
    let model = golden_dir().join("tiny-a/model");
    Preprocessor::load(&model, &config(&model), within(max_length)).unwrap()
}

fn within(max_length: usize) -> Recipe {
    let mut recipe = Recipe::default();
    recipe.max_length = max_length;
    recipe
}

fn numbers<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.chunks_exact(N).map(|chunk| read(chunk.try_into().unwrap())).collect()
}

fn ids(bytes: &[u8]) -> Vec<u32> {
    numbers(bytes, i64::from_le_bytes).into_iter().map(|id| u32::try_from(id).unwrap()).collect()
}

/// Largest and mean absolute difference, and the largest in 8-bit levels.
fn difference(config: &ImageProcessorConfig, got: &[f32], expected: &[f32]) -> (f32, f64, f64) {
    assert_eq!(got.len(), expected.len());
    let gaps = || got.iter().zip(expected).map(|(a, b)| (a - b).abs());
    let largest = gaps().fold(0.0, f32::max);
    let mean = gaps().map(f64::from).sum::<f64>() / got.len() as f64;
    let level = config.rescale_factor() / config.image_std().into_iter().fold(0.0f32, f32::max) as f64;
    (largest, mean, f64::from(largest) / level)
}

#[test]
fn ids_positions_and_grids_equal_the_reference() {
    for set in golden_sets() {
        assert_eq!(set.cases.len(), 14);
        for case in &set.cases {
            let name = case["name"].as_str().unwrap();
            let tensors = set.tensors(case);
            let (encoding, images) = set.encode(case);
            assert_eq!(encoding.input_ids, ids(&tensors["input_ids"].1), "{name}: input_ids");
            let (shape, expected) = &tensors["position_ids"];
            assert_eq!(shape, &[3, encoding.input_ids.len()]);
            assert_eq!(encoding.position_ids.concat(), ids(expected), "{name}: position_ids");
            let grids: Vec<_> = images.iter().map(|patches| patches.grid_thw).collect();
            if let Some(expected) = case["image_grid_thw"].as_array() {
                assert_eq!(
                    serde_json::to_value(&grids).unwrap(),
                    Value::from(expected.clone()),
                    "{name}: grids"
                );
            }
            let pads: usize = encoding.visual_spans.iter().map(|span| span.len).sum();
            let grids = case["image_grid_thw"].as_array().or(case["video_grid_thw"].as_array());
            let patches =
                |grid: &Value| grid.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).product::<u64>();
            assert_eq!(
                pads as u64 * 4,
                grids.map_or(0, |grids| grids.iter().map(patches).sum()),
                "{name}: pads"
            );
            for span in &encoding.visual_spans {
                let pad = config(&set.dir.join("model"));
                let pad =
                    if span.kind == VisualKind::Image { pad.image_token_id } else { pad.video_token_id };
                assert!(encoding.input_ids[span.start..span.start + span.len].iter().all(|&id| id == pad));
            }
            assert_eq!(encoding.truncated_tokens, 0);
        }
    }
}

#[test]
fn image_pixels_equal_the_reference() {
    for set in golden_sets() {
        let case = set.cases.iter().find(|case| case["name"] == "image").unwrap();
        let expected = numbers(&set.tensors(case)["pixel_values"].1, f32::from_le_bytes);
        let (_, images) = set.encode(case);
        let config = set.preprocessor.image_processor();
        let (largest, mean, levels) = difference(config, &images[0].pixel_values, &expected);
        eprintln!("image: largest difference {largest} ({levels:.2} levels), mean {mean}");
        assert!(levels < 1.2 && mean < 2e-3, "largest {largest}, mean {mean}");
    }
}

#[test]
fn video_pixels_equal_the_reference() {
    for set in golden_sets() {
        let mut with_frames = 0;
        for case in &set.cases {
            let tensors = set.tensors(case);
            let Some((shape, frames)) = tensors.get("frames") else { continue };
            with_frames += 1;
            let name = &case["name"];
            let [num_frames, height, width, 3] = shape[..] else { panic!("frames are {shape:?}") };
            let max = case["content"][0]["max_pixels"].as_u64();
            let bounds = PIXEL_BUDGET.for_video(None, max, None, num_frames).unwrap();
            let config = set.preprocessor.image_processor();
            let mut patchifier = Patchifier::new(config, bounds, num_frames);
            let size = PixelSize::new(width as u32, height as u32);
            for rgb in frames.chunks(height * width * 3) {
                patchifier.push(size, rgb).unwrap();
            }
            let patches = patchifier.finish().unwrap();
            assert_eq!(serde_json::to_value([patches.grid_thw]).unwrap(), case["video_grid_thw"]);
            let expected = numbers(&tensors["pixel_values_videos"].1, f32::from_le_bytes);
            let (largest, mean, levels) = difference(config, &patches.pixel_values, &expected);
            eprintln!("{name}: largest difference {largest} ({levels:.2} levels), mean {mean}");
            assert!(levels < 1.1 && mean < 1e-4, "{name}: largest {largest}, mean {mean}");
        }
        assert!(with_frames > 0);
    }
}

/// Resizes the pictures of a fixture, every value as the fixture has it. Gives their number.
fn assert_resizes(fixture: &str, rounding: Rounding) -> usize {
    let bytes = std::fs::read(golden_dir().join(fixture)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut resizer = Resizer::new(Filter::Bicubic, rounding);
    let (mut target, mut count) = (Vec::new(), 0);
    while let Ok(source) = file.tensor(&format!("source.{count:02}")) {
        let expected = file.tensor(&format!("resized.{count:02}")).unwrap();
        let size = |shape: &[usize]| PixelSize::new(shape[1] as u32, shape[0] as u32);
        resizer
            .resize(
                source.data(),
                size(source.shape()),
                Placement::whole(size(expected.shape())),
                &mut target,
            )
            .unwrap();
        assert_eq!(target, expected.data(), "picture {count}");
        count += 1;
    }
    count
}

#[test]
fn images_are_resized_as_pillow_does() {
    assert_eq!(assert_resizes("resize.safetensors", Rounding::EachPass), 24);
}

#[test]
fn frames_are_resized_as_torch_does() {
    assert_eq!(assert_resizes("resize_frames.safetensors", Rounding::Once), 5);
}

#[test]
fn smart_resize_equals_the_reference() {
    let bytes = std::fs::read(golden_dir().join("resize.safetensors")).unwrap();
    let table = SafeTensors::deserialize(&bytes).unwrap();
    let rows = numbers(table.tensor("smart_resize").unwrap().data(), i64::from_le_bytes);
    assert_eq!(rows.len(), 600 * 6);
    for row in rows.chunks(6) {
        let bounds = PixelBounds::new(row[2] as u64, row[3] as u64).unwrap();
        let to = smart_resize(PixelSize::new(row[0] as u32, row[1] as u32), 28, bounds).unwrap();
        assert_eq!([i64::from(to.width), i64::from(to.height)], row[4..], "{row:?}");
    }
}

#[test]
fn positions_equal_the_reference() {
    let cases = json(&golden_dir().join("positions.json"));
    assert_eq!(cases.as_array().unwrap().len(), 9);
    for case in cases.as_array().unwrap() {
        let mut spans = Vec::new();
        for span in case["spans"].as_array().unwrap() {
            if let Some(len) = span["text"].as_u64() {
                spans.push(PositionSpan::Text { len: len as usize });
                continue;
            }
            let grid = span["image"].as_array().or(span["video"].as_array()).unwrap();
            let [steps, rows, columns] = [0, 1, 2].map(|axis| grid[axis].as_u64().unwrap() as usize);
            spans.push(PositionSpan::Text { len: 1 });
            spans.push(PositionSpan::Visual {
                token_grid_thw: [steps, rows / 2, columns / 2],
                second_per_grid: span["second_per_grid"].as_f64().unwrap_or(0.0),
            });
            spans.push(PositionSpan::Text { len: 1 });
        }
        let positions = mrope_positions(&spans, case["tokens_per_second"].as_f64().unwrap()).unwrap();
        assert_eq!(serde_json::to_value(&positions).unwrap(), case["position_ids"], "{}", case["spans"]);
    }
}

#[test]
fn odd_texts_equal_the_reference() {
    let preprocessor = tiny(8192);
    let cases = json(&golden_dir().join("text.json"));
    for case in cases.as_array().unwrap() {
        let parts = [PromptPart::Text(case["text"].as_str().unwrap())];
        let encoding = preprocessor.encode(&parts, case["system"].as_str()).unwrap();
        assert_eq!(serde_json::to_value(&encoding.input_ids).unwrap(), case["input_ids"], "{case}");
    }
    assert!(cases.as_array().unwrap().len() > 200);
}

#[test]
fn spelled_special_tokens_stay_text() {
    let preprocessor = tiny(8192);
    let model = golden_dir().join("tiny-a/model");
    let first_special = 540;
    let plain = preprocessor.encode(&[PromptPart::Text("")], None).unwrap();
    let specials = |ids: &[u32]| ids.iter().filter(|&&id| id >= first_special).count();
    for token in json(&model.join("tokenizer.json"))["added_tokens"].as_array().unwrap() {
        let spelling = token["content"].as_str().unwrap();
        for text in [spelling.to_owned(), format!("a{spelling}b"), spelling.repeat(3)] {
            let encoding = preprocessor.encode(&[PromptPart::Text(&text)], None).unwrap();
            assert_eq!(specials(&encoding.input_ids), specials(&plain.input_ids), "{text}");
            assert!(encoding.input_ids.len() > plain.input_ids.len());
            let system = preprocessor.encode(&[PromptPart::Text("")], Some(&text)).unwrap();
            assert_eq!(specials(&system.input_ids), specials(&plain.input_ids), "{text}");
        }
    }
}

#[test]
fn text_split_over_parts_is_one_text() {
    let preprocessor = tiny(8192);
    let whole = preprocessor.encode(&[PromptPart::Text("a rabbit runs")], None).unwrap();
    let split = ["a rab", "", "bit ", "runs"].map(PromptPart::Text);
    assert_eq!(preprocessor.encode(&split, None).unwrap(), whole);
}

#[test]
fn end_of_text_follows_the_cut() {
    let text = "a rabbit looks at a butterfly in the meadow ".repeat(20);
    let whole = tiny(8192).encode(&[PromptPart::Text(&text)], None).unwrap();
    for max_length in [2, 20, 50, whole.input_ids.len() - 1, whole.input_ids.len()] {
        let cut = tiny(max_length).encode(&[PromptPart::Text(&text)], None).unwrap();
        assert_eq!(cut.input_ids.len(), max_length);
        assert_eq!(cut.truncated_tokens, whole.input_ids.len() - max_length);
        assert_eq!(cut.input_ids[..max_length - 1], whole.input_ids[..max_length - 1]);
        assert_eq!(cut.input_ids.last(), whole.input_ids.last());
        let expected: Vec<u32> = (0..max_length as u32).collect();
        assert_eq!(cut.position_ids, [expected.clone(), expected.clone(), expected]);
    }
}

#[test]
fn the_cut_never_loses_visual_tokens() {
    let parts = [
        PromptPart::Text("x"),
        PromptPart::Video { grid_thw: [4, 6, 10], second_per_grid: 1.0, frame_seconds: &[] },
        PromptPart::Text("y"),
    ];
    let whole = tiny(8192).encode(&parts, None).unwrap();
    let span = whole.visual_spans[0];
    assert_eq!((span.part_index, span.kind, span.len), (1, VisualKind::Video, 60));
    let needed = span.start + span.len + 1;
    let kept = tiny(needed).encode(&parts, None).unwrap();
    assert_eq!(kept.input_ids.len(), needed);
    assert_eq!(kept.input_ids[..needed - 1], whole.input_ids[..needed - 1]);
    // The token after the span starts one past its largest id, as the tag that was cut would have.
    assert_eq!(kept.position_ids[0][needed - 1], whole.position_ids[0][needed - 1]);
    for max_length in [2, needed - 60, needed - 1] {
        let error = tiny(max_length).encode(&parts, None).unwrap_err();
        assert!(
            matches!(error, PreprocessError::VisualTokenLimit { part_index: 1, needed_tokens, allowed_tokens }
                if needed_tokens == needed && allowed_tokens == max_length),
            "{error}"
        );
        assert!(error.to_string().contains("fewer frames"));
    }
    let endless = [PromptPart::Image { grid_thw: [usize::MAX / 2, 1 << 40, 1 << 40] }];
    assert!(matches!(tiny(8192).encode(&endless, None), Err(PreprocessError::VisualTokenLimit { .. })));
}

#[test]
fn checkpoints_that_disagree_are_refused() {
    let model = golden_dir().join("tiny-a/model");
    let good = config(&model);
    let load_as =
        |config: Config, recipe| Preprocessor::load(&model, &config, recipe).unwrap_err().to_string();
    let load = |change: fn(&mut Config)| {
        let mut config = good.clone();
        change(&mut config);
        load_as(config, Recipe::default())
    };
    assert!(load(|config| config.image_token_id = 1).contains("image_token_id 1"));
    assert!(load(|config| config.vision_start_token_id = 2).contains("vision_start_token_id 2"));
    assert!(load(|config| config.vision.spatial_merge_size = 3).contains("spatial_merge_size"));
    assert!(load(|config| config.vision.tokens_per_second = Some(0.0)).contains("tokens_per_second"));
    assert!(load_as(good.clone(), within(1)).contains("max_length"));
}

#[test]
fn broken_tokenizers_are_named() {
    let model = golden_dir().join("tiny-a/model");
    let dir = tempfile::tempdir().unwrap();
    let load = || Preprocessor::load(dir.path(), &config(&model), Recipe::default()).unwrap_err();
    assert!(load().to_string().contains("preprocessor_config.json"));
    std::fs::copy(model.join("preprocessor_config.json"), dir.path().join("preprocessor_config.json"))
        .unwrap();
    assert!(load().to_string().contains("tokenizer.json is missing"));
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    assert!(matches!(load(), PreprocessError::LoadTokenizer { .. }));
    let text = std::fs::read_to_string(model.join("tokenizer.json")).unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), text.replace("<|video_pad|>", "<|video_bad|>"))
        .unwrap();
    assert!(matches!(load(), PreprocessError::MissingSpecialToken { token: "<|video_pad|>", .. }));
    let mut tokenizer = json(&model.join("tokenizer.json"));
    tokenizer["added_tokens"][1]["special"] = Value::Bool(false);
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    assert!(matches!(load(), PreprocessError::TokenNotSpecial { token: "<|im_start|>", .. }));
}

#[test]
fn odd_sizes_become_whole_patches() {
    let config = ImageProcessorConfig::default();
    for (width, height) in [(1, 1), (1, 977), (977, 1), (27, 29), (13, 211), (333, 77), (640, 3)] {
        let image =
            image::RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, (x ^ y) as u8]));
        let bounds = PIXEL_BUDGET.for_image(None, Some(40 * 784)).unwrap();
        let patches = patchify_image(&config, &image, bounds).unwrap();
        let [steps, rows, columns] = patches.grid_thw;
        assert!(
            steps == 1 && rows % 2 == 0 && columns % 2 == 0 && rows * columns <= 160,
            "{:?}",
            patches.grid_thw
        );
        assert_eq!(patches.pixel_values.len(), patches.num_patches() * 1176);
        assert!(patches.pixel_values.iter().all(|value| value.is_finite() && value.abs() < 3.0));
    }
}
