//! A file that appears under its name only when it is complete.

use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::Error;

/// Written under a hidden name beside its own. Dropped or failed before [`Self::finish`], it leaves an older file of
/// that name as it was, and nothing else; killed, the hidden file.
#[derive(Debug)]
pub(crate) struct AtomicFile {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
}

impl AtomicFile {
    /// Begins a file, making the directories above it.
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        gve::expect_replaceable(path).map_err(Error::io("replace", path))?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        let file = temporary_file(parent).map_err(Error::io("create a file in", parent))?;
        Ok(Self { path: path.to_owned(), file: BufWriter::new(file) })
    }

    /// The name the file will have.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Brings the content to disk and gives the file its name.
    pub(crate) fn finish(self) -> Result<(), Error> {
        let Self { path, file } = self;
        let file = file.into_inner().map_err(|e| Error::io("write", &path)(e.into_error()))?;
        file.as_file().sync_all().map_err(Error::io("write", &path))?;
        file.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
        Ok(())
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes `path` through `fill`, all of it or nothing.
///
/// # Errors
/// [`Error::Io`].
pub(crate) fn write_atomically(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), Error> {
    let mut file = AtomicFile::create(path)?;
    fill(&mut file).map_err(Error::io("write", path))?;
    file.finish()
}

/// A file of this process alone. Once it has its name, others may read it as far as the user's mask allows: results
/// and caches are shared by groups.
pub(crate) fn temporary_file(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model/rev/A.json");
        write_atomically(&path, |file| file.write_all(b"old")).unwrap();
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half of the ne")?;
            Err(io::Error::other("disk full"))
        });
        assert!(failed.unwrap_err().to_string().contains("disk full"));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
