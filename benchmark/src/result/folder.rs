//! Where results lie, and finding them again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gve::store::IoError;
use sha2::{Digest, Sha256};

use super::dataset::{DatasetResult, line_of};
use crate::Error;

/// Longest folder name; file systems allow 255 bytes, and suffixes are to come.
const LONGEST_NAME: usize = 120;
/// mteb's description of the model, beside its results.
const MODEL_META: &str = "model_meta.json";

/// The results of one model in one revision.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ModelResults {
    /// `<model folder>@<revision folder>`.
    pub name: String,
    /// By data set.
    pub results: BTreeMap<String, StoredResult>,
}

/// A result and the file it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredResult {
    /// The file.
    pub path: PathBuf,
    /// What it holds.
    pub result: DatasetResult,
    /// Its main score, from 0 to 1.
    pub score: f64,
}

/// A folder name for any model name, revision, path or data set: `Alibaba-NLP/GVE-3B` is
/// `Alibaba-NLP__GVE-3B`.
///
/// Where characters have to be replaced or cut, a hash of the whole keeps different names apart.
pub fn safe_name(name: &str) -> String {
    let plain = name.trim_matches('/').replace('/', "__");
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-+=".contains(c);
    let mut safe: String = plain.chars().map(|c| if fits(c) { c } else { '-' }).take(LONGEST_NAME).collect();
    if safe.is_empty() || safe.starts_with('.') {
        safe.insert(0, '_');
    }
    if safe != plain {
        let hash = Sha256::digest(name.as_bytes());
        safe.push('-');
        safe.extend(hash.iter().take(4).map(|byte| format!("{byte:02x}")));
    }
    safe
}

/// The result file of a data set: `<out>/<org>__<model>/<revision>/<DATASET>.json`.
pub fn result_path(out: &Path, model: &str, revision: &str, dataset: &str) -> PathBuf {
    out.join(safe_name(model)).join(safe_name(revision)).join(format!("{}.json", safe_name(dataset)))
}

/// The file of query records beside a result file.
pub fn queries_path(result_path: &Path) -> PathBuf {
    result_path.with_extension("queries.jsonl")
}

/// All results under `out`: a folder of models, of one model's revisions, or of one revision's results.
///
/// `score` gives the score of a result, such as [`DatasetResult::main_score`], or why the result cannot be
/// used: an unknown data set, another metric. Such a file is one error and costs nothing else.
pub fn load_results(
    out: &Path,
    score: &dyn Fn(&DatasetResult) -> Result<f64, String>,
) -> (Vec<ModelResults>, Vec<Error>) {
    let mut errors = Vec::new();
    let directories = match revision_directories(out) {
        Ok(directories) => directories,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let mut models = Vec::new();
    for directory in directories {
        let mut model = ModelResults { name: model_name(&directory), results: BTreeMap::new() };
        let files = match result_files(&directory) {
            Ok(files) => files,
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        for path in files {
            if let Err(error) = load_one(&path, score).and_then(|stored| model.add(stored)) {
                errors.push(error);
            }
        }
        if !model.results.is_empty() {
            models.push(model);
        }
    }
    if models.is_empty() && errors.is_empty() {
        errors.push(Error::invalid(out, None, "no result files; expected MODEL/REVISION/DATASET.json in it"));
    }
    (models, errors)
}

impl ModelResults {
    /// Adds a result.
    ///
    /// # Errors
    /// [`Error::Invalid`] where there is one of that data set already, which stays.
    pub fn add(&mut self, stored: StoredResult) -> Result<(), Error> {
        let dataset = stored.result.task_name.clone();
        if let Some(first) = self.results.get(&dataset) {
            let reason = format!("a second result for `{dataset}`; {} is used", first.path.display());
            return Err(Error::invalid(stored.path, None, reason));
        }
        self.results.insert(dataset, stored);
        Ok(())
    }
}

fn load_one(
    path: &Path,
    score: &dyn Fn(&DatasetResult) -> Result<f64, String>,
) -> Result<StoredResult, Error> {
    let result = DatasetResult::read(path)?;
    let score = score(&result).map_err(|reason| {
        let line = fs::read_to_string(path).ok().and_then(|text| line_of(&text, "\"task_name\""));
        Error::invalid(path, line, reason)
    })?;
    Ok(StoredResult { path: path.to_owned(), result, score })
}

/// The folders that hold result files. How deep they lie below `out` tells what `out` is; JSON files further
/// up, such as a report, are no results.
fn revision_directories(out: &Path) -> Result<Vec<PathBuf>, Error> {
    // Also resolves `.`, of which the names of model and revision could not be told.
    let out = fs::canonicalize(out).map_err(IoError::of("open", out))?;
    let models = subdirectories(&out)?;
    let mut revisions = Vec::new();
    for model in &models {
        revisions.extend(subdirectories(model)?);
    }
    for level in [revisions, models] {
        let mut with_results = Vec::new();
        for directory in level {
            if !result_files(&directory)?.is_empty() {
                with_results.push(directory);
            }
        }
        if !with_results.is_empty() {
            return Ok(with_results);
        }
    }
    Ok(vec![out])
}

fn model_name(revision_directory: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("{}@{}", name(revision_directory.parent()), name(Some(revision_directory)))
}

fn subdirectories(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    Ok(entries(directory)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn result_files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let is_result = |path: &PathBuf| {
        path.extension().is_some_and(|e| e == "json")
            && path.file_name().is_some_and(|name| name != MODEL_META)
            && path.is_file()
    };
    Ok(entries(directory)?.into_iter().filter(is_result).collect())
}

/// What lies in a directory, sorted, without hidden files.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let list = || -> std::io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths = list().map_err(IoError::of("list", directory))?;
    paths.retain(|path| !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')));
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_and_stay_apart() {
        let plain = [
            ("Alibaba-NLP/GVE-3B", "Alibaba-NLP__GVE-3B"),
            ("/models/gve/", "models__gve"),
            ("main", "main"),
            ("MSRVTT-I2V", "MSRVTT-I2V"),
        ];
        for (name, expected) in plain {
            assert_eq!(safe_name(name), expected);
        }
        let long = "x".repeat(4000);
        let awkward =
            ["", ".", "..", "../../etc", "a:b", "a-b", "a b", "C:\\m", "\u{e9}", "a\nb", &long, ".hidden"];
        let mut seen = std::collections::BTreeSet::new();
        for name in awkward {
            let safe = safe_name(name);
            assert!(
                safe.len() < 200 && !safe.starts_with('.') && !safe.contains(['/', '\\', ':', '\n']),
                "{safe}"
            );
            assert!(seen.insert(safe.clone()), "{name:?} and another are both {safe}");
        }
    }
}
