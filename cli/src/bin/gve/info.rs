use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use gve::DType;
use gve::device::available_memory;
use gve::embedder::unknown_settings;
use gve::model::{
    AdapterLayout, Checkpoint, LoraAdapter, ModelError, ModelShape, ModelType, convert_checkpoint,
    merge_adapter, rename_adapter,
};
use gve::new_model::{NewModel, create};
use gve::preprocess::PixelBounds;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::{ModelOptions, whole};
use gve_cli::output::{Outcome, counted, name, print, put_path, warn};
use serde_json::{Value, json};

use crate::{models, push};

/// The least area of a picture, as Qwen2.5-VL has it: four visual tokens.
const MIN_PIXELS: u64 = 56 * 56;

/// What there is of a model whose making was stopped.
const NOTHING: &str = "nothing is written";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Show what a model is: shape, size, where its files are.
    #[command(after_help = "\
Examples:
  gve model info --model ./GVE-3B
  gve model info --model Alibaba-NLP/GVE-3B --json")]
    Info {
        #[command(flatten)]
        model: ModelOptions,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the recipes there are, and which models are used by them.
    #[command(after_help = "\
Examples:
  gve model list
  gve model list --models-file my-models.toml --json")]
    List {
        /// A file of further recipes, in the form of models.toml.
        #[arg(long, value_name = "FILE")]
        models_file: Option<PathBuf>,
        /// Print JSON lines.
        #[arg(long)]
        json: bool,
    },
    /// Make a model that has learned nothing yet, to train from nothing.
    #[command(after_help = "\
Examples:
  gve model init --config recipes/nano/config.json --texts world/captions.jsonl --texts world/pairs_t2v.jsonl --out nano-0")]
    Init {
        /// Its shape: a config.json in Hugging Face layout. Ids and number of tokens are filled in.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// JSON lines whose `text` and `instruction` values the tokenizer learns from.
        #[arg(long, value_name = "FILE", required = true)]
        texts: Vec<PathBuf>,
        /// Tokens the tokenizer may have.
        #[arg(long, value_name = "N", default_value_t = 2048, value_parser = whole::<usize>(0))]
        vocab: usize,
        /// Area of a picture that the model is made for, at most.
        #[arg(long, value_name = "P", default_value_t = 112 * 84, value_parser = whole::<u64>(0))]
        max_pixels: u64,
        /// Where random weights come from.
        #[arg(long, default_value_t = 42, value_parser = whole::<u64>(0))]
        seed: u64,
        /// Directory to make.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Store a model in another precision, given as --dtype.
    #[command(after_help = "\
Examples:
  gve model convert --model runs/mine/final --dtype bf16 --out mine-bf16")]
    Convert {
        #[command(flatten)]
        model: ModelOptions,
        /// Directory to make; it may not hold anything yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Write an adapter anew, under the names that a release of transformers has: what others bind by name,
    /// such as PEFT.
    #[command(after_help = "\
Examples:
  gve model adapter --adapter runs/old/final --out my-adapter
  gve model adapter --adapter runs/mine/final --layout flat --out my-adapter-4.51")]
    Adapter {
        /// Directory of a PEFT adapter, in either layout.
        #[arg(long, value_name = "DIR")]
        adapter: PathBuf,
        /// nested: transformers 4.52 and later; flat: up to 4.51.
        #[arg(long, value_enum, default_value = "nested")]
        layout: Layout,
        /// Directory to make; it may not hold anything yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fold an adapter into a model: a checkpoint in Hugging Face layout, in the precision of the model.
    #[command(after_help = "\
Examples:
  gve model merge --model ./GVE-3B --adapter ./my-adapter --out ./GVE-3B-mine
  gve model merge --model Alibaba-NLP/GVE-3B --adapter ./my-adapter --out ./GVE-3B-mine")]
    Merge {
        #[command(flatten)]
        model: ModelOptions,
        /// Directory to make; it may not hold anything yet.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    Push(push::Arguments),
}

/// [`AdapterLayout`] as an argument.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Layout {
    Nested,
    Flat,
}

pub(crate) fn run(command: Command) -> Result<Outcome> {
    match command {
        Command::Info { model, json } => info(&model, json),
        Command::List { models_file, json } => models::list(models_file.as_deref(), json),
        Command::Init { config, texts, vocab, max_pixels, seed, out, json } => {
            let pixels = PixelBounds::new(MIN_PIXELS, max_pixels)?;
            init(&out, &NewModel { config, texts, vocab_size: vocab, pixels, seed }, json)
        }
        Command::Convert { model, out, json } => convert(&model, &out, json),
        Command::Adapter { adapter, layout, out, json } => rename(&adapter, layout, &out, json),
        Command::Merge { model, out, json } => merge(&model, &out, json),
        Command::Push(arguments) => push::run(&arguments),
    }
}

fn init(out: &Path, settings: &NewModel, json: bool) -> Result<Outcome> {
    let made = match create(out, settings, &stop_on_ctrl_c()?) {
        Err(gve::Error::Model(ModelError::Cancelled)) => return Ok(stopped(NOTHING)),
        made => made?,
    };
    let (millions, tokens) = (made.parameters as f64 / 1e6, made.tokens);
    print(&if json {
        written(out, json!({ "parameters": made.parameters, "tokens": tokens }))
    } else {
        format!("{}: {millions:.2} M parameters, {tokens} tokens", name(out))
    })?;
    Ok(Outcome::Complete)
}

fn convert(model: &ModelOptions, out: &Path, json: bool) -> Result<Outcome> {
    if model.adapter.is_some() {
        bail!("--adapter has no effect here: fold it in with `gve model merge`");
    }
    let dtype = model.dtype;
    if dtype == DType::Auto {
        bail!("no precision given: use --dtype with f32, bf16, f16 or int8");
    }
    let resolved = model.resolve()?;
    let recipe = model.find_recipe(&resolved)?;
    match convert_checkpoint(&resolved.directory, dtype, &recipe, out, &stop_on_ctrl_c()?) {
        Err(ModelError::Cancelled) => return Ok(stopped(NOTHING)),
        done => done?,
    }
    if json {
        print(&written(out, json!({ "model": resolved.id, "dtype": dtype.to_string() })))?;
    } else {
        print(&format!("{}: {} stored as {dtype}", name(out), resolved.id))?;
    }
    Ok(Outcome::Complete)
}

fn rename(adapter: &Path, layout: Layout, out: &Path, json: bool) -> Result<Outcome> {
    let adapter = LoraAdapter::read(adapter)?;
    let layout = match layout {
        Layout::Nested => AdapterLayout::Nested,
        Layout::Flat => AdapterLayout::Flat,
    };
    if rename_adapter(&adapter, layout, out)? {
        warn(
            &"its README.md was written or changed by a person: it is the card here, too, and ours is README.gve.md",
        );
    }
    let (modules, replaced) = (adapter.module_names().count(), adapter.saved_names().count());
    if json {
        print(&written(out, json!({ "modules": modules, "replaced_tensors": replaced })))?;
    } else {
        let and_replaced = match replaced {
            0 => String::new(),
            _ => format!(" and {}", counted(replaced, "replaced tensor", "replaced tensors")),
        };
        let modules = counted(modules, "module", "modules");
        print(&format!("{}: an adapter of {modules}{and_replaced}", name(out)))?;
    }
    Ok(Outcome::Complete)
}

fn merge(model: &ModelOptions, out: &Path, json: bool) -> Result<Outcome> {
    let Some(adapter) = &model.adapter else {
        bail!("no adapter given: use --adapter with the directory of adapter_config.json");
    };
    if model.dtype != DType::Auto {
        bail!(
            "--dtype has no effect here, as what is merged keeps the precision of the model: store it in another \
             with gve model convert"
        );
    }
    let adapter = LoraAdapter::read(adapter)?;
    let resolved = model.resolve()?;
    let recipe = model.find_recipe(&resolved)?;
    let changed = match merge_adapter(&resolved.directory, &adapter, &recipe, out, &stop_on_ctrl_c()?) {
        Err(ModelError::Cancelled) => return Ok(stopped(NOTHING)),
        changed => changed?,
    };
    if json {
        print(&written(out, json!({ "model": resolved.id, "changed": changed })))?;
    } else {
        let tensors = counted(changed, "tensor", "tensors");
        print(&format!("{}: {tensors} of {} changed", name(out), resolved.id))?;
    }
    Ok(Outcome::Complete)
}

/// What was made, and where.
fn written(out: &Path, mut made: Value) -> String {
    put_path(&mut made, "out", out);
    made.to_string()
}

fn info(model: &ModelOptions, json: bool) -> Result<Outcome> {
    let resolved = model.resolve()?;
    let model_type = ModelType::read(&resolved.directory)?;
    let ModelShape { dim, text, vision, .. } = ModelShape::read(&resolved.directory)?;
    let checkpoint = Checkpoint::open(&resolved.directory)?;
    let (recipes, recipe) = (model.recipes()?, model.find_recipe(&resolved)?);
    let bytes = |dtype| checkpoint.memory_as(dtype).total_bytes();
    let unknown = unknown_settings(&resolved.directory);
    if json {
        let mut info = json!({
            "id": resolved.id,
            "revision": resolved.revision,
            "model_type": model_type.name(),
            "dim": dim,
            "parameters": checkpoint.num_parameters(),
            "tensors": checkpoint.tensor_names().len(),
            "stored_as": checkpoint.dtypes(),
            "cpu": {
                "held_as": held_as(&checkpoint, model.dtype), "computed_in": computed_in(&checkpoint, model.dtype), "bytes": bytes(model.dtype),
                "bytes_in_f32": bytes(DType::F32), "bytes_available": available_memory(),
            },
            "recipe": models::json(&recipe, &recipes),
            "unknown_settings": unknown,
            "text": {
                "layers": text.layers, "heads": text.heads, "key_value_heads": text.key_value_heads,
                "vocab": text.vocab,
            },
            "vision": {
                "blocks": vision.blocks, "hidden": vision.hidden, "patch": vision.patch,
                "window": vision.window,
            },
        });
        put_path(&mut info, "directory", &resolved.directory);
        print(&info.to_string())?;
    } else {
        let rows = [
            ("model", resolved.id),
            ("revision", resolved.revision.unwrap_or_else(|| "-".to_owned())),
            ("directory", resolved.directory.display().to_string()),
            ("type", model_type.name().to_owned()),
            ("embedding", format!("{dim} values")),
            (
                "parameters",
                format!(
                    "{:.1} M, stored as {}",
                    checkpoint.num_parameters() as f64 / 1e6,
                    checkpoint.dtypes().join(", ")
                ),
            ),
            ("on the CPU", on_the_cpu(&checkpoint, model.dtype)),
            (
                "language",
                format!(
                    "{}, {}, {}, vocabulary of {}",
                    counted(text.layers, "layer", "layers"),
                    counted(text.heads, "head", "heads"),
                    counted(text.key_value_heads, "key-value head", "key-value heads"),
                    text.vocab
                ),
            ),
            (
                "vision",
                format!(
                    "{} of width {}, patches of {} pixels{}",
                    counted(vision.blocks, "block", "blocks"),
                    vision.hidden,
                    vision.patch,
                    vision.window.map_or(String::new(), |window| format!(", windows of {window}"))
                ),
            ),
        ];
        for (label, value) in rows.into_iter().chain(models::rows(&recipe, &recipes)) {
            print(&format!("{label:<11}{value}"))?;
        }
        for setting in unknown {
            print(&format!("{:<11}{setting}: embeddings may differ from the reference's", "not known"))?;
        }
    }
    Ok(Outcome::Complete)
}

/// The precisions in which the CPU holds the weights of a model that is loaded as `dtype`.
fn held_as(checkpoint: &Checkpoint, dtype: DType) -> Vec<String> {
    if dtype == DType::Auto { checkpoint.dtypes() } else { vec![dtype.to_string()] }
}

/// The precision of products there.
fn computed_in(checkpoint: &Checkpoint, dtype: DType) -> &'static str {
    let is_int8 = || checkpoint.dtypes().iter().any(|name| name == "i8");
    match dtype {
        DType::Auto if is_int8() => IN_INT8,
        DType::Auto | DType::F32 | DType::F16 => "f32",
        DType::Bf16 => "bf16 where the processor multiplies it, f32 elsewhere",
        DType::Int8 => IN_INT8,
    }
}

const IN_INT8: &str =
    "int8 in linear layers, bf16 in attention where the processor multiplies it, f32 elsewhere";

/// What `dtype` means there, and in how much memory.
fn on_the_cpu(checkpoint: &Checkpoint, dtype: DType) -> String {
    let gigabytes = |bytes: u64| format!("{:.2} GB", bytes as f64 / 1e9);
    let bytes = |dtype| gigabytes(checkpoint.memory_as(dtype).total_bytes());
    let mut text = format!(
        "--dtype {dtype}: weights held as {}, computed in {}, {} of memory",
        held_as(checkpoint, dtype).join(", "),
        computed_in(checkpoint, dtype),
        bytes(dtype)
    );
    if dtype == DType::Auto {
        text.push_str(&format!(" ({} with f32)", bytes(DType::F32)));
    }
    if let Some(available) = available_memory() {
        text.push_str(&format!(", {} available", gigabytes(available)));
    }
    text
}
