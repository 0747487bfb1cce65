//! Writing files so that they appear under their names when they are complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ModelError;

/// `path` with `.tmp` behind its name.
fn temporary(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}

/// Writes `bytes` to `path`, which is replaced in one step.
pub(super) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
    let temporary = temporary(path);
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        // The first error is the one to tell of.
        drop(fs::remove_file(&temporary));
        ModelError::Write { path: path.to_owned(), source }
    })
}

/// Makes the directory `path`, which may not be there yet or be empty: `fill` is given a directory beside it that gets the name at the end. When
/// `fill` fails, nothing is left behind.
pub(super) fn write_directory(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), ModelError>,
) -> Result<(), ModelError> {
    let write = |source| ModelError::Write { path: path.to_owned(), source };
    match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            return Err(write(io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty")));
        }
        Ok(false) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(write(e)),
    }
    let temporary = temporary(path);
    match fs::remove_dir_all(&temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(ModelError::Write { path: temporary, source }),
    }
    let filled = fs::create_dir_all(&temporary).map_err(write).and_then(|()| fill(&temporary));
    let done = filled.and_then(|()| fs::rename(&temporary, path).map_err(write));
    if done.is_err() {
        drop(fs::remove_dir_all(&temporary));
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let failed = write_directory(&path, |inside| {
            write_file(&inside.join("a"), b"a")?;
            Err(ModelError::Batch("half-way".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        write_directory(&path, |inside| write_file(&inside.join("a"), b"a")).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"a");
        let message = write_directory(&path, |_| Ok(())).unwrap_err().to_string();
        assert!(message.contains("not empty") && message.contains("out"), "{message}");
    }
}
