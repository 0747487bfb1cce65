//! What a run says of itself before it begins.

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
