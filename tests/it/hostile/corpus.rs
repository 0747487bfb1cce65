//! What is changed, and what reads it.

use std::path::{Path, PathBuf};

use gve::Device;
use gve::embedder::{CancelToken, Embedder, Input};
use gve::import::{ImportEvent, ImportSettings, Output, import};
use gve::media::MediaKind;
use gve::model::{Checkpoint, Config, LoraAdapter};
use gve::pairs::PairIndex;
use gve::preprocess::{ImageLimits, load_image};
use gve::retrieval::{
    EmbeddingFormat, EmbeddingWriter, FileFingerprint, Library, LibraryEntry, LibraryManifest, LibraryRow,
    LibraryWriter, MANIFEST_FORMAT_VERSION, SearchOptions, StoreDType, read_embeddings,
};
use gve::train::TrainConfig;
use gve_test_support::golden::golden_dir;
use serde_json::json;

const DIM: usize = 8;

/// A folder of files of which one is changed at a time.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Makes the folder.
    pub(crate) make: fn(&Path),
    /// Ends of the names of files that are changed.
    pub(crate) changed: &'static [&'static str],
    /// Bytes from the start that are changed; of weights it is the header.
    pub(crate) within: usize,
    /// Reads the folder, in which the second has been changed, as programs do. `Err` is a refusal, and as
    /// good as a reading.
    pub(crate) read: fn(&Path, &Path) -> Result<(), String>,
}

/// Those that are read.
const MODEL_FILES: [&str; 5] =
    ["/config.json", "/preprocessor_config.json", "/tokenizer.json", ".index.json", ".safetensors"];

pub(crate) const KINDS: [Kind; 7] = [
    Kind { name: "media", make: media, changed: &[""], within: usize::MAX, read: read_media },
    Kind { name: "model", make: model, changed: &MODEL_FILES, within: 6000, read: read_model },
    Kind { name: "adapter", make: adapter, changed: &[""], within: 6000, read: read_adapter },
    Kind {
        name: "library",
        make: library,
        changed: &[".json", ".parquet"],
        within: usize::MAX,
        read: read_library,
    },
    Kind {
        name: "embeddings",
        make: embeddings,
        changed: &[""],
        within: usize::MAX,
        read: read_embedding_file,
    },
    Kind { name: "imported", make: imported, changed: &[""], within: usize::MAX, read: read_imported },
    Kind { name: "run", make: run, changed: &[".toml", ".jsonl"], within: usize::MAX, read: read_run },
];

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn media(folder: &Path) {
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hostile"), folder);
    std::fs::remove_file(folder.join("make_media.sh")).unwrap();
    // What FFmpeg alone reads: videos, and a picture of subsampled YCbCr.
    #[cfg(not(feature = "video"))]
    for name in ["h264.mp4", "hevc.mkv", "mjpeg.avi", "mpeg2.ts", "packed.tiff", "qtrle.mov", "vp9.webm"] {
        std::fs::remove_file(folder.join(name)).unwrap();
    }
}

fn read_media(_: &Path, changed: &Path) -> Result<(), String> {
    let image = load_image(changed, &ImageLimits::default()).map(drop).map_err(text);
    image.or(read_video(changed))
}

#[cfg(feature = "video")]
fn read_video(path: &Path) -> Result<(), String> {
    let mut reader = gve::video::VideoReader::open(path).map_err(text)?;
    let last = reader.metadata().frames.saturating_sub(1);
    let indices: Vec<usize> = (0..8).map(|i| last / 7 * i).collect();
    reader.frames(&indices).try_for_each(|frame| frame.map(drop)).map_err(text)
}

#[cfg(not(feature = "video"))]
fn read_video(_: &Path) -> Result<(), String> {
    Err("videos are not read without FFmpeg".to_owned())
}

fn model(folder: &Path) {
    copy(&golden_dir().join("tiny-a/model"), folder);
}

fn read_model(folder: &Path, _: &Path) -> Result<(), String> {
    Config::load(folder).map_err(text)?;
    let checkpoint = Checkpoint::open(folder).map_err(text)?;
    let (_, _) = (checkpoint.num_parameters(), checkpoint.dtypes());
    let embedder = Embedder::builder(folder).device(Device::Cpu).build().map_err(text)?;
    let picture = golden_dir().join("media/tiny.png");
    embedder.embed_one(&Input::image(picture).and_text("a red bicycle")).map(drop).map_err(text)
}

fn adapter(folder: &Path) {
    copy(&golden_dir().join("tiny-a/train/adapter_final"), folder);
}

fn read_adapter(folder: &Path, _: &Path) -> Result<(), String> {
    LoraAdapter::read(folder).map(drop).map_err(text)?;
    let model = golden_dir().join("tiny-a/model");
    Embedder::builder(model).adapter(folder).device(Device::Cpu).build().map(drop).map_err(text)
}

fn rows() -> impl Iterator<Item = (String, Vec<f32>)> {
    (0..20).map(|row| {
        let mut embedding = vec![0.0; DIM];
        embedding[row % DIM] = 1.0;
        (format!("videos/number {row}.mp4"), embedding)
    })
}

fn library(folder: &Path) {
    let manifest = LibraryManifest {
        format_version: MANIFEST_FORMAT_VERSION,
        model: "m".to_owned(),
        revision: None,
        adapter: None,
        recipe: None,
        dim: DIM,
        instruction: None,
        sampling: gve::Sampling::Uniform { frames: 8 },
        min_pixels: None,
        max_pixels: None,
        moments: None,
        store_dtype: StoreDType::default(),
    };
    let mut writer = LibraryWriter::create_or_open(folder, manifest).unwrap();
    let rows: Vec<LibraryRow> = rows()
        .map(|(path, embedding)| {
            let fingerprint = FileFingerprint { size_bytes: 10, modified_nanoseconds: 1 };
            LibraryRow { entry: LibraryEntry::new(path, MediaKind::Video, fingerprint), embedding }
        })
        .collect();
    for rows in rows.chunks(10) {
        writer.append(rows).unwrap();
        writer.flush().unwrap();
    }
    writer.finish().unwrap();
}

fn read_library(folder: &Path, _: &Path) -> Result<(), String> {
    let library = Library::open(folder).map_err(text)?;
    let dim = library.manifest().dim.min(DIM);
    let query = ndarray::Array1::from_elem(dim, 0.3);
    let options = SearchOptions::new(5).with_dim(Some(dim));
    library.search_for(query.view(), &options).map(drop).map_err(text)?;
    LibraryWriter::create_or_open(folder, library.manifest().clone()).map(drop).map_err(text)
}

fn embeddings(folder: &Path) {
    let formats = [
        ("e.jsonl", EmbeddingFormat::JsonLines),
        ("e.npy", EmbeddingFormat::Npy),
        ("e.parquet", EmbeddingFormat::Parquet),
    ];
    for (name, format) in formats {
        let mut writer = EmbeddingWriter::create(folder.join(name), format, DIM).unwrap();
        rows().for_each(|(id, embedding)| writer.write(&id, &embedding).unwrap());
        writer.finish().unwrap();
    }
}

fn read_embedding_file(folder: &Path, changed: &Path) -> Result<(), String> {
    // The ids of a NPY file lie beside it.
    let path = if changed.extension().is_some_and(|end| end == "json") {
        folder.join("e.npy")
    } else {
        changed.into()
    };
    read_embeddings(path).map(drop).map_err(text)
}

/// Pairs of others, in files that say of themselves how long what they hold is.
fn imported(folder: &Path) {
    let pairs = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pairs");
    let copies = [
        ("columns/triplets.plain.arrow", "plain.arrow"),
        ("columns/triplets.lz4.arrow", "lz4.arrow"),
        ("columns/triplets.zstd.arrow", "zstd.arrow"),
        ("columns/images_on_disk/data-00000-of-00001.arrow", "images.arrow"),
        ("columns/images.zstd.parquet", "images.parquet"),
        ("shards/videos-000000.tar", "videos.tar"),
        ("packed/videos-000000.tar.gz", "videos.tar.gz"),
    ];
    for (from, to) in copies {
        std::fs::copy(pairs.join(from), folder.join(to)).unwrap();
    }
}

fn read_imported(folder: &Path, changed: &Path) -> Result<(), String> {
    let mut refused = Ok(());
    let output = Output::at(folder.join("none.jsonl")).dry();
    let (settings, cancel) = (ImportSettings::default(), CancelToken::new());
    import(&[changed.to_owned()], &output, &settings, &cancel, &mut |event| {
        if let ImportEvent::Refused { place, reason } = event {
            refused = Err(format!("{place}: {reason}"));
        }
    })
    .map_err(text)?;
    refused
}

fn run(folder: &Path) {
    let model = golden_dir().join("tiny-a/model");
    let config = format!(
        "output = \"out\"\nepochs = 2\nsteps_per_epoch = 12\nseed = 1\n[model]\npath = {:?}\ndevice = \"cpu\"\n\
         [lora]\nr = 4\nalpha = 8.0\ndropout = 0.1\n[data]\npairs = [\"pairs.jsonl\"]\n\
         [batch]\nsize = 3\naccumulate = 2\nchunk_tokens = 200\n[loss]\ntemperature = 0.05\n\
         [optimizer]\nlearning_rate = 1e-4\nweight_decay = 0.01\nwarmup_steps = 3\nclip_norm = 1.0\n\
         [curriculum]\nsampler = \"pyramid\"\nsigma_start = 0.1\nprobe_pairs = 4\n[negatives]\nmined = 2\npool = 20\n",
        model.display().to_string()
    );
    std::fs::write(folder.join("run.toml"), config).unwrap();
    let line = |i: usize| {
        let query = json!({"content": [{"type": "text", "text": format!("a bicycle {i}")}], "instruction": "Find it."});
        let video = json!({"type": "video", "video": "a.mp4", "start": 1, "end": 2.5, "nframes": 4});
        json!({"task": "t2v", "query": query, "positive": {"content": [video]}, "negatives": []}).to_string()
    };
    std::fs::write(folder.join("pairs.jsonl"), (0..6).map(line).collect::<Vec<_>>().join("\n")).unwrap();
}

fn read_run(folder: &Path, _: &Path) -> Result<(), String> {
    let config = TrainConfig::load(&folder.join("run.toml")).map_err(text);
    let index = PairIndex::open(&[folder.join("pairs.jsonl")], false).map_err(text)?;
    for (task, pairs) in index.tasks().iter().enumerate() {
        (0..pairs.len()).try_for_each(|row| index.read(task, row).map(drop)).map_err(text)?;
    }
    let config = config?;
    for steps in [config.steps_per_epoch.unwrap_or(1), 1] {
        let schedule = config.schedule(steps);
        let _rates = (schedule.at(0), schedule.at(steps));
    }
    Ok(())
}

/// The files of a folder that are changed, in order of their names.
pub(crate) fn files(folder: &Path, kind: &Kind) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().map(Result::unwrap);
    let files = files.filter(|file| file.file_type().is_file()).map(walkdir::DirEntry::into_path);
    let is_changed = |path: &PathBuf| kind.changed.iter().any(|end| path.to_string_lossy().ends_with(end));
    files.filter(is_changed).collect()
}
