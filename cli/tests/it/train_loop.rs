//! `gve train` as a user meets it: a run, what it may begin with, and what is wrong with its input.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use candle_core::Tensor;
use gve::Embedder;
use gve_test_support::golden::{golden_dir, max_difference, media, model};
use gve_test_support::program::{assert_status, stderr};
use serde_json::{Value, json};

use crate::interop::{assert_binds, assert_described};

mod card;
mod damaged;
mod estimate;
mod resume;
mod selection;
mod settings;

/// A folder with pairs and a configuration, and runs in it.
struct Bench {
    folder: tempfile::TempDir,
}

const TASKS: usize = 2;
const STEPS_PER_EPOCH: usize = 12;
/// All weights, moved by Muon and AdamW.
const FULL: [(&str, &str); 3] =
    [("train", "\"full\""), ("full.vision", "true"), ("optimizer.kind", "\"muon\"")];

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let colours = ["red", "blue", "green"];
        let mut lines: Vec<Value> = Vec::new();
        for (i, colour) in colours.iter().cycle().take(9).enumerate() {
            let query = text(format!("a {colour} bicycle number {i}"));
            lines.push(json!({"task": "t2t", "query": query, "positive": text(format!("the {colour} street then {i}"))}));
        }
        for (i, name) in ["rabbit.png", "tall.png", "tiny.png", "rabbit.png"].iter().enumerate() {
            let image =
                json!({"content": [{"type": "image", "image": media(name), "max_pixels": 12_544 + 784 * i}]});
            let negative = text(format!("a cat jumps {i}"));
            let pair = json!({"task": "i2t", "query": image, "positive": text(format!("find the image {i}")), "negatives": [negative]});
            lines.push(pair);
        }
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        std::fs::write(bench.path("pairs.jsonl"), lines.join("\n")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration of a run into `output`; `more` replaces lines of the same key, or adds some.
    fn config(&self, output: &str, more: &[(&str, &str)]) -> PathBuf {
        let model = model();
        let mut sections: Vec<(&str, Vec<(&str, String)>)> = vec![
            (
                "",
                vec![
                    ("output", format!("{output:?}")),
                    ("epochs", "2".into()),
                    ("steps_per_epoch", STEPS_PER_EPOCH.to_string()),
                ],
            ),
            (
                "model",
                vec![("path", format!("{:?}", model.display().to_string())), ("device", "\"cpu\"".into())],
            ),
            ("lora", vec![("r", "4".into()), ("alpha", "8.0".into())]),
            ("data", vec![("pairs", "[\"pairs.jsonl\"]".into())]),
            ("batch", vec![("size", "3".into()), ("accumulate", "2".into()), ("chunk_tokens", "200".into())]),
            ("curriculum", vec![("probe_pairs", "4".into())]),
            ("negatives", vec![("mined", "1".into())]),
            ("optimizer", vec![("learning_rate", "1e-3".into()), ("warmup_steps", "2".into())]),
            ("checkpoint", vec![("every_steps", "3".into()), ("keep", "2".into())]),
            ("evaluation", vec![("pairs", "[\"pairs.jsonl\"]".into()), ("every_steps", "10".into())]),
        ];
        for (key, value) in more {
            let (section, key) = key.split_once('.').unwrap_or(("", key));
            match sections.iter_mut().find(|(name, _)| *name == section) {
                Some((_, lines)) => {
                    lines.retain(|(name, _)| *name != key);
                    lines.push((key, (*value).to_owned()));
                }
                None => sections.push((section, vec![(key, (*value).to_owned())])),
            }
        }
        if more.contains(&FULL[0]) {
            sections.retain(|(name, _)| *name != "lora");
        }
        let text: Vec<String> = sections
            .into_iter()
            .map(|(section, lines)| {
                let head = if section.is_empty() { String::new() } else { format!("[{section}]\n") };
                let lines: Vec<String> =
                    lines.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
                head + &lines.concat()
            })
            .collect();
        let path = self.path(&format!("{output}.toml"));
        std::fs::write(&path, text.concat()).unwrap();
        path
    }

    /// What a run came to, as it lies on disk.
    fn final_weights(&self, output: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let directory = self.path(output).join("final");
        let files = tensor_files(&directory);
        files
            .map(|path| (path.strip_prefix(&directory).unwrap().to_owned(), std::fs::read(&path).unwrap()))
            .collect()
    }

    /// The log without what depends on the clock.
    fn log(&self, output: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.path(output).join("log.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .map(|mut line| {
                line.as_object_mut().unwrap().remove("pairs_per_second");
                line
            })
            .collect()
    }

    fn checkpoints(&self, output: &str) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.path(output).join("checkpoints")) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.starts_with("step-"));
        names.sort();
        names
    }
}

fn train(config: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
    command.arg("train").arg(config).args(arguments).stdin(Stdio::null());
    command
}

fn run(config: &Path, arguments: &[&str]) -> Output {
    train(config, arguments).output().unwrap()
}

/// A run that fails does so in one line that says this.
#[track_caller]
fn assert_refused(output: &Output, says: &[&str]) {
    assert_status(output, 1);
    let errors: Vec<String> =
        stderr(output).lines().filter(|line| line.starts_with("gve: error")).map(str::to_owned).collect();
    assert_eq!(errors.len(), 1, "{}", stderr(output));
    for part in says {
        assert!(errors[0].contains(part), "{part}: {}", errors[0]);
    }
}

#[test]
fn a_run_leaves_an_adapter_checkpoints_and_logs() {
    let bench = Bench::new();
    let config = bench.config("run", &[]);
    let output = run(&config, &[]);
    assert_status(&output, 0);
    let adapter = bench.path("run").join("final");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), adapter.display().to_string());
    assert_eq!(bench.checkpoints("run"), ["step-00000021", "step-00000024"]);
    let log = bench.log("run");
    let of = |event: &str| log.iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    assert_eq!([of("epoch").len(), of("step").len(), of("evaluation").len()], [2, 24, 4]);
    for epoch in of("epoch") {
        assert_eq!(epoch["alignment"].as_object().unwrap().len(), TASKS);
        let total: f64 =
            epoch["probabilities"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-9);
        assert_eq!(epoch["mined_pairs"], 13);
    }
    let rates: Vec<f64> = of("step").iter().map(|step| step["learning_rate"].as_f64().unwrap()).collect();
    assert_eq!(rates[..3], [0.0, 5e-4, 1e-3]);
    assert!(of("step").iter().all(|step| step["loss"].as_f64().unwrap() > 0.0));
    let events = std::fs::read_dir(bench.path("run").join("tensorboard")).unwrap().count();
    assert_eq!(events, 1);

    let again = run(&config, &[]);
    assert_refused(&again, &["step-00000024", "--resume auto"]);
    let embed = |arguments: &[&str]| {
        let model = model();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
        command.args(["embed", "--text", "a red bicycle", "--model"]).arg(model).args(arguments);
        let output = command.output().unwrap();
        assert_status(&output, 0);
        String::from_utf8(output.stdout).unwrap()
    };
    assert_ne!(embed(&["--adapter", adapter.to_str().unwrap()]), embed(&[]));

    // For PEFT of today, and for the transformers that came before.
    assert_binds(&adapter, "nested");
    assert_binds(&bench.path("run/checkpoints/step-00000024/weights"), "nested");
    let flat = bench.config("run", &[("lora.layout", "\"flat\""), ("checkpoint.keep", "9")]);
    assert_status(&run(&flat, &["--quiet", "--resume", "auto"]), 0);
    assert_binds(&adapter, "flat");
}

/// The first step has a rate of 0: what a run of one step ends with is what it began with.
#[test]
fn an_adapter_may_be_trained_further() {
    let bench = Bench::new();
    let first = bench.config("first", &[("epochs", "1"), ("steps_per_epoch", "3")]);
    assert_status(&run(&first, &["--quiet"]), 0);
    // Of the adapter's own width, whatever is said here.
    let more = [("epochs", "1"), ("steps_per_epoch", "1"), ("lora.init", "\"first/final\""), ("lora.r", "2")];
    assert_status(&run(&bench.config("second", &more), &["--quiet"]), 0);
    assert!(bench.final_weights("second") == bench.final_weights("first"), "the weights differ");

    // One that an earlier release wrote: flat names, and modules by their last parts.
    let old = golden_dir().join("tiny-a/train/adapter_final");
    let init = format!("{:?}", old.display().to_string());
    let more = [more[0], more[1], ("lora.init", init.as_str()), ("lora.layout", "\"flat\"")];
    assert_status(&run(&bench.config("third", &more), &["--quiet"]), 0);
    let (before, after) = (weights(&old), weights(&bench.path("third/final")));
    assert!(before.keys().eq(after.keys()));
    assert!(before.iter().all(|(name, tensor)| max_difference(tensor, &after[name]) == 0.0));
}

/// The first epoch is probed with another model, the second with the one in training, which has not moved:
/// its one step had a rate of 0.
#[test]
fn a_prober_looks_at_the_first_epoch() {
    let bench = Bench::new();
    let alignments = |name: &str, epochs: &str, steps: &str, more: &[(&str, &str)]| -> Vec<f64> {
        let more = [more, &[("epochs", epochs), ("steps_per_epoch", steps)]].concat();
        assert_status(&run(&bench.config(name, &more), &["--quiet"]), 0);
        let log = bench.log(name);
        let epochs = log.iter().filter(|line| line["event"] == "epoch");
        epochs.map(|line| line["alignment"]["t2t"].as_f64().unwrap()).collect()
    };
    alignments("taught", "1", "3", &FULL);
    let taught = format!("{:?}", bench.path("taught/final").display().to_string());
    let itself = alignments("itself", "1", "1", &[("model.path", taught.as_str())]);
    let plain = alignments("plain", "2", "1", &[]);
    let probed = alignments("probed", "2", "1", &[("curriculum.prober", "\"taught/final\"")]);
    assert!((probed[0] - itself[0]).abs() < 1e-5, "{probed:?}, {itself:?}");
    assert!((probed[0] - plain[0]).abs() > 1e-4, "{probed:?}, {plain:?}");
    assert_eq!(probed[1], plain[1]);
}

#[test]
fn bad_input_is_one_clear_line() {
    let bench = Bench::new();
    let cases: [(&str, &[(&str, &str)], &[&str]); 7] = [
        ("typo", &[("optimizer.lr", "1.0")], &["typo.toml:", "unknown field `lr`"]),
        ("momentum", &[("optimizer.momentum", "0.9")], &["momentum.toml:", "`optimizer.momentum`", "muon"]),
        ("missing", &[("data.pairs", "[\"nowhere.jsonl\"]")], &["cannot open", "nowhere.jsonl"]),
        ("model", &[("model.path", "\"./no/such/model\"")], &["no/such/model"]),
        ("device", &[("model.device", "\"gpu\"")], &["device.toml:", "unknown device `gpu`: expected auto"]),
        ("weights", &[("curriculum.weights", "{ tv2v = 2.0 }")], &["curriculum.weights", "tv2v", "no pairs"]),
        ("init", &[("lora.init", "\"nowhere\"")], &["nowhere"]),
    ];
    for (name, more, says) in cases {
        assert_refused(&run(&bench.config(name, more), &[]), says);
    }
    assert_refused(&run(&bench.path("none.toml"), &[]), &["cannot read", "none.toml"]);

    let gone = json!({"task": "i2t", "query": {"content": [{"type": "image", "image": "gone.png"}]},
        "positive": {"content": [{"type": "text", "text": "gone"}]}});
    let pairs = bench.path("pairs.jsonl");
    let text = format!("{}\n{gone}\n", std::fs::read_to_string(&pairs).unwrap());
    std::fs::write(&pairs, text).unwrap();
    assert_refused(&run(&bench.config("gone", &[]), &[]), &["pairs.jsonl:14: ", "gone.png"]);
    // Nobody looked before the start: the run fails when it comes to the pair.
    let unchecked = bench.config(
        "late",
        &[("data.check_files", "false"), ("curriculum.sampler", "\"uniform\""), ("negatives.mined", "0")],
    );
    let text = std::fs::read_to_string(&unchecked).unwrap();
    let text = text.replace("probe_pairs = 4\n", "");
    std::fs::write(&unchecked, text.split("[evaluation]").next().unwrap()).unwrap();
    assert_refused(&run(&unchecked, &[]), &["pairs.jsonl:14: ", "gone.png"]);
}

#[test]
fn a_step_that_ruins_the_model_ends_the_run_and_leaves_the_last_good_checkpoint() {
    let bench = Bench::new();
    let wild = [("optimizer.learning_rate", "1e30"), ("optimizer.weight_decay", "0.0")];
    // The first step has a rate of 0, the second ruins the model, the third sees it, or the checkpoint or
    // evaluation before.
    for (name, checkpoint, evaluation, what) in [
        ("loss", "1000", "1000", "loss is NaN"),
        ("checkpoint", "1", "1000", "embedding after it is NaN"),
        ("evaluation", "1000", "1", "embedding after it is NaN"),
    ] {
        let every = [("checkpoint.every_steps", checkpoint), ("evaluation.every_steps", evaluation)];
        let config = bench.config(name, &[&wild[..], &every].concat());
        let output = run(&config, &[]);
        assert_refused(&output, &["a batch of ", "pairs.jsonl:", what, "lower the learning rate"]);
        let kept = if checkpoint == "1" { vec!["step-00000001"] } else { vec![] };
        assert_eq!(bench.checkpoints(name), kept);
        let last = kept.last().copied().unwrap_or("there is no checkpoint yet");
        assert!(stderr(&output).contains(last), "{}", stderr(&output));
        let log = bench.log(name);
        let scored = log.iter().filter(|line| line["event"] == "evaluation").count();
        let expected = 1 + usize::from(evaluation == "1");
        assert_eq!(scored, expected, "before the first step, and behind it at most");
    }
}

#[test]
fn all_weights_can_be_trained() {
    let bench = Bench::new();
    let base = model();
    let before = weights(&base);
    for vision in [false, true] {
        let name = format!("vision_{vision}");
        let more = [
            FULL[0],
            ("full.vision", if vision { "true" } else { "false" }),
            ("epochs", "1"),
            ("steps_per_epoch", "3"),
            // Both tasks are drawn.
            ("curriculum.sigma_start", "100.0"),
            // What moves has a gradient.
            ("optimizer.weight_decay", "0.0"),
        ];
        assert_status(&run(&bench.config(&name, &more), &[]), 0);
        let trained = bench.path(&name).join("final");
        let after = weights(&trained);
        assert!(after.keys().eq(before.keys()));
        for (tensor, start) in &before {
            let moved = max_difference(&after[tensor], start) > 0.0;
            assert_eq!(moved, vision || !tensor.starts_with("visual."), "{name}: {tensor}");
        }
        Embedder::builder(&trained).device(gve::Device::Cpu).build().unwrap();
        assert_described(&trained, "merged");
    }
}

fn tensor_files(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
}

/// All tensors of a checkpoint.
fn weights(directory: &Path) -> BTreeMap<String, Tensor> {
    tensor_files(directory)
        .flat_map(|path| candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap())
        .collect()
}
