//! `gve pairs` and pairs of others in `gve train`, on what their own tools wrote.

use std::path::{Path, PathBuf};
use std::process::Output;

use gve::pairs::Pair;
use gve_test_support::golden::repository_dir;
use gve_test_support::program::{assert_status, stderr, stdout};
use serde_json::{Value, json};

use crate::program::gve;

mod config;
mod formats;
mod hub;
mod look;
mod refused;

/// What `tests/fixtures/pairs/make_pairs.py` made.
fn fixture(name: &str) -> PathBuf {
    repository_dir().join("tests/fixtures/pairs").join(name)
}

/// A folder with the file of pairs that an import writes.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A file of one's own.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn import(&self, format: &str, paths: &[&Path], more: &[&str]) -> Output {
        let out = self.path("pairs.jsonl");
        let mut arguments = vec!["pairs", "import", format];
        arguments.extend(paths.iter().map(|path| path.to_str().unwrap()));
        arguments.extend(["--out", out.to_str().unwrap()]);
        arguments.extend(more);
        gve(&arguments)
    }

    fn pairs(&self) -> Vec<Pair> {
        let text = std::fs::read_to_string(self.path("pairs.jsonl")).unwrap();
        text.lines().map(|line| Pair::from_json(line, self.folder.path()).unwrap()).collect()
    }

    /// The tasks of what was written, in its order.
    fn tasks(&self) -> String {
        self.pairs().iter().map(|pair| pair.task.to_string()).collect::<Vec<_>>().join(" ")
    }
}
