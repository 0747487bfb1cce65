//! What the commands that read libraries and folders share.

use std::path::Path;

use anyhow::{Result, anyhow};
use gve::hub::{HubError, NANO, ResolvedModel};
use gve::indexer::PassedOver;
use gve::retrieval::{
    Library, LibraryManifest, LibraryOptions, LibraryWriter, MANIFEST_FORMAT_VERSION, RetrievalError,
};
use gve_cli::hub::resolve;
use gve_cli::options::ModelOptions;
use gve_cli::output::{counted, name, note, printable, progress_bar, report, warn};

/// Damaged parts that are named one by one.
const MAX_NAMED: usize = 20;
/// What is said of one damaged part, and of several.
pub(crate) const PARTS: [&str; 2] = ["part of the library is damaged", "parts of the library are damaged"];

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

/// Finds the model to search or continue the library in `directory` with: where none is given, the one that
/// it was made with. Where that is not found, or the folder of another, it says which one that was.
pub(crate) fn find_model(options: &ModelOptions, directory: &Path) -> Result<ResolvedModel> {
    // Where there is no library yet, or none that can be read, others say so.
    let Ok(manifest) = LibraryManifest::read(directory) else { return options.resolve() };
    let (library, model) = (name(directory), printable(&manifest.model));
    let is_of_library = options.model.is_none();
    let found = if is_of_library {
        let revision = options.revision.as_deref().or(manifest.revision.as_deref());
        resolve(&manifest.model, revision, options.quiet)
    } else {
        options.resolve()
    };
    let found = found.map_err(|error| {
        let is_of_folder = matches!(
            error.downcast_ref(),
            Some(
                HubError::NotAReference { .. }
                    | HubError::NotADirectory { .. }
                    | HubError::IncompleteDirectory { .. }
            )
        );
        let said = format!("the library {library} was made with the model {model}");
        if is_of_folder && Path::new(&manifest.model).is_absolute() {
            error.context(format!("{said}: if that was moved, give its new place as --model"))
        } else if is_of_library {
            error.context(format!("{said}, which is taken where no --model is given"))
        } else {
            error
        }
    })?;
    if is_of_library && manifest.model != NANO && !options.quiet {
        note(&format!("using the model {model}, which the library was made with"));
    }
    Ok(found)
}

/// Names what is damaged in a library, and not all of it where that is much.
pub(crate) fn report_damage<T: ToString>(damage: &[T]) {
    tell_some(damage, PARTS, |one| report(&anyhow!(one)));
}

/// Has the first few told, and how many there are besides, of which `one` or `several` say what is the matter.
pub(crate) fn tell_some<T: ToString>(all: &[T], [one, several]: [&str; 2], tell: impl Fn(String)) {
    all.iter().take(MAX_NAMED).for_each(|one| tell(one.to_string()));
    if all.len() > MAX_NAMED {
        tell(counted(all.len() - MAX_NAMED, &format!("further {one}"), &format!("further {several}")));
    }
}

/// Says what opening a library for writing has done to it.
pub(crate) fn tell_format(library: &LibraryWriter) {
    let before = library.format_before();
    if before != MANIFEST_FORMAT_VERSION {
        note(&format!(
            "the library is brought from format version {before} to {MANIFEST_FORMAT_VERSION}: programs of before \
             cannot read it any more"
        ));
    }
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
