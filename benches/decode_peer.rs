//! Our side of `benchmark/peers/decode.py`: decodes on demand, so that runs can take turns with other
//! libraries.
//!
//! Arguments: `--worker CLIP THREADS FRAME...`. The frames with these numbers are decoded once, and the mean
//! of each picture goes to standard output as a JSON list. Then, for each line on standard input, the clip is
//! opened anew and the seconds from there to the last pixel go out, as a line. Without `--worker` (as under a
//! plain `cargo bench`) it does nothing.

use std::io::{BufRead, Write};
use std::time::Instant;

use anyhow::{Context, bail};
use gve::video::{Frame, VideoOptions, VideoReader};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (clip, threads, indices) = match &arguments[..] {
        [flag, clip, threads, indices @ ..] if flag == "--worker" => (clip, threads, indices),
        [flag, ..] if flag == "--worker" => bail!("usage: --worker CLIP THREADS FRAME..."),
        _ => return Ok(()),
    };
    let options = VideoOptions::default().with_threads(Some(threads.parse().context("THREADS")?));
    let indices: Vec<usize> =
        indices.iter().map(|index| index.parse().context("FRAME")).collect::<Result<_, _>>()?;
    let decode = || -> anyhow::Result<Vec<Frame>> {
        let mut reader = VideoReader::open_with(clip, options)?;
        Ok(reader.frames(&indices).collect::<Result<_, _>>()?)
    };

    let means: Vec<f64> = decode()?.iter().map(mean).collect();
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::json!(means))?;
    for line in std::io::stdin().lock().lines() {
        line?;
        let start = Instant::now();
        let frames = decode()?;
        writeln!(out, "{}", start.elapsed().as_secs_f64())?;
        drop(frames);
    }
    Ok(())
}

fn mean(frame: &Frame) -> f64 {
    let samples = frame.image.as_raw();
    let sum: u64 = samples.iter().map(|sample| u64::from(*sample)).sum();
    sum as f64 / samples.len() as f64
}
