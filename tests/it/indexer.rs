//! Filling a library as a library call.

use std::path::{Path, PathBuf};
use std::time::Duration;

use gve::indexer::{IndexError, IndexEvent, IndexOptions, Recognition, find, index_with, library_manifest};
use gve::retrieval::{Library, LibraryWriter};
use gve::{CancelToken, Embedder};
use gve_test_support::golden::golden_dir;

const FILES: usize = 4;

struct Bench {
    folder: tempfile::TempDir,
    embedder: Embedder,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..FILES {
            let picture = golden_dir().join("media/tiny.png");
            std::fs::copy(picture, folder.path().join(format!("{i}.png"))).unwrap();
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
        let manifest = library_manifest(&self.embedder, "tiny", None);
        let mut library = LibraryWriter::create_or_open(self.library(), manifest).unwrap();
        let files = find(self.folder.path(), Recognition::ByName).files;
        let mut rows = Vec::new();
        let outcome = index_with(&self.embedder, &mut library, &files, options, |event| {
            if let IndexEvent::Done(path, _) = event {
                rows.push(Library::open(self.library()).unwrap().entries().len());
                done(path);
            }
        });
        (outcome, rows)
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
