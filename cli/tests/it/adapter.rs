//! Adapters on the command line: `--adapter`, `gve model merge`, and libraries that know what they were made
//! with.

use std::path::{Path, PathBuf};

use gve_test_support::files::text;
use gve_test_support::golden::{cosine, golden_dir, media, model};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};

use crate::program::gve;

fn adapter(name: &str) -> PathBuf {
    golden_dir().join("tiny-a/train").join(name)
}

fn embed(model: &Path, more: &[&str]) -> Vec<f32> {
    let image = media("rabbit.png");
    let fixed = ["embed", "--device", "cpu", "--image", text(&image), "--model", text(model)];
    let output = gve(&[&fixed, more].concat());
    assert_status(&output, 0);
    serde_json::from_value(json_lines(&output)[0]["embedding"].clone()).unwrap()
}

#[test]
fn merging_gives_what_the_adapter_gives() {
    let folder = tempfile::tempdir().unwrap();
    let (out, adapter) = (folder.path().join("merged"), adapter("adapter_final"));
    let merge = || {
        let adapter = ["--adapter", text(&adapter), "--out", text(&out)];
        gve(&[&["model", "merge", "--model", text(&model())], &adapter[..]].concat())
    };
    let output = merge();
    assert_status(&output, 0);
    assert!(stdout(&output).contains("24 tensors"), "{}", stdout(&output));
    let merged = embed(&out, &[]);
    assert!(cosine(&merged, &embed(&model(), &["--adapter", text(&adapter)])) > 1.0 - 1e-6);
    assert!(cosine(&merged, &embed(&model(), &[])) < 0.999);

    // The same files as the model has, in the same precision, and those that say how it embeds; none of them
    // is overwritten.
    let names = |directory: &Path| {
        let mut names: Vec<_> =
            std::fs::read_dir(directory).unwrap().map(|f| f.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let described = [
        "1_Pooling",
        "2_Normalize",
        "README.md",
        "config_sentence_transformers.json",
        "gve_recipe.toml",
        "modules.json",
        "sentence_bert_config.json",
    ];
    let mut expected = names(&model());
    expected.extend(described.map(Into::into));
    expected.sort();
    assert_eq!(names(&out), expected);
    let output = merge();
    assert_status(&output, 1);
    assert!(stderr(&output).contains("not empty"), "{}", stderr(&output));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_library_is_not_searched_with_another_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("library");
    let copy = folder.path().join("adapter");
    std::fs::create_dir(&copy).unwrap();
    let put = |name: &str| {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(adapter(name).join(file), copy.join(file)).unwrap();
        }
    };
    put("adapter_final");
    let (media, model) = (media("rabbit.png"), model());
    let index = |more: &[&str]| {
        let fixed =
            ["index", text(&media), "--library", text(&library), "--model", text(&model), "--device", "cpu"];
        gve(&[&fixed, more].concat())
    };
    assert_status(&index(&["--adapter", text(&copy)]), 0);
    let search = |more: &[&str]| {
        let query = ["search", "--library", text(&library), "--image", text(&media), "--instruction", ""];
        gve(&[&query[..], &["--json", "--device", "cpu"], more].concat())
    };
    // Model and adapter are the library's own.
    let found = search(&[]);
    assert_status(&found, 0);
    assert!(json_lines(&found)[0]["score"].as_f64().unwrap() > 0.9999);

    let refused = [index(&[]), search(&["--adapter", text(&adapter("adapter_init"))])];
    // Trained further in the same place.
    put("adapter_init");
    for output in refused.into_iter().chain([search(&[]), index(&["--adapter", text(&copy)])]) {
        assert_status(&output, 1);
        assert!(stderr(&output).contains("adapter: "), "{}", stderr(&output));
    }
}

#[test]
fn adapters_that_cannot_be_used_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let fails = |adapter: &Path, named: &str| {
        let out = folder.path().join("merged");
        for arguments in [vec!["embed", "--text", "a"], vec!["model", "merge", "--out", text(&out)]] {
            let more = ["--model", text(&model), "--adapter", text(adapter)];
            let output = gve(&[&arguments, &more[..]].concat());
            assert_status(&output, 1);
            let message = stderr(&output);
            assert!(message.contains(named) && message.lines().count() == 1, "{message}");
            assert!(!out.exists());
        }
    };
    fails(&folder.path().join("nowhere"), "adapter_config.json");
    let (good, out) = (adapter("adapter_final"), folder.path().join("merged"));
    let dtype = ["model", "merge", "--model", text(&model), "--adapter", text(&good), "--dtype", "bf16"];
    let output = gve(&[&dtype[..], &["--out", text(&out)]].concat());
    assert_status(&output, 1);
    assert!(stderr(&output).contains("--dtype has no effect here") && !out.exists(), "{}", stderr(&output));
    let broken = folder.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    let config = adapter("adapter_final").join("adapter_config.json");
    std::fs::copy(config, broken.join("adapter_config.json")).unwrap();
    std::fs::write(broken.join("adapter_model.safetensors"), b"not tensors").unwrap();
    fails(&broken, "not a safetensors file");
    std::fs::write(broken.join("adapter_config.json"), r#"{"peft_type": "IA3"}"#).unwrap();
    fails(&broken, "peft_type");

    let output = gve(&["model", "merge", "--model", text(&model), "--out", text(folder.path())]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("--adapter"), "{}", stderr(&output));
}
