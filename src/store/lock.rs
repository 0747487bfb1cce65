use std::fs::File;
use std::path::Path;

use super::IoError;
use super::temporary::{lock, open_own};

/// What one process, or one thread, has to itself as long as it lives. The system ends it with the process, however that ends; the file stays, as
/// removing it would let two in.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock whose file is `path`, which is made where it is missing; `None` while somebody else has it.
    ///
    /// # Errors
    /// The file cannot be opened, is none, or cannot be locked.
    pub fn take(path: &Path) -> Result<Option<Self>, IoError> {
        let file = open_own(path).map_err(IoError::of("open", path))?;
        let is_ours = lock(&file).map_err(IoError::of("lock", path))?;
        Ok(is_ours.then_some(Self { _file: file }))
    }
}
