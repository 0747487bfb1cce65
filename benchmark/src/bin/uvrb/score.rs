use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use gve_cli::output::{Outcome, print, warn};
use serde_json::json;
use uvrb::dataset::{self, LoadOptions};
use uvrb::manifest::{DatasetSpec, MainMetric, Manifest};
use uvrb::metrics::{CUTOFFS, QueryScores, mean};
use uvrb::result::{Interval, SubsetScores};
use uvrb::run_file::Run;
use uvrb::statistics::{SEED, mean_interval};

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb score ~/UVRB/MSRVTT --run run.trec
  uvrb score ~/UVRB/MSRVTT --run ranked.jsonl --json
  uvrb score ~/mine --run run.trec --dataset MINE --datasets-file mine.toml
  uvrb score ~/beir/nfcorpus --run run.trec --main R@10

A run is either in TREC's form, `qid Q0 docid rank score tag`, or JSON lines, {\"qid\": \"q1\", \"docs\": [{\"id\": \"d1\",
\"score\": 0.5}]} or {\"qid\": \"q1\", \"docs\": [\"d1\", \"d2\"]}. Media are not needed. Queries that the run does not
name score 0. A folder that is no data set of the manifest is scored as well, if it has UVRB's layout or BEIR's.")]
pub(crate) struct Arguments {
    /// Directory of the data set.
    #[arg(value_name = "DATASET_DIR")]
    directory: PathBuf,
    /// The rankings.
    #[arg(long, value_name = "FILE")]
    run: PathBuf,
    /// Which data set it is [default: the name of the directory].
    #[arg(long, value_name = "ID")]
    dataset: Option<String>,
    /// The metric that counts, R@k or P@k [default: the data set's in the manifest, R@1 for one that is not
    /// in it].
    #[arg(long, value_name = "METRIC")]
    main: Option<MainMetric>,
    /// A file of further data sets, in the form of datasets.toml.
    #[arg(long, value_name = "FILE")]
    datasets_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let manifest = Manifest::builtin_with(arguments.datasets_file.as_deref())?;
    let (mut spec, registered) = match &arguments.dataset {
        Some(id) => (manifest.get(id)?.clone(), true),
        None => {
            let name = directory_name(&arguments.directory)?;
            match manifest.get(&name) {
                Ok(spec) => (spec.clone(), true),
                Err(_) => (DatasetSpec::unregistered(name, MainMetric::RecallAt(1)), false),
            }
        }
    };
    if let Some(metric) = arguments.main {
        spec.metric = metric;
    }
    let options = LoadOptions { relevance_only: !registered, ..LoadOptions::default() };
    let dataset = dataset::load(&spec, &arguments.directory, &options)?;
    if !registered {
        let hint = "--dataset and --datasets-file name one that is in it";
        warn(&format!("{} is not in the manifest, scored by {}: {hint}", spec.id, spec.metric));
    }
    let run = Run::read(&arguments.run, &dataset)?;
    let scores = run.scores(&dataset);
    let main: Vec<f64> = scores.iter().map(|scores| scores.main(spec.metric)).collect();
    let summary = Summary {
        spec: &spec,
        queries: scores.len(),
        missing: run.missing(),
        mean: mean(&scores),
        interval: mean_interval(&main, SEED),
    };
    if summary.missing > 0 {
        let (missing, queries, run) = (summary.missing, summary.queries, arguments.run.display());
        warn(&format!("{run}: {missing} of {queries} queries are not in it and score 0"));
    }
    let text = if arguments.json { summary.json() } else { summary.table() };
    text.lines().try_for_each(print)?;
    Ok(Outcome::Complete)
}

fn directory_name(directory: &Path) -> Result<String> {
    let failed = || format!("cannot open {}", directory.display());
    let directory = directory.canonicalize().with_context(failed)?;
    Ok(directory.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

struct Summary<'a> {
    spec: &'a DatasetSpec,
    queries: usize,
    missing: usize,
    mean: QueryScores,
    interval: Interval,
}

impl Summary<'_> {
    fn table(&self) -> String {
        let Self { spec, queries, missing, mean, interval } = self;
        let header: String = CUTOFFS.iter().map(|k| format!(" {:>7}", format!("@{k}"))).collect();
        let mut lines = vec![format!("{:<10}{header}", spec.id)];
        for (name, values) in mean.named() {
            let values: String = values.iter().map(|value| format!(" {value:>7.4}")).collect();
            lines.push(format!("{name:<10}{values}"));
        }
        lines.push(format!(
            "{} {:.4}, {:.0} % interval {:.4} to {:.4}; {queries} queries, {missing} not in the run",
            spec.metric,
            mean.main(spec.metric),
            interval.level * 100.0,
            interval.low,
            interval.high,
        ));
        lines.join("\n")
    }

    fn json(&self) -> String {
        let main_score = self.mean.main(self.spec.metric);
        json!({
            "dataset": self.spec.id,
            "metric": self.spec.metric,
            "queries": self.queries,
            "missing_queries": self.missing,
            "main_score": main_score,
            "confidence_interval": self.interval,
            "scores": SubsetScores::new(main_score, &self.mean.named()).metrics,
        })
        .to_string()
    }
}
