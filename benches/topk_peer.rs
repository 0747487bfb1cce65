//! Our side of `benchmark/peers/topk.py`: ranks on demand, so that runs can take turns with another library.
//!
//! Arguments: `--worker CORPUS.npy QUERIES.npy K`. For each line on standard input, a number of queries, one
//! JSON line `{"seconds", "rows"}` goes to standard output. Without `--worker` (as under a plain `cargo
//! bench`) it does nothing.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, ensure};
use gve::retrieval::{rank, read_embeddings};
use ndarray::s;
use serde::Serialize;

/// Written without a tree of values between: 14,427 rankings of 1000 rows are a long line.
#[derive(Serialize)]
struct Answer {
    seconds: f64,
    rows: Vec<Vec<usize>>,
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [flag, corpus, queries, k] = &arguments[..] else {
        return Ok(());
    };
    ensure!(flag == "--worker", "usage: --worker CORPUS.npy QUERIES.npy K");
    let (corpus, queries) = (read_embeddings(corpus)?.embeddings, read_embeddings(queries)?.embeddings);
    let k: usize = k.parse().context("K")?;
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let batch: usize = line?.trim().parse().context("the number of queries")?;
        ensure!(batch <= queries.nrows(), "there are {} queries", queries.nrows());
        let start = Instant::now();
        let rankings = rank(queries.slice(s![..batch, ..]), corpus.view(), k)?;
        let seconds = start.elapsed().as_secs_f64();
        let rows = rankings.iter().map(|r| r.iter().map(|m| m.row).collect()).collect();
        serde_json::to_writer(&mut out, &Answer { seconds, rows })?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(())
}
