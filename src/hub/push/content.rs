use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::PathBuf;

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
    File(PathBuf),
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
        let bytes = path.metadata().map_err(IoError::of("look at", &path))?.len();
        Ok(Self { source: Source::File(path), bytes, sha256: OnceCell::new() })
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
        self.open(start, length)?.read_to_end(&mut part).map_err(|error| self.unreadable(error))?;
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
            Source::File(path) => {
                let mut file: File = open_regular_file(path).map_err(IoError::of("open", path))?;
                file.seek(SeekFrom::Start(start)).map_err(|error| self.unreadable(error))?;
                Ok(Box::new(file.take(length)))
            }
        }
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
        let mut watched = Watched { inner: &mut *source, done: 0, before: 0, total: self.bytes, watch };
        hashed
            .of(&mut watched)
            .map_err(|error| if cancel.is_cancelled() { HubError::Cancelled } else { self.unreadable(error) })
    }

    fn unreadable(&self, error: io::Error) -> HubError {
        match &self.source {
            Source::File(path) => IoError::of("read", path)(error).into(),
            Source::Memory(_) => IoError::of("read", "memory")(error).into(),
        }
    }
}

/// Tells of the bytes that are read, and ends in an error once it is cancelled.
pub(super) struct Watched<'a, 'w> {
    pub(super) inner: &'a mut dyn Read,
    pub(super) done: u64,
    /// Bytes of the file before these.
    pub(super) before: u64,
    pub(super) total: u64,
    pub(super) watch: &'a mut Watch<'w>,
}

impl Read for Watched<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.watch.cancel.is_cancelled() {
            return Err(io::Error::other("stopped"));
        }
        let read = self.inner.read(buffer)?;
        self.done += read as u64;
        (self.watch.progress)(PushProgress {
            file: self.watch.file,
            is_sent: self.watch.is_sent,
            done_bytes: self.before + self.done,
            total_bytes: self.total,
        });
        Ok(read)
    }
}
