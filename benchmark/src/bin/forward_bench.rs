//! Times one forward pass on tensors from a file: our side of `benchmark/peers/forward.py`.
//!
//! Prints one JSON line: the seconds of every run, when the first embedding was there, the peak memory of the
//! process, the embedding. It links no FFmpeg, so that it runs on a bare GPU machine.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result, anyhow};
use candle_core::{DType as TensorDType, Device as TensorDevice, Tensor};
use clap::Parser;
use gve::model::{PackedBatch, QwenVl, Visual};
use gve::recipe::Recipes;
use gve::{DType, Device, Embedder, Input, Reranker};
use image::RgbImage;

/// Times one forward pass of a model on given tensors.
#[derive(Parser)]
struct Arguments {
    /// Directory of the model.
    #[arg(long)]
    model: PathBuf,
    /// safetensors with input_ids, position_ids, and where there is a video pixel_values_videos and
    /// video_grid_thw; or with the `pictures` that are one video of a frame encoder.
    #[arg(long)]
    inputs: PathBuf,
    /// auto, f32, bf16 or f16.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Copies of the input that make one batch.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    copies: u32,
    /// Texts that the model, as the reranker Qwen3-VL-Reranker, scores for the `pictures`: all at once, and one by
    /// one, which computes anew what they have in common.
    #[arg(long)]
    candidates: Option<usize>,
    /// Timed runs, after one to warm up.
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let device = arguments.device.open()?;
    let inputs = candle_core::safetensors::load(&arguments.inputs, &TensorDevice::Cpu)?;
    if let Some(pictures) = inputs.get("pictures") {
        return of_pictures(&arguments, pictures);
    }
    let model = QwenVl::load(&arguments.model, arguments.dtype.weights_on(&device), &device)?;
    let tensor =
        |name: &str| inputs.get(name).ok_or_else(|| anyhow!("{} has no {name}", arguments.inputs.display()));
    let visual = match inputs.get("pixel_values_videos") {
        None => None,
        Some(pixels) => Some(Visual {
            pixel_values: pixels.flatten_all()?.to_vec1()?,
            grid_thw: integers(tensor("video_grid_thw")?)?
                .iter()
                .map(|&side| side as usize)
                .collect::<Vec<_>>()
                .try_into()
                .map_err(|_| anyhow!("video_grid_thw must hold three numbers"))?,
        }),
    };
    let copies = arguments.copies as usize;
    let input_ids = integers(tensor("input_ids")?)?;
    let position_ids = tensor("position_ids")?;
    let positions =
        |axis: usize| -> Result<Vec<u32>> { Ok(integers(&position_ids.get(axis)?)?.repeat(copies)) };
    let batch = PackedBatch {
        lengths: vec![input_ids.len(); copies],
        position_ids: [positions(0)?, positions(1)?, positions(2)?],
        input_ids: input_ids.repeat(copies),
        visuals: visual.iter().flat_map(|visual| std::iter::repeat_n(visual, copies)).collect(),
    };

    // Copies the result to the CPU, which waits for a GPU.
    time(&arguments, || Ok(model.last_hidden_states(&batch)?.get(copies - 1)?.to_vec1()?))
}

/// Times a frame encoder on `pictures`, (pictures, height, width, 3) in 8 bits, which are one video; or a reranker.
fn of_pictures(arguments: &Arguments, pictures: &Tensor) -> Result<()> {
    let builder = Embedder::builder(&arguments.model).device(arguments.device).dtype(arguments.dtype);
    let (count, height, width, _) = pictures.dims4()?;
    let picture = |index: usize| {
        let pixels = pictures.get(index)?.flatten_all()?.to_vec1()?;
        RgbImage::from_raw(width as u32, height as u32, pixels).context("the pictures are not RGB")
    };
    let input = Input::frames((0..count).map(picture).collect::<Result<_>>()?, 1.0);
    if let Some(candidates) = arguments.candidates {
        let reranker = builder.recipe(Recipes::builtin().get("qwen3-vl-reranker")?).build_reranker()?;
        return of_pairs(arguments, &reranker, &input, candidates);
    }
    let embedder = builder.build()?;
    let inputs = vec![input; arguments.copies as usize];
    time(arguments, || {
        let last = embedder.embed(&inputs).pop().context("nothing was embedded")?;
        Ok(last?.into_vec())
    })
}

/// Times a reranker on pairs of `query` and a text each, and prints the line.
#[allow(clippy::print_stdout)]
fn of_pairs(arguments: &Arguments, reranker: &Reranker, query: &Input, candidates: usize) -> Result<()> {
    let text = |number| Input::text(format!("take {number}: a dog catches a ball in a park"));
    let texts: Vec<Input> = (0..candidates).map(text).collect();
    let (mut together, mut one_by_one) = (Vec::new(), Vec::new());
    for run in 0..=arguments.runs {
        let start = Instant::now();
        reranker.score(query, &texts)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        let middle = Instant::now();
        texts.iter().map(|text| reranker.score_one(query, text)).collect::<Result<Vec<_>, _>>()?;
        if run > 0 {
            together.push((middle - start).as_secs_f64());
            one_by_one.push(middle.elapsed().as_secs_f64());
        }
    }
    println!("{}", serde_json::json!({ "together": together, "one_by_one": one_by_one }));
    Ok(())
}

/// Runs `pass`, which gives an embedding of any length, and prints the line.
#[allow(clippy::print_stdout)]
fn time(arguments: &Arguments, mut pass: impl FnMut() -> Result<Vec<f32>>) -> Result<()> {
    let mut hidden = pass()?;
    let first_at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs_f64();
    let mut seconds = Vec::with_capacity(arguments.runs);
    for _ in 0..arguments.runs {
        let start = Instant::now();
        hidden = pass()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let norm = hidden.iter().map(|v| v * v).sum::<f32>().sqrt();
    let embedding: Vec<f32> = hidden.iter().map(|v| v / norm).collect();
    let line = serde_json::json!({
        "seconds": seconds, "first_at": first_at, "peak_rss_bytes": peak_rss_bytes()?, "embedding": embedding,
    });
    println!("{line}");
    Ok(())
}

fn integers(tensor: &Tensor) -> Result<Vec<u32>> {
    Ok(tensor.flatten_all()?.to_dtype(TensorDType::U32)?.to_vec1()?)
}

/// The largest resident size this process had, from the kernel's accounts.
fn peak_rss_bytes() -> Result<u64> {
    let path = Path::new("/proc/self/status");
    let status = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: u64 = line
        .and_then(|value| value.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .context("no VmHWM in /proc/self/status")?;
    Ok(kib * 1024)
}
