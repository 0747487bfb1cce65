//! Names of what is being written, and who is writing it.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use super::regular_file::expect_replaceable;

/// Ends the names of what is being written.
const SUFFIX: &str = ".tmp";
/// Processes and threads that write to one name at the same time, at most.
const MOST_WRITERS: usize = 1000;

/// The hidden name beside `path` under which it is made, by the `number`-th that does so at the same time.
pub(super) fn temporary(path: &Path, number: usize) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    if number > 0 {
        name.push(format!(".{number}"));
    }
    name.push(SUFFIX);
    path.with_file_name(name)
}

/// Whether a name is one of something that is being written, or was by a process that was killed. Releases
/// before 0.2 did not hide them.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.as_os_str().as_encoded_bytes().ends_with(SUFFIX.as_bytes())
}

/// An empty file beside `path`, and its name. Nobody else is given the same one as long as it is open; one
/// that a killed process left is used again.
pub(super) fn create(path: &Path) -> io::Result<(PathBuf, File)> {
    for number in 0..MOST_WRITERS {
        let temporary = temporary(path, number);
        let file = open_own(&temporary)?;
        // Its writer may have given it its name since it was opened: that is no longer to be written to.
        if is_ours(&file) && is_at(&file, &temporary)? {
            file.set_len(0)?;
            return Ok((temporary, file));
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{MOST_WRITERS} others are writing it")))
}

/// Whether nobody else writes to `file`, now that we do. A file system that has no locks has nobody else in
/// it, as far as can be told.
pub(super) fn is_ours(file: &File) -> bool {
    !matches!(file.try_lock(), Err(TryLockError::WouldBlock))
}

/// Whether `file` still is what lies at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let ours = file.metadata()?;
        let there = fs::symlink_metadata(path);
        Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
    }
    #[cfg(not(unix))]
    {
        file.metadata().map(|_| path.exists())
    }
}

/// Opens or creates a file of ours for reading and writing, without changing it. A link in its place, which
/// would lead the writing elsewhere, is removed.
pub(crate) fn open_own(path: &Path) -> io::Result<File> {
    if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) {
        fs::remove_file(path)?;
    }
    // To open a pipe would be to wait for somebody at its other end.
    expect_replaceable(path)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    options.open(path)
}
