//! Files that cannot be read, in the middle of a run.

use std::path::{Path, PathBuf};

use gve_test_support::golden::media;
use serde_json::{Value, json};

use super::selection::{assert_goes_forward, best_files};
use super::{Bench, assert_refused, assert_status, run, stderr};

/// Pairs of images in the bench's folder, and of texts; `held.jsonl` has some of the texts.
fn bench() -> Bench {
    let bench = Bench::new();
    let text = std::fs::read_to_string(bench.path("pairs.jsonl")).unwrap();
    let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|pair| pair["task"] == "t2t");
    let held: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(bench.path("held.jsonl"), held.join("\n")).unwrap();
    for i in 0..6 {
        let name = format!("picture-{i}.png");
        good(&bench.path(&name));
        let image = json!({"content": [{"type": "image", "image": name, "max_pixels": 12_544 + 784 * i}]});
        let text = json!({"content": [{"type": "text", "text": format!("find the image {i}")}]});
        lines.push(json!({"task": "i2t", "query": image, "positive": text}));
    }
    let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
    std::fs::write(bench.path("pairs.jsonl"), lines.join("\n")).unwrap();
    bench
}

fn good(path: &Path) {
    std::fs::copy(media("tiny.png"), path).unwrap();
}

fn damage(bench: &Bench, pictures: &[usize]) {
    for i in pictures {
        std::fs::write(bench.path(&format!("picture-{i}.png")), "no picture").unwrap();
    }
}

/// The configuration of a run whose batches alone come to the pictures: it probes, mines and scores none.
fn plain(bench: &Bench, name: &str, more: &[(&str, &str)]) -> PathBuf {
    let settings = [
        ("seed", "3"),
        ("batch.accumulate", "1"),
        ("curriculum.sampler", "\"uniform\""),
        ("negatives.mined", "0"),
        ("evaluation.pairs", "[\"held.jsonl\"]"),
        ("evaluation.every_steps", "1000"),
        ("checkpoint.every_steps", "1000"),
    ];
    let config = bench.config(name, &[&settings[..], more].concat());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("probe_pairs = 4\n", "")).unwrap();
    config
}

/// The step of the only checkpoint of a run, which is the last one it made.
#[track_caller]
fn saved_step(bench: &Bench, name: &str) -> usize {
    let saved = bench.checkpoints(name);
    assert_eq!(saved.len(), 1, "{saved:?}");
    let step: usize = saved[0].trim_start_matches("step-").parse().unwrap();
    let steps = bench.log(name).iter().filter(|entry| entry["event"] == "step").count();
    assert!(step == steps && step > 0, "{step} of {steps}");
    step
}

fn left_out(bench: &Bench, name: &str) -> Vec<String> {
    let log = bench.log(name);
    let pairs = log.iter().filter(|entry| entry["event"] == "left_out");
    pairs.map(|entry| entry["pair"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_file_that_cannot_be_read_ends_a_run_at_a_checkpoint() {
    let bench = bench();
    assert_status(&run(&plain(&bench, "straight", &[]), &["--quiet"]), 0);
    damage(&bench, &[4]);
    let ended = plain(&bench, "ended", &[]);
    assert_refused(&run(&ended, &[]), &["pairs.jsonl:14: ", "picture-4.png"]);
    saved_step(&bench, "ended");
    good(&bench.path("picture-4.png"));
    assert_status(&run(&ended, &["--resume", "auto"]), 0);
    assert!(bench.final_weights("ended") == bench.final_weights("straight"), "the weights differ");
    assert!(best_files(&bench, "ended") == best_files(&bench, "straight"), "the best weights differ");
}

#[test]
fn a_held_out_file_that_cannot_be_read_ends_a_run_at_a_checkpoint_and_is_scored_when_it_goes_on() {
    let bench = bench();
    let held = json!({"task": "i2t",
        "query": {"content": [{"type": "image", "image": "held.png"}]},
        "positive": {"content": [{"type": "text", "text": "find the image"}]}});
    std::fs::write(bench.path("held.jsonl"), format!("{held}\n")).unwrap();
    good(&bench.path("held.png"));
    let scored = [("evaluation.every_steps", "2"), ("evaluation.at_start", "false")];
    assert_status(&run(&plain(&bench, "straight", &scored), &["--quiet"]), 0);
    std::fs::write(bench.path("held.png"), "no picture").unwrap();
    let ended = plain(&bench, "ended", &scored);
    assert_refused(&run(&ended, &[]), &["held.jsonl:1: ", "held.png"]);
    assert_eq!(saved_step(&bench, "ended"), 2);
    good(&bench.path("held.png"));
    assert_status(&run(&ended, &["--resume", "auto"]), 0);
    assert!(bench.final_weights("ended") == bench.final_weights("straight"), "the weights differ");
    let scores = |name: &str| {
        bench.log(name).into_iter().filter(|entry| entry["event"] == "evaluation").collect::<Vec<_>>()
    };
    assert!(scores("ended").len() > 1 && scores("ended") == scores("straight"));
    assert!(best_files(&bench, "ended") == best_files(&bench, "straight"), "the best weights differ");
}

#[test]
fn one_more_than_may_be_left_out_ends_a_run_at_a_checkpoint() {
    let bench = bench();
    damage(&bench, &[1, 4]);
    let generous = [("data.max_damaged", "0.2")];
    assert_status(&run(&plain(&bench, "straight", &generous), &["--quiet"]), 0);
    assert_eq!(left_out(&bench, "straight").len(), 2);
    // Of 15 pairs that is one.
    let strict = plain(&bench, "ended", &[("data.max_damaged", "0.05")]);
    assert_refused(&run(&strict, &[]), &["picture-", "lets 1 of 15 pairs go, and this is one more"]);
    saved_step(&bench, "ended");
    assert_eq!(left_out(&bench, "ended").len(), 1);
    assert_status(&run(&plain(&bench, "ended", &generous), &["--resume", "auto"]), 0);
    assert!(bench.final_weights("ended") == bench.final_weights("straight"), "the weights differ");
    assert_eq!(left_out(&bench, "ended"), left_out(&bench, "straight"));
    assert!(best_files(&bench, "ended") == best_files(&bench, "straight"), "the best weights differ");
    assert_goes_forward(&bench.log("ended"));
}

#[test]
fn pairs_that_cannot_be_read_are_left_out_as_far_as_they_may() {
    let bench = bench();
    damage(&bench, &[1, 4]);
    // A tenth of 15 pairs is two.
    let config = |name: &str, more: &[(&str, &str)]| {
        let least = [("data.max_damaged", "0.1"), ("evaluation.pairs", "[\"held.jsonl\"]")];
        bench.config(name, &[&least[..], more].concat())
    };
    let output = run(&config("straight", &[]), &[]);
    assert_status(&output, 0);
    let mut pairs = left_out(&bench, "straight");
    pairs.sort();
    let [first, second] = &pairs[..] else { panic!("{pairs:?}") };
    assert!(first.ends_with("pairs.jsonl:11") && second.ends_with("pairs.jsonl:14"), "{pairs:?}");
    for named in ["left out: ", "pairs.jsonl:11: ", "picture-4.png: ", "2 pairs were left out"] {
        assert!(stderr(&output).contains(named), "{named}: {}", stderr(&output));
    }

    // What goes on in the middle knows what it has left out.
    let from = bench.path("straight").join("checkpoints");
    let from = from.join(&bench.checkpoints("straight")[0]);
    let resumed = config("resumed", &[]);
    assert_status(&run(&resumed, &["--resume", from.to_str().unwrap()]), 0);
    assert!(bench.final_weights("resumed") == bench.final_weights("straight"), "the weights differ");
    assert!(left_out(&bench, "resumed").is_empty());
    assert_goes_forward(&bench.log("straight"));

    damage(&bench, &[0]);
    let output = run(&config("one-more", &[]), &[]);
    assert_refused(&output, &["lets 2 of 15 pairs go, and this is one more"]);
    let strict = run(&config("strict", &[("data.max_damaged", "0")]), &[]);
    assert_refused(&strict, &["pairs.jsonl:", "picture-"]);
}
