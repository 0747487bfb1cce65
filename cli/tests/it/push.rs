//! `gve model push` against a hub of our own on a loopback address.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, model};
use gve_test_support::program::{assert_status, stderr, stdout};
use gve_test_support::push_hub::{PushHub, Seen, TOKEN};
use serde_json::Value;

use crate::program::{command, gve};

const ID: &str = "acme/pushed";
/// The test checkpoint's weights go in parts.
const PART: usize = 100_000;
/// One of its files.
const WEIGHTS: &str = "model-00001-of-00004.safetensors";

/// A copy of the test checkpoint, with a card, and with what is not to be sent.
fn checkpoint(folder: &Path) -> std::path::PathBuf {
    let directory = folder.join("model");
    fs::create_dir(&directory).unwrap();
    for entry in fs::read_dir(model()).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, directory.join(path.file_name().unwrap())).unwrap();
    }
    let put = |name: &str, content: &str| {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put("README.md", "---\nlicense: apache-2.0\n---\n# A model\n");
    put("1_Pooling/config.json", "{}");
    put("optimizer.safetensors", "state");
    put("checkpoints/step-1/state.json", "state");
    put(".env", "HF_TOKEN=hf_secret");
    put("empty.txt", "");
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/hostname", directory.join("link.txt")).unwrap();
    directory
}

fn pushing(hub: &PushHub, folder: &Path, directory: &Path, more: &[&str]) -> Command {
    let mut command = command(&[&["model", "push", text(directory), ID], more].concat());
    // As secrets that are mounted have it.
    let token = format!("{TOKEN}\n");
    command.env("HF_ENDPOINT", &hub.endpoint).env("HF_TOKEN", token).env("HF_HOME", folder.join("cache"));
    command
}

fn push(hub: &PushHub, folder: &Path, directory: &Path, more: &[&str]) -> Output {
    pushing(hub, folder, directory, more).output().unwrap()
}

fn shown(seen: &[Seen]) -> Vec<String> {
    seen.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

fn count(seen: &[Seen], method: &str) -> usize {
    seen.iter().filter(|seen| seen.method == method).count()
}

#[test]
fn a_model_is_pushed_once_and_loads_from_there() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());

    // Dry: the hub is asked, and told nothing.
    let output = push(&hub, folder.path(), &directory, &["--private"]);
    assert_status(&output, 0);
    let seen = hub.take_seen();
    assert!(
        !seen.is_empty() && seen.iter().all(|seen| seen.method == "GET" && seen.body.is_empty()),
        "{:?}",
        shown(&seen)
    );
    assert_eq!(hub.commits(ID), None);
    let said = stdout(&output);
    for part in [
        "acme/pushed, branch main, a new private repository",
        "send  model-00001-of-00004.safetensors",
        "large file storage",
        "send  1_Pooling/config.json",
        "not   optimizer.safetensors: it is a state of training",
        "not   checkpoints: it holds states of training",
        "not   .env: it may hold a secret",
        "nothing was sent: --yes sends it",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    #[cfg(unix)]
    assert!(said.contains("not   link.txt: it is a link"), "{said}");

    let output = push(&hub, folder.path(), &directory, &["--private", "--yes", "--message", "The first"]);
    assert_status(&output, 0);
    assert!(!(stdout(&output) + &stderr(&output)).contains(TOKEN));
    assert_eq!(hub.commits(ID), Some((vec!["initial commit".to_owned(), "The first".to_owned()], true)));
    let files = hub.files(ID, "main");
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert!(names.contains(&"1_Pooling/config.json") && names.contains(&"empty.txt"), "{names:?}");
    for (name, bytes) in files.iter().filter(|(name, _)| *name != ".gitattributes") {
        assert!(*bytes == fs::read(directory.join(name)).unwrap(), "{name}");
    }
    for never in [".env", "optimizer.safetensors", "checkpoints/step-1/state.json", "link.txt"] {
        assert!(!names.contains(&never), "{never}");
    }
    let seen = hub.take_seen();
    let weights = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
    let parts: usize = weights.map(|(_, bytes)| bytes.len().div_ceil(PART)).sum();
    assert_eq!((count(&seen, "PUT"), parts > 4), (parts, true), "the weights go in parts");
    assert_eq!(seen.iter().filter(|seen| seen.path.contains("/commit/")).count(), 1);

    // Unchanged: nothing is sent. Changed: that alone.
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("are there already, nothing was sent"), "{}", stdout(&output));
    assert!(hub.take_seen().iter().all(|seen| seen.method == "GET"));
    fs::write(directory.join("README.md"), "# Another\n").unwrap();
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("1 file in commit"), "{}", stdout(&output));
    let seen = hub.take_seen();
    assert_eq!(count(&seen, "PUT"), 0);
    let commit = seen.iter().find(|seen| seen.path.contains("/commit/")).unwrap();
    assert_eq!(String::from_utf8_lossy(&commit.body).lines().count(), 2, "a head and a file");
    assert_eq!(hub.files(ID, "main")["README.md"], b"# Another\n");

    // And back.
    let mut embed = command(&["embed", "--text", "a dog runs", "--model", ID]);
    embed
        .env("HF_ENDPOINT", &hub.endpoint)
        .env("HF_TOKEN", TOKEN)
        .env("HF_HOME", folder.path().join("cache"));
    let there = embed.output().unwrap();
    assert_status(&there, 0);
    let here = gve(&["embed", "--text", "a dog runs", "--model", text(&directory)]);
    let embedding = |output: &Output| {
        serde_json::from_str::<Value>(stdout(output).lines().next().unwrap()).unwrap()["embedding"].clone()
    };
    assert_eq!(embedding(&there), embedding(&here));
    assert!(embedding(&here).is_array(), "{}", stdout(&here));
}

#[test]
fn a_push_that_breaks_off_changes_nothing_and_goes_on() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    fs::copy(directory.join(WEIGHTS), directory.join("second.safetensors")).unwrap();
    let mut bytes = fs::read(directory.join("second.safetensors")).unwrap();
    bytes.truncate(PART / 2);
    fs::write(directory.join("second.safetensors"), &bytes).unwrap();

    // The storage has the one and refuses the confirmation of the other: its parts are there, the commit is not.
    hub.faults.lock().unwrap().refusals = vec![("POST /complete/", 403, "<h1>expired</h1>", 1)];
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("status 403") && stderr(&output).contains("/complete/"),
        "{}",
        stderr(&output)
    );
    assert_eq!(hub.commits(ID).unwrap().0, ["initial commit"]);
    hub.take_seen();

    // Connections that break, and answers that may pass, are tried again.
    {
        let mut faults = hub.faults.lock().unwrap();
        faults.dropped_puts = 1;
        faults.refusals =
            vec![("POST /api/models/acme/pushed/preupload", 503, "", 1), ("PUT /store", 500, "", 1)];
    }
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 0);
    let files = hub.files(ID, "main");
    assert!(
        files["second.safetensors"] == bytes && files[WEIGHTS] == fs::read(directory.join(WEIGHTS)).unwrap()
    );

    // What the storage has is not sent again, though no commit named it.
    let weights = |name: &str, byte: u8| fs::write(directory.join(name), vec![byte; PART / 2]).unwrap();
    weights("second.safetensors", 1);
    hub.faults.lock().unwrap().refusals =
        vec![("POST /api/models/acme/pushed/commit", 500, "{\"error\": \"down\"}", 1)];
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("status 500, \"down\"") && stderr(&output).contains("push again"),
        "{}",
        stderr(&output)
    );
    assert!(count(&hub.take_seen(), "PUT") > 0);
    assert!(hub.files(ID, "main")["second.safetensors"] == bytes, "nothing half");
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 0);
    assert_eq!(count(&hub.take_seen(), "PUT"), 0);
    assert_eq!(hub.files(ID, "main")["second.safetensors"], vec![1; PART / 2]);
}

#[test]
fn branches_are_made_and_other_peoples_commits_are_not_written_over() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    let output = push(&hub, folder.path(), &directory, &["--yes", "--revision", "exp/1"]);
    assert_status(&output, 0);
    assert!(stdout(&output).contains("new branch exp/1"), "{}", stdout(&output));
    assert_eq!((hub.files(ID, "main").len(), hub.files(ID, "exp/1").contains_key("config.json")), (1, true));
    hub.faults.lock().unwrap().rival_commits = 1;
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("A commit has happened since.") && stderr(&output).contains("push again"),
        "{}",
        stderr(&output)
    );
    let files = hub.files(ID, "main");
    assert!(files.contains_key("theirs.txt") && !files.contains_key("config.json"), "{:?}", files.keys());
    let output = push(&hub, folder.path(), &directory, &["--yes"]);
    assert_status(&output, 0);
    let files = hub.files(ID, "main");
    assert!(files.contains_key("theirs.txt") && files.contains_key("config.json"), "{:?}", files.keys());
}

#[test]
fn what_is_not_sent_is_told_and_what_is_told_in_json_is_what_came_of_it() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    fs::write(directory.join("ignored.txt"), "x").unwrap();
    let told = |more: &[&str], status: i32| -> Value {
        let output = push(&hub, folder.path(), &directory, &[&["--json"], more].concat());
        assert_status(&output, status);
        let is_warned =
            stderr(&output).contains("ignored.txt was not sent: .gitignore of acme/pushed has it");
        assert_eq!(is_warned, status != 0, "{}", stderr(&output));
        serde_json::from_str(&stdout(&output)).unwrap()
    };
    let dry = told(&[], 0);
    assert_eq!((&dry["new"], &dry["sent"], &dry["commit"]), (&true.into(), &false.into(), &Value::Null));
    let config = |told: &Value| {
        let files = told["files"].as_array().unwrap().iter();
        files
            .filter(|file| file["name"] == "config.json")
            .map(|file| file["there"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(config(&dry), [false]);
    assert!(dry["left_out"].as_array().unwrap().iter().any(|file| file["name"] == ".env"), "{dry}");
    let sent = told(&["--yes"], 2);
    assert_eq!((&sent["sent"], sent["commit"].is_string()), (&true.into(), true));
    assert_eq!(sent["ignored"], serde_json::json!(["ignored.txt"]));
    // All of it is there but what is not taken.
    let again = told(&["--yes"], 2);
    assert_eq!((&again["sent"], &again["commit"]), (&false.into(), &Value::Null));
    assert_eq!(config(&again), [true]);

    // The repository is there, and public.
    let output = push(&hub, folder.path(), &directory, &["--private"]);
    assert!(stderr(&output).contains("is there and public"), "{}", stderr(&output));
    let output = push(&hub, folder.path(), &directory, &["--private", "--yes"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("was to be private"), "{}", stderr(&output));
    assert_eq!(hub.commits(ID).unwrap().0.len(), 2);
}

#[test]
fn refusals_name_the_address_the_status_and_what_to_do() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    let output =
        pushing(&hub, folder.path(), &directory, &["--yes"]).env_remove("HF_TOKEN").output().unwrap();
    assert_status(&output, 1);
    assert!(stderr(&output).contains("takes a token that may write"), "{}", stderr(&output));
    assert!(hub.take_seen().iter().all(|seen| seen.method == "GET"));

    let bad = "hf_bad_secret_token";
    let output = pushing(&hub, folder.path(), &directory, &["--yes"]).env("HF_TOKEN", bad).output().unwrap();
    assert_status(&output, 1);
    let said = stderr(&output);
    assert!(
        said.contains("401")
            && said.contains("does not know the token")
            && said.contains(&hub.endpoint)
            && !said.contains(bad),
        "{said}"
    );
    assert_eq!(hub.commits(ID), None);

    for (place, status, body, says) in [
        (
            "POST /api/repos/create",
            403,
            "{\"error\": \"You don't have the rights\"}",
            "the token may not write to acme",
        ),
        ("PUT /store/", 403, "<Error>AccessDenied</Error>", "what the storage opened has closed again"),
        ("POST /api/models/acme/pushed/commit", 413, "", "more than the hub takes at once"),
        (
            "POST /api/models/acme/pushed/commit",
            400,
            "{\"error\": \"YAML metadata error\"}",
            "YAML metadata error",
        ),
        ("POST /api/models/acme/pushed/preupload", 404, "", "no such branch"),
        ("POST /acme/pushed.git/info/lfs", 422, "", "push again"),
    ] {
        hub.faults.lock().unwrap().refusals = vec![(place, status, body, 1)];
        let output = push(&hub, folder.path(), &directory, &["--yes"]);
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(
            said.contains(says) && said.contains(&status.to_string()) && said.contains("http://"),
            "{place}: {said}"
        );
        assert!(!said.contains(TOKEN) && !said.contains("sEcReT"), "{said}");
        assert_eq!(said.lines().filter(|line| line.contains("error")).count(), 1, "{said}");
    }
    let output = gve(&["model", "push", text(&directory), "no-owner"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("OWNER/NAME"), "{}", stderr(&output));
}

#[test]
fn what_others_cannot_load_is_not_pushed() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    fs::remove_file(directory.join(WEIGHTS)).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(model().join(WEIGHTS), directory.join(WEIGHTS)).unwrap();
    let output = push(&hub, folder.path(), &directory, &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains(&format!("it lacks {WEIGHTS}")), "{}", stderr(&output));
    #[cfg(unix)]
    assert!(stderr(&output).contains(&format!("{WEIGHTS} is left out: it is a link")), "{}", stderr(&output));
    let output = push(&hub, folder.path(), &folder.path().join("nowhere"), &[]);
    assert_status(&output, 1);
    fs::create_dir_all(folder.path().join("run/final")).unwrap();
    let output = push(&hub, folder.path(), &folder.path().join("run"), &[]);
    assert!(
        stderr(&output).contains("it is a run and no model: push") && stderr(&output).contains("final"),
        "{}",
        stderr(&output)
    );

    // An adapter of a folder: nobody else has it.
    let adapter = folder.path().join("adapter");
    let made = gve(&[
        "model",
        "adapter",
        "--adapter",
        text(&golden_dir().join("tiny-a/train/adapter_final")),
        "--out",
        text(&adapter),
    ]);
    assert_status(&made, 0);
    let settings = || fs::read_to_string(adapter.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&settings()).unwrap();
    config["base_model_name_or_path"] = "/home/me/models/base".into();
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    let before = settings();
    let output = push(&hub, folder.path(), &adapter, &["--yes"]);
    assert_status(&output, 1);
    assert!(
        stderr(&output).contains("/home/me/models/base") && stderr(&output).contains("--base OWNER/NAME"),
        "{}",
        stderr(&output)
    );
    assert!(hub.take_seen().is_empty());

    fs::write(adapter.join("README.md"), "---\nlicense: mit\n---\n# An adapter\n").unwrap();
    let output = push(&hub, folder.path(), &adapter, &["--yes", "--base", "acme/base"]);
    assert_status(&output, 0);
    let files = hub.files(ID, "main");
    let sent: Value = serde_json::from_slice(&files["adapter_config.json"]).unwrap();
    assert_eq!(sent["base_model_name_or_path"], "acme/base");
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    assert!(
        card.starts_with("---\nlicense: mit\nbase_model: acme/base\nbase_model_relation: adapter\n---\n"),
        "{card}"
    );
    assert_eq!(settings(), before, "the folder stays as it is");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_push_before_its_commit() {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    let directory = checkpoint(folder.path());
    // Tried again after a while, in which it is stopped.
    hub.faults.lock().unwrap().refusals = vec![("PUT /store", 503, "", 4)];
    let mut pushing = pushing(&hub, folder.path(), &directory, &["--yes"]);
    let child =
        pushing.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
    while hub.faults.lock().unwrap().refusals[0].3 == 4 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    crate::program::ask_to_stop(&child, libc::SIGINT);
    let output = gve_test_support::program::end_of(child);
    assert_status(&output, 2);
    assert!(stderr(&output).contains("stopped: nothing is committed"), "{}", stderr(&output));
    assert_eq!(hub.commits(ID).unwrap().0, ["initial commit"]);
}
