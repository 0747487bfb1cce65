use anyhow::Result;
use clap::Args;
use gve::TimeRange;
use gve::duplicates::{DuplicatesError, Fingerprint, Group, Match, groups};
use gve::indexer::MediaFile;
use gve::media::MediaKind;
use gve_cli::interrupt::stop_on_ctrl_c;
use gve_cli::output::{Outcome, name, note, print, progress_bar, put_path};
use indicatif::HumanBytes;
use serde_json::{Value, json};

use crate::fingerprints::{FileOptions, Looked, as_json, difference, stopped_early};

#[derive(Args)]
#[command(after_help = "\
Examples:
  gve duplicates ~/Videos
  gve duplicates ~/Videos /media/backup --cache ~/.cache/gve-fingerprints
  gve duplicates ~/Videos --json | jq -r '.members[1:][] | .path_bytes // (.path | @base64)' |
    while read -r name; do base64 -d <<< \"$name\" | xargs -0 ls -l --; done

Of each group the best copy comes first: of those that hold the others, the one with the most pixels, not
counting borders, then the longest, then the largest. The others follow with the part of the best copy that they are, and how alike
the pictures are (1 is the same). A clip is put to what it was cut from. Nothing is deleted. No model is used.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    files: FileOptions,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Outcome> {
    let cancel = stop_on_ctrl_c()?;
    let looked = match arguments.files.look(None, &cancel) {
        Err(DuplicatesError::Cancelled) => return Ok(stopped_early()),
        looked => looked?,
    };
    if looked.files.is_empty() && looked.failed == 0 && !arguments.files.quiet {
        note("nothing was found to compare");
    }
    let bar = progress_bar(looked.files.len(), "compared", arguments.files.quiet);
    let matches = looked.fingerprints.matches(&cancel, |_| bar.inc(1));
    bar.finish_and_clear();
    let matches = match matches {
        Err(DuplicatesError::Cancelled) => return Ok(stopped_early()),
        matches => matches?,
    };
    for (number, group) in groups(&looked.fingerprints, &matches).iter().enumerate() {
        print_group(number + 1, group, &looked, arguments.files.json)?;
    }
    Ok(Outcome::of(looked.files.len(), looked.failed))
}

fn print_group(number: usize, group: &Group, looked: &Looked, json: bool) -> Result<()> {
    let members = group.members.iter().filter_map(|member| {
        Some((looked.files.get(member.place)?, looked.fingerprints.get(member.place)?, member.found.as_ref()))
    });
    if json {
        let mut first = None;
        let members = members.map(|(file, own, found)| {
            let best = *first.get_or_insert(own.kind);
            member(file, own, found.map(|found| as_json(found, [best, own.kind])))
        });
        return Ok(print(&json!({ "members": members.collect::<Vec<_>>() }).to_string())?);
    }
    print(&format!("{number}: {} versions", group.members.len()))?;
    for (file, fingerprint, found) in members {
        let like = found.map(|found| format!("  {}", like(found, fingerprint))).unwrap_or_default();
        print(&format!("  {}  {}{like}", name(&file.path), facts(fingerprint)))?;
    }
    Ok(())
}

/// A file of a group as JSON. A picture has neither a length nor a rate nor a codec.
fn member(file: &MediaFile, own: &Fingerprint, found: Option<Value>) -> Value {
    let mut member = json!({
        "kind": own.kind, "width": own.width, "height": own.height, "bytes": own.size_bytes, "match": found,
    });
    put_path(&mut member, "path", &file.path);
    if own.kind == MediaKind::Video {
        member["duration"] = own.duration_seconds.into();
        member["fps"] = own.fps.into();
        member["codec"] = own.codec.as_str().into();
    }
    member
}

fn facts(of: &Fingerprint) -> String {
    let (width, height, size) = (of.width, of.height, HumanBytes(of.size_bytes));
    match of.kind {
        MediaKind::Image => format!("{width}x{height}, {size}"),
        MediaKind::Video => format!("{width}x{height}, {:.1} s, {}, {size}", of.duration_seconds, of.codec),
    }
}

/// What a video is of the best copy.
fn like(found: &Match, own: &Fingerprint) -> String {
    let shown = |range: TimeRange| {
        let (start, end) = range.bounds().unwrap_or_default();
        format!("{start:.1}-{end:.1} s")
    };
    let mut parts = vec![format!("{:.2}", found.score)];
    let difference = difference(found);
    if !difference.is_empty() {
        parts.push(difference);
    }
    if own.kind == MediaKind::Video {
        let is_whole = found.first_share > ALL && found.second_share > ALL;
        let ranges = found.ranges.iter().map(|range| {
            let own_range =
                if found.second_share > ALL { String::new() } else { format!("{} is ", shown(range.second)) };
            format!("{own_range}{} of the first", shown(range.first))
        });
        parts.push(if is_whole { "all of it".to_owned() } else { ranges.collect::<Vec<_>>().join("; ") });
    }
    parts.join(", ")
}

/// A share that is as good as all.
const ALL: f64 = 0.95;
