//! Files and folders that lie elsewhere than they did.

use std::fs;
use std::path::Path;
use std::process::Output;

use gve_test_support::files::text;
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};

use crate::library::{Bench, count};
use crate::program::gve;

fn relocate(bench: &Bench, from: &Path, to: &Path, more: &[&str]) -> Output {
    let library = bench.path("library");
    let always = ["library", "relocate", "--library", text(&library), text(from), text(to)];
    gve(&[&always[..], more].concat())
}

/// As the user of a growing folder meets it: what moved, what is a copy, and what is gone.
#[test]
fn files_that_move_are_not_embedded_again_and_much_is_not_forgotten_unasked() {
    let names: Vec<String> = (0..24).map(|i| format!("{i:02}.png")).collect();
    let bench = Bench::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    fs::create_dir(bench.clip("sub")).unwrap();
    fs::rename(bench.clip("00.png"), bench.clip("sub/new.png")).unwrap();
    fs::copy(bench.clip("01.png"), bench.clip("copy.png")).unwrap();
    let output = bench.index(&["--prune"]);
    assert_status(&output, 0);
    let counts = ["added", "moved", "copied", "unchanged", "pruned"].map(|key| count(&output, key));
    assert_eq!(counts, [0, 1, 1, 23, 0]);

    for name in &names[1..=11] {
        fs::remove_file(bench.clip(name)).unwrap();
    }
    let refused = bench.index(&["--prune"]);
    assert_status(&refused, 2);
    let said = stderr(&refused);
    assert!(said.contains("11 of the 25 files of the library are gone") && said.contains("--yes"), "{said}");
    assert!(said.contains("gone: ") && said.contains("11.png"), "{said}");
    assert_eq!(bench.names().len(), 25);
    let output = bench.index(&["--prune", "--yes"]);
    assert_status(&output, 0);
    assert_eq!((count(&output, "pruned"), bench.names().len()), (11, 14));
    // A few are no reason to ask.
    for name in &names[12..20] {
        fs::remove_file(bench.clip(name)).unwrap();
    }
    assert_eq!(count(&bench.index(&["--prune"]), "pruned"), 8);
}

/// A folder that is named and not there may be a drive that is away.
#[test]
fn a_folder_that_is_away_keeps_its_files_and_their_tags() {
    let bench = Bench::empty();
    bench.add("tiny.png", "drive/a.png");
    let (drive, away, library) = (bench.clip("drive"), bench.path("away"), bench.path("library"));
    assert_status(&bench.index_at(&drive, &[]), 0);
    let tags = bench.path("tags.jsonl");
    fs::write(&tags, r#"{"path": "a.png", "stars": 5}"#).unwrap();
    let tag = |more: &[&str]| gve(&[&["library", "tag", "--library", text(&library)], more].concat());
    assert_status(&tag(&[text(&tags), "--root", text(&drive)]), 0);
    fs::rename(&drive, &away).unwrap();
    fs::create_dir(bench.clip("work")).unwrap();
    fs::copy(away.join("a.png"), bench.clip("work/a.png")).unwrap();
    let output = bench.index_at(&drive, &[text(&bench.clip("work"))]);
    assert_status(&output, 2);
    assert_eq!((count(&output, "moved"), count(&output, "copied")), (0, 1), "{}", stderr(&output));
    assert_eq!(bench.names(), ["drive/a.png", "work/a.png"]);
    fs::rename(&away, &drive).unwrap();
    let shown = stdout(&tag(&["--show"]));
    assert!(shown.contains(text(&drive.join("a.png"))) && shown.contains("\"stars\":5"), "{shown}");
}

/// Nothing is embedded again only because the drive is mounted elsewhere.
#[test]
fn a_folder_that_moved_is_pointed_to_anew() {
    let bench = Bench::of(&["a.png", "sub/b.png"]);
    let (old, new, library) = (bench.path("clips"), bench.path("elsewhere"), bench.path("library"));
    let early = relocate(&bench, &old, &new, &[]);
    assert_status(&early, 1);
    assert!(stderr(&early).contains("cannot find"), "{}", stderr(&early));
    fs::rename(&old, &new).unwrap();
    let other = relocate(&bench, &bench.path("nowhere"), &new, &[]);
    assert_status(&other, 1);
    assert!(stderr(&other).contains("no files in"), "{}", stderr(&other));
    let moved = relocate(&bench, &old, &new, &[]);
    assert_status(&moved, 0);
    assert!(stdout(&moved).starts_with("2 files now lie in "), "{}", stdout(&moved));

    let again = bench.index_at(&new, &["--prune"]);
    assert_status(&again, 0);
    assert_eq!((count(&again, "unchanged"), count(&again, "added"), count(&again, "pruned")), (2, 0, 0));
    let info = gve(&["library", "info", "--library", text(&library), "--json"]);
    let info = json_lines(&info)[0].clone();
    assert_eq!((&info["images"], &info["rows"], &info["damaged"]), (&2.into(), &2.into(), &0.into()));
}

#[test]
fn where_files_are_said_to_lie_there_has_to_be_something_of_their_kind() {
    let names = ["a.png", "sub/b.png"];
    let bench = Bench::of(&names);
    let (clips, nowhere) = (bench.path("clips"), bench.path("nowhere"));
    for (from, to, says) in [
        (&clips, &bench.clip("a.png"), "is no folder, and"),
        (&bench.clip("a.png"), &bench.clip("sub"), "is a folder, and"),
        (&clips, &nowhere, "--force"),
    ] {
        let refused = relocate(&bench, from, to, &[]);
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains(says), "{}", stderr(&refused));
        assert_eq!(bench.names(), names);
    }
    let forced = relocate(&bench, &clips, &nowhere, &["--force"]);
    assert_status(&forced, 0);
    assert!(stdout(&forced).starts_with("2 files now lie in "), "{}", stdout(&forced));
    assert!(stderr(&forced).contains("2 of them are not there"), "{}", stderr(&forced));
    // What is gone is what it was written as.
    assert_status(&relocate(&bench, &nowhere, &clips, &[]), 0);
    assert_eq!(bench.names(), names);
}

#[test]
fn what_is_mended_by_saying_where_files_lie_is_no_error() {
    let bench = Bench::of(&["a.png", "sub/b.png"]);
    let (old, new) = (bench.path("clips"), bench.path("elsewhere"));
    fs::rename(&old, &new).unwrap();
    fs::write(bench.path("library").join("library.newest"), "one").unwrap();
    let moved = relocate(&bench, &old, &new, &[]);
    assert_status(&moved, 0);
    let said = stderr(&moved);
    assert!(said.contains("warning: ") && said.contains("library.newest"), "{said}");
    assert!(!said.contains("error: "), "{said}");
    // All of it is good again.
    assert_eq!(bench.names().len(), 2);
}

/// The usual case: the folder has moved, and the link to it is of before.
#[cfg(unix)]
#[test]
fn a_link_to_where_the_folder_was_is_followed() {
    use std::os::unix::fs::symlink;

    let bench = Bench::of(&["a.png", "sub/b.png"]);
    let (clips, link, other, new) =
        (bench.path("clips"), bench.path("link"), bench.path("other"), bench.path("new"));
    symlink("clips", &link).unwrap();
    symlink(&link, &other).unwrap();
    fs::rename(&clips, &new).unwrap();
    // Beneath links as well, and where one leads to the next.
    for (from, to) in [(other.join("sub"), new.join("sub")), (link.clone(), new.clone())] {
        let moved = relocate(&bench, &from, &to, &[]);
        assert_status(&moved, 0);
        assert!(stdout(&moved).starts_with("1 file now lies in "), "{}", stdout(&moved));
    }
    symlink("circle", bench.path("circle")).unwrap();
    let refused = relocate(&bench, &bench.path("circle"), &new, &[]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("no files in"), "{}", stderr(&refused));
}

#[cfg(unix)]
#[test]
fn a_link_to_the_folder_is_as_good_as_the_folder() {
    use std::os::unix::fs::symlink;

    let names = ["a.png", "sub/b.png"];
    let bench = Bench::of(&names);
    let (clips, link, new) = (bench.path("clips"), bench.path("link"), bench.path("new"));
    symlink(&clips, &link).unwrap();
    fs::create_dir(&new).unwrap();
    let moved = relocate(&bench, &link, &new, &[]);
    assert_status(&moved, 0);
    assert!(stdout(&moved).starts_with("2 files now lie in "), "{}", stdout(&moved));
    // Where the folder was there is a link to where it is.
    fs::remove_dir(&new).unwrap();
    symlink(&clips, &new).unwrap();
    assert_status(&relocate(&bench, &new, &clips, &[]), 0);
    assert_eq!(bench.names(), names);
}
