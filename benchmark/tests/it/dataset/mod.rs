//! Data sets on disk: layouts, relevance, caches, and everything that can be wrong with them.

mod beir;
mod check;
mod faults;
mod layouts;

use std::fs;
use std::path::Path;

use gve::Part;
use tempfile::TempDir;
use uvrb::dataset::{Dataset, LoadOptions, load};
use uvrb::manifest::{DatasetSpec, Manifest};

fn spec(id: &str) -> &'static DatasetSpec {
    Manifest::builtin().get(id).unwrap()
}

/// A specification that a test's own few files meet.
fn own(queries: usize, corpus: usize) -> DatasetSpec {
    DatasetSpec { id: "mine".into(), queries, corpus, ..spec("MSRVTT").clone() }
}

fn read(spec: &DatasetSpec, root: &Path) -> Dataset {
    load(spec, root, &LoadOptions::default()).unwrap()
}

fn failure(spec: &DatasetSpec, root: &Path) -> String {
    let error = load(spec, root, &LoadOptions::default()).unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// The positives of each query, as document ids with grades.
fn positives(dataset: &Dataset) -> Vec<Vec<(&str, u32)>> {
    let of = |p: &uvrb::dataset::Positive| (dataset.corpus[p.document].id.as_str(), p.grade);
    dataset.queries.iter().map(|query| query.positives.iter().map(of).collect()).collect()
}

fn kind(part: &Part) -> &'static str {
    match part {
        Part::Text(_) => "text",
        Part::Image(_) => "image",
        Part::Video(_) => "video",
        Part::Frames(_) => "frames",
        _ => "other",
    }
}

fn file(part: &Part) -> Option<&Path> {
    match part {
        Part::Video(video) => video.source.path(),
        Part::Image(image) => image.source.path(),
        _ => None,
    }
}

/// Index files in UVRB's layout.
struct Files {
    dir: TempDir,
}

impl Files {
    /// Two queries and two documents that fit together; nothing of the media is there.
    fn new() -> Self {
        let files = Self { dir: tempfile::tempdir().unwrap() };
        fs::create_dir(files.root().join("jsonl")).unwrap();
        files
            .put(
                "queries",
                r#"{"id": "q1", "text": "a dog"}
{"id": "q2", "text": "a cat"}"#,
            )
            .put(
                "corpus",
                r#"{"id": "d1", "video": "videos/a.mp4"}
{"id": "d2", "video": "b.mp4"}"#,
            )
            .put(
                "instances",
                r#"{"qid": "q1", "pos": ["d1"]}
{"qid": "q2", "pos": ["d2"], "note": 3}"#,
            )
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn put(self, name: &str, text: &str) -> Self {
        fs::write(self.root().join("jsonl").join(format!("{name}.jsonl")), text).unwrap();
        self
    }
}
