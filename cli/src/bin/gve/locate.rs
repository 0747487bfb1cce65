use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use clap::Args;
use gve::TimeRange;
use gve::duplicates::{DuplicatesError, MatchedRange, read_clip};
use gve::indexer::{Recognition, find};
use gve::media::MediaKind;
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::options::whole;
use gve_cli::output::{Outcome, counted, failure, name, note, print, put_path};

use crate::fingerprints::{FileOptions, as_json, difference, stopped_early};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve locate clip.mp4 ~/Videos
  gve locate clip.mp4 ~/Videos --cache ~/.cache/gve-fingerprints --json

Each line is a video that has pictures of the clip, the likeliest first: how alike they are (1 is the same),
where they are in the video, and which part of the clip that is; pictures have no such times. No model is
used. Exit status 1 if nothing is found.")]
pub(crate) struct Arguments {
    /// The clip.
    #[arg(value_name = "CLIP")]
    clip: PathBuf,
    #[command(flatten)]
    files: FileOptions,
    /// Most videos to show.
    #[arg(short, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(1))]
    k: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cancel = stop_on_ctrl_c()?;
    let mut found = find(&arguments.clip, Recognition::ByContent);
    if let Some(error) = found.failures.pop() {
        return Err(error.into());
    }
    let ([clip], false) = (&found.files[..], arguments.clip.is_dir()) else {
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
        let file = &looked.files[found.second];
        let kinds = [clip.kind, file.kind];
        if arguments.files.json {
            let mut line = as_json(found, kinds);
            put_path(&mut line, "path", &file.path);
            print(&line.to_string())?;
            continue;
        }
        let difference = difference(found);
        let difference = if difference.is_empty() { difference } else { format!("  {difference}") };
        for range in &found.ranges {
            let times = in_words(range, kinds);
            print(&format!("{:.2}  {}{times}{difference}", found.score, name(&file.path)))?;
        }
    }
    Ok(match matches.len() {
        0 => {
            let others = counted(looked.files.len(), "other file", "other files");
            if !looked.files.is_empty() {
                note(&format!("{} is in none of {others}", name(&clip.path)));
            } else if looked.failed == 0 {
                note(&format!("no other file was found to look for {} in", name(&clip.path)));
            }
            Outcome::Nothing
        }
        found => Outcome::of(found, looked.failed),
    })
}

/// Where a clip is in a file, and which part of it that is, as far as either is no picture.
fn in_words(range: &MatchedRange, [clip, file]: [MediaKind; 2]) -> String {
    let shown = |range: TimeRange| {
        let (start, end) = range.bounds().unwrap_or_default();
        format!("{start:.2}-{end:.2} s")
    };
    let mut times = String::new();
    if file == MediaKind::Video {
        times.push_str(&format!("  {}", shown(range.second)));
    }
    if clip == MediaKind::Video {
        times.push_str(&format!("  is {} of the clip", shown(range.first)));
    }
    times
}
