//! What release 0.1 wrote is opened by this one. `tests/fixtures/release-0.1/make.sh` at the root made it.

use std::fs;
use std::path::{Path, PathBuf};

use gve_test_support::program::{assert_status, stderr, stdout};
use uvrb::dataset::{self, LoadOptions};
use uvrb::manifest::Manifest;
use uvrb::result::read_queries;
use uvrb::run_file::Run;

use crate::run::uvrb;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/release-0.1").join(name)
}

fn copy(from: &Path, to: &Path) {
    if from.is_file() {
        fs::copy(from, to).unwrap();
        return;
    }
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        copy(&entry.path(), &to.join(entry.file_name()));
    }
}

#[test]
fn results_are_reported_compared_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    copy(&fixture("results"), &out);
    let out = out.to_str().unwrap();
    let path = Path::new(out).join("tiny/e60174a011020eef/MSRVTT.json");

    let report = uvrb(&["report", out]);
    assert_status(&report, 0);
    assert!(stdout(&report).contains("tiny@e60174a011020eef"), "{}", stdout(&report));
    let revision = path.parent().unwrap().to_str().unwrap();
    let compared = uvrb(&["compare", revision, revision]);
    assert_status(&compared, 0);

    let mini = fixture("mini");
    let manifest = Manifest::builtin_with(None).unwrap();
    let spec = manifest.get("MSRVTT").unwrap();
    let dataset = dataset::load(spec, &mini, &LoadOptions::default()).unwrap();
    let run = Run::read(&path.with_extension("trec"), &dataset).unwrap();
    assert_eq!((run.rankings.len(), run.missing()), (2, 0));
    assert_eq!(read_queries(&path.with_extension("queries.jsonl")).unwrap().len(), 2);
}

/// Where videos are read: the same run is done already, and so are the embeddings of another.
#[cfg(feature = "video")]
#[test]
fn a_run_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("results");
    copy(&fixture("results"), &out);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny-a/model");
    let mini = fixture("mini");
    let run = |more: &[&str]| {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let arguments = [
            "run".to_owned(),
            text(&mini),
            "MSRVTT".to_owned(),
            "--model".to_owned(),
            text(&model),
            "--out".to_owned(),
            text(&out),
        ];
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        uvrb(
            &[&arguments[..], &["--name", "tiny", "--frames", "2", "--device", "cpu", "--quiet"], more]
                .concat(),
        )
    };
    let path = out.join("tiny/e60174a011020eef/MSRVTT.json");
    let result = fs::read(&path).unwrap();
    let same = run(&[]);
    assert_status(&same, 0);
    assert!(stdout(&same).contains("(there already)"), "{}{}", stdout(&same), stderr(&same));
    assert_eq!(fs::read(&path).unwrap(), result);

    // What differs is said, and what need not be embedded again is not.
    let other = run(&["--seed", "7", "--limit", "1", "--overwrite"]);
    assert_status(&other, 0);
    let written: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(written["timing"]["from_cache"], 2, "{written:#}");
    assert_eq!(written["recipe"]["name"], "gve", "{written:#}");
    let whole = run(&[]);
    assert_status(&whole, 0);
    let said = stderr(&whole);
    assert!(
        said.contains("MSRVTT.json: made anew, for it differs in counts.corpus: 1 there, 2 here; "),
        "{said}"
    );
    // So is what cannot be read, of results and of the cache.
    fs::write(&path, "{").unwrap();
    let cached = fs::read_dir(out.join(".cache")).unwrap().map(|entry| entry.unwrap().path());
    let cached = cached.filter(|path| !path.ends_with("files")).flat_map(|path| fs::read_dir(path).unwrap());
    fs::write(cached.last().unwrap().unwrap().path(), "short").unwrap();
    let again = run(&[]);
    assert_status(&again, 0);
    let said = stderr(&again);
    assert!(said.contains("made anew: ") && said.contains("not a result file"), "{said}");
    assert!(said.contains("this record of the cache is damaged; embedding again"), "{said}");
}
