//! What the commands that compare videos by what they look like share.

use std::collections::HashSet;
#[cfg(unix)]
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use clap::Args;
use gve::CancelToken;
use gve::duplicates::{
    DuplicatesError, FingerprintCache, Fingerprints, Match, MatchedRange, read_fingerprints,
};
use gve::indexer::{MediaFile, PassedOver, Recognition, find};
use gve::media::MediaKind;
use gve_cli::interrupt::stopped;
use gve_cli::output::{Outcome, failure, progress_bar, report, show, warn};
use serde_json::{Map, Value, json};

use crate::library::tell_passed_over;

#[derive(Args)]
pub(crate) struct FileOptions {
    /// Files and folders; folders are searched for videos and images.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Take a file for what its content is, whatever its name ends in.
    #[arg(long)]
    any_name: bool,
    /// Keep there what files look like: a second run looks at new and changed ones only.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Print JSON lines. A name that is no valid UTF-8 is there in base64 as well, as `path_bytes`.
    #[arg(long)]
    pub(crate) json: bool,
    /// No progress bars.
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// How a command ends that was stopped.
pub(crate) fn stopped_early() -> Outcome {
    stopped("nothing was compared; --cache keeps what was looked at")
}

/// Files that could be looked at, with what they look like.
pub(crate) struct Looked {
    pub(crate) files: Vec<MediaFile>,
    pub(crate) fingerprints: Fingerprints,
    /// How many could not be looked at; each was named.
    pub(crate) failed: usize,
}

impl FileOptions {
    /// Looks at all files, but for `except`.
    pub(crate) fn look(
        &self,
        except: Option<&MediaFile>,
        cancel: &CancelToken,
    ) -> Result<Looked, DuplicatesError> {
        let recognition = if self.any_name { Recognition::ByContent } else { Recognition::ByName };
        let (mut files, mut passed_over, mut failed) = (Vec::new(), PassedOver::default(), 0);
        for path in &self.paths {
            let found = find(path, recognition);
            passed_over.add(&found.passed_over);
            failed += found.failures.len();
            found.failures.into_iter().for_each(|error| report(&error.into()));
            files.extend(found.files);
        }
        let mut files = each_once(files);
        files.retain(|file| except.is_none_or(|except| !is_one(&except.path, &file.path)));
        let remedy =
            (!self.any_name).then_some("--any-name looks at what is in files whose name does not say");
        tell_passed_over(&passed_over, remedy, files.is_empty(), self.quiet);
        let cache = self.cache.as_ref().map(FingerprintCache::new);
        let bar = progress_bar(files.len(), "files", self.quiet);
        let mut looked = Vec::new();
        let read = read_fingerprints(&files, cache.as_ref(), cancel, |place, fingerprint| {
            let path = &files[place].path;
            show(&bar, &path.display().to_string());
            bar.inc(1);
            match fingerprint {
                Ok(fingerprint) => looked.push((place, fingerprint)),
                Err(error) => {
                    failed += 1;
                    bar.suspend(|| report(&anyhow!(failure(path, &error))));
                }
            }
        });
        bar.finish_and_clear();
        if let Some(error) = cache.as_ref().and_then(FingerprintCache::failure) {
            warn(&format!("what files look like is not kept: {error}"));
        }
        read?;
        looked.sort_by_key(|(place, _)| *place);
        let (mut kept, mut fingerprints) = (Vec::new(), Fingerprints::default());
        for (place, fingerprint) in looked {
            fingerprints.push(fingerprint);
            kept.push(files[place].clone());
        }
        Ok(Looked { files: kept, fingerprints, failed })
    }
}

/// Every file once, by where links lead: two names of one file are no two copies of it.
fn each_once(files: Vec<MediaFile>) -> Vec<MediaFile> {
    let real =
        |file: MediaFile| MediaFile { path: file.path.canonicalize().unwrap_or(file.path), kind: file.kind };
    let mut files: Vec<MediaFile> = files.into_iter().map(real).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files.dedup();
    let mut seen = HashSet::new();
    files.retain(|file| place_on_disk(&file.path).is_none_or(|place| seen.insert(place)));
    files
}

/// Whether two paths are of one file.
fn is_one(left: &Path, right: &Path) -> bool {
    left == right || place_on_disk(left).is_some_and(|place| place_on_disk(right) == Some(place))
}

/// What hard links of one file have in common, where the system tells.
#[cfg(unix)]
fn place_on_disk(path: &Path) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;

    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn place_on_disk(_: &Path) -> Option<(u64, u64)> {
    None
}

/// How the second video of a match differs from the first, and when they are the same.
pub(crate) fn difference(found: &Match) -> String {
    let mut parts = Vec::new();
    if found.mirrored {
        parts.push("mirrored".to_owned());
    }
    if (found.speed - 1.0).abs() > 1e-9 {
        parts.push(format!("{:.2}x as fast", found.speed));
    }
    let is_part = |part: &[f64; 4]| (part[1] - part[0]) * (part[3] - part[2]) < CROPPED;
    if is_part(&found.part_of_first) {
        parts.push("cropped".to_owned());
    } else if is_part(&found.part_of_second) {
        parts.push("with more around it".to_owned());
    }
    parts.join(", ")
}

/// A smaller share of a picture is a crop.
const CROPPED: f64 = 0.95;

/// A match of files of these kinds as JSON; its `ranges` are in seconds of the second, and what they are of
/// in seconds of the first. A picture has no seconds, and two have no ranges.
pub(crate) fn as_json(found: &Match, [first, second]: [MediaKind; 2]) -> Value {
    let mut line = json!({
        "score": found.score, "share": found.second_share, "of_share": found.first_share,
        "mirrored": found.mirrored, "speed": found.speed,
        "part": found.part_of_second, "of_part": found.part_of_first,
    });
    let times = |range: &MatchedRange| {
        let sides = [(first, ["of_start", "of_end"], range.first), (second, ["start", "end"], range.second)];
        let timed = sides.into_iter().filter(|(kind, ..)| *kind == MediaKind::Video);
        let times = timed.flat_map(|(_, [start, end], of)| {
            [(start.to_owned(), Value::from(of.start_seconds)), (end.to_owned(), Value::from(of.end_seconds))]
        });
        times.collect::<Map<String, Value>>()
    };
    if [first, second].contains(&MediaKind::Video) {
        line["ranges"] = found.ranges.iter().map(times).collect();
    }
    line
}
