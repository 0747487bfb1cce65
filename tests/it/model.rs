//! The model against the reference's tensors, given the reference's inputs.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::qwen2;
use gve::CancelToken;
use gve::model::{Checkpoint, ModelError, PackedBatch, QwenVl, Visual, convert_checkpoint};
use gve::recipe::{NamedRecipe, Recipes};
use gve_test_support::golden::{Case, cosine, fixture_dirs, max_difference, repository_dir};

use crate::device::{opened_device, rounded_dtypes};

/// What the model reads for one case.
struct Sample {
    case: Case,
    visuals: Vec<Visual>,
}

impl Sample {
    /// The cases whose pixels are known, or that have none.
    fn all(fixture: &Path) -> Vec<Self> {
        Case::all(fixture).into_iter().filter_map(Self::of).collect()
    }

    fn of(case: Case) -> Option<Self> {
        let pixels = ["pixel_values", "pixel_values_videos"].iter().find_map(|key| case.tensors.get(*key));
        let visuals = match (case.grids().as_slice(), pixels) {
            ([], _) => vec![],
            ([grid], Some(pixels)) => vec![Visual {
                pixel_values: pixels.flatten_all().unwrap().to_vec1().unwrap(),
                grid_thw: *grid,
            }],
            _ => return None,
        };
        Some(Self { case, visuals })
    }

    fn add_to<'a>(&'a self, batch: &mut PackedBatch<'a>) {
        let input_ids = self.case.input_ids();
        batch.lengths.push(input_ids.len());
        batch.input_ids.extend(input_ids);
        for (all, its) in batch.position_ids.iter_mut().zip(self.case.position_ids()) {
            all.extend(its);
        }
        batch.visuals.extend(&self.visuals);
    }

    fn batch(&self) -> PackedBatch<'_> {
        let mut batch = PackedBatch::default();
        self.add_to(&mut batch);
        batch
    }
}

fn recipe() -> NamedRecipe {
    Recipes::builtin().get("gve").unwrap()
}

/// All tensors of a model directory.
pub(crate) fn tensors_of(directory: &Path) -> HashMap<String, Tensor> {
    let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    let shards = files.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    shards.flat_map(|shard| candle_core::safetensors::load(shard, &Device::Cpu).unwrap()).collect()
}

/// Loads `tensors` from one file, beside the `config.json` of `directory`.
fn load_single(directory: &Path, tensors: &HashMap<String, Tensor>) -> Result<QwenVl, ModelError> {
    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.join("config.json"), copy.path().join("config.json")).unwrap();
    candle_core::safetensors::save(tensors, copy.path().join("model.safetensors")).unwrap();
    QwenVl::load(copy.path(), DType::F32, &Device::Cpu)
}

#[test]
fn stages_equal_the_reference() {
    for fixture in fixture_dirs() {
        let model = QwenVl::load(&fixture.join("model"), DType::F32, &opened_device()).unwrap();
        let samples = Sample::all(&fixture);
        assert!(samples.iter().filter(|sample| !sample.visuals.is_empty()).count() >= 3);
        for sample in samples {
            let (name, tensors) = (&sample.case.name, &sample.case.tensors);
            if let [visual] = sample.visuals.as_slice() {
                let embeds = model.vision_embeds(&[visual]).unwrap();
                let expected = ["image", "video"]
                    .iter()
                    .find_map(|kind| tensors.get(&format!("vision_embeds.{kind}")))
                    .unwrap();
                let difference = max_difference(&embeds, expected);
                println!("{name}: vision_embeds differ by {difference:e}");
                assert!(difference < 2e-4, "{name}: vision_embeds differ by {difference}");
            }
            let batch = sample.batch();
            let hidden = model.hidden_states(&batch).unwrap();
            let difference = max_difference(&hidden, &tensors["last_hidden_state"]);
            println!("{name}: last_hidden_state differs by {difference:e}");
            assert!(difference < 2e-4, "{name}: last_hidden_state differs by {difference}");

            let pooled = model.last_hidden_states(&batch).unwrap();
            let last = hidden.narrow(0, batch.input_ids.len() - 1, 1).unwrap();
            let difference = max_difference(&pooled, &last);
            assert!(difference < 1e-5, "{name}: pooled state differs by {difference}");
        }
    }
}

#[test]
fn a_batch_equals_its_single_items() {
    for fixture in fixture_dirs() {
        let model = QwenVl::load(&fixture.join("model"), DType::F32, &opened_device()).unwrap();
        let samples = Sample::all(&fixture);
        let mut packed = PackedBatch::default();
        samples.iter().for_each(|sample| sample.add_to(&mut packed));
        let together = model.last_hidden_states(&packed).unwrap();
        for (row, sample) in samples.iter().enumerate() {
            let alone = model.last_hidden_states(&sample.batch()).unwrap();
            let difference = max_difference(&together.narrow(0, row, 1).unwrap(), &alone);
            assert!(difference < 1e-5, "{} differs by {difference}", sample.case.name);
        }
    }
}

/// On text alone the three positions of a token are equal, and the language model is a Qwen2: another
/// implementation of it, on the same weights, must agree.
#[test]
fn text_agrees_with_qwen2_of_candle_transformers() {
    for fixture in fixture_dirs() {
        let directory = fixture.join("model");
        let ours = QwenVl::load(&directory, DType::F32, &Device::Cpu).unwrap();
        let shards: Vec<_> = std::fs::read_dir(&directory)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        // SAFETY: nobody changes the fixture's files while the test runs.
        let weights =
            unsafe { VarBuilder::from_mmaped_safetensors(&shards, DType::F32, &Device::Cpu) }.unwrap();
        let config = std::fs::read(directory.join("config.json")).unwrap();
        let config: qwen2::Config = serde_json::from_slice(&config).unwrap();
        let mut theirs = qwen2::Model::new(&config, weights).unwrap();
        let texts = Sample::all(&fixture).into_iter().filter(|sample| sample.visuals.is_empty());
        for sample in texts {
            let batch = sample.batch();
            let ids = Tensor::new(batch.input_ids.as_slice(), &Device::Cpu).unwrap().unsqueeze(0).unwrap();
            theirs.clear_kv_cache();
            let expected = theirs.forward(&ids, 0, None).unwrap().squeeze(0).unwrap();
            let difference = max_difference(&ours.hidden_states(&batch).unwrap(), &expected);
            assert!(difference < 2e-4, "{} differs by {difference}", sample.case.name);
        }
    }
}

/// Rounded weights stay close to the reference; activations are f32 on the CPU, where they meet no int8. Which of two
/// integers a value is rounded to hangs on its last bit: a change of a millionth in the pixels moves the cosine of a
/// case between 0.993 and 0.997 in int8.
#[test]
fn rounded_weights_stay_close() {
    let fixture = &fixture_dirs()[0];
    let device = opened_device();
    for dtype in rounded_dtypes() {
        let (least, least_mean) = if dtype == gve::DType::Int8 { (0.99, 0.995) } else { (0.995, 0.995) };
        let model = QwenVl::load(&fixture.join("model"), dtype.weights_on(&device), &device).unwrap();
        let mut cosines = Vec::new();
        for sample in Sample::all(fixture) {
            let state = model.last_hidden_states(&sample.batch()).unwrap();
            let state: Vec<f32> = state.flatten_all().unwrap().to_vec1().unwrap();
            let cosine = cosine(&state, &sample.case.embedding());
            println!("{dtype:?} {}: cosine {cosine:.6}", sample.case.name);
            assert!(cosine > least, "{dtype:?} {}: cosine {cosine}", sample.case.name);
            cosines.push(cosine);
        }
        let mean = cosines.iter().sum::<f64>() / cosines.len() as f64;
        assert!(mean > least_mean, "{dtype:?}: mean cosine {mean}");
    }
}

/// Both layouts of tensor names, and one file instead of shards.
#[test]
fn other_layouts_load_alike() {
    let fixture = &fixture_dirs()[0];
    let directory = fixture.join("model");
    let tensors = tensors_of(&directory);
    let nested = |name: &str| match name.strip_prefix("model.") {
        Some(rest) => format!("model.language_model.{rest}"),
        None => format!("model.{name}"),
    };
    let renamed: HashMap<String, Tensor> =
        tensors.iter().map(|(name, tensor)| (nested(name), tensor.clone())).collect();

    let sample = Sample::all(fixture).into_iter().find(|sample| !sample.visuals.is_empty()).unwrap();
    let expected = QwenVl::load(&directory, DType::F32, &Device::Cpu).unwrap();
    let expected = expected.last_hidden_states(&sample.batch()).unwrap();
    for tensors in [&tensors, &renamed] {
        let model = load_single(&directory, tensors).unwrap();
        assert_eq!(max_difference(&model.last_hidden_states(&sample.batch()).unwrap(), &expected), 0.0);
    }
}

#[test]
fn a_converted_checkpoint_is_the_same_model_rounded() {
    for fixture in fixture_dirs() {
        let folder = tempfile::tempdir().unwrap();
        let (half, back) = (folder.path().join("half"), folder.path().join("back"));
        let model = fixture.join("model");
        convert_checkpoint(&model, gve::DType::Bf16, &recipe(), &half, &CancelToken::new()).unwrap();
        // What others wrote there may be anything.
        let index = half.join("model.safetensors.index.json");
        if index.is_file() {
            let read = |path: &Path| -> serde_json::Value {
                serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
            };
            let mut other = read(&index);
            assert!(other["metadata"]["total_size"].is_u64());
            other["metadata"] = serde_json::json!(["no object"]);
            std::fs::write(&index, other.to_string()).unwrap();
            let twice = folder.path().join("twice");
            convert_checkpoint(&half, gve::DType::F16, &recipe(), &twice, &CancelToken::new()).unwrap();
            assert!(read(&twice.join("model.safetensors.index.json"))["metadata"]["total_size"].is_u64());
        }
        convert_checkpoint(&half, gve::DType::F32, &recipe(), &back, &CancelToken::new()).unwrap();
        let original = Checkpoint::open(&model).unwrap();
        for (directory, dtype, named) in [(&half, "bf16", "bfloat16"), (&back, "f32", "float32")] {
            let converted = Checkpoint::open(directory).unwrap();
            assert_eq!(converted.dtypes(), [dtype]);
            assert_eq!(converted.tensor_names(), original.tensor_names());
            assert_eq!(converted.num_parameters(), original.num_parameters());
            let config = std::fs::read_to_string(directory.join("config.json")).unwrap();
            assert!(config.contains(named), "{config}");
        }
        // Read by an implementation that is not ours.
        let (before, half, back) = (tensors_of(&model), tensors_of(&half), tensors_of(&back));
        for (name, tensor) in before {
            let rounded = tensor.to_dtype(DType::BF16).unwrap();
            let bits = |tensor: &Tensor| {
                tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
            };
            assert_eq!((half[&name].dtype(), back[&name].dtype()), (DType::BF16, DType::F32));
            assert_eq!(bits(&half[&name]), bits(&rounded), "{name}");
            assert_eq!(bits(&back[&name]), bits(&rounded), "{name}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("mine"), "").unwrap();
    let refused = convert_checkpoint(
        &fixture_dirs()[0].join("model"),
        gve::DType::Bf16,
        &recipe(),
        folder.path(),
        &CancelToken::new(),
    );
    assert!(refused.unwrap_err().to_string().contains("not empty"));
}

#[test]
fn tensors_that_are_missing_or_misshapen_are_named() {
    let directory = fixture_dirs()[0].join("model");
    let mut tensors = tensors_of(&directory);
    let load =
        |tensors: &HashMap<String, Tensor>| load_single(&directory, tensors).err().unwrap().to_string();
    let name = "visual.blocks.1.mlp.up_proj.weight";
    let weight = tensors.remove(name).unwrap();
    assert!(load(&tensors).contains(name));
    tensors.insert(name.to_owned(), weight.t().unwrap().contiguous().unwrap());
    let message = load(&tensors);
    assert!(
        message.contains(name) && message.contains("[32, 72]") && message.contains("[72, 32]"),
        "{message}"
    );

    let copy = tempfile::tempdir().unwrap();
    std::fs::copy(directory.join("config.json"), copy.path().join("config.json")).unwrap();
    std::fs::write(copy.path().join("model.safetensors"), b"not a checkpoint").unwrap();
    let message = QwenVl::load(copy.path(), DType::F32, &Device::Cpu).err().unwrap().to_string();
    assert!(message.contains("model.safetensors"), "{message}");
}

#[test]
fn a_new_model_has_learned_the_words_and_embeds() {
    let folder = tempfile::tempdir().unwrap();
    let texts = folder.path().join("texts.jsonl");
    let line = r#"{"query": {"instruction": "find it", "content": [{"type": "text", "text": "the red circle moves left"}]}}"#;
    std::fs::write(&texts, format!("{line}\n").repeat(50)).unwrap();
    let settings = gve::new_model::NewModel {
        config: repository_dir().join("recipes/nano/config.json"),
        texts: vec![texts.clone()],
        vocab_size: 400,
        pixels: gve::preprocess::PixelBounds::new(56 * 56, 112 * 84).unwrap(),
        seed: 1,
    };
    let out = folder.path().join("deep/model");
    let made = gve::new_model::create(&out, &settings, &CancelToken::new()).unwrap();
    assert!(made.tokens <= 400 && made.parameters > 2_000_000, "{made:?}");
    let embedder = gve::Embedder::load(&out).unwrap();
    let embed = |text: &str| embedder.embed_one(&gve::Input::text(text)).unwrap();
    let (left, right) = (embed("the red circle moves left"), embed("the blue star jumps"));
    assert!(left.cosine(&right).unwrap() < 0.999);
    // A checkpoint made for small pictures sees no larger ones unless it is told to.
    assert_eq!(embedder.pixels().max_pixels, Some(112 * 84));

    // The same seed gives the same weights; what is there is not written over; faults are named with their
    // place.
    let again = folder.path().join("again");
    gve::new_model::create(&again, &settings, &CancelToken::new()).unwrap();
    let weights = |model: &Path| std::fs::read(model.join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&again));
    let message = gve::new_model::create(&again, &settings, &CancelToken::new()).unwrap_err().to_string();
    assert!(message.contains("again") && message.contains("not empty"), "{message}");
    std::fs::write(&texts, format!("{line}\nno json\n")).unwrap();
    let message = gve::new_model::create(&folder.path().join("third"), &settings, &CancelToken::new())
        .unwrap_err()
        .to_string();
    assert!(message.contains("texts.jsonl") && message.contains("line 2"), "{message}");
}

#[test]
fn what_is_stopped_leaves_nothing_behind() {
    let (folder, model) = (tempfile::tempdir().unwrap(), fixture_dirs()[0].join("model"));
    let out = folder.path().join("out");
    let cancel = CancelToken::new();
    cancel.cancel();
    let stopped = convert_checkpoint(&model, gve::DType::Bf16, &recipe(), &out, &cancel);
    assert!(matches!(stopped, Err(ModelError::Cancelled)), "{stopped:?}");
    let texts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(texts.path(), r#"{"text": "a red circle"}"#).unwrap();
    let settings = gve::new_model::NewModel {
        config: repository_dir().join("recipes/nano/config.json"),
        texts: vec![texts.path().to_owned()],
        vocab_size: 300,
        pixels: gve::preprocess::PixelBounds::new(56 * 56, 112 * 84).unwrap(),
        seed: 1,
    };
    let stopped = gve::new_model::create(&out, &settings, &cancel);
    assert!(matches!(stopped, Err(gve::Error::Model(ModelError::Cancelled))), "{stopped:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
