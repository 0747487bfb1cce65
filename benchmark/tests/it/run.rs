//! `uvrb` as a researcher meets it: the miniature of all 16 data sets from the command line to the report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, model};
use gve_test_support::program::{assert_status, stderr, stdout};
use serde_json::Value;
use uvrb::result::{DatasetResult, read_queries};

use crate::mini::{self, MINI};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uvrb"));
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(crate) fn uvrb(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs, expects a failure, and gives the one line that names it.
#[track_caller]
fn refusal(arguments: &[&str]) -> String {
    let output = uvrb(arguments);
    assert_status(&output, 1);
    let message = stderr(&output);
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
    message
}

/// Arguments of a run over `data` into `out` with the tiny model.
pub(crate) fn run_arguments<'a>(data: &'a Path, out: &'a Path, model: &'a Path) -> Vec<&'a str> {
    vec![
        "run",
        text(data),
        "--out",
        text(out),
        "--model",
        text(model),
        "--name",
        "gve/tiny",
        "--device",
        "cpu",
    ]
}

/// The only revision folder of the only model in `out`.
pub(crate) fn revision_folder(out: &Path) -> PathBuf {
    let model = out.join("gve__tiny");
    let mut revisions = fs::read_dir(model).unwrap().map(|entry| entry.unwrap().path());
    let folder = revisions.next().unwrap();
    assert!(revisions.next().is_none(), "one model is one revision");
    folder
}

fn result(out: &Path, id: &str) -> DatasetResult {
    DatasetResult::read(&revision_folder(out).join(format!("{id}.json"))).unwrap()
}

/// All results in `out` without what differs from run to run: times.
fn timeless_results(out: &Path) -> BTreeMap<String, DatasetResult> {
    MINI.iter()
        .map(|mini| {
            let timeless = DatasetResult { evaluation_time: None, timing: None, ..result(out, mini.id) };
            (mini.id.to_owned(), timeless)
        })
        .collect()
}

fn cached_embeddings(out: &Path) -> usize {
    fn count(directory: &Path) -> usize {
        let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.unwrap());
        // Hashes of files are remembered beside the embeddings.
        let entries = entries.filter(|entry| entry.file_name() != "files");
        entries
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                let is_kept = name.len() > 30 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
                if entry.path().is_dir() { count(&entry.path()) } else { usize::from(is_kept) }
            })
            .sum()
    }
    count(&out.join(".cache"))
}

#[test]
fn sixteen_data_sets_survive_being_killed() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    mini::make(&data);
    let model = model();

    let whole = folder.path().join("whole");
    let output = uvrb(&run_arguments(&data, &whole, &model));
    assert_status(&output, 0);
    assert_eq!(stdout(&output).lines().count(), MINI.len());
    let expected = timeless_results(&whole);
    for mini in &MINI {
        let counts = expected[mini.id].counts.as_ref().unwrap();
        assert_eq!((counts.queries, counts.corpus), (mini.queries, mini.clips.len()), "{}", mini.id);
        assert_eq!((counts.failed_queries, counts.failed_documents), (0, 0), "{}", mini.id);
    }
    // What two data sets share is embedded once.
    let (first, second) = (result(&whole, "CRB-G"), result(&whole, "CRB-S"));
    assert_eq!(first.timing.unwrap().from_cache, 0);
    assert_eq!(second.timing.unwrap().from_cache, 5, "the corpus of CRB-G");

    // Killed in the middle, several times.
    let killed = folder.path().join("killed");
    let arguments = run_arguments(&data, &killed, &model);
    for wanted in [3, 40] {
        let mut child = command(&arguments).stdout(Stdio::null()).spawn().unwrap();
        let start = Instant::now();
        while cached_embeddings(&killed) < wanted {
            assert!(start.elapsed() < Duration::from_secs(120), "no embedding came");
            assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
    }
    let kept = cached_embeddings(&killed);
    let before: Vec<&str> = MINI.iter().map(|mini| mini.id).filter(|id| has_result(&killed, id)).collect();
    assert!(before.len() < MINI.len());

    let output = uvrb(&arguments);
    assert_status(&output, 0);
    assert_eq!(stdout(&output).matches("there already").count(), before.len());
    assert_eq!(timeless_results(&killed), expected);
    let embedded: usize = MINI
        .iter()
        .filter(|mini| !before.contains(&mini.id))
        .map(|mini| result(&killed, mini.id).timing.unwrap().embedded)
        .sum();
    assert_eq!(embedded, cached_embeddings(&whole) - kept, "only what was in flight is embedded again");

    // A third run makes nothing.
    let output = uvrb(&arguments);
    assert_eq!(stdout(&output).matches("there already").count(), MINI.len());

    let report = uvrb(&["report", text(&killed), "--format", "json"]);
    assert_status(&report, 0);
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let revision = revision_folder(&killed);
    let name = format!("gve__tiny@{}", revision.file_name().unwrap().to_str().unwrap());
    let scores = &report["models"][&name];
    for (id, result) in &expected {
        let expected = result.main_score().unwrap();
        assert!((scores["datasets"][id].as_f64().unwrap() - expected).abs() < 1e-9, "{id}: {scores}");
    }
    assert!(scores["abilities"]["AVG"].is_f64());
}

fn has_result(out: &Path, id: &str) -> bool {
    let revisions = fs::read_dir(out.join("gve__tiny")).into_iter().flatten();
    revisions.map(|entry| entry.unwrap().path()).any(|revision| revision.join(format!("{id}.json")).exists())
}

/// One model of each architecture that is built in.
#[test]
fn every_architecture_is_scored_by_the_same_command() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mini = MINI.iter().find(|mini| mini.id == "MSRVTT").unwrap();
    mini::make_one(&data, mini);
    for name in ["tiny-a", "tiny-q2", "tiny-q3", "tiny-clip", "tiny-siglip2"] {
        let (out, model) = (folder.path().join(name), golden_dir().join(name).join("model"));
        assert_status(&uvrb(&run_arguments(&data, &out, &model)), 0);
        let counts = result(&out, mini.id).counts.unwrap();
        assert_eq!((counts.queries, counts.failed_queries, counts.failed_documents), (mini.queries, 0, 0));
    }
    // Cut, one that reads no instructions is given none either.
    let (out, model) = (folder.path().join("cut"), golden_dir().join("tiny-clip/model"));
    let cut = [&run_arguments(&data, &out, &model)[..], &["--dim", "4", "--force-dim"]].concat();
    assert_status(&uvrb(&cut), 0);
    assert_eq!(result(&out, mini.id).prompt_style.as_deref(), Some("none"));
}

#[test]
fn a_written_run_scores_alike() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let minis = ["LoVR-TH", "MS-TI"].map(|id| MINI.iter().find(|mini| mini.id == id).unwrap());
    for mini in minis {
        mini::make_one(&data, mini);
    }
    let out = folder.path().join("out");
    let output = uvrb(&[
        "run",
        text(&data),
        "--out",
        text(&out),
        "--baseline",
        "mean-colour",
        "--rankings",
        "trec",
        "--json",
    ]);
    assert_status(&output, 0);
    for line in stdout(&output).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let path = Path::new(line["path"].as_str().unwrap());
        let (id, run) = (line["dataset"].as_str().unwrap(), path.with_extension("trec"));
        let scored = uvrb(&["score", text(&data.join(id)), "--run", text(&run), "--json"]);
        assert_status(&scored, 0);
        let scored: Value = serde_json::from_slice(&scored.stdout).unwrap();
        let written = DatasetResult::read(path).unwrap();
        for name in ["recall_at_1", "ndcg_at_10", "map_at_100", "mrr_at_5", "hit_rate_at_1", "precision_at_3"]
        {
            let (expected, got) = (written.scores["test"][0].metric(name).unwrap(), find(&scored, name));
            assert!((expected - got).abs() < 1e-9, "{id} {name}: {expected} and {got}");
        }
        // The mean colour of a picture names its clip, and candidates are all that is ranked.
        let queries = read_queries(&uvrb::result::queries_path(path)).unwrap();
        assert!(id != "MS-TI" || queries.iter().all(|query| query.top.len() == 4), "{queries:?}");
    }
}

/// The number under `name`, wherever it stands.
fn find(value: &Value, name: &str) -> f64 {
    fn look(value: &Value, name: &str) -> Option<f64> {
        match value {
            Value::Object(map) => map
                .get(name)
                .and_then(Value::as_f64)
                .or_else(|| map.values().find_map(|value| look(value, name))),
            Value::Array(values) => values.iter().find_map(|value| look(value, name)),
            _ => None,
        }
    }
    look(value, name).unwrap_or_else(|| panic!("no {name} in {value}"))
}

#[test]
fn damaged_media_count_against_the_score() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mini = MINI.iter().find(|mini| mini.id == "MS-TI").unwrap();
    let directory = mini::make_one(&data, mini);
    let run = |out: &str| {
        let out = folder.path().join(out);
        uvrb(&["run", text(&data), "--out", text(&out), "--baseline", "mean-colour", "--json"])
    };
    let score = |output: &Output| {
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        (line["score"].as_f64().unwrap(), line["counts"].clone())
    };
    let (whole, _) = score(&run("whole"));
    assert_eq!(whole, 1.0, "every picture is of its own colour");

    fs::write(directory.join("videos/ms-ti_1.y4m"), "no video").unwrap();
    fs::remove_file(directory.join("images/query_2.png")).unwrap();
    let output = run("damaged");
    assert_status(&output, 2);
    let message = stderr(&output);
    assert!(message.contains("document d1") && message.contains("ms-ti_1.y4m"), "{message}");
    assert!(message.contains("query q2") && message.contains("query_2.png"), "{message}");
    let (damaged, counts) = score(&output);
    assert_eq!(damaged, 0.5, "two of four queries can no longer be answered");
    assert_eq!((&counts["failed_queries"], &counts["failed_documents"]), (&1.into(), &1.into()));
    assert!(counts["failure_rule"].as_str().unwrap().contains("scores 0"));
}

#[test]
fn parts_are_marked() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    mini::make_one(&data, &MINI[0]);
    let out = folder.path().join("out");
    let arguments =
        ["run", text(&data), "--out", text(&out), "--baseline", "random", "--limit", "2", "--seed", "7"];
    let output = uvrb(&arguments);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("part of the data set"));
    // The whole is not taken for done because a part is.
    let whole = uvrb(&arguments[..6]);
    assert_status(&whole, 0);
    assert!(!stdout(&whole).contains("there already"), "{}", stdout(&whole));
    // A look at a part does not cost the whole.
    let path = out.join("baseline__random");
    assert!(refusal(&arguments).contains("--overwrite"));
    assert!(files_with(&path, "\"subsample\"").is_empty());
    assert_status(&uvrb(&[&arguments[..], &["--overwrite"]].concat()), 0);
    assert_eq!(files_with(&path, "\"subsample\"").len(), 1);
}

/// The files under `directory` that hold `text`.
fn files_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let found = |path: PathBuf| match path.is_dir() {
        true => files_with(&path, text),
        false => {
            Some(path).filter(|path| fs::read_to_string(path).unwrap().contains(text)).into_iter().collect()
        }
    };
    entries.flat_map(found).collect()
}

#[test]
fn embeddings_made_elsewhere_are_always_scored_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let directory = mini::make_one(&data, &MINI[0]);
    let made = folder.path().join("embeddings");
    fs::create_dir_all(made.join("MSRVTT")).unwrap();
    let ids = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(directory.join("jsonl").join(file)).unwrap();
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        text.lines().map(id).collect()
    };
    // Each is one direction: query n finds document n, unless all documents are turned by one.
    let put = |file: &str, turned: usize| {
        let ids = ids(&format!("{file}.jsonl"));
        let lines: Vec<Value> = (0..ids.len())
            .map(|row| {
                let mut embedding = vec![0.0; ids.len()];
                embedding[(row + turned) % ids.len()] = 1.0;
                serde_json::json!({"id": ids[row], "embedding": embedding})
            })
            .collect();
        mini::write_lines(&made.join(format!("MSRVTT/{file}.jsonl")), &lines);
    };
    put("queries", 0);
    let out = folder.path().join("out");
    for (turned, expected) in [(0, 1.0), (1, 0.0)] {
        put("corpus", turned);
        let run = uvrb(&["run", text(&data), "--out", text(&out), "--precomputed", text(&made), "--json"]);
        assert_status(&run, 0);
        let line: Value = serde_json::from_slice(&run.stdout).unwrap();
        assert_eq!(line["score"], expected, "{line}");
    }
}

/// What mteb writes counts by the metric of the benchmark, not by its own.
#[test]
fn a_report_takes_no_score_by_another_metric() {
    let folder = tempfile::tempdir().unwrap();
    let put = |dataset: &str, more: &str| {
        let path = uvrb::result::result_path(folder.path(), "org/model", "main", dataset);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let scores = format!("{{\"test\": [{{\"main_score\": 0.75{more}}}]}}");
        fs::write(path, format!("{{\"task_name\": \"{dataset}\", \"scores\": {scores}}}")).unwrap();
    };
    put("MSRVTT", ", \"ndcg_at_10\": 0.75, \"hit_rate_at_1\": 0.5");
    put("DiDeMo", ", \"ndcg_at_10\": 0.75");
    let output = uvrb(&["report", text(folder.path()), "--format", "json"]);
    assert_status(&output, 2);
    let message = stderr(&output);
    assert!(message.contains("DiDeMo.json") && message.contains("`hit_rate_at_1`"), "{message}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let scores = &report["models"]["org__model@main"]["datasets"];
    assert_eq!((&scores["MSRVTT"], &scores["DiDeMo"]), (&0.5.into(), &Value::Null));
}

#[test]
fn without_a_model_nano_is_scored_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    mini::make_one(&data, &MINI[2]);
    let out = folder.path().join("out");
    let mut command = command(&["run", text(&data), "--out", text(&out)]);
    let output = command.env("XDG_CACHE_HOME", folder.path().join("cache")).output().unwrap();
    assert_status(&output, 0);
    assert!(
        stderr(&output).contains("nano") && stderr(&output).contains("Alibaba-NLP/GVE-3B"),
        "{}",
        stderr(&output)
    );
    assert!(out.join("nano").is_dir(), "the results are under the model's name");
}

#[test]
fn mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let directory = mini::make_one(&data, &MINI[2]);
    let out = folder.path().join("out");
    let run = |more: &[&str]| {
        let start = ["run", text(&data), "--out", text(&out), "--baseline", "random"];
        refusal(&[&start, more].concat())
    };
    assert!(run(&["CRB_G"]).contains("CRB-G"), "the nearest id is told");
    assert!(run(&["--name", "me/random"]).contains("--name"), "a floor has a name of its own");
    let prompts = folder.path().join("prompts.toml");
    fs::write(&prompts, "CRB-G = \"Find it.\"\nCRB_S = \"Find it.\"\n").unwrap();
    let message = run(&["--prompts", text(&prompts)]);
    assert!(message.contains("prompts.toml:2") && message.contains("CRB_S"), "{message}");

    let instances = directory.join("jsonl/instances.jsonl");
    let lines = fs::read_to_string(&instances).unwrap();
    fs::write(&instances, lines.replacen("d0", "nowhere", 1)).unwrap();
    let message = run(&[]);
    assert!(message.contains("instances.jsonl:1") && message.contains("nowhere"), "{message}");
    assert!(!out.exists(), "nothing was scored");
    assert!(refusal(&["run", text(&data), "--baseline", "random", "--limit", "0"]).contains("--limit"));

    let own = folder.path().join("own");
    fs::rename(directory, &own).unwrap();
    fs::write(own.join("jsonl/instances.jsonl"), "{\"qid\": \"of another split\", \"pos\": [\"d0\"]}\n")
        .unwrap();
    let message = refusal(&["score", text(&own), "--run", text(&prompts)]);
    assert!(message.contains("instances.jsonl: it names none of the "), "{message}");
}
