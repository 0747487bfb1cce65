//! Where the bytes of a video come from: opened within limits, and asked first when something went wrong.

use super::{Limits, VideoError};
use crate::media::{MediaReader, MediaSource};
use crate::store::{IoError, irregular};
use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes looked at to say what an unrecognised file is.
const HEAD_BYTES: u64 = 512;

/// A source that FFmpeg reads, as often as it likes.
///
/// FFmpeg hands on no more of an error than a number, makes another one of it, or takes it for the end. So
/// the source's own error is kept here, and goes before whatever came of it.
pub(super) struct Origin {
    source: MediaSource,
    label: PathBuf,
    max_bytes: u64,
    failure: Mutex<Option<VideoError>>,
}

impl Origin {
    pub(super) fn new(source: MediaSource, limits: &Limits) -> Arc<Self> {
        let label = source.label();
        Arc::new(Self { source, label, max_bytes: limits.max_bytes, failure: Mutex::new(None) })
    }

    /// What errors call it: its path or its name.
    pub(super) fn path(&self) -> &Path {
        &self.label
    }

    /// What FFmpeg is told of the name, for formats that it tells by their extension. Only files are called
    /// files.
    pub(super) fn url(&self) -> Vec<u8> {
        // So that a colon in a name is not read as a protocol.
        let (protocol, name) = match self.source.path() {
            Some(path) => ("file:", path),
            None => ("memory:", self.path()),
        };
        [protocol.as_bytes(), name.as_os_str().as_encoded_bytes()].concat()
    }

    /// Refuses what FFmpeg would answer with a riddle: missing files, directories, pipes, what is empty or
    /// too long.
    pub(super) fn open(&self) -> Result<MediaReader, VideoError> {
        let path = || self.label.clone();
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => VideoError::NotFound { path: path() },
            _ => IoError::of("read", path())(error).into(),
        };
        if let Some(file) = self.source.path()
            && let Some(found) = irregular(&fs::metadata(file).map_err(io)?)
        {
            return Err(VideoError::NotAFile { path: path(), found });
        }
        let reader = self.source.open().map_err(io)?;
        match reader.length() {
            Some(0) => Err(VideoError::EmptyFile { path: path() }),
            Some(got) if got > self.max_bytes => Err(self.too_long(got)),
            _ => Ok(reader),
        }
    }

    /// The first bytes.
    pub(super) fn head(&self) -> io::Result<Vec<u8>> {
        let mut head = Vec::new();
        self.source.open()?.take(HEAD_BYTES).read_to_end(&mut head)?;
        Ok(head)
    }

    /// Reads on. `None` where that failed, and the failure is kept.
    pub(super) fn read(&self, reader: &mut MediaReader, buffer: &mut [u8]) -> Option<usize> {
        let read = reader.read(buffer);
        self.keep(match (read, reader.position()) {
            // Where the length is known, it has been looked at.
            (Ok(_), got) if got > self.max_bytes => Err(self.too_long(got)),
            (Ok(read), _) => Ok(read),
            (Err(error), _) => Err(IoError::of("read", &self.label)(error).into()),
        })
    }

    /// What came of it, and keeps its failure, if it is the first.
    pub(super) fn keep<T>(&self, outcome: Result<T, VideoError>) -> Option<T> {
        match outcome {
            Ok(outcome) => return Some(outcome),
            Err(failure) => self.failure().get_or_insert(failure),
        };
        None
    }

    /// The outcome, or what went wrong with the source meanwhile.
    pub(super) fn settle<T>(&self, outcome: Result<T, VideoError>) -> Result<T, VideoError> {
        self.failure().take().map_or(outcome, Err)
    }

    fn too_long(&self, got: u64) -> VideoError {
        VideoError::Limit { path: self.label.clone(), what: "bytes:", limit: self.max_bytes, got }
    }

    fn failure(&self) -> MutexGuard<'_, Option<VideoError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
