//! Pairs of others become files of a run's own, before it begins.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde_json::{Value, json};

use super::TrainError;
use super::config::{PairsImport, PairsSource, TrainConfig};
use crate::embedder::CancelToken;
use crate::import::{ImportError, ImportEvent, Imported, Output, all_files, import, sources};
use crate::store::{IoError, create_folder_of, write_file};

/// What a run made of pairs that others have.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedPairs {
    /// Where they are from.
    pub path: PathBuf,
    /// The run's own file of them.
    pub file: PathBuf,
    /// What they came to; `None` where the file was there already and nothing has changed since.
    pub imported: Option<Imported>,
    /// The first row that is no pair, as file and line, and why.
    pub first_refused: Option<String>,
}

/// The files of pairs of a run.
#[derive(Default)]
pub(super) struct Files {
    pub(super) pairs: Vec<PathBuf>,
    pub(super) held_out: Vec<PathBuf>,
    pub(super) imported: Vec<ImportedPairs>,
}

impl Files {
    /// Those that `config` names; what others wrote is imported into `folder`, once, and anew where it has changed.
    pub(super) fn of(config: &TrainConfig, folder: &Path, cancel: &CancelToken) -> Result<Self, TrainError> {
        let mut files = Self::default();
        files.pairs = files.all(&config.data.pairs, folder, "train", cancel)?;
        if let Some(evaluation) = &config.evaluation {
            files.held_out = files.all(&evaluation.pairs, folder, "held-out", cancel)?;
        }
        Ok(files)
    }

    fn all(
        &mut self,
        sources: &[PairsSource],
        folder: &Path,
        role: &str,
        cancel: &CancelToken,
    ) -> Result<Vec<PathBuf>, TrainError> {
        let one = |(number, source): (usize, &PairsSource)| match source {
            PairsSource::File(path) => Ok(path.clone()),
            PairsSource::Import(import) => {
                let made = own(import, &folder.join(format!("{role}-{}.jsonl", number + 1)), cancel)?;
                let file = made.file.clone();
                self.imported.push(made);
                Ok(file)
            }
        };
        sources.iter().enumerate().map(one).collect()
    }
}

/// The run's own file of what `from` names.
fn own(from: &PairsImport, file: &Path, cancel: &CancelToken) -> Result<ImportedPairs, TrainError> {
    let named = sources(&from.path, &from.settings)?;
    let now = identity(from, &named)?;
    let note = file.with_extension("source.json");
    let is_same = |text: String| serde_json::from_str::<Value>(&text).is_ok_and(|before| before == now);
    let unchanged =
        ImportedPairs { path: from.path.clone(), file: file.to_owned(), imported: None, first_refused: None };
    if file.is_file() && fs::read_to_string(&note).is_ok_and(is_same) {
        return Ok(unchanged);
    }
    create_folder_of(file)?;
    // A note is there only beside the file that it speaks of.
    if note.exists() {
        fs::remove_file(&note).map_err(IoError::of("remove", &note))?;
    }
    let mut first_refused = None;
    let imported = import(&named, &Output::at(file), &from.settings, cancel, &mut |event| {
        if let ImportEvent::Refused { place, reason } = event {
            first_refused.get_or_insert_with(|| format!("{place}: {reason}"));
        }
    });
    let imported = imported.map_err(|error| match error {
        ImportError::Cancelled => TrainError::Cancelled,
        error => error.into(),
    })?;
    if imported.pairs() == 0 {
        let place = from.path.display().to_string();
        let reason = first_refused.unwrap_or_else(|| "there are no rows".to_owned());
        return Err(TrainError::Config { place, reason: format!("no pairs to train on: {reason}") });
    }
    // What was refused may be good the next time, when its media are there.
    if imported.refused == 0 {
        write_file(&note, |file| file.write_all(now.to_string().as_bytes()))?;
    }
    Ok(ImportedPairs { imported: Some(imported), first_refused, ..unchanged })
}

/// What tells that a source is as it was: settings, and names, sizes and times of its files.
fn identity(from: &PairsImport, files: &[PathBuf]) -> Result<Value, TrainError> {
    let about = |path: &PathBuf| {
        let metadata = path.metadata().map_err(IoError::of("look at", path))?;
        let modified = metadata.modified().map_err(IoError::of("look at", path))?;
        let modified = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
        Ok(json!([path.to_string_lossy(), metadata.len(), modified]))
    };
    let mut all = Vec::new();
    for path in files {
        all.extend(all_files(path)?);
    }
    let files = all.iter().map(about).collect::<Result<Vec<_>, IoError>>()?;
    Ok(json!({ "settings": from.settings, "files": files, "version": env!("CARGO_PKG_VERSION") }))
}
