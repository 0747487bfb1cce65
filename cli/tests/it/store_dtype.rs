//! `gve index --store-dtype` and `gve search --exact`.

use std::fs;

use gve_test_support::files::text;
use gve_test_support::golden::{marked, model};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};

use crate::program::gve;

#[test]
fn a_library_keeps_embeddings_in_the_precision_it_was_made_with() {
    let folder = tempfile::tempdir().unwrap();
    let [clips, library, model] = [folder.path().join("clips"), folder.path().join("library"), model()];
    fs::create_dir(&clips).unwrap();
    let add = |from: &str, to: &str| fs::write(clips.join(to), marked(from, to)).unwrap();
    let index = |more: &[&str]| {
        let always = ["index", text(&clips), "--library", text(&library), "--model", text(&model), "--json"];
        gve(&[&always[..], more].concat())
    };
    add("tiny.png", "a.png");
    add("tall.png", "b.png");
    let wrong = index(&["--store-dtype", "int4"]);
    assert!(stderr(&wrong).contains("none of f32, f16 and int8"), "{}", stderr(&wrong));
    assert_status(&index(&["--store-dtype", "int8"]), 0);
    let info = stdout(&gve(&["library", "info", "--library", text(&library)]));
    assert!(info.contains("rows       2 of 64 values in int8"), "{info}");
    add("rabbit.png", "c.png");
    assert_eq!(json_lines(&index(&[]))[0]["added"], 1);
    let other = index(&["--store-dtype", "f32"]);
    assert_status(&other, 1);
    assert!(stderr(&other).contains("keeps embeddings in int8, not in f32"), "{}", stderr(&other));
    for more in [&[][..], &["--exact"]] {
        let image = clips.join("c.png");
        let search = ["search", "--library", text(&library), "--image", text(&image), "--json"];
        let found = json_lines(&gve(&[&search[..], more].concat()));
        assert!(found.len() == 3 && found[0]["path"].as_str().unwrap().ends_with("c.png"), "{found:?}");
        assert!(found[0]["score"].as_f64().unwrap() > 0.9, "{found:?}");
    }
}
