//! `docs/training.md` as a reader follows it: every command of `gve` in its blocks runs, in their order and
//! in one folder, those within its text are such as `gve` reads, and every piece of settings is read.

use std::fs;
use std::path::{Path, PathBuf};

use gve::train::TrainConfig;
use gve::video::{VideoEncoding, VideoWriter};
use gve_test_support::files::text;
use gve_test_support::golden::{media, model, repository_dir};
use gve_test_support::program::stderr;
use gve_test_support::push_hub::{PushHub, TOKEN};
use image::{Rgb, RgbImage};

use crate::program::command;

/// The base model of the document, which is a tiny one here.
const BASE: &str = "models--Alibaba-NLP--GVE-3B";
const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// Pieces between fences, with their language.
fn pieces(document: &str) -> Vec<(&str, String)> {
    let (mut pieces, mut open) = (Vec::new(), None);
    for line in document.lines() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => open = Some((language, String::new())),
            (Some(_), Some(_)) => pieces.extend(open.take()),
            (None, Some((_, piece))) => piece.extend([line, "\n"]),
            (None, None) => {}
        }
    }
    pieces
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            copy(&path, &to.join(path.file_name().unwrap()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

/// A film of `seconds`, grey and ever brighter.
fn film(path: &Path, seconds: u32) {
    let mut writer = VideoWriter::create(path, VideoEncoding::Ffv1, (64, 48), 4).unwrap();
    for frame in 0..4 * seconds {
        writer.write(&RgbImage::from_pixel(64, 48, Rgb([frame as u8; 3]))).unwrap();
    }
    writer.finish().unwrap();
}

/// What the reader has: a model in the cache, footage, data sets of others, and pairs as the document writes them.
fn desk(pieces: &[(&str, String)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let cache = at("cache/hub").join(BASE);
    copy(&model(), &cache.join("snapshots").join(REVISION));
    fs::create_dir_all(cache.join("refs")).unwrap();
    fs::write(cache.join("refs/main"), REVISION).unwrap();
    for (name, seconds) in [
        ("lake.mp4", 24),
        ("boat.mp4", 2),
        ("other_boat.mp4", 3),
        ("other_lake.mp4", 4),
        ("Videos/dog.mp4", 2),
    ] {
        fs::create_dir_all(at("Videos")).unwrap();
        film(&at(name), seconds);
    }
    copy(&media("rabbit.png"), &at("boat.jpg"));
    copy(&media("testsrc.mp4"), &at("UVRB/held-out.mp4"));
    let fixtures = repository_dir().join("tests/fixtures/pairs");
    for (from, to) in [
        ("columns/triplets.jsonl", "train.jsonl"),
        ("msrvtt/train_val_videodatainfo.json", "train_val_videodatainfo.json"),
        ("msrvtt/videos", "TrainValVideo"),
        ("webvid/results_2M_train.csv", "results_2M_train.csv"),
        ("webvid/videos", "videos"),
    ] {
        copy(&fixtures.join(from), &at(to));
    }
    copy(&repository_dir().join("examples"), &at("examples"));
    let settings = fs::read_to_string(at("examples/train.toml")).unwrap();
    let shorter = settings.replace("epochs = 3 ", "epochs = 1 ");
    assert_ne!(settings, shorter);
    fs::write(at("examples/train.toml"), shorter).unwrap();
    for part in ["tiny-a/model", "media"] {
        copy(&repository_dir().join("tests/golden").join(part), &at("tests/golden").join(part));
    }
    let lines: String =
        pieces.iter().filter(|(language, _)| *language == "json").map(|(_, piece)| piece.as_str()).collect();
    // A task needs two pairs.
    let pairs = lines.clone()
        + &lines.replace("the dog jumps into", "a boat crosses").replace("boat.jpg", "other.png");
    RgbImage::from_pixel(48, 48, Rgb([90, 20, 160])).save(at("other.png")).unwrap();
    fs::write(at("holiday.jsonl"), &pairs).unwrap();
    fs::write(at("pairs.jsonl"), &pairs).unwrap();
    fs::write(at("own.jsonl"), &pairs).unwrap();
    let whole = pieces
        .iter()
        .find(|(language, piece)| *language == "toml" && piece.contains("output = \"runs/holiday\""));
    fs::write(at("holiday.toml"), &whole.unwrap().1).unwrap();
    folder
}

/// The words of a command, of which those between quotes are one; `home` is what `~` stands for.
fn words(command: &str, home: &str) -> Vec<String> {
    let words = command.split('"').enumerate().flat_map(|(place, part)| match place % 2 {
        0 => part.split_whitespace().map(|word| word.replace("~/", &format!("{home}/"))).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

fn document() -> String {
    fs::read_to_string(repository_dir().join("docs/training.md")).unwrap()
}

#[test]
fn every_command_of_the_guide_to_training_runs() {
    let document = document();
    let pieces = pieces(&document);
    let (folder, hub) = (desk(&pieces), PushHub::start(1 << 20));
    let home = text(folder.path()).to_owned();
    let shell = pieces.iter().filter(|(language, _)| *language == "sh").flat_map(|(_, piece)| piece.lines());
    let commands: Vec<&str> = shell.filter_map(|line| line.strip_prefix("gve ")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for line in commands {
        for (from, to) in [("holiday-4.51", "runs/old/final"), ("runs/holiday/final", "runs/nano/final")] {
            if line.contains(to) {
                copy(&folder.path().join(from), &folder.path().join(to));
            }
        }
        let said = line.split(" #").next().unwrap_or(line);
        let words = words(said, &home);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = command(&words);
        command.current_dir(folder.path()).env("HF_HOME", folder.path().join("cache"));
        if line.starts_with("model push") {
            command.env("HF_ENDPOINT", &hub.endpoint).env("HF_TOKEN", TOKEN);
        } else {
            command.env("HF_HUB_OFFLINE", "1");
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "gve {line}\n{}", stderr(&output));
    }
    assert!(hub.commits("me/holiday-lora").is_some_and(|(_, private)| private));
    assert!(hub.commits("me/nano-lora").is_some());
    for made in [
        "msrvtt.jsonl",
        "webvid.jsonl",
        "look.html",
        "runs/holiday/run.html",
        "GVE-3B-holiday/config.json",
        "old-for-today",
    ] {
        assert!(folder.path().join(made).exists(), "{made}");
    }
}

/// They need not be whole: what stands before `--help` is read before it, and what is missing is not missed.
#[test]
fn every_command_within_the_text_of_the_guide_to_training_is_read() {
    let document = document();
    let texts = document.split("```").step_by(2);
    let spans = texts.flat_map(|text| text.split('`').skip(1).step_by(2));
    let commands: Vec<&str> = spans.filter_map(|span| span.strip_prefix("gve ")).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for line in commands {
        let words = words(line, "~");
        let words: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let output = command(&words).output().unwrap();
        assert!(output.status.success(), "gve {line}\n{}", stderr(&output));
    }
}

#[test]
fn every_piece_of_settings_in_the_guide_to_training_is_read() {
    let document = document();
    let pieces = pieces(&document);
    let folder = desk(&pieces);
    let settings: Vec<_> = pieces.iter().filter(|(language, _)| *language == "toml").collect();
    assert!(settings.len() > 4);
    for (_, piece) in settings {
        let mut whole = String::new();
        if !piece.contains("output =") {
            whole.push_str("output = \"runs/piece\"\n");
        }
        whole.push_str(piece);
        for (section, least) in [("[model]", "path = \"model\""), ("data", "pairs = [\"holiday.jsonl\"]")] {
            let begins = |line: &str| line.starts_with('[') && line.contains(section);
            if !piece.lines().any(begins) {
                let section = section.trim_matches(['[', ']']);
                whole.push_str(&format!("[{section}]\n{least}\n"));
            }
        }
        let file: PathBuf = folder.path().join("piece.toml");
        fs::write(&file, &whole).unwrap();
        if let Err(error) = TrainConfig::load(&file) {
            panic!("{error}\n{whole}");
        }
    }
}
