//! Filling a library as a library call.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use gve::indexer::{
    IndexError, IndexEvent, IndexOptions, Recognition, estimate, find, index_with, library_manifest,
    remember_mounts,
};
use gve::retrieval::{Library, LibraryWriter};
use gve::{CancelToken, Embedder};
use gve_test_support::golden::{golden_dir, marked};

const FILES: usize = 4;

struct Bench {
    folder: tempfile::TempDir,
    embedder: Embedder,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..FILES {
            std::fs::write(folder.path().join(format!("{i}.png")), marked("tiny.png", i)).unwrap();
        }
        Self { folder, embedder: Embedder::load(golden_dir().join("tiny-a/model")).unwrap() }
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("library")
    }

    /// Indexes, and gives the rows on disk at each file that is reported as done.
    fn index(
        &self,
        options: &IndexOptions,
        mut done: impl FnMut(&Path),
    ) -> (Result<(), IndexError>, Vec<usize>) {
        let manifest = library_manifest(&self.embedder);
        let mut library = LibraryWriter::create_or_open(self.library(), manifest).unwrap();
        let files = find(self.folder.path(), Recognition::ByName).files;
        let mut rows = Vec::new();
        let outcome = index_with(&self.embedder, &mut library, &files, options, |event| {
            if let IndexEvent::Done(path, _) = event {
                rows.push(Library::open(self.library()).unwrap().entries().len());
                done(&path);
            }
        });
        (outcome.map(drop), rows)
    }
}

#[test]
fn rows_wait_no_longer_than_they_may() {
    let bench = Bench::new();
    let at_once = IndexOptions::default().with_flush_interval(Duration::ZERO);
    let (outcome, rows) = bench.index(&at_once, |_| {});
    outcome.unwrap();
    assert_eq!(rows, [1, 2, 3, 4], "each is on disk, and told of, before the next is taken");

    let bench = Bench::new();
    let at_the_end = IndexOptions::default().with_flush_interval(Duration::MAX);
    let (outcome, rows) = bench.index(&at_the_end, |_| {});
    outcome.unwrap();
    assert_eq!(rows, [4; FILES], "all are on disk before the first is reported");
}

/// It may be a drive that is away: its files stay its own, as long as it is asked for.
#[test]
fn what_is_found_elsewhere_of_a_folder_that_is_not_there_is_a_copy() {
    let bench = Bench::new();
    let root = bench.folder.path().canonicalize().unwrap();
    let (drive, work) = (root.join("drive"), root.join("work"));
    std::fs::create_dir(&drive).unwrap();
    std::fs::create_dir(&work).unwrap();
    for name in ["a.png", "b.png"] {
        std::fs::write(drive.join(name), marked("tiny.png", name)).unwrap();
    }
    let index = |searched: &[&Path]| {
        let manifest = library_manifest(&bench.embedder);
        let mut library = LibraryWriter::create_or_open(bench.library(), manifest).unwrap();
        let found: Vec<_> = searched.iter().map(|path| find(path, Recognition::ByName)).collect();
        remember_mounts(&library, &found).unwrap();
        let roots = found.iter().map(|found| found.root.clone()).collect();
        let files: Vec<_> = found.into_iter().flat_map(|found| found.files).collect();
        let options = IndexOptions::default().with_searched(roots);
        let totals = index_with(&bench.embedder, &mut library, &files, &options, |_| {}).unwrap();
        library.finish().unwrap();
        (totals.added, totals.moved, totals.copied, totals.unchanged)
    };
    assert_eq!(index(&[&drive]), (2, 0, 0, 0));
    // Within a folder that is there.
    std::fs::create_dir(drive.join("sub")).unwrap();
    std::fs::rename(drive.join("b.png"), drive.join("sub/c.png")).unwrap();
    assert_eq!(index(&[&drive]), (0, 1, 0, 1));
    std::fs::rename(&drive, root.join("away")).unwrap();
    std::fs::copy(root.join("away/a.png"), work.join("a.png")).unwrap();
    assert_eq!(index(&[&drive, &work]), (0, 0, 1, 0));
    std::fs::rename(root.join("away"), &drive).unwrap();
    assert_eq!(index(&[&drive, &work]), (0, 0, 0, 3));
    // The folder as a whole, which nobody asks for by its old name.
    std::fs::rename(&drive, root.join("renamed")).unwrap();
    std::fs::remove_file(root.join("renamed/a.png")).unwrap();
    assert_eq!(index(&[&root.join("renamed")]), (0, 1, 0, 0));
}

#[test]
fn damaged_mounts_are_told_of_with_what_helps() {
    let bench = Bench::new();
    let library = LibraryWriter::create_or_open(bench.library(), library_manifest(&bench.embedder)).unwrap();
    for damaged in [&b"{\"/v\xff\": {}}"[..], b"garbage", b""] {
        std::fs::write(bench.library().join("library.mounts"), damaged).unwrap();
        let error = remember_mounts(&library, &[]).unwrap_err().to_string();
        assert!(error.contains("library.mounts") && error.contains("delete the file"), "{error}");
    }
}

#[test]
fn no_videos_last_nothing() {
    let bench = Bench::new();
    let files = find(bench.folder.path(), Recognition::ByName).files;
    let manifest = library_manifest(&bench.embedder);
    let cost = estimate(&bench.embedder, None, &manifest, &files, &CancelToken::new()).unwrap();
    assert_eq!((cost.images, cost.videos), (FILES, 0));
    assert_eq!(cost.video_seconds.to_bits(), 0.0_f64.to_bits(), "{:?}", cost.video_seconds);
}

#[test]
fn cancelling_keeps_what_is_done() {
    let bench = Bench::new();
    let cancel = CancelToken::new();
    let options = IndexOptions::default().with_flush_interval(Duration::ZERO).with_cancel(cancel.clone());
    let (outcome, rows) = bench.index(&options, |path| {
        if path.ends_with("1.png") {
            cancel.cancel();
        }
    });
    assert!(matches!(outcome, Err(IndexError::Cancelled)), "{outcome:?}");
    assert_eq!(rows, [1, 2]);
    assert_eq!(Library::open(bench.library()).unwrap().entries().len(), 2);
}

/// Runs `work` while a file is given new dates, one after the other.
fn while_it_changes<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    /// Also where `work` panics: else the other thread would go on for ever.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let (is_done, file) = (AtomicBool::new(false), File::options().write(true).open(path).unwrap());
    std::thread::scope(|scope| {
        let _done = Done(&is_done);
        scope.spawn(|| {
            for seconds in 1.. {
                file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
                if is_done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        work()
    })
}

/// Indexes some files; what happened, and what is in the library then.
fn indexed(bench: &Bench, names: &[&str], at_unchanged: &dyn Fn()) -> (Vec<String>, Vec<PathBuf>) {
    let manifest = library_manifest(&bench.embedder);
    let mut library = LibraryWriter::create_or_open(bench.library(), manifest).unwrap();
    let paths = names.iter().map(|name| bench.folder.path().join(name));
    let files: Vec<_> = paths.flat_map(|path| find(&path, Recognition::ByName).files).collect();
    let mut events = Vec::new();
    index_with(&bench.embedder, &mut library, &files, &IndexOptions::default(), |event| match event {
        IndexEvent::Unchanged(_) => at_unchanged(),
        IndexEvent::Done(path, _) => events.push(format!("done {}", path.display())),
        IndexEvent::Failed(_, error) => events.push(error.to_string()),
        IndexEvent::Forgotten(path) => events.push(format!("forgotten {}", path.display())),
        other => panic!("{other:?}"),
    })
    .unwrap();
    (events, library.paths().map(Path::to_owned).collect())
}

/// What is embedded is what the file was when it was looked at, or the file waits for the next run.
#[test]
fn a_file_that_changes_while_it_is_read_is_taken_up_by_the_next_run() {
    let both = ["0.png", "1.png"];
    // Reading it takes less than a millisecond: the system may have other things to do than to change it then.
    let caught = |before: &dyn Fn(&Bench)| {
        let run = |_| {
            let bench = Bench::new();
            before(&bench);
            let changes = bench.folder.path().join("0.png");
            let (events, paths) = while_it_changes(&changes, || indexed(&bench, &both, &|| {}));
            let is_caught = matches!(&events[..], [only] if only.contains("0.png: it changed while"));
            is_caught.then_some((bench, paths))
        };
        (0..100).find_map(run).unwrap()
    };
    let (bench, paths) = caught(&|bench| drop(indexed(bench, &["1.png"], &|| {})));
    assert!(paths.len() == 1 && paths[0].ends_with("1.png"), "{paths:?}");
    let (events, paths) = indexed(&bench, &both, &|| {});
    assert!(events.len() == 1 && events[0].starts_with("done") && paths.len() == 2, "{events:?} {paths:?}");
    // One that was good, and is half of another file as it is read, is not forgotten.
    let (bench, paths) = caught(&|bench| {
        indexed(bench, &both, &|| {});
        std::fs::write(bench.folder.path().join("0.png"), &marked("tall.png", 3)[..90]).unwrap();
    });
    assert_eq!(paths.len(), 2, "{paths:?}");
    // One that changes before its turn comes is embedded as it is then. The other is told of before.
    let rests = || std::fs::write(bench.folder.path().join("0.png"), marked("tall.png", 3)).unwrap();
    let (events, _) = indexed(&bench, &both, &rests);
    assert!(matches!(&events[..], [only] if only.starts_with("done")), "{events:?}");
    let (events, _) = indexed(&bench, &both, &|| {});
    assert_eq!(events, Vec::<String>::new());
}

#[test]
fn a_file_that_is_gone_when_it_is_embedded_is_not_there() {
    let bench = Bench::new();
    let manifest = library_manifest(&bench.embedder);
    let mut library = LibraryWriter::create_or_open(bench.library(), manifest).unwrap();
    let files = find(bench.folder.path(), Recognition::ByName).files;
    let options = IndexOptions::default().with_flush_interval(Duration::ZERO);
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    index_with(&bench.embedder, &mut library, &files, &options, |event| match event {
        // Some of the others have been embedded by now, together with this one.
        IndexEvent::Done(path, _) => {
            let others = files.iter().filter(|file| file.path != path);
            others.for_each(|file| std::fs::remove_file(&file.path).unwrap());
            done.push(path);
        }
        IndexEvent::Failed(path, _) => failed.push(path),
        other => panic!("{other:?}"),
    })
    .unwrap();
    assert_eq!((done.len(), failed.len()), (1, FILES - 1));
    assert_eq!(library.paths().collect::<Vec<_>>(), [&done[0]]);
}

/// A film of three shots.
#[cfg(feature = "video")]
fn make_film(path: &Path) {
    use gve::video::{VideoEncoding, VideoWriter};
    use image::{Rgb, RgbImage};

    let mut writer = VideoWriter::create(path, VideoEncoding::Ffv1, (160, 120), 24).unwrap();
    for (colour, stripes) in [([200, 30, 30], 7), ([20, 160, 60], 11), ([40, 40, 220], 5)] {
        let scene = RgbImage::from_fn(160, 120, |x, y| {
            if (x / stripes + y / stripes) % 2 == 0 { Rgb(colour) } else { Rgb([235, 235, 225]) }
        });
        (0..120).for_each(|_| writer.write(&scene).unwrap());
    }
    writer.finish().unwrap();
}

/// The next run embeds it anew with all of its moments, so that is what it costs.
#[cfg(feature = "video")]
#[test]
fn a_video_that_has_lost_a_moment_is_among_what_indexing_would_cost() {
    use gve::Moments;
    use gve::retrieval::RetrievalError;

    let (folder, library) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    make_film(&folder.path().join("film.mkv"));
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    let files = find(folder.path(), Recognition::ByName).files;
    let mut manifest = library_manifest(&embedder);
    manifest.moments = Some(Moments::shots());
    let mut writer = LibraryWriter::create_or_open(library.path(), manifest.clone()).unwrap();
    index_with(&embedder, &mut writer, &files, &IndexOptions::default(), |_| {}).unwrap();
    writer.finish().unwrap();
    let cost = |library: &Library| {
        let cost = estimate(&embedder, Some(library), &manifest, &files, &CancelToken::new()).unwrap();
        (cost.videos, cost.known)
    };
    let whole = Library::open(library.path()).unwrap();
    assert_eq!((whole.entries().len(), cost(&whole)), (4, (0, 0)));
    let last: Vec<u8> =
        whole.embeddings().unwrap().row(3).iter().flat_map(|value| value.to_le_bytes()).collect();
    for segment in std::fs::read_dir(library.path().join("segments")).unwrap() {
        let segment = segment.unwrap().path();
        let mut bytes = std::fs::read(&segment).unwrap();
        let place = bytes.windows(last.len()).rposition(|window| window == last).unwrap();
        bytes[place + 3] ^= 0x40;
        std::fs::write(segment, bytes).unwrap();
    }
    let damaged = Library::open(library.path()).unwrap();
    assert!(
        matches!(damaged.damage(), [RetrievalError::DamagedRows { file: Some(_), .. }]),
        "{:?}",
        damaged.damage()
    );
    assert_eq!((damaged.entries().len(), cost(&damaged)), (3, (1, 0)));
}

/// Whenever a run is stopped, a video has all of its moments or is not there, to be taken up by the next run.
#[cfg(feature = "video")]
#[test]
fn a_video_is_never_left_without_its_moments() {
    use gve::Moments;

    let folder = tempfile::tempdir().unwrap();
    make_film(&folder.path().join("film.mkv"));
    let embedder = Embedder::load(golden_dir().join("tiny-a/model")).unwrap();
    let files = find(folder.path(), Recognition::ByName).files;
    let index = |library: &Path, cancel: CancelToken| {
        let mut manifest = library_manifest(&embedder);
        manifest.moments = Some(Moments::shots());
        let mut writer = LibraryWriter::create_or_open(library, manifest).unwrap();
        let outcome =
            index_with(&embedder, &mut writer, &files, &IndexOptions::default().with_cancel(cancel), |_| {});
        drop(writer);
        (outcome, Library::open(library).unwrap().entries().len())
    };
    for after in (0..8).map(|i| Duration::from_millis(10 * i * i)) {
        let library = tempfile::tempdir().unwrap();
        let cancel = CancelToken::new();
        let stopper = std::thread::spawn({
            let cancel = cancel.clone();
            move || {
                std::thread::sleep(after);
                cancel.cancel();
            }
        });
        let (_, rows) = index(library.path(), cancel);
        stopper.join().unwrap();
        assert!(rows == 0 || rows == 4, "{rows} rows after {after:?}");
        let (outcome, rows) = index(library.path(), CancelToken::new());
        outcome.unwrap();
        assert_eq!(rows, 4, "the whole and three shots");
    }
}
