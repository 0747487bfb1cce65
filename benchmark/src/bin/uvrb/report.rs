use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use gve::page::thumbnail;
use gve_cli::options::whole;
use gve_cli::output::{Outcome, print, progress_bar, report as report_error, warn};
use rayon::prelude::*;
use uvrb::Error;
use uvrb::dataset::{self, Dataset, LoadOptions};
use uvrb::manifest::Manifest;
use uvrb::report::failures::{Pictures, collect};
use uvrb::report::html::{self, Page};
use uvrb::report::{Report, csv, json, markdown, table};
use uvrb::result::{DatasetResult, ModelResults, load_results};

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb report results/
  uvrb report results/ --against GVE-3B --format markdown
  uvrb report results/Alibaba-NLP__GVE-3B other/results --format json --out scores.json
  uvrb report results/ --out report.html --data ~/UVRB")]
pub(crate) struct Arguments {
    /// Result folders: what `uvrb run` was given as --out, or a folder of a model or a revision in it.
    #[arg(value_name = "OUT", required = true)]
    results: Vec<PathBuf>,
    /// How to print [default: by the ending of --out, else table].
    #[arg(long)]
    format: Option<Format>,
    /// Write here instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The model to compare to: one of the paper's, or a result folder's as MODEL@REVISION [default: GVE-7B].
    #[arg(long, value_name = "MODEL")]
    against: Option<String>,
    /// Where the data sets lie: the page then shows the texts and pictures of what failed.
    #[arg(long, value_name = "ROOT")]
    data: Option<PathBuf>,
    /// Failures that the page shows of each result, worst first.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(0))]
    failures: usize,
    /// Data sets of your own; they get columns but go into no mean.
    #[arg(long, value_name = "FILE")]
    datasets_file: Option<PathBuf>,
    /// No progress bars.
    #[arg(long)]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Markdown,
    Csv,
    Html,
}

impl Format {
    /// What a file's ending asks for.
    fn of_file(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "json" => Some(Self::Json),
            "md" => Some(Self::Markdown),
            "csv" => Some(Self::Csv),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let by_file = arguments.out.as_deref().and_then(Format::of_file);
    let format = arguments.format.or(by_file).unwrap_or(Format::Table);
    let manifest = Manifest::builtin_with(arguments.datasets_file.as_deref())?;
    let (models, mut errors) = load(&arguments.results, &manifest);
    if models.is_empty() {
        errors.into_iter().for_each(tell);
        return Ok(Outcome::Nothing);
    }
    let report = Report::new(&models, own_datasets(&manifest), arguments.against.as_deref())?;
    let text = match format {
        Format::Table => table::render(&report),
        Format::Json => json::render(&report)?,
        Format::Markdown => markdown::render(&report),
        Format::Csv => csv::render(&report),
        Format::Html => page(&arguments, &manifest, &report, &models, &mut errors),
    };
    match &arguments.out {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?
        }
        None => text.trim_end().lines().try_for_each(print)?,
    }
    let failed = errors.len();
    errors.into_iter().for_each(tell);
    Ok(Outcome::of(models.len(), failed))
}

fn tell(error: Error) {
    report_error(&error.into());
}

/// The ids that a user's file adds to the manifest.
fn own_datasets(manifest: &Manifest) -> Vec<String> {
    let ids = manifest.datasets().iter().map(|spec| spec.id.clone());
    ids.filter(|id| Manifest::builtin().get(id).is_err()).collect()
}

/// The score of a result, by the metric of its data set in the manifest.
fn score(manifest: &Manifest, result: &DatasetResult) -> Result<f64, String> {
    let spec = manifest.get(&result.task_name).map_err(|error| error.to_string())?;
    result.score_by(spec.metric).map_err(|reason| format!("`{}`: {reason}", spec.id))
}

/// All results of all folders. A folder given twice, or two of one name, are one model.
fn load(folders: &[PathBuf], manifest: &Manifest) -> (Vec<ModelResults>, Vec<Error>) {
    let score = |result: &DatasetResult| score(manifest, result);
    let mut models: BTreeMap<String, ModelResults> = BTreeMap::new();
    let mut errors = Vec::new();
    for folder in folders {
        let (found, faults) = load_results(folder, &score);
        errors.extend(faults);
        for model in found {
            let entry = models.entry(model.name.clone());
            let known = entry.or_insert_with(|| ModelResults { name: model.name, ..ModelResults::default() });
            for stored in model.results.into_values() {
                // The same file by two ways is no conflict.
                if known.results.get(&stored.result.task_name).is_some_and(|first| first.path == stored.path)
                {
                    continue;
                }
                errors.extend(known.add(stored).err());
            }
        }
    }
    (models.into_values().collect(), errors)
}

/// The page; data sets that cannot be loaded are errors, and are shown by their ids.
fn page(
    arguments: &Arguments,
    manifest: &Manifest,
    report: &Report,
    models: &[ModelResults],
    errors: &mut Vec<Error>,
) -> String {
    let datasets = match &arguments.data {
        Some(root) => load_datasets(root, manifest, models, errors),
        None => BTreeMap::new(),
    };
    let (failures, pictures, faults) = collect(models, &datasets, arguments.failures);
    errors.extend(faults);
    let pictures = thumbnails(&pictures, arguments.quiet);
    html::render(&Page { report, results: models, failures: &failures, pictures: &pictures })
}

/// The data sets that some result is about.
fn load_datasets(
    root: &Path,
    manifest: &Manifest,
    models: &[ModelResults],
    errors: &mut Vec<Error>,
) -> BTreeMap<String, Dataset> {
    let mut datasets = BTreeMap::new();
    for spec in manifest.datasets() {
        if !models.iter().any(|model| model.results.contains_key(&spec.id)) {
            continue;
        }
        match dataset::load(spec, root, &LoadOptions::default()) {
            Ok(dataset) => drop(datasets.insert(spec.id.clone(), dataset)),
            Err(error) => errors.push(error),
        }
    }
    datasets
}

fn thumbnails(pictures: &Pictures, quiet: bool) -> Vec<Result<String, String>> {
    let bar = progress_bar(pictures.inputs.len(), "pictures", quiet);
    let picture = |input| {
        let picture = thumbnail(input).and_then(|uri| uri.ok_or_else(|| "nothing to see".to_owned()));
        bar.inc(1);
        picture
    };
    let made: Vec<_> = pictures.inputs.par_iter().map(picture).collect();
    bar.finish_and_clear();
    for reason in made.iter().filter_map(|picture| picture.as_ref().err()) {
        // The page is whole without; it says so in the picture's place.
        warn(&format!("no picture: {reason}"));
    }
    made
}
