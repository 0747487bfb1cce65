//! What a program that depends on this crate has to build, by its features.

use std::process::Command;

use gve_test_support::golden::repository_dir;
use gve_test_support::program::{assert_status, stdout};

/// Names of the crates that are built for a dependant with these arguments.
fn crates(arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(env!("CARGO"));
    command.args([
        "tree",
        "--offline",
        "--locked",
        "--package",
        "gve",
        "--edges",
        "normal",
        "--prefix",
        "none",
    ]);
    let output = command.args(arguments).current_dir(repository_dir()).output().unwrap();
    assert_status(&output, 0);
    stdout(&output).lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn a_feature_brings_what_it_needs_and_nothing_else() {
    /// Each belongs to one trade: arguments and bars of a command; captioners; the hub; video; libraries; the
    /// files that training pairs come in.
    const TRADES: [(&str, &[&str]); 8] = [
        ("cli", &["clap", "indicatif", "anyhow", "signal-hook"]),
        ("synth", &["tokio", "reqwest", "async-openai", "schemars"]),
        ("hub", &["ureq", "hf-hub"]),
        ("video", &["ffmpeg-next"]),
        ("library", &["parquet", "arrow-array", "glob"]),
        ("train", &["csv", "tar"]),
        ("watch", &["notify"]),
        ("async", &["blocking"]),
    ];
    let bare = "--no-default-features";
    for (arguments, expected) in [
        (&[][..], &["hub", "video", "library"][..]),
        (&[bare], &[]),
        (&[bare, "--features", "library"], &["library"]),
        (&[bare, "--features", "video"], &["video"]),
        (&[bare, "--features", "hub"], &["hub"]),
        (&[bare, "--features", "watch"], &["library", "watch"]),
        (&[bare, "--features", "async"], &["async"]),
        (&[bare, "--features", "train"], &["train"]),
        (&[bare, "--features", "synth"], &["synth", "video", "library"]),
    ] {
        let crates = crates(arguments);
        assert!(crates.iter().any(|name| name == "candle-core"), "{arguments:?}: {crates:?}");
        for (trade, names) in TRADES {
            for name in names {
                let is_there = crates.iter().any(|other| other == name);
                assert_eq!(is_there, expected.contains(&trade), "{arguments:?}: {name}, of {trade}");
            }
        }
    }
}
