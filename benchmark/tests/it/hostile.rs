//! Damaged and hostile files: whatever a byte is changed to, there is a value or an error, soon, and in
//! little memory.
//!
//! The files are mutated in a process of its own, so that its memory can be measured. By hand,
//! `UVRB_HOSTILE_ROUNDS=100` runs it so many times as long: `UVRB_HOSTILE_ROUNDS=100 cargo test -p uvrb
//! --test it hostile -- --nocapture`.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gve::Input;
use gve::retrieval::read_embeddings;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, tensor::TensorView};
use uvrb::dataset::{Dataset, LoadOptions, load};
use uvrb::encoder::{Encoder, Item, PrecomputedEncoder, Request, Role};
use uvrb::manifest::{DatasetSpec, MainMetric, Manifest};
use uvrb::result::{DatasetResult, read_queries};
use uvrb::run_file::Run;

use crate::strangers::tables;

const ROUNDS: &str = "UVRB_HOSTILE_ROUNDS";
/// Mutations in one round, of each file and of each kind, at least.
const CASES: [usize; 2] = [80, 300];
/// Longest time for one file.
const LIMIT: Duration = Duration::from_secs(20);
/// Most memory of the process, in KiB.
const MOST_KIB: usize = 1 << 20;

#[test]
fn mutated_files_are_values_or_errors() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["hostile::worker", "--exact", "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned();
    let errors = String::from_utf8_lossy(&child.stderr);
    assert!(child.status.success(), "{said}{errors}");
    let figures = said.lines().find_map(|line| line.split_once("figures: ")).unwrap().1;
    println!("{figures}");
    let number = |name: &str| -> usize {
        let at = figures.split_whitespace().position(|word| word == name).unwrap();
        figures.split_whitespace().nth(at - 1).unwrap().parse().unwrap()
    };
    assert!(number("files") >= 2000, "{figures}");
    assert!(number("read") > 100 && number("refused") > 1000, "both happen: {figures}");
    assert!(number("KiB") <= MOST_KIB, "{figures}");
}

/// One kind of file: its name, the bytes of good ones, and what reads it.
struct Kind<'a> {
    name: &'a str,
    seeds: Vec<Vec<u8>>,
    read: Box<dyn Fn(&Path) -> Result<(), String> + 'a>,
}

#[test]
#[ignore = "run by the test above, in a process of its own"]
fn worker() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        hook(panic);
    }));
    let rounds: usize = std::env::var(ROUNDS).ok().map_or(1, |rounds| rounds.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset();
    let (mut files, mut good, mut slowest) = (0, 0, Duration::ZERO);
    for kind in kinds(folder.path(), &dataset) {
        let path = folder.path().join(kind.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for (number, seed) in kind.seeds.iter().enumerate() {
            fs::write(&path, seed).unwrap();
            (kind.read)(&path).unwrap_or_else(|error| panic!("{} {number}: {error}", kind.name));
            for case in 0..rounds * CASES[0].max(CASES[1] / kind.seeds.len()) {
                let mut random = ChaCha8Rng::seed_from_u64((number * 1_000_003 + case) as u64);
                fs::write(&path, mutated(seed, &mut random)).unwrap();
                let start = Instant::now();
                let read = (kind.read)(&path);
                slowest = slowest.max(start.elapsed());
                assert!(start.elapsed() < LIMIT, "{} {number}, case {case}", kind.name);
                if let Err(error) = &read {
                    assert!(!error.contains('\n'), "{error}");
                }
                files += 1;
                good += usize::from(read.is_ok());
            }
        }
    }
    let caught = PANICS.load(Ordering::Relaxed);
    println!(
        "figures: {files} files , {good} read , {} refused , {caught} caught , slowest {slowest:?}, {} KiB",
        files - good,
        peak_kib()
    );
}

/// The most memory this process has held.
fn peak_kib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or(0, |line| line.trim().trim_end_matches(" kB").parse().unwrap())
}

fn dataset() -> Dataset {
    let spec = DatasetSpec::unregistered("mine", MainMetric::RecallAt(1));
    load(&spec, &tables("beir_pandas"), &LoadOptions::default()).unwrap()
}

fn kinds<'a>(folder: &'a Path, dataset: &'a Dataset) -> Vec<Kind<'a>> {
    let fixture = |name: &str| fs::read(tables(name)).unwrap();
    let kind = |name, seeds, read| Kind { name, seeds, read };
    let embeddings = |path: &Path| read_embeddings(path).map(drop).map_err(|error| error.to_string());
    let trec = "q1 Q0 1 1 0.5 t\nq1 Q0 2 2 0.25 t\nq2 Q0 3 1 -1e-3 t\n";
    let json = "{\"qid\": \"q1\", \"docs\": [{\"id\": 1, \"score\": 0.5}]}\n{\"qid\": \"q2\", \"docs\": [\"3\", \"2\"]}\n";
    let queries = "{\"qid\": \"q1\", \"score\": 1.0, \"first_positive_rank\": 1, \"top\": [[\"1\", 0.5]]}\n";
    let results = [
        include_str!("../fixtures/results/mteb.json"),
        include_str!("../fixtures/results/first_version.json"),
    ];
    let parquet = [
        "pandas_default",
        "pandas_categorical_ids",
        "polars_default",
        "polars_array",
        "pyarrow_default",
        "pyarrow_large",
        "pyarrow_f16",
        "pyarrow_codec_gzip",
        "pyarrow_codec_lz4",
        "pyarrow_codec_none",
        "pyarrow_pages_v2",
        "pyarrow_row_groups",
        "pyarrow_plain",
        "pyarrow_split_stream",
    ];
    let arrays = ["f32.npy", "big_endian_f64.npy", "fortran_big_f16.npy", "version_3.npy"];
    // Beside the mutated table, the other two as they are.
    let set = folder.join("set");
    fs::create_dir(&set).unwrap();
    for name in ["queries.parquet", "qrels.parquet"] {
        fs::copy(tables("beir_polars").join(name), set.join(name)).unwrap();
    }
    let spec = DatasetSpec::unregistered("set", MainMetric::RecallAt(1));
    let load_set = move |path: &Path| {
        load(&spec, path.parent().unwrap(), &LoadOptions::default())
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let precomputed = |path: &Path| {
        let folder = path.parent().unwrap().parent().unwrap();
        let encoder = PrecomputedEncoder::open(folder, "m", "r").map_err(|error| error.to_string())?;
        let input = Input::text("a");
        let items = [Item { id: "1", input: &input }];
        let request = Request { dataset: "D", role: Role::Document, items: &items };
        encoder.encode(request, &mut |_, _| Ok(())).map_err(|error| error.to_string())
    };
    vec![
        kind(
            "run.trec",
            vec![trec.into()],
            Box::new(|path| Run::read(path, dataset).map(drop).map_err(|error| error.to_string())),
        ),
        kind(
            "run.jsonl",
            vec![json.into()],
            Box::new(|path| Run::read(path, dataset).map(drop).map_err(|error| error.to_string())),
        ),
        kind(
            "result.json",
            results.map(Into::into).into(),
            Box::new(|path| DatasetResult::read(path).map(drop).map_err(|error| error.to_string())),
        ),
        kind(
            "queries.jsonl",
            vec![queries.into()],
            Box::new(|path| read_queries(path).map(drop).map_err(|error| error.to_string())),
        ),
        kind(
            "datasets.toml",
            vec![include_bytes!("../../../datasets.toml").into()],
            Box::new(|path| Manifest::from_file(path).map(drop).map_err(|error| error.to_string())),
        ),
        kind("a.npy", arrays.map(fixture).into(), Box::new(embeddings)),
        kind(
            "a.parquet",
            parquet.map(|name| fixture(&format!("{name}.parquet"))).into(),
            Box::new(embeddings),
        ),
        kind("a.jsonl", vec![b"{\"id\": 1, \"embedding\": [1, 0.5]}\n".into()], Box::new(embeddings)),
        kind(
            "set/corpus.parquet",
            ["pandas", "polars", "pyarrow"]
                .map(|name| fixture(&format!("beir_{name}/corpus.parquet")))
                .into(),
            Box::new(load_set),
        ),
        kind("D/corpus.safetensors", vec![safetensors()], Box::new(precomputed)),
    ]
}

fn safetensors() -> Vec<u8> {
    let data = [0, 0, 128, 63, 0, 0, 0, 63];
    let tensor = TensorView::new(Dtype::F32, vec![1, 2], &data).unwrap();
    let ids = std::collections::HashMap::from([("ids".to_owned(), "[\"1\"]".to_owned())]);
    safetensors::serialize([("embeddings", tensor)], Some(ids)).unwrap()
}

/// What stands for much, for nothing or for something else.
const TOKENS: [&[u8]; 12] = [
    b"\0",
    b"\xff\xff\xff\xff",
    b"\xff\xff\xff\xff\x07",
    b"\x80\x80\x80\x80\x08",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"\"",
    b"[[[[[[[[",
    b"\xef\xbb\xbf",
    b"\n",
    b"-1",
];

fn mutated(seed: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..=4) {
        if bytes.is_empty() {
            break;
        }
        let at = random.random_range(0..bytes.len());
        let length = random.random_range(1..=8).min(bytes.len() - at);
        match random.random_range(0..8) {
            0 | 1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.random_range(0..5)],
            3 => drop(bytes.drain(at..at + length)),
            4 => bytes.truncate(at),
            5 => {
                let copy = bytes[at..at + length].to_vec();
                bytes.splice(at..at, copy);
            }
            6 => {
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                bytes.splice(at..at, token.iter().copied());
            }
            _ => {
                // In place, so that offsets behind it still hold.
                let token = TOKENS[random.random_range(0..TOKENS.len())];
                let end = (at + token.len()).min(bytes.len());
                bytes.splice(at..end, token.iter().copied().take(end - at));
            }
        }
    }
    bytes
}
