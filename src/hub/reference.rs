//! What a user may write for a model.

use std::path::{Path, PathBuf};

use super::HubError;

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

/// Whether `text` has the form of an id on the hub: `owner/name` by the hub's own rule (`validate_repo_id` of `huggingface_hub`): letters, digits, `-`, `_`
/// and `.`, no `--` or `..`, neither part beginning or ending in `-` or `.`. Ids without an owner are old and
/// not accepted: a misspelt directory would be taken for one.
pub fn is_hub_id(text: &str) -> bool {
    let good_part = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty()
            && part.chars().all(good)
            && !part.starts_with(['-', '.'])
            && !part.ends_with(['-', '.'])
    };
    let short = text.len() <= 96 && !text.contains("--") && !text.contains("..") && !text.ends_with(".git");
    short && text.split_once('/').is_some_and(|(owner, name)| good_part(owner) && good_part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_paths_are_told_apart() {
        for (text, expected) in [
            ("Alibaba-NLP/GVE-3B", true),
            ("a/b", true),
            ("org/model_v1.5", true),
            ("./nowhere", false),
            ("../nowhere", false),
            ("/nowhere", false),
            ("nowhere", false),
            ("models/gve/3b", false),
            ("org/", false),
            ("/model", false),
            ("org/mo del", false),
            ("org/a--b", false),
            ("org/../b", false),
            ("org/name.git", false),
            ("https://huggingface.co/a/b", false),
            ("", false),
        ] {
            assert_eq!(is_hub_id(text), expected, "{text:?}");
        }
    }
}
