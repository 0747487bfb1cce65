//! Small files that are either whole or not there.
//!
//! A record is written under a name of its own and renamed, so that readers, other writers and a process
//! killed at any time never see half of one. What a crash of the machine or another program may leave under
//! the name is told by magic, key and checksum.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use gve::store::{AtomicFile, IoError, create_folder_of};
use sha2::{Digest, Sha256};

use crate::Error;

/// A SHA-256 digest: the name of a record, and what it is checked by.
pub(super) type Sha256Digest = [u8; 32];

const MAGIC: &[u8; 8] = b"UVRBREC1";
const HEAD_BYTES: usize = MAGIC.len() + size_of::<Sha256Digest>();

/// `<directory>/<2 hex digits>/<64 hex digits>`: no directory grows too large.
pub(super) fn path(directory: &Path, key: &Sha256Digest) -> PathBuf {
    let name = hex(key);
    directory.join(&name[..2]).join(name)
}

/// The content of the record `key`; `None` where there is none.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] for something else in its place.
pub(super) fn read(directory: &Path, key: &Sha256Digest) -> Result<Option<Vec<u8>>, Error> {
    let path = path(directory, key);
    let mut bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(IoError::of("read", path)(error).into()),
    };
    let content_end = bytes.len().saturating_sub(size_of::<Sha256Digest>());
    let (checked, checksum) = bytes.split_at(content_end);
    let right = checked.len() >= HEAD_BYTES
        && checked.starts_with(MAGIC)
        && checked[MAGIC.len()..HEAD_BYTES] == key[..]
        && Sha256::digest(checked)[..] == *checksum;
    if !right {
        return Err(Error::invalid(path, None, "this record of the cache is damaged"));
    }
    bytes.truncate(content_end);
    Ok(Some(bytes.split_off(HEAD_BYTES)))
}

/// Keeps `content` as the record `key`, whatever was there.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write(directory: &Path, key: &Sha256Digest, content: &[u8]) -> Result<(), Error> {
    let path = path(directory, key);
    create_folder_of(&path)?;
    let mut bytes = [MAGIC.as_slice(), key, content].concat();
    bytes.extend(Sha256::digest(&bytes));
    let mut file = AtomicFile::create(&path)?;
    file.write_all(&bytes).map_err(IoError::of("write", path))?;
    // A file that loses its content in a power failure fails its checksum.
    Ok(file.finish_unsynced()?)
}

pub(super) fn hex(digest: &Sha256Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Sha256Digest = [7; 32];

    #[test]
    fn what_is_written_is_read() {
        let directory = tempfile::tempdir().unwrap();
        assert!(read(directory.path(), &KEY).unwrap().is_none());
        for content in [b"first".as_slice(), b"", b"second"] {
            write(directory.path(), &KEY, content).unwrap();
            assert_eq!(read(directory.path(), &KEY).unwrap().as_deref(), Some(content));
        }
        assert!(path(directory.path(), &KEY).ends_with(format!("07/{}", "07".repeat(32))));
    }

    #[test]
    fn a_damaged_record_is_told_at_every_length_and_bit() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &KEY, b"content").unwrap();
        let file = path(directory.path(), &KEY);
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert!(read(directory.path(), &KEY).is_err(), "cut to {length} bytes");
            let mut flipped = whole.clone();
            flipped[length] ^= 1;
            fs::write(&file, flipped).unwrap();
            assert!(read(directory.path(), &KEY).is_err(), "byte {length} changed");
        }
        fs::write(&file, [&whole[..], b"more"].concat()).unwrap();
        assert!(read(directory.path(), &KEY).is_err(), "longer");
        fs::write(&file, &whole).unwrap();
        assert!(read(directory.path(), &KEY).unwrap().is_some());
    }

    #[test]
    fn a_record_under_another_name_is_told() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &KEY, b"content").unwrap();
        let other = [8; 32];
        fs::create_dir_all(path(directory.path(), &other).parent().unwrap()).unwrap();
        fs::copy(path(directory.path(), &KEY), path(directory.path(), &other)).unwrap();
        let message = read(directory.path(), &other).unwrap_err().to_string();
        assert!(message.ends_with(": this record of the cache is damaged"), "{message}");
    }

    #[test]
    fn a_record_that_cannot_be_written_is_an_error_with_its_path() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "not a directory").unwrap();
        let message = write(&file, &KEY, b"content").unwrap_err().to_string();
        assert!(message.contains(&file.display().to_string()), "{message}");
    }
}
