use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use clap::Args;
use gve_cli::output::{Outcome, print, report, warn};
use serde_json::json;
use uvrb::comparison::{DatasetComparison, compare_models};
use uvrb::result::{DatasetResult, ModelResults, load_results};
use uvrb::statistics::SEED;

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb compare results/Alibaba-NLP__GVE-3B results/Alibaba-NLP__GVE-7B
  uvrb compare results/my-org__my-model/rev1 results/my-org__my-model/rev2 --json

The difference is the first model's mean less the second's, with its bootstrap interval. p is that of the paired
randomisation test, two-sided; it is not corrected for the number of data sets.")]
pub(crate) struct Arguments {
    /// Results of a model: its folder, or one of its revisions.
    #[arg(value_name = "FIRST")]
    first: PathBuf,
    /// Results of another model, or of another revision.
    #[arg(value_name = "SECOND")]
    second: PathBuf,
    /// Print JSON lines.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let mut failed = 0;
    let first = load(&arguments.first, &mut failed)?;
    let second = load(&arguments.second, &mut failed)?;
    if let Some(left_out) = left_out(&first, &second) {
        warn(&left_out);
    }
    let (comparisons, errors) = compare_models(&first, &second, SEED);
    failed += errors.len();
    errors.into_iter().for_each(|error| report(&error.into()));
    if comparisons.is_empty() && failed == 0 {
        bail!("{} and {} have no data set in common", first.name, second.name);
    }
    if !arguments.json && !comparisons.is_empty() {
        print(&format!("first   {}", first.name))?;
        print(&format!("second  {}", second.name))?;
        print(&format!(
            "{:<12} {:<6} {:>7} {:>8} {:>8} {:>8}  {:<18} {:>7}",
            "data set", "metric", "queries", "first", "second", "diff", "95 % interval", "p"
        ))?;
    }
    for comparison in &comparisons {
        print(&if arguments.json { json(comparison) } else { row(comparison) })?;
    }
    Ok(Outcome::of(comparisons.len(), failed))
}

/// What only one of the two has results for, in one sentence.
fn left_out(first: &ModelResults, second: &ModelResults) -> Option<String> {
    let lacks = [(first, second), (second, first)].map(|(have, lack)| {
        let ids: Vec<&str> =
            have.results.keys().filter(|id| !lack.results.contains_key(*id)).map(String::as_str).collect();
        (!ids.is_empty()).then(|| format!("{} has no result of {}", lack.name, ids.join(", ")))
    });
    let lacks: Vec<String> = lacks.into_iter().flatten().collect();
    (!lacks.is_empty()).then(|| format!("not compared: {}", lacks.join("; ")))
}

/// The one model in `path`. Files that cannot be used are reported and counted.
fn load(path: &Path, failed: &mut usize) -> Result<ModelResults> {
    let (mut models, errors) = load_results(path, &DatasetResult::main_score);
    *failed += errors.len();
    errors.into_iter().for_each(|error| report(&error.into()));
    match (models.pop(), models.is_empty()) {
        (Some(model), true) => Ok(model),
        (None, _) => bail!("{}: no results to compare", path.display()),
        (Some(last), false) => {
            let names: Vec<_> = models.iter().chain([&last]).map(|model| &*model.name).collect();
            bail!("{} holds results of {}: name the folder of one of them", path.display(), names.join(", "))
        }
    }
}

fn row(comparison: &DatasetComparison) -> String {
    let DatasetComparison { dataset, metric, queries, means: [first, second], comparison } = comparison;
    let interval = format!("{:+.4} to {:+.4}", comparison.interval.low, comparison.interval.high);
    format!(
        "{dataset:<12} {:<6} {queries:>7} {first:>8.4} {second:>8.4} {:>+8.4}  {interval:<18} {:>7.4}",
        metric.as_deref().unwrap_or("?"),
        comparison.difference,
        comparison.p
    )
}

fn json(comparison: &DatasetComparison) -> String {
    let DatasetComparison { dataset, metric, queries, means: [first, second], comparison } = comparison;
    json!({
        "dataset": dataset, "metric": metric, "queries": queries, "first": first, "second": second,
        "difference": comparison.difference, "confidence_interval": comparison.interval, "p": comparison.p,
    })
    .to_string()
}
