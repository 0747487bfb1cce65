//! The folder that a run writes to: one run's, and one process's at a time.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Value, json};

use super::SynthError;
use crate::recipe::RecipeId;
use crate::store::{IoError, Lock, differences, limited_file, write_file};

/// Layout of output folders that this version writes and reads.
const FORMAT_VERSION: u32 = 1;
/// Longest description of a run, in bytes: it names each video.
const MAX_BYTES: u64 = 256 << 20;

/// A folder that is locked as long as it is open.
#[derive(Debug)]
pub(super) struct OutputFolder {
    root: PathBuf,
    _lock: Lock,
}

impl OutputFolder {
    /// Opens `root` for the run that `manifest` describes, which began there or begins now. The manifest is
    /// kept as `run.json`, and the same as long as the folder lives.
    ///
    /// # Errors
    /// [`SynthError::Locked`]; [`SynthError::OtherRun`]; [`SynthError::NotARun`] for a folder that is not
    /// empty and no run's; [`SynthError::Io`].
    pub(super) fn open(root: &Path, manifest: &impl Serialize) -> Result<Self, SynthError> {
        fs::create_dir_all(root).map_err(IoError::of("create the folder", root))?;
        let root = root.canonicalize().map_err(IoError::of("open", root))?;
        let path = root.join("run.json");
        let ours = json(manifest).map_err(IoError::of("write", &path))?;
        if !path.exists() && is_foreign(&root)? {
            return Err(SynthError::NotARun { path: root });
        }
        let lock = Lock::take(&root.join("run.lock"))?;
        let lock = lock.ok_or_else(|| SynthError::Locked { path: root.clone() })?;
        let begun = match limited_file::read(&path, MAX_BYTES) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(IoError::of("read", &path)(error).into()),
        };
        match begun {
            Some(bytes) => {
                let mut saved: Value =
                    serde_json::from_slice(&bytes).map_err(|error| SynthError::Content {
                        path: path.clone(),
                        line: error.line(),
                        reason: format!("not the settings of a run: {error}"),
                    })?;
                read_encoding_of_0_1(&mut saved);
                let differences = differences(&as_compared(saved), &as_compared(ours));
                if !differences.is_empty() {
                    return Err(SynthError::OtherRun { path: root, differences });
                }
            }
            None => write_file(&path, |file| {
                serde_json::to_writer_pretty(&mut *file, &ours)?;
                file.write_all(b"\n")
            })?,
        }
        Ok(Self { root, _lock: lock })
    }

    /// The folder's absolute path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

fn json(manifest: &impl Serialize) -> io::Result<Value> {
    let mut json = serde_json::to_value(manifest)?;
    json["format_version"] = FORMAT_VERSION.into();
    // Read back, so that a number is what it will be when it is read from the file.
    Ok(serde_json::from_str(&json.to_string())?)
}

/// Whether there is something in `root` that an earlier start cannot have left.
fn is_foreign(root: &Path) -> Result<bool, SynthError> {
    // The last is of releases before 0.2.
    let ours = ["run.lock", ".run.json.tmp", "run.json.tmp"];
    let mut entries = fs::read_dir(root).map_err(IoError::of("read the folder", root))?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| !ours.iter().any(|name| entry.file_name() == *name))))
}

/// The recipe of the embedder by its hash alone, which says all. Releases before 0.2 had GVE's. How a library
/// of its embeddings is laid out is no part of what it is.
fn as_compared(mut manifest: Value) -> Value {
    if let Some(embedder) = manifest.get_mut("embedder").filter(|embedder| embedder.is_object()) {
        let hash = embedder.pointer("/recipe/hash").cloned();
        embedder["recipe"] = hash.unwrap_or_else(|| RecipeId::gve().hash.into());
        embedder["format_version"].take();
    }
    manifest
}

/// Releases before 0.2 wrote the encoding of videos as Rust's `Debug` shows it.
fn read_encoding_of_0_1(saved: &mut Value) {
    let Some(encoding) = saved["encoding"].as_str() else { return };
    let crf =
        encoding.strip_prefix("H264 { crf: ").and_then(|rest| rest.strip_suffix(" }")?.parse::<u8>().ok());
    if let Some(crf) = crf {
        saved["encoding"] = json!({"h264": {"crf": crf}});
    } else if encoding == "Ffv1" {
        saved["encoding"] = json!("ffv1");
    }
}
