//! What may happen between a plan and its commit, against a hub of our own on a loopback address.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gve::CancelToken;
use gve::hub::{HubError, HubOptions, PushOptions, PushPlan, PushProgress, Pushed, plan_push, push};
use gve_test_support::golden::fixture_dirs;
use gve_test_support::push_hub::{PushHub, TOKEN};

const ID: &str = "acme/pushed";
const WEIGHTS: &str = "adapter_model.safetensors";
const PART: usize = 50_000;
const ADAPTER: &str =
    r#"{"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "acme/base"}"#;

/// A hub, and an adapter whose weights go there in four parts.
fn start() -> (Arc<PushHub>, tempfile::TempDir, PushOptions) {
    let (hub, folder) = (PushHub::start(PART), tempfile::tempdir().unwrap());
    for (name, content) in
        [("adapter_config.json", ADAPTER), ("README.md", "---\nlicense: mit\n---\n"), ("notes.txt", "notes")]
    {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let weights: Vec<u8> = (0..4 * PART).map(|place| (place % 251) as u8).collect();
    fs::write(folder.path().join(WEIGHTS), weights).unwrap();
    let options = HubOptions::default()
        .with_endpoint(Some(hub.endpoint.clone()))
        .with_token(Some(TOKEN.to_owned()))
        .with_timeout(Some(Duration::from_secs(5)));
    (hub, folder, PushOptions::default().with_hub(options))
}

fn quiet(_: PushProgress<'_>) {}

fn planned(folder: &Path, options: &PushOptions) -> PushPlan {
    plan_push(folder, ID, options, &CancelToken::new(), &mut quiet).unwrap()
}

fn pushed(plan: &PushPlan, options: &PushOptions) -> Result<Pushed, HubError> {
    push(plan, options, &CancelToken::new(), &mut quiet)
}

fn titles(hub: &PushHub) -> Vec<String> {
    hub.commits(ID).map(|(titles, _)| titles).unwrap_or_default()
}

#[test]
fn a_file_that_changes_meanwhile_is_not_pushed() {
    let (hub, folder, options) = start();
    let path = |name: &str| folder.path().join(name);
    let assert_changed = |pushed: Result<Pushed, HubError>, name: &str| {
        let error = pushed.unwrap_err();
        assert!(
            matches!(&error, HubError::FileChanged { path } if *path == folder.path().join(name)),
            "{error}"
        );
        assert!(titles(&hub).len() <= 1, "{:?}", titles(&hub));
    };
    let plan = planned(folder.path(), &options);
    fs::write(path("notes.txt"), "notes, and more").unwrap();
    assert_changed(pushed(&plan, &options), "notes.txt");

    let plan = planned(folder.path(), &options);
    fs::write(path(WEIGHTS), vec![7; 4 * PART]).unwrap();
    let later = SystemTime::now() + Duration::from_secs(1);
    fs::File::options().write(true).open(path(WEIGHTS)).unwrap().set_modified(later).unwrap();
    assert_changed(pushed(&plan, &options), WEIGHTS);

    // In the middle of a part, behind the last byte, and so that the rest is missing.
    let cut = |path: PathBuf| drop(fs::File::options().write(true).open(path).unwrap().set_len(PART as u64));
    let grow = |path: PathBuf| fs::write(path, vec![8; 5 * PART]).unwrap();
    for (at, change) in [(3 * PART / 2, &cut as &dyn Fn(PathBuf)), (4 * PART, &grow)] {
        fs::write(path(WEIGHTS), vec![at as u8; 4 * PART]).unwrap();
        let plan = planned(folder.path(), &options);
        let mut is_due = true;
        let mut watch = |progress: PushProgress<'_>| {
            if progress.is_sent && progress.done_bytes >= at as u64 && std::mem::take(&mut is_due) {
                change(path(WEIGHTS));
            }
        };
        assert_changed(push(&plan, &options, &CancelToken::new(), &mut watch), WEIGHTS);
        assert!(hub.take_seen().iter().all(|seen| !seen.path.starts_with("/complete/")));
    }
}

#[test]
fn what_the_repository_ignores_is_named_and_makes_no_commit() {
    let (hub, folder, options) = start();
    fs::write(folder.path().join("ignored.txt"), "x").unwrap();
    let done = pushed(&planned(folder.path(), &options), &options).unwrap();
    assert_eq!((done.files, done.ignored.as_slice()), (4, &["ignored.txt".to_owned()][..]));
    assert!(!hub.files(ID, "main").contains_key("ignored.txt"));
    assert_eq!(titles(&hub).len(), 2);
    let done = pushed(&planned(folder.path(), &options), &options).unwrap();
    assert_eq!((done.commit, done.files, done.ignored.len()), (None, 0, 1));
    assert_eq!(titles(&hub).len(), 2, "nothing was left to commit");
}

#[test]
fn a_commit_may_take_its_time_and_its_answer_may_be_lost() {
    let (hub, folder, options) = start();
    let hub_options = options.hub.clone().with_timeout(Some(Duration::from_millis(1500)));
    let options = options.with_hub(hub_options);
    hub.faults.lock().unwrap().slow =
        Some(("POST /api/models/acme/pushed/commit/", Duration::from_millis(3500)));
    pushed(&planned(folder.path(), &options), &options).unwrap();
    hub.faults.lock().unwrap().slow = Some(("POST /complete/", Duration::from_millis(3500)));
    fs::write(folder.path().join(WEIGHTS), vec![1; 2 * PART]).unwrap();
    pushed(&planned(folder.path(), &options), &options).unwrap();
    hub.faults.lock().unwrap().slow = None;

    hub.faults.lock().unwrap().lost_commits = 2;
    fs::write(folder.path().join("notes.txt"), "others").unwrap();
    let done = pushed(&planned(folder.path(), &options), &options).unwrap();
    assert_eq!(hub.files(ID, "main")["notes.txt"], b"others");
    assert!(done.commit.is_some() && done.files == 1, "{done:?}");
    assert_eq!(planned(folder.path(), &options).changed().count(), 0);
    // Somebody else's commit is none of ours.
    fs::write(folder.path().join("notes.txt"), "yet others").unwrap();
    let plan = planned(folder.path(), &options);
    hub.faults.lock().unwrap().rival_commits = 1;
    let error = pushed(&plan, &options).unwrap_err();
    assert!(matches!(error, HubError::PushInterrupted { .. }), "{error}");
    assert!(error.to_string().contains("whether it was committed is not known"), "{error}");
}

#[test]
fn what_somebody_else_makes_meanwhile_is_not_taken_for_ours() {
    let (hub, folder, options) = start();
    let plan = planned(folder.path(), &options);
    hub.create(ID, false);
    let error = pushed(&plan, &options).unwrap_err();
    assert!(matches!(error, HubError::PushRefused { status: 409, .. }), "{error}");
    assert!(
        error.to_string().contains("somebody else") && error.to_string().contains("push again"),
        "{error}"
    );
    assert_eq!(titles(&hub), ["initial commit"]);

    let plan = planned(folder.path(), &options);
    hub.faults.lock().unwrap().rival_commits = 1;
    let error = pushed(&plan, &options).unwrap_err();
    assert!(matches!(error, HubError::PushRefused { status: 412, .. }), "{error}");
    assert_eq!(titles(&hub), ["initial commit", "Somebody else's"]);
    pushed(&planned(folder.path(), &options), &options).unwrap();
    assert_eq!(hub.files(ID, "main")["theirs.txt"], b"theirs");
}

#[test]
fn what_is_to_be_private_goes_into_no_public_repository() {
    let (hub, folder, options) = start();
    let options = options.with_private(Some(true));
    hub.faults.lock().unwrap().makes_public = true;
    // Of an owner one is made at a time.
    let busy = r#"{"error": "Cannot create repo: another conflicting operation is in progress"}"#;
    hub.faults.lock().unwrap().refusals = vec![("POST /api/repos/create", 409, busy, 1)];
    let error = pushed(&planned(folder.path(), &options), &options).unwrap_err();
    assert!(matches!(error, HubError::NotPrivate { .. }), "{error}");
    let plan = planned(folder.path(), &options);
    assert!(plan.warnings.iter().any(|warning| warning.contains("there and public")), "{:?}", plan.warnings);
    let error = pushed(&plan, &options).unwrap_err();
    assert!(matches!(error, HubError::NotPrivate { .. }), "{error}");
    assert_eq!(hub.commits(ID), Some((vec!["initial commit".to_owned()], false)));
    assert!(hub.take_seen().iter().all(|seen| seen.method != "PUT"));
}

#[test]
fn an_object_is_sent_once_and_asked_for_just_before() {
    let (hub, folder, options) = start();
    fs::copy(folder.path().join(WEIGHTS), folder.path().join("equal.safetensors")).unwrap();
    fs::write(folder.path().join("small.safetensors"), "small").unwrap();
    let done = pushed(&planned(folder.path(), &options), &options).unwrap();
    assert_eq!((done.files, done.stored_bytes), (6, 4 * PART as u64 + 5));
    let (mut asked, mut puts) = (String::new(), 0);
    let seen = hub.take_seen();
    assert_eq!(seen.iter().filter(|seen| seen.path.starts_with("/verify/")).count(), 2);
    for seen in seen {
        if seen.path.ends_with("/batch") {
            let body: serde_json::Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!(body["objects"].as_array().unwrap().len(), 1);
            asked = body["objects"][0]["oid"].as_str().unwrap().to_owned();
        } else if seen.method == "PUT" {
            puts += 1;
            assert!(seen.path.contains(&asked), "{} of {asked}", seen.path);
        }
    }
    assert_eq!(puts, 5);
    assert_eq!(hub.files(ID, "main")["equal.safetensors"].len(), 4 * PART);
}

#[test]
fn errors_of_a_push_speak_of_the_push() {
    let (hub, folder, options) = start();
    let preupload = "POST /api/models/acme/pushed/preupload";
    let card = folder.path().join("README.md");
    for (place, status, body, says) in [
        ("POST /api/repos/create", 307, "", "give the new name"),
        ("POST /api/repos/create", 400, "no such organization", "push again later, or ask the hub"),
        (preupload, 200, "<html>", "does not answer as a hub does"),
        (
            preupload,
            200,
            r#"{"files": [{"path": "notes.txt", "uploadMode": "drone"}]}"#,
            "unknown variant `drone`",
        ),
        ("POST /api/models/acme/pushed/commit", 500, "", "push again, what is there is not sent again"),
        ("POST /api/models/acme/pushed/commit", 400, "license", "README.md's head"),
    ] {
        hub.faults.lock().unwrap().refusals = vec![(place, status, body, 1)];
        let plan = planned(folder.path(), &options);
        let said = pushed(&plan, &options).unwrap_err().to_string();
        assert!(said.starts_with("cannot push to acme/pushed") && said.contains(says), "{place}: {said}");
        assert!(!said.contains("fetch") && !said.contains("download"), "{said}");
    }
    // A card is judged before anything is sent.
    fs::write(card, "---\nlicense: none\n---\n").unwrap();
    hub.take_seen();
    let said = pushed(&planned(folder.path(), &options), &options).unwrap_err().to_string();
    assert!(said.contains("must be one of") && said.contains("README.md's head"), "{said}");
    let seen = hub.take_seen();
    let posts: Vec<&str> =
        seen.iter().filter(|seen| seen.method != "GET").map(|seen| seen.path.as_str()).collect();
    assert_eq!(posts, ["/api/validate-yaml"]);
    // A hub that judges none is no worse.
    hub.faults.lock().unwrap().refusals = vec![("POST /api/validate-yaml", 404, "", 1)];
    pushed(&planned(folder.path(), &options), &options).unwrap();
}

#[test]
fn adapters_and_cards_that_cannot_be_read_are_refused_with_a_base_too() {
    let (hub, folder, options) = start();
    let options = options.with_base(Some("acme/other".to_owned()));
    let put = |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
    let refused = || {
        let plan = plan_push(folder.path(), ID, &options, &CancelToken::new(), &mut quiet);
        let error = plan.unwrap_err();
        assert!(matches!(error, HubError::NotPushable { .. }), "{error}");
        error.to_string()
    };
    for (config, says) in [
        ("[]", "expected an object"),
        ("\"text\"", "expected an object"),
        ("7", "expected an object"),
        (r#"{"peft_type": "IA3"}"#, "expected \"LORA\""),
        (r#"{"peft_type": "LORA", "lora_alpha": 4}"#, "r must be"),
    ] {
        put("adapter_config.json", config.as_bytes());
        let said = refused();
        assert!(said.contains("adapter_config.json") && said.contains(says), "{config}: {said}");
    }
    put("adapter_config.json", ADAPTER.as_bytes());
    put("README.md", b"---\nlicense: mit\n---\n\xe9");
    assert!(refused().contains("README.md is no text in UTF-8"), "{}", refused());
    assert!(hub.take_seen().is_empty());
    put("README.md", "\u{feff}---\nbase_model: /home/me/x\nbase_model_relation: quantized\n---\n".as_bytes());
    pushed(&planned(folder.path(), &options), &options).unwrap();
    let files = hub.files(ID, "main");
    let card = String::from_utf8(files["README.md"].clone()).unwrap();
    assert_eq!(card, "---\nbase_model: acme/other\nbase_model_relation: quantized\n---\n");
    let config: serde_json::Value = serde_json::from_slice(&files["adapter_config.json"]).unwrap();
    assert_eq!((&config["base_model_name_or_path"], &config["r"]), (&"acme/other".into(), &2.into()));

    // A whole model says its base in the card alone.
    for name in ["README.md", "adapter_config.json", WEIGHTS] {
        fs::remove_file(folder.path().join(name)).unwrap();
    }
    let model = fixture_dirs()[0].join("model");
    for entry in fs::read_dir(model).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let warnings = planned(folder.path(), &options).warnings;
    assert!(
        warnings.iter().any(|warning| warning.contains("to name the base acme/other in")),
        "{warnings:?}"
    );
}

#[test]
fn options_show_no_token() {
    let (_, _, options) = start();
    let shown = format!("{options:?}");
    assert!(!shown.contains(TOKEN) && shown.contains("token: Some(\"***\")"), "{shown}");
}
