//! What a run makes good of the damage in its library.

use std::collections::{BTreeSet, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use gve::indexer::{IndexError, IndexEvent, IndexTotals, MediaFile, gone};
use gve::retrieval::{LibraryWriter, RetrievalError};
use gve_cli::output::{name, note, report, warn};

use super::Searched;
use crate::library::{PARTS, tell_some};

/// What the damage that a run has found has cost.
#[derive(Default)]
pub(super) struct Damage {
    /// Files of which rows are lost, by what these say: they may be of a file that was forgotten long ago,
    /// and what they say may be damaged itself.
    files: BTreeSet<PathBuf>,
    /// Whether there may be others, of which nobody knows.
    has_others: bool,
    /// Those of the files that failed, which was told.
    failed: HashSet<PathBuf>,
    /// What the files are called that were embedded.
    embedded: HashSet<OsString>,
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
                // Others are in no library.
                RetrievalError::DamagedRows { file: Some(file), .. } if file.is_absolute() => {
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

    /// To be asked for everything that becomes of a file.
    pub(super) fn see(&mut self, event: &IndexEvent) {
        if self.files.is_empty() {
            return;
        }
        match event {
            IndexEvent::Failed(path, _) => {
                self.failed.insert(path.clone());
            }
            IndexEvent::Done(path, _) => self.embedded.extend(path.file_name().map(ToOwned::to_owned)),
            _ => {}
        }
    }

    /// Says what stays lost once what was found is indexed; gives back how much that is.
    pub(super) fn tell_lost(
        &self,
        library: &LibraryWriter,
        searched: &Searched,
        totals: &IndexTotals,
    ) -> Result<usize, RetrievalError> {
        let mut lost: Vec<String> = Vec::new();
        let files = self.files.iter().map(PathBuf::as_path);
        let is_whole = |file: &Path| library.has(file) && !library.is_incomplete(file);
        let is_lacking = |file: &&Path| !is_whole(file) && !self.has_failed(file, searched);
        let lacking: Vec<&Path> = files.filter(is_lacking).collect();
        let gone = gone(library, &searched.found, lacking.iter().copied())?;
        let gone: HashSet<&Path> = gone.into_iter().collect();
        for file in lacking.into_iter().filter(|file| !gone.contains(file)) {
            let part = if library.has(file) { "a part of " } else { "" };
            let what = format!("{}: {part}what the library had of it is lost", name(file));
            if file.exists() {
                lost.push(format!("{what}: index it again"));
            } else if !self.is_elsewhere(file) {
                lost.push(format!(
                    "{what}: it is not there, and nobody can tell whether it is gone; if not, index it again once it \
                     is back"
                ));
            }
        }
        if self.has_others && !is_all_seen(library, &searched.files, totals) {
            lost.push(format!(
                "nobody can tell what else the damaged segments of the library {} held: index all of its folders \
                 again",
                name(library.directory())
            ));
        }
        tell_some(&lost, ["file of the library is lost", "files of the library are lost"], |one| {
            report(&anyhow!(one));
        });
        Ok(lost.len())
    }

    /// Whether it was told of a file, and counted, that it cannot be embedded or looked at.
    fn has_failed(&self, file: &Path, searched: &Searched) -> bool {
        self.failed.contains(file) || searched.failures.iter().any(|error| path_of(error) == Some(file))
    }

    /// Whether a file that is not there was most likely found elsewhere: its name is all that is known of it.
    fn is_elsewhere(&self, file: &Path) -> bool {
        file.file_name().is_some_and(|name| self.embedded.contains(name))
    }
}

/// What cannot be looked at.
fn path_of(error: &IndexError) -> Option<&Path> {
    match error {
        IndexError::Io(error) => Some(&error.path),
        IndexError::UnknownExtension { path } | IndexError::NotAFile { path, .. } => Some(path),
        _ => None,
    }
}

/// Whether this run has embedded something anew, and has found all files that the library has now: then those
/// that were lost were most likely among them, too.
fn is_all_seen(library: &LibraryWriter, files: &[MediaFile], totals: &IndexTotals) -> bool {
    let found: HashSet<&Path> = files.iter().map(|file| file.path.as_path()).collect();
    totals.added + totals.moved + totals.copied > 0 && library.paths().all(|path| found.contains(path))
}
