//! The Qwen-VL families against the reference: every case of `tests/golden/tiny-q2` and `tiny-q3`, whose
//! generators lie beside them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen3;
use gve::model::{PackedBatch, QwenVl, Visual};
use gve::recipe::{PassOrder, Recipe, Recipes};
use gve::train::{LoraConfig, Memory, Prepared, Trainable, TrainableModel};
use gve::{
    Device, Embedder, FramesPart, ImagePart, ImageSource, Input, Part, PixelLimits, Sampling, VideoPart,
};
use gve_test_support::golden::{Case, cosine, fixtures, golden_dir, max_difference, media};
use serde_json::Value;

use crate::device::{device, on_device, opened_device, rounded_dtypes};
use crate::model::tensors_of;

/// How the cases of a set are prompted.
fn recipe(set: &str, case: &Case) -> Recipe {
    let name = match (set, case.record["recipe"].as_str()) {
        ("tiny-q3", _) => "qwen3-vl-embedding",
        (_, Some("ops-mm")) => "ops-mm-v1",
        (_, Some(name)) => name,
        (_, None) => panic!("{} names no recipe", case.name),
    };
    let mut recipe = Recipes::builtin().get(name).unwrap().recipe;
    if let Some(tokens) = case.record["max_length"].as_u64() {
        recipe.max_length = tokens as usize;
    }
    // The class resizes listed frames twice, which some cases leave out.
    let once = case.record["content"].as_array().unwrap().iter().any(|part| part["frame_resize"] == "once");
    recipe.pictures.pass_order = PassOrder::ByShape;
    recipe.pictures.resize_listed_frames_first = set == "tiny-q3" && !once;
    recipe
}

struct Set {
    /// Name of the committed set of its architecture.
    name: &'static str,
    directory: PathBuf,
    cases: Vec<Case>,
}

fn sets() -> impl Iterator<Item = Set> {
    ["tiny-q2", "tiny-q3"].into_iter().flat_map(|name| {
        fixtures(name).into_iter().map(move |directory| Set { name, cases: Case::all(&directory), directory })
    })
}

impl Set {
    fn embedder(&self, case: &Case) -> Embedder {
        self.embedder_in(case, gve::DType::F32)
    }

    fn embedder_in(&self, case: &Case, dtype: gve::DType) -> Embedder {
        Embedder::builder(self.directory.join("model"))
            .recipe(recipe(self.name, case))
            .device(device())
            .dtype(dtype)
            .build()
            .unwrap()
    }

    fn input(&self, case: &Case) -> Input {
        let instruction = case.record["system"].as_str().map(str::to_owned);
        let mut input = Input { instruction, ..Input::default() };
        for part in case.record["content"].as_array().unwrap() {
            input = input.and_part(self::part(&self.directory, part));
        }
        input
    }
}

/// A part of an input as the sets of `directory` record it.
pub(crate) fn part(directory: &Path, part: &Value) -> Part {
    let path = |name: &str| if name.starts_with("pictures/") { directory.join(name) } else { media(name) };
    let number = |key: &str| part[key].as_u64();
    let pixels = PixelLimits::default()
        .with_min_pixels(number("min_pixels"))
        .with_max_pixels(number("max_pixels"))
        .with_total_pixels(number("total_pixels"));
    let named = |key: &str| path(part[key].as_str().unwrap());
    match part["type"].as_str().unwrap() {
        "text" => Part::Text(part["text"].as_str().unwrap().to_owned()),
        "image" => {
            let source = ImageSource::Encoded(named("image").into());
            Part::Image(ImagePart::new(source).with_pixels(pixels))
        }
        _ if part["frames"].is_array() => {
            let frames = part["frames"].as_array().unwrap().iter();
            let frames = frames.map(|name| ImageSource::Encoded(path(name.as_str().unwrap()).into()));
            let frames = FramesPart::new(frames.collect(), part["fps"].as_f64().unwrap());
            Part::Frames(frames.with_pixels(pixels))
        }
        _ => {
            let count = |key: &str| number(key).map(|n| n as usize);
            let sampling = match (count("nframes"), part["fps"].as_f64()) {
                (Some(frames), _) => Sampling::Uniform { frames },
                (None, Some(fps)) => {
                    Sampling::Fps { fps, min_frames: count("min_frames"), max_frames: count("max_frames") }
                }
                (None, None) => panic!("no sampling"),
            };
            Part::Video(VideoPart::new(named("video")).with_sampling(Some(sampling)).with_pixels(pixels))
        }
    }
}

fn has_video(case: &Case) -> bool {
    case.record["content"].as_array().unwrap().iter().any(|part| part["video"].is_string())
}

/// Grids as the prompt has them: those of the reference lie one kind behind the other, and one of a step each
/// where frames are images.
fn grids(batch: &PackedBatch<'_>) -> Vec<[usize; 3]> {
    let mut grids: Vec<_> = batch.visuals.iter().map(|visual| visual.grid_thw).collect();
    grids.sort_unstable();
    grids
}

#[test]
fn prompts_equal_the_reference_and_so_do_embeddings() {
    let mut seen = 0;
    for set in sets() {
        for case in set.cases.iter().filter(|case| cfg!(feature = "video") || !has_video(case)) {
            let name = &case.name;
            let embedder = set.embedder(case);
            let prepared =
                embedder.prepare(&set.input(case)).unwrap_or_else(|error| panic!("{name}: {error}"));
            let batch = Prepared::pack([&prepared]);
            assert_eq!(batch.input_ids, case.input_ids(), "{name}: token ids");
            assert_eq!(batch.position_ids, case.position_ids(), "{name}: positions");
            let mut expected = case.grids();
            if case.record["recipe"] == "ops-mm" && expected.len() > 1 {
                expected = vec![[expected.len(), expected[0][1], expected[0][2]]];
            }
            expected.sort_unstable();
            assert_eq!(grids(&batch), expected, "{name}: grids");

            let embedding = embedder.embed_one(&set.input(case)).unwrap();
            let off = 1.0 - cosine(embedding.as_slice(), &case.embedding());
            println!("{}/{name}: 1 - cosine {off:.1e}", set.name);
            let limit = if has_video(case) { 1e-4 } else { 1e-5 };
            assert!(off <= limit, "{name}: 1 - cosine is {off:e}");
            if let Some(expected) = case.tensors.get("embedding_32") {
                let cut = embedding.cut(32).unwrap();
                let off = 1.0 - cosine(cut.as_slice(), &expected.to_vec1::<f32>().unwrap());
                assert!(off <= limit, "{name}, 32 values: 1 - cosine is {off:e}");
            }
            seen += 1;
        }
    }
    assert!(seen >= 38, "{seen} cases");
}

/// Given the reference's pixels, ids and positions.
#[test]
fn stages_equal_the_reference() {
    for set in sets() {
        let model = set.directory.join("model");
        let model = QwenVl::load(&model, DType::F32, &opened_device()).unwrap();
        let mut with_pixels = 0;
        for case in &set.cases {
            let tensors = &case.tensors;
            let pixels = [("image", "pixel_values"), ("video", "pixel_values_videos")];
            let pixels: Vec<_> =
                pixels.iter().filter_map(|(kind, key)| Some((kind, tensors.get(*key)?))).collect();
            if pixels.is_empty() && !case.grids().is_empty() {
                continue;
            }
            let visuals: Vec<Visual> = pixels
                .iter()
                .zip(case.grids())
                .map(|((_, pixels), grid_thw)| Visual {
                    pixel_values: pixels.flatten_all().unwrap().to_vec1().unwrap(),
                    grid_thw,
                })
                .collect();
            for ((kind, _), visual) in pixels.iter().zip(&visuals) {
                with_pixels += 1;
                let features = model.vision_features(&[visual]).unwrap();
                let near = |got: &Tensor, key: String| {
                    let off = max_difference(got, &tensors[&key]);
                    println!("{}: {key} differs by {off:e}", case.name);
                    assert!(off < 1e-4, "{}: {key} differs by {off}", case.name);
                };
                near(&features[0], format!("vision_embeds.{kind}"));
                for (layer, got) in features[1..].iter().enumerate() {
                    near(got, format!("deepstack.{kind}.{layer}"));
                }
                let deepstack = tensors.keys().filter(|key| key.starts_with(&format!("deepstack.{kind}.")));
                assert_eq!(features.len() - 1, deepstack.count());
            }
            let batch = PackedBatch {
                input_ids: case.input_ids(),
                position_ids: case.position_ids(),
                lengths: vec![case.input_ids().len()],
                visuals: visuals.iter().collect(),
            };
            let off = max_difference(&model.hidden_states(&batch).unwrap(), &tensors["last_hidden_state"]);
            assert!(off < 1e-4, "{}: last_hidden_state differs by {off}", case.name);
        }
        assert!(with_pixels >= 3, "{with_pixels}");
    }
}

/// On text alone the three positions of a token are equal, and the language model is a Qwen3: another
/// implementation of it, on the same weights, must agree. Its `qwen3_vl` numbers all tokens in a line and shows
/// no tower, so pictures are not compared.
#[test]
fn text_agrees_with_qwen3_of_candle_transformers() {
    for set in sets().filter(|set| set.name == "tiny-q3") {
        let directory = set.directory.join("model");
        let ours = QwenVl::load(&directory, DType::F32, &candle_core::Device::Cpu).unwrap();
        let config = std::fs::read(directory.join("config.json")).unwrap();
        let mut config = serde_json::from_slice::<Value>(&config).unwrap()["text_config"].take();
        config["use_sliding_window"] = false.into();
        config["max_window_layers"] = 0.into();
        // Angles are made for all positions at once.
        config["max_position_embeddings"] = 1024.into();
        let config: qwen3::Config = serde_json::from_value(config).unwrap();
        let weights = tensors_of(&directory).into_iter();
        let weights = weights.map(|(name, x)| (name.replace("model.language_model.", "model."), x)).collect();
        let weights = VarBuilder::from_tensors(weights, DType::F32, &candle_core::Device::Cpu);
        let theirs = qwen3::Model::new(&config, weights).unwrap();
        let mut seen = 0;
        for case in set.cases.iter().filter(|case| case.grids().is_empty()) {
            let batch = PackedBatch {
                input_ids: case.input_ids(),
                position_ids: case.position_ids(),
                lengths: vec![case.input_ids().len()],
                visuals: vec![],
            };
            let ids = Tensor::new(batch.input_ids.as_slice(), &candle_core::Device::Cpu).unwrap();
            let expected = theirs.clone().forward(&ids.unsqueeze(0).unwrap(), 0).unwrap().squeeze(0).unwrap();
            let off = max_difference(&ours.hidden_states(&batch).unwrap(), &expected);
            println!("{}: hidden states differ by {off:e}", case.name);
            assert!(off < 1e-4, "{}: hidden states differ by {off}", case.name);
            seen += 1;
        }
        assert!(seen >= 5, "{seen} texts");
    }
}

#[test]
fn a_batch_equals_its_single_items() {
    for set in sets() {
        let cases: Vec<_> =
            set.cases.iter().filter(|case| cfg!(feature = "video") || !has_video(case)).collect();
        let embedder = set.embedder(cases[0]);
        let inputs: Vec<Input> = cases.iter().map(|case| set.input(case)).collect();
        for ((together, input), case) in embedder.embed(&inputs).into_iter().zip(&inputs).zip(&cases) {
            let (together, alone) = (together.unwrap(), embedder.embed_one(input).unwrap());
            let pairs = together.as_slice().iter().zip(alone.as_slice());
            let off = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off < 1e-5, "{}: {off}", case.name);
        }
    }
}

/// Activations are in half precision too, but on the CPU.
#[test]
fn rounded_weights_stay_close() {
    for set in sets() {
        for dtype in rounded_dtypes() {
            for case in set.cases.iter().filter(|case| !has_video(case)) {
                let embedding = set.embedder_in(case, dtype).embed_one(&set.input(case)).unwrap();
                let cosine = cosine(embedding.as_slice(), &case.embedding());
                println!("{}/{} in {dtype}: cosine {cosine:.5}", set.name, case.name);
                assert!(cosine > 0.99, "{}/{} in {dtype}: cosine {cosine}", set.name, case.name);
            }
        }
    }
}

/// The sum of embedding . direction over some cases, of a model with the adapter of `gradients.safetensors` or
/// with all weights trained.
#[test]
fn gradients_equal_those_of_pytorch() {
    for name in ["tiny-q2", "tiny-q3"] {
        let directory = golden_dir().join(name);
        let set = Set { name, cases: Case::all(&directory), directory };
        let expected = candle_core::safetensors::load(
            set.directory.join("gradients.safetensors"),
            &candle_core::Device::Cpu,
        )
        .unwrap();
        let cases: Vec<_> = set
            .cases
            .iter()
            .filter(|case| expected.contains_key(&format!("direction.{}", case.name)))
            .collect();
        assert!(cases.len() >= 3);
        let of = |prefix: &str| -> BTreeMap<String, Tensor> {
            let named = expected.iter().filter_map(|(name, x)| Some((name.strip_prefix(prefix)?, x)));
            named.map(|(name, x)| (name.to_owned(), x.clone())).collect()
        };
        let directions = cases.iter().map(|case| &expected[&format!("direction.{}", case.name)]);
        let directions = Tensor::stack(&directions.collect::<Vec<_>>(), 0).unwrap();
        let all = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];
        let lora = LoraConfig::default()
            .with_target_modules(all.map(str::to_owned).to_vec())
            .with_r(2)
            .with_alpha(4.0)
            .with_dropout(0.0);
        for (trainable, start, wanted, vision) in [
            (Trainable::Lora(lora), Some(of("lora.")), of("grad.lora."), false),
            (Trainable::Full { vision: true }, None, of("grad.full."), true),
        ] {
            let builder = Embedder::builder(set.directory.join("model")).recipe(recipe(name, cases[0]));
            let builder = on_device(builder);
            let model = TrainableModel::load(builder, trainable).unwrap();
            if let Some(start) = &start {
                model.load_state(start).unwrap();
            }
            let items: Vec<_> = cases.iter().map(|case| model.prepare(&set.input(case)).unwrap()).collect();
            let items: Vec<&Prepared> = items.iter().collect();
            let loss = |embeddings: &Tensor| Ok((embeddings * &directions)?.sum_all()?);
            for memory in [Memory::default(), Memory { checkpointing: true, max_tokens: Some(1) }] {
                let (_, gradients) = model.gradients(&items, 0, memory, loss).unwrap();
                for (parameter, want) in &wanted {
                    let got =
                        gradients.get(parameter).unwrap_or_else(|| panic!("{parameter} has no gradient"));
                    let got = got.to_device(want.device()).unwrap();
                    let norm =
                        |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
                    let off = norm(&(&got - want).unwrap()) / norm(want);
                    assert!(off < 1e-4, "{name}: {parameter}: relative difference {off}");
                }
                assert!(wanted.keys().any(|name| name.contains("visual.")) == vision);
            }
        }
    }
}

/// The settings as transformers 5.23 saves them: nested, with both processors in one file.
#[test]
fn settings_of_transformers_5_read_alike() {
    for name in ["tiny-q2", "tiny-q3"] {
        let model = golden_dir().join(name).join("model");
        let newer = tempfile::tempdir().unwrap();
        let weights = |file: &str| file.contains("safetensors") || file == "tokenizer.json";
        for (directory, taken) in [
            (model.clone(), &weights as &dyn Fn(&str) -> bool),
            (golden_dir().join(name).join("transformers-5"), &|_| true),
        ] {
            for entry in std::fs::read_dir(directory).unwrap() {
                let entry = entry.unwrap();
                if taken(entry.file_name().to_str().unwrap()) {
                    std::fs::copy(entry.path(), newer.path().join(entry.file_name())).unwrap();
                }
            }
        }
        assert_eq!(gve::embedder::unknown_settings(newer.path()), [""; 0]);
        for input in [Input::text("a rabbit"), Input::image(media("rabbit.png"))] {
            let embed = |directory: &Path| {
                let embedder = Embedder::builder(directory).device(Device::Cpu).build().unwrap();
                embedder.embed_one(&input).unwrap()
            };
            assert_eq!(embed(newer.path()).as_slice(), embed(&model).as_slice(), "{name}");
        }
    }
}
