//! Which results are made anew.

use std::fs;

use gve_test_support::files::text;
use gve_test_support::golden::model;
use gve_test_support::program::{assert_status, stderr, stdout};

use crate::mini::{self, MINI};
use crate::run::{revision_folder, run_arguments, uvrb};

/// Whatever shapes a score makes a result out of date, and nothing else does.
#[test]
fn a_result_is_made_anew_when_what_made_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    mini::make_one(&data, &MINI[0]);
    let (out, model) = (folder.path().join("out"), model());
    let prompts = folder.path().join("prompts.toml");
    fs::write(&prompts, "MSRVTT = \"Find it.\"\n").unwrap();
    let run = |more: &[&str]| {
        let output = uvrb(&[&run_arguments(&data, &out, &model)[..], more].concat());
        assert_status(&output, 0);
        !stdout(&output).contains("there already")
    };
    assert!(run(&["--rankings", "trec"]), "the first");
    assert!(!run(&[]) && !run(&["--rankings", "trec"]) && !run(&["--seed", "42"]));
    let changes: [&[&str]; 6] = [
        &["--frames", "4"],
        &["--max-pixels", "3136"],
        &["--prompt-style", "text"],
        &["--prompts", text(&prompts)],
        &["--frame-cache-fps", "2"],
        &["--overwrite"],
    ];
    for change in changes {
        assert!(run(change), "{change:?}");
        // Back to what the next change is a change of.
        run(&[]);
        assert!(!run(&[]));
    }
    // The rankings of the first are those of no result any more.
    assert!(!revision_folder(&out).join("MSRVTT.trec").exists());
    assert!(run(&["--rankings", "trec"]) && run(&["--rankings", "jsonl"]));
    // Both are of the one result there is.
    let written = |ending: &str| revision_folder(&out).join("MSRVTT").with_extension(ending).exists();
    assert!(written("trec") && written("run.jsonl"));
    assert!(run(&["--overwrite"]));
    assert!(!written("trec") && !written("run.jsonl"), "rankings of the result before");
}

#[test]
fn other_candidates_are_another_result() {
    let folder = tempfile::tempdir().unwrap();
    let [data, out, manifest] = ["data", "out", "own.toml"].map(|name| folder.path().join(name));
    fs::rename(mini::make_one(&data, &MINI[0]), data.join("own")).unwrap();
    let model = model();
    let run = |candidates: &str| {
        let entry = format!(
            "[[dataset]]\nid = \"own\"\ntitle = \"own\"\ntask = \"TXT\"\nprompt = \"Find it.\"\nmetric = \"R@1\"\nqueries = 9\n\
             corpus = 99\nsource = \"here\"\nlicence = \"ours\"\nlayout = \"uvrb\"\ncandidates = \"{candidates}\"\n"
        );
        fs::write(&manifest, entry).unwrap();
        let more = ["--datasets-file", text(&manifest)];
        let output = uvrb(&[&run_arguments(&data, &out, &model)[..], &more].concat());
        assert_status(&output, 0);
        (!stdout(&output).contains("there already"), stderr(&output))
    };
    assert!(run("corpus").0 && !run("corpus").0);
    let (anew, said) = run("per-query");
    assert!(anew && said.contains("it differs in candidates"), "{said}");
}
