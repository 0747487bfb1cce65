//! Runs that are asked to stop, and results that nobody reads.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use gve_test_support::files::text;
use gve_test_support::program::{assert_status, end_of, stderr, stdout};
use gve_test_support::stub::{Answer, Stub};
use serde_json::json;

use crate::mini::{self, MINI};

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_uvrb"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[track_caller]
fn ask_to_stop(child: &Child) {
    // SAFETY: the child is ours and has not been waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
}

#[test]
fn a_run_stops_in_order_and_goes_on() {
    const ANSWERED: usize = 5;
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    mini::make_one(&data, &MINI[0]);
    let (reached, is_reached) = channel();
    let reached = Mutex::new(reached);
    let stub = Stub::start(move |n, request| {
        if n == ANSWERED {
            reached.lock().unwrap().send(()).unwrap();
            // Time enough for the signal to arrive before the answer.
            std::thread::sleep(Duration::from_secs(1));
        }
        Answer::embedding(request)
    });
    let server = ["--server", &stub.base_url, "--name", "stub", "--revision", "1", "--concurrency", "1"];
    let arguments = [&["run", text(&data), "--out", text(&out), "--quiet"], &server[..]].concat();
    let child = start(&arguments);
    is_reached.recv_timeout(Duration::from_secs(120)).unwrap();
    ask_to_stop(&child);
    let output = end_of(child);
    assert_status(&output, 2);
    let said = stderr(&output);
    // Whoever takes a second to stop says that it will.
    let mut lines = said.lines().filter(|line| !line.contains("stopping once"));
    assert!(lines.next().is_some_and(|line| line.contains("stopped")) && lines.next().is_none(), "{said}");
    assert_eq!(output.stdout, b"");

    let before = stub.requests().len();
    assert!((ANSWERED..ANSWERED + 3).contains(&before), "{before}");
    assert_status(&end_of(start(&arguments)), 0);
    let inputs = MINI[0].queries + MINI[0].clips.len();
    // A request that was under way when the run stopped may be made again.
    let under_way = before - ANSWERED;
    let asked = stub.requests().len();
    assert!(asked <= inputs + under_way, "{asked}: what was answered is asked again");
}

#[test]
fn a_check_stops_in_order() {
    /// More than a pipe holds: it cannot be done with naming them before they are read.
    const MISSING: usize = 3000;
    let folder = tempfile::tempdir().unwrap();
    let directories = [&MINI[0], &MINI[1]].map(|mini| mini::make_one(folder.path(), mini));
    let missing: Vec<_> = (0..MISSING)
        .map(|i| json!({"id": format!("missing-{i}"), "video": format!("videos/missing-{i}.mp4")}))
        .collect();
    mini::write_lines(&directories[0].join("jsonl/corpus.jsonl"), &missing);
    let mut child = start(&["check", text(folder.path()), MINI[0].id, MINI[1].id, "--no-decode", "--quiet"]);
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    assert!(first.contains(MINI[0].id), "{first}");
    ask_to_stop(&child);
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    let output = end_of(child);
    assert_status(&output, 2);
    // What is done is told in full.
    assert!(rest.iter().filter(|line| line.contains("is missing")).count() >= MISSING - 1);
    let last = rest.last().unwrap();
    assert!(last.contains("stopped: 1 of 2 data sets are checked"), "{last}");
    let reports = stdout(&output);
    assert!(reports.lines().count() == 1 && reports.starts_with(MINI[0].id), "{reports}");
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    for mini in &MINI[..2] {
        mini::make_one(&data, mini);
    }
    let run = ["run", text(&data), "--out", text(&out), "--baseline", "random", "--quiet"];
    for arguments in [&run[..], &["list"], &["list", "--json"], &["report", text(&out)], &["--help"]] {
        let mut child = start(arguments);
        drop(child.stdout.take());
        let output = end_of(child);
        assert_status(&output, 0);
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}
