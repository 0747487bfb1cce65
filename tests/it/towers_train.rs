//! Frame encoders under training, against the reference's gradients.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use gve::model::{LoraAdapter, merge_adapter};
use gve::train::{Gradients, LoraConfig, Memory, Mode, Prepared, Trainable, TrainableModel};
use gve::{Embedder, Input};
use gve_test_support::golden::{cosine, golden_dir, max_difference};

use crate::device::on_device;
use crate::towers::{cases, model_dir, tensors};

const SETS: [&str; 4] = ["tiny-clip", "tiny-clip-b", "tiny-siglip", "tiny-siglip2"];
/// A batch in pieces, each of which keeps little.
const CUT: Memory = Memory { checkpointing: true, max_tokens: Some(20) };
const TARGETS: [&str; 6] = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"];

fn lora() -> LoraConfig {
    let targets = TARGETS.map(str::to_owned).to_vec();
    LoraConfig::default().with_r(2).with_alpha(3.0).with_dropout(0.0).with_target_modules(targets)
}

fn load(set: &str, trainable: Trainable) -> TrainableModel {
    TrainableModel::load(on_device(Embedder::builder(model_dir(set))), trainable).unwrap()
}

/// The inputs that the reference took gradients of.
fn prepared(set: &str, model: &TrainableModel, count: usize) -> Vec<Prepared> {
    cases(set)[..count].iter().map(|case| model.prepare(&case.input).unwrap()).collect()
}

/// Gradients of the sum of `direction` times the embeddings.
fn gradients(model: &TrainableModel, items: &[Prepared], direction: &Tensor, memory: Memory) -> Gradients {
    let items: Vec<&Prepared> = items.iter().collect();
    let loss = |embeddings: &Tensor| Ok((embeddings * direction)?.sum_all()?);
    model.gradients(&items, 0, memory, loss).unwrap().1
}

/// The largest difference from those of the reference, relative to each parameter's largest, and its name.
fn off(
    model: &TrainableModel,
    found: &Gradients,
    expected: &BTreeMap<String, Tensor>,
    prefix: &str,
) -> (f32, String) {
    let of = |name: &String| {
        let found = found.get(name).unwrap_or_else(|| panic!("no gradient of {name}"));
        let expected = &expected[&format!("{prefix}{name}")];
        let largest: f32 =
            expected.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
        // Keys' biases cancel out of attention: their gradients are nothing but rounding.
        (max_difference(found, expected) / largest.max(1e-2), name.clone())
    };
    model.parameters().keys().map(of).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap()
}

#[test]
fn gradients_equal_the_reference() {
    for set in SETS {
        let expected: BTreeMap<_, _> = tensors(set, "train.safetensors").into_iter().collect();
        let direction = &expected["direction"];
        let count = direction.dim(0).unwrap();
        for vision in [true, false] {
            let model = load(set, Trainable::Full { vision });
            let items = prepared(set, &model, count);
            let names = expected.keys().filter_map(|name| name.strip_prefix("full."));
            let is_vision =
                |name: &str| name.starts_with("vision_model.") || name.starts_with("visual_projection");
            let names: Vec<&str> = names.filter(|name| vision || !is_vision(name)).collect();
            assert!(model.parameters().keys().eq(names), "{set}: {:?}", model.parameters().keys());
            let found = gradients(&model, &items, direction, Memory::default());
            let (off, name) = off(&model, &found, &expected, "full.");
            println!("{set}, vision {vision}: gradients differ by {off:.1e}, {name}");
            assert!(off < 1e-4, "{set}: {name} is off by {off:.1e}");
        }

        let model = load(set, Trainable::Lora(lora()));
        let adapter = LoraAdapter::read(&golden_dir().join(set).join("adapter")).unwrap();
        model.load_state(&adapter.tensors(gve::model::AdapterLayout::Flat)).unwrap();
        let items = prepared(set, &model, count);
        for memory in [Memory::default(), CUT] {
            let found = gradients(&model, &items, direction, memory);
            let (off, name) = off(&model, &found, &expected, "lora.");
            println!("{set}: gradients of the adapter differ by {off:.1e}, {name}");
            assert!(off < 1e-4, "{set}: {name} is off by {off:.1e}");
        }
        let references: Vec<&Prepared> = items.iter().collect();
        let embeddings = model.embed(&references, Mode::Evaluate).unwrap();
        assert!(max_difference(&embeddings, &expected["lora.embedding"]) < 1e-5, "{set}");
    }
}

/// An adapter of PEFT's binds, and one that is written is the same to PEFT.
#[test]
fn adapters_are_folded_merged_and_written() {
    for set in SETS {
        let directory = golden_dir().join(set).join("adapter");
        let expected: Vec<Vec<f32>> = tensors(set, "train.safetensors")["lora.embedding"].to_vec2().unwrap();
        let inputs: Vec<Input> = cases(set).into_iter().take(expected.len()).map(|case| case.input).collect();
        let folder = tempfile::tempdir().unwrap();
        let adapter = LoraAdapter::read(&directory).unwrap();
        let merged = folder.path().join("merged");
        // Rounded to bf16.
        let recipe = Embedder::builder(model_dir(set)).find_recipe().unwrap();
        merge_adapter(&model_dir(set), &adapter, &recipe, &merged, &gve::CancelToken::new()).unwrap();
        let builder = || Embedder::builder(model_dir(set)).device(gve::Device::Cpu);
        for (builder, least) in [
            (builder().dtype(gve::DType::F32).adapter(&directory), 0.999_999),
            (Embedder::builder(&merged).device(gve::Device::Cpu), 0.999),
        ] {
            let embedder = builder.build().unwrap();
            for (embedding, expected) in embedder.embed(&inputs).into_iter().zip(&expected) {
                let cosine = cosine(embedding.unwrap().as_slice(), expected);
                assert!(cosine > least, "{set}: {cosine}");
            }
        }
        let written = folder.path().join("written");
        for layout in [gve::model::AdapterLayout::Flat, gve::model::AdapterLayout::Nested] {
            adapter.write(&written, layout).unwrap();
            let names = |directory: &std::path::Path| -> Vec<String> {
                let file = directory.join("adapter_model.safetensors");
                let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
                BTreeMap::from_iter(tensors).into_keys().collect()
            };
            assert_eq!(names(&written), names(&directory), "{set} {layout:?}");
        }
    }
}

/// An adapter of another family binds nothing.
#[test]
fn adapters_of_other_models_are_refused() {
    let adapter = golden_dir().join("tiny-a/train/adapter_final");
    let refused = |set: &str, adapter: &std::path::Path| {
        Embedder::builder(model_dir(set)).adapter(adapter).build().err().unwrap().to_string()
    };
    for set in ["tiny-clip", "tiny-siglip2"] {
        assert!(refused(set, &adapter).contains("was it trained for another model?"));
    }
    // The towers of the sets differ in width.
    let other = golden_dir().join("tiny-clip/adapter");
    assert!(refused("tiny-clip-b", &other).contains("was it trained for another model?"));
}

/// Dropped values are a matter of item, row and layer, and not of how a batch is cut.
#[test]
fn dropout_is_the_same_however_a_batch_is_cut() {
    for set in ["tiny-clip", "tiny-siglip2"] {
        let model = load(set, Trainable::Lora(lora().with_dropout(0.4)));
        let adapter = LoraAdapter::read(&golden_dir().join(set).join("adapter")).unwrap();
        model.load_state(&adapter.tensors(gve::model::AdapterLayout::Flat)).unwrap();
        let direction = &tensors(set, "train.safetensors")["direction"];
        let items = prepared(set, &model, direction.dim(0).unwrap());
        let whole = gradients(&model, &items, direction, Memory::default());
        let cut = gradients(&model, &items, direction, CUT);
        let without = load(set, Trainable::Lora(lora()));
        without.load_state(&adapter.tensors(gve::model::AdapterLayout::Flat)).unwrap();
        let without = gradients(&without, &items, direction, Memory::default());
        let gap = |a: &Gradients, b: &Gradients| {
            let of = |name: &String| max_difference(a.get(name).unwrap(), b.get(name).unwrap());
            model.parameters().keys().map(of).fold(0.0, f32::max)
        };
        assert!(gap(&whole, &cut) < 1e-4 && gap(&whole, &without) > 1e-2, "{set}");
    }
}
