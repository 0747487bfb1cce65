//! What a run makes good of the damage in its library.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use gve::indexer::{IndexTotals, MediaFile};
use gve::retrieval::{LibraryWriter, RetrievalError};
use gve_cli::output::{name, note, report, warn};

use crate::library::{PARTS, tell_some};

/// What the damage that a run has found has cost.
#[derive(Default)]
pub(super) struct Damage {
    /// Files of which rows are lost.
    files: BTreeSet<PathBuf>,
    /// Whether there may be others, of which nobody knows.
    has_others: bool,
}

impl Damage {
    /// Says what is damaged. It is set aside, and what is lost with it is embedded anew.
    pub(super) fn in_library(library: &LibraryWriter, quiet: bool) -> Self {
        tell_some(library.damage(), PARTS, |one| warn(&one));
        if let Some(error) = library.tags_damage() {
            warn(&error);
        }
        let mut damage = Self::default();
        for error in library.damage() {
            match error {
                RetrievalError::DamagedNewest { .. } => {}
                RetrievalError::DamagedRows { file: Some(file), .. } => {
                    damage.files.insert(file.clone());
                }
                _ => damage.has_others = true,
            }
        }
        if (damage.has_others || !damage.files.is_empty()) && !quiet {
            note(
                "what is lost is embedded anew where its files are found now; damaged segments are kept as \
                 segments/*.damaged",
            );
        }
        damage
    }

    /// Says what stays lost once the `files` that were found are indexed; gives back how much that is.
    pub(super) fn tell_lost(
        &self,
        library: &LibraryWriter,
        files: &[MediaFile],
        totals: &IndexTotals,
    ) -> usize {
        let lost = self.files.iter().filter(|file| !library.has(file));
        let mut lost: Vec<String> = lost.map(|file| said_of(file)).collect();
        if self.has_others && !is_all_seen(library, files, totals) {
            lost.push(format!(
                "nobody can tell what else the damaged segments of the library {} held: index all of its folders \
                 again",
                name(library.directory())
            ));
        }
        tell_some(&lost, ["file of the library is lost", "files of the library are lost"], |one| {
            report(&anyhow!(one));
        });
        lost.len()
    }
}

fn said_of(file: &Path) -> String {
    let remedy = if file.exists() { "index it again" } else { "it is not there; index it again once it is" };
    format!("{}: what the library had of it is lost: {remedy}", name(file))
}

/// Whether this run has embedded something anew, and has found all files that the library has now: then those
/// that were lost were most likely among them, too.
fn is_all_seen(library: &LibraryWriter, files: &[MediaFile], totals: &IndexTotals) -> bool {
    let found: HashSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    totals.added + totals.moved + totals.copied > 0 && library.paths().all(|path| found.contains(path))
}
