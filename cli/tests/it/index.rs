//! `gve index` run again, over what has changed and after it was killed.

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

use gve_test_support::files::text;
use gve_test_support::golden::{marked, media, model};
use gve_test_support::program::{assert_status, json_lines, stderr};

use crate::program::{command, gve};

#[test]
fn a_library_grows_by_what_is_new_and_finds_itself() {
    let folder = tempfile::tempdir().unwrap();
    let clips = folder.path().join("clips");
    std::fs::create_dir(&clips).unwrap();
    for name in ["ntsc.mp4", "testsrc.mp4", "rabbit.png", "tall.png"] {
        std::fs::copy(media(name), clips.join(name)).unwrap();
    }
    std::fs::write(clips.join("broken.mp4"), "no video").unwrap();
    let (library, model) = (folder.path().join("library"), model());
    let index = |more: &[&str]| {
        gve(&[&["index", text(&clips), "--library", text(&library), "--model", text(&model), "--json"], more]
            .concat())
    };
    let counts = |output: &Output| {
        let summary = &json_lines(output)[0];
        ["added", "unchanged", "failed"].map(|key| summary[key].as_u64().unwrap())
    };
    let first = index(&[]);
    assert_status(&first, 2);
    assert_eq!(counts(&first), [4, 0, 1]);
    assert!(stderr(&first).contains("broken.mp4"));

    std::fs::remove_file(clips.join("broken.mp4")).unwrap();
    std::fs::copy(media("tiny.png"), clips.join("tiny.png")).unwrap();
    std::fs::copy(media("bunny.mp4"), clips.join("ntsc.mp4")).unwrap();
    let second = index(&[]);
    assert_status(&second, 0);
    assert_eq!(counts(&second), [2, 3, 0]);

    let search = |query: &[&str]| {
        // As the files were embedded, without an instruction of queries.
        let fixed = ["search", "--library", text(&library), "--instruction", "", "--json"];
        json_lines(&gve(&[&fixed, query].concat()))
    };
    let rabbit = media("rabbit.png");
    let hits = search(&["--image", text(&rabbit), "-k", "2"]);
    assert_eq!(hits.len(), 2);
    assert!(hits[0]["path"].as_str().unwrap().ends_with("rabbit.png"));
    assert!(hits[0]["score"].as_f64().unwrap() > 0.9999);
    let bunny = media("bunny.mp4");
    let hits = search(&["--video", text(&bunny)]);
    assert_eq!(hits.len(), 5);
    // The replaced file: what is found is what it is now.
    assert!(hits[0]["path"].as_str().unwrap().ends_with("ntsc.mp4"));
    assert_eq!((hits[0]["start"].as_f64(), hits[0]["end"].as_f64().map(f64::round)), (Some(0.0), Some(5.0)));
    assert_eq!(search(&["a rabbit"]).len(), 5);

    let mixed = index(&["--frames", "4"]);
    assert_status(&mixed, 1);
    assert!(stderr(&mixed).contains("sampling"), "{}", stderr(&mixed));
    // A name that is no text costs no other file.
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::ffi::OsStrExt;

        let odd = clips.join(std::ffi::OsStr::from_bytes(b"a\xe9.png"));
        std::fs::copy(media("tiny.png"), &odd).unwrap();
        let third = index(&[]);
        assert_status(&third, 2);
        assert_eq!(counts(&third), [0, 5, 1]);
        assert!(stderr(&third).contains("UTF-8"), "{}", stderr(&third));
        std::fs::remove_file(odd).unwrap();
    }

    // The model may move; what it is may not change.
    let moved = folder.path().join("moved");
    copy_directory(&model, &moved);
    let with_moved = || gve(&["search", "--library", text(&library), "--model", text(&moved), "a rabbit"]);
    assert_status(&with_moved(), 0);
    let weights = moved.join("model-00001-of-00004.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
    std::fs::write(&weights, bytes).unwrap();
    let changed = with_moved();
    assert_status(&changed, 1);
    assert!(stderr(&changed).contains("revision"), "{}", stderr(&changed));

    std::fs::remove_file(clips.join("tall.png")).unwrap();
    let pruned = index(&["--prune"]);
    assert_status(&pruned, 0);
    assert_eq!(json_lines(&pruned)[0]["pruned"], 1);
}

/// What telephones and cameras write is there like any picture, and what is not taken is named.
#[test]
fn pictures_of_telephones_and_cameras_are_indexed() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("old")).unwrap();
    let images = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/images");
    let names = ["lossy_grid.heic", "lossy_alpha.avif", "lossy.jxl", "raw.nef"];
    for name in names {
        std::fs::copy(images.join(name), photos.join(name)).unwrap();
    }
    std::fs::write(photos.join("old/no\ntes.txt"), "text").unwrap();
    let (library, model) = (folder.path().join("library"), model());
    let arguments = ["index", text(&photos), "--library", text(&library), "--model", text(&model)];
    let output = gve(&[&arguments[..], &["--json", "--verbose"]].concat());
    assert_status(&output, 0);
    let summary = &json_lines(&output)[0];
    assert_eq!((summary["added"].as_u64(), summary["failed"].as_u64()), (Some(4), Some(0)));
    let said = stderr(&output);
    assert!(
        said.lines().any(|line| line
            .ends_with("passed over: 1 .txt; --any-name looks at what is in files whose name does not say")),
        "{said}"
    );
    assert!(said.lines().any(|line| line.contains("passed over: ") && line.contains("tes.txt")), "{said}");
    let quiet = gve(&arguments);
    assert!(!stderr(&quiet).contains("tes.txt"), "{}", stderr(&quiet));

    let query = images.join("lossy_grid.heic");
    let hits = gve(&["search", "--library", text(&library), "--image", text(&query), "-k", "1", "--json"]);
    assert!(json_lines(&hits)[0]["path"].as_str().unwrap().ends_with("lossy_grid.heic"));
    let embedded =
        gve(&["embed", "--model", text(&model), "--image", text(&images.join("lossy_turned.avif"))]);
    assert_status(&embedded, 0);
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn a_killed_index_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let clips = folder.path().join("clips");
    std::fs::create_dir(&clips).unwrap();
    const FILES: u64 = 24;
    for i in 0..FILES {
        std::fs::write(clips.join(format!("{i:02}.mp4")), marked("bunny.mp4", i)).unwrap();
    }
    let (library, model) = (folder.path().join("library"), model());
    let arguments = ["index", text(&clips), "--library", text(&library), "--model", text(&model), "--json"];
    let child = command(&arguments).stdout(Stdio::null()).spawn().unwrap();
    kill_at_first_segment(child, &library.join("segments"));

    let resumed = gve(&arguments);
    assert_status(&resumed, 0);
    let summary = &json_lines(&resumed)[0];
    let (added, unchanged) = (summary["added"].as_u64().unwrap(), summary["unchanged"].as_u64().unwrap());
    assert!(unchanged > 0 && added > 0, "{summary}");
    assert_eq!(added + unchanged, FILES);
}

fn kill_at_first_segment(mut child: Child, segments: &Path) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let finished = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
    loop {
        let any =
            std::fs::read_dir(segments).is_ok_and(|files| files.flatten().any(|file| finished(&file.path())));
        if any {
            break;
        }
        assert!(child.try_wait().unwrap().is_none(), "indexing ended before it could be killed");
        assert!(Instant::now() < deadline, "no segment was written");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn what_is_excluded_is_neither_counted_nor_kept_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    std::fs::create_dir_all(photos.join("cache")).unwrap();
    for (i, name) in ["a.png", "a-draft.png", "cache/b.png"].into_iter().enumerate() {
        std::fs::write(photos.join(name), marked("tiny.png", i)).unwrap();
    }
    let (library, model) = (folder.path().join("library"), model());
    let index = |more: &[&str]| {
        let base = ["index", text(&photos), "--library", text(&library), "--model", text(&model), "--json"];
        let output = gve(&[&base[..], more].concat());
        assert_status(&output, 0);
        json_lines(&output).remove(0)
    };
    let exclude = ["--exclude", "cache", "--exclude", "*-DRAFT.*"];
    let with = |more: &[&str]| index(&[&exclude[..], more].concat());
    assert_eq!(with(&["--dry-run"])["images"], 1);
    let first = with(&[]);
    assert_eq!((first["added"].as_u64(), first["passed_over"]["excluded"].as_u64()), (Some(1), Some(2)));
    assert_eq!(index(&[])["added"], 2);
    // They stay until somebody says that they are to go, and do not come back.
    assert_eq!(with(&[])["pruned"], 0);
    assert_eq!(with(&["--prune"])["pruned"], 2);
    let last = with(&[]);
    assert_eq!((last["added"].as_u64(), last["unchanged"].as_u64()), (Some(0), Some(1)));
    let fault = gve(&["index", text(&photos), "--library", text(&library), "--exclude", "[a"]);
    assert_status(&fault, 1);
    assert!(stderr(&fault).contains("\"[a\" is no pattern"), "{}", stderr(&fault));
}

/// A library has its settings for ever, and is not made by a slip of the pen.
#[test]
fn where_nothing_is_found_no_library_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let (wrong, photos) = (folder.path().join("wrong"), folder.path().join("photos"));
    std::fs::create_dir(&photos).unwrap();
    let (library, model) = (folder.path().join("library"), model());
    let index = |path: &Path, more: &[&str]| {
        let always = ["index", text(path), "--library", text(&library), "--model", text(&model), "--json"];
        gve(&[&always[..], more].concat())
    };
    for (path, failed) in [(&wrong, 1), (&photos, 0)] {
        let output = index(path, &["--moments", "1"]);
        assert_status(&output, 1);
        assert_eq!(json_lines(&output)[0]["failed"], failed);
        assert!(stderr(&output).contains("no library is made in"), "{}", stderr(&output));
        assert!(!library.exists());
    }
    // Whoever wants it quiet is warned as well.
    let output = index(&photos, &["--quiet"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("warning: no library is made in"), "{}", stderr(&output));
    std::fs::copy(media("tiny.png"), photos.join("a.png")).unwrap();
    assert_status(&index(&photos, &[]), 0);
    assert!(library.join("library.json").is_file());
}

#[test]
fn a_library_whose_model_was_moved_says_which_one_that_was() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let (there, here, library) = (root.join("there"), root.join("here"), root.join("library"));
    copy_directory(&model(), &there);
    let picture = media("tiny.png");
    let index = |more: &[&str]| {
        let always = ["index", text(&picture), "--library", text(&library)];
        gve(&[&always[..], more].concat())
    };
    assert_status(&index(&["--model", text(&there)]), 0);
    std::fs::rename(&there, &here).unwrap();
    let expected = format!("the library {} was made with the model {}", text(&library), text(&there));
    for more in [&["--model", text(&there)][..], &[]] {
        let output = index(more);
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(said.contains(&expected) && said.contains("--model") && said.lines().count() == 1, "{said}");
    }
    let found = gve(&["search", "--library", text(&library), "a"]);
    assert_status(&found, 1);
    assert!(stderr(&found).contains(&expected), "{}", stderr(&found));
    assert_status(&index(&["--model", text(&here)]), 0);
}

#[test]
fn a_library_is_continued_and_searched_with_its_own_model() {
    let folder = tempfile::tempdir().unwrap();
    let (library, model) = (folder.path().join("library"), model().canonicalize().unwrap());
    let index = |picture: &str, more: &[&str]| {
        let picture = media(picture);
        let always = ["index", text(&picture), "--library", text(&library), "--json"];
        let output = gve(&[&always[..], more].concat());
        assert_status(&output, 0);
        (json_lines(&output)[0]["added"].as_u64().unwrap(), stderr(&output))
    };
    assert_eq!(index("tiny.png", &["--model", text(&model)]), (1, String::new()));
    let (added, said) = index("rabbit.png", &[]);
    assert_eq!(added, 1);
    let expected = format!("using the model {}, which the library was made with", text(&model));
    assert!(said.contains(&expected) && said.lines().count() == 1, "{said}");
    assert_eq!(index("tall.png", &["--quiet"]), (1, String::new()));
    let found = gve(&["search", "--library", text(&library), "a rabbit", "--json"]);
    assert_status(&found, 0);
    assert_eq!(json_lines(&found).len(), 3);
}
