//! What a local directory of weights is called.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use gve::store::IoError;
use rayon::prelude::*;

use super::content::{Fields, hash_file};
use super::record::hex;
use crate::Error;

/// Digits of a revision: enough that no two checkpoints share one by accident.
const DIGITS: usize = 16;

/// A revision for a checkpoint that comes from no hub: 16 hex digits of a hash over the content of what a
/// model is loaded from, the `.json` and `.safetensors` files of `directory`, and their names.
///
/// Not [`gve::model::checkpoint_fingerprint`], which samples the weights, as libraries have it: each search
/// asks anew whether the model is theirs, and cannot read 15 GB for it. A benchmark reads weights once, before
/// hours of embedding, and its results outlive the weights: two checkpoints that differ in one value anywhere
/// must not share a result. And what this is called is in the names and keys of results and caches that are
/// there.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] where there is no such file.
pub fn checkpoint_revision(directory: &Path) -> Result<String, Error> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(IoError::of("read", directory))? {
        let path = entry.map_err(IoError::of("read", directory))?.path();
        let known = matches!(path.extension().and_then(OsStr::to_str), Some("json" | "safetensors"));
        if known && path.is_file() {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Error::invalid(directory, None, "no .json or .safetensors file in it: not a checkpoint"));
    }
    files.sort();
    let hash = |path: &PathBuf| hash_file(path).map_err(IoError::of("read", path));
    let hashes: Vec<_> = files.par_iter().map(hash).collect::<Result<_, IoError>>()?;
    let mut revision = Fields::new("uvrb checkpoint 1");
    for (path, hash) in files.iter().zip(&hashes) {
        revision.bytes(path.file_name().unwrap_or_default().as_encoded_bytes()).bytes(hash);
    }
    Ok(hex(&revision.finish())[..DIGITS].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_follows_names_and_contents_of_what_is_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let revision = || checkpoint_revision(directory.path()).unwrap();
        assert!(checkpoint_revision(directory.path()).unwrap_err().to_string().contains("not a checkpoint"));
        fs::write(at("config.json"), "{}").unwrap();
        fs::write(at("model.safetensors"), "weights").unwrap();
        let first = revision();
        assert!(first.len() == 16 && first.bytes().all(|digit| digit.is_ascii_hexdigit()));
        fs::write(at("README.md"), "about").unwrap();
        assert_eq!(revision(), first);
        fs::write(at("model.safetensors"), "Weights").unwrap();
        assert_ne!(revision(), first);
        fs::write(at("model.safetensors"), "weights").unwrap();
        assert_eq!(revision(), first);
        fs::rename(at("model.safetensors"), at("other.safetensors")).unwrap();
        assert_ne!(revision(), first);
    }

    /// Why there are two answers to what a checkpoint is.
    #[test]
    fn a_revision_tells_what_a_fingerprint_may_not() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny-a/model");
        let directory = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(&model).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
        }
        // The name that results of release 0.1 have.
        assert_eq!(checkpoint_revision(directory.path()).unwrap(), "e60174a011020eef");
        let answers = || {
            let fingerprint = gve::model::checkpoint_fingerprint(directory.path()).unwrap();
            (checkpoint_revision(directory.path()).unwrap(), fingerprint)
        };
        let before = answers();
        let path = directory.path().join("model-00001-of-00004.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        // Behind the 64 bytes that are looked at of every 256th.
        let part = (bytes.len() - header) / 256;
        assert!(part > 80, "{part}");
        bytes[header + 72] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let of_one_value = answers();
        assert!(of_one_value.0 != before.0 && of_one_value.1 == before.1);
        // A step of training touches all values.
        bytes[header..].iter_mut().step_by(4).for_each(|byte| *byte ^= 1);
        fs::write(&path, &bytes).unwrap();
        let trained = answers();
        assert!(trained.0 != before.0 && trained.1 != before.1);
    }
}
