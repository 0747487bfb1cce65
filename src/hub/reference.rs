//! What a user may write for a model.

use std::path::{Path, PathBuf};

use super::HubError;
use crate::card::is_hub_id;

/// A model, as named by a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelReference {
    /// An existing directory.
    Directory(PathBuf),
    /// The built-in model.
    #[cfg(feature = "nano")]
    Nano,
    /// `owner/name` on the hub.
    HubId(String),
}

impl ModelReference {
    /// The built-in model's name is its alone: it is what programs use by default, wherever they run. Then an
    /// existing directory wins; otherwise the text must have the form of a hub id.
    ///
    /// # Errors
    /// [`HubError::NotADirectory`] for a file, [`HubError::NotAReference`] for anything else.
    pub fn parse(reference: &str) -> Result<Self, HubError> {
        #[cfg(feature = "nano")]
        if reference == super::NANO {
            return Ok(Self::Nano);
        }
        let path = Path::new(reference);
        if path.is_dir() {
            return Ok(Self::Directory(path.to_owned()));
        }
        if path.exists() {
            return Err(HubError::NotADirectory { path: path.to_owned() });
        }
        if is_hub_id(reference) {
            return Ok(Self::HubId(reference.to_owned()));
        }
        Err(HubError::NotAReference { reference: reference.to_owned() })
    }
}
