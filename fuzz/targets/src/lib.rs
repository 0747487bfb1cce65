//! What each fuzz target does with some bytes: it gives them to a reader of files that come from elsewhere,
//! which takes them or refuses them in one line. To panic, to hang or to take memory without end is a fault,
//! whatever the bytes are.
//!
//! They stand apart from the fuzzer, so that they run as tests over the kept corpus as well
//! (`tests/corpus.rs`), without nightly and without libFuzzer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use gve::Input;
use gve::media::{MediaSource, TimeRange};
use gve::model::{Checkpoint, Config, LoraAdapter};
use gve::pairs::Pair;
use gve::preprocess::{ImageLimits, ImageProcessorConfig, load_image};
use gve::retrieval::Library;
use gve::train::TrainConfig;
use gve::video::{FrameCount, Sampling, VideoReader, select};
use tempfile::TempDir;
use uvrb::dataset::{Dataset, LoadOptions, load};
use uvrb::manifest::{DatasetSpec, MainMetric};
use uvrb::run_file::Run;

/// What reads some bytes. An error is its refusal.
pub type Target = fn(&[u8]) -> Result<(), String>;

/// All targets by the names of their programs and of their folders in the corpus.
pub const TARGETS: [(&str, Target); 7] = [
    ("config", config),
    ("json_lines", json_lines),
    ("library", library),
    ("media", media),
    ("safetensors", safetensors),
    ("train_config", train_config),
    ("trec_run", trec_run),
];

/// Runs a target on some bytes.
///
/// # Panics
/// Where the target does, and where it refuses the bytes in other than one line.
pub fn run(target: Target, bytes: &[u8]) -> Result<(), String> {
    let read = target(bytes);
    if let Err(message) = &read {
        assert_eq!(message.lines().count(), 1, "refused in other than one line: {message:?}");
    }
    read
}

/// Images and videos: every frame that sampling asks for.
pub fn media(bytes: &[u8]) -> Result<(), String> {
    let source = MediaSource::bytes(bytes.to_vec());
    if load_image(source.clone(), &ImageLimits::default()).is_ok() {
        return Ok(());
    }
    let mut reader = VideoReader::open(source).map_err(text)?;
    let sampling = Sampling::Uniform { frames: 8 };
    let selection =
        select(&reader.timing(), &sampling, TimeRange::default(), FrameCount::Exact).map_err(text)?;
    reader.frames(&selection.indices).try_for_each(|frame| frame.map(drop)).map_err(text)
}

/// A line of inputs, and a line of training pairs.
pub fn json_lines(bytes: &[u8]) -> Result<(), String> {
    let line = std::str::from_utf8(bytes).map_err(text)?;
    let base = Path::new("/");
    let pair = Pair::from_json(line, base).map(drop);
    Input::from_json(line, base).map(drop).map_err(text).or(pair)
}

/// `config.json`, `preprocessor_config.json` and `adapter_config.json`.
pub fn config(bytes: &[u8]) -> Result<(), String> {
    let folder = folder();
    for name in ["config.json", "preprocessor_config.json", "adapter_config.json"] {
        put(&folder, name, bytes);
    }
    let adapter = LoraAdapter::read(folder.path()).map(drop).map_err(text);
    let processor = ImageProcessorConfig::load(folder.path()).map(drop).map_err(text);
    Config::load(folder.path()).map(drop).map_err(text).or(processor).or(adapter)
}

/// The header of a file of weights.
pub fn safetensors(bytes: &[u8]) -> Result<(), String> {
    let folder = folder();
    put(&folder, "model.safetensors", bytes);
    let checkpoint = Checkpoint::open(folder.path()).map_err(text)?;
    let (_, _) = (checkpoint.num_parameters(), checkpoint.dtypes());
    Ok(())
}

/// A segment of a library.
pub fn library(bytes: &[u8]) -> Result<(), String> {
    let folder = folder();
    put(
        &folder,
        "library.json",
        include_bytes!("../../../tests/fixtures/retrieval/library-0.1/library.json"),
    );
    fs::create_dir(folder.path().join("segments")).unwrap();
    put(&folder, "segments/00000002.parquet", bytes);
    let library = Library::open(folder.path()).map_err(text)?;
    match library.damage() {
        [] => Ok(()),
        damage => Err(damage.iter().map(text).collect::<Vec<_>>().join("; ")),
    }
}

/// The configuration of a training run.
pub fn train_config(bytes: &[u8]) -> Result<(), String> {
    let folder = folder();
    let config = TrainConfig::load(&put(&folder, "train.toml", bytes)).map_err(text)?;
    let steps = config.steps_per_epoch.unwrap_or(1);
    let schedule = config.schedule(steps);
    let _rates = (schedule.at(0), schedule.at(steps));
    Ok(())
}

/// A ranking, in either of its forms.
pub fn trec_run(bytes: &[u8]) -> Result<(), String> {
    let folder = folder();
    let dataset = dataset();
    let json = Run::read(&put(&folder, "run.jsonl", bytes), &dataset).map(drop).map_err(text);
    Run::read(&put(&folder, "run.trec", bytes), &dataset).map(drop).map_err(text).or(json)
}

fn dataset() -> Dataset {
    let spec = DatasetSpec::unregistered("mine", MainMetric::RecallAt(1));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/tables/beir_pandas");
    load(&spec, &root, &LoadOptions::default()).expect("the data set of the tests")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for temporary files")
}

fn put(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("room for temporary files");
    path
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
