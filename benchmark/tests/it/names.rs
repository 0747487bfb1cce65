//! Folders whose names are no text.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gve_test_support::files::text;
use gve_test_support::program::{assert_status, json_lines, stderr};
use serde_json::Value;
use uvrb::result::DatasetResult;

use crate::mini::{self, MINI};

/// A folder whose name has a letter of ISO 8859-1, which is no UTF-8.
fn odd(within: &Path) -> PathBuf {
    within.join(OsStr::from_bytes(b"caf\xe9"))
}

fn uvrb(before: &[&str], folder: &Path, behind: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvrb"));
    command.args(before).arg(folder).args(behind).stdin(Stdio::null());
    command.output().unwrap()
}

#[test]
fn a_result_is_told_where_its_folder_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), odd(folder.path()));
    mini::make_one(&data, &MINI[0]);
    let before = ["run", text(&data), "--baseline", "random", "--json", "--out"];
    // A result that is there is told in the same way.
    for _ in 0..2 {
        let run = uvrb(&before, &out, &[]);
        assert_status(&run, 0);
        let lines = json_lines(&run);
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert!(lines[0]["path"].as_str().unwrap().contains("caf\u{fffd}/"), "{}", lines[0]);
        let bytes = STANDARD.decode(lines[0]["path_bytes"].as_str().unwrap()).unwrap();
        let path = PathBuf::from(OsString::from_vec(bytes));
        assert!(path.starts_with(&out), "{}", path.display());
        DatasetResult::read(&path).unwrap();
    }
}

#[test]
fn a_check_is_told_where_its_folder_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let data = odd(folder.path());
    let videos = mini::make_one(&data, &MINI[0]).join("videos");
    let clip = fs::read_dir(videos).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(clip).unwrap();
    let check = uvrb(&["check"], &data, &["--no-decode", "--json"]);
    assert_status(&check, 2);
    let reports: Vec<Value> = serde_json::from_slice(&check.stdout).unwrap();
    assert_eq!(reports.len(), 1, "{}", stderr(&check));
    assert_eq!(reports[0]["media"]["missing"], 1, "{}", reports[0]);
    assert!(reports[0]["directory"].as_str().unwrap().contains("caf\u{fffd}/"), "{}", reports[0]);
    let faults = reports[0]["faults"].as_array().unwrap();
    let is_told = |fault: &Value| fault["path"].as_str().unwrap().contains("caf\u{fffd}");
    assert!(!faults.is_empty() && faults.iter().all(is_told), "{faults:?}");
}
