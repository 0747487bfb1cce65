//! Model folders made to break the reader: no panic, no memory beyond what the files hold, one line that
//! names the file.

use std::path::Path;

use candle_core::{DType, Device};
use gve::Embedder;
use gve::model::{Checkpoint, LoraAdapter, QwenVl, checkpoint_fingerprint};
use gve_test_support::golden::golden_dir;
use serde_json::{Value, json};

use crate::model_settings::changed_model;

/// The error of everything that reads `folder`, each one line.
fn refusal(folder: &Path) -> String {
    let message = QwenVl::load(folder, DType::F32, &Device::Cpu).expect_err("it loads").to_string();
    // Reads more, or the same: it may not panic.
    drop((checkpoint_fingerprint(folder), Embedder::load(folder)));
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
    message
}

#[test]
fn absurd_sizes_are_refused_by_name() {
    for (pointer, value) in [
        ("/hidden_size", json!(1u64 << 40)),
        ("/hidden_size", json!(0)),
        ("/hidden_size", json!(-64)),
        ("/hidden_size", json!(1.5)),
        ("/num_attention_heads", json!(0)),
        ("/num_attention_heads", json!(u64::MAX)),
        ("/num_key_value_heads", json!(u64::MAX)),
        ("/num_hidden_layers", json!(1_000_000_000)),
        ("/num_hidden_layers", json!("4")),
        ("/intermediate_size", json!(u64::MAX)),
        ("/intermediate_size", json!(0)),
        ("/vocab_size", json!(u64::MAX)),
        ("/vocab_size", json!(0)),
        ("/head_dim", json!(u64::MAX)),
        ("/head_dim", json!(0)),
        ("/rms_norm_eps", json!(-1.0)),
        ("/rope_theta", json!(-1.0)),
        ("/rope_scaling/mrope_section", json!([u64::MAX, 1, 1])),
        ("/rope_scaling/mrope_section", json!([8])),
        ("/vision_config/depth", json!(u64::MAX)),
        ("/vision_config/hidden_size", json!(1u64 << 60)),
        ("/vision_config/num_heads", json!(u64::MAX)),
        ("/vision_config/in_channels", json!(u64::MAX)),
        ("/vision_config/patch_size", json!(0)),
        ("/vision_config/patch_size", json!(1u64 << 33)),
        ("/vision_config/temporal_patch_size", json!(u64::MAX)),
        ("/vision_config/spatial_merge_size", json!(1u64 << 33)),
        ("/vision_config/window_size", json!(u64::MAX)),
        ("/vision_config/tokens_per_second", json!(-4)),
        ("/vision_config", json!([])),
        ("/image_token_id", json!(u64::MAX)),
    ] {
        let folder = changed_model(|config| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[key] = value.clone();
        });
        let message = refusal(folder.path());
        assert!(message.contains("config.json"), "{pointer} {value}: {message}");
    }
    for text in ["", "null", "[]", "{", &"[".repeat(100_000), &"{\"a\":".repeat(100_000)] {
        let folder = changed_model(|_| {});
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        assert!(refusal(folder.path()).contains("config.json"));
    }
}

/// A safetensors file of `header` and `values` bytes of zeros.
fn safetensors(header: &str, values: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; values]].concat()
}

#[test]
fn broken_weights_are_refused() {
    let one = |dtype: &str, shape: Value, offsets: [u64; 2]| {
        json!({"model.norm.weight": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}).to_string()
    };
    let two = |second: [u64; 2]| {
        let tensor = |offsets: [u64; 2]| json!({"dtype": "F32", "shape": [2], "data_offsets": offsets});
        json!({"a": tensor([0, 8]), "b": tensor(second)}).to_string()
    };
    for (what, bytes) in [
        ("nothing", vec![]),
        ("seven bytes", vec![1; 7]),
        ("a header of 2^64 bytes", u64::MAX.to_le_bytes().to_vec()),
        ("a header beyond the end", [&1000u64.to_le_bytes()[..], b"{}"].concat()),
        ("no JSON", safetensors("{{{{", 0)),
        ("deep JSON", safetensors(&"[".repeat(100_000), 0)),
        ("no UTF-8", [&4u64.to_le_bytes()[..], &[0xff; 4]].concat()),
        ("an unknown type", safetensors(&one("F31", json!([2]), [0, 8]), 8)),
        ("offsets beyond the end", safetensors(&one("F32", json!([64]), [0, 256]), 8)),
        ("offsets backwards", safetensors(&one("F32", json!([2]), [8, 0]), 8)),
        ("a shape that is not its bytes", safetensors(&one("F32", json!([64]), [0, 8]), 8)),
        ("a shape that overflows", safetensors(&one("F32", json!([1u64 << 33, 1u64 << 33]), [0, 8]), 8)),
        ("negative", safetensors(&one("F32", json!([-2]), [0, 8]), 8)),
        ("overlapping", safetensors(&two([4, 12]), 12)),
        ("a gap", safetensors(&two([16, 24]), 24)),
        ("bytes behind the last", safetensors(&two([8, 16]), 99)),
        ("a tensor that is missing", safetensors(&two([8, 16]), 16)),
        ("whole numbers", safetensors(&one("I64", json!([64]), [0, 512]), 512)),
    ] {
        let folder = changed_model(|_| {});
        std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        let message = refusal(folder.path());
        assert!(message.contains(folder.path().to_str().unwrap()), "{what}: {message}");
        println!("{what}: {message}");
    }
}

#[test]
fn names_of_shards_stay_in_the_folder() {
    let outside = tempfile::tempdir().unwrap();
    let stolen = outside.path().join("model-00001-of-00004.safetensors");
    std::fs::copy(golden_dir().join("tiny-a/model/model-00001-of-00004.safetensors"), &stolen).unwrap();
    let absolute = stolen.to_str().unwrap().to_owned();
    for name in
        [absolute.as_str(), "../x.safetensors", "a/../../x", "..", ".", "", "a\\b", "C:x", "a\0b", "a\n"]
    {
        let folder = changed_model(|_| {});
        let index = json!({"metadata": {}, "weight_map": {"model.norm.weight": name}});
        std::fs::write(folder.path().join("model.safetensors.index.json"), index.to_string()).unwrap();
        let message = refusal(folder.path());
        assert!(
            message.contains("index.json") && message.contains("not the name of a file"),
            "{name:?}: {message}"
        );
    }
    // Two files with the same tensor: which one counts is not told.
    let folder = changed_model(|_| {});
    let copy = folder.path().join("copy.safetensors");
    std::fs::copy(folder.path().join("model-00001-of-00004.safetensors"), copy).unwrap();
    let path = folder.path().join("model.safetensors.index.json");
    let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    index["weight_map"]["x"] = json!("copy.safetensors");
    std::fs::write(&path, index.to_string()).unwrap();
    assert!(refusal(folder.path()).contains("is in another file as well"));
}

/// The hub's cache is made of links: these are followed.
#[cfg(unix)]
#[test]
fn links_are_followed_and_pipes_are_not_waited_for() {
    let model = golden_dir().join("tiny-a/model");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&model).unwrap() {
        let path = entry.unwrap().path();
        std::os::unix::fs::symlink(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    QwenVl::load(folder.path(), DType::F32, &Device::Cpu).unwrap();
    for name in
        ["model-00001-of-00004.safetensors", "config.json", "tokenizer.json", "preprocessor_config.json"]
    {
        let folder = changed_model(|_| {});
        let path = folder.path().join(name);
        std::fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: no mkfifo");
            return;
        }
        let message = Embedder::load(folder.path()).err().unwrap().to_string();
        assert!(message.contains(name) && message.contains("a named pipe"), "{name}: {message}");
    }
}

/// Damage of every kind at places all over the small files: an error or a model, and never a panic.
#[test]
fn mutated_folders_never_panic() {
    let mut random = gve::Random::new(11);
    let mut below = |n: usize| (random.next_u64() % n as u64) as usize;
    let names = [
        "config.json",
        "preprocessor_config.json",
        "tokenizer_config.json",
        "tokenizer.json",
        "model.safetensors.index.json",
    ];
    let folder = changed_model(|_| {});
    let (mut refused, mut loaded) = (0, 0);
    for name in names {
        let path = folder.path().join(name);
        let whole = std::fs::read(&path).unwrap();
        for _ in 0..40 {
            let mut bytes = whole.clone();
            let at = below(bytes.len());
            match below(5) {
                0 => bytes[at] = below(256) as u8,
                1 => bytes.truncate(at),
                2 => bytes.insert(at, b"{}[]\"0-9e,:"[below(11)]),
                3 => drop(bytes.drain(at..(at + 1 + below(40)).min(whole.len()))),
                _ => {
                    // A number becomes another one.
                    let start = bytes[at..].iter().position(u8::is_ascii_digit).map(|next| at + next);
                    if let Some(start) = start {
                        bytes.splice(start..=start, *b"99999999999");
                    }
                }
            }
            std::fs::write(&path, &bytes).unwrap();
            match Embedder::load(folder.path()) {
                Ok(_) => loaded += 1,
                Err(error) => {
                    assert!(!error.to_string().contains('\n'), "{error}");
                    refused += 1;
                }
            }
        }
        std::fs::write(&path, whole).unwrap();
    }
    println!("{refused} refused, {loaded} loaded");
    assert!(refused > 50 && loaded > 0);
}

#[test]
fn hostile_adapters_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |config: &Value, tensors: &[u8]| {
        std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
        std::fs::write(folder.path().join("adapter_model.safetensors"), tensors).unwrap();
        LoraAdapter::read(folder.path()).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]});
    for (key, value) in [
        ("r", json!(u64::MAX)),
        ("r", json!(-1)),
        ("lora_alpha", json!("x")),
        ("init_lora_weights", json!("olora")),
    ] {
        let mut config = config.clone();
        config[key] = value;
        let message = write(&config, &[]);
        assert!(message.contains("adapter_config.json") && message.contains(key), "{message}");
    }
    for bytes in [vec![], u64::MAX.to_le_bytes().to_vec(), safetensors("{{", 0), safetensors("{}", 0)] {
        assert!(write(&config, &bytes).contains("adapter_model.safetensors"));
    }
    assert!(Checkpoint::open(folder.path()).is_err());
}

/// The tokenizer's library allocates by it, or panics over it, once there is text.
#[test]
fn a_broken_map_of_characters_is_an_error_of_its_file() {
    // A length without a trie, and one of 4 GB.
    for map in ["AAAAAA==", "/////w=="] {
        let folder = changed_model(|_| {});
        let path = folder.path().join("tokenizer.json");
        let mut tokenizer: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        tokenizer["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": map});
        std::fs::write(&path, tokenizer.to_string()).unwrap();
        let said = Embedder::load(folder.path()).err().unwrap().to_string();
        assert!(said.contains(path.to_str().unwrap()) && said.contains("precompiled_charsmap"), "{said}");
    }
}
