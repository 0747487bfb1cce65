//! Commands that are asked to stop, and commands whose results nobody reads.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use gve_test_support::files::text;
use gve_test_support::golden::{marked, media, model};
use gve_test_support::hub::{FakeHub, ID};
use gve_test_support::program::{assert_status, end_of, json_lines, stderr};
use serde_json::{Value, json};

use crate::program::{ask_to_stop, command, gve};

/// One line, beside the one of whoever takes a second to stop.
fn assert_said(said: &str, expected: &str) {
    let mut lines = said.lines().filter(|line| !line.contains("stopping once"));
    assert!(lines.next().is_some_and(|line| line.contains(expected)) && lines.next().is_none(), "{said}");
}

#[test]
fn indexing_stops_in_order_and_goes_on() {
    const FILES: u64 = 24;
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let folder = tempfile::tempdir().unwrap();
        let clips = folder.path().join("clips");
        fs::create_dir(&clips).unwrap();
        for i in 0..FILES {
            fs::write(clips.join(format!("{i:02}.mp4")), marked("bunny.mp4", i)).unwrap();
        }
        let (library, model) = (folder.path().join("library"), model());
        let arguments =
            ["index", text(&clips), "--library", text(&library), "--model", text(&model), "--json"];
        let child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for_segment(&library.join("segments"));
        ask_to_stop(&child, signal);
        let stopped = end_of(child);
        assert_status(&stopped, 2);
        let said = stderr(&stopped);
        assert_said(&said, "stopped");
        let added = json_lines(&stopped)[0]["added"].as_u64().unwrap();
        assert!(added > 0 && added < FILES, "{added}");

        let resumed = gve(&arguments);
        assert_status(&resumed, 0);
        let summary = &json_lines(&resumed)[0];
        assert_eq!(summary["unchanged"], added, "all that was told of is on disk");
        assert_eq!(summary["added"], FILES - added);
    }
}

fn wait_for_segment(segments: &Path) {
    let deadline = Instant::now() + Duration::from_secs(120);
    let finished = |path: &Path| path.extension().is_some_and(|extension| extension == "parquet");
    while !fs::read_dir(segments).is_ok_and(|files| files.flatten().any(|file| finished(&file.path()))) {
        assert!(Instant::now() < deadline, "no segment was written");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// While it waits for the next input, too.
#[test]
fn embedding_stops_in_order() {
    let (folder, model) = (tempfile::tempdir().unwrap(), model());
    let out = folder.path().join("out.jsonl");
    for out in [None, Some(text(&out))] {
        let mut arguments = vec!["embed", "--model", text(&model), "--input", "-"];
        arguments.extend(out.into_iter().flat_map(|out| ["--out", out]));
        let mut child = command(&arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        // The line that is at fault is answered last, so that the one before it is done by then.
        writeln!(input, r#"{{"id": "a", "content": [{{"type": "text", "text": "a dog"}}]}}"#).unwrap();
        writeln!(input, "no input").unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let fault = said.next().unwrap().unwrap();
        assert!(fault.contains("-:2"), "{fault}");
        ask_to_stop(&child, libc::SIGINT);
        let output = end_of(child);
        assert_status(&output, 2);
        let rest: Vec<String> = said.map(Result::unwrap).collect();
        assert_said(&rest.join("\n"), "stopped: 1 input is embedded");
        let results = match out {
            None => String::from_utf8(output.stdout).unwrap(),
            Some(out) => fs::read_to_string(out).unwrap(),
        };
        let lines: Vec<Value> = results.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0]["id"], "a");
        drop(input);
    }
}

#[cfg(feature = "video")]
#[test]
fn frames_stop_in_order() {
    let out = tempfile::tempdir().unwrap();
    let arguments = ["frames", text(&media("bunny.mp4")), "--frames", "999", "--out", text(out.path())]
        .map(str::to_owned);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    ask_to_stop(&child, libc::SIGINT);
    let given = 1 + lines.count();
    let stopped = end_of(child);
    assert_status(&stopped, 2);
    let said = stderr(&stopped);
    assert_said(&said, &format!("stopped: {given} of "));
    let files: Vec<_> = fs::read_dir(out.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), given);
    files.iter().for_each(|file| drop(image::open(file).unwrap()));
}

/// The tiny model's settings with weights that are holes in a file: they take no room, and time to convert.
fn large_model(folder: &Path) {
    const TENSORS: usize = 256;
    const TENSOR_BYTES: usize = 8 << 20;
    fs::create_dir(folder).unwrap();
    for entry in fs::read_dir(model()).unwrap().map(Result::unwrap) {
        if !text(&entry.path()).contains(".safetensors") {
            fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
        }
    }
    let tensor = |i: usize| {
        let offsets = [i * TENSOR_BYTES, (i + 1) * TENSOR_BYTES];
        let tensor = json!({"dtype": "F32", "shape": [TENSOR_BYTES / 4], "data_offsets": offsets});
        (format!("zeros.{i}"), tensor)
    };
    let header = Value::Object((0..TENSORS).map(tensor).collect()).to_string();
    // What is mapped is read as f32.
    let header = format!("{header:0$}", header.len().next_multiple_of(8));
    let mut file = File::create(folder.join("model.safetensors")).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + TENSORS * TENSOR_BYTES) as u64).unwrap();
}

#[test]
fn converting_stops_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let (large, out) = (folder.path().join("large"), folder.path().join("out"));
    large_model(&large);
    let convert = ["model", "convert", "--model", text(&large), "--dtype", "bf16", "--out", text(&out)];
    let child = command(&convert).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let others = || {
        let files = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| *path != large).collect::<Vec<_>>()
    };
    let deadline = Instant::now() + Duration::from_secs(120);
    while !others().iter().any(|begun| begun.join("model.safetensors").exists()) {
        assert!(Instant::now() < deadline, "nothing is written");
        std::thread::sleep(Duration::from_millis(1));
    }
    ask_to_stop(&child, libc::SIGINT);
    let stopped = end_of(child);
    assert_status(&stopped, 2);
    let said = stderr(&stopped);
    assert_said(&said, "stopped: nothing");
    assert!(others().is_empty(), "{:?}", others());
}

#[test]
fn a_reader_that_goes_away_is_no_fault() {
    let (model, clip, folder) = (model(), media("ntsc.mp4"), tempfile::tempdir().unwrap());
    let library = folder.path().join("library");
    let index = ["index", text(&clip), "--library", text(&library), "--model", text(&model)];
    let run = |arguments: &[&str]| {
        let mut child = command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        end_of(child)
    };
    for arguments in [
        &index[..],
        &["search", "--library", text(&library), "a dog"],
        &["embed", "--model", text(&model), "--text", "a", "--text", "b"],
        &["frames", text(&clip), "--frames", "999"],
        &["model", "info", "--model", text(&model)],
        &["--help"],
    ] {
        let output = run(arguments);
        assert_status(&output, 0);
        assert_eq!(stderr(&output), "", "{arguments:?}");
    }
}

/// A disk that is full is another matter than a reader that has seen enough.
#[cfg(target_os = "linux")]
#[test]
fn results_that_cannot_be_written_are_an_error() {
    let (model, clip) = (model(), media("ntsc.mp4"));
    for arguments in
        [&["embed", "--model", text(&model), "--text", "a"][..], &["frames", text(&clip)], &["--help"]]
    {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = command(arguments).stdout(full).output().unwrap();
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(said.lines().count() == 1 && said.contains("standard output"), "{arguments:?}: {said}");
    }
}

#[test]
fn a_download_stops_in_order_and_goes_on() {
    let rows: String =
        (0..20_000).map(|i| format!("{{\"anchor\": \"a{i}\", \"positive\": \"b{i}\"}}\n")).collect();
    let hub = FakeHub::serve([("train.jsonl".to_owned(), rows.into_bytes())].into());
    hub.faults.lock().unwrap().slow = true;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("pairs.jsonl");
    let source = format!("hf://datasets/{ID}");
    let begin = || {
        let mut import = command(&["pairs", "import", "auto", &source, "--out", text(&out)]);
        import.env("HF_ENDPOINT", &hub.endpoint).env("HF_HOME", folder.path());
        import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let blobs = folder.path().join(format!("hub/datasets--{}/blobs", ID.replace('/', "--")));
    let arrived = || {
        // Not the lock beside, which names its holder.
        let files = fs::read_dir(&blobs).into_iter().flatten().flatten();
        let mut partial = files.filter(|file| file.path().extension().is_some_and(|ending| ending == "part"));
        partial.next().and_then(|file| Some(file.metadata().ok()?.len())).unwrap_or(0)
    };
    let child = begin();
    let deadline = Instant::now() + Duration::from_secs(120);
    while arrived() == 0 {
        assert!(Instant::now() < deadline, "nothing arrived");
        std::thread::sleep(Duration::from_millis(5));
    }
    ask_to_stop(&child, libc::SIGINT);
    let stopped = end_of(child);
    assert_status(&stopped, 2);
    assert_said(&stderr(&stopped), "stopped: what was downloaded is kept");
    let kept = arrived();
    assert!(kept > 0 && !out.exists());
    hub.faults.lock().unwrap().slow = false;
    hub.take_requests();
    assert_status(&end_of(begin()), 0);
    let resumed = hub.take_requests().iter().any(|request| request.ends_with(&format!(" {kept}-")));
    assert!(resumed && out.exists());
}
