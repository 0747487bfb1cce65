use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::IoError;
use super::atomic_file::{rename, sync_folder};
use super::temporary::{is_at, is_ours, temporary};

/// What becomes of a folder that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and that is an error, unless it is empty.
    Refuse,
    /// The new one takes its place. A process that is killed at that very moment leaves the old one as
    /// `.<name>.old`, and the next that writes there puts it back first.
    Replace,
}

/// Makes the folder `path` appear with all that `fill` writes into the folder it is given, brought to disk;
/// or not at all. That folder is `.<name>.tmp`, beside; one that a killed process left there is removed.
///
/// # Errors
/// Those of `fill`; a folder that is in the way; another process that makes the same one; whatever keeps the
/// files from being brought to disk. What was there before is there again then, and nothing else.
pub fn write_folder<T, E: From<IoError>>(
    path: &Path,
    existing: Existing,
    fill: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let replaced = replaced(path);
    if existing == Existing::Refuse {
        expect_empty(path).map_err(IoError::of("write", path))?;
    }
    let temporary = temporary(path, 0);
    let _lock = begin(&temporary).map_err(IoError::of("write", path))?;
    let ready = match existing {
        Existing::Replace if path.exists() => remove(&replaced),
        Existing::Replace if replaced.exists() => rename(&replaced, path),
        _ => Ok(()),
    };
    let made = ready.map_err(E::from).and_then(|()| fill(&temporary)).and_then(|made| {
        sync_below(&temporary)?;
        match existing {
            // What somebody has filled meanwhile is not removed, and in the way.
            Existing::Refuse => {
                drop(fs::remove_dir(path));
                rename(&temporary, path)?;
            }
            Existing::Replace => put_in_place(&temporary, path, &replaced)?,
        }
        Ok(made)
    });
    if made.is_err() {
        // The error that matters is the one at hand, and the next that writes removes what is left.
        drop(remove(&temporary));
    }
    if path.exists() {
        drop(remove(&replaced));
    }
    made
}

/// Takes a folder away, so that no half of it is ever seen under its name.
///
/// # Errors
/// It cannot be renamed or removed.
pub fn remove_folder(path: &Path) -> Result<(), IoError> {
    let hidden = temporary(path, 0);
    remove(&hidden)?;
    remove(&replaced(path))?;
    rename(path, &hidden)?;
    remove(&hidden)
}

/// The name beside `path` of what lay there and is being replaced.
fn replaced(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".old");
    path.with_file_name(name)
}

fn expect_empty(path: &Path) -> io::Result<()> {
    match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => Err(io::Error::new(io::ErrorKind::AlreadyExists, "the folder is not empty")),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// An empty folder that is ours as long as what is given back lives.
fn begin(temporary: &Path) -> io::Result<Option<File>> {
    let busy = || io::Error::new(io::ErrorKind::ResourceBusy, "another process is writing it");
    // Only Unix opens folders.
    if cfg!(unix)
        && let Ok(there) = File::open(temporary)
        && !is_ours(&there)
    {
        return Err(busy());
    }
    match fs::remove_dir_all(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(temporary)?,
    }
    if cfg!(not(unix)) {
        return Ok(None);
    }
    let folder = File::open(temporary)?;
    if is_ours(&folder) && is_at(&folder, temporary)? { Ok(Some(folder)) } else { Err(busy()) }
}

/// Puts `new` in the place of `path`, and what was there into `replaced`; puts that back if it cannot.
fn put_in_place(new: &Path, path: &Path, replaced: &Path) -> Result<(), IoError> {
    if path.exists() && expect_empty(path).is_err() {
        rename(path, replaced)?;
        return rename(new, path).inspect_err(|_| drop(rename(replaced, path)));
    }
    rename(new, path)
}

fn remove(folder: &Path) -> Result<(), IoError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(IoError::of("remove", folder)(error)),
        _ => Ok(()),
    }
}

/// Brings every file below `folder`, and their names, to disk.
fn sync_below(folder: &Path) -> Result<(), IoError> {
    for entry in fs::read_dir(folder).map_err(IoError::of("read", folder))? {
        let path = entry.map_err(IoError::of("read", folder))?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            File::open(&path).and_then(|file| file.sync_all()).map_err(IoError::of("write", &path))?;
        }
    }
    sync_folder(folder)
}
