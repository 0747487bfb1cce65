//! `gve train` with this harness on the way: both programs together.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gve_test_support::files::text;
use gve_test_support::golden::model as tiny_model;
use gve_test_support::program::{assert_status, json_lines, stderr};
use gve_test_support::skip;
use serde_json::{Value, json};

use crate::mini::{self, MINI};
use crate::run::uvrb;

/// The program `gve` beside this one. It is built with the tests of both packages (`cargo test --workspace`);
/// without it a test skips.
fn gve() -> Option<PathBuf> {
    let program =
        Path::new(env!("CARGO_BIN_EXE_uvrb")).with_file_name(format!("gve{}", std::env::consts::EXE_SUFFIX));
    if program.is_file() {
        return Some(program);
    }
    skip(&format!("there is no {}; test with `cargo test --workspace`", program.display()));
    None
}

/// What the model of the runs allows: less than 200 tokens, and no multiple of one.
const MAX_PIXELS: u64 = 12 * 784 + 1;

/// Two data sets of the miniature, and pairs to train with.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let bench = Self { folder: tempfile::tempdir().unwrap() };
        for mini in MINI.iter().filter(|mini| ["MSRVTT", "CRB-G"].contains(&mini.id)) {
            mini::make_one(&bench.path("data"), mini);
        }
        let text = |text: String| json!({"content": [{"type": "text", "text": text}]});
        let pair = |i| json!({"task": "t2t", "query": text(format!("a red cat {i}")), "positive": text(format!("a street {i}"))});
        mini::write_lines(&bench.path("pairs.jsonl"), &(0..8).map(pair).collect::<Vec<Value>>());
        bench
    }

    /// The tiny model as one that was made for small pictures.
    fn model(&self) -> PathBuf {
        let model = self.path("model");
        if !model.exists() {
            fs::create_dir(&model).unwrap();
            for entry in fs::read_dir(tiny_model()).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
            }
            let path = model.join("preprocessor_config.json");
            let mut settings: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            settings["max_pixels"] = MAX_PIXELS.into();
            fs::write(&path, settings.to_string()).unwrap();
        }
        model
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Four steps with three evaluations, by a configuration of which `head` is the beginning and `evaluation`
    /// the end.
    fn train(&self, gve: &Path, output: &str, head: &str, evaluation: &str) -> Command {
        let config = self.path(&format!("{output}.toml"));
        let text = format!(
            "output = {output:?}\nepochs = 1\nsteps_per_epoch = 4\n{head}\n[model]\npath = {:?}\ndevice = \"cpu\"\nframes = 2\nmax_length = 4000\n\
             [data]\npairs = [\"pairs.jsonl\"]\n[batch]\nsize = 4\n[optimizer]\nlearning_rate = 1e-3\n[curriculum]\nsampler = \"uniform\"\n\
             [evaluation]\nuvrb = \"data\"\nevery_steps = 2\n{evaluation}\n",
            self.model().display().to_string()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(gve);
        command.arg("train").arg(config).args(["--resume", "auto"]).stdin(Stdio::null());
        command
    }

    /// The scores in the log, by step.
    fn scores(&self, output: &str) -> Vec<(u64, BTreeMap<String, f64>)> {
        let text = fs::read_to_string(self.path(output).join("log.jsonl")).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let scores = lines.filter(|line| line["event"] == "scores");
        scores
            .map(|line| {
                (line["step"].as_u64().unwrap(), serde_json::from_value(line["scores"].clone()).unwrap())
            })
            .collect()
    }
}

/// How the embeddings behind the results in `folder` were made.
fn settings_of_result(folder: &Path) -> Value {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("MSRVTT.json") {
                let result: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
                return find(&result, "settings").unwrap().clone();
            }
        }
    }
    panic!("no result");
}

fn find<'a>(value: &'a Value, key: &str) -> Option<&'a Value> {
    let fields = value.as_object()?;
    fields.get(key).or_else(|| fields.values().find_map(|value| find(value, key)))
}

#[test]
fn the_scores_of_a_run_are_those_of_the_harness() {
    let Some(gve) = gve() else { return };
    let bench = Bench::new();
    let base = bench.model();
    for (name, head) in [("lora", ""), ("full", "train = \"full\"")] {
        let output = bench.train(&gve, name, head, "").output().unwrap();
        assert_status(&output, 0);
        assert!(stderr(&output).contains("step 4: uvrb/CRB-G "), "{}", stderr(&output));
        let scores = bench.scores(name);
        assert_eq!(scores.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [0, 2, 4]);
        let evaluation = bench.path(name).join("evaluations/step-00000004");
        assert!(evaluation.join("scores.jsonl").is_file() && !evaluation.join("weights").exists());
        // It reads inputs as the run does, and the run as all that leave it to the model.
        let state = fs::read(bench.path(name).join("checkpoints/step-00000004/state.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        assert_eq!(state["config"]["model"]["max_pixels"], MAX_PIXELS);
        let settings = settings_of_result(&evaluation);
        assert_eq!((&settings["max_pixels"], &settings["max_length"]), (&MAX_PIXELS.into(), &4000.into()));

        let trained = bench.path(name).join("final");
        let mut command = Command::new(env!("CARGO_BIN_EXE_uvrb"));
        command
            .arg("run")
            .arg(bench.path("data"))
            .args(["--json", "--frames", "2", "--device", "cpu", "--out"]);
        command.arg(bench.path("results")).arg("--model");
        match head {
            "" => command.arg(&base).arg("--adapter").arg(&trained),
            _ => command.arg(&trained),
        };
        let output = command.output().unwrap();
        assert_status(&output, 0);
        assert_eq!(settings_of_result(&bench.path("results"))["max_pixels"], MAX_PIXELS);
        fs::remove_dir_all(bench.path("results")).unwrap();
        let mut expected: BTreeMap<String, f64> = String::from_utf8(output.stdout)
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .map(|line| {
                (format!("uvrb/{}", line["dataset"].as_str().unwrap()), line["score"].as_f64().unwrap())
            })
            .collect();
        assert_eq!(expected.len(), 2);
        let mean = expected.values().sum::<f64>() / 2.0;
        expected.insert("uvrb/mean".to_owned(), mean);
        assert_eq!(scores[2].1, expected);
    }
}

/// At widths that a run trained, its result is scored and reported without being asked, and cut to no other.
#[test]
fn trained_widths_are_scored_and_reported() {
    let Some(gve) = gve() else { return };
    let bench = Bench::new();
    let base = bench.model();
    for (name, head) in [("lora", ""), ("full", "train = \"full\"")] {
        let evaluation = "uvrb_datasets = [\"MSRVTT\"]\n[loss]\nmatryoshka_dims = [24, 64, 16]";
        assert_status(&bench.train(&gve, name, head, evaluation).output().unwrap(), 0);
        let trained = bench.path(name).join("final");
        let (data, results) = (bench.path("data"), bench.path(&format!("results-{name}")));
        let fixed = ["run", text(&data), "--out", text(&results), "--name", "mine", "--json"];
        let model = match head {
            "" => vec!["--model", text(&base), "--adapter", text(&trained)],
            _ => vec!["--model", text(&trained)],
        };
        let run =
            |more: &[&str]| uvrb(&[&fixed[..], &["--frames", "2", "--device", "cpu"], &model, more].concat());
        let scored = run(&[]);
        assert_status(&scored, 0);
        let scored = json_lines(&scored);
        assert_eq!(scored.len(), 2, "{name}");
        let report = uvrb(&["report", text(&results), "--format", "json"]);
        assert_status(&report, 0);
        let report: Value = serde_json::from_slice(&report.stdout).unwrap();
        let models = report["models"].as_object().unwrap();
        assert_eq!(models.len(), 3, "{:?}", models.keys());
        for line in &scored {
            let by_width = line["by_width"].as_object().unwrap();
            assert!(by_width.keys().eq(["16", "24"]), "{name}: {line}");
            for (width, score) in by_width {
                let cut = models.iter().find(|(model, _)| model.ends_with(&format!(", {width} values")));
                let (_, cut) = cut.unwrap_or_else(|| panic!("{width}: {:?}", models.keys()));
                assert_eq!(&cut["datasets"][line["dataset"].as_str().unwrap()], score, "{name}: {line}");
            }
        }
        let refused = run(&["--dim", "32"]);
        assert_status(&refused, 1);
        let said = stderr(&refused);
        assert!(said.contains("not trained to be cut to 32 of its 64 values"), "{said}");
        assert!(said.contains("(widths it was trained for: 16, 24)"), "{said}");
        assert_status(&run(&["--dim", "24"]), 0);
    }
}

#[test]
fn a_data_set_that_cannot_be_scored_costs_its_own_score_alone() {
    let Some(gve) = gve() else { return };
    let bench = Bench::new();
    fs::remove_file(bench.path("data/CRB-G/jsonl/corpus.jsonl")).unwrap();
    let output = bench.train(&gve, "run", "", "uvrb_datasets = [\"MSRVTT\", \"CRB-G\"]").output().unwrap();
    assert_status(&output, 0);
    let message = stderr(&output);
    assert_eq!(message.matches("warning: UVRB at ").count(), 3, "{message}");
    assert!(message.contains("CRB-G") && message.contains("uvrb.log"), "{message}");
    let names = bench.scores("run").into_iter().map(|(_, scores)| scores.into_keys().collect::<Vec<_>>());
    assert_eq!(names.collect::<Vec<_>>(), [["uvrb/MSRVTT", "uvrb/mean"]; 3]);

    let output = bench.train(&gve, "none", "", "uvrb_datasets = [\"CRB-G\"]").output().unwrap();
    assert_status(&output, 0);
    assert!(stderr(&output).contains("evaluations/step-00000002: "), "{}", stderr(&output));
    assert_eq!(bench.scores("none"), []);
}

#[test]
fn a_harness_or_data_that_are_not_there_are_told_before_the_first_step() {
    let Some(gve) = gve() else { return };
    let bench = Bench::new();
    let refused = |evaluation: &str| {
        let output = bench.train(&gve, "run", "", evaluation).output().unwrap();
        assert_status(&output, 1);
        assert!(!bench.path("run").exists());
        stderr(&output)
    };
    let message = refused("uvrb_program = \"nowhere/uvrb\"");
    assert!(message.contains("nowhere/uvrb") && message.contains("cargo build"), "{message}");
    let message = refused("uvrb_program = \"data\"");
    assert!(message.contains("cannot run"), "{message}");
    fs::remove_dir_all(bench.path("data")).unwrap();
    assert!(refused("").contains("`evaluation.uvrb`: there is no directory"));
}

#[cfg(unix)]
#[test]
fn a_request_to_stop_ends_the_harness_too() {
    let Some(gve) = gve() else { return };
    let bench = Bench::new();
    // A harness that knows its version and otherwise never ends.
    let script = bench.path("slow.sh");
    fs::write(&script, "#!/bin/sh\n[ \"$1\" = --version ] && exit\nexec sleep 1000\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (name, at_start, step, left) in
        [("first", true, "step-00000000", 2), ("later", false, "step-00000002", 1)]
    {
        let evaluation = format!("at_start = {at_start}\nuvrb_program = \"slow.sh\"");
        let mut command = bench.train(&gve, name, "", &evaluation);
        let child = command.stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while !bench.path(name).join("evaluations").join(step).join("uvrb.log").exists() {
            assert!(Instant::now() < deadline, "no evaluation has begun");
            std::thread::sleep(Duration::from_millis(2));
        }
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = child.wait_with_output().unwrap();
        assert_status(&output, 2);
        assert!(
            stderr(&output).contains(&format!(
                "stopped at {}",
                bench.path(name).join("checkpoints").join(step).display()
            )),
            "{}",
            stderr(&output)
        );
        assert_eq!(bench.scores(name), []);
        // Without the harness in the way it ends.
        assert_status(&bench.train(&gve, name, "", "uvrb_datasets = [\"MSRVTT\"]").output().unwrap(), 0);
        assert_eq!(bench.scores(name).len(), left);
    }
}
