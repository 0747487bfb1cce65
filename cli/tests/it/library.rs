//! `gve index` and `gve search` as a user meets them: what is found, passed over, kept and forgotten.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use gve::retrieval::Library;
use gve_test_support::files::text;
use gve_test_support::golden::{marked, media, model};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use serde_json::Value;

use crate::program::{command, gve};

/// A folder of pictures with a library of them.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// Nothing is there yet.
    pub(crate) fn empty() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    /// Pictures of these names in `clips/`, indexed.
    pub(crate) fn of(names: &[&str]) -> Self {
        let bench = Self::empty();
        for name in names {
            bench.add("tiny.png", name);
        }
        assert_status(&bench.index(&[]), 0);
        assert_eq!(bench.names(), names);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    pub(crate) fn clip(&self, name: &str) -> PathBuf {
        self.path("clips").join(name)
    }

    pub(crate) fn add(&self, from: &str, to: &str) {
        fs::create_dir_all(self.clip(to).parent().unwrap()).unwrap();
        fs::write(self.clip(to), marked(from, to)).unwrap();
    }

    pub(crate) fn index_at(&self, path: &Path, more: &[&str]) -> Output {
        let (library, model) = (self.path("library"), model());
        let always = ["index", text(path), "--library", text(&library), "--model", text(&model), "--json"];
        gve(&[&always[..], more].concat())
    }

    pub(crate) fn index(&self, more: &[&str]) -> Output {
        self.index_at(&self.path("clips"), more)
    }

    /// The files that the library finds, by their names in `clips/`.
    pub(crate) fn names(&self) -> Vec<String> {
        let library = Library::open(self.path("library")).unwrap();
        assert!(library.damage().is_empty(), "{:?}", library.damage());
        let root = self.path("clips");
        let name = |path: &Path| path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let mut names: Vec<String> = library.entries().iter().map(|entry| name(&entry.path)).collect();
        names.sort();
        names
    }
}

pub(crate) fn count(output: &Output, key: &str) -> u64 {
    json_lines(output)[0][key].as_u64().unwrap()
}

#[test]
fn what_is_gone_is_forgotten_and_what_may_be_away_is_not() {
    let files = ["a.png", "b.png", "sub/c.png", "sub/d.png"];
    let check = |bench: &Bench, says: &str, kept: usize| {
        let output = bench.index(&["--prune"]);
        assert_status(&output, if kept == files.len() { 1 } else { 2 });
        assert_eq!(bench.names(), files, "{}", stderr(&output));
        assert_eq!((count(&output, "pruned"), count(&output, "kept")), (0, kept as u64));
        assert!(stderr(&output).contains(says), "{}", stderr(&output));
        assert!(stderr(&output).contains("--prune-all"), "{}", stderr(&output));
        let all = bench.index(&["--prune-all"]);
        assert_eq!(count(&all, "pruned"), kept as u64, "{}", stderr(&all));
        assert_eq!(bench.names().len(), files.len() - kept);
    };
    // The folder is the mount point of a drive that is away.
    let bench = Bench::of(&files);
    fs::rename(bench.path("clips"), bench.path("away")).unwrap();
    fs::create_dir(bench.path("clips")).unwrap();
    check(&bench, "holds nothing", 4);
    // Somebody left a note there, to be seen when it is away.
    let bench = Bench::of(&files);
    fs::rename(bench.path("clips"), bench.path("away")).unwrap();
    fs::create_dir(bench.path("clips")).unwrap();
    fs::write(bench.clip("NOT MOUNTED"), "").unwrap();
    check(&bench, "holds nothing", 4);
    // It is not there at all.
    let bench = Bench::of(&files);
    fs::rename(bench.path("clips"), bench.path("away")).unwrap();
    check(&bench, "not there", 4);
    // A drive within the folder is away.
    let bench = Bench::of(&files);
    fs::rename(bench.clip("sub"), bench.path("away")).unwrap();
    fs::create_dir(bench.clip("sub")).unwrap();
    check(&bench, "holds nothing", 2);

    // What can be seen to be gone is forgotten: a file, and a folder as a whole.
    let bench = Bench::of(&files);
    fs::remove_file(bench.clip("a.png")).unwrap();
    let output = bench.index(&["--prune"]);
    assert_status(&output, 0);
    assert_eq!((count(&output, "pruned"), count(&output, "kept")), (1, 0));
    fs::remove_dir_all(bench.clip("sub")).unwrap();
    let output = bench.index(&["--prune"]);
    assert_status(&output, 0);
    assert_eq!(count(&output, "pruned"), 2);
    assert_eq!(bench.names(), ["b.png"]);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_looked_at_is_not_gone() {
    use std::os::unix::fs::symlink;

    // Permissions do not bind whoever may do anything; a link to itself does.
    let bench = Bench::of(&["a.png", "sub/c.png"]);
    fs::rename(bench.clip("sub"), bench.path("away")).unwrap();
    symlink("sub", bench.clip("sub")).unwrap();
    let output = bench.index(&["--prune"]);
    assert_status(&output, 2);
    assert_eq!(bench.names(), ["a.png", "sub/c.png"]);
    assert!(stderr(&output).contains("cannot be looked at"), "{}", stderr(&output));

    // A link whose target is away is still there.
    let bench = Bench::of(&["a.png", "link.png"]);
    fs::remove_file(bench.clip("link.png")).unwrap();
    symlink(bench.path("away/b.png"), bench.clip("link.png")).unwrap();
    assert_status(&bench.index(&["--prune"]), 2);
    assert_eq!(bench.names(), ["a.png", "link.png"]);
}

#[test]
fn what_lies_elsewhere_is_not_forgotten() {
    let bench = Bench::of(&["a.png", "b.png"]);
    let other = bench.path("other");
    fs::create_dir(&other).unwrap();
    fs::copy(media("tiny.png"), other.join("x.png")).unwrap();
    fs::remove_file(bench.clip("a.png")).unwrap();
    let output = bench.index_at(&other, &["--prune"]);
    assert_status(&output, 0);
    assert_eq!((count(&output, "pruned"), count(&output, "kept")), (0, 1));
    assert!(stderr(&output).contains("outside"), "{}", stderr(&output));
    assert_eq!(bench.names().len(), 3);
}

#[test]
fn a_file_that_turned_bad_is_not_found_any_more() {
    let bench = Bench::of(&["a.png", "b.png", "c.png"]);
    fs::write(bench.clip("a.png"), "no picture any more").unwrap();
    let output = bench.index(&[]);
    assert_status(&output, 2);
    assert_eq!((count(&output, "failed"), count(&output, "pruned")), (1, 1));
    assert!(stderr(&output).contains("a.png: forgotten"), "{}", stderr(&output));
    assert_eq!(bench.names(), ["b.png", "c.png"]);
    // Told of by every run, but forgotten only once.
    let output = bench.index(&[]);
    assert_status(&output, 2);
    assert_eq!((count(&output, "failed"), count(&output, "pruned")), (1, 0));

    // What cannot be read at present may be what it was.
    #[cfg(unix)]
    {
        fs::remove_file(bench.clip("b.png")).unwrap();
        std::os::unix::fs::symlink("b.png", bench.clip("b.png")).unwrap();
        assert_status(&bench.index(&[]), 2);
        assert_eq!(bench.names(), ["b.png", "c.png"]);
    }
}

/// A new date or size is a reason to look at what a file holds, which decides.
#[test]
fn a_change_of_what_a_file_holds_is_a_change() {
    let bench = Bench::of(&["a.png", "b.png"]);
    let time = |name: &str| fs::metadata(bench.clip(name)).unwrap().modified().unwrap();
    let set = |name: &str, time: SystemTime| {
        fs::File::options().write(true).open(bench.clip(name)).unwrap().set_modified(time).unwrap();
    };
    let added = || {
        let output = bench.index(&[]);
        assert_status(&output, 0);
        count(&output, "added")
    };
    assert_eq!(added(), 0);
    // The same size, and later by as little as can be told.
    let turn = |name: &str| {
        let mut bytes = fs::read(bench.clip(name)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let before = time(name);
        fs::write(bench.clip(name), bytes).unwrap();
        before
    };
    let before = turn("a.png");
    set("a.png", before + Duration::from_micros(1));
    assert_eq!(added(), 1);
    let before = turn("a.png");
    set("a.png", before - Duration::from_secs(3600));
    assert_eq!(added(), 1);
    // The date alone.
    set("a.png", time("a.png") + Duration::from_secs(1));
    assert_eq!((added(), added()), (0, 0));
    // Another size and the same time.
    let before = time("b.png");
    fs::copy(media("rabbit.png"), bench.clip("b.png")).unwrap();
    set("b.png", before);
    assert_eq!(added(), 1);
    assert_eq!(added(), 0);
}

#[cfg(unix)]
#[test]
fn pipes_and_sockets_are_passed_over() {
    let bench = Bench::of(&["a.png"]);
    for name in ["pipe.png", "pipe.mp4", "pipe"] {
        assert!(std::process::Command::new("mkfifo").arg(bench.clip(name)).status().unwrap().success());
    }
    let (clips, library, model) = (bench.path("clips"), bench.path("library"), model());
    for more in [&[][..], &["--any-name"]] {
        let always = ["index", text(&clips), "--library", text(&library), "--model", text(&model)];
        let output = in_time(command(&[&always[..], more].concat()));
        assert_status(&output, 2);
        let said = stderr(&output);
        assert_eq!(said.matches("is a named pipe").count(), 2, "{said}");
        assert!(said.contains("1 pipe, socket or device"), "{said}");
        assert_eq!(stdout(&output), "0 added, 1 unchanged, 2 failed\n");
    }
}

/// What a command gives, which may not hang.
fn in_time(mut command: std::process::Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it hangs: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

#[test]
fn what_has_no_known_ending_is_said_and_can_be_taken() {
    let bench = Bench::empty();
    bench.add("tiny.png", "CAM1");
    bench.add("ntsc.mp4", "CAM2.dat");
    fs::write(bench.clip("notes.txt"), "x").unwrap();
    let output = bench.index(&[]);
    assert_status(&output, 1);
    assert_eq!(count(&output, "added"), 0);
    let said = stderr(&output);
    for part in ["nothing found", "1 without an ending", "1 .dat", "1 .txt", "--any-name"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(json_lines(&output)[0]["passed_over"]["unknown"]["dat"], 1);

    let output = bench.index(&["--any-name"]);
    assert_status(&output, 0);
    assert_eq!(bench.names(), ["CAM1", "CAM2.dat"]);
    assert!(stderr(&output).contains("passed over: 1 .txt"), "{}", stderr(&output));
    // They are no less there for being named otherwise.
    let output = bench.index(&["--prune"]);
    assert_eq!((count(&output, "pruned"), bench.names().len()), (0, 2));
    // Whoever names a file means it.
    let other = Bench::empty();
    other.add("tiny.png", "CAM1");
    assert_status(&other.index_at(&other.clip("CAM1"), &[]), 0);
    assert_eq!(other.names(), ["CAM1"]);
}

#[cfg(unix)]
#[test]
fn a_result_is_one_line_and_no_name_is_obeyed() {
    let names = ["a\nb.png", "esc\u{1b}[2J\u{9b}31m.png", "\u{202e}gnp.exe.png", "back\\nslash.png"];
    let bench = Bench::empty();
    for name in names {
        bench.add("tiny.png", name);
    }
    fs::write(bench.clip("bad\n\u{1b}[2J.png"), "x").unwrap();
    let obeyed = |text: &str| text.chars().any(|c| c != '\n' && (c.is_control() || c == '\u{202e}'));
    let output = bench.index(&[]);
    assert_status(&output, 2);
    assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    assert!(
        !obeyed(&stderr(&output)) && stderr(&output).contains(r"bad\n\u001b[2J.png"),
        "{}",
        stderr(&output)
    );

    let library = bench.path("library");
    let search = |more: &[&str]| {
        let output = gve(&[&["search", "--library", text(&library), "a rabbit"], more].concat());
        assert_status(&output, 0);
        assert!(!obeyed(&stdout(&output)), "{}", stdout(&output));
        output
    };
    let plain = search(&[]);
    assert_eq!(stdout(&plain).lines().count(), names.len(), "{}", stdout(&plain));
    for shown in [r"a\nb.png", r"esc\u001b[2J\u009b31m.png", r"\u202egnp.exe.png", r"back\\nslash.png"] {
        assert!(stdout(&plain).contains(shown), "{shown}: {}", stdout(&plain));
    }
    let mut exact: Vec<Value> =
        json_lines(&search(&["--json"])).into_iter().map(|hit| hit["path"].clone()).collect();
    exact.sort_by_key(Value::to_string);
    let mut expected: Vec<Value> = names.iter().map(|name| text(&bench.clip(name)).into()).collect();
    expected.sort_by_key(Value::to_string);
    assert_eq!(exact, expected);
}

/// Over some damage the Parquet library panics, which is nobody else's matter.
#[test]
fn a_panic_over_a_damaged_segment_is_told_of_in_lines() {
    let bench = Bench::of(&["a.png"]);
    let library = bench.path("library");
    let segment = fs::read_dir(library.join("segments")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&segment).unwrap();
    let mut panics = 0;
    for place in 0..400.min(good.len()) {
        let mut bad = good.clone();
        // In a page's header: from PLAIN to RLE_DICTIONARY.
        if bad[place] != 0 {
            continue;
        }
        bad[place] = 0x10;
        fs::write(&segment, bad).unwrap();
        if !Library::open(&library)
            .unwrap()
            .damage()
            .iter()
            .any(|error| error.to_string().contains("fails over it"))
        {
            continue;
        }
        panics += 1;
        let output = command(&["search", "--library", text(&library), "a rabbit"])
            .env_remove("RUST_BACKTRACE")
            .output()
            .unwrap();
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(said.lines().all(|line| line.starts_with("gve: ")), "{said}");
        break;
    }
    assert_eq!(panics, 1, "no byte made it panic");
}
