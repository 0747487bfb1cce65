//! What became of the files, as it is told.

use std::collections::HashSet;
use std::path::Path;

use anyhow::{Result, anyhow};
use gve::indexer::{Doubt, IndexEvent, IndexTotals, PassedOver};
use gve_cli::output::{Outcome, counted, failure, name, print, report, show, warn};
use indicatif::ProgressBar;

/// How many files met which fate.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) totals: IndexTotals,
    /// Not there, but not forgotten.
    pub(super) kept: usize,
    /// Those of them that were to be forgotten, were it known that they are gone.
    pub(super) in_doubt: usize,
    /// What was said of files that failed.
    pub(super) failures: HashSet<String>,
}

impl Counts {
    pub(super) fn tell(&mut self, event: &IndexEvent, bar: &ProgressBar) {
        self.totals.count(event);
        match event {
            IndexEvent::Done(path, _) => show(bar, &path.display().to_string()),
            // It was counted when it failed.
            IndexEvent::Forgotten(_) => return bar.suspend(|| self.tell_trouble(event)),
            _ => {}
        }
        bar.suspend(|| self.tell_trouble(event));
        bar.inc(1);
    }

    /// Says what is not as it should be.
    pub(super) fn tell_trouble(&mut self, event: &IndexEvent) {
        match event {
            IndexEvent::Done(path, warnings) => {
                warnings.iter().for_each(|warning| warn(&format!("{}: {warning}", path.display())));
            }
            IndexEvent::Failed(path, error) => {
                let message = failure(path, error);
                if self.failures.insert(message.clone()) {
                    report(&anyhow!(message));
                }
            }
            IndexEvent::Forgotten(path) => {
                let path = path.display();
                warn(&format!("{path}: forgotten, for it is no longer what it was when it was added"));
            }
            _ => {}
        }
    }

    /// How the run ended, with so many failures besides.
    pub(super) fn outcome_with(&self, failures: usize) -> Outcome {
        let IndexTotals { added, unchanged, moved, copied, failed, forgotten, .. } = self.totals;
        Outcome::of(added + unchanged + moved + copied + forgotten, failed + self.in_doubt + failures)
    }

    pub(super) fn print(&self, passed_over: &PassedOver, json: bool) -> Result<()> {
        let IndexTotals { added, unchanged, moved, copied, failed, forgotten, .. } = self.totals;
        let kept = self.kept;
        if json {
            let PassedOver { unknown, hidden, excluded, folder_links, special, undecodable, .. } =
                passed_over;
            let summary = serde_json::json!({
                "added": added, "unchanged": unchanged, "moved": moved, "copied": copied, "failed": failed,
                "pruned": forgotten, "kept": kept,
                "passed_over": {
                    "unknown": unknown, "hidden": hidden, "excluded": excluded, "folder_links": folder_links, "special": special,
                    "undecodable": undecodable,
                },
            });
            return Ok(print(&summary.to_string())?);
        }
        let mut line = format!("{added} added, {unchanged} unchanged, {failed} failed");
        let others = [
            (moved, "moved", "moved"),
            (copied, "copy of another", "copies of others"),
            (forgotten, "forgotten", "forgotten"),
            (kept, "not there but kept", "not there but kept"),
        ];
        for (count, one, several) in others {
            if count > 0 {
                line = format!("{line}, {}", counted(count, one, several));
            }
        }
        Ok(print(&line)?)
    }
}

/// Says that files which are not there stay in the library.
pub(super) fn tell_kept(folder: &Path, doubt: &Doubt, count: usize) {
    let folder = name(folder);
    let remedy = match doubt {
        Doubt::NotSearched => "give it as well, and what is gone there is",
        _ => "--prune-all forgets them",
    };
    let files = counted(count, "of its files is", "of its files are");
    warn(&format!("{folder}: {doubt}; {files} not forgotten: {remedy}"));
}
