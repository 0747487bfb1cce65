//! Times training steps on inputs from a file: our side of a comparison with PyTorch and PEFT.
//!
//! The batch is the whole file: its first half are queries, its second half their targets. Prints one JSON line: seconds and loss of every
//! step, tokens of the batch, the peak memory of the process, and how much of that was there before the first step.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use candle_core::{D, Tensor};
use clap::Parser;
use gve::train::{LoraConfig, Memory, TrainError, Trainable, TrainableModel};
use gve::{DType, Device, Embedder, Input};

/// Times training steps of a model on given inputs.
#[derive(Parser)]
struct Arguments {
    /// Directory of the model.
    #[arg(long)]
    model: PathBuf,
    /// JSON lines of inputs, as `gve embed` reads them.
    #[arg(long)]
    inputs: PathBuf,
    /// auto, f32, bf16 or f16: of what is frozen.
    #[arg(long, default_value = "f32")]
    dtype: DType,
    /// auto, cpu, cuda, cuda:N or metal.
    #[arg(long, default_value = "cpu")]
    device: Device,
    /// Train all weights of the language model instead of an adapter.
    #[arg(long)]
    full: bool,
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
    /// Step size along the gradient.
    #[arg(long, default_value_t = 1e-4)]
    learning_rate: f64,
}

#[allow(clippy::print_stdout)]
fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let lora = LoraConfig {
        r: arguments.rank,
        alpha: 2.0 * arguments.rank as f64,
        dropout: arguments.dropout,
        ..LoraConfig::default()
    };
    let trainable = if arguments.full { Trainable::Full { vision: false } } else { Trainable::Lora(lora) };
    let settings = Embedder::builder(&arguments.model).device(arguments.device).dtype(arguments.dtype);
    let model = TrainableModel::load(settings, trainable)?;
    let items = read_inputs(&arguments.inputs)?
        .iter()
        .map(|input| Ok(model.prepare(input)?))
        .collect::<Result<Vec<_>>>()?;
    if items.is_empty() || !items.len().is_multiple_of(2) {
        bail!("{} holds {} inputs, expected an even number", arguments.inputs.display(), items.len());
    }
    let batch: Vec<_> = items.iter().collect();
    let memory = Memory { checkpointing: arguments.checkpointing, max_tokens: arguments.max_tokens };
    let loaded = status_bytes("VmRSS:")?;

    let (mut seconds, mut losses) = (Vec::new(), Vec::new());
    for step in 0..=arguments.steps {
        let start = Instant::now();
        let (loss, gradients) = model.gradients(&batch, step as u64, memory, info_nce)?;
        for (name, var) in model.parameters() {
            if let Some(gradient) = gradients.get(name) {
                var.set(&(var.as_detached_tensor() - (gradient * arguments.learning_rate)?)?)?;
            }
        }
        if step > 0 {
            seconds.push(start.elapsed().as_secs_f64());
        }
        losses.push(loss);
    }
    let tokens: usize = items.iter().map(|item| item.num_tokens()).sum();
    let line = serde_json::json!({
        "seconds": seconds, "losses": losses, "tokens": tokens, "items": items.len(),
        "loaded_rss_bytes": loaded, "peak_rss_bytes": status_bytes("VmHWM:")?,
    });
    println!("{line}");
    Ok(())
}

/// Cross entropy of the cosines over a temperature of 0.03, from queries to targets.
fn info_nce(embeddings: &Tensor) -> Result<Tensor, TrainError> {
    let n = embeddings.dim(0)? / 2;
    let (queries, targets) = (embeddings.narrow(0, 0, n)?, embeddings.narrow(0, n, n)?);
    let scores = (queries.matmul(&targets.t()?)? / 0.03)?;
    let own = (queries * targets)?.sum(D::Minus1)?.affine(1.0 / 0.03, 0.0)?;
    Ok((scores.log_sum_exp(D::Minus1)? - own)?.mean_all()?)
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
