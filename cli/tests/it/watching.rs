//! `gve index --watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use gve_test_support::files::text;
use gve_test_support::golden::{marked, model};
use gve_test_support::program::{assert_status, end_of, stderr};
use serde_json::Value;

use crate::library::Bench;
use crate::program::{ask_to_stop, command};

#[test]
fn changes_are_lines_until_it_is_stopped() {
    for json in [true, false] {
        let bench = Bench::of(&["a.png"]);
        let (clips, library, model) = (bench.path("clips"), bench.path("library"), model());
        let mut arguments =
            vec!["index", text(&clips), "--library", text(&library), "--model", text(&model), "--watch"];
        arguments.extend(["--settle", "0.2"]);
        arguments.extend(json.then_some("--json"));
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut next = || lines.next().unwrap().unwrap();
        let summary = next();
        assert!(summary.contains(if json { "\"unchanged\":1" } else { "1 unchanged" }), "{summary}");
        let (new, moved) = (bench.clip("new.png"), bench.clip("moved.png"));
        fs::write(&new, marked("tiny.png", 7)).unwrap();
        let added = next();
        fs::rename(&new, &moved).unwrap();
        let renamed = next();
        fs::remove_file(&moved).unwrap();
        let forgotten = next();
        if json {
            let [added, renamed, forgotten]: [Value; 3] =
                [added, renamed, forgotten].map(|line| serde_json::from_str(&line).unwrap());
            assert_eq!((&added["event"], &added["path"]), (&"added".into(), &text(&new).into()));
            assert_eq!((&renamed["from"], &renamed["path"]), (&text(&new).into(), &text(&moved).into()));
            assert_eq!((&renamed["event"], &forgotten["event"]), (&"moved".into(), &"forgotten".into()));
        } else {
            assert_eq!(added, format!("added      {}", text(&new)));
            assert_eq!(renamed, format!("moved      {} -> {}", text(&new), text(&moved)));
            assert_eq!(forgotten, format!("forgotten  {}", text(&moved)));
        }
        ask_to_stop(&child, libc::SIGINT);
        let ended = end_of(child);
        assert_status(&ended, 0);
        assert!(stderr(&ended).contains("stopped watching"), "{}", stderr(&ended));
        assert_eq!(bench.names().len(), 1);
    }
}
