use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use gve::import::{Format, ImportError, ImportEvent, ImportSettings, Imported, Output, import};
use gve_cli::hub::data_set;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::options::whole;
use gve_cli::output::{Outcome, byte_bar, counted, failure, name, note, print, warn};

/// Turn the files of other trainers and of data sets into pairs to train on.
#[derive(Args)]
#[command(after_help = after_help())]
pub(crate) struct Arguments {
    /// What the rows say, or auto, by what they look like; how they are stored is seen from the file.
    #[arg(value_name = "FORMAT")]
    format: Format,
    /// Files, folders of them, or a data set on the hub: hf://datasets/OWNER/NAME, or the id alone.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// The JSONL file of pairs to write; it appears when it is complete.
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    out: Option<PathBuf>,
    /// Where relative paths in the files begin [default: the folder of each file].
    #[arg(long, value_name = "DIR")]
    media: Option<PathBuf>,
    /// Folder for images and videos that lie inside of the files [default: FILE with the ending .media].
    #[arg(long, value_name = "DIR")]
    extract: Option<PathBuf>,
    /// Instruction of queries that bring none.
    #[arg(long, value_name = "TEXT")]
    instruction: Option<String>,
    /// Where the pairs are from, for people [default: the name of each file].
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// From which score or label on two sides are a pair.
    #[arg(long, value_name = "X", value_parser = score)]
    min_score: Option<f64>,
    /// The only split to read, of rows, files or folders that say which they are of.
    #[arg(long, value_name = "NAME")]
    split: Option<String>,
    /// Branch, tag or commit of a data set on the hub [default: main].
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Most pairs to write.
    #[arg(long, value_name = "N", value_parser = whole::<usize>(0))]
    limit: Option<usize>,
    /// Read all and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  gve pairs import auto train.jsonl --out pairs.jsonl --dry-run
  gve pairs import msr-vtt train_val_videodatainfo.json --media TrainValVideo --split train --out msrvtt.jsonl
  gve pairs import coco captions_train2017.json --media train2017 --out coco.jsonl
  gve pairs import webvid results_2M_train.csv --media videos --source webvid --out webvid.jsonl
  gve pairs import sentence-transformers stsb.csv --min-score 0.8 --out stsb.jsonl
  gve pairs import auto sentence-transformers/all-nli --split train --out nli.jsonl
  gve pairs import folder clips --instruction \"Find the clip.\" --out clips.jsonl

A row that is no pair is named with file and line, and the others go on. Exit status: 0 all rows, 1 none, 2 some.";

/// A score: any number that others can be compared with.
fn score(text: &str) -> Result<f64, String> {
    let score = text.parse().ok().filter(|score: &f64| score.is_finite());
    score.ok_or_else(|| "expected a finite number".to_owned())
}

fn after_help() -> String {
    let formats = Format::all().map(|(format, about)| format!("  {:<22}{about}\n", format.name()));
    format!("Formats:\n{}\n{EXAMPLES}", formats.collect::<String>())
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let settings = ImportSettings::default()
        .with_format(arguments.format)
        .with_media(arguments.media.clone())
        .with_instruction(arguments.instruction.clone())
        .with_source(arguments.source.clone())
        .with_min_score(arguments.min_score)
        .with_split(arguments.split.clone())
        .with_limit(arguments.limit);
    let output = match (&arguments.out, arguments.dry_run) {
        (Some(out), false) => Output::at(out),
        (out, true) => Output::at(out.clone().unwrap_or_else(|| PathBuf::from("pairs.jsonl"))).dry(),
        (None, false) => bail!("--out FILE is missing"),
    };
    let output = match &arguments.extract {
        Some(folder) => output.with_media(folder.clone()),
        None => output,
    };
    let cancel = stop_on_ctrl_c()?;
    let (revision, split) = (arguments.revision.as_deref(), arguments.split.as_deref());
    let paths = arguments.paths.iter().map(|path| data_set(path, revision, split, arguments.quiet));
    let paths = paths.collect::<Result<Vec<_>>>()?;
    let bar = byte_bar(0, arguments.quiet);
    let imported = import(&paths, &output, &settings, &cancel, &mut |event| match event {
        ImportEvent::Refused { place, reason } => bar.suspend(|| note(&failure(Path::new(place), &reason))),
        ImportEvent::LeftOut { place, reason } => {
            bar.suspend(|| warn(&format!("{place}: {reason}, and left out")));
        }
        ImportEvent::Read { done_bytes, total_bytes } => {
            bar.set_length(total_bytes);
            bar.set_position(done_bytes);
        }
        _ => {}
    });
    bar.finish_and_clear();
    let imported = match imported {
        Err(ImportError::Cancelled) => return Ok(stopped("nothing was written")),
        imported => imported?,
    };
    tell(&imported, &output)?;
    Ok(match imported.pairs() {
        0 => Outcome::Nothing,
        pairs => Outcome::of(pairs, imported.refused),
    })
}

fn tell(imported: &Imported, output: &Output) -> Result<()> {
    let formats: Vec<&str> = imported.formats.iter().copied().collect();
    let pairs = imported.pairs();
    if pairs > 0 {
        let place = if output.is_dry { "dry run".to_owned() } else { name(&output.pairs) };
        print(&format!("{place}: {} of {}", counted(pairs, "pair", "pairs"), formats.join(", ")))?;
    }
    for (task, pairs) in &imported.tasks {
        let unit = if *pairs == 1 { "pair" } else { "pairs" };
        print(&format!("{task:<5}{pairs:>8} {unit}"))?;
    }
    for (count, one, several, what) in [
        (imported.passed_over, "row", "rows", "passed over, by score or split"),
        (imported.left_out, "negative", "negatives", "left out"),
        (imported.refused, "row", "rows", "refused"),
    ] {
        if count > 0 {
            note(&format!("{} {what}", counted(count, one, several)));
        }
    }
    if pairs == 0 {
        let rows = imported.refused + imported.passed_over;
        let what = if rows == 0 { "no rows of pairs were found" } else { "no pairs" };
        note(&format!("{what}, so nothing was written"));
    }
    Ok(())
}
