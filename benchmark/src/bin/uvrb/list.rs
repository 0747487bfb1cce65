use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use gve_cli::output::{Outcome, print};
use uvrb::manifest::{DatasetSpec, Manifest};

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb list
  uvrb list --datasets-file mine.toml --json")]
pub(crate) struct Arguments {
    /// Further data sets, in the format of datasets.toml.
    #[arg(long, value_name = "FILE")]
    datasets_file: Option<PathBuf>,
    /// Print a JSON array, with everything the manifest says.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let manifest = Manifest::builtin_with(arguments.datasets_file.as_deref())?;
    if arguments.json {
        serde_json::to_string_pretty(manifest.datasets())?.lines().try_for_each(print)?;
        return Ok(Outcome::Complete);
    }
    let id_width = manifest.datasets().iter().map(|spec| spec.id.len()).max().unwrap_or(0);
    print(&format!("{:id_width$}  task  domain  metric  queries   corpus  title; prompt", "id"))?;
    for spec in manifest.datasets() {
        print(&format!(
            "{:id_width$}  {:4}  {:6}  {:6}  {:>7}  {:>7}  {}; \"{}\"",
            spec.id,
            spec.task,
            domain(spec),
            spec.metric.to_string(),
            spec.queries,
            spec.corpus,
            spec.title,
            spec.prompt
        ))?;
    }
    Ok(Outcome::Complete)
}

fn domain(spec: &DatasetSpec) -> String {
    let parts = [spec.domain.map(|d| d.to_string()), spec.sub_domain.map(|s| s.to_string())];
    let domain = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
    if domain.is_empty() { "-".into() } else { domain }
}
