//! Reading files whose contents are held in memory, and no more of them than was expected.

use std::io::{self, Read};
use std::path::Path;

use super::regular_file::open_regular_file;

/// The bytes of the regular file `path`, which may be `limit_bytes` at the most.
///
/// # Errors
/// Those of the system; for a directory, a pipe or a device, and for a file that is larger, one that says so.
pub(crate) fn read(path: &Path, limit_bytes: u64) -> io::Result<Vec<u8>> {
    let file = open_regular_file(path)?;
    let metadata = file.metadata()?;
    let too_large = |bytes: u64| {
        let message = format!("{bytes} bytes, more than the {limit_bytes} that such a file may have");
        Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
    };
    if metadata.len() > limit_bytes {
        return too_large(metadata.len());
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // It may grow meanwhile, and files of the system have no length.
    file.take(limit_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit_bytes {
        return too_large(bytes.len() as u64);
    }
    Ok(bytes)
}

/// As [`read`], for text in UTF-8.
pub(crate) fn read_text(path: &Path, limit_bytes: u64) -> io::Result<String> {
    String::from_utf8(read(path, limit_bytes)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ordinary_files_within_the_limit_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"1234").unwrap();
        assert_eq!(read(&path, 4).unwrap(), b"1234");
        assert!(read(&path, 3).unwrap_err().to_string().contains("4 bytes, more than the 3"));
        assert!(read(folder.path(), 4).unwrap_err().to_string().contains("a directory"));
        assert_eq!(read(&folder.path().join("b"), 4).unwrap_err().kind(), io::ErrorKind::NotFound);
        std::fs::write(&path, [0xff]).unwrap();
        assert_eq!(read_text(&path, 4).unwrap_err().kind(), io::ErrorKind::InvalidData);
        // Sparse: longer than any memory.
        std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
