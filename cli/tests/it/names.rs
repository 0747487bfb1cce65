//! Files and folders whose names are no text.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Output;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gve::retrieval::Library;
use gve_test_support::files::text;
use gve_test_support::golden::{marked, media, model, repository_dir};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use serde_json::Value;

use crate::library::count;
use crate::program::{command, gve};

/// A name with a letter of ISO 8859-1, which is no UTF-8.
fn odd(name: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(&[&b"caf\xe9"[..], name].concat()))
}

/// The file that a line of results names.
fn told(line: &Value) -> PathBuf {
    match line.get("path_bytes") {
        Some(bytes) => OsString::from_vec(STANDARD.decode(bytes.as_str().unwrap()).unwrap()).into(),
        None => line["path"].as_str().unwrap().into(),
    }
}

/// A folder with a picture twice.
fn pictures() -> (tempfile::TempDir, [PathBuf; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let files = [root.join(odd(b".png")), root.join("copy.png")];
    for file in &files {
        fs::copy(media("rabbit.png"), file).unwrap();
    }
    (folder, files)
}

#[test]
fn json_has_names_by_which_files_are_found_and_no_seconds_of_pictures() {
    let (folder, files) = pictures();
    let found = gve(&["duplicates", text(folder.path()), "--json"]);
    assert_status(&found, 0);
    let groups = json_lines(&found);
    let members = groups[0]["members"].as_array().unwrap();
    let mut paths: Vec<PathBuf> = members.iter().map(told).collect();
    paths.sort();
    assert_eq!(paths, files);
    for member in members {
        let is_odd = told(member) == files[0];
        assert_eq!(member.get("path_bytes").is_some(), is_odd, "{member}");
        assert_eq!(member["path"].as_str().unwrap().contains('\u{fffd}'), is_odd, "{member}");
        for key in ["duration", "fps", "codec"] {
            assert!(member.get(key).is_none(), "{key}: {member}");
        }
        assert!(member["match"].get("ranges").is_none(), "{member}");
    }

    let clip = media("rabbit.png");
    let located = gve(&["locate", text(&clip), text(folder.path()), "--json"]);
    assert_status(&located, 0);
    let lines = json_lines(&located);
    let mut paths: Vec<PathBuf> = lines.iter().map(told).collect();
    paths.sort();
    assert_eq!(paths, files);
    assert!(lines.iter().all(|line| line.get("ranges").is_none()), "{lines:?}");
    let shown = gve(&["locate", text(&clip), text(folder.path())]);
    assert!(stdout(&shown).lines().any(|line| line.ends_with("copy.png")), "{}", stdout(&shown));
}

#[test]
fn help_lists_names_that_are_no_text_as_the_guide_does() {
    let guide = fs::read_to_string(repository_dir().join("docs/duplicates.md")).unwrap();
    let mut lines = guide.lines().skip_while(|line| !line.contains("path_bytes //"));
    let pipeline = [lines.next().unwrap(), lines.next().unwrap().trim()];
    let help = gve(&["duplicates", "--help"]);
    assert_status(&help, 0);
    let help = stdout(&help);
    assert!(pipeline.iter().all(|part| help.contains(part)), "{pipeline:?}: {help}");
    assert!(!help.contains(".path'"), "by these no file is found: {help}");
}

#[test]
fn frames_are_told_by_the_bytes_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join(odd(b""));
    let clip = media("ntsc.mp4");
    let frames = command(&["frames", text(&clip), "--frames", "2", "--json", "--out"]).arg(&out).output();
    let frames = frames.unwrap();
    assert_status(&frames, 0);
    let lines = json_lines(&frames);
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| told(line).starts_with(&out) && told(line).is_file()), "{lines:?}");
}

#[test]
fn a_folder_whose_name_is_no_text_costs_no_other_file() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, apart) = (folder.path().join("clips"), folder.path().join(odd(b"-apart")));
    let within = clips.join(odd(b""));
    let mut marks = 0..;
    for file in [clips.join("a.png"), clips.join("z.png"), within.join("b.png"), apart.join("c.png")] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, marked("tiny.png", marks.next().unwrap())).unwrap();
    }
    let (library, model) = (folder.path().join("library"), model());
    let index = |paths: &[&Path], more: &[&str]| -> Output {
        let always = ["--library", text(&library), "--model", text(&model), "--json"];
        command(&["index"]).args(paths).args(always).args(more).output().unwrap()
    };
    let first = index(&[&apart, &clips], &[]);
    assert_status(&first, 2);
    assert_eq!((count(&first, "added"), count(&first, "failed")), (2, 2), "{}", stderr(&first));
    for file in ["b.png", "c.png"] {
        let said = stderr(&first);
        assert!(
            said.lines().any(|line| line.contains(file) && line.contains("is not valid UTF-8")),
            "{said}"
        );
    }
    let names = || -> Vec<String> {
        let library = Library::open(&library).unwrap();
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
        let mut names: Vec<String> = library.entries().iter().map(|entry| name(&entry.path)).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["a.png", "z.png"]);

    // So it is when the run goes on, and when it forgets what is gone.
    fs::remove_file(clips.join("z.png")).unwrap();
    let second = index(&[&apart, &clips], &["--prune"]);
    assert_status(&second, 2);
    let counts = ["unchanged", "failed", "pruned"].map(|key| count(&second, key));
    assert_eq!(counts, [1, 2, 1], "{}", stderr(&second));
    assert_eq!(names(), ["a.png"]);
}
