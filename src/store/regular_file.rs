//! Opening what somebody named as a file, without ever waiting for a pipe, a socket or a device to say
//! something.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::Path;

/// Opens the regular file at `path`, or at the end of the links there, for reading.
///
/// A named pipe would hold up whoever opens it until somebody writes to it, and a device may never end.
/// Neither is opened, nor read should it take a file's place in the meantime.
///
/// # Errors
/// That of the system; [`io::ErrorKind::IsADirectory`], and [`io::ErrorKind::InvalidInput`] for anything else
/// that is no regular file. Both say what lies there.
pub fn open_regular_file(path: &Path) -> io::Result<File> {
    // Looked at first: opening a pipe, even for a moment, would let its writer go on and fail.
    expect_regular(&fs::metadata(path)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path)?;
    expect_regular(&file.metadata()?)?;
    Ok(file)
}

/// Sees that a new file may take the place of what lies at `path`: nothing, or a regular file. Whoever may
/// write to a folder of devices could put a file in the place of one.
///
/// # Errors
/// As [`open_regular_file`]; nothing there is no error.
pub fn expect_replaceable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(metadata) => expect_regular(&metadata),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn expect_regular(metadata: &Metadata) -> io::Result<()> {
    let Some(found) = irregular(metadata) else { return Ok(()) };
    let kind = if metadata.is_dir() { io::ErrorKind::IsADirectory } else { io::ErrorKind::InvalidInput };
    Err(io::Error::new(kind, format!("it is {found}, expected a regular file")))
}

/// What it is that is no regular file, with its article.
pub(crate) fn irregular(metadata: &Metadata) -> Option<&'static str> {
    if metadata.is_file() {
        return None;
    }
    if metadata.is_dir() {
        return Some("a directory");
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = metadata.file_type();
        if kind.is_fifo() {
            return Some("a named pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    Some("not a regular file")
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_regular_files_are_opened_and_nothing_waits() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let socket = dir.path().join("socket");
        let _listener = UnixListener::bind(&socket).unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let table = [
            (pipe.as_path(), "a named pipe"),
            (&link, "a named pipe"),
            (&socket, "a socket"),
            (Path::new("/dev/zero"), "a device"),
            (dir.path(), "a directory"),
        ];
        for (path, what) in table {
            let error = open_regular_file(path).unwrap_err().to_string();
            assert_eq!(error, format!("it is {what}, expected a regular file"));
            assert_eq!(expect_replaceable(path).unwrap_err().to_string(), error);
        }
        let file = dir.path().join("file");
        fs::write(&file, "words").unwrap();
        std::os::unix::fs::symlink(&file, dir.path().join("other")).unwrap();
        assert_eq!(
            io::read_to_string(open_regular_file(&dir.path().join("other")).unwrap()).unwrap(),
            "words"
        );
        let none = dir.path().join("none");
        assert_eq!(open_regular_file(&none).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(expect_replaceable(&file).is_ok() && expect_replaceable(&none).is_ok());
    }
}
