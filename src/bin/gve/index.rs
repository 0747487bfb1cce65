use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use gve::indexer::{IndexEvent, find_media, index, library_manifest};
use gve::retrieval::LibraryWriter;

use crate::options::{ModelOptions, PixelOptions, SamplingOptions};
use crate::output::{Outcome, print, progress_bar, report, warn};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve index ~/Videos --library ~/.local/share/gve --model Alibaba-NLP/GVE-3B
  gve index holiday.mp4 more/ --library lib --model ./GVE-3B --fps 1 --max-frames 64

A second run adds only what is new or changed; a run that was stopped goes on where it was.")]
pub(crate) struct Arguments {
    /// Files and folders; folders are searched for videos and images.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Directory of the library, made if need be.
    #[arg(long, value_name = "DIR")]
    library: PathBuf,
    /// Forget files of the library that are no longer on disk.
    #[arg(long)]
    prune: bool,
    /// Print the summary as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    sampling: SamplingOptions,
    #[command(flatten)]
    pixels: PixelOptions,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let sampling = arguments.sampling.sampling()?;
    let pixels = arguments.pixels.pixels()?;
    let mut files = Vec::new();
    let mut failed = 0;
    for found in arguments.paths.iter().flat_map(|path| find_media(path)) {
        match found {
            Ok(file) => files.push(file),
            Err(error) => {
                report(&error.into());
                failed += 1;
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();

    let model = arguments.model.resolve()?;
    let embedder = arguments.model.load(model.directory.clone(), sampling, pixels)?;
    let manifest = library_manifest(&embedder, &model.id, model.revision.as_deref());
    let mut library = LibraryWriter::create_or_open(&arguments.library, manifest)?;
    // What cannot be looked at, such as a share that is away, is not gone.
    let pruned = if arguments.prune { library.prune(|path| path.try_exists().unwrap_or(true))? } else { 0 };

    let bar = progress_bar(files.len(), "files", arguments.model.quiet);
    let (mut added, mut unchanged) = (0, 0);
    index(&embedder, &mut library, &files, |event| {
        match event {
            IndexEvent::Done(path, warnings) => {
                added += 1;
                bar.set_message(path.display().to_string());
                for warning in warnings {
                    bar.suspend(|| warn(&format!("{}: {warning}", path.display())));
                }
            }
            IndexEvent::Failed(path, error) => {
                failed += 1;
                let (path, error) = (path.display().to_string(), error.to_string());
                let message = if error.contains(&path) { error } else { format!("{path}: {error}") };
                bar.suspend(|| report(&anyhow!(message)));
            }
            _ => unchanged += 1,
        }
        bar.inc(1);
    })?;
    library.finish()?;
    bar.finish_and_clear();

    if arguments.json {
        let summary = serde_json::json!({
            "added": added, "unchanged": unchanged, "failed": failed, "pruned": pruned,
        });
        print(&summary.to_string())?;
    } else {
        let pruned = if pruned > 0 { format!(", {pruned} forgotten") } else { String::new() };
        print(&format!("{added} added, {unchanged} unchanged, {failed} failed{pruned}"))?;
    }
    Ok(Outcome::of(added + unchanged, failed))
}
