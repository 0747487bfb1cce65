use std::fs::{self, File};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::IoError;
use super::regular_file::expect_replaceable;
use super::temporary;

/// A file that appears under its name only when it is complete.
///
/// It is written as `.<name>.tmp`, beside; [`finish`](Self::finish) brings it to disk and gives it its name.
/// Dropped before that, it is removed. Killed before that, it stays behind until the next that writes to the
/// same name; what was there is untouched either way.
#[derive(Debug)]
pub struct AtomicFile {
    path: PathBuf,
    temporary: PathBuf,
    file: BufWriter<File>,
    has_name: bool,
}

impl AtomicFile {
    /// Begins a file. One of the same name is replaced at the end, and so is a link to one; what it leads to
    /// stays.
    ///
    /// # Errors
    /// A folder, a device or a pipe lies at `path`, or a link to one; the file cannot be made.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self, IoError> {
        let path = path.into();
        expect_replaceable(&path).map_err(IoError::of("replace", &path))?;
        let (temporary, file) = temporary::create(&path).map_err(IoError::of("create", &path))?;
        Ok(Self { path, temporary, file: BufWriter::with_capacity(1 << 18, file), has_name: false })
    }

    /// The name the file will have.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Another handle to the file, for whoever insists on one. Writing through both mixes what is written.
    ///
    /// # Errors
    /// The system gives none.
    pub fn handle(&self) -> Result<File, IoError> {
        self.file.get_ref().try_clone().map_err(IoError::of("write", &self.path))
    }

    /// Brings the file to disk and gives it its name.
    ///
    /// # Errors
    /// Something of that fails. What was there before is untouched then, but where all that failed is to
    /// bring the new name to disk.
    pub fn finish(self) -> Result<(), IoError> {
        self.complete(true)
    }

    /// Gives the file its name and leaves it to the system when it comes to disk: a power failure may leave
    /// any part of it under that name. For files that carry a checksum and can be made again.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub fn finish_unsynced(self) -> Result<(), IoError> {
        self.complete(false)
    }

    fn complete(mut self, sync: bool) -> Result<(), IoError> {
        let mut write = || {
            self.file.flush()?;
            if sync { self.file.get_ref().sync_all() } else { Ok(()) }
        };
        write().map_err(IoError::of("write", &self.path))?;
        fs::rename(&self.temporary, &self.path)
            .map_err(IoError::of("rename a finished file to", &self.path))?;
        self.has_name = true;
        if sync { sync_parent(&self.path) } else { Ok(()) }
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

impl Seek for AtomicFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.has_name {
            // Nothing can be reported from here, and a left-over file does no harm.
            drop(fs::remove_file(&self.temporary));
        }
    }
}

/// Writes `path` through `fill`, all of it or nothing.
///
/// # Errors
/// As [`AtomicFile`]; those of `fill`, as failures to write.
pub fn write_file(
    path: impl Into<PathBuf>,
    fill: impl FnOnce(&mut AtomicFile) -> io::Result<()>,
) -> Result<(), IoError> {
    let mut file = AtomicFile::create(path)?;
    fill(&mut file).map_err(IoError::of("write", &file.path))?;
    file.finish()
}

/// Makes the folder that `path` is in, with all above it.
///
/// # Errors
/// One of them cannot be made.
pub fn create_folder_of(path: &Path) -> Result<(), IoError> {
    match path.parent() {
        Some(folder) => fs::create_dir_all(folder).map_err(IoError::of("create the folder", folder)),
        None => Ok(()),
    }
}

/// Makes `path` a link to `target`, or a copy of it where the system has no links; replaces what is there.
/// For one writer at a time. `target` is seen from the folder of `path`.
pub(crate) fn write_link(target: &Path, path: &Path) -> Result<(), IoError> {
    #[cfg(unix)]
    {
        let temporary = temporary::temporary(path, 0);
        let made = match std::os::unix::fs::symlink(target, &temporary) {
            // Left by a process that was killed.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&temporary).and_then(|()| std::os::unix::fs::symlink(target, &temporary))
            }
            made => made,
        };
        made.map_err(IoError::of("create", path))?;
        rename(&temporary, path).inspect_err(|_| drop(fs::remove_file(&temporary)))
    }
    #[cfg(not(unix))]
    {
        let source = path.parent().unwrap_or(Path::new("")).join(target);
        write_file(path, |file| io::copy(&mut File::open(source)?, file).map(|_| ()))
    }
}

/// Gives what is on disk at `from` the name `to`, and brings the name to disk. Both are in one folder.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), IoError> {
    fs::rename(from, to).map_err(IoError::of("rename what is finished to", to))?;
    sync_parent(to)
}

/// Makes new and removed names in the folder of `path` durable.
pub(super) fn sync_parent(path: &Path) -> Result<(), IoError> {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => sync_folder(Path::new(".")),
        Some(folder) => sync_folder(folder),
        None => Ok(()),
    }
}

/// Makes new and removed names in `folder` durable. Only Unix lets a folder be synced, and only whoever may
/// read it.
pub(super) fn sync_folder(folder: &Path) -> Result<(), IoError> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        opened => opened.and_then(|folder| folder.sync_all()).map_err(IoError::of("sync the folder", folder)),
    }
}
