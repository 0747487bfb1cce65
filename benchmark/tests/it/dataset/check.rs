//! Every fault at once, and the command that tells them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gve::CancelToken;
use serde_json::Value;
use uvrb::dataset::{CheckOptions, CheckReport, LoadOptions, check};

use super::{Files, own};
use crate::mini::{self, MINI};

const DECODE: CheckOptions =
    CheckOptions { load: LoadOptions { frame_cache_fps: None, relevance_only: false }, decode: true };

#[track_caller]
fn assert_faults(report: &CheckReport, expected: &[(&str, usize, &str)]) {
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, (file, line, reason)) in report.faults.iter().zip(expected) {
        assert!(fault.path.ends_with(file) && fault.line == (*line > 0).then_some(*line), "{faults:#?}");
        assert!(fault.reason.contains(reason), "{fault} should say {reason}");
    }
}

#[test]
fn check_finds_every_fault() {
    let files = Files::new()
        .put("queries", "{\"id\": \"q1\", \"text\": \"a\", \"image\": \"x.png\"}\n{\"id\": \"q1\", \"text\": \"b\"}\n{\"id\"\n{\"id\": \"q3\"}\n{\"id\": \"q4\", \"text\": \"d\"}\n")
        .put("corpus", "{\"id\": \"d1\", \"video\": \"a.y4m\"}\n{\"id\": \"d2\", \"video\": \"bad.mp4\"}\n{\"id\": \"d3\", \"video\": \"a.y4m\"}\n{\"id\": \"d4\", \"video\": \"none.mp4\"}")
        .put("instances", "{\"qid\": \"q1\", \"pos\": [\"d1\", \"d8\", \"d9\"]}\n{\"qid\": \"q3\", \"pos\": [\"d2\"]}\n{\"qid\": \"q7\", \"pos\": [\"d2\"]}");
    let root = files.root();
    fs::create_dir(root.join("videos")).unwrap();
    fs::create_dir(root.join("images")).unwrap();
    fs::write(root.join("videos/a.y4m"), mini::clip(1).0).unwrap();
    fs::write(root.join("videos/bad.mp4"), "this is no video, whatever its name").unwrap();
    fs::write(root.join("images/x.png"), "nor a picture").unwrap();
    let seen = std::sync::Mutex::new(Vec::new());
    let cancel = CancelToken::new();
    let report = check(&own(3, 5), root, &DECODE, &cancel, |done, total| {
        seen.lock().unwrap().push((done, total));
    });
    let report = report.unwrap();
    assert_faults(
        &report,
        &[
            ("queries.jsonl", 3, "EOF"),
            ("queries.jsonl", 2, "`q1` is there already"),
            ("queries.jsonl", 4, "`q3`: it is empty"),
            ("instances.jsonl", 1, "`d8`"),
            ("instances.jsonl", 1, "`d9`"),
            ("instances.jsonl", 3, "`q7`"),
            ("queries.jsonl", 5, "`q4` has no relevant document"),
            ("corpus.jsonl", 0, "4 documents, a complete copy of mine has 5"),
            ("queries.jsonl", 1, "x.png"),
            ("corpus.jsonl", 2, "bad.mp4"),
            ("corpus.jsonl", 4, "none.mp4 is missing"),
        ],
    );
    let media = report.media;
    assert_eq!((media.total, media.missing, media.undecodable, media.decoded), (4, 1, 2, 1));
    let mut seen = seen.into_inner().unwrap();
    seen.sort_unstable();
    assert_eq!(seen, [(1, 4), (2, 4), (3, 4), (4, 4)]);
    let quick =
        check(&own(3, 5), root, &CheckOptions { decode: false, ..DECODE }, &cancel, |_, _| {}).unwrap();
    assert_eq!((quick.faults.len(), quick.media.decoded, quick.media.missing), (9, 0, 1));
    let stopped = check(&own(3, 5), root, &DECODE, &cancel, |_, _| cancel.cancel());
    assert!(matches!(stopped, Err(uvrb::Error::Cancelled)), "{stopped:?}");
    let nothing = check(&own(3, 5), Path::new("/nowhere"), &DECODE, &CancelToken::new(), |_, _| {}).unwrap();
    assert!(!nothing.readable() && report.readable());
    assert_faults(&nothing, &[("nowhere", 0, "looked for")]);
}

/// An own manifest entry that the miniature of `id` meets exactly, written to a file.
fn own_entry(root: &Path, id: &str, mini_id: &str) -> PathBuf {
    let mini = MINI.iter().find(|mini| mini.id == mini_id).unwrap();
    let path = root.join("mine.toml");
    let text = format!(
        "[[dataset]]\nid = \"{id}\"\ntitle = \"t\"\ntask = \"VIS\"\nprompt = \"p\"\nmetric = \"R@1\"\nqueries = {}\ncorpus = {}\n\
         source = \"s\"\nlicence = \"l\"\nlayout = \"uvrb\"\ncandidates = \"corpus\"\n",
        mini.queries,
        mini.clips.len()
    );
    fs::write(&path, text).unwrap();
    path
}

fn uvrb_check(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_uvrb")).arg("check").args(arguments).output().unwrap();
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    assert!(!errors.contains("panicked"), "{errors}");
    (output, errors)
}

#[test]
fn the_command_tells_by_its_status() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mini = MINI.iter().find(|mini| mini.id == "MSRVTT-I2V").unwrap();
    mini::make_one(&data, mini);
    fs::rename(data.join("MSRVTT-I2V"), data.join("mine")).unwrap();
    let entry = own_entry(dir.path(), "mine", "MSRVTT-I2V");
    let (data, entry) = (data.to_str().unwrap(), entry.to_str().unwrap());

    let (output, errors) = uvrb_check(&[data, "--datasets-file", entry]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), errors.as_str()), (Some(0), ""));
    assert!(table.starts_with("mine ") && table.contains("4/4") && table.ends_with("ok\n"), "{table}");

    // One missing clip.
    let clip = Path::new(data).join("mine/videos/msrvtt-i2v_2.y4m");
    fs::remove_file(&clip).unwrap();
    let (output, errors) = uvrb_check(&[data, "mine", "--datasets-file", entry, "--json"]);
    let json: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!((json[0]["id"].as_str(), json[0]["media"]["missing"].as_u64()), (Some("mine"), Some(1)));
    assert_eq!(json[0]["faults"][0]["line"], 3);
    assert!(
        errors.lines().count() == 1
            && errors.contains("corpus.jsonl:3: ")
            && errors.contains("_2.y4m is missing"),
        "{errors}"
    );

    // A folder whose name is in no manifest beside one that is fine; a typo; nothing at all.
    let (output, errors) = uvrb_check(&[data]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("mine: unknown data set `mine`"), "{errors}");
    let (output, errors) = uvrb_check(&[data, "CRB_G"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(errors, "uvrb: error: unknown data set `CRB_G`: did you mean `CRB-G`?\n");
    let (output, errors) = uvrb_check(&[data, "CRB-G"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("no data set `CRB-G` here"), "{errors}");
    let empty = dir.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let (output, errors) = uvrb_check(&[empty.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(errors.contains("no data set here"), "{errors}");
}
