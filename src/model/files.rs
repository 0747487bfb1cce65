//! Writing files so that they appear under their names when they are complete.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::ModelError;

/// Whether `name` is that of a file in the folder where it is told of, and leads nowhere else, on any system.
pub(crate) fn is_plain_file_name(name: &str) -> bool {
    let leads_away = |c: char| matches!(c, '/' | '\\' | ':') || c.is_control();
    !matches!(name, "" | "." | "..") && !name.contains(leads_away)
}

/// The hidden name beside `path` under which it is made.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.tmp"))
}

/// Writes `bytes` to `path`, which is replaced in one step.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ModelError> {
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
pub(crate) fn write_directory<T, E: From<ModelError>>(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let write = |source| ModelError::Write { path: path.to_owned(), source };
    match fs::read_dir(path).map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            let source = io::Error::new(io::ErrorKind::AlreadyExists, "the directory is not empty");
            return Err(write(source).into());
        }
        Ok(false) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(write(e).into()),
    }
    let temporary = temporary(path);
    // Left by a run that was killed.
    match fs::remove_dir_all(&temporary) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(ModelError::Write { path: temporary, source }.into()),
    }
    let made: Result<(), E> = fs::create_dir_all(&temporary).map_err(|e| write(e).into());
    let filled = made.and_then(|()| fill(&temporary));
    let done = filled.and_then(|made| match fs::rename(&temporary, path) {
        Ok(()) => Ok(made),
        Err(e) => Err(write(e).into()),
    });
    if done.is_err() {
        drop(fs::remove_dir_all(&temporary));
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_told() {
        for name in ["model-00001-of-00004.safetensors", "a", "..a", "ä ö.bin", "a..b"] {
            assert!(is_plain_file_name(name), "{name:?}");
        }
        for name in ["", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "C:x", "a\0b", "a\nb", "\u{1b}[2J"]
        {
            assert!(!is_plain_file_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_directory_is_there_whole_or_not_at_all() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("out");
        let failed: Result<(), _> = write_directory(&path, |inside| {
            write_file(&inside.join("a"), b"a")?;
            Err(ModelError::Batch("half-way".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
        // What only looks like a leftover is somebody's; and a shell puts a slash behind a directory that is there.
        let neighbour = parent.path().join("out.tmp");
        fs::create_dir_all(&neighbour).unwrap();
        fs::create_dir_all(&path).unwrap();
        let with_slash = parent.path().join("out/");
        write_directory(&with_slash, |inside| write_file(&inside.join("a"), b"a")).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"a");
        assert!(neighbour.is_dir());
        let message = write_directory(&path, |_| Ok::<_, ModelError>(())).unwrap_err().to_string();
        assert!(message.contains("not empty") && message.contains("out"), "{message}");
    }
}
