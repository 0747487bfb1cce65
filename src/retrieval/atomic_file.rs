//! A file that appears under its name only when it is complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::RetrievalError;
use crate::regular_file::expect_replaceable;

/// Ends the names of files that are being written. Whoever finds one without its writer may delete it.
pub(super) const TEMPORARY_SUFFIX: &str = ".tmp";

/// Writes to `<name>.tmp`; [`AtomicFile::finish`] brings the data to disk and gives the file its name.
///
/// Dropped before that, the temporary file is removed. Killed before that, it stays behind, and `path` is
/// untouched either way.
pub(super) struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    finished: bool,
}

impl AtomicFile {
    pub(super) fn create(path: &Path) -> Result<Self, RetrievalError> {
        expect_replaceable(path).map_err(RetrievalError::io("replace", path))?;
        let mut name = path.as_os_str().to_owned();
        name.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(name);
        let file = File::create(&temporary).map_err(RetrievalError::io("create", &temporary))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file: BufWriter::with_capacity(1 << 18, file),
            finished: false,
        })
    }

    /// The name the file will have.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Overwrites the first bytes, for headers that need what is known only at the end.
    pub(super) fn overwrite_start(&mut self, bytes: &[u8]) -> Result<(), RetrievalError> {
        let mut overwrite = || {
            self.file.seek(SeekFrom::Start(0))?;
            self.file.write_all(bytes)
        };
        overwrite().map_err(RetrievalError::io("write", &self.temporary))
    }

    pub(super) fn finish(mut self) -> Result<(), RetrievalError> {
        self.file.flush().map_err(RetrievalError::io("write", &self.temporary))?;
        self.file.get_ref().sync_all().map_err(RetrievalError::io("write", &self.temporary))?;
        fs::rename(&self.temporary, &self.path)
            .map_err(RetrievalError::io("rename a finished file to", &self.path))?;
        self.finished = true;
        match self.path.parent() {
            Some(directory) => sync_directory(directory),
            None => Ok(()),
        }
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

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.finished {
            // Nothing can be reported from here, and a left-over file does no harm.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Makes new and removed names in `directory` durable. Only Unix lets a directory be synced.
#[cfg(unix)]
fn sync_directory(directory: &Path) -> Result<(), RetrievalError> {
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)
        .and_then(|d| d.sync_all())
        .map_err(RetrievalError::io("sync the directory", directory))
}

#[cfg(not(unix))]
fn sync_directory(_: &Path) -> Result<(), RetrievalError> {
    Ok(())
}
