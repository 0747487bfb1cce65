//! Pairs of others in the settings of a run.

use gve::CancelToken;
use gve::train::{Start, TrainConfig, TrainError, Trainer, estimate};
use gve_test_support::golden::model;

use super::*;

/// Settings of a run of two steps on `pairs`.
fn settings(desk: &Desk, pairs: &str, more: &str) -> PathBuf {
    let text = format!(
        "output = \"run\"\nepochs = 1\nsteps_per_epoch = 2\n[model]\npath = {:?}\ndevice = \"cpu\"\nframes = 2\ntokens_per_frame = 4\n\
         [lora]\nr = 2\n[batch]\nsize = 2\n[curriculum]\nsampler = \"uniform\"\n[checkpoint]\nevery_steps = 1\n{more}\n[data]\n{pairs}\n",
        model().display().to_string()
    );
    desk.write("train.toml", &text)
}

fn train(config: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["train", config.to_str().unwrap()];
    arguments.extend(more);
    gve(&arguments)
}

/// A data set in the folder of the settings.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("own.jsonl", &format!("{}\n", json!({"query": "one", "positive": "two"})).repeat(2));
    for name in ["red.mp4", "blue.mp4"] {
        std::fs::create_dir_all(desk.path("videos/7")).unwrap();
        std::fs::copy(fixture("media").join(name), desk.path("videos/7").join(name)).unwrap();
    }
    desk.write("web.csv", "videoid,page_dir,name\nred,7,a red ball\nblue,7,a blue ball\n");
    desk
}

const MIXED: &str =
    "pairs = [\"own.jsonl\", { path = \"web.csv\", format = \"webvid\", media = \"videos\" }]";

#[test]
fn a_run_imports_once_and_goes_on_with_it() {
    let desk = desk();
    let evaluation =
        "[[evaluation.pairs]]\npath = \"web.csv\"\nmedia = \"videos\"\n[evaluation]\nevery_steps = 9";
    let config = settings(&desk, MIXED, &evaluation.replace("[evaluation]\nevery_steps = 9", ""));
    let output = train(&config, &[]);
    assert_status(&output, 0);
    assert!(stderr(&output).contains("2 pairs of "), "{}", stderr(&output));
    let made = desk.path("run/pairs/train-2.jsonl");
    let lines = std::fs::read_to_string(&made).unwrap();
    assert_eq!(lines.matches("\"task\":\"t2v\"").count(), 2);
    assert!(desk.path("run/pairs/held-out-1.jsonl").exists());
    let log = std::fs::read_to_string(desk.path("run/log.jsonl")).unwrap();
    assert!(log.contains("recall@1") && log.contains("t2v"), "{log}");

    // What has not changed is not read again, and a run goes on.
    let before = made.metadata().unwrap().modified().unwrap();
    let newest = desk.path("run/checkpoints/step-00000002");
    std::fs::remove_dir_all(&newest).unwrap();
    let output = train(&config, &["--resume", "auto"]);
    assert_status(&output, 0);
    assert!(newest.exists() && !stderr(&output).contains("2 pairs of "), "{}", stderr(&output));
    assert_eq!(made.metadata().unwrap().modified().unwrap(), before);

    // What has changed is, and is another run's.
    desk.write("web.csv", "videoid,page_dir,name\nred,7,a red ball\nblue,7,a blue ball\nred,7,it rolls\n");
    let output = train(&config, &["--resume", "auto"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("other pairs"), "{}", stderr(&output));
    assert_eq!(std::fs::read_to_string(&made).unwrap().lines().count(), 3);
}

#[test]
fn rows_that_are_no_pairs_are_told_and_a_run_needs_some() {
    let desk = desk();
    let text = std::fs::read_to_string(desk.path("web.csv")).unwrap();
    desk.write("web.csv", &format!("{text}gone,7,a lost ball\n"));
    let row = |video: &str| {
        let video = desk.path("videos/7").join(video);
        format!("{}\n", json!({"anchor": "a ball", "positive": video, "negative": "a street"}))
    };
    desk.write("mixed.jsonl", &["red.mp4", "blue.mp4"].map(row).concat());
    let config = settings(&desk, &MIXED.replace("\"own.jsonl\"", "{ path = \"mixed.jsonl\" }"), "");
    let output = train(&config, &[]);
    assert_status(&output, 0);
    for part in [
        "web.csv: 1 row refused, the first ",
        "web.csv:4: no pair of webvid: ",
        "gone.mp4 is not there",
        "mixed.jsonl: 2 negatives are of another kind than the positive and left out",
    ] {
        assert!(stderr(&output).contains(part), "{part}: {}", stderr(&output));
    }
    let desk = self::desk();
    for (pairs, says) in [
        ("pairs = [{ path = \"web.csv\", media = \"nowhere\" }]", "nowhere: is no folder"),
        ("pairs = [{ path = \"web.csv\", format = \"webvids\" }]", "no format is called `webvids`"),
        ("pairs = [{ path = \"web.csv\", medium = \"a\" }]", "unknown field `medium`"),
        ("pairs = [{ format = \"webvid\" }]", "missing field `path`"),
        ("pairs = [7]", "a file of pairs, or a table with `path` and `format`"),
    ] {
        let output = train(&settings(&desk, pairs, ""), &[]);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(says), "{says}: {}", stderr(&output));
        assert!(!desk.path("run/checkpoints").exists());
    }
}

/// A run that is under way reads them where they lie.
#[test]
fn the_pairs_of_a_run_are_its_own() {
    let desk = desk();
    let trainer = |config: &Path| {
        let start = Start::Newest;
        Trainer::new(TrainConfig::load(config).unwrap(), &model(), &start)
    };
    let config = settings(&desk, MIXED, "");
    let under_way = trainer(&config).unwrap();
    let made = desk.path("run/pairs/train-2.jsonl");
    let before = std::fs::read(&made).unwrap();
    desk.write("web.csv", "videoid,page_dir,name\nred,7,a ball\nblue,7,another ball\n");
    let refused = trainer(&config).err().unwrap().to_string();
    assert!(refused.contains("another process trains in this directory"), "{refused}");
    assert!(std::fs::read(&made).unwrap() == before);
    drop(under_way);
    drop(trainer(&config).unwrap());
    assert!(std::fs::read(&made).unwrap() != before);
}

/// Importing may take hours, and is begun anew.
#[test]
fn a_run_that_imports_stops_before_it_begins() {
    let desk = desk();
    let config = TrainConfig::load(&settings(&desk, MIXED, "")).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    let imports = desk.path("imports");
    let estimated = estimate(config.clone(), &model(), &imports, &cancel);
    assert!(matches!(estimated, Err(TrainError::Cancelled)), "{estimated:?}");
    assert!(!imports.join("train-2.jsonl").exists());
    let begun = Trainer::new_unless(&cancel, config, &model(), &Start::Fresh);
    assert!(matches!(begun.err(), Some(TrainError::Cancelled)));
    assert!(!desk.path("run/pairs/train-2.jsonl").exists());
}
