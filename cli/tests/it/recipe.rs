//! How a model is used, as a user meets it: shown, chosen, kept in libraries and beside weights.

use std::fs;
use std::path::{Path, PathBuf};

use gve::retrieval::Library;
use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, media, model};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use serde_json::Value;

use crate::program::gve;

/// A file of recipes with one that says another thing to documents, and has widths.
fn models_file(folder: &Path) -> PathBuf {
    let path = folder.join("models.toml");
    let entry = "[mine]\ntitle = \"Mine\"\nlicence = \"MIT\"\nlanguages = [\"de\"]\nsource = \"a test\"\n\
        [mine.recipe]\ninstruction = \"Represent it.\"\nwidths = [16]\nquery_instruction = { any = \"Find it.\" }\n";
    fs::write(&path, entry).unwrap();
    path
}

fn pictures(folder: &Path) -> PathBuf {
    let clips = folder.join("clips");
    fs::create_dir_all(&clips).unwrap();
    for name in ["tiny.png", "rabbit.png"] {
        fs::copy(media(name), clips.join(name)).unwrap();
    }
    clips
}

/// Vector of a text under an instruction.
fn embed(more: &[&str]) -> Vec<Value> {
    let model = model();
    let output = gve(&[&["embed", "--model", text(&model), "--text", "a rabbit"], more].concat());
    assert_status(&output, 0);
    json_lines(&output)[0]["embedding"].as_array().unwrap().clone()
}

#[test]
fn recipes_are_listed_and_told_of_a_model() {
    let listed = gve(&["model", "list"]);
    assert_status(&listed, 0);
    let listed = stdout(&listed);
    for expected in
        ["gve: GVE", "  Alibaba-NLP/GVE-3B of 2048 values", "  models of type qwen2_5_vl", "nano: "]
    {
        assert!(listed.contains(expected), "{expected}: {listed}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = models_file(folder.path());
    let lines = json_lines(&gve(&["model", "list", "--json", "--models-file", text(&file)]));
    let mine = lines.iter().find(|line| line["name"] == "mine").unwrap();
    assert_eq!(
        (&mine["entry"]["licence"], &mine["entry"]["recipe"]["widths"]),
        (&"MIT".into(), &[16].into())
    );

    let info = |more: &[&str]| gve(&[&["model", "info", "--model", text(&model())], more].concat());
    let said = stdout(&info(&[]));
    assert!(said.contains("gve (cbf29ce484222325), that of models of type qwen2_5_vl"), "{said}");
    assert!(!said.contains("licence"), "nobody knows whose it is: {said}");
    let told = &json_lines(&info(&["--json", "--recipe", "mine", "--models-file", text(&file)]))[0]["recipe"];
    assert_eq!((&told["name"], &told["found"]), (&"mine".into(), &"as told".into()), "{told}");
    assert_eq!(told["settings"]["instruction"], "Represent it.");
    let nano = &json_lines(&gve(&["model", "info", "--json"]))[0]["recipe"];
    assert_eq!(nano["name"], "nano", "{nano}");

    for (arguments, expected) in [
        (&["--recipe", "min"][..], "there is no recipe \"min\""),
        (&["--models-file", "/nowhere.toml"], "cannot read /nowhere.toml"),
        (&["--models-file", text(&model().join("config.json"))], "config.json:1: "),
    ] {
        let output = info(arguments);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert_eq!(stderr(&output).trim_end().lines().count(), 1, "{}", stderr(&output));
    }
}

#[test]
fn a_query_says_what_the_recipe_has_it_say() {
    let folder = tempfile::tempdir().unwrap();
    let (library, clips) = (folder.path().join("lib"), pictures(folder.path()));
    let index =
        gve(&["index", text(&clips), "--library", text(&library), "--model", text(&model()), "--verbose"]);
    assert_status(&index, 0);
    assert!(stderr(&index).contains("recipe gve, that of models of type qwen2_5_vl"), "{}", stderr(&index));
    let scores = |more: &[&str]| {
        let arguments = ["search", "--library", text(&library), "a rabbit", "--json", "--verbose"];
        let output = gve(&[&arguments[..], more].concat());
        assert_status(&output, 0);
        let hits = json_lines(&output).iter().map(|hit| hit["score"].clone()).collect::<Vec<_>>();
        (hits, stderr(&output))
    };
    let (default, said) = scores(&[]);
    let instruction = "Find the video according to the text description.";
    assert!(said.contains(&format!("instruction of the query: {instruction}")), "{said}");
    assert_eq!(scores(&["--instruction", instruction]).0, default);
    let (off, said) = scores(&["--instruction", ""]);
    assert!(said.contains("the query has no instruction of its own"), "{said}");
    assert_ne!(off, default);
    assert_eq!(scores(&["--instruction", "You are a helpful assistant."]).0, off);
    let (other, said) = scores(&["--instruction", "Find a picture."]);
    assert!(said.contains("instruction of the query: Find a picture.") && other != default, "{said}");
}

#[test]
fn a_library_is_of_one_recipe_and_one_width() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, file) = (pictures(folder.path()), models_file(folder.path()));
    let (library, narrow) = (folder.path().join("lib"), folder.path().join("narrow"));
    let mine = ["--recipe", "mine", "--models-file", text(&file)];
    let index = |library: &Path, more: &[&str]| {
        let tiny = model();
        let always = ["index", text(&clips), "--library", text(library), "--model", text(&tiny)];
        gve(&[&always[..], more].concat())
    };
    let search = |library: &Path, more: &[&str]| {
        gve(&[&["search", "--library", text(library), "a rabbit", "--json"], more].concat())
    };
    let refused = |output: std::process::Output, expected: &str| {
        assert_status(&output, 1);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
    };
    assert_status(&index(&library, &mine), 0);
    let manifest = Library::open(&library).unwrap().manifest().clone();
    assert_eq!((manifest.recipe_id().name.as_str(), manifest.dim), ("mine", 64));
    refused(index(&library, &[]), "recipe: \"mine (");
    // It is found again by its name, where the file is there.
    assert_status(&search(&library, &["--models-file", text(&file)]), 0);
    refused(search(&library, &[]), "\"gve (cbf29ce484222325)\" here");

    refused(index(&narrow, &["--dim", "24"]), "was not trained to be cut to 24 of its 64 values");
    refused(index(&narrow, &["--dim", "65", "--force-dim"]), "64 values cannot be cut to 65");
    assert_status(&index(&narrow, &[&["--dim", "16"], &mine[..]].concat()), 0);
    assert_eq!(Library::open(&narrow).unwrap().manifest().dim, 16);
    refused(index(&narrow, &mine), "dim: 16 there, 64 here");
    let hits = |output: std::process::Output| {
        assert_status(&output, 0);
        json_lines(&output).iter().map(|hit| hit["score"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    // Cut when it was made or when it is searched, it is the same.
    let file = ["--models-file", text(&file)];
    let made = hits(search(&narrow, &file));
    let cut = hits(search(&library, &[&["--dim", "16"], &file[..]].concat()));
    assert!(made.len() == 2 && made.iter().zip(&cut).all(|(a, b)| (a - b).abs() < 1e-6), "{made:?} {cut:?}");
    refused(search(&library, &[&["--dim", "24"], &file[..]].concat()), "(widths it was trained for: 16)");
    refused(
        search(&narrow, &[&["--dim", "32", "--force-dim"], &file[..]].concat()),
        "the 16 values of the library",
    );
    let forced = hits(search(&narrow, &[&["--dim", "8", "--force-dim"], &file[..]].concat()));
    assert_ne!(forced, made);
    // Moved towards what it found, a query is nearer to it.
    let moved = hits(search(&library, &[&["--feedback", "1"], &file[..]].concat()));
    let plain = hits(search(&library, &file));
    assert!(moved[0] > plain[0], "{moved:?} {plain:?}");
    let heavy = hits(search(&library, &[&["--feedback", "1", "--feedback-weight", "9"], &file[..]].concat()));
    assert!(heavy[0] > moved[0] && heavy[0] > 0.98, "{heavy:?}");
    refused(
        search(&library, &[&["--feedback", "1", "--feedback-weight=-1"], &file[..]].concat()),
        "must not be negative",
    );
}

/// What is compared with the library is the embedding of a prompt that holds what was found, made small.
#[test]
fn a_query_is_asked_again_together_with_what_was_found() {
    let folder = tempfile::tempdir().unwrap();
    let (library, clips, file) =
        (folder.path().join("lib"), pictures(folder.path()), models_file(folder.path()));
    let tiny = model();
    let index = |more: &[&str]| {
        let always = ["index", text(&clips), "--library", text(&library), "--model", text(&tiny)];
        gve(&[&always[..], more].concat())
    };
    let mine = ["--recipe", "mine", "--models-file", text(&file)];
    assert_status(&index(&mine), 0);
    let search = |more: &[&str]| {
        let always = ["search", "--library", text(&library), "a rabbit", "--json", "--instruction", ""];
        gve(&[&always[..], &["--models-file", text(&file)], more].concat())
    };
    let refused = search(&["--pseudo-query", "1"]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("recipe mine has no `pseudo_query`"), "{}", stderr(&refused));
    // The library stays what it is: only queries change.
    let recipe = fs::read_to_string(&file).unwrap() + "pseudo_query = { tokens_per_frame = 9 }\n";
    fs::write(&file, recipe).unwrap();

    let first = json_lines(&search(&[]))[0]["path"].as_str().unwrap().to_owned();
    let words = |text: &str| serde_json::json!({"type": "text", "text": text});
    let image = serde_json::json!({"type": "image", "image": first, "max_pixels": 9 * 28 * 28});
    let content = [words("Documents:\n[1] "), image, words("\nSearch Query: a rabbit")];
    let line = folder.path().join("asked.jsonl");
    fs::write(&line, serde_json::json!({"content": content}).to_string()).unwrap();
    let vector = |output: std::process::Output| -> Vec<f64> {
        assert_status(&output, 0);
        serde_json::from_value(json_lines(&output)[0]["embedding"].clone()).unwrap()
    };
    let embed = |more: &[&str]| gve(&[&["embed", "--model", text(&tiny)], more, &mine[..]].concat());
    let asked = vector(embed(&["--input", text(&line)]));
    let hits = search(&["--pseudo-query", "1"]);
    assert_status(&hits, 0);
    for hit in json_lines(&hits) {
        let found = vector(embed(&["--image", hit["path"].as_str().unwrap()]));
        let cosine: f64 = found.iter().zip(&asked).map(|(a, b)| a * b).sum();
        assert!((hit["score"].as_f64().unwrap() - cosine).abs() < 1e-5, "{hit}: {cosine}");
    }

    fs::remove_file(&first).unwrap();
    let without = search(&["--pseudo-query", "2"]);
    assert_status(&without, 2);
    assert!(stderr(&without).contains("the query is asked again without it"), "{}", stderr(&without));
    assert_eq!(json_lines(&without).len(), 2);
}

#[test]
fn what_is_made_of_a_model_is_used_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let file = models_file(folder.path());
    let mine = ["--recipe", "mine", "--models-file", text(&file)];
    let expected = embed(&mine);
    assert_ne!(expected, embed(&[]));
    assert_eq!(embed(&[&["--dim", "16"], &mine[..]].concat()).len(), 16);

    let adapter = golden_dir().join("tiny-a/train/adapter_final");
    for (name, how) in [
        ("converted", &["convert", "--dtype", "f32"][..]),
        ("merged", &["merge", "--adapter", text(&adapter)]),
    ] {
        let out = folder.path().join(name);
        let tiny = model();
        let always = ["--model", text(&tiny), "--out", text(&out)];
        assert_status(&gve(&[&["model"], how, &always[..], &mine[..]].concat()), 0);
        let made = gve(&["embed", "--model", text(&out), "--text", "a rabbit", "--verbose"]);
        assert_status(&made, 0);
        assert!(stderr(&made).contains("recipe mine, which lies in "), "{}", stderr(&made));
        if name == "converted" {
            assert_eq!(json_lines(&made)[0]["embedding"].as_array().unwrap(), &expected);
        }
    }
    // An adapter that is written anew keeps what lies beside it.
    let (with, renamed) = (folder.path().join("with"), folder.path().join("renamed"));
    fs::create_dir(&with).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(adapter.join(name), with.join(name)).unwrap();
    }
    let recipe = "gve_recipe.toml";
    fs::copy(folder.path().join("merged").join(recipe), with.join(recipe)).unwrap();
    assert_status(&gve(&["model", "adapter", "--adapter", text(&with), "--out", text(&renamed)]), 0);
    assert_eq!(fs::read(renamed.join(recipe)).unwrap(), fs::read(with.join(recipe)).unwrap());
}
