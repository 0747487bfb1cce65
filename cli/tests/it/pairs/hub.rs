//! Data sets by their id, on a hub of our own.

use std::process::Command;

use gve_test_support::hub::{COMMIT, FakeHub, ID};

use super::*;

/// A data set of two splits, as `datasets` pushes it, on a hub, and a cache.
fn hub() -> std::sync::Arc<FakeHub> {
    let file = |name: &str| std::fs::read(fixture("columns").join(name)).unwrap();
    let files = [
        ("README.md", b"---".to_vec()),
        ("data/train-00000-of-00001.parquet", file("triplets.snappy.parquet")),
        ("data/test-00000-of-00001.parquet", file("lists.snappy.parquet")),
        ("../outside.jsonl", b"{}".to_vec()),
    ];
    FakeHub::serve(files.map(|(name, bytes)| (name.to_owned(), bytes)).into())
}

fn import(desk: &Desk, hub: &FakeHub, path: &str, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
    command.args(["pairs", "import", "auto", path, "--out"]).arg(desk.path("pairs.jsonl")).args(more);
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", desk.path("cache")).env_remove("HF_HUB_OFFLINE");
    command.output().unwrap()
}

#[test]
fn a_split_of_a_data_set_is_downloaded_once() {
    let (desk, hub) = (Desk::new(), hub());
    let output = import(&desk, &hub, ID, &["--split", "train"]);
    assert_status(&output, 0);
    assert_eq!(desk.tasks(), "t2t t2t t2t");
    let asked = hub.take_requests().join(" ");
    assert!(
        asked.contains("/api/datasets/") && asked.contains("/datasets/acme/tiny-embedder/resolve/"),
        "{asked}"
    );
    assert!(
        !asked.contains("test-00000") && !asked.contains("README") && !asked.contains("outside"),
        "{asked}"
    );
    let snapshot = desk.path("cache/hub/datasets--acme--tiny-embedder/snapshots").join(COMMIT);
    assert!(snapshot.join("data/train-00000-of-00001.parquet").is_file());

    let output = import(&desk, &hub, &format!("hf://datasets/{ID}@main"), &["--split", "train"]);
    assert_status(&output, 0);
    assert!(!hub.take_requests().join(" ").contains("resolve"), "nothing is downloaded again");
    let output = import(&desk, &hub, ID, &[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("it has the splits test, train: say with `split` (--split)"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn what_the_hub_does_not_have_is_said() {
    let (desk, hub) = (Desk::new(), hub());
    for (path, more, says) in [
        ("acme/nothing", &[][..], "there is no data set acme/nothing"),
        (ID, &["--revision", "v9"], "acme/tiny-embedder has no revision v9"),
        ("hf://datasets/nothing", &[], "is neither a directory nor a hub id"),
    ] {
        let output = import(&desk, &hub, path, more);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
    }
    // A file that is not there is no data set.
    let output = import(&desk, &hub, "acme/train.jsonl", &[]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("acme/train.jsonl: ")
            && hub.take_requests().iter().all(|r| !r.contains("train"))
    );
}
