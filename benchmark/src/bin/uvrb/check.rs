use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use gve_cli::interrupt::{stop_on_ctrl_c, stopped};
use gve_cli::output::{Outcome, print, progress_bar, report, show, warn};
use uvrb::dataset::{CheckOptions, CheckReport, Count, LoadOptions, check, find};
use uvrb::manifest::{DatasetSpec, Manifest};

#[derive(Args)]
#[command(after_help = "\
Examples:
  uvrb check ~/UVRB
  uvrb check ~/UVRB MSRVTT CRB-G --no-decode
  uvrb check ~/mine --datasets-file mine.toml --json

Exit status: 0 no fault; 1 no data set could be read; 2 faults, each named on standard error.")]
pub(crate) struct Arguments {
    /// The folder of the data sets, or of one.
    #[arg(value_name = "DATA")]
    data: PathBuf,
    /// The data sets to check [default: all that are found].
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Further data sets, in the format of datasets.toml.
    #[arg(long, value_name = "FILE")]
    datasets_file: Option<PathBuf>,
    /// Use the pictures in videos_frames/ instead of the videos; they were taken F a second.
    #[arg(long, value_name = "F")]
    frame_cache_fps: Option<f64>,
    /// Do not decode media, only see that they are there.
    #[arg(long)]
    no_decode: bool,
    /// Print a JSON array with a report for each data set.
    #[arg(long)]
    json: bool,
    /// No progress bar.
    #[arg(long)]
    quiet: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome> {
    let manifest = Manifest::builtin_with(arguments.datasets_file.as_deref())?;
    let options = CheckOptions {
        load: LoadOptions { frame_cache_fps: arguments.frame_cache_fps, ..LoadOptions::default() },
        decode: !arguments.no_decode,
    };
    if options.decode && cfg!(not(feature = "video")) {
        warn(&"videos are not decoded: this program was built without the feature `video`");
    }
    let chosen = choose(&manifest, &arguments.data, &arguments.ids)?;
    let mut faults = chosen.strangers.len();
    for stranger in &chosen.strangers {
        report(stranger);
    }
    let mut reports = Vec::with_capacity(chosen.specs.len());
    let cancel = stop_on_ctrl_c()?;
    for spec in &chosen.specs {
        let bar = progress_bar(0, "media", arguments.quiet);
        show(&bar, &spec.id);
        let found = check(spec, &arguments.data, &options, &cancel, |done, total| {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        });
        bar.finish_and_clear();
        let Ok(found) = found else { break };
        for warning in &found.warnings {
            warn(&format!("{}: {warning}", spec.id));
        }
        for fault in &found.faults {
            report(&anyhow!("{}: {fault}", spec.id));
        }
        faults += found.faults.len();
        if !arguments.json {
            print(&summary(&found))?;
        }
        reports.push(found);
    }
    if arguments.json {
        serde_json::to_string_pretty(&reports)?.lines().try_for_each(print)?;
    }
    if cancel.is_cancelled() {
        return Ok(stopped(&format!("{} of {} data sets are checked", reports.len(), chosen.specs.len())));
    }
    Ok(Outcome::of(reports.iter().filter(|report| report.readable()).count(), faults))
}

/// What to check, and folders that look like data sets but are not in the manifest.
struct Chosen<'a> {
    specs: Vec<&'a DatasetSpec>,
    strangers: Vec<anyhow::Error>,
}

fn choose<'a>(manifest: &'a Manifest, data: &Path, ids: &[String]) -> Result<Chosen<'a>> {
    let mut chosen = Chosen { specs: Vec::new(), strangers: Vec::new() };
    if !ids.is_empty() {
        for id in ids {
            let spec = manifest.get(id)?;
            if chosen.specs.contains(&spec) {
                bail!("{id} is asked for twice");
            }
            chosen.specs.push(spec);
        }
        return Ok(chosen);
    }
    let found = find(data)?;
    if found.is_empty() {
        bail!("{}: no data set here; expected folders named as in `uvrb list`", data.display());
    }
    for found in found {
        match manifest.get(&found.id) {
            Ok(spec) => chosen.specs.push(spec),
            Err(error) => chosen.strangers.push(anyhow!("{}: {error}", found.directory.display())),
        }
    }
    Ok(chosen)
}

fn summary(report: &CheckReport) -> String {
    let count = |count: Count| match count.expected {
        Some(expected) => format!("{}/{expected}", count.found),
        None => count.found.to_string(),
    };
    let media = report.media;
    let generated = if report.generated { "  (generated: of no size that is expected)" } else { "" };
    let verdict = match report.faults.len() {
        0 => "ok".to_owned(),
        1 => "1 fault".to_owned(),
        many => format!("{many} faults"),
    };
    format!(
        "{:<12} queries {:>11}  corpus {:>11}  media {} ({} decoded, {} missing, {} undecodable)  \
         {verdict}{generated}",
        report.id,
        count(report.queries),
        count(report.corpus),
        media.total,
        media.decoded,
        media.missing,
        media.undecodable
    )
}
