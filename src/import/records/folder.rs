use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::super::error::ImportError;
use super::super::reading::Row;
use super::{Broken, OnRow, Refused, Storage, walk};
use crate::media::MediaKind;
use crate::store::IoError;
use crate::store::limited_file;

/// Endings of files that say what another of their name shows.
const SIDECARS: [&str; 5] = ["txt", "caption", "text", "captions", "json"];
/// Largest of them.
const MAX_SIDECAR_BYTES: u64 = 16 << 20;
/// Names of splits, which are not to be mixed unasked.
const SPLITS: [&str; 6] = ["train", "test", "validation", "val", "valid", "dev"];
/// What `datasets` writes beside data.
const ABOUT: [&str; 4] = ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];

/// The files to read of what a user named: of a folder of data those it holds, of the only split that is wanted;
/// else what was named.
pub(in crate::import) fn expand(path: &Path, split: Option<&str>) -> Result<Vec<PathBuf>, ImportError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let all = walk(path)?;
    let is_data = |file: &&PathBuf| {
        let is_cache = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cache-"));
        Storage::of_name(file).is_some_and(|storage| storage != Storage::Json) && !is_cache
    };
    let mut data: Vec<PathBuf> = all.iter().filter(is_data).cloned().collect();
    if data.is_empty() && !all.iter().any(|file| MediaKind::of_name(file).is_some()) {
        let is_json = |file: &&PathBuf| {
            let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            Storage::of_name(file) == Some(Storage::Json) && !ABOUT.contains(&name)
        };
        data = all.iter().filter(is_json).cloned().collect();
    }
    if data.is_empty() {
        return Ok(vec![path.to_owned()]);
    }
    let fault = |reason| Err(ImportError::File { path: path.to_owned(), reason });
    let splits: BTreeSet<&str> = data.iter().filter_map(|file| split_of(file, path, &SPLITS)).collect();
    match split {
        None if splits.len() > 1 => {
            let splits: Vec<&str> = splits.into_iter().collect();
            fault(format!(
                "it has the splits {}: say with `split` (--split) which is meant",
                splits.join(", ")
            ))
        }
        None => Ok(data),
        Some(wanted) => {
            let kept: Vec<PathBuf> =
                data.iter().filter(|file| split_of(file, path, &[wanted]).is_some()).cloned().collect();
            match (kept.is_empty(), splits.is_empty()) {
                (false, _) => Ok(kept),
                // The rows say it, or nothing does.
                (true, true) => Ok(data),
                (true, false) => {
                    let splits: Vec<&str> = splits.into_iter().collect();
                    fault(format!("it has no split {wanted}, but {}", splits.join(", ")))
                }
            }
        }
    }
}

/// Whether a file of a data set is wanted, by its name.
pub(in crate::import) fn is_data(name: &Path, split: Option<&str>) -> bool {
    let holds_rows = Storage::of_name(name).is_some();
    let of_another =
        split.is_some_and(|split| split_of(name, Path::new(""), &SPLITS).is_some_and(|of| of != split));
    (holds_rows || MediaKind::of_name(name).is_some()) && !of_another
}

/// Which of `names` a file below `root` is of: `train/x`, `train-00000-of-00002`, `train.x`.
fn split_of<'n>(file: &Path, root: &Path, names: &[&'n str]) -> Option<&'n str> {
    let beneath = file.strip_prefix(root).unwrap_or(file);
    let words = beneath
        .iter()
        .filter_map(|part| part.to_str())
        .map(|part| part.split(['-', '.', '_']).next().unwrap_or(part));
    let words: Vec<&str> = words.collect();
    names.iter().copied().find(|name| words.contains(name))
}

/// A row for each medium, with the files beside it by their endings.
pub(super) fn each(folder: &Path, on: &mut OnRow<'_>) -> Result<(), Broken> {
    for path in walk(folder)? {
        if MediaKind::of_name(&path).is_none() {
            continue;
        }
        let place = path.display().to_string();
        on(sample(&path)
            .map(|fields| Row { place: place.clone(), fields })
            .map_err(|reason| Refused { place, reason }))?;
    }
    Ok(())
}

fn sample(path: &Path) -> Result<Map<String, Value>, String> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    // Rows name files as seen from the folder that is read, or in full.
    let whole = std::path::absolute(path).map_err(|error| error.to_string())?;
    let whole = whole.to_str().ok_or("its path is not UTF-8")?;
    let mut fields = Map::from_iter([(ending, whole.into())]);
    for ending in SIDECARS {
        let beside = path.with_extension(ending);
        if !beside.is_file() {
            continue;
        }
        let bytes = limited_file::read(&beside, MAX_SIDECAR_BYTES).map_err(IoError::of("read", &beside));
        let text = bytes.map_err(|error| error.to_string()).and_then(crate::text::decode)?;
        let value = match ending {
            "json" => {
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", beside.display()))?
            }
            _ => text.trim().into(),
        };
        fields.insert(ending.to_owned(), value);
    }
    Ok(fields)
}
