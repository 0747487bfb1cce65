//! Times training steps on inputs from a file: our side of `benchmark/peers/train.py`.
//!
//! The batch is the whole file: its first half are queries, its second half their targets. Prints one JSON
//! line: seconds and loss of every step, tokens of the batch, the peak memory of the process, and how much of
//! that was there before the first step.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{Device as TensorDevice, Tensor};
use clap::{Parser, ValueEnum};
use gve::model::AdapterLayout;
use gve::train::{
    AdamW, AdamWConfig, Contrast, InfoNce, LoraConfig, Memory, Prepared, SingleProcess, Trainable,
    TrainableModel,
};
use gve::{DType, Device, Embedder, Input};
use gve_cli::process::tune_for_training;

/// Times training steps of a model on given inputs.
#[derive(Parser)]
struct Arguments {
    /// Directory of the model.
    #[arg(long)]
    model: PathBuf,
    /// JSON lines of inputs, as `gve embed` reads them.
    #[arg(long)]
    inputs: PathBuf,
    /// Write the batch as tensors, and the adapter's start, into this directory, and stop.
    #[arg(long)]
    export: Option<PathBuf>,
    /// auto, f32, bf16 or f16: of what is frozen.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// What is trained.
    #[arg(long, value_enum, default_value = "lora")]
    train: Trained,
    /// Rank of the adapter.
    #[arg(long, default_value_t = 16)]
    rank: usize,
    /// Dropout on the adapter's input.
    #[arg(long, default_value_t = 0.0)]
    dropout: f64,
    /// Keep the inputs of layers alone, and compute layers again.
    #[arg(long)]
    checkpointing: bool,
    /// Tokens that have a graph at one time.
    #[arg(long)]
    max_tokens: Option<usize>,
    /// Timed steps, after one to warm up.
    #[arg(long, default_value_t = 5)]
    steps: usize,
    /// Of AdamW, the same in every step.
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Trained {
    /// An adapter of the language layers.
    Lora,
    /// Token embeddings and language layers.
    Language,
    /// The vision tower as well.
    Everything,
}

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    tune_for_training();
    let trainable = match arguments.train {
        Trained::Lora => {
            let (rank, alpha) = (arguments.rank, 2.0 * arguments.rank as f64);
            let lora = LoraConfig::default().with_r(rank).with_alpha(alpha).with_dropout(arguments.dropout);
            Trainable::Lora(lora)
        }
        Trained::Language => Trainable::Full { vision: false },
        Trained::Everything => Trainable::Full { vision: true },
    };
    let settings = Embedder::builder(&arguments.model).device(arguments.device).dtype(arguments.dtype);
    let model = TrainableModel::load(settings, trainable)?;
    let items = read_inputs(&arguments.inputs)?
        .iter()
        .map(|input| Ok(model.prepare(input)?))
        .collect::<Result<Vec<_>>>()?;
    if items.is_empty() || !items.len().is_multiple_of(2) {
        bail!("{} holds {} inputs, expected an even number", arguments.inputs.display(), items.len());
    }
    if let Some(directory) = &arguments.export {
        return export(&model, &items, directory);
    }
    let batch: Vec<_> = items.iter().collect();
    let memory = Memory { checkpointing: arguments.checkpointing, max_tokens: arguments.max_tokens };
    // Masks are left out: what they drop hangs on rounding, and the other side computes the same without.
    let loss = InfoNce { mask_duplicates: false, mask_false_negatives: false, ..InfoNce::default() };
    let pairs = items.len() / 2;
    let mut optimizer = AdamW::new(model.parameters(), AdamWConfig::default())?;
    let loaded = status_bytes("VmRSS:")?;

    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for step in 0..=arguments.steps {
        let start = Instant::now();
        let (value, gradients) = model.gradients(&batch, step as u64, memory, |embeddings| {
            let part = |first| embeddings.narrow(0, first, pairs);
            let (queries, positives) = (part(0)?, part(pairs)?);
            let batch = Contrast { queries: &queries, positives: &positives, negatives: None };
            Ok(loss.forward(batch, &SingleProcess)?.loss)
        })?;
        optimizer.step(&gradients, arguments.learning_rate)?;
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
        losses.push(value);
    }
    let tokens: usize = items.iter().map(Prepared::num_tokens).sum();
    let line = serde_json::json!({
        "seconds": seconds, "losses": losses, "tokens": tokens, "items": items.len(),
        "loaded_rss_bytes": loaded, "peak_rss_bytes": status_bytes("VmHWM:")?,
    });
    println!("{line}");
    Ok(())
}

/// Writes what another program needs to do the same steps: `batch.safetensors`, the inputs one behind the
/// other, and an adapter that starts as ours does.
fn export(model: &TrainableModel, items: &[Prepared], directory: &Path) -> Result<()> {
    let packed = Prepared::pack(items);
    let integers = |values: &[u32]| {
        let values: Vec<i64> = values.iter().map(|&v| i64::from(v)).collect();
        Tensor::new(values, &TensorDevice::Cpu)
    };
    let lengths: Vec<u32> = packed.lengths.iter().map(|&length| length as u32).collect();
    let grids: Vec<u32> = packed.visuals.iter().flat_map(|v| v.grid_thw.map(|side| side as u32)).collect();
    let pixels = packed.visuals.iter().map(|v| {
        let patch_len = v.pixel_values.len() / v.num_patches();
        Tensor::from_slice(&v.pixel_values, (v.num_patches(), patch_len), &TensorDevice::Cpu)
    });
    let positions = packed.position_ids.iter().map(|ids| integers(ids)).collect::<Result<Vec<_>, _>>()?;
    let tensors = HashMap::from([
        ("input_ids", integers(&packed.input_ids)?),
        ("position_ids", Tensor::stack(&positions, 0)?),
        ("lengths", integers(&lengths)?),
        ("grid_thw", integers(&grids)?.reshape(((), 3))?),
        ("pixel_values", Tensor::cat(&pixels.collect::<Result<Vec<_>, _>>()?, 0)?),
    ]);
    std::fs::create_dir_all(directory)?;
    candle_core::safetensors::save(&tensors, directory.join("batch.safetensors"))?;
    if let Some(adapter) = model.adapter(None)? {
        adapter.write(&directory.join("adapter"), AdapterLayout::Nested)?;
    }
    Ok(())
}

fn read_inputs(path: &Path) -> Result<Vec<Input>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let base = path.parent().unwrap_or(Path::new(""));
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(i, line)| {
            let parsed = Input::from_json(line, base);
            Ok(parsed.with_context(|| format!("{}:{}", path.display(), i + 1))?.1)
        })
        .collect()
}

/// A size from the kernel's accounts of this process.
fn status_bytes(key: &str) -> Result<u64> {
    let path = "/proc/self/status";
    let status = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib: u64 = line
        .and_then(|value| value.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .with_context(|| format!("no {key} in {path}"))?;
    Ok(kib * 1024)
}
