//! `gve index --watch`.

use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use gve::indexer::{IndexEvent, WatchEvent, WatchOptions, watch as follow};
use gve::retrieval::{LibraryManifest, LibraryWriter, RetrievalError};
use gve::{CancelToken, Embedder};
use gve_cli::output::{Outcome, name, note, print, report, warn};
use serde_json::json;

use super::Arguments;
use super::told::{Counts, tell_kept};

/// How often is looked whether others still write to the library at first.
const TICK: Duration = Duration::from_millis(500);

/// Opens the library for the first run, once nobody else writes to it, and says whether that had to be waited
/// for; gives `None` if somebody asks to stop before.
pub(super) fn open(
    directory: &Path,
    manifest: &LibraryManifest,
    cancel: &CancelToken,
) -> Result<Option<(LibraryWriter, bool)>> {
    let mut has_waited = false;
    loop {
        match LibraryWriter::create_or_open(directory, manifest.clone()) {
            Err(RetrievalError::Locked { .. }) if cancel.is_cancelled() => return Ok(None),
            Err(error @ RetrievalError::Locked { .. }) => {
                if !has_waited {
                    tell_hindered(error);
                }
                has_waited = true;
                thread::sleep(TICK);
            }
            library => return Ok(Some((library?, has_waited))),
        }
    }
}

/// Follows the folders until somebody stops it. Each change is a line of the output.
pub(super) fn watch(
    embedder: &Embedder,
    manifest: &LibraryManifest,
    arguments: &Arguments,
    cancel: CancelToken,
    mut counts: Counts,
) -> Result<Outcome> {
    let options = WatchOptions::default()
        .with_settle(arguments.settle)
        .with_rescan(arguments.rescan)
        .with_recognition(arguments.recognition())
        .with_exclude(arguments.exclude.clone())
        .with_forget_much(arguments.yes)
        .with_cancel(cancel.clone());
    if !arguments.model.quiet {
        note("watching; Ctrl-C ends it");
    }
    // Nobody may be reading the output any more.
    let mut printed = Ok(());
    follow(embedder, &arguments.library, manifest, &arguments.paths, &options, |event| {
        if let WatchEvent::File(event) = &event
            && let Some((what, paths)) = change(event)
        {
            let line = if arguments.json { as_json(what, &paths) } else { in_words(what, &paths) };
            if let Err(error) = print(&line) {
                printed = Err(error);
                cancel.cancel();
            }
        }
        tell(event, &mut counts);
    })?;
    printed?;
    if !arguments.model.quiet {
        note("stopped watching; the library has what was told");
    }
    // What failed may have been mended since, but it was told and not said again.
    Ok(if counts.failures.is_empty() && counts.totals.failed == 0 {
        Outcome::Complete
    } else {
        Outcome::Partial
    })
}

/// What has changed in the library, and which files are concerned.
fn change(event: &IndexEvent) -> Option<(&'static str, Vec<&Path>)> {
    match event {
        IndexEvent::Done(path, _) => Some(("added", vec![path])),
        IndexEvent::Moved { from, to } => Some(("moved", vec![from, to])),
        IndexEvent::Copied { from, to } => Some(("copied", vec![from, to])),
        IndexEvent::Forgotten(path) => Some(("forgotten", vec![path])),
        _ => None,
    }
}

fn in_words(what: &str, paths: &[&Path]) -> String {
    let names: Vec<String> = paths.iter().map(|path| name(path)).collect();
    format!("{what:<9}  {}", names.join(" -> "))
}

fn as_json(what: &str, paths: &[&Path]) -> String {
    match paths {
        [from, to] => json!({ "event": what, "path": to, "from": from }),
        _ => json!({ "event": what, "path": paths.last() }),
    }
    .to_string()
}

/// Says what else there is to be said.
fn tell(event: WatchEvent, counts: &mut Counts) {
    match event {
        // That it is gone is told as a change.
        WatchEvent::File(IndexEvent::Forgotten(_)) => {}
        WatchEvent::File(event) => counts.tell_trouble(&event),
        WatchEvent::Failed(error) => {
            let message = error.to_string();
            if counts.failures.insert(message) {
                report(&error.into());
            }
        }
        WatchEvent::Away(folder) => {
            warn(&format!("{} is not there: its files stay in the library until it is back", name(&folder)));
        }
        WatchEvent::Back(folder) => {
            note(&format!("{} is back, or another than it was: it is searched", name(&folder)))
        }
        WatchEvent::Unwatched(folder, reason) => {
            let folder = name(&folder);
            warn(&format!(
                "{folder}: the system does not tell what changes there: {reason}; it is searched every --rescan \
                 seconds"
            ));
        }
        WatchEvent::Kept(folder, doubt, count) => tell_kept(&folder, &doubt, count),
        WatchEvent::TooMany(gone, files) => warn(&format!(
            "{gone} of the {files} files of the library are gone, which is much: none is forgotten; gve index \
             --prune --yes forgets them"
        )),
        WatchEvent::Damaged(reason) => warn(&reason),
        WatchEvent::Hindered(error) => tell_hindered(error),
        _ => {}
    }
}

fn tell_hindered(error: impl std::error::Error + Send + Sync + 'static) {
    report(&anyhow::Error::from(error).context("the library cannot be written now; it is tried again"));
}
