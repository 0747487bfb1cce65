//! `uvrb run --reranker`: the best of every ranking, read again.

use std::fs;
use std::path::Path;

use gve_test_support::files::text;
use gve_test_support::golden::golden_dir;
use gve_test_support::program::{assert_status, stderr};
use serde_json::{Value, json};
use uvrb::result::{DatasetResult, read_queries};

use crate::mini::{self, MINI};
use crate::run::uvrb;

#[test]
fn results_have_both_scores_and_what_was_read_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let [data, out] = ["data", "out"].map(|name| folder.path().join(name));
    let directory = mini::make_one(&data, &MINI[0]);
    let model = golden_dir().join("tiny-q3/model");
    let run = |more: &[&str]| {
        let fixed = ["run", text(&data), "--out", text(&out), "--baseline", "mean-colour", "--json"];
        let second =
            ["--reranker", text(&model), "--rerank-recipe", "qwen3-vl-reranker", "--rerank-top", "2"];
        uvrb(&[&fixed[..], &second[..], more].concat())
    };
    let plain = uvrb(&["run", text(&data), "--out", text(&out), "--baseline", "mean-colour", "--json"]);
    assert_status(&plain, 0);
    let plain: Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!(plain["first_stage_score"], Value::Null);

    let output = run(&[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("it differs in reranker"), "{}", stderr(&output));
    let line: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(line["first_stage_score"], plain["score"]);
    let path = Path::new(line["path"].as_str().unwrap()).to_owned();
    let read = || DatasetResult::read(&path).unwrap();
    let result = read();
    let reranker = result.reranker.clone().unwrap();
    assert_eq!((reranker.top, reranker.recipe.name.as_str()), (2, "qwen3-vl-reranker"));
    let counts = result.counts.clone().unwrap();
    assert_eq!((counts.failed_queries, counts.failed_documents, counts.failed_pairs), (0, 0, 0));
    let records = read_queries(&path.with_extension("queries.jsonl")).unwrap();
    let mean = |score: &dyn Fn(&uvrb::result::QueryRecord) -> f64| {
        records.iter().map(score).sum::<f64>() / records.len() as f64
    };
    assert!((mean(&|record| record.score) - result.main_score().unwrap()).abs() < 1e-9);
    let first = mean(&|record| record.first_stage_score.unwrap());
    assert!((first - result.first_stage_score().unwrap()).abs() < 1e-9);
    for record in &records {
        let scores: Vec<f32> = record.top.iter().map(|document| document.1).collect();
        assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");
        assert!(
            scores[..2].iter().all(|score| (1.9..=3.0).contains(score)) && scores[2] <= 1.0,
            "{scores:?}"
        );
    }
    let report = uvrb(&["report", text(&out), "--format", "markdown"]);
    assert_status(&report, 0);
    let report = String::from_utf8(report.stdout).unwrap();
    assert!(report.contains("had read the best 2 documents: MSRVTT"), "{report}");

    // The same again is there; made anew, it is what it was, out of what is kept.
    let again = run(&[]);
    assert_status(&again, 0);
    assert_eq!(read(), result);
    let clips: Vec<_> =
        fs::read_dir(directory.join("videos")).unwrap().map(|clip| clip.unwrap().path()).collect();
    let anew = run(&["--overwrite"]);
    assert_status(&anew, 0);
    assert_eq!((read().scores, read().first_stage), (result.scores.clone(), result.first_stage.clone()));

    // A file that is damaged by now is no candidate; baselines have what they embedded.
    fs::write(&clips[0], "damaged").unwrap();
    let damaged = run(&["--overwrite"]);
    assert_status(&damaged, 2);
    assert!(json!(read())["counts"]["failed_documents"] == 1, "{}", stderr(&damaged));
}
