//! One model of each architecture that is built in: the same commands work for all of them.

use std::path::PathBuf;

use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, media};
use gve_test_support::program::{assert_status, json_lines, stderr};
use serde_json::json;

use crate::program::gve;

/// The tiny models, by their sets in `tests/golden`, and the type that they say they are of.
const FAMILIES: [(&str, &str); 5] = [
    ("tiny-a", "qwen2_5_vl"),
    ("tiny-q2", "qwen2_vl"),
    ("tiny-q3", "qwen3_vl"),
    ("tiny-clip", "clip"),
    ("tiny-siglip2", "siglip"),
];

fn model(name: &str) -> PathBuf {
    golden_dir().join(name).join("model")
}

#[test]
fn each_says_what_it_is() {
    for (name, model_type) in FAMILIES {
        let info = gve(&["model", "info", "--model", text(&model(name)), "--json"]);
        assert_status(&info, 0);
        let info = &json_lines(&info)[0];
        assert_eq!(info["model_type"], model_type);
        assert_eq!(info["unknown_settings"], json!([]), "{name}");
    }
}

#[test]
fn each_has_libraries_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let clips = folder.path().join("clips");
    std::fs::create_dir(&clips).unwrap();
    for name in ["testsrc.mp4", "rabbit.png", "tall.png"] {
        std::fs::copy(media(name), clips.join(name)).unwrap();
    }
    for (number, (name, _)) in FAMILIES.into_iter().enumerate() {
        let library = folder.path().join(name);
        let index = |model: &PathBuf| {
            gve(&["index", text(&clips), "--library", text(&library), "--model", text(model), "--json"])
        };
        let own = model(name);
        let indexed = index(&own);
        assert_status(&indexed, 0);
        assert_eq!(json_lines(&indexed)[0]["added"], 3);
        let other = model(FAMILIES[(number + 1) % FAMILIES.len()].0);
        let mixed = index(&other);
        assert_status(&mixed, 1);
        assert!(stderr(&mixed).contains("dim") || stderr(&mixed).contains("revision"), "{}", stderr(&mixed));

        let search =
            |more: &[&str]| gve(&[&["search", "--library", text(&library), "--json"], more].concat());
        for (flag, file) in [("--image", "rabbit.png"), ("--video", "testsrc.mp4")] {
            let hits = search(&[flag, text(&media(file)), "--instruction", ""]);
            assert_status(&hits, 0);
            let hits = json_lines(&hits);
            assert!(hits[0]["path"].as_str().unwrap().ends_with(file), "{name}: {hits:?}");
            assert!(hits[0]["score"].as_f64().unwrap() > 0.9999, "{name}: {hits:?}");
        }
        let by_another = search(&["a rabbit", "--model", text(&other)]);
        assert_status(&by_another, 1);
    }
}

#[test]
fn each_learns_an_adapter_that_changes_it() {
    for (name, _) in FAMILIES {
        let folder = tempfile::tempdir().unwrap();
        let text_of = |text: &str| json!({"content": [{"type": "text", "text": text}]});
        let pairs = ["red", "blue", "green", "left", "right", "slowly"].map(|word| {
            let query = text_of(&format!("a {word} bicycle"));
            json!({"task": "t2t", "query": query, "positive": text_of(&format!("the {word} street"))})
                .to_string()
        });
        std::fs::write(folder.path().join("pairs.jsonl"), pairs.join("\n")).unwrap();
        let config = folder.path().join("run.toml");
        let settings = format!(
            "output = \"run\"\nepochs = 1\nsteps_per_epoch = 3\n[model]\npath = {:?}\ndevice = \"cpu\"\n\
             [lora]\nr = 4\n[data]\npairs = [\"pairs.jsonl\"]\n[batch]\nsize = 3\n[curriculum]\nprobe_pairs = 4\n\
             [negatives]\nmined = 0\n[optimizer]\nlearning_rate = 1e-2\n",
            model(name)
        );
        std::fs::write(&config, settings).unwrap();
        assert_status(&gve(&["train", text(&config), "--quiet"]), 0);
        let adapter = folder.path().join("run/final");
        let embed = |more: &[&str]| {
            let output =
                gve(&[&["embed", "--text", "a red bicycle", "--model", text(&model(name))], more].concat());
            assert_status(&output, 0);
            json_lines(&output)[0]["embedding"].clone()
        };
        assert_ne!(embed(&[]), embed(&["--adapter", text(&adapter)]), "{name}");
        // An adapter of another architecture binds nothing, and says so.
        let other = FAMILIES.iter().find(|(other, _)| *other != name).unwrap().0;
        let foreign = gve(&[
            "embed",
            "--text",
            "a red bicycle",
            "--model",
            text(&model(other)),
            "--adapter",
            text(&adapter),
        ]);
        assert_status(&foreign, 1);
    }
}
