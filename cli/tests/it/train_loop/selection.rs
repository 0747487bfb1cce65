//! The best weights, runs that gain nothing more, and runs that get more epochs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use gve_test_support::files::{files, text};
use gve_test_support::golden::model;
use gve_test_support::program::json_lines;
use serde_json::Value;

use crate::program::gve;

use super::{Bench, FULL, assert_refused, assert_status, run, stderr, train};

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

/// What is kept of a run as its best weights, but for the card, which has the name of the run.
pub(super) fn best_files(bench: &Bench, output: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = files(&bench.path(output).join("best"));
    files.retain(|(name, _)| name != "README.md");
    assert!(files.len() > 2, "{output} has no best weights");
    files
}

/// No entry is of a step before that of the one above it, on which those rely who read it line by line.
#[track_caller]
pub(super) fn assert_goes_forward(log: &[Value]) {
    let steps: Vec<u64> = log.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert!(!steps.is_empty() && steps.is_sorted(), "{steps:?}");
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
    assert_goes_forward(&bench.log("run"));
}

#[test]
fn a_killed_run_keeps_the_best_weights_of_one_that_was_not() {
    for trained in [&[][..], &FULL] {
        let bench = Bench::new();
        let settings = [&[("evaluation.every_steps", "2")][..], trained].concat();
        assert_status(&run(&bench.config("straight", &settings), &["--quiet"]), 0);
        let config = bench.config("killed", &settings);
        let mut child = train(&config, &[]).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while bench.checkpoints("killed").last().is_none_or(|last| last.as_str() < "step-00000006") {
            assert!(Instant::now() < deadline, "no checkpoint was written");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!bench.path("killed").join("final").exists(), "the run ended before it could be killed");
        assert_status(&run(&config, &["--quiet", "--resume", "auto"]), 0);
        assert!(best_files(&bench, "killed") == best_files(&bench, "straight"), "the best weights differ");
        let log = bench.log("killed");
        assert_eq!(log, bench.log("straight"));
        assert_goes_forward(&log);
    }
}

/// Whatever is logged between two steps, and where a run is set back and goes on.
#[test]
fn a_log_goes_forward() {
    let bench = Bench::new();
    let settings = [
        ("steps_per_epoch", "4"),
        ("evaluation.every_steps", "2"),
        ("checkpoint.every_steps", "3"),
        ("checkpoint.keep", "9"),
    ];
    let config = bench.config("run", &settings);
    assert_status(&run(&config, &["--quiet"]), 0);
    let log = bench.log("run");
    assert_goes_forward(&log);
    assert_eq!(steps(&log, "epoch"), [0, 4]);
    assert_eq!(steps(&log, "step"), (1..=8).collect::<Vec<_>>());
    assert_eq!(steps(&log, "evaluation"), [0, 2, 4, 6, 8]);
    assert!(!of(&log, "best").is_empty());
    let best = best_files(&bench, "run");
    let checkpoint = bench.path("run/checkpoints/step-00000003");
    assert_status(&run(&config, &["--quiet", "--resume", text(&checkpoint)]), 0);
    assert_eq!(bench.log("run"), log);
    assert!(best_files(&bench, "run") == best, "the best weights differ");
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

/// What a run was trained to be cut to, its result may be cut to: an adapter, what that is merged into, and a
/// whole model.
#[test]
fn widths_are_trained_and_used() {
    let bench = Bench::new();
    let widths = [("loss.matryoshka_dims", "[16, 64, 8]")];
    assert_status(&run(&bench.config("run", &[&SHORT[..2], &widths].concat()), &["--quiet"]), 0);
    assert_status(&run(&bench.config("full", &[&SHORT[..2], &FULL, &widths].concat()), &["--quiet"]), 0);
    let (model, adapter, merged) = (model(), bench.path("run/final"), bench.path("merged"));
    let of_adapter = ["--model", text(&model), "--adapter", text(&adapter)];
    assert_status(&gve(&[&["model", "merge", "--out", text(&merged)][..], &of_adapter].concat()), 0);
    let [full, best] = ["full/final", "full/best"].map(|weights| bench.path(weights));
    for directory in [&adapter, &merged, &full, &best] {
        let recipe = std::fs::read_to_string(directory.join("gve_recipe.toml")).unwrap();
        assert!(recipe.contains("\nwidths = [8, 16]\n"), "{}: {recipe}", directory.display());
        let of_model = ["--model", text(directory)];
        let weights = if *directory == adapter { &of_adapter[..] } else { &of_model };
        let embed = |more: &[&str]| {
            let fixed = ["embed", "--device", "cpu", "--dtype", "f32", "--text", "a red bicycle"];
            gve(&[&fixed[..], weights, more].concat())
        };
        let embedding = |more: &[&str]| -> Vec<f32> {
            let output = embed(more);
            assert_status(&output, 0);
            serde_json::from_value(json_lines(&output)[0]["embedding"].clone()).unwrap()
        };
        let whole = embedding(&[]);
        for (dim, values) in [("8", 8), ("16", 16)] {
            let cut = embedding(&["--dim", dim]);
            assert_eq!((cut.len(), whole.len()), (values, 64));
            let length = whole[..values].iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!(cut.iter().zip(&whole).all(|(cut, whole)| (cut - whole / length).abs() < 1e-5));
        }
        assert_refused(&embed(&["--dim", "32"]), &["widths it was trained for: 8, 16)"]);
        assert_eq!(embedding(&["--dim", "32", "--force-dim"]).len(), 32);
    }
}
