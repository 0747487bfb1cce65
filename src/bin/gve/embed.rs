use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use gve::retrieval::{EmbeddingFormat, EmbeddingWriter};
use gve::{Embedding, Input};
use serde::Serialize;

use crate::options::{ModelOptions, PixelOptions, SamplingOptions};
use crate::output::{Outcome, print, progress_bar, report, warn};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve embed --model Alibaba-NLP/GVE-3B --text \"a dog runs\" --image dog.png --video dog.mp4
  gve embed --model ./GVE-3B --input queries.jsonl --out queries.npy --format npy
  gve embed --model ./GVE-3B --adapter ./my-adapter --text \"a dog runs\"
  echo '{\"id\": \"q1\", \"content\": [{\"type\": \"video\", \"video\": \"b.mp4\", \"nframes\": 8},
         {\"type\": \"text\", \"text\": \"now in the forest\"}]}' | gve embed --model ./GVE-3B --input -")]
pub(crate) struct Arguments {
    /// A text.
    #[arg(long, value_name = "S")]
    text: Vec<String>,
    /// An image file.
    #[arg(long, value_name = "P")]
    image: Vec<PathBuf>,
    /// A video file.
    #[arg(long, value_name = "P")]
    video: Vec<PathBuf>,
    /// JSON lines of inputs; - is standard input.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// The system turn of inputs that name none.
    #[arg(long, value_name = "S")]
    instruction: Option<String>,
    /// Where to write; standard output without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Layout of the output; npy and parquet need --out.
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pixels: PixelOptions,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Jsonl,
    Npy,
    Parquet,
}

/// An input with its name, or why there is none.
struct Item {
    id: String,
    input: Result<Input>,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let sampling = arguments.sampling.sampling()?;
    let pixels = arguments.pixels.pixels()?;
    let items = collect(&arguments)?;
    if arguments.out.is_none() && !matches!(arguments.format, Format::Jsonl) {
        bail!("--format npy and parquet need --out FILE");
    }
    let model = arguments.model.resolve()?;
    let embedder = arguments.model.load(model.directory, sampling, pixels)?;
    let mut output = Output::open(&arguments, embedder.dim())?;

    let bar = progress_bar(items.len(), "inputs", arguments.model.quiet);
    let good: Vec<Input> = items.iter().filter_map(|item| item.input.as_ref().ok().cloned()).collect();
    let mut embeddings = embedder.embed_iter(good);
    let (mut done, mut failed) = (0, 0);
    for item in items {
        let embedded = match item.input {
            Ok(_) => embeddings.next().ok_or_else(|| anyhow!("no result")).and_then(|e| Ok(e?)),
            Err(error) => Err(error),
        };
        match embedded {
            Ok(embedding) => {
                for warning in embedding.warnings() {
                    bar.suspend(|| warn(&format!("{}: {warning}", item.id)));
                }
                output.write(&item.id, &embedding)?;
                done += 1;
            }
            Err(error) => {
                bar.suspend(|| report(&error.context(format!("input {}", item.id))));
                failed += 1;
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    output.finish()?;
    Ok(Outcome::of(done, failed))
}

/// Everything to embed, in order: texts, images, videos, then the lines of --input.
fn collect(arguments: &Arguments) -> Result<Vec<Item>> {
    let named = |path: &PathBuf| path.display().to_string();
    let texts = arguments.text.iter().map(|text| (text.clone(), Input::text(text)));
    let images = arguments.image.iter().map(|path| (named(path), Input::image(path)));
    let videos = arguments.video.iter().map(|path| (named(path), Input::video(path)));
    let mut items: Vec<Item> =
        texts.chain(images).chain(videos).map(|(id, input)| Item { id, input: Ok(input) }).collect();
    if let Some(file) = &arguments.input {
        items.extend(read_lines(file)?);
    }
    if items.is_empty() {
        bail!("nothing to embed: give --text, --image, --video or --input");
    }
    for item in &mut items {
        if let Ok(input) = &mut item.input
            && input.instruction.is_none()
        {
            input.instruction.clone_from(&arguments.instruction);
        }
    }
    Ok(items)
}

fn read_lines(file: &Path) -> Result<Vec<Item>> {
    let (text, base) = if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        (text, PathBuf::new())
    } else {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        (text, file.parent().map(Path::to_owned).unwrap_or_default())
    };
    let place = |number: usize| format!("{}:{number}", file.display());
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    Ok(lines
        .map(|(i, line)| match Input::from_json(line, &base) {
            Ok((id, input)) => Item { id: id.unwrap_or_else(|| place(i + 1)), input: Ok(input) },
            Err(error) => Item { id: place(i + 1), input: Err(error.into()) },
        })
        .collect())
}

/// A line of standard output.
#[derive(Serialize)]
struct Line<'a> {
    id: &'a str,
    dim: usize,
    tokens: usize,
    embedding: &'a [f32],
}

/// Where embeddings go.
enum Output {
    /// JSON lines on standard output, as they come.
    Stdout,
    /// A file that appears under its name when it is complete.
    File(EmbeddingWriter),
}

impl Output {
    fn open(arguments: &Arguments, dim: usize) -> Result<Self> {
        let format = match arguments.format {
            Format::Jsonl => EmbeddingFormat::JsonLines,
            Format::Npy => EmbeddingFormat::Npy,
            Format::Parquet => EmbeddingFormat::Parquet,
        };
        Ok(match &arguments.out {
            Some(path) => Self::File(EmbeddingWriter::create(path, format, dim)?),
            None => Self::Stdout,
        })
    }

    fn write(&mut self, id: &str, embedding: &Embedding) -> Result<()> {
        match self {
            Self::Stdout => {
                let line = Line {
                    id,
                    dim: embedding.dim(),
                    tokens: embedding.num_tokens(),
                    embedding: embedding.as_slice(),
                };
                Ok(print(&serde_json::to_string(&line)?)?)
            }
            Self::File(writer) => Ok(writer.write(id, embedding.as_slice())?),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(writer) => Ok(writer.finish()?),
        }
    }
}
