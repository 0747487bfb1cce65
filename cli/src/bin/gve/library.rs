//! What the commands that read libraries and folders share.

use std::path::Path;

use anyhow::anyhow;
use gve::indexer::PassedOver;
use gve::retrieval::{Library, LibraryOptions, LibraryWriter, MANIFEST_FORMAT_VERSION, RetrievalError};
use gve_cli::output::{note, progress_bar, report, warn};

/// Damaged parts that are named one by one.
const MAX_NAMED: usize = 20;

/// Opens a library for searching, and shows how far it is where that takes long.
pub(crate) fn open_library(directory: &Path, quiet: bool) -> Result<Library, RetrievalError> {
    let mut bar = None;
    let library = Library::open_with(directory, &LibraryOptions::default(), |done, all| {
        let bar = bar.get_or_insert_with(|| progress_bar(all, "rows, of which codes are made", quiet));
        bar.set_position(done as u64);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    library
}

/// Names what is damaged in a library, and not all of it where that is much.
pub(crate) fn report_damage(damage: &[RetrievalError]) {
    damage.iter().take(MAX_NAMED).for_each(|error| report(&anyhow!(error.to_string())));
    if damage.len() > MAX_NAMED {
        report(&anyhow!("{} further parts of the library are damaged", damage.len() - MAX_NAMED));
    }
}

/// Says what opening a library for writing has found and done.
pub(crate) fn report_opened(library: &LibraryWriter) {
    let before = library.format_before();
    if before != MANIFEST_FORMAT_VERSION {
        note(&format!(
            "the library is brought from format version {before} to {MANIFEST_FORMAT_VERSION}: programs of before \
             cannot read it any more"
        ));
    }
    report_damage(library.damage());
}

/// Says what a search for files passed over: a warning where it found nothing. `remedy` has more files taken,
/// where there is one.
pub(crate) fn tell_passed_over(
    passed_over: &PassedOver,
    remedy: Option<&str>,
    found_nothing: bool,
    quiet: bool,
) {
    if passed_over.is_empty() {
        return;
    }
    let remedy = remedy.filter(|_| !passed_over.unknown.is_empty());
    let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    if found_nothing {
        warn(&format!("nothing found; passed over: {passed_over}{remedy}"));
    } else if !quiet {
        note(&format!("passed over: {passed_over}{remedy}"));
    }
}
