//! The folder that a run writes to: one run's, and one process's at a time.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::SynthError;

/// Layout of output folders that this version writes and reads.
const FORMAT_VERSION: u32 = 1;
/// Differences that an error names, at most.
const MAX_DIFFERENCES: usize = 5;

/// A folder that is locked as long as it is open.
#[derive(Debug)]
pub(super) struct OutputFolder {
    root: PathBuf,
    _lock: File,
}

impl OutputFolder {
    /// Opens `root` for the run that `manifest` describes, which began there or begins now. The manifest is kept as `run.json`, and the same as
    /// long as the folder lives.
    ///
    /// # Errors
    /// [`SynthError::Locked`]; [`SynthError::OtherRun`], also for a folder that is not empty and no run's;
    /// [`SynthError::Io`].
    pub(super) fn open(root: &Path, manifest: &impl Serialize) -> Result<Self, SynthError> {
        fs::create_dir_all(root).map_err(SynthError::io("create the folder", root))?;
        let root = root.canonicalize().map_err(SynthError::io("open", root))?;
        let path = root.join("run.json");
        let ours = json(manifest).map_err(SynthError::io("write", &path))?;
        let begun = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(SynthError::io("read", &path)(error)),
        };
        let other = |differences| SynthError::OtherRun { path: root.clone(), differences };
        match &begun {
            Some(bytes) => {
                let saved: Value = serde_json::from_slice(bytes).map_err(|error| SynthError::Content {
                    path: path.clone(),
                    line: error.line(),
                    reason: format!("not the settings of a run: {error}"),
                })?;
                let differences = differences(&saved, &ours);
                if !differences.is_empty() {
                    return Err(other(differences));
                }
            }
            None if is_foreign(&root)? => {
                return Err(other(vec!["it holds files and no run.json".to_owned()]));
            }
            None => {}
        }
        let lock = lock(&root)?;
        if begun.is_none() {
            write_atomically(&path, |file| {
                serde_json::to_writer_pretty(&mut *file, &ours)?;
                file.write_all(b"\n")
            })?;
        }
        Ok(Self { root, _lock: lock })
    }

    /// The folder's absolute path.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

/// Writes a file that appears under its name only when it is complete.
pub(super) fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> Result<(), SynthError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = BufWriter::new(File::create(&temporary).map_err(SynthError::io("create", &temporary))?);
    write(&mut file)
        .and_then(|()| file.flush())
        .and_then(|()| file.get_ref().sync_all())
        .map_err(SynthError::io("write", &temporary))?;
    fs::rename(&temporary, path).map_err(SynthError::io("rename a finished file to", path))
}

fn json(manifest: &impl Serialize) -> io::Result<Value> {
    let mut json = serde_json::to_value(manifest)?;
    json["format_version"] = FORMAT_VERSION.into();
    // Read back, so that a number is what it will be when it is read from the file.
    Ok(serde_json::from_str(&json.to_string())?)
}

/// Whether there is something in `root` that an earlier start cannot have left.
fn is_foreign(root: &Path) -> Result<bool, SynthError> {
    let ours = ["run.json.tmp", "run.lock"];
    let mut entries = fs::read_dir(root).map_err(SynthError::io("read the folder", root))?;
    Ok(entries.any(|entry| entry.is_ok_and(|entry| !ours.iter().any(|name| entry.file_name() == *name))))
}

fn lock(root: &Path) -> Result<File, SynthError> {
    let path = root.join("run.lock");
    let file =
        File::options().create(true).append(true).open(&path).map_err(SynthError::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SynthError::Locked { path: root.to_owned() }),
        Err(TryLockError::Error(source)) => Err(SynthError::Io { path, action: "lock", source }),
    }
}

/// The first settings that differ, as sentences.
fn differences(saved: &Value, ours: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(&mut found, "", saved, ours);
    let more = found.len().saturating_sub(MAX_DIFFERENCES);
    found.truncate(MAX_DIFFERENCES);
    if more > 0 {
        found.push(format!("and {more} more"));
    }
    found
}

fn collect(found: &mut Vec<String>, place: &str, saved: &Value, ours: &Value) {
    if let (Value::Object(saved), Value::Object(ours)) = (saved, ours) {
        let keys: std::collections::BTreeSet<&String> = saved.keys().chain(ours.keys()).collect();
        let value = |object: &Map<String, Value>, key| object.get(key).cloned().unwrap_or_default();
        for key in keys {
            let place = if place.is_empty() { key.clone() } else { format!("{place}.{key}") };
            collect(found, &place, &value(saved, key), &value(ours, key));
        }
    } else if saved != ours {
        let show = |value: &Value| if value.is_null() { "missing".to_owned() } else { value.to_string() };
        found.push(format!("{place} is {} there and {} here", show(saved), show(ours)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |file| {
            file.write_all(b"new")?;
            Err(io::Error::other("the disk is full"))
        });
        assert!(failed.unwrap_err().to_string().contains("the disk is full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
