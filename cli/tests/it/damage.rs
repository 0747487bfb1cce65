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

/// The embedding of a file, as it is on disk.
fn embedding_of(library: &Path, name: &str) -> Vec<u8> {
    let opened = Library::open(library).unwrap();
    let row = opened.entries().iter().position(|entry| entry.path.ends_with(name)).unwrap();
    let embedding = opened.embeddings().unwrap().row(row).to_vec();
    embedding.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Changes one of some bytes, which are in one place; gives back the segment that has them.
fn change(library: &Path, what: &[u8], place: usize) -> PathBuf {
    let mut changed = Vec::new();
    for segment in segments(library) {
        let mut bytes = fs::read(&segment).unwrap();
        let starts: Vec<usize> = (0..bytes.len()).filter(|&start| bytes[start..].starts_with(what)).collect();
        for start in starts {
            bytes[start + place] ^= 0x40;
            changed.push(segment.clone());
        }
        fs::write(&segment, bytes).unwrap();
    }
    assert_eq!(changed.len(), 1, "of pictures that look alike all have the same embedding");
    changed.remove(0)
}

/// Changes a byte of the embedding of a file, which looks like no other; gives back the segment that has it.
pub(crate) fn decay(library: &Path, name: &str) -> PathBuf {
    change(library, &embedding_of(library, name), 3)
}

/// Pictures of these names, indexed. The last looks like none of the others.
fn bench_of(names: &[&str]) -> Bench {
    let bench = Bench::empty();
    let (last, others) = names.split_last().unwrap();
    others.iter().for_each(|name| bench.add("tiny.png", name));
    bench.add("rabbit.png", last);
    assert_status(&bench.index(&[]), 0);
    bench
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
    bench.add("rabbit.png", "sub/b.png");
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
fn what_was_not_there_before_it_was_damaged_is_not_lost() {
    let names = ["a.png", "b.png", "c.png", "d.png", "e.png"];
    let mended = |bench: &Bench, path: &Path, added: u64| {
        let output = bench.index_at(path, &[]);
        assert_status(&output, 0);
        assert_eq!((count(&output, "added"), count(&output, "failed")), (added, 0));
        let said = stderr(&output);
        assert!(said.contains("warning: row ") && !said.contains("error: "), "{said}");
    };
    // Forgotten long ago: its row is still there, and counts no more.
    for is_searched in [true, false] {
        let bench = bench_of(&names);
        let embedding = embedding_of(&bench.path("library"), "e.png");
        fs::remove_file(bench.clip("e.png")).unwrap();
        assert_eq!(count(&bench.index(&["--prune"]), "pruned"), 1);
        change(&bench.path("library"), &embedding, 3);
        mended(&bench, &if is_searched { bench.path("clips") } else { bench.clip("a.png") }, 0);
        assert_eq!(bench.names(), names[..4]);
    }
    // Moved, within the folder and with it.
    let bench = bench_of(&names);
    decay(&bench.path("library"), "e.png");
    fs::rename(bench.clip("e.png"), bench.clip("f.png")).unwrap();
    mended(&bench, &bench.path("clips"), 1);
    assert_eq!(bench.names(), ["a.png", "b.png", "c.png", "d.png", "f.png"]);
    let bench = bench_of(&["a.png", "sub/b.png"]);
    decay(&bench.path("library"), "b.png");
    fs::rename(bench.clip("sub"), bench.path("other")).unwrap();
    mended(&bench, &bench.path("other"), 1);
    // A name that there never was: of the file, and of its folder.
    for part in ["b.png", "clips/b.png"] {
        let bench = Bench::of(&names);
        let path = bench.clip("b.png");
        change(&bench.path("library"), text(&path).as_bytes(), text(&path).len() - part.len());
        mended(&bench, &bench.path("clips"), 1);
        assert_eq!(bench.names(), names);
    }
}

#[test]
fn what_may_be_away_is_lost() {
    let bench = bench_of(&["a.png", "sub/b.png"]);
    decay(&bench.path("library"), "b.png");
    let (there, away) = (bench.clip("sub"), bench.path("away"));
    fs::rename(&there, &away).unwrap();
    let output = bench.index_at(&bench.clip("a.png"), &[]);
    assert_status(&output, 2);
    assert_eq!((count(&output, "unchanged"), count(&output, "failed")), (1, 1));
    let said = stderr(&output);
    assert!(said.contains("sub/b.png: what the library had of it is lost: it is not there"), "{said}");
    fs::rename(&away, &there).unwrap();
    assert_eq!(count(&bench.index(&[]), "added"), 1);
    assert_eq!(bench.names(), ["a.png", "sub/b.png"]);
}

#[test]
fn what_is_damaged_on_disk_as_well_is_one_failure() {
    let bench = Bench::empty();
    for (from, to) in [("tiny.png", "a.png"), ("rabbit.png", "b.png"), ("tall.png", "c.png")] {
        bench.add(from, to);
    }
    assert_status(&bench.index(&[]), 0);
    decay(&bench.path("library"), "b.png");
    fs::write(bench.clip("b.png"), "no picture any more").unwrap();
    #[cfg(unix)]
    {
        decay(&bench.path("library"), "c.png");
        fs::remove_file(bench.clip("c.png")).unwrap();
        std::os::unix::fs::symlink("nowhere", bench.clip("c.png")).unwrap();
    }
    let output = bench.index(&[]);
    assert_status(&output, 2);
    let failed = if cfg!(unix) { 2 } else { 1 };
    assert_eq!(count(&output, "failed"), failed);
    let said = stderr(&output);
    assert_eq!(said.matches("gve: error: ").count() as u64, failed, "{said}");
    assert!(!said.contains("is lost: "), "{said}");
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
