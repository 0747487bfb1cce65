use std::path::Path;

use crate::hash::{FNV_OFFSET, fnv};
use crate::model::ModelError;
use crate::recipe::AdapterId;
use crate::store::IoError;

impl AdapterId {
    /// That of the adapter in `directory`.
    ///
    /// # Errors
    /// [`ModelError::Io`] for a missing file.
    pub fn of(directory: &Path) -> Result<Self, ModelError> {
        // Enough to notice a change, no protection against a forger.
        let mut hash = FNV_OFFSET;
        for name in ["adapter_config.json", "adapter_model.safetensors"] {
            let path = directory.join(name);
            let bytes = std::fs::read(&path).map_err(IoError::of("read", &path))?;
            hash = fnv(fnv(hash, &(bytes.len() as u64).to_le_bytes()), &bytes);
        }
        let directory = directory.canonicalize().map_err(IoError::of("find", directory))?;
        Ok(Self { directory, fingerprint: format!("{hash:016x}") })
    }
}
