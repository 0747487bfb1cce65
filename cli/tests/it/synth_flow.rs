//! `gve synth flow` against a captioner on a loopback address, which misbehaves when told to.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use gve::pairs::PairIndex;
use gve_test_support::files::{files, text};
use gve_test_support::golden::{media, model};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use gve_test_support::stub::{Answer, Received, Stub};
use serde_json::{Value, json};

mod answers;
mod captioner;
mod going_on;
mod pairs;
mod secrets;

/// Clips of the bundled videos with [`OPTIONS`].
const CLIPS: usize = 4;
/// Questions about them: captions, a caption of the frame, and two composed queries each.
const QUESTIONS: usize = 4 * CLIPS;
const TASKS: [&str; 7] = ["i2v", "t2i", "t2t", "t2v", "ti2v", "tv2v", "v2v"];

/// Small clips and pictures. The random weights of the fixture have no opinion on what belongs together.
const OPTIONS: [[&str; 2]; 10] = [
    ["--device", "cpu"],
    ["--frames", "2"],
    ["--tokens-per-frame", "16"],
    ["--min-cosine", "-1"],
    ["--clip-seconds", "1"],
    ["--clips-per-video", "2"],
    ["--min-motion", "0.0001"],
    ["--captioner-frames", "2"],
    ["--captioner-side", "64"],
    ["--concurrency", "2"],
];

/// A folder with two videos, and room for a run.
struct Site {
    folder: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let videos = folder.path().join("videos");
        std::fs::create_dir(&videos).unwrap();
        for name in ["testsrc.mp4", "bunny.mp4"] {
            std::fs::copy(media(name), videos.join(name)).unwrap();
        }
        Self { folder }
    }

    fn videos(&self) -> PathBuf {
        self.folder.path().join("videos")
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("out")
    }

    fn pairs(&self) -> String {
        std::fs::read_to_string(self.out().join("pairs.jsonl")).unwrap()
    }

    /// The pairs as those of any other site with the same videos.
    fn pairs_anywhere(&self) -> String {
        self.pairs().replace(text(&self.videos().canonicalize().unwrap()), "")
    }

    /// What a stage's filters did, line by line.
    fn report(&self, stage: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.out().join("report").join(format!("{stage}.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn command(&self, base_url: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gve"));
        command.args(["synth", "flow"]).arg(self.videos()).arg("--out").arg(self.out());
        command.arg("--model").arg(model()).args(["--captioner", base_url, "--captioner-model", "stub"]);
        for option in OPTIONS.iter().filter(|option| !more.contains(&option[0])) {
            command.args(option);
        }
        command.args(more).stdin(Stdio::null()).env("GVE_CAPTIONER_KEY", "secret");
        command
    }

    fn run(&self, base_url: &str, more: &[&str]) -> Output {
        self.command(base_url, more).output().unwrap()
    }
}

/// A captioner that works: what it says is a function of what it is asked.
fn reply(request: &Received) -> String {
    let mut hash = DefaultHasher::new();
    request.body["messages"].to_string().hash(&mut hash);
    let word: String = (0..8).map(|i| char::from(b'a' + (hash.finish() >> (8 * i)) as u8 % 26)).collect();
    match name(request) {
        "captions" => json!({
            "summary": format!("a {word} walks by"),
            "detailed": format!("first a {word} walks, then it sits down"),
            "abstract": format!("the calm of a {word}"), "keywords": [word, "walking", "outdoors"],
            "partial": format!("the tail of a {word}"),
        }),
        "frame" => json!({"caption": format!("a {word} on the lawn")}),
        "composed" => json!({
            "usable": true, "query": format!("the same but with a {word}"),
            "from_reference": "the place", "from_text": word,
        }),
        other => panic!("a schema nobody knows: {other}"),
    }
    .to_string()
}

/// Which kind of question it is.
fn name(request: &Received) -> &str {
    request.body["response_format"]["json_schema"]["name"].as_str().unwrap()
}

/// A chat completion that says `content`.
fn says(content: &str) -> Answer {
    let message = json!({"role": "assistant", "content": content});
    Answer::ok(json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string())
}

fn good() -> Stub {
    Stub::start(|_, request| says(&reply(request)))
}

/// The parts of the last message.
fn parts(request: &Received) -> &Vec<Value> {
    request.body["messages"].as_array().unwrap().last().unwrap()["content"].as_array().unwrap()
}

#[test]
fn videos_become_pairs_of_seven_kinds_that_train_takes() {
    let (site, stub) = (Site::new(), good());
    let output = site.run(&stub.base_url, &["--json"]);
    assert_status(&output, 0);
    let summary = &json_lines(&output)[0];
    assert_eq!(summary["replies"], QUESTIONS);
    assert_eq!(
        summary["stages"][0],
        json!({"stage": "quality", "items": CLIPS, "kept": CLIPS, "dropped": {}})
    );

    let index = PairIndex::open(&[site.out().join("pairs.jsonl")], true).unwrap();
    let counts: BTreeMap<String, usize> =
        index.tasks().iter().map(|task| (task.task().to_string(), task.len())).collect();
    assert_eq!(counts.keys().collect::<Vec<_>>(), TASKS);
    assert_eq!(summary["pairs"], json!(counts));
    assert_eq!((counts["t2v"], counts["t2t"], counts["ti2v"]), (5 * CLIPS, CLIPS, CLIPS));

    let requests = stub.requests();
    assert_eq!(requests.len(), QUESTIONS);
    for request in &requests {
        assert_eq!(request.path, "/v1/chat/completions");
        assert_eq!(request.authorization.as_deref(), Some("Bearer secret"));
        let pictures = parts(request).iter().filter(|part| part["type"] == "image_url");
        let pictures: Vec<&str> = pictures.map(|part| part["image_url"]["url"].as_str().unwrap()).collect();
        assert!(pictures.iter().all(|url| url.starts_with("data:image/jpeg;base64,")));
        let expected: &[usize] = match name(request) {
            "captions" => &[2],
            "frame" => &[1],
            _ => &[3, 4],
        };
        assert!(expected.contains(&pictures.len()), "{}: {}", name(request), pictures.len());
        assert_eq!(request.body["response_format"]["json_schema"]["schema"]["additionalProperties"], false);
    }
    let verdicts = site.report("enrichment");
    assert_eq!(verdicts.len(), 6 * CLIPS);
    assert!(verdicts.iter().all(|verdict| verdict["cosine"].is_f64() && verdict.get("dropped_by").is_none()));

    let pairs = site.pairs();
    let again = site.run(&stub.base_url, &[]);
    assert_status(&again, 0);
    assert!(stdout(&again).contains("pairs: i2v 4, t2i 4, t2t 4, t2v 20, ti2v 4, tv2v 4, v2v 4"));
    assert_eq!(stub.requests().len(), QUESTIONS, "nothing is asked twice");
    assert_eq!(site.pairs(), pairs);
}

#[test]
fn another_runs_folder_is_refused_and_named() {
    let (site, stub) = (Site::new(), good());
    assert_status(&site.run(&stub.base_url, &["--until", "quality"]), 0);
    assert!(stub.requests().is_empty());
    let refused = |more: &[&str], expected: &str| {
        let output = site.run(&stub.base_url, more);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(expected), "{}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{}", stderr(&output));
    };
    refused(&["--seed", "7"], "belongs to another run (settings.seed: 42 there, 7 here)");
    refused(&["--captioner-frames", "3"], "settings.frames: 2 there, 3 here");
    std::fs::copy(media("ntsc.mp4"), site.videos().join("ntsc.mp4")).unwrap();
    refused(&[], "ntsc.mp4: missing there, ");
    std::fs::remove_file(site.videos().join("ntsc.mp4")).unwrap();
    assert_status(&site.run(&stub.base_url, &["--until", "quality", "--concurrency", "9"]), 0);

    std::fs::remove_file(site.out().join("run.json")).unwrap();
    refused(&[], " holds files and no run.json: give another folder");
}

#[test]
fn a_key_that_is_not_there_is_not_passed_over_in_silence() {
    let (site, stub) = (Site::new(), good());
    let output = site.run(&stub.base_url, &["--captioner-key-env", "sk-given-by-mistake"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("--captioner-key-env names an environment variable that is not set"));
    assert!(!stderr(&output).contains("sk-given"), "{}", stderr(&output));
}

#[test]
fn videos_that_do_not_decode_are_named_and_the_others_done() {
    let (site, stub) = (Site::new(), good());
    std::fs::write(site.videos().join("text.mp4"), "just some text\n").unwrap();
    std::fs::write(site.videos().join("empty.mp4"), "").unwrap();
    let output = site.run(&stub.base_url, &["--quiet"]);
    assert_status(&output, 2);
    assert_eq!(stderr(&output).lines().count(), 2, "{}", stderr(&output));
    assert!(
        stderr(&output).contains("text.mp4: not a video file") && stderr(&output).contains("empty.mp4: ")
    );
    let quality = site.report("quality");
    let unreadable = quality.iter().filter(|verdict| verdict["dropped_by"] == "unreadable");
    assert_eq!(unreadable.count(), 2);
    assert_eq!(PairIndex::open(&[site.out().join("pairs.jsonl")], true).unwrap().tasks().len(), 7);
}

#[test]
fn wrong_templates_are_told_before_anything_is_done() {
    let (site, stub) = (Site::new(), good());
    let prompts = site.folder.path().join("prompts");
    let written =
        Command::new(env!("CARGO_BIN_EXE_gve")).args(["synth", "prompts"]).arg(&prompts).output().unwrap();
    assert_status(&written, 0);
    assert_eq!(stdout(&written).lines().count(), 5);
    let run = || site.run(&stub.base_url, &["--prompts", text(&prompts)]);
    std::fs::write(prompts.join("captions.txt"), "Describe it.\nIt lasts {length} seconds.\n").unwrap();
    let output = run();
    assert_status(&output, 1);
    assert!(stderr(&output).contains("captions.txt:2: unknown slot `{length}`"), "{}", stderr(&output));
    assert!(stub.requests().is_empty() && !site.out().exists());

    std::fs::write(prompts.join("captions.txt"), "It lasts {duration} seconds.\n").unwrap();
    assert_status(&run(), 0);
    let asked = stub.requests();
    let asked = asked.iter().find(|request| name(request) == "captions").unwrap();
    assert!(parts(asked)[0]["text"].as_str().unwrap().starts_with("It lasts "));
    let output = site.run(&stub.base_url, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("another run (prompts.captions.txt: "), "{}", stderr(&output));
}

#[test]
fn filters_say_what_they_dropped_and_why() {
    let (site, stub) = (Site::new(), good());
    let caption = |video: &str, text: &str, more: Value| {
        let mut line = json!({"video": format!("videos/{video}"), "caption": text});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    let lines = [
        caption("bunny.mp4", "a rabbit in the grass", json!({"start": 0, "end": 1})),
        caption("bunny.mp4", "A rabbit, in the grass!", json!({"start": 0, "end": 1})),
        caption("bunny.mp4", "IMG_20210304.mp4", json!({"start": 0, "end": 1})),
        caption("bunny.mp4", "a fox in the snow", json!({"start": 900, "end": 901})),
        caption("testsrc.mp4", "coloured bars and a clock", json!({})),
    ];
    let captions = |site: &Site| {
        let path = site.folder.path().join("captions.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        path
    };
    let verdicts = |site: &Site| -> HashMap<String, String> {
        let verdicts = site.report("quality");
        let of_text = |verdict: &Value| {
            let by = verdict.get("dropped_by").map_or("kept", |by| by.as_str().unwrap());
            assert_eq!(verdict.get("reason").is_some(), by != "kept", "{verdict}");
            Some((verdict.get("text")?.as_str()?.to_owned(), by.to_owned()))
        };
        verdicts.iter().filter_map(of_text).collect()
    };
    let file = captions(&site);
    let more = ["--captions", text(&file), "--until", "quality"];
    assert_status(&site.run(&stub.base_url, &more), 0);
    let by = verdicts(&site);
    assert_eq!(by["a rabbit in the grass"], "kept");
    assert_eq!(by["A rabbit, in the grass!"], "duplicate");
    assert_eq!(by["IMG_20210304.mp4"], "file_name");
    assert_eq!(by["a fox in the snow"], "out_of_range");

    // What was dropped where it stood first does not stand before.
    let site = Site::new();
    let file = captions(&site);
    let more = ["--captions", text(&file), "--min-cosine", "0.99"];
    assert_status(&site.run(&stub.base_url, &more), 0);
    let by = verdicts(&site);
    let told = ["a rabbit in the grass", "A rabbit, in the grass!", "coloured bars and a clock"];
    assert!(told.iter().all(|text| by[*text] == "inconsistent"), "{by:?}");
    assert!(site.report("enrichment").iter().all(|verdict| verdict["dropped_by"] == "inconsistent"));
    assert!(site.report("extension").is_empty(), "there is nothing to compose queries of");

    let site = Site::new();
    assert_status(&site.run(&stub.base_url, &["--min-motion", "0.9"]), 0);
    let quality = site.report("quality");
    assert!(quality.len() == CLIPS && quality.iter().all(|verdict| verdict["dropped_by"] == "static"));
    assert!(quality[0]["reason"].as_str().unwrap().contains("at least 0.9 is asked for"));
    assert_eq!(site.pairs(), "");
}

#[test]
fn prompts_that_are_there_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let kept: &Path = &folder.path().join("frame.txt");
    std::fs::write(kept, "mine").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gve"))
        .args(["synth", "prompts"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert_status(&output, 2);
    assert!(stderr(&output).contains("frame.txt") && stdout(&output).lines().count() == 4);
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "mine");
}
