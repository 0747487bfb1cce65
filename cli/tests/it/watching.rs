//! `gve index --watch`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use gve::retrieval::{Library, LibraryWriter};
use gve_test_support::files::text;
use gve_test_support::golden::{marked, model};
use gve_test_support::program::{assert_status, end_of, stderr, stdout};
use serde_json::Value;

use crate::library::Bench;
use crate::program::{ask_to_stop, command};

fn watch(bench: &Bench, more: &[&str]) -> Child {
    let (clips, library, model) = (bench.path("clips"), bench.path("library"), model());
    let always = ["index", text(&clips), "--library", text(&library), "--model", text(&model)];
    let watching = ["--watch", "--settle", "0.2"];
    let mut watch = command(&[&always[..], &watching[..], more].concat());
    watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn changes_are_lines_until_it_is_stopped() {
    for json in [true, false] {
        let bench = Bench::of(&["a.png"]);
        let mut child = watch(&bench, if json { &["--json"][..] } else { &[] });
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

#[test]
fn where_something_failed_the_watch_is_done_in_part() {
    for is_before in [true, false] {
        let bench = Bench::of(&["a.png"]);
        let spoil = || fs::write(bench.clip("broken.png"), "no picture").unwrap();
        if is_before {
            spoil();
        }
        let mut child = watch(&bench, &[]);
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        let mut wait_for = |part: &str| assert!(said.any(|line| line.contains(part)), "{part} is not said");
        if is_before {
            wait_for("broken.png");
        }
        wait_for("watching; Ctrl-C ends it");
        if !is_before {
            spoil();
            wait_for("broken.png");
        }
        ask_to_stop(&child, libc::SIGINT);
        let ended = end_of(child);
        wait_for("stopped watching");
        assert_status(&ended, 2);
    }
}

#[test]
fn who_watches_waits_for_another_writer_at_first() {
    let bench = Bench::of(&["a.png"]);
    let manifest = Library::open(bench.path("library")).unwrap().manifest().clone();
    let writer = LibraryWriter::create_or_open(bench.path("library"), manifest).unwrap();
    let mut child = watch(&bench, &[]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let hindered = said.next().unwrap();
    assert!(hindered.contains("it is tried again: another process is writing to the library"), "{hindered}");
    assert!(hindered.contains(&format!("process {}", std::process::id())), "{hindered}");
    drop(writer);
    assert!(said.any(|line| line.contains("watching; Ctrl-C ends it")));
    ask_to_stop(&child, libc::SIGINT);
    let ended = end_of(child);
    assert_status(&ended, 0);
    assert!(stdout(&ended).starts_with("0 added, 1 unchanged, 0 failed"), "{}", stdout(&ended));
}
