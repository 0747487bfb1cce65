//! What gve writes for other libraries, held against what `tests/interop/check_*.py` found good in the
//! installed ones.

use std::path::{Path, PathBuf};

use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, max_difference, model, repository_dir};
use gve_test_support::program::{assert_status, stderr, stdout};
use serde_json::Value;

use crate::program::gve;

/// Files that tell sentence-transformers how a checkpoint embeds.
const COMPANIONS: [&str; 5] = [
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    "2_Normalize/config.json",
    "config_sentence_transformers.json",
];

fn json(path: &Path) -> Value {
    let text = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&text).unwrap()
}

fn pinned(name: &str) -> Value {
    json(&repository_dir().join("tests/interop").join(name))
}

/// The adapter in `directory` has the names and the modules that PEFT bound with the transformers of
/// `layout`.
#[track_caller]
pub(crate) fn assert_binds(directory: &Path, layout: &str) {
    let pinned = &pinned("peft.json")[layout];
    let file = directory.join("adapter_model.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    assert!(
        String::from_utf8_lossy(&bytes).contains(r#""__metadata__":{"format":"pt"}"#),
        "PEFT asks for it"
    );
    let tensors = candle_core::safetensors::load(file, &candle_core::Device::Cpu).unwrap();
    let mut names: Vec<&str> = tensors.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(serde_json::to_value(names).unwrap(), pinned["names"]);
    let config = json(&directory.join("adapter_config.json"));
    assert_eq!(config["target_modules"], pinned["target_modules"]);
    // PEFT makes the model of this kind, and takes the factors for trained ones.
    assert_eq!((&config["task_type"], &config["peft_type"]), (&"FEATURE_EXTRACTION".into(), &"LORA".into()));
    assert!(config["inference_mode"] == true && config["lora_alpha"].is_u64(), "{config}");
}

/// The checkpoint in `directory` says how it embeds as the one called `name` does, whose embeddings were
/// compared.
#[track_caller]
pub(crate) fn assert_described(directory: &Path, name: &str) {
    let pinned = &pinned("sentence_transformers.json")["files"][name];
    assert_eq!(pinned.as_object().unwrap().len(), COMPANIONS.len());
    for file in COMPANIONS {
        assert_eq!(json(&directory.join(file)), pinned[file], "{file} of {}", directory.display());
    }
}

fn adapter() -> PathBuf {
    golden_dir().join("tiny-a/train/adapter_final")
}

#[test]
fn an_adapter_of_other_names_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    for (layout, more) in [("nested", &[][..]), ("flat", &["--layout", "flat"])] {
        let out = folder.path().join(layout);
        let fixed =
            ["model", "adapter", "--adapter", text(&adapter()), "--out", text(&out)].map(str::to_owned);
        let arguments: Vec<&str> = fixed.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let output = gve(&arguments);
        assert_status(&output, 0);
        assert!(stdout(&output).contains("24 modules"), "{}", stdout(&output));
        assert_binds(&out, layout);
        let output = gve(&arguments);
        assert_status(&output, 1);
        assert!(stderr(&output).contains("not empty"), "{}", stderr(&output));
    }
    // Read back, the two are one adapter.
    let read = |layout: &str| {
        let adapter = gve::model::LoraAdapter::read(&folder.path().join(layout)).unwrap();
        adapter.tensors(gve::model::AdapterLayout::Flat)
    };
    let (nested, flat) = (read("nested"), read("flat"));
    assert!(nested.keys().eq(flat.keys()));
    for (name, tensor) in &nested {
        assert_eq!(max_difference(tensor, &flat[name]), 0.0, "{name}");
    }
}

#[test]
fn written_checkpoints_say_how_they_embed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let make = |arguments: &[&str], out: &str| {
        let out = path(out);
        let output = gve(&[&["model"], arguments, &["--out", text(&out)]].concat());
        assert_status(&output, 0);
    };
    let model = model();
    make(&["merge", "--model", text(&model), "--adapter", text(&adapter())], "merged");
    assert_described(&path("merged"), "merged");
    // One that was loaded there and saved says it in another way, and with prompts.
    std::fs::write(path("merged/modules.json"), "[]").unwrap();
    std::fs::write(path("merged/1_Pooling/config.json"), r#"{"pooling_mode": "mean"}"#).unwrap();
    make(&["convert", "--model", text(&path("merged")), "--dtype", "bf16"], "converted");
    assert_described(&path("converted"), "merged");

    std::fs::write(path("texts.jsonl"), r#"{"text": "a red cat sleeps"}"#).unwrap();
    let shape = repository_dir().join("recipes/nano/config.json");
    make(&["init", "--config", text(&shape), "--texts", text(&path("texts.jsonl"))], "new");
    // Made in the shape of the built-in model.
    assert_described(&path("new"), "nano");
    let options = gve::hub::HubOptions::default().with_nano_dir(Some(path("cache")));
    let nano = gve::hub::resolve(gve::hub::NANO, &options, &mut |_| ()).unwrap();
    assert_described(&nano.directory, "nano");
    let output = gve(&["model", "info", "--model", text(&path("new"))]);
    assert_status(&output, 0);
}
