//! Linear layers in int8: rounded when they are loaded, or stored so.

use std::path::{Path, PathBuf};

use gve::model::{Checkpoint, LoraAdapter, convert_checkpoint, merge_adapter};
use gve::recipe::NamedRecipe;
use gve::{CancelToken, DType, Device, Embedder, Embedding, Input};
use gve_test_support::golden::{cosine, fixture_dirs, golden_dir, media};
use serde_json::Value;

/// A model of each kind of layers.
fn models() -> Vec<PathBuf> {
    let sets = ["tiny-a", "tiny-q3", "tiny-clip", "tiny-siglip2"];
    sets.map(|set| golden_dir().join(set).join("model")).into()
}

fn recipe(model: &Path) -> NamedRecipe {
    Embedder::builder(model).find_recipe().unwrap()
}

fn embed(model: &Path, dtype: DType) -> Vec<Embedding> {
    let embedder = Embedder::builder(model).recipe(recipe(model)).device(Device::Cpu).dtype(dtype).build();
    let inputs = [Input::text("A dog catches a ball in a park."), Input::image(media("rabbit.png"))];
    embedder.unwrap().embed(&inputs).into_iter().map(Result::unwrap).collect()
}

fn convert(model: &Path, dtype: DType, out: &Path) {
    convert_checkpoint(model, dtype, &recipe(model), out, &CancelToken::new()).unwrap();
}

fn assert_close(found: &[Embedding], expected: &[Embedding], least: f64, what: &str) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let cosine = cosine(found.as_slice(), expected.as_slice());
        assert!(cosine > least, "{what}: cosine {cosine}");
    }
}

#[test]
fn a_checkpoint_stored_in_int8_is_what_rounding_at_loading_gives() {
    for model in models() {
        let folder = tempfile::tempdir().unwrap();
        let (int8, again, back) =
            (folder.path().join("int8"), folder.path().join("again"), folder.path().join("back"));
        convert(&model, DType::Int8, &int8);
        let (before, stored) = (Checkpoint::open(&model).unwrap(), Checkpoint::open(&int8).unwrap());
        assert!(stored.dtypes().contains(&"i8".to_owned()), "{:?}", stored.dtypes());
        assert_eq!(stored.num_parameters(), before.num_parameters());
        assert_eq!(stored.memory_as(DType::Auto), stored.memory_as(DType::Int8));
        let bytes = |checkpoint: &Checkpoint, dtype| checkpoint.memory_as(dtype).weights_bytes;
        assert_eq!(bytes(&stored, DType::Auto), bytes(&before, DType::Int8));
        assert!(bytes(&stored, DType::Auto) < bytes(&before, DType::F32) * 2 / 3);

        let rounded = embed(&model, DType::Int8);
        for dtype in [DType::Auto, DType::Int8] {
            for (stored, rounded) in embed(&int8, dtype).iter().zip(&rounded) {
                assert_eq!(stored.as_slice(), rounded.as_slice(), "{} as {dtype}", model.display());
            }
        }
        let name = model.display().to_string();
        let expected = embed(&model, DType::F32);
        assert_close(&rounded, &expected, 0.99, &name);
        assert!(rounded[0].as_slice() != expected[0].as_slice(), "{name} is not rounded");
        assert_close(&embed(&int8, DType::F32), &expected, 0.99, &name);

        // Twice is once, and the way back is a checkpoint like any other.
        convert(&int8, DType::Int8, &again);
        let weights = |folder: &Path| {
            let mut files: Vec<PathBuf> =
                std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
            files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
            files.sort();
            files.iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>()
        };
        assert!(weights(&again) == weights(&int8), "{name}");
        convert(&int8, DType::F32, &back);
        let back_again = Checkpoint::open(&back).unwrap();
        assert_eq!(back_again.tensor_names(), before.tensor_names());
        let dtypes = back_again.dtypes();
        assert!(dtypes.contains(&"f32".to_owned()) && !dtypes.contains(&"i8".to_owned()), "{dtypes:?}");
        let config = |folder: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap()
        };
        assert_eq!(config(&int8)["quantization_config"]["format"], "int-quantized");
        assert_eq!(config(&back)["quantization_config"], Value::Null);
        assert_close(&embed(&back, DType::F32), &embed(&int8, DType::F32), 0.999_999, &name);
    }
}

#[test]
fn what_an_index_says_of_shards_in_int8_is_so() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture_dirs().into_iter().map(|fixture| fixture.join("model"));
    let model = model.clone().find(|model| model.join("model.safetensors.index.json").is_file()).unwrap();
    let out = folder.path().join("int8");
    convert(&model, DType::Int8, &out);
    let index: Value =
        serde_json::from_slice(&std::fs::read(out.join("model.safetensors.index.json")).unwrap()).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let mut names: Vec<&str> = map.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, Checkpoint::open(&out).unwrap().tensor_names());
    assert!(names.iter().any(|name| name.ends_with("q_proj.weight_scale")));
    // Read by an implementation that is not ours.
    for (name, file) in map {
        let bytes = std::fs::read(out.join(file.as_str().unwrap())).unwrap();
        assert!(safetensors::SafeTensors::deserialize(&bytes).unwrap().tensor(name).is_ok(), "{name}");
    }
}

#[test]
fn adapters_are_folded_in_before_rounding_but_not_into_integers() {
    let fixture = golden_dir().join("tiny-a");
    let (model, adapter) = (fixture.join("model"), fixture.join("adapters/rslora"));
    let folder = tempfile::tempdir().unwrap();
    let int8 = folder.path().join("int8");
    convert(&model, DType::Int8, &int8);
    let embed = |model: &Path, adapter: Option<&Path>, dtype| {
        let mut builder = Embedder::builder(model).recipe(recipe(model)).device(Device::Cpu).dtype(dtype);
        if let Some(adapter) = adapter {
            builder = builder.adapter(adapter);
        }
        vec![builder.build().unwrap().embed_one(&Input::text("a red ball")).unwrap()]
    };
    let expected = embed(&model, Some(&adapter), DType::F32);
    let without = embed(&model, None, DType::F32);
    assert!(cosine(expected[0].as_slice(), without[0].as_slice()) < 0.98, "the adapter changes nothing");
    for (model, dtype) in [(&model, DType::Int8), (&int8, DType::Auto), (&int8, DType::Int8)] {
        assert_close(&embed(model, Some(&adapter), dtype), &expected, 0.99, "with an adapter");
    }
    let adapter = LoraAdapter::read(&adapter).unwrap();
    let out = folder.path().join("merged");
    let refused = merge_adapter(&int8, &adapter, &recipe(&int8), &out, &CancelToken::new()).unwrap_err();
    assert!(refused.to_string().contains("int8"), "{refused}");
    assert!(!out.exists());
}
