use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use gve::duplicates::{DuplicatesError, read_clip};
use gve::indexer::{Recognition, find};
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::output::{Outcome, failure, name, note, print};

use crate::fingerprints::{FileOptions, as_json, difference, stopped_early};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve locate clip.mp4 ~/Videos
  gve locate clip.mp4 ~/Videos --cache ~/.cache/gve-fingerprints --json

Each line is a video that has pictures of the clip, the likeliest first: how alike they are (1 is the same),
where they are in the video, and which part of the clip that is. No model is used. Exit status 1 if nothing
is found.")]
pub(crate) struct Arguments {
    /// The clip.
    #[arg(value_name = "CLIP")]
    clip: PathBuf,
    #[command(flatten)]
    files: FileOptions,
    /// Most videos to show.
    #[arg(short, value_name = "N", default_value_t = 10)]
    k: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cancel = stop_on_ctrl_c()?;
    let mut found = find(&arguments.clip, Recognition::ByContent);
    if let Some(error) = found.failures.pop() {
        return Err(error.into());
    }
    let [clip] = &found.files[..] else {
        bail!("{}: is a folder, expected one clip", name(&arguments.clip));
    };
    let is_cancelled = |error: &DuplicatesError| matches!(error, DuplicatesError::Cancelled);
    let own = match read_clip(clip, &cancel) {
        Err(error) if is_cancelled(&error) => return Ok(stopped_early()),
        own => own.map_err(|error| anyhow!(failure(&clip.path, &error)))?,
    };
    let looked = match arguments.files.look(Some(clip), &cancel) {
        Err(error) if is_cancelled(&error) => return Ok(stopped_early()),
        looked => looked?,
    };
    let matches = match looked.fingerprints.locate(&own, &cancel) {
        Err(error) if is_cancelled(&error) => return Ok(stopped_early()),
        matches => matches?,
    };
    for found in matches.iter().take(arguments.k) {
        let path = &looked.files[found.second].path;
        if arguments.files.json {
            let mut line = as_json(found);
            line["path"] = serde_json::json!(path.display().to_string());
            print(&line.to_string())?;
            continue;
        }
        let difference = difference(found);
        let difference = if difference.is_empty() { difference } else { format!("  {difference}") };
        for range in &found.ranges {
            let (start, end) = range.second.bounds().unwrap_or_default();
            let (of_start, of_end) = range.first.bounds().unwrap_or_default();
            print(&format!(
                "{:.2}  {}  {start:.2}-{end:.2} s  is {of_start:.2}-{of_end:.2} s of the clip{difference}",
                found.score,
                name(path)
            ))?;
        }
    }
    Ok(match matches.len() {
        0 => {
            note(&format!("{} is in none of {} other files", name(&clip.path), looked.files.len()));
            Outcome::Nothing
        }
        found => Outcome::of(found, looked.failed),
    })
}
