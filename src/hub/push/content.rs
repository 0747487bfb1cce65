use std::cell::OnceCell;
use std::fs::{File, Metadata};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::time::SystemTime;

use super::super::HubError;
use super::super::digest::Hashed;
use super::PushProgress;
use crate::cancel::CancelToken;
use crate::store::{IoError, open_regular_file};

/// What is sent of a file.
#[derive(Debug)]
pub(super) struct Content {
    source: Source,
    bytes: u64,
    sha256: OnceCell<String>,
}

#[derive(Debug)]
enum Source {
    File {
        path: PathBuf,
        /// Tells, with the length, that it is still the file that was looked at; `None` where the system has no such
        /// times.
        modified: Option<SystemTime>,
    },
    /// In place of what the file holds.
    Memory(Vec<u8>),
}

/// Who is told of the bytes of a file, and may stop.
pub(super) struct Watch<'a> {
    pub(super) file: &'a str,
    pub(super) is_sent: bool,
    pub(super) cancel: &'a CancelToken,
    pub(super) progress: &'a mut dyn FnMut(PushProgress<'_>),
}

impl Content {
    pub(super) fn of_file(path: PathBuf) -> Result<Self, HubError> {
        let metadata = path.metadata().map_err(IoError::of("look at", &path))?;
        let modified = metadata.modified().ok();
        Ok(Self { bytes: metadata.len(), source: Source::File { path, modified }, sha256: OnceCell::new() })
    }

    pub(super) fn of_memory(content: Vec<u8>) -> Self {
        Self { bytes: content.len() as u64, source: Source::Memory(content), sha256: OnceCell::new() }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All of it.
    pub(super) fn read(&self) -> Result<Vec<u8>, HubError> {
        self.part(0, self.bytes)
    }

    /// Its first bytes, `most` at the most.
    pub(super) fn beginning(&self, most: u64) -> Result<Vec<u8>, HubError> {
        self.part(0, most.min(self.bytes))
    }

    fn part(&self, start: u64, length: u64) -> Result<Vec<u8>, HubError> {
        let mut part = Vec::new();
        self.open(start, length)?.read_to_end(&mut part).map_err(|error| self.failure(error))?;
        self.require_unchanged()?;
        Ok(part)
    }

    /// Opens `length` bytes of it, from `start` on.
    pub(super) fn open(&self, start: u64, length: u64) -> Result<Box<dyn Read + '_>, HubError> {
        match &self.source {
            Source::Memory(content) => {
                let mut rest = Cursor::new(content.as_slice());
                rest.set_position(start);
                Ok(Box::new(rest.take(length)))
            }
            Source::File { path, .. } => {
                let mut file: File = open_regular_file(path).map_err(IoError::of("open", path))?;
                self.require_same(file.metadata())?;
                file.seek(SeekFrom::Start(start)).map_err(IoError::of("read", path))?;
                Ok(Box::new(file.take(length)))
            }
        }
    }

    /// That the file is still the one that was looked at.
    pub(super) fn require_unchanged(&self) -> Result<(), HubError> {
        match &self.source {
            Source::File { path, .. } => self.require_same(path.metadata()),
            Source::Memory(_) => Ok(()),
        }
    }

    fn require_same(&self, found: io::Result<Metadata>) -> Result<(), HubError> {
        let Source::File { path, modified } = &self.source else { return Ok(()) };
        let found = found.map_err(IoError::of("look at", path))?;
        let is_same = found.len() == self.bytes && found.modified().ok() == *modified;
        if is_same { Ok(()) } else { Err(HubError::FileChanged { path: path.clone() }) }
    }

    /// The name that large file storage has for it.
    pub(super) fn sha256(&self, watch: &mut Watch<'_>) -> Result<&str, HubError> {
        if let Some(known) = self.sha256.get() {
            return Ok(known);
        }
        let digest = self.hashed(Hashed::sha256(), watch)?;
        Ok(self.sha256.get_or_init(|| digest))
    }

    /// The name that git has for it.
    pub(super) fn git_oid(&self, watch: &mut Watch<'_>) -> Result<String, HubError> {
        self.hashed(Hashed::git(self.bytes), watch)
    }

    fn hashed(&self, hashed: Hashed, watch: &mut Watch<'_>) -> Result<String, HubError> {
        let mut source = self.open(0, self.bytes)?;
        let cancel = watch.cancel;
        let digest = hashed.of(&mut Watched::new(&mut *source, 0..self.bytes, self.bytes, watch));
        if cancel.is_cancelled() {
            return Err(HubError::Cancelled);
        }
        let digest = digest.map_err(|error| self.failure(error))?;
        self.require_unchanged()?;
        Ok(digest)
    }

    /// Why it cannot be read.
    pub(super) fn failure(&self, error: io::Error) -> HubError {
        match (&self.source, self.require_unchanged()) {
            (_, Err(changed)) => changed,
            (Source::File { path, .. }, _) => IoError::of("read", path)(error).into(),
            (Source::Memory(_), _) => IoError::of("read", "memory")(error).into(),
        }
    }
}

/// Tells of the bytes that are read, and ends in an error once it is cancelled, and where there are fewer than
/// there have to be.
pub(super) struct Watched<'a, 'w> {
    inner: &'a mut dyn Read,
    /// The next byte of the file, and the end of those that are read here.
    next: u64,
    end: u64,
    total: u64,
    watch: &'a mut Watch<'w>,
    failed: Option<io::Error>,
}

impl<'a, 'w> Watched<'a, 'w> {
    /// `inner` reads the bytes `place` of a file of `total` bytes.
    pub(super) fn new(
        inner: &'a mut dyn Read,
        place: Range<u64>,
        total: u64,
        watch: &'a mut Watch<'w>,
    ) -> Self {
        Self { inner, next: place.start, end: place.end, total, watch, failed: None }
    }

    /// What kept it from reading on, to be told from what happens to whoever takes the bytes.
    pub(super) fn into_failed(self) -> Option<io::Error> {
        self.failed
    }
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.cancel.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = match self.inner.read(buffer) {
            // Who sends a given number of bytes would ask for them again and again.
            Ok(0) if !buffer.is_empty() && self.next < self.end => Err(io::ErrorKind::UnexpectedEof.into()),
            read => read,
        };
        let read = match read {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                let told = io::Error::new(error.kind(), error.to_string());
                self.failed = Some(error);
                return Err(told);
            }
            read => read?,
        };
        self.next += read as u64;
        (self.watch.progress)(PushProgress {
            file: self.watch.file,
            is_sent: self.watch.is_sent,
            done_bytes: self.next,
            total_bytes: self.total,
        });
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads to the end, or to the first error.
    fn end_of(inner: &mut dyn Read, expected: u64) -> (usize, Option<io::ErrorKind>) {
        let (cancel, mut progress) = (CancelToken::new(), |_: PushProgress<'_>| ());
        let mut watch = Watch { file: "f", is_sent: true, cancel: &cancel, progress: &mut progress };
        let mut watched = Watched::new(inner, 0..expected, expected, &mut watch);
        let mut bytes = Vec::new();
        let read = watched.read_to_end(&mut bytes);
        let failed = watched.into_failed().map(|error| error.kind());
        assert_eq!(read.is_err(), failed.is_some());
        (bytes.len(), failed)
    }

    #[test]
    fn bytes_that_are_missing_are_an_error_of_the_file() {
        assert_eq!(end_of(&mut &b"four"[..], 4), (4, None));
        assert_eq!(end_of(&mut &b"four"[..], 5), (4, Some(io::ErrorKind::UnexpectedEof)));
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        assert_eq!(end_of(&mut (&b"f"[..]).chain(Broken), 2), (1, Some(io::ErrorKind::PermissionDenied)));
    }

    #[test]
    fn a_file_that_is_another_one_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let (cancel, mut progress) = (CancelToken::new(), |_: PushProgress<'_>| ());
        let mut watch = Watch { file: "f", is_sent: false, cancel: &cancel, progress: &mut progress };
        let changed = |content: &Content, watch: &mut Watch<'_>| {
            for error in [content.read().err(), content.open(1, 1).err(), content.git_oid(watch).err()] {
                let told = error.unwrap().to_string();
                assert!(
                    told.contains("f changed while it was pushed") && told.contains("push again"),
                    "{told}"
                );
            }
        };
        std::fs::write(&path, "four").unwrap();
        let content = Content::of_file(path.clone()).unwrap();
        assert_eq!(content.read().unwrap(), b"four");
        for other in ["longer", "no"] {
            std::fs::write(&path, other).unwrap();
            changed(&content, &mut watch);
        }
        // Of the same length, at another time.
        std::fs::write(&path, "FOUR").unwrap();
        let later = SystemTime::now() + std::time::Duration::from_secs(1);
        File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        changed(&content, &mut watch);
        std::fs::remove_file(&path).unwrap();
        assert!(content.read().is_err());
    }
}
