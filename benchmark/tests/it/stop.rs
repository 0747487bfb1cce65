//! Runs that are asked to stop, and results that nobody reads.

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use crate::encoder::stub::{Answer, Stub};
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

/// Waits for a program to end, which it must do soon: its status, and what it said.
#[track_caller]
fn end_of(mut child: Child) -> (Option<i32>, String, Output) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap(), output)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
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
    // SAFETY: the child is ours and has not been waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    let (status, said, output) = end_of(child);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.lines().count() == 1 && said.contains("stopped"), "{said}");
    assert_eq!(output.stdout, b"");

    let before = stub.requests().len();
    assert!((ANSWERED..ANSWERED + 3).contains(&before), "{before}");
    let (status, said, _) = end_of(start(&arguments));
    assert_eq!(status, Some(0), "{said}");
    let inputs = MINI[0].queries + MINI[0].clips.len();
    // A request that was under way when the run stopped may be made again.
    let under_way = before - ANSWERED;
    let asked = stub.requests().len();
    assert!(asked <= inputs + under_way, "{asked}: what was answered is asked again");
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
        let (status, said, _) = end_of(child);
        assert_eq!((status, said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
