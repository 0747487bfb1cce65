use std::fmt;
use std::fs::{File, TryLockError};
use std::io::{Seek, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::temporary::open_own;
use super::{IoError, limited_file};
use crate::calendar;

/// What one process, or one thread, has to itself as long as it lives. The system ends it with the process,
/// however that ends; the file stays, as removing it would let two in. It says who has the lock.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who has a lock, by what it wrote into its file. Displays as `process 17, since 2026-05-31 18:00:00 UTC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockHolder {
    /// The process.
    pub process: u32,
    /// Since when, in seconds from the beginning of 1970.
    pub since_seconds: i64,
}

impl Lock {
    /// Takes the lock whose file is `path`, which is made where it is missing; `None` while somebody else has
    /// it.
    ///
    /// # Errors
    /// The file cannot be opened, is none, or cannot be locked.
    pub fn take(path: &Path) -> Result<Option<Self>, IoError> {
        let file = open_own(path).map_err(IoError::of("open", path))?;
        match file.try_lock() {
            Ok(()) => {
                // Only told to others: a full disk is no reason to do nothing.
                drop(LockHolder::this().write(&file));
                Ok(Some(Self { file }))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(IoError::of("lock", path)(error)),
        }
    }

    /// Who has the lock whose file is `path`, or had it when it was killed; `None` where that cannot be told.
    pub fn holder(path: &Path) -> Option<LockHolder> {
        let text = limited_file::read_text(path, 1 << 10).ok()?;
        let (process, since) = text.trim_end().split_once(' ')?;
        Some(LockHolder { process: process.parse().ok()?, since_seconds: since.parse().ok()? })
    }
}

impl Drop for Lock {
    /// A process that is being started holds whatever is open until it runs, and with it the lock. Nobody has
    /// it then, and the file says so: folders of the same work are the same.
    fn drop(&mut self) {
        drop(self.file.set_len(0));
        drop(self.file.unlock());
    }
}

impl LockHolder {
    fn this() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let since_seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        Self { process: std::process::id(), since_seconds }
    }

    fn write(self, mut file: &File) -> std::io::Result<()> {
        file.set_len(0)?;
        file.rewind()?;
        file.write_all(format!("{} {}\n", self.process, self.since_seconds).as_bytes())
    }
}

impl fmt::Display for LockHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {}, since {}", self.process, calendar::utc(self.since_seconds))
    }
}
