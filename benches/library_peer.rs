//! Our side of `benchmark/peers/library.py`: a library of clustered vectors, filled, opened and searched on
//! demand.
//!
//! Arguments: `--worker LIBRARY CORPUS.f32 QUERIES.f32 DIM`, where the files hold rows of f32 and nothing
//! else. For each line on standard input, a command as JSON, one JSON line goes to standard output. Without
//! `--worker` (as under a plain `cargo bench`) it does nothing.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use gve::media::{MediaKind, Sampling};
use gve::retrieval::{
    FileFingerprint, Filter, Library, LibraryEntry, LibraryManifest, LibraryRow, LibraryWriter,
    MANIFEST_FORMAT_VERSION, SearchOptions, StoreDType,
};
use ndarray::ArrayView1;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Command {
    /// Writes rows of the corpus; of 100 files one lies in a folder of its own.
    Add {
        first: usize,
        rows: usize,
        dtype: StoreDType,
    },
    /// Forgets rows.
    Delete {
        first: usize,
        rows: usize,
    },
    Open,
    /// Searches for each of the queries.
    Search {
        k: usize,
        exact: bool,
        queries: usize,
        pattern: Option<String>,
    },
}

struct Worker {
    directory: PathBuf,
    corpus: PathBuf,
    queries: Vec<f32>,
    dim: usize,
    library: Option<Library>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, directory, corpus, queries, dim] = &arguments[..] else {
        return Ok(());
    };
    ensure!(flag == "--worker", "usage: --worker LIBRARY CORPUS.f32 QUERIES.f32 DIM");
    let dim = dim.parse().context("DIM")?;
    let queries = values(&std::fs::read(queries)?);
    let mut worker =
        Worker { directory: directory.into(), corpus: corpus.into(), queries, dim, library: None };
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let start = Instant::now();
        let mut answer = worker.answer(serde_json::from_str(&line?)?)?;
        answer["wall"] = json!(start.elapsed().as_secs_f64());
        answer["resident"] = json!(resident()?);
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

impl Worker {
    fn answer(&mut self, command: Command) -> Result<Value> {
        match command {
            Command::Add { first, rows, dtype } => self.add(first, rows, dtype),
            Command::Delete { first, rows } => {
                let paths: Vec<PathBuf> = (first..first + rows).map(path_of).collect();
                let mut writer =
                    LibraryWriter::create_or_open(&self.directory, self.manifest(StoreDType::default()))?;
                let removed = writer.remove(&paths)?;
                writer.finish()?;
                Ok(json!({ "removed": removed }))
            }
            Command::Open => {
                self.library = None;
                let library = Library::open(&self.directory)?;
                let rows = library.entries().len();
                ensure!(library.damage().is_empty(), "{:?}", library.damage());
                self.library = Some(library);
                Ok(json!({ "rows": rows }))
            }
            Command::Search { k, exact, queries, pattern } => {
                let library = self.library.as_ref().context("no library is open")?;
                let mut options = SearchOptions::new(k).with_exact(exact);
                if let Some(pattern) = pattern {
                    options.filter = Filter::default().named(&pattern)?;
                }
                let (mut seconds, mut rows) = (Vec::new(), Vec::new());
                for query in self.queries.chunks_exact(self.dim).take(queries) {
                    let start = Instant::now();
                    let hits = library.search_for(ArrayView1::from(query), &options)?;
                    seconds.push(start.elapsed().as_secs_f64());
                    rows.push(hits.iter().map(|hit| row_of(&hit.entry.path)).collect::<Result<Vec<_>>>()?);
                }
                Ok(json!({ "seconds": seconds, "rows": rows }))
            }
        }
    }

    fn manifest(&self, dtype: StoreDType) -> LibraryManifest {
        LibraryManifest {
            format_version: MANIFEST_FORMAT_VERSION,
            model: "clustered".into(),
            revision: None,
            adapter: None,
            recipe: None,
            dim: self.dim,
            instruction: None,
            sampling: Sampling::Uniform { frames: 8 },
            min_pixels: None,
            max_pixels: None,
            moments: None,
            store_dtype: dtype,
        }
    }

    fn add(&self, first: usize, rows: usize, dtype: StoreDType) -> Result<Value> {
        let mut writer = LibraryWriter::create_or_open(&self.directory, self.manifest(dtype))?;
        let mut corpus = BufReader::with_capacity(1 << 22, File::open(&self.corpus)?);
        corpus.seek_relative(i64::try_from(4 * first * self.dim)?)?;
        let mut bytes = vec![0; 4 * self.dim];
        for row in first..first + rows {
            corpus.read_exact(&mut bytes)?;
            let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
            let entry = LibraryEntry::new(path_of(row), MediaKind::Video, fingerprint);
            writer.append(&[LibraryRow { entry, embedding: values(&bytes) }])?;
        }
        writer.finish()?;
        Ok(json!({ "bytes": bytes_in(&self.directory)? }))
    }
}

fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

fn path_of(row: usize) -> PathBuf {
    let folder = if row.is_multiple_of(100) { "few" } else { "most" };
    format!("/home/somebody/Videos/{folder}/{row:08}.mp4").into()
}

fn row_of(path: &Path) -> Result<usize> {
    let name = path.file_stem().and_then(|name| name.to_str()).context("a path of another library")?;
    Ok(name.parse()?)
}

fn bytes_in(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { bytes_in(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

/// Memory of this process that is resident, mapped files included, in bytes.
fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmRSS:")) else {
        bail!("no VmRSS");
    };
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}
