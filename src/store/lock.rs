use std::fs::{File, TryLockError};
use std::path::Path;

use super::IoError;
use super::temporary::open_own;

/// What one process, or one thread, has to itself as long as it lives. The system ends it with the process,
/// however that ends; the file stays, as removing it would let two in.
#[derive(Debug)]
pub struct Lock {
    _file: File,
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
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(IoError::of("lock", path)(error)),
        }
    }
}
