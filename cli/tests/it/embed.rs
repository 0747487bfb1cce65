//! `gve embed` and `gve frames` as a user meets them: output, exit status, one-line errors.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gve::retrieval::read_embeddings;
use gve_test_support::files::text;
use gve_test_support::golden::{Case, cosine, fixture_dirs, golden_dir, media, model};
use gve_test_support::hub::{CLOSED, COMMIT, FakeHub, ID};
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use gve_test_support::proxy::Proxy;
use serde_json::Value;

use crate::program::{command, gve};

#[test]
fn embed_gives_the_reference_numbers() {
    for fixture in fixture_dirs() {
        let cases = Case::all(&fixture);
        let inputs =
            tempfile::Builder::new().suffix(".jsonl").tempfile_in(golden_dir().join("media")).unwrap();
        let lines: Vec<String> = cases.iter().map(Case::json_line).collect();
        std::fs::write(inputs.path(), lines.join("\n")).unwrap();
        let model = fixture.join("model");
        let output =
            gve(&["embed", "--model", text(&model), "--device", "cpu", "--input", text(inputs.path())]);
        assert_status(&output, 0);
        let results = json_lines(&output);
        assert_eq!(results.len(), cases.len());
        for (case, result) in cases.iter().zip(results) {
            assert_eq!(result["id"], case.name.as_str());
            let embedding: Vec<f32> = serde_json::from_value(result["embedding"].clone()).unwrap();
            assert_eq!(result["dim"], embedding.len());
            assert!(cosine(&embedding, &case.embedding()) >= case.least_cosine(), "{}", case.name);
        }
    }
}

#[test]
fn embedding_files_hold_what_standard_output_shows() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    let inputs = ["--model", text(&model), "--text", "a dog", "--text", "a cat", "--image"];
    let image = media("tiny.png");
    let run = |more: &[&str]| gve(&[&["embed"], &inputs[..], &[text(&image)], more].concat());
    let shown = json_lines(&run(&[]));
    for (format, name) in [("jsonl", "e.jsonl"), ("npy", "e.npy"), ("parquet", "e.parquet")] {
        let path = folder.path().join(name);
        assert_status(&run(&["--out", text(&path), "--format", format]), 0);
        let table = read_embeddings(&path).unwrap();
        assert_eq!(table.ids, ["a dog", "a cat", text(&image)]);
        for (row, line) in table.embeddings.rows().into_iter().zip(&shown) {
            let expected: Vec<f32> = serde_json::from_value(line["embedding"].clone()).unwrap();
            assert!(cosine(&row.to_vec(), &expected) > 0.999_999, "{format}");
        }
    }
    let refused = run(&["--format", "npy"]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("--out"));
}

#[test]
fn areas_are_counted_in_tokens_of_the_model() {
    let (model, image) = (model(), media("rabbit.png"));
    let run =
        |area: &[&str]| gve(&[&["embed", "--model", text(&model), "--image", text(&image)], area].concat());
    let tokens = |area: &[&str]| json_lines(&run(area))[0]["tokens"].clone();
    let twelve = tokens(&["--tokens-per-frame", "12"]);
    assert_eq!(twelve, tokens(&["--max-pixels", "9408"]));
    assert_ne!(twelve, tokens(&["--tokens-per-frame", "2"]));
    let refused = run(&["--max-pixels", "783"]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("max_pixels must be at least 784 (one visual token)"));
    for nothing in ["--tokens-per-frame", "--max-pixels"] {
        assert_status(&run(&[nothing, "0"]), 1);
    }
}

#[test]
fn proxies_of_the_environment_are_used() {
    // A name that no resolver knows.
    const FAR: &str = "http://hub.invalid";
    let hub = FakeHub::serve_directory(&model());
    let proxy = Proxy::before(&hub.endpoint);
    let (proxy, near) = (proxy.address.as_str(), hub.endpoint.as_str());
    let cases = [
        (FAR, &[("HTTP_PROXY", proxy)][..], 0),
        (FAR, &[("all_proxy", proxy)], 0),
        (FAR, &[("https_proxy", proxy)], 1),
        (FAR, &[("HTTP_PROXY", proxy), ("NO_PROXY", "example.org, .invalid")], 1),
        (near, &[("HTTP_PROXY", CLOSED)], 0),
    ];
    std::thread::scope(|scope| {
        for (endpoint, variables, status) in cases {
            scope.spawn(move || {
                let home = tempfile::tempdir().unwrap();
                let mut info = command(&["model", "info", "--model", ID]);
                info.env("HF_ENDPOINT", endpoint).env("HF_HOME", home.path());
                assert_status(&info.envs(variables.iter().copied()).output().unwrap(), status);
            });
        }
    });
}

/// Files that are no videos, by name, with what the error must say.
fn bad_files(folder: &Path) -> Vec<(PathBuf, &'static str)> {
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let random: Vec<u8> = (0..20_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let directory = folder.join("directory.mp4");
    std::fs::create_dir(&directory).unwrap();
    vec![
        (file("empty.mp4", b""), "empty"),
        (file("random.mp4", &random), "random.mp4"),
        (file("text.mp4", b"just some text\n"), "text"),
        (file("no_moov.mp4", &without_moov(&std::fs::read(media("ntsc.mp4")).unwrap())), "moov"),
        (file("audio.mp4", &silence()), "no video stream"),
        (directory, "directory"),
        (folder.join("missing.mp4"), "missing.mp4"),
    ]
}

/// An MP4 without its table of contents, as an interrupted recording leaves it.
fn without_moov(mp4: &[u8]) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut rest = mp4;
    while let Some((header, _)) = rest.split_at_checked(8) {
        let size = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
        let (atom, after) = rest.split_at(size);
        if &header[4..] != b"moov" {
            kept.extend_from_slice(atom);
        }
        rest = after;
    }
    assert!(kept.len() < mp4.len());
    kept
}

/// A second of silence as WAV.
fn silence() -> Vec<u8> {
    let data = 16_000u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(8000u32.to_le_bytes());
    wav.extend(16_000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(data.to_le_bytes());
    wav.resize(wav.len() + data as usize, 0);
    wav
}

#[test]
fn bad_files_are_one_clear_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let model = model();
    for (path, says) in bad_files(folder.path()) {
        for arguments in
            [vec!["embed", "--model", text(&model), "--video", text(&path)], vec!["frames", text(&path)]]
        {
            let output = gve(&arguments);
            assert_status(&output, 1);
            let errors = stderr(&output);
            assert_eq!(errors.lines().count(), 1, "{errors}");
            assert!(errors.contains(text(&path)) && errors.contains(says), "{errors}");
        }
    }
}

#[test]
fn good_inputs_come_out_of_a_bad_batch() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = vec![
        r#"{"id": "first", "content": [{"type": "text", "text": "a dog"}]}"#.to_owned(),
        "{ this is no JSON".to_owned(),
        r#"{"id": "hollow", "content": []}"#.to_owned(),
        r#"{"id": "typo", "content": [{"type": "text", "txt": "a"}]}"#.to_owned(),
    ];
    let bad = bad_files(folder.path());
    let line = |path: &Path| serde_json::json!({"content": [{"type": "video", "video": path}]}).to_string();
    lines.extend(bad.iter().map(|(path, _)| line(path)));
    lines.push(line(&media("ntsc.mp4")));
    let inputs = folder.path().join("inputs.jsonl");
    // With a byte order mark in front, as editors write it.
    let mut bytes = format!("\u{feff}{}", lines.join("\n")).into_bytes();
    bytes.extend(b"\n{\"id\": \"\xff\"}\n");
    std::fs::write(&inputs, bytes).unwrap();

    let model = model();
    let output = gve(&["embed", "--model", text(&model), "--input", text(&inputs)]);
    assert_status(&output, 2);
    let ids: Vec<Value> = json_lines(&output).into_iter().map(|line| line["id"].clone()).collect();
    assert_eq!(ids, ["first".to_owned(), format!("{}:{}", inputs.display(), lines.len())]);
    let errors = stderr(&output);
    assert_eq!(errors.lines().count(), 4 + bad.len(), "{errors}");
    let not_utf8 = format!("inputs.jsonl:{}: not UTF-8", lines.len() + 1);
    for named in [&not_utf8, "inputs.jsonl:2", "inputs.jsonl:3", "inputs.jsonl:4", "`txt`"] {
        assert!(errors.contains(named), "{named}: {errors}");
    }
    for (path, _) in &bad {
        assert!(errors.contains(text(path)), "{errors}");
    }

    // Where nothing can be embedded, what was there stays.
    let (out, none) = (folder.path().join("out.npy"), folder.path().join("none.jsonl"));
    std::fs::write(&none, "{ this is no JSON\n").unwrap();
    std::fs::write(&out, "older").unwrap();
    let into = ["embed", "--model", text(&model), "--out", text(&out), "--format", "npy", "--input"];
    assert_status(&gve(&[&into[..], &[text(&none)]].concat()), 1);
    assert_eq!(std::fs::read(&out).unwrap(), b"older");
    assert_status(&gve(&[&into[..], &[text(folder.path())]].concat()), 1);
}

/// A program may write an input only when it has read the answer to the one before.
#[test]
fn inputs_are_answered_as_they_come() {
    use std::io::{BufRead, BufReader, Write};

    let model = model();
    let mut child = command(&["embed", "--model", text(&model), "--input", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, answers) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map(Result::unwrap).try_for_each(|line| sender.send(line)));
    for id in ["a", "b", "c"] {
        writeln!(input, r#"{{"id": "{id}", "content": [{{"type": "text", "text": "a dog"}}]}}"#).unwrap();
        let answer = answers.recv_timeout(Duration::from_secs(60)).unwrap_or_else(|_| {
            child.kill().unwrap();
            panic!("no answer to {id} before the next input");
        });
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["id"], id);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn damage_in_the_middle_is_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.mp4");
    let mut bytes = std::fs::read(media("bunny.mp4")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 60_000].fill(0x55);
    std::fs::write(&path, bytes).unwrap();
    let model = model();
    let output = gve(&["embed", "--model", text(&model), "--video", text(&path)]);
    assert_status(&output, 0);
    assert_eq!(json_lines(&output).len(), 1);
    assert!(!stderr(&output).is_empty(), "it is reported");
    for line in stderr(&output).lines() {
        assert!(line.contains("warning") && line.contains("damaged.mp4"), "{line}");
    }
}

#[test]
fn mistaken_arguments_do_nothing() {
    let model = model();
    let model = text(&model);
    for (arguments, says) in [
        (vec!["embed", "--model", model], "nothing to embed"),
        (vec!["embed", "--model", "./nowhere", "--text", "a"], "nowhere"),
        (vec!["embed", "--model", model, "--text", "a", "--frames", "0"], "--frames"),
        (vec!["embed", "--model", model, "--text", "a", "--fps", "1", "--frames", "2"], "--fps"),
        (vec!["embed", "--model", model, "--text", "a", "--device", "gpu"], "cuda:N"),
        (vec!["embed", "--model", model, "--text", "a", "--device", "cuda"], "CUDA"),
        (vec!["embed", "--model", model, "--input", "nowhere.jsonl"], "nowhere.jsonl"),
        (vec!["search", "--library", "nowhere", "a"], "nowhere"),
        (vec!["embed", "--modle", model], "--modle"),
        (vec!["search", "a"], "not provided: --library <DIR>; --help"),
        (vec!["frames", text(&media("bunny.mp4")), "--start", "100"], "bunny.mp4: time range 100 s"),
    ] {
        let output = gve(&arguments);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(says), "{arguments:?}: {}", stderr(&output));
        assert_eq!(stderr(&output).lines().count(), 1, "{arguments:?}: {}", stderr(&output));
        assert_eq!(stdout(&output), "");
    }
    for subcommand in ["embed", "frames", "index", "search"] {
        let help = gve(&[subcommand, "--help"]);
        assert_status(&help, 0);
        assert!(stdout(&help).contains("Examples:"), "{subcommand}");
    }
}

#[test]
fn without_a_model_nano_is_used_and_says_so() {
    let cache = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| command(arguments).env("XDG_CACHE_HOME", cache.path()).output().unwrap();
    // Wherever that is: a folder that happens to bear the name does not stand in for it.
    std::fs::create_dir(cache.path().join("nano")).unwrap();
    let output = command(&["embed", "--text", "a red star", "--image", text(&media("rabbit.png"))])
        .env("XDG_CACHE_HOME", cache.path())
        .current_dir(cache.path())
        .output()
        .unwrap();
    assert_status(&output, 0);
    assert_eq!(json_lines(&output).len(), 2);
    let message = stderr(&output);
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("nano") && message.contains("Alibaba-NLP/GVE-3B"), "{message}");
    assert!(cache.path().join("gve").is_dir());

    std::fs::write(cache.path().join("nano/config.json"), "{}").unwrap();
    let output = command(&["embed", "--model", "nano", "--text", "a red star"])
        .env("XDG_CACHE_HOME", cache.path())
        .current_dir(cache.path())
        .output()
        .unwrap();
    assert_status(&output, 0);
    assert!(stderr(&output).contains("--model ./nano"), "{}", stderr(&output));

    let library = cache.path().join("library");
    assert_status(&run(&["index", text(&media("rabbit.png")), "--library", text(&library)]), 0);
    let output = run(&["search", "--library", text(&library), "a red star", "--json"]);
    assert_status(&output, 0);
    assert_eq!(json_lines(&output).len(), 1);
    assert!(!stderr(&output).contains("built-in"), "it is the library's own: {}", stderr(&output));
}

#[test]
fn frames_are_written_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let clip = media("ntsc.mp4");
    for (asked, expected) in [("7", 7), ("1", 1), ("1000", 90)] {
        let out = folder.path().join(asked);
        let output = gve(&["frames", text(&clip), "--frames", asked, "--out", text(&out), "--json"]);
        assert_status(&output, 0);
        let lines = json_lines(&output);
        assert_eq!(lines.len(), expected);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), expected);
        let first = image::open(out.join("frame_000.png")).unwrap();
        assert_eq!(lines[0]["index"], 0);
        assert_eq!(lines[0]["width"], first.width());
        assert_eq!(lines[0]["height"], first.height());
    }
}

#[test]
fn a_hub_model_is_fetched_once_and_used_offline() {
    let hub = FakeHub::serve_directory(&model());
    let home = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str], offline: &str| {
        command(arguments)
            .env("HF_ENDPOINT", &hub.endpoint)
            .env("HF_HOME", home.path())
            .env("HF_HUB_OFFLINE", offline)
            .output()
            .unwrap()
    };
    let embed = ["embed", "--model", ID, "--text", "a dog"];
    let online = run(&embed, "0");
    assert_status(&online, 0);
    assert!(!hub.take_requests().is_empty());
    let offline = run(&embed, "1");
    assert_status(&offline, 0);
    assert!(hub.take_requests().is_empty());
    assert_eq!(stdout(&online), stdout(&offline));
    let unreachable = command(&embed)
        .env("HF_ENDPOINT", "http://user:secret-word@127.0.0.1:1")
        .env("HF_HOME", home.path())
        .output()
        .unwrap();
    assert_status(&unreachable, 0);
    assert_eq!(stdout(&unreachable), stdout(&online));
    let said = stderr(&unreachable);
    assert!(
        said.lines().count() == 1 && said.contains("warning: cannot reach http://***@127.0.0.1:1"),
        "{said}"
    );

    let info = run(&["model", "info", "--model", ID, "--json"], "1");
    assert_status(&info, 0);
    assert_eq!(json_lines(&info)[0]["revision"], COMMIT);
    assert_eq!(json_lines(&info)[0]["dim"], 64);
    let unknown = run(&["embed", "--model", "acme/other", "--text", "a"], "1");
    assert_status(&unknown, 1);
    assert!(stderr(&unknown).contains("acme/other"));
}
