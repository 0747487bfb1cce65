//! Runs that end too early, and runs that go on.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gve::CancelToken;
use gve::train::{Finish, Start, TrainConfig, TrainEvent, Trainer};
use gve_test_support::golden::golden_dir;
use serde_json::Value;

use super::{Bench, FULL, assert_refused, assert_status, run, stderr, train};

#[test]
fn a_killed_run_ends_with_the_adapter_of_one_that_was_not() {
    a_killed_run_ends_as_one_that_was_not(&[]);
}

#[test]
fn a_killed_run_ends_with_the_weights_of_one_that_was_not() {
    a_killed_run_ends_as_one_that_was_not(&FULL);
}

fn a_killed_run_ends_as_one_that_was_not(trained: &[(&str, &str)]) {
    let bench = Bench::new();
    assert_status(&run(&bench.config("straight", trained), &["--quiet"]), 0);

    let config = bench.config("killed", trained);
    for least in ["step-00000003", "step-00000015"] {
        let mut child = train(&config, &["--resume", "auto"]).stderr(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while bench.checkpoints("killed").last().is_none_or(|last| last.as_str() < least) {
            assert!(Instant::now() < deadline, "no checkpoint was written");
            std::thread::sleep(Duration::from_millis(2));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!bench.path("killed").join("final").exists(), "the run ended before it could be killed");
    }
    assert_status(&run(&config, &["--resume", "auto"]), 0);
    assert!(bench.final_weights("killed") == bench.final_weights("straight"), "the weights differ");
    assert_eq!(bench.log("killed"), bench.log("straight"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_at_a_checkpoint() {
    let bench = Bench::new();
    assert_status(&run(&bench.config("straight", &[]), &["--quiet"]), 0);
    let config = bench.config("stopped", &[("checkpoint.every_steps", "1000")]);
    let child = train(&config, &[]).stderr(Stdio::piped()).spawn().unwrap();
    let log = bench.path("stopped").join("log.jsonl");
    let deadline = Instant::now() + Duration::from_secs(120);
    while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("\"step\",\"step\":4")) {
        assert!(Instant::now() < deadline, "no step was logged");
        std::thread::sleep(Duration::from_millis(2));
    }
    // SAFETY: the child is ours and has not been waited for, so the id is still its own.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) }, 0);
    let output = child.wait_with_output().unwrap();
    assert_status(&output, 2);
    let saved = bench.checkpoints("stopped");
    assert_eq!(saved.len(), 1, "{}", stderr(&output));
    assert!(stderr(&output).contains(&saved[0]));
    let step: usize = saved[0].trim_start_matches("step-").parse().unwrap();
    let page = std::fs::read_to_string(bench.path("stopped").join("run.html")).unwrap();
    assert!(page.contains(&format!("step {step} of 24")), "{step}");
    let directory = bench.path("stopped").join("checkpoints").join(&saved[0]);
    assert_status(&run(&config, &["--resume", directory.to_str().unwrap()]), 0);
    assert!(bench.final_weights("stopped") == bench.final_weights("straight"), "the weights differ");
}

/// Asked to stop while it probes or mines, a run does so before the next input, and begins with that again.
#[test]
fn probing_and_mining_stop_on_request() {
    let bench = Bench::new();
    assert_status(&run(&bench.config("straight", &[]), &["--quiet"]), 0);
    let config = TrainConfig::load(&bench.config("stopped", &[])).unwrap();
    // Runs until `what` comes up for the `number`th time.
    let run_until = |what: &str, number: usize| {
        let trainer =
            Trainer::new(config.clone(), &golden_dir().join("tiny-a/model"), &Start::Newest).unwrap();
        let (cancel, mut seen) = (CancelToken::new(), 0);
        let finish = trainer.run(&cancel, &mut |event| match event {
            TrainEvent::Preparing(phase) if phase == what => {
                seen += 1;
                if seen == number {
                    cancel.cancel();
                }
            }
            _ => {}
        });
        finish.unwrap()
    };
    let checkpoint = |name: &str| Finish::Stopped(config.output.join("checkpoints").join(name));
    assert_eq!(run_until("probing the tasks", 1), checkpoint("step-00000000"));
    assert_eq!(run_until("mining hard negatives", 1), checkpoint("step-00000000"));
    let log = bench.log("stopped");
    assert!(
        log.iter().all(|line| line["step"] == 0 && line["event"] != "epoch"),
        "nothing has begun: {log:?}"
    );
    assert_eq!(run_until("mining hard negatives", 2), checkpoint("step-00000012"));
    assert_eq!(run_until("probing the tasks", 1), checkpoint("step-00000012"));
    assert_eq!(run_until("nothing", 1), Finish::Complete(config.output.join("final")));
    assert!(bench.final_weights("stopped") == bench.final_weights("straight"), "the weights differ");
    assert_eq!(bench.log("stopped"), bench.log("straight"));
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_intact() {
    let bench = Bench::new();
    assert_status(&run(&bench.config("straight", &[]), &["--quiet"]), 0);
    let config = bench.config("full", &[]);
    // A limit on the size of files fails writes as a full disk does; without the trap it would be a signal.
    let limited = |kilobytes: u64| {
        let script = format!("trap '' XFSZ; ulimit -f {kilobytes}; exec \"$0\" train \"$1\" --resume auto");
        let mut command = Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_gve")]).arg(&config);
        command.output().unwrap()
    };
    let nothing = limited(40);
    assert_refused(&nothing, &["best", "too large"]);
    assert_eq!(bench.checkpoints("full"), [""; 0]);

    // Stop a run on its way, and let the rest fail.
    let mut child = train(&config, &["--resume", "auto"]).stderr(Stdio::null()).spawn().unwrap();
    while bench.checkpoints("full").is_empty() {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = bench.checkpoints("full");
    assert_refused(&limited(40), &["checkpoints", "too large"]);
    assert_eq!(bench.checkpoints("full"), before);
    assert_status(&run(&config, &["--resume", "auto"]), 0);
    assert!(bench.final_weights("full") == bench.final_weights("straight"), "the weights differ");
}

#[test]
fn a_checkpoint_is_refused_with_other_settings_or_pairs() {
    let bench = Bench::new();
    let short = [("epochs", "1"), ("steps_per_epoch", "1")];
    assert_status(&run(&bench.config("run", &short), &["--quiet"]), 0);
    let other = bench.config("run", &[short[0], short[1], ("loss.temperature", "0.1")]);
    assert_refused(&run(&other, &["--resume", "auto"]), &["loss.temperature: 0.03 there, 0.1 here"]);
    let config = bench.config("run", &short);
    let pairs = bench.path("pairs.jsonl");
    let text = std::fs::read_to_string(&pairs).unwrap();
    std::fs::write(&pairs, text.lines().skip(1).collect::<Vec<_>>().join("\n")).unwrap();
    assert_refused(&run(&config, &["--resume", "auto"]), &["other pairs"]);
    let nowhere = bench.path("nowhere");
    std::fs::write(&pairs, text).unwrap();
    assert_refused(&run(&config, &["--resume", nowhere.to_str().unwrap()]), &["nowhere"]);
}

/// How much of a batch is in memory at once may change where that was too much: up to rounding the run goes
/// on as it would have. What a batch holds may not.
#[test]
fn a_run_goes_on_with_smaller_chunks() {
    let bench = Bench::new();
    let short = [
        ("epochs", "1"),
        ("steps_per_epoch", "4"),
        ("checkpoint.every_steps", "2"),
        ("checkpoint.keep", "9"),
    ];
    let with = |more: &[(&'static str, &'static str)]| bench.config("run", &[&short[..], more].concat());
    let losses = || -> Vec<f64> {
        let log = bench.log("run").into_iter().filter(|line| line["event"] == "step");
        log.map(|line| line["loss"].as_f64().unwrap()).collect()
    };
    assert_status(&run(&with(&[]), &["--quiet"]), 0);
    let whole = losses();

    let checkpoint = bench.path("run/checkpoints/step-00000002");
    let resume = ["--quiet", "--resume", checkpoint.to_str().unwrap()];
    let other = run(&with(&[("batch.size", "2")]), &resume);
    assert_refused(&other, &["batch.size: 3 there, 2 here"]);
    let smaller = [
        ("batch.chunk_tokens", "20"),
        ("batch.gradient_checkpointing", "false"),
        ("data.check_files", "false"),
    ];
    assert_status(&run(&with(&smaller), &resume), 0);
    let state = std::fs::read(bench.path("run/checkpoints/step-00000004/state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["config"]["batch"]["chunk_tokens"], 20);
    let cut = losses();
    assert_eq!((whole.len(), &cut[..2]), (cut.len(), &whole[..2]));
    for (whole, cut) in whole.iter().zip(&cut) {
        assert!((whole - cut).abs() <= 0.01 * whole, "{whole}, {cut}");
    }
}

/// How large pictures are is the model's matter where nobody says, and the run's from then on.
#[test]
fn a_run_goes_on_with_the_pictures_it_began_with() {
    let bench = Bench::new();
    let model = bench.path("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(golden_dir().join("tiny-a/model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let processor = model.join("preprocessor_config.json");
    let text = std::fs::read_to_string(&processor).unwrap();
    let mut settings: Value = serde_json::from_str(&text).unwrap();
    for key in ["min_pixels", "max_pixels", "size"] {
        settings.as_object_mut().unwrap().remove(key);
    }
    settings["max_pixels"] = 9409.into();
    std::fs::write(&processor, settings.to_string()).unwrap();

    let short = [("epochs", "1"), ("steps_per_epoch", "1"), ("model.path", "\"model\"")];
    let with = |more: &[(&'static str, &'static str)]| bench.config("run", &[&short[..], more].concat());
    let state = bench.path("run/checkpoints/step-00000001/state.json");
    let recorded = || -> Value { serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap() };
    assert_status(&run(&with(&[]), &["--quiet"]), 0);
    let model = recorded()["config"]["model"].clone();
    assert_eq!((&model["max_pixels"], &model["tokens_per_frame"]), (&9409.into(), &Value::Null));

    // As an earlier release wrote it down: in tokens, which were 200 whatever the model allows.
    let mut older = recorded();
    let model = older["config"]["model"].as_object_mut().unwrap();
    model.remove("max_pixels");
    model.insert("tokens_per_frame".to_owned(), 200.into());
    older["config"]["lora"].as_object_mut().unwrap().remove("layout");
    std::fs::write(&state, older.to_string()).unwrap();
    for same in [&[][..], &[("model.tokens_per_frame", "200")], &[("model.max_pixels", "156800")]] {
        let config = with(same);
        let output = run(&config, &["--resume", "auto"]);
        assert_status(&output, 0);
        assert!(stderr(&output).contains("at most 156800 pixels"), "{}", stderr(&output));
    }
    let other = run(&with(&[("model.tokens_per_frame", "12")]), &["--resume", "auto"]);
    assert_refused(&other, &["model.max_pixels: 156800 there, 9408 here"]);
}

/// One that is set back and killed before its next checkpoint goes on from where it was set back to.
#[test]
fn a_run_that_is_set_back_stays_there() {
    let bench = Bench::new();
    let short = [
        ("epochs", "1"),
        ("steps_per_epoch", "6"),
        ("checkpoint.every_steps", "2"),
        ("checkpoint.keep", "9"),
    ];
    assert_status(&run(&bench.config("straight", &short), &["--quiet"]), 0);
    let config = bench.config("run", &short);
    assert_status(&run(&config, &["--quiet"]), 0);
    assert_eq!(bench.checkpoints("run"), ["step-00000002", "step-00000004", "step-00000006"]);

    let start = Start::At(bench.path("run/checkpoints/step-00000002"));
    let (settings, model) = (TrainConfig::load(&config).unwrap(), golden_dir().join("tiny-a/model"));
    drop(Trainer::new(settings, &model, &start).unwrap());
    assert_eq!(bench.checkpoints("run"), ["step-00000002"]);
    assert_eq!(bench.log("run").last().unwrap()["step"], 2);
    assert_status(&run(&config, &["--quiet", "--resume", "auto"]), 0);
    assert!(bench.final_weights("run") == bench.final_weights("straight"), "the weights differ");
    assert_eq!(bench.log("run"), bench.log("straight"));

    // Elsewhere it may go on as well, but not where a run is.
    let elsewhere = bench.config("elsewhere", &short);
    let checkpoint = bench.path("run/checkpoints/step-00000004");
    let resume = ["--quiet", "--resume", checkpoint.to_str().unwrap()];
    std::fs::create_dir(bench.path("elsewhere")).unwrap();
    std::fs::write(bench.path("elsewhere/log.jsonl"), "left by a run without a checkpoint\n".repeat(99))
        .unwrap();
    assert_status(&run(&elsewhere, &resume), 0);
    assert!(bench.final_weights("elsewhere") == bench.final_weights("straight"), "the weights differ");
    assert_eq!(bench.log("elsewhere").first().unwrap()["step"], 5);
    assert_refused(&run(&elsewhere, &resume), &["step-00000006", "--resume auto"]);
    assert_eq!(bench.checkpoints("elsewhere").len(), 1);
}

#[test]
fn a_run_goes_on_from_another_directory() {
    let bench = Bench::new();
    bench.config("run", &[("epochs", "1"), ("steps_per_epoch", "1")]);
    let (folder, parent) = (bench.folder.path(), bench.folder.path().parent().unwrap());
    let (from_above, output) = (Path::new(folder.file_name().unwrap()).join("run.toml"), bench.path("run"));
    for (directory, config, resume) in [
        (folder, Path::new("run.toml"), &["--quiet"][..]),
        (parent, from_above.as_path(), &["--quiet", "--resume", "auto"]),
        (output.as_path(), Path::new("../run.toml"), &["--quiet", "--resume", "auto"]),
    ] {
        assert_status(&train(config, resume).current_dir(directory).output().unwrap(), 0);
    }
    assert_eq!(bench.checkpoints("run"), ["step-00000001"]);
}
