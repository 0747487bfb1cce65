//! Libraries that are damaged, as whoever searches them and goes on with them meets that.

use std::fs;
use std::path::{Path, PathBuf};

use gve::retrieval::Library;
use gve_test_support::files::text;
use gve_test_support::golden::media;
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use serde_json::Value;

use crate::library::{Bench, count};
use crate::program::gve;

/// The segments of a library, the oldest first.
fn segments(library: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(library.join("segments")).unwrap().map(|entry| entry.unwrap().path());
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "parquet");
    let mut segments: Vec<PathBuf> = files.filter(is_segment).collect();
    segments.sort();
    segments
}

/// Changes a byte of the embedding of a file; gives back the segment that has it.
fn decay(library: &Path, name: &str) -> PathBuf {
    let opened = Library::open(library).unwrap();
    let row = opened.entries().iter().position(|entry| entry.path.ends_with(name)).unwrap();
    let embedding = opened.embeddings().unwrap().row(row).to_vec();
    let values: Vec<u8> = embedding.iter().flat_map(|value| value.to_le_bytes()).collect();
    for segment in segments(library) {
        let mut bytes = fs::read(&segment).unwrap();
        if let Some(place) = bytes.windows(values.len()).position(|window| window == values) {
            bytes[place + 3] ^= 0x40;
            fs::write(&segment, bytes).unwrap();
            return segment;
        }
    }
    panic!("no segment has {name}");
}

#[test]
fn damage_is_named_the_rest_answers_and_indexing_mends_it() {
    let bench = Bench::empty();
    for (from, to) in [("tiny.png", "a.png"), ("rabbit.png", "b.png"), ("tall.png", "c.png")] {
        bench.add(from, to);
    }
    assert_status(&bench.index(&[]), 0);
    let library = bench.path("library");
    let search = |more: &[&str]| {
        let image = media("tiny.png");
        gve(&[&["search", "--library", text(&library), "--image", text(&image)], more].concat())
    };
    let whole = search(&["--json"]);
    assert_status(&whole, 0);
    let segment = decay(&library, "b.png");
    let damaged = search(&["--json"]);
    assert_status(&damaged, 2);
    let said = stderr(&damaged);
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains(text(&segment)) && said.contains("row 1") && said.contains("b.png"), "{said}");
    let mut rest = json_lines(&whole);
    rest.retain(|hit| !hit["path"].as_str().unwrap().ends_with("b.png"));
    let scores = |hits: &[Value]| -> Vec<Value> {
        hits.iter().map(|hit| serde_json::json!([hit["path"], hit["score"]])).collect()
    };
    assert_eq!(scores(&json_lines(&damaged)), scores(&rest));

    let mended = bench.index(&[]);
    assert_status(&mended, 0);
    let counts = ["added", "unchanged", "failed"].map(|key| count(&mended, key));
    assert_eq!(counts, [1, 2, 0]);
    let said = stderr(&mended);
    assert!(said.contains("warning: row 1 of the library segment") && !said.contains("error"), "{said}");
    assert_status(&bench.index(&[]), 0);
    let again = search(&["--json"]);
    assert_status(&again, 0);
    assert_eq!(json_lines(&again).len(), 3);

    // Nothing is left to answer with.
    segments(&library).iter().for_each(|segment| fs::write(segment, "PAR1").unwrap());
    let nothing = search(&[]);
    assert_status(&nothing, 1);
    assert_eq!(stdout(&nothing), "");
    fs::write(library.join("library.json"), r#"{"format_version": 1, "dim": 18446744073709551615}"#).unwrap();
    let refused = search(&[]);
    assert_status(&refused, 1);
    assert_eq!(stderr(&refused).lines().count(), 1, "{}", stderr(&refused));
}

#[test]
fn what_is_not_embedded_anew_is_told_as_lost() {
    let bench = Bench::of(&["a.png"]);
    bench.add("tiny.png", "sub/b.png");
    assert_status(&bench.index_at(&bench.clip("sub"), &[]), 0);
    let library = bench.path("library");
    assert_eq!(segments(&library).len(), 2);
    let lost = |says: &str| {
        let output = bench.index_at(&bench.clip("a.png"), &[]);
        assert_status(&output, 2);
        assert_eq!((count(&output, "unchanged"), count(&output, "failed")), (1, 1));
        let said = stderr(&output);
        assert!(said.contains("warning: ") && said.contains("error: ") && said.contains(says), "{said}");
    };
    let mended = || {
        let output = bench.index(&[]);
        assert_status(&output, 0);
        assert_eq!((count(&output, "added"), count(&output, "failed")), (1, 0));
        assert_eq!(bench.names(), ["a.png", "sub/b.png"]);
        stderr(&output)
    };
    decay(&library, "sub/b.png");
    lost("sub/b.png: what the library had of it is lost: index it again");
    assert_eq!(mended(), "");
    // Nobody knows what was in a segment that is gone.
    let newest = || segments(&library).pop().unwrap();
    fs::remove_file(newest()).unwrap();
    lost("nobody can tell what else the damaged segments of the library");
    assert_eq!(mended(), "");
    fs::remove_file(newest()).unwrap();
    let said = mended();
    assert!(said.contains("is damaged (it is missing") && !said.contains("error"), "{said}");
}

#[test]
fn each_damaged_file_is_called_what_it_is() {
    let bench = Bench::of(&["a.png"]);
    let library = bench.path("library");
    let warned = |file: &str, content: &str, says: &str| {
        fs::write(library.join(file), content).unwrap();
        let output = bench.index(&[]);
        assert_status(&output, 0);
        let said = stderr(&output);
        let warning = format!("warning: {says}{}", text(&library.join(file)));
        assert!(said.lines().count() == 1 && said.contains(&warning), "{said}");
        said
    };
    let said = warned("library.newest", "one", "");
    assert!(said.contains("is damaged (expected the number of a segment, got \"one\")"), "{said}");
    let mended = bench.index(&[]);
    assert_status(&mended, 0);
    assert_eq!(stderr(&mended), "");
    // What users have said is nowhere else, and nobody writes over it.
    warned("library.tags", "stars", "the tags in ");
    warned("library.tags", "stars", "the tags in ");
}
