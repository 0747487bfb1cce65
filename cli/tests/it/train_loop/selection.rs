//! The best weights, runs that gain nothing more, and runs that get more epochs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gve_test_support::golden::model;
use gve_test_support::program::json_lines;
use serde_json::Value;

use crate::program::gve;

use super::{Bench, assert_refused, assert_status, run, stderr};

/// Six steps, of which each that is even is scored.
const SHORT: [(&str, &str); 4] =
    [("epochs", "1"), ("steps_per_epoch", "6"), ("evaluation.every_steps", "2"), ("negatives.mined", "0")];

fn of<'a>(log: &'a [Value], event: &str) -> Vec<&'a Value> {
    log.iter().filter(|line| line["event"] == event).collect()
}

fn steps(log: &[Value], event: &str) -> Vec<u64> {
    of(log, event).iter().map(|line| line["step"].as_u64().unwrap()).collect()
}

fn best(bench: &Bench, output: &str) -> Value {
    let text = std::fs::read_to_string(bench.path(output).join("best/best.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn weights(bench: &Bench, directory: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let directory = bench.path(directory);
    let files = super::tensor_files(&directory);
    files.map(|path| (path.file_name().unwrap().into(), std::fs::read(&path).unwrap())).collect()
}

#[test]
fn the_best_weights_are_kept() {
    let bench = Bench::new();
    let output = run(&bench.config("run", &SHORT), &[]);
    assert_status(&output, 0);
    let log = bench.log("run");
    assert_eq!(steps(&log, "evaluation"), [0, 2, 4, 6]);
    let mean = |line: &&Value| {
        let recalls: Vec<f64> = line["recall"]
            .as_object()
            .unwrap()
            .values()
            .map(|recall| recall["recall@1"].as_f64().unwrap())
            .collect();
        recalls.iter().sum::<f64>() / recalls.len() as f64
    };
    let means: Vec<f64> = of(&log, "evaluation").iter().map(mean).collect();
    let highest = means.iter().copied().fold(f64::MIN, f64::max);
    let first = means.iter().position(|mean| *mean == highest).unwrap();
    let best = best(&bench, "run");
    assert_eq!(best, serde_json::json!({"step": 2 * first, "metric": "recall@1", "value": highest}));
    assert!(means[0] < highest, "the run has taught something: {means:?}");
    assert_eq!(steps(&log, "best").last(), best["step"].as_u64().as_ref());
    assert!(stderr(&output).contains("the best so far"), "{}", stderr(&output));
    assert!(std::fs::read_to_string(bench.path("run/run.html")).unwrap().contains("<h2>Recall"));
    // By another score, which is best at the end, the best weights are those of the end.
    let task = [
        ("evaluation.metric", "\"recall@1/i2t\""),
        ("evaluation.every_steps", "6"),
        ("evaluation.at_start", "false"),
    ];
    let config = bench.config("other", &[&SHORT[..2], &SHORT[3..], &task].concat());
    assert_status(&run(&config, &["--quiet"]), 0);
    assert!(weights(&bench, "other/best") == weights(&bench, "other/final"));
    assert_eq!(steps(&bench.log("other"), "evaluation"), [6]);
    let wrong = bench.config("wrong", &[("evaluation.metric", "\"recall@1/t2v\"")]);
    assert_refused(&run(&wrong, &[]), &["evaluation.metric", "no task t2v", "i2t, t2t"]);
}

#[test]
fn a_run_that_gains_nothing_ends_and_may_go_on() {
    let bench = Bench::new();
    assert_status(&run(&bench.config("straight", &SHORT), &["--quiet"]), 0);
    // Nothing is that much better.
    let patience = [
        SHORT[0],
        SHORT[1],
        SHORT[2],
        SHORT[3],
        ("evaluation.min_gain", "1.0"),
        ("evaluation.patience", "2"),
    ];
    let config = bench.config("run", &patience);
    let output = run(&config, &[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("2 evaluations in a row without a gain"), "{}", stderr(&output));
    let log = bench.log("run");
    assert_eq!((steps(&log, "evaluation"), steps(&log, "stopped")), (vec![0, 2, 4], vec![4]));
    assert_eq!(
        (best(&bench, "run")["step"].as_u64(), bench.checkpoints("run").last().unwrap().as_str()),
        (Some(0), "step-00000004")
    );
    assert!(
        bench.path("run/final").is_dir() && bench.final_weights("run") != bench.final_weights("straight")
    );
    assert!(
        std::fs::read_to_string(bench.path("run/run.html")).unwrap().contains("ended after 2 evaluations")
    );
    // Nothing has changed: it has ended.
    assert_status(&run(&config, &["--quiet", "--resume", "auto"]), 0);
    assert_eq!(bench.log("run"), log);
    let config = bench.config("run", &[&SHORT[..], &[("evaluation.patience", "9")]].concat());
    assert_status(&run(&config, &["--quiet", "--resume", "auto"]), 0);
    assert!(bench.final_weights("run") == bench.final_weights("straight"), "the weights differ");
}

#[test]
fn a_run_gets_more_epochs() {
    let bench = Bench::new();
    let settings = |epochs| {
        [
            ("epochs", epochs),
            ("steps_per_epoch", "4"),
            ("optimizer.schedule", "\"constant\""),
            ("curriculum.sampler", "\"uniform\""),
            ("evaluation.every_steps", "1000"),
        ]
    };
    let config = |name: &str, epochs| {
        let path = bench.config(name, &settings(epochs));
        // Without what the pyramid alone reads.
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with("probe_pairs"));
        std::fs::write(&path, lines.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        path
    };
    assert_status(&run(&config("straight", "3"), &["--quiet"]), 0);
    assert_status(&run(&config("run", "1"), &["--quiet"]), 0);
    let output = run(&config("run", "3"), &["--resume", "auto"]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("3 epochs instead of 1"), "{}", stderr(&output));
    assert!(bench.final_weights("run") == bench.final_weights("straight"), "the weights differ");
    let [ours, straight] = ["run", "straight"].map(|name| bench.log(name));
    assert_eq!(of(&ours, "step"), of(&straight, "step"));
    assert_refused(
        &run(&config("run", "2"), &["--resume", "auto"]),
        &["is at step 12, behind the 8 of `epochs = 2`"],
    );
}

#[test]
fn an_evaluation_is_due_after_some_time() {
    let bench = Bench::new();
    let short = [
        SHORT[0],
        ("steps_per_epoch", "3"),
        ("evaluation.every_steps", "1000"),
        ("evaluation.every_minutes", "1e-9"),
        SHORT[3],
    ];
    assert_status(&run(&bench.config("run", &short), &["--quiet"]), 0);
    assert_eq!(steps(&bench.log("run"), "evaluation"), [0, 1, 2, 3]);
}

/// What a run was trained to be cut to, its result may be cut to.
#[test]
fn widths_are_trained_and_used() {
    let bench = Bench::new();
    let config = bench.config("run", &[&SHORT[..2], &[("loss.matryoshka_dims", "[16, 64, 8]")]].concat());
    assert_status(&run(&config, &["--quiet"]), 0);
    let (model, adapter) = (model(), bench.path("run/final"));
    let embed = |dim: &str| {
        let (model, adapter) = (model.to_str().unwrap(), adapter.to_str().unwrap());
        gve(&["embed", "--model", model, "--adapter", adapter, "--text", "a red bicycle", "--dim", dim])
    };
    assert_eq!(json_lines(&embed("16"))[0]["embedding"].as_array().unwrap().len(), 16);
    assert_refused(&embed("32"), &["widths it was trained for: 8, 16)"]);
}
