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
}
