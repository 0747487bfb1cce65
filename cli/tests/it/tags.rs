//! `gve library tag`, and searches by tags.

use std::fs;
use std::path::Path;

use gve_test_support::files::text;
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};

use serde_json::Value;

use crate::damage::decay;
use crate::library::{Bench, count};
use crate::program::gve;

#[test]
fn files_are_tagged_by_a_table_and_found_by_their_tags() {
    let bench = Bench::of(&["a.png", "b.png", "c.png"]);
    let (library, clips) = (bench.path("library"), bench.path("clips"));
    let table = clips.join("tags.jsonl");
    fs::write(
        &table,
        format!(
            "{}\n\n{}\n",
            r#"{"path": "a.png", "who": ["Ada", "Max"], "stars": 4, "seen": true}"#,
            r#"{"path": "nowhere.png", "stars": 1}"#
        ),
    )
    .unwrap();
    let tag = |more: &[&str]| gve(&[&["library", "tag", "--library", text(&library)], more].concat());
    let tagged = tag(&[text(&table)]);
    assert_status(&tagged, 2);
    assert_eq!(stdout(&tagged), "1 file tagged, 1 not in the library\n");
    assert!(stderr(&tagged).contains("nowhere.png"), "{}", stderr(&tagged));
    let csv = bench.path("tags.csv");
    fs::write(&csv, "path,stars,place\nb.png,2,\"Nice, France\"\nc.png,,true\n").unwrap();
    assert_status(&tag(&[text(&csv), "--root", text(&clips)]), 0);

    let shown = tag(&["--show"]);
    let line = |name: &str, tags: &str| format!("{{\"path\":\"{}\",{tags}}}\n", clips.join(name).display());
    let expected = [
        line("a.png", r#""seen":true,"stars":4.0,"who":["Ada","Max"]"#),
        line("b.png", r#""place":"Nice, France","stars":2.0"#),
        line("c.png", r#""place":true"#),
    ];
    assert_eq!(stdout(&shown), expected.concat());
    let found = |filters: &[&str]| {
        let always = ["search", "--library", text(&library), "a rabbit", "--json"];
        let output = gve(&[&always[..], filters].concat());
        assert_status(&output, 0);
        let name = |hit: &Value| Path::new(hit["path"].as_str().unwrap()).file_name().unwrap().to_owned();
        let mut names: Vec<_> = json_lines(&output).iter().map(name).collect();
        names.sort();
        names
    };
    assert_eq!(found(&["--tag", "who=Max"]), ["a.png"]);
    assert_eq!(found(&["--tag", "stars>=2"]), ["a.png", "b.png"]);
    assert_eq!(found(&["--tag", "stars>=2", "--tag", "stars<=3"]), ["b.png"]);
    assert_eq!(found(&["--tag", "place=Nice, France"]), ["b.png"]);
    assert_eq!(found(&["--tag", "place=true", "--min-width", "1", "--max-height", "9999"]), ["c.png"]);
    assert!(found(&["--min-width", "9999"]).is_empty());
    assert!(found(&["--captured-after", "1970-01-01"]).is_empty(), "none says when it was taken");

    // They go with the file, and what is shown can be read again.
    fs::rename(bench.clip("a.png"), bench.clip("new.png")).unwrap();
    assert_eq!(count(&bench.index(&[]), "moved"), 1);
    assert_eq!(found(&["--tag", "seen=true"]), ["new.png"]);
    let info = gve(&["library", "info", "--library", text(&library), "--json"]);
    assert_eq!(
        json_lines(&info)[0]["tags"],
        serde_json::json!({"place": 2, "seen": 1, "stars": 2, "who": 1})
    );
    let shown = stdout(&tag(&["--show"]));
    let removed = tag(&["--remove", "nobody"]);
    assert_eq!(stdout(&removed), "0 files have the tag no more, 0 not in the library\n");
    let removed = tag(&["--remove", "stars", "--remove", "place"]);
    assert_status(&removed, 0);
    assert_eq!(stdout(&removed), "3 files have the tag no more, 0 not in the library\n");
    assert_eq!(stdout(&tag(&["--show"])).lines().count(), 1);
    fs::write(&table, &shown).unwrap();
    assert_status(&tag(&[text(&table)]), 0);
    assert_eq!(stdout(&tag(&["--show"])), shown);
    for (line, expected) in [
        ("{\"path\": \"b.png\", \"x\": {}}", "line 1: x is {}, expected"),
        ("{\"stars\": 1}", "line 1: it has no path"),
        ("{", "line 1"),
    ] {
        fs::write(&table, line).unwrap();
        let refused = tag(&[text(&table)]);
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    for (header, expected) in [
        ("path;stars", "`path` among them, got [\"path;stars\"]"),
        ("path,stars,stars", "column 3 is called \"stars\""),
        ("path,", "column 2 is called \"\""),
    ] {
        fs::write(&csv, format!("{header}\nb.png,1,2\n")).unwrap();
        let refused = tag(&[text(&csv)]);
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
    assert_eq!(stdout(&tag(&["--show"])), shown, "nothing was changed");
}

#[test]
fn spreadsheets_say_true_in_capitals() {
    let bench = Bench::of(&["a.png", "b.png", "c.png"]);
    let (library, csv) = (bench.path("library"), bench.path("tags.csv"));
    let tag = |what: &[&str]| {
        let output = gve(&[&["library", "tag", "--library", text(&library)], what].concat());
        assert_status(&output, 0);
        output
    };
    fs::write(&csv, "path,seen\na.png,TRUE\nb.png,False\nc.png,TRUELY\n").unwrap();
    tag(&[text(&csv), "--root", text(&bench.path("clips"))]);
    let shown: Vec<Value> = json_lines(&tag(&["--show"])).iter().map(|line| line["seen"].clone()).collect();
    assert_eq!(serde_json::json!(shown), serde_json::json!([true, false, "TRUELY"]));
}

#[test]
fn names_that_no_search_can_ask_for_are_refused() {
    let bench = Bench::of(&["a.png"]);
    let (library, clips) = (bench.path("library"), bench.path("clips"));
    let tag = |what: &[&str]| gve(&[&["library", "tag", "--library", text(&library)], what].concat());
    let (table, csv) = (clips.join("tags.jsonl"), clips.join("tags.csv"));
    for name in ["", " ", " who ", "a=b", "stars>", "stars<"] {
        let write = |value: Value| {
            fs::write(&table, format!("\u{feff}{}", serde_json::json!({ "path": "a.png", name: value })))
                .unwrap();
        };
        write(1.into());
        let refused = tag(&[text(&table)]);
        assert_status(&refused, 1);
        let expected = format!("line 1: no search can ask for a tag called {name:?}: ");
        assert!(stderr(&refused).contains(&expected), "{}", stderr(&refused));
        // One that is there all the same can be taken away.
        write(Value::Null);
        assert_status(&tag(&[text(&table)]), 0);
    }
    fs::write(&csv, "path,stars>\na.png,4\n").unwrap();
    let refused = tag(&[text(&csv)]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("line 2: no search can ask for"), "{}", stderr(&refused));
    assert_eq!(stdout(&tag(&["--show"])), "", "nothing was tagged");
    fs::write(&csv, "path,a>b\na.png,4\n").unwrap();
    assert_status(&tag(&[text(&csv)]), 0);
}

#[test]
fn damage_is_counted_where_files_are_tagged() {
    let bench = Bench::of(&["a.png"]);
    bench.add("rabbit.png", "b.png");
    assert_status(&bench.index(&[]), 0);
    let library = bench.path("library");
    let table = bench.path("tags.jsonl");
    fs::write(&table, format!("{{\"path\": \"{}\", \"stars\": 4}}\n", text(&bench.clip("a.png")))).unwrap();
    decay(&library, "b.png");
    for (what, says) in [
        (&[text(&table)][..], "1 file tagged, 0 not in the library\n"),
        (&["--remove", "nobody"], "0 files have the tag no more, 0 not in the library\n"),
    ] {
        let output = gve(&[&["library", "tag", "--library", text(&library)], what].concat());
        assert_status(&output, 2);
        assert_eq!(stdout(&output), says);
        assert_eq!(stderr(&output).matches("gve: error: ").count(), 1, "{}", stderr(&output));
    }
}

/// The library has paths without links, and what is gone may be asked for by way of one.
#[cfg(unix)]
#[test]
fn what_is_gone_beneath_a_linked_folder_is_known() {
    let bench = Bench::of(&["a.png", "sub/b.png"]);
    let (library, link) = (bench.path("library"), bench.path("link"));
    std::os::unix::fs::symlink(bench.path("clips"), &link).unwrap();
    fs::remove_file(bench.clip("a.png")).unwrap();
    fs::remove_dir_all(bench.clip("sub")).unwrap();
    let table = bench.path("tags.jsonl");
    fs::write(&table, r#"{"path": "link/a.png", "stars": 4}"#).unwrap();
    let tagged = gve(&["library", "tag", "--library", text(&library), text(&table)]);
    assert_status(&tagged, 0);
    assert_eq!(stdout(&tagged), "1 file tagged, 0 not in the library\n");
    let under = link.join("sub");
    let found = gve(&["search", "--library", text(&library), "a rabbit", "--json", "--under", text(&under)]);
    assert_status(&found, 0);
    let hits = json_lines(&found);
    assert!(hits.len() == 1 && hits[0]["path"].as_str().unwrap().ends_with("b.png"), "{hits:?}");
}
