//! Media whose bytes lie inside of a file of pairs become files of their own.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::hash::{FNV_OFFSET, fnv};
use crate::media::MediaKind;
use crate::store::{IoError, create_folder_of, write_file};

/// Longest part of a name that is kept, in characters.
const LONGEST_STEM: usize = 48;

/// A folder of media, each called by what it was called before and a hash of its bytes: whatever is imported
/// again, or beside others, lies under the same name, and no file is ever another one.
pub(super) struct Vault {
    folder: PathBuf,
    is_dry: bool,
    made: RefCell<HashSet<PathBuf>>,
    failure: Cell<Option<IoError>>,
}

impl Vault {
    /// One in `folder`, which is made when it is needed. A dry one says names and writes nothing.
    pub(super) fn new(folder: &Path, is_dry: bool) -> Self {
        Self { folder: folder.to_owned(), is_dry, made: RefCell::default(), failure: Cell::default() }
    }

    /// Writes `bytes`, and gives the path.
    ///
    /// # Errors
    /// In words, for bytes that are neither a picture nor a video. That they could not be written is said by
    /// [`failure`](Self::failure) as well.
    pub(super) fn keep(&self, bytes: &[u8], name: Option<&str>) -> Result<PathBuf, String> {
        let name = Path::new(name.unwrap_or_default());
        let named =
            name.extension().and_then(|e| e.to_str()).filter(|e| MediaKind::of_extension(e).is_some());
        let ending = named.map(str::to_ascii_lowercase).or_else(|| ending_of(bytes).map(str::to_owned));
        let ending = ending.ok_or("holds bytes that look like neither an image nor a video")?;
        let stem = name.file_stem().map(|stem| stem.to_string_lossy()).unwrap_or_default();
        let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' };
        let stem: String = stem.chars().take(LONGEST_STEM).map(plain).collect();
        let stem = if stem.is_empty() { "media" } else { stem.as_str() };
        let path = self.folder.join(format!("{stem}-{:016x}.{ending}", fnv(FNV_OFFSET, bytes)));
        if !self.made.borrow_mut().insert(path.clone()) || self.is_dry {
            return Ok(path);
        }
        let is_there =
            path.metadata().is_ok_and(|there| there.is_file() && there.len() == bytes.len() as u64);
        if !is_there {
            let written =
                create_folder_of(&path).and_then(|()| write_file(&path, |file| file.write_all(bytes)));
            if let Err(error) = written {
                let reason = error.to_string();
                self.failure.set(Some(error));
                return Err(reason);
            }
        }
        Ok(path)
    }

    /// Whether `path` is one of its own.
    pub(super) fn has(&self, path: &Path) -> bool {
        self.made.borrow().contains(path)
    }

    /// What kept a file from being written, once.
    pub(super) fn failure(&self) -> Option<IoError> {
        self.failure.take()
    }
}

/// How the name of a file with these bytes should end.
fn ending_of(bytes: &[u8]) -> Option<&'static str> {
    let at = |place: usize, sign: &[u8]| bytes.get(place..).is_some_and(|rest| rest.starts_with(sign));
    let riff = |kind: &[u8]| at(0, b"RIFF") && at(8, kind);
    let signs: [(bool, &'static str); 12] = [
        (at(0, b"\xff\xd8\xff"), "jpg"),
        (at(0, b"\x89PNG\r\n\x1a\n"), "png"),
        (at(0, b"GIF8"), "gif"),
        (at(0, b"BM") && at(6, b"\0\0\0\0"), "bmp"),
        (at(0, b"II*\0") || at(0, b"MM\0*"), "tiff"),
        (riff(b"WEBP"), "webp"),
        (riff(b"AVI "), "avi"),
        (at(4, b"ftypavi"), "avif"),
        (at(4, b"ftyphei") || at(4, b"ftypmif1"), "heic"),
        (at(4, b"ftypqt"), "mov"),
        (at(4, b"ftyp"), "mp4"),
        (at(0, b"\x1a\x45\xdf\xa3"), "mkv"),
    ];
    signs.into_iter().find(|(is, _)| *is).map(|(_, ending)| ending)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_files_once() {
        let folder = tempfile::tempdir().unwrap();
        let vault = Vault::new(&folder.path().join("media"), false);
        let png = b"\x89PNG\r\n\x1a\nrest";
        let one = vault.keep(png, Some("a/b c.PNG")).unwrap();
        assert!(one.starts_with(folder.path().join("media")) && vault.has(&one));
        assert!(one.file_name().unwrap().to_str().unwrap().starts_with("b_c-"), "{}", one.display());
        assert_eq!(std::fs::read(&one).unwrap(), png);
        assert_eq!(vault.keep(png, Some("b c.png")).unwrap(), one);
        let other = vault.keep(b"\x89PNG\r\n\x1a\nmore", Some("../b c")).unwrap();
        assert!(other != one && other.parent() == one.parent() && other.extension() == one.extension());
        assert!(vault.keep(b"words", Some("a.txt")).unwrap_err().contains("neither"));

        let dry = Vault::new(&folder.path().join("none"), true);
        assert!(!dry.keep(png, None).unwrap().exists());
        std::fs::write(folder.path().join("file"), "").unwrap();
        let blocked = Vault::new(&folder.path().join("file"), false);
        assert!(blocked.keep(png, None).is_err() && blocked.failure().is_some());
    }
}
