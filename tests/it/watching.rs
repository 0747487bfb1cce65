//! A library follows its folders.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gve::indexer::{IndexError, IndexEvent, WatchEvent, WatchOptions, library_manifest, watch};
use gve::retrieval::{Library, LibraryWriter};
use gve::{CancelToken, Embedder};
use gve_test_support::golden::{golden_dir, marked};

/// Far more than any of this takes.
const LONGEST: Duration = Duration::from_secs(120);

/// A folder `v` that is watched, perhaps with files that are named besides, and a library beside it.
struct Bench {
    folder: tempfile::TempDir,
    roots: usize,
    embedder: Embedder,
    cancel: CancelToken,
    watching: Option<JoinHandle<Result<(), IndexError>>>,
    events: Receiver<String>,
}

impl Bench {
    fn new(options: WatchOptions) -> Self {
        Self::with_settle(Duration::from_millis(200), options)
    }

    fn with_settle(settle: Duration, options: WatchOptions) -> Self {
        Self::of(&["v"], settle, options)
    }

    fn of(roots: &[&str], settle: Duration, options: WatchOptions) -> Self {
        let bench = Self::start(tempfile::tempdir().unwrap(), roots, settle, options);
        bench.write("v/first.png", 0);
        let first = bench.all(bench.roots);
        assert!(first.contains(&"done v/first.png".to_owned()), "{first:?}");
        bench
    }

    /// Begins to watch, and nothing was told yet.
    fn start(folder: tempfile::TempDir, roots: &[&str], settle: Duration, options: WatchOptions) -> Self {
        fs::create_dir(folder.path().join("v")).unwrap();
        let root = folder.path().canonicalize().unwrap();
        let count = roots.len();
        let roots: Vec<PathBuf> = roots.iter().map(|name| root.join(name)).collect();
        roots[1..].iter().for_each(|path| {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, marked("tiny.png", 99)).unwrap();
        });
        let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
        let cancel = CancelToken::new();
        let options = options.with_settle(settle).with_cancel(cancel.clone());
        let (send, events) = channel();
        let watching = thread::spawn({
            let embedder = embedder.clone();
            move || {
                let manifest = library_manifest(&embedder);
                watch(&embedder, root.join("library"), &manifest, &roots, &options, |event| {
                    let told = told(&event, &root);
                    told.map(|told| send.send(told).unwrap()).unwrap_or_default();
                })
            }
        });
        Self { folder, roots: count, embedder, cancel, watching: Some(watching), events }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().canonicalize().unwrap().join(name)
    }

    fn write(&self, name: &str, mark: usize) {
        fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        fs::write(self.path(name), marked("tiny.png", mark)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn next(&self) -> String {
        self.events.recv_timeout(LONGEST).unwrap_or_else(|_| panic!("nothing happened"))
    }

    /// What is told next but for what hinders.
    fn next_unhindered(&self) -> String {
        loop {
            let next = self.next();
            if !next.starts_with("hindered") {
                return next;
            }
        }
    }

    fn all(&self, count: usize) -> Vec<String> {
        let mut events: Vec<String> = (0..count).map(|_| self.next()).collect();
        events.sort();
        events
    }

    fn paths(&self) -> Vec<String> {
        let library = Library::open(self.path("library")).unwrap();
        let root = self.path("");
        let name = |path: &Path| path.strip_prefix(&root).unwrap().display().to_string();
        let mut names: Vec<String> = library.entries().iter().map(|entry| name(&entry.path)).collect();
        names.sort();
        names
    }

    /// Waits until the library has these.
    fn holds(&self, expected: &[&str]) {
        let deadline = Instant::now() + LONGEST;
        while self.paths() != expected {
            assert!(Instant::now() < deadline, "{:?}, expected {expected:?}", self.paths());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(mut self) {
        self.cancel.cancel();
        self.watching.take().unwrap().join().unwrap().unwrap();
        assert_eq!(self.events.try_iter().collect::<Vec<_>>(), Vec::<String>::new(), "nothing else was told");
    }
}

fn told(event: &WatchEvent, root: &Path) -> Option<String> {
    let name = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
    Some(match event {
        WatchEvent::File(IndexEvent::Done(path, _)) => format!("done {}", name(path)),
        WatchEvent::File(IndexEvent::Moved { from, to }) => format!("moved {} {}", name(from), name(to)),
        WatchEvent::File(IndexEvent::Copied { from, to }) => format!("copied {} {}", name(from), name(to)),
        WatchEvent::File(IndexEvent::Failed(path, _)) => format!("failed {}", name(path)),
        WatchEvent::File(IndexEvent::Forgotten(path)) => format!("forgotten {}", name(path)),
        WatchEvent::File(_) | WatchEvent::UpToDate(_) => return None,
        WatchEvent::Failed(error) => format!("failure {error}"),
        WatchEvent::Away(path) => format!("away {}", name(path)),
        WatchEvent::Back(path) => format!("back {}", name(path)),
        WatchEvent::Kept(path, doubt, files) => format!("kept {files} in {}: {doubt}", name(path)),
        WatchEvent::TooMany(gone, files) => format!("{gone} of {files} are gone"),
        WatchEvent::Damaged(_) => "damaged".to_owned(),
        WatchEvent::Hindered(error) => format!("hindered {}", error.to_string().replace(&name(root), "")),
        other => panic!("{other:?}"),
    })
}

#[test]
fn what_is_excluded_is_left_alone() {
    let exclude = ["cache", "*-draft.png"].map(|pattern| pattern.parse().unwrap()).into();
    let rescan = Duration::from_millis(300);
    let bench = Bench::new(WatchOptions::default().with_exclude(exclude).with_rescan(rescan));
    // Heard of, come as a folder, and found by a search of all.
    bench.write("v/a-draft.png", 1);
    bench.write("v/new/cache/b.png", 2);
    bench.write("v/cache/c.png", 3);
    thread::sleep(2 * rescan);
    bench.write("v/new/d.png", 4);
    assert_eq!(bench.next(), "done v/new/d.png");
    bench.holds(&["v/first.png", "v/new/d.png"]);
    // What is moved there is gone, and what comes out of it is there.
    bench.rename("v/new/d.png", "v/cache/d.png");
    assert_eq!(bench.next(), "forgotten v/new/d.png");
    bench.rename("v/a-draft.png", "v/a.png");
    assert_eq!(bench.next(), "done v/a.png");
    bench.holds(&["v/a.png", "v/first.png"]);
    bench.end();
}

#[test]
fn what_comes_moves_and_goes_is_followed() {
    let bench = Bench::new(WatchOptions::default());
    bench.write("v/new/a.png", 1);
    assert_eq!(bench.next(), "done v/new/a.png");
    bench.rename("v/new", "v/old");
    assert_eq!(bench.next(), "moved v/new/a.png v/old/a.png");
    fs::copy(bench.path("v/first.png"), bench.path("v/copy.png")).unwrap();
    assert_eq!(bench.next(), "copied v/first.png v/copy.png");
    bench.write("v/copy.png", 2);
    assert_eq!(bench.next(), "done v/copy.png");
    // Out of the folder, and into it.
    bench.rename("v/old", "elsewhere");
    assert_eq!(bench.next(), "forgotten v/old/a.png");
    bench.rename("elsewhere", "v/old");
    assert_eq!(bench.next(), "done v/old/a.png");
    fs::remove_file(bench.path("v/copy.png")).unwrap();
    assert_eq!(bench.next(), "forgotten v/copy.png");
    bench.holds(&["v/first.png", "v/old/a.png"]);
    // Nobody wants these.
    bench.write("v/.hidden/b.png", 3);
    fs::write(bench.path("v/notes.txt"), "not a picture").unwrap();
    fs::write(bench.path("v/broken.png"), "not a picture either").unwrap();
    assert_eq!(bench.next(), "failed v/broken.png");
    bench.write("v/broken.png", 4);
    assert_eq!(bench.next(), "done v/broken.png");
    bench.end();
}

#[test]
fn what_is_damaged_meanwhile_is_told_and_embedded_anew() {
    let bench = Bench::new(WatchOptions::default());
    bench.write("v/second.png", 1);
    assert_eq!(bench.next(), "done v/second.png");
    let (library, manifest) = (bench.path("library"), library_manifest(&bench.embedder));
    while LibraryWriter::open(&library, manifest.clone()).is_err() {
        thread::sleep(Duration::from_millis(20));
    }
    for entry in fs::read_dir(library.join("segments")).unwrap() {
        fs::write(entry.unwrap().path(), "not a segment").unwrap();
    }
    bench.write("v/third.png", 2);
    assert_eq!(bench.next(), "damaged");
    let next = std::iter::repeat_with(|| bench.next()).find(|told| told != "damaged");
    assert_eq!(next.as_deref(), Some("done v/third.png"));
    assert_eq!(bench.all(2), ["done v/first.png", "done v/second.png"]);
    bench.holds(&["v/first.png", "v/second.png", "v/third.png"]);
    bench.end();
}

/// A file that is named beside the folder above it takes nothing from the folder.
#[test]
fn a_file_and_the_folder_around_it_are_both_followed() {
    let roots = ["v", "v/deep/camera"];
    let settle = Duration::from_millis(200);
    let bench = Bench::of(&roots, settle, WatchOptions::default());
    bench.write("v/deep/er/a.png", 1);
    assert_eq!(bench.next(), "done v/deep/er/a.png");
    // It is known for a picture by its content, and replaced by another file.
    bench.write("new", 2);
    bench.rename("new", "v/deep/camera");
    assert_eq!([bench.next(), bench.next()], ["back v/deep/camera", "done v/deep/camera"]);
    bench.write("v/deep/er/b.png", 3);
    assert_eq!(bench.next(), "done v/deep/er/b.png");
    bench.end();
}

#[cfg(unix)]
#[test]
fn links_to_folders_are_passed_over() {
    let bench = Bench::new(WatchOptions::default());
    bench.write("elsewhere/a.png", 1);
    std::os::unix::fs::symlink(bench.path("elsewhere"), bench.path("v/link")).unwrap();
    thread::sleep(Duration::from_secs(1));
    bench.write("v/b.png", 2);
    assert_eq!(bench.next(), "done v/b.png");
    bench.holds(&["v/b.png", "v/first.png"]);
    bench.end();
}

#[test]
fn a_file_that_is_still_being_written_waits() {
    let bench = Bench::with_settle(Duration::from_secs(3), WatchOptions::default());
    let picture = marked("tiny.png", 1);
    let mut file = fs::File::create(bench.path("v/slow.png")).unwrap();
    for part in picture.chunks(picture.len().div_ceil(40)) {
        file.write_all(part).unwrap();
        thread::sleep(Duration::from_millis(150));
    }
    assert_eq!(bench.next(), "done v/slow.png", "and did not fail before");
    bench.end();
}

#[test]
fn a_folder_that_goes_away_takes_nothing_with_it() {
    let bench = Bench::new(WatchOptions::default());
    bench.rename("v", "w");
    assert_eq!(bench.next(), "away v");
    thread::sleep(Duration::from_secs(1));
    bench.holds(&["v/first.png"]);
    bench.write("w/second.png", 1);
    bench.rename("w", "v");
    assert_eq!([bench.next(), bench.next()], ["back v", "done v/second.png"]);
    // It is watched as before.
    bench.write("v/third.png", 2);
    assert_eq!(bench.next(), "done v/third.png");
    bench.holds(&["v/first.png", "v/second.png", "v/third.png"]);
    bench.end();
}

#[test]
fn much_is_not_forgotten_at_once() {
    for forget_much in [false, true] {
        let bench = Bench::new(WatchOptions::default().with_forget_much(forget_much));
        let names: Vec<String> = (0..12).map(|i| format!("v/sub/{i:02}.png")).collect();
        names.iter().zip(1..).for_each(|(name, mark)| bench.write(name, mark));
        assert_eq!(bench.all(12)[0], "done v/sub/00.png");
        bench.rename("v/sub", "elsewhere");
        if forget_much {
            assert_eq!(bench.all(12)[11], "forgotten v/sub/11.png");
            bench.holds(&["v/first.png"]);
        } else {
            assert_eq!(bench.next(), "12 of 13 are gone");
            assert_eq!(bench.paths().len(), 13);
        }
        bench.end();
    }
}

#[test]
fn what_hinders_writing_is_waited_for() {
    let bench = Bench::new(WatchOptions::default().with_retry(Duration::from_millis(100)));
    // Another writer, and then a drive that is away.
    bench.holds(&["v/first.png"]);
    let manifest = library_manifest(&bench.embedder);
    let deadline = Instant::now() + LONGEST;
    let writer = loop {
        match LibraryWriter::create_or_open(bench.path("library"), manifest.clone()) {
            Ok(writer) => break writer,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
    };
    bench.write("v/gone.png", 3);
    assert!(bench.next().starts_with("hindered"), "another writes");
    // What goes before its turn has come is no failure.
    fs::remove_file(bench.path("v/gone.png")).unwrap();
    bench.write("v/second.png", 1);
    drop(writer);
    assert_eq!(bench.next_unhindered(), "done v/second.png");
    bench.holds(&["v/first.png", "v/second.png"]);
    thread::sleep(Duration::from_millis(300));
    bench.rename("library", "away");
    bench.write("v/third.png", 2);
    assert!(bench.next().starts_with("hindered"), "it is not there");
    assert!(!bench.path("library").exists(), "and is not made anew");
    bench.rename("away", "library");
    assert_eq!(bench.next_unhindered(), "done v/third.png");
    bench.holds(&["v/first.png", "v/second.png", "v/third.png"]);
    bench.end();
}

#[test]
fn another_writer_is_waited_for_from_the_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    let library = folder.path().join("library");
    let writer = LibraryWriter::create_or_open(library, library_manifest(&embedder)).unwrap();
    let options = WatchOptions::default().with_retry(Duration::from_millis(100));
    let bench = Bench::start(folder, &["v"], Duration::from_millis(200), options);
    bench.write("v/first.png", 0);
    assert!(bench.next().starts_with("hindered another writer"));
    drop(writer);
    assert_eq!(bench.next_unhindered(), "done v/first.png");
    bench.holds(&["v/first.png"]);
    bench.end();
}

/// Nobody tells of what is deleted in a folder that was moved away.
#[test]
fn what_was_deleted_unheard_is_forgotten_after_the_next_search() {
    let bench = Bench::new(WatchOptions::default());
    bench.write("v/second.png", 1);
    assert_eq!(bench.next(), "done v/second.png");
    bench.rename("v", "w");
    assert_eq!(bench.next(), "away v");
    fs::remove_file(bench.path("w/first.png")).unwrap();
    bench.rename("w", "v");
    assert_eq!([bench.next(), bench.next()], ["back v", "forgotten v/first.png"]);
    bench.holds(&["v/second.png"]);
    bench.end();
}

/// A link out of the folder, where nobody hears of changes, and a name that no library can have.
#[cfg(target_os = "linux")]
#[test]
fn a_failure_that_may_pass_is_told_once_and_tried_at_every_search() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::process::Command;

    let rescan = Duration::from_millis(300);
    let bench = Bench::new(WatchOptions::default().with_rescan(rescan));
    let (elsewhere, odd) = (bench.path("elsewhere"), bench.path("v").join(OsStr::from_bytes(b"odd\xe9.png")));
    fs::create_dir(&elsewhere).unwrap();
    assert!(Command::new("mkfifo").arg(elsewhere.join("a.png")).status().unwrap().success());
    symlink(elsewhere.join("a.png"), bench.path("v/link.png")).unwrap();
    let failure = bench.next();
    assert!(failure.starts_with("failure ") && failure.contains("is a named pipe"), "{failure}");
    fs::write(&odd, marked("tiny.png", 1)).unwrap();
    let failed = bench.next();
    assert!(failed.starts_with("failed v/odd"), "{failed}");
    thread::sleep(4 * rescan);
    bench.write("elsewhere/b.png", 2);
    bench.rename("elsewhere/b.png", "elsewhere/a.png");
    assert_eq!(bench.next(), "done v/link.png", "and the others were not told again");
    fs::rename(&odd, bench.path("v/even.png")).unwrap();
    assert_eq!(bench.next(), "done v/even.png");
    bench.holds(&["v/even.png", "v/first.png", "v/link.png"]);
    bench.end();
}
