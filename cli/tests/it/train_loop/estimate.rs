//! What a run says of itself before it begins.

use std::time::Duration;

use gve::CancelToken;
use gve::train::{TrainConfig, estimate};

use super::*;

#[test]
fn a_dry_run_says_what_a_run_takes_and_leaves_nothing() {
    let bench = Bench::new();
    let config = bench.config("run", &[]);
    let output = run(&config, &["--dry-run"]);
    assert_status(&output, 0);
    assert!(!bench.path("run").exists());
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("i2t 4 pairs, ") && lines[0].contains("; t2t 9 pairs, "), "{lines:?}");
    assert!(
        lines[1].starts_with("24 steps, about ") && lines[1].ends_with("values are trained"),
        "{lines:?}"
    );
    if cfg!(target_os = "linux") {
        assert!(
            lines[2].contains("of memory at the most (model ") && lines[2].ends_with("can be had"),
            "{lines:?}"
        );
    }
    assert!(lines.iter().all(|line| !line.contains("a batch has all pairs")), "{lines:?}");
    // Batches of three pairs are too small to tell what fits; of nine, there are no more.
    let larger = run(&bench.config("larger", &[("batch.size", "12")]), &["--dry-run"]);
    let larger = String::from_utf8(larger.stdout).unwrap();
    assert_eq!(cfg!(target_os = "linux"), larger.contains("batch.size = 9 would fit"), "{larger}");
    let whole = "a batch has all pairs of its task, 9 at the most, as batch.size is 12";
    assert!(larger.contains(whole), "{larger}");
    // What is ranked has yet to be mined.
    let ranks = ("loss.rank_net", "{ ordered = true, pseudo_query = false }");
    assert_status(&run(&bench.config("ranked", &[ranks]), &["--dry-run"]), 0);
    let missing = run(&bench.config("unranked", &[ranks, ("negatives.mined", "0")]), &["--dry-run"]);
    assert_refused(&missing, &["no pair of its batch has `negatives`"]);

    let refused = run(&bench.config("none", &[("data.pairs", "[\"nowhere.jsonl\"]")]), &["--dry-run"]);
    assert_refused(&refused, &["cannot open", "nowhere.jsonl"]);
    let unscored = run(&bench.config("unscored", &[("evaluation.uvrb", "\"nowhere\"")]), &["--dry-run"]);
    assert_refused(&unscored, &["`evaluation.uvrb`: there is no directory", "nowhere"]);
}

/// A long run looks at batches before it begins, and ends with the same bits as one that does not.
#[test]
fn an_estimate_changes_nothing() {
    let bench = Bench::new();
    let long = [("epochs", "1"), ("steps_per_epoch", "100"), ("negatives.mined", "0")];
    let quiet = run(&bench.config("quiet", &long), &["--quiet"]);
    assert_status(&quiet, 0);
    let told = run(&bench.config("told", &long), &[]);
    assert_status(&told, 0);
    assert!(stderr(&told).contains("100 steps, about "), "{}", stderr(&told));
    assert!(!stderr(&quiet).contains("steps, about"));
    assert_eq!(bench.log("quiet"), bench.log("told"));
    assert!(bench.final_weights("quiet") == bench.final_weights("told"), "the weights differ");
}

/// So a batch that is larger than memory ends no estimate.
#[test]
fn small_batches_are_measured_first() {
    let bench = Bench::new();
    let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
    let pair = |i| {
        let (query, positive) = (text(format!("number {i}")), text(format!("the street {i}")));
        json!({"task": "t2t", "query": query, "positive": positive}).to_string()
    };
    let lines: Vec<String> = (0..100).map(pair).collect();
    std::fs::write(bench.path("pairs.jsonl"), lines.join("\n")).unwrap();
    let config = |chunk_tokens: &str| {
        bench.config("run", &[("batch.size", "1024"), ("batch.chunk_tokens", chunk_tokens)])
    };
    let measured = |chunk_tokens: &str| {
        let config = TrainConfig::load(&config(chunk_tokens)).unwrap();
        let estimate = estimate(config, &model(), &bench.path("imports"), &CancelToken::new()).unwrap();
        let [task] = &estimate.tasks[..] else { panic!("{estimate:?}") };
        assert!(task.pairs == 100 && task.batch > Duration::ZERO, "{task:?}");
        task.measured.clone()
    };
    // All of them fill a chunk, or none does.
    assert_eq!(measured("1"), [4, 8, 16]);
    assert_eq!(measured("1000000"), [4, 8, 16]);
    // A batch does, and no half of one: it is told by itself.
    assert_eq!(measured("4000"), [4, 8, 16, 32, 64, 100]);
    let output = run(&config("1"), &["--dry-run"]);
    assert_status(&output, 0);
    let told = String::from_utf8(output.stdout).unwrap();
    assert_eq!(cfg!(target_os = "linux"), told.contains("batch.size = 100 would fit"), "{told}");
    assert!(!bench.path("run").exists() && !bench.path("imports").exists());
}
