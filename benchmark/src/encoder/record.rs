//! Small files that are either whole or not there.
//!
//! A record is written under a name of its own and renamed, so that readers, other writers and a process killed at
//! any time never see half of one. What a crash of the machine or another program may leave under the name is
//! told by magic, key and checksum, and counts as absent.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::Error;
use crate::atomic_file::temporary_file;

/// A SHA-256 digest: the name of a record, and what it is checked by.
pub(super) type Sha256Digest = [u8; 32];

const MAGIC: &[u8; 8] = b"UVRBREC1";
const HEAD_BYTES: usize = MAGIC.len() + size_of::<Sha256Digest>();

/// `<directory>/<2 hex digits>/<64 hex digits>`: no directory grows too large.
pub(super) fn path(directory: &Path, key: &Sha256Digest) -> PathBuf {
    let name = hex(key);
    directory.join(&name[..2]).join(name)
}

/// The content of the record `key`; `None` where there is none, or something else in its place.
pub(super) fn read(directory: &Path, key: &Sha256Digest) -> Option<Vec<u8>> {
    let mut bytes = fs::read(path(directory, key)).ok()?;
    let content_end = bytes.len().checked_sub(size_of::<Sha256Digest>())?;
    let (checked, checksum) = bytes.split_at(content_end);
    let right = checked.len() >= HEAD_BYTES
        && checked.starts_with(MAGIC)
        && checked[MAGIC.len()..HEAD_BYTES] == key[..]
        && Sha256::digest(checked)[..] == *checksum;
    right.then(|| {
        bytes.truncate(content_end);
        bytes.split_off(HEAD_BYTES)
    })
}

/// Keeps `content` as the record `key`, whatever was there.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn write(directory: &Path, key: &Sha256Digest, content: &[u8]) -> Result<(), Error> {
    let path = path(directory, key);
    let folder = path.parent().unwrap_or(directory);
    fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let mut bytes = [MAGIC.as_slice(), key, content].concat();
    bytes.extend(Sha256::digest(&bytes));
    // The data are not forced to disk: a file that loses its content in a power failure fails its checksum.
    let mut file = temporary_file(folder).map_err(Error::io("create a file in", folder))?;
    file.write_all(&bytes).map_err(Error::io("write", &path))?;
    file.persist(&path).map_err(|e| Error::io("write", &path)(e.error))?;
    Ok(())
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
        assert_eq!(read(directory.path(), &KEY), None);
        for content in [b"first".as_slice(), b"", b"second"] {
            write(directory.path(), &KEY, content).unwrap();
            assert_eq!(read(directory.path(), &KEY).as_deref(), Some(content));
        }
        assert!(path(directory.path(), &KEY).ends_with(format!("07/{}", "07".repeat(32))));
    }

    #[test]
    fn a_damaged_record_is_none_at_every_length_and_bit() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &KEY, b"content").unwrap();
        let file = path(directory.path(), &KEY);
        let whole = fs::read(&file).unwrap();
        for length in 0..whole.len() {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(read(directory.path(), &KEY), None, "cut to {length} bytes");
            let mut flipped = whole.clone();
            flipped[length] ^= 1;
            fs::write(&file, flipped).unwrap();
            assert_eq!(read(directory.path(), &KEY), None, "byte {length} changed");
        }
        fs::write(&file, [&whole[..], b"more"].concat()).unwrap();
        assert_eq!(read(directory.path(), &KEY), None, "longer");
        fs::write(&file, &whole).unwrap();
        assert!(read(directory.path(), &KEY).is_some());
    }

    #[test]
    fn a_record_under_another_name_is_none() {
        let directory = tempfile::tempdir().unwrap();
        write(directory.path(), &KEY, b"content").unwrap();
        let other = [8; 32];
        fs::create_dir_all(path(directory.path(), &other).parent().unwrap()).unwrap();
        fs::copy(path(directory.path(), &KEY), path(directory.path(), &other)).unwrap();
        assert_eq!(read(directory.path(), &other), None);
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
