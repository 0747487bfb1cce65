use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use gve::retrieval::{EmbeddingFormat, EmbeddingWriter};
use gve::text::{LineError, Lines};
use gve::{Embedding, Input};
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::{DimOptions, ModelOptions, PixelOptions, SamplingOptions};
use gve_cli::output::{Outcome, counted, print, progress_bar, report, warn};
use serde::Serialize;

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
    dim: DimOptions,
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

/// How often it is asked whether to stop, while there is no input.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// An input with its name, or why there is none.
struct Item {
    id: String,
    input: Result<Input>,
}

/// Items, read as they are needed. An error is that of the reader, which ends there.
type Items = Box<dyn Iterator<Item = Result<Item>> + Send>;

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let sampling = arguments.sampling.sampling()?;
    let (items, count) = items(&arguments)?;
    if arguments.out.is_none() && !matches!(arguments.format, Format::Jsonl) {
        bail!("--format npy and parquet need --out FILE");
    }
    let model = arguments.model.resolve()?;
    let builder = arguments.model.builder(&model)?.sampling(sampling);
    let builder = arguments.dim.set(arguments.pixels.apply_to(builder));
    let embedder = arguments.model.load(builder)?;
    let mut output = Output::open(&arguments, embedder.dim())?;
    let cancel = stop_on_ctrl_c()?;

    let bar = progress_bar(count.unwrap_or(0), "inputs", arguments.model.quiet);
    // The embedder takes the inputs; their names, and lines that are no input, come here in the same order.
    let (names, named) = channel();
    let mut embeddings = embedder.embed_iter(items.filter_map(move |item| {
        let (name, input) = match item {
            Ok(Item { id, input: Ok(input) }) => (Ok((id, None)), Some(input)),
            Ok(Item { id, input: Err(error) }) => (Ok((id, Some(error))), None),
            Err(error) => (Err(error), None),
        };
        // Nobody takes names any more where the job has ended.
        drop(names.send(name));
        input
    }));
    let (mut done, mut failed) = (0, 0);
    while !cancel.is_cancelled() {
        let (id, fault) = match named.recv_timeout(POLL_INTERVAL) {
            Ok(name) => name?,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        let embedded = match fault {
            None => embeddings.next().ok_or_else(|| anyhow!("no result")).and_then(|e| Ok(e?)),
            Some(error) => Err(error),
        };
        match embedded {
            Ok(embedding) => {
                for warning in embedding.warnings() {
                    bar.suspend(|| warn(&format!("{id}: {warning}")));
                }
                output.write(&id, &embedding)?;
                done += 1;
            }
            Err(error) => {
                bar.suspend(|| report(&error.context(format!("input {id}"))));
                failed += 1;
            }
        }
        if count.is_none() {
            bar.inc_length(1);
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    if cancel.is_cancelled() {
        if done > 0 {
            output.finish()?;
        }
        return Ok(stopped_after(done, &arguments));
    }
    // Had the job ended early, so would the names have.
    embeddings.next().transpose()?;
    if done + failed == 0 {
        bail!(NOTHING);
    }
    if done > 0 {
        // With nothing to put in its place, an older output stays.
        output.finish()?;
    }
    Ok(Outcome::of(done, failed))
}

/// Says how far it came. Embedding keeps no record of what it has done, so the same command begins anew.
fn stopped_after(done: usize, arguments: &Arguments) -> Outcome {
    let place = match &arguments.out {
        Some(path) if done > 0 => format!(", to be found in {}", path.display()),
        _ => String::new(),
    };
    stopped(&format!("{} embedded{place}", counted(done, "input is", "inputs are")))
}

const NOTHING: &str = "nothing to embed: give --text, --image, --video or --input";

/// Everything to embed, in order: texts, images, videos, then the lines of --input. Also how many, where that
/// is known.
fn items(arguments: &Arguments) -> Result<(Items, Option<usize>)> {
    let named = |path: &PathBuf| path.display().to_string();
    let texts = arguments.text.iter().map(|text| (text.clone(), Input::text(text)));
    let images = arguments.image.iter().map(|path| (named(path), Input::image(path)));
    let videos = arguments.video.iter().map(|path| (named(path), Input::video(path)));
    let given: Vec<Item> =
        texts.chain(images).chain(videos).map(|(id, input)| Item { id, input: Ok(input) }).collect();
    let count = given.len();
    let given = given.into_iter().map(Ok);
    let (items, count): (Items, _) = match &arguments.input {
        Some(file) => (Box::new(given.chain(read_lines(file)?)), None),
        None if count == 0 => bail!(NOTHING),
        None => (Box::new(given), Some(count)),
    };
    let instruction = arguments.instruction.clone();
    let items = items.map(move |mut item| {
        if let Ok(Item { input: Ok(input), .. }) = &mut item
            && input.instruction.is_none()
        {
            input.instruction.clone_from(&instruction);
        }
        item
    });
    Ok((Box::new(items), count))
}

/// The inputs of a file, a line each. A line that cannot be read is that line's error.
fn read_lines(file: &Path) -> Result<impl Iterator<Item = Result<Item>> + Send + use<>> {
    let (reader, base): (Box<dyn Read + Send>, _) = if file == Path::new("-") {
        (Box::new(std::io::stdin()), PathBuf::new())
    } else {
        let opened = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        (Box::new(opened), file.parent().map(Path::to_owned).unwrap_or_default())
    };
    let name = file.display().to_string();
    Ok(Lines::new(reader).map(move |line| {
        let id = |number: usize| format!("{name}:{number}");
        match line {
            Ok(line) => Ok(match Input::from_json(&line.text, &base) {
                Ok((own, input)) => Item { id: own.unwrap_or_else(|| id(line.number)), input: Ok(input) },
                Err(error) => Item { id: id(line.number), input: Err(error.into()) },
            }),
            Err(LineError::Text { number, reason }) => {
                Ok(Item { id: id(number), input: Err(anyhow!(reason)) })
            }
            Err(error) => Err(anyhow!("cannot read {name}: {error}")),
        }
    }))
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
