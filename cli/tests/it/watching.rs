//! `gve index --watch`.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use gve::retrieval::{Library, LibraryWriter};
use gve_test_support::files::text;
use gve_test_support::golden::{marked, model};
use gve_test_support::program::{assert_status, end_of, stderr, stdout};
use serde_json::Value;

use crate::library::Bench;
use crate::program::{ask_to_stop, command};

/// How long anything may take.
const LONGEST: Duration = Duration::from_secs(120);

fn start(bench: &Bench, more: &[&str]) -> Child {
    let (clips, library, model) = (bench.path("clips"), bench.path("library"), model());
    let always = ["index", text(&clips), "--library", text(&library), "--model", text(&model)];
    let watching = ["--watch", "--settle", "0.2"];
    let mut watch = command(&[&always[..], &watching[..], more].concat());
    watch.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// One that is under way, and ends with the test.
struct Watch {
    child: Option<Child>,
    results: Receiver<String>,
    messages: Receiver<String>,
}

impl Watch {
    fn of(bench: &Bench, more: &[&str]) -> Self {
        let mut child = start(bench, more);
        let results = lines_of(child.stdout.take().unwrap());
        let messages = lines_of(child.stderr.take().unwrap());
        Self { child: Some(child), results, messages }
    }

    #[track_caller]
    fn result(&self) -> String {
        self.results.recv_timeout(LONGEST).unwrap()
    }

    #[track_caller]
    fn message(&self) -> String {
        self.messages.recv_timeout(LONGEST).unwrap()
    }

    #[track_caller]
    fn wait_for(&self, part: &str) {
        while !self.message().contains(part) {}
    }

    /// Asks it to stop; gives back how it ended, and what it said that was not heard yet.
    #[track_caller]
    fn stop(mut self) -> Output {
        let child = self.child.take().unwrap();
        ask_to_stop(&child, libc::SIGINT);
        let ended = end_of(child);
        Output { stdout: rest(&self.results), stderr: rest(&self.messages), ..ended }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The test has failed already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The lines of a pipe, as they come.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    // It ends with the pipe.
    thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

/// What is left of lines that end.
fn rest(lines: &Receiver<String>) -> Vec<u8> {
    let mut rest = String::new();
    while let Ok(line) = lines.recv_timeout(LONGEST) {
        rest.extend([line.as_str(), "\n"]);
    }
    rest.into_bytes()
}

#[test]
fn changes_are_lines_until_it_is_stopped() {
    for json in [true, false] {
        let bench = Bench::of(&["a.png"]);
        let watch = Watch::of(&bench, if json { &["--json"][..] } else { &[] });
        let summary = watch.result();
        assert!(summary.contains(if json { "\"unchanged\":1" } else { "1 unchanged" }), "{summary}");
        let (new, moved) = (bench.clip("new.png"), bench.clip("moved.png"));
        fs::write(&new, marked("tiny.png", 7)).unwrap();
        let added = watch.result();
        fs::rename(&new, &moved).unwrap();
        let renamed = watch.result();
        fs::remove_file(&moved).unwrap();
        let forgotten = watch.result();
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
        let ended = watch.stop();
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
        let watch = Watch::of(&bench, &[]);
        if is_before {
            watch.wait_for("broken.png");
        }
        watch.wait_for("watching; Ctrl-C ends it");
        if !is_before {
            spoil();
            watch.wait_for("broken.png");
        }
        let ended = watch.stop();
        assert_status(&ended, 2);
        assert!(stderr(&ended).contains("stopped watching"), "{}", stderr(&ended));
    }
}

#[test]
fn who_watches_waits_for_another_writer_at_first_and_then_looks_what_there_is() {
    let bench = Bench::of(&["a.png"]);
    bench.add("tiny.png", "gone.png");
    let manifest = Library::open(bench.path("library")).unwrap().manifest().clone();
    let writer = LibraryWriter::create_or_open(bench.path("library"), manifest).unwrap();
    let watch = Watch::of(&bench, &[]);
    let hindered = watch.message();
    assert!(hindered.contains("it is tried again: another process is writing to the library"), "{hindered}");
    assert!(hindered.contains(&format!("process {}", std::process::id())), "{hindered}");
    fs::remove_file(bench.clip("gone.png")).unwrap();
    bench.add("tiny.png", "new.png");
    drop(writer);
    watch.wait_for("watching; Ctrl-C ends it");
    let ended = watch.stop();
    assert_status(&ended, 0);
    assert!(stdout(&ended).starts_with("1 added, 1 unchanged, 0 failed"), "{}", stdout(&ended));
    assert_eq!(bench.names(), ["a.png", "new.png"]);
}

/// A library has its settings for ever, and is not made by a slip of the pen.
#[test]
fn no_library_is_made_for_folders_that_are_not_there() {
    let bench = Bench::empty();
    let ended = end_of(start(&bench, &[]));
    assert_status(&ended, 1);
    let said = stderr(&ended);
    assert!(said.contains("cannot find") && said.contains("no library is made in"), "{said}");
    assert!(!bench.path("library").exists());
    // To one that is there something may come; and a library that is there waits for a folder that is away.
    fs::create_dir(bench.path("clips")).unwrap();
    let watch = Watch::of(&bench, &[]);
    watch.wait_for("watching; Ctrl-C ends it");
    assert_status(&watch.stop(), 0);
    assert!(bench.path("library").join("library.json").is_file());
    fs::remove_dir(bench.path("clips")).unwrap();
    let watch = Watch::of(&bench, &[]);
    watch.wait_for("watching; Ctrl-C ends it");
    assert_status(&watch.stop(), 2);
}
