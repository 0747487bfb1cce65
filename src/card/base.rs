use std::path::{Path, PathBuf};

use super::rebase::UNKNOWN_BASE;

/// What the model that comes with the program is called there.
pub(crate) const BUILT_IN: &str = "nano";
/// Digits of its revision.
const REVISION_DIGITS: usize = 16;

/// The folder that the built-in model of this revision is unpacked to.
#[cfg(feature = "nano")]
pub(crate) fn unpacked_name(revision: &str) -> String {
    format!("{BUILT_IN}-{revision}")
}

/// Whether `directory` is one that a built-in model was unpacked to.
fn is_unpacked(directory: &Path) -> bool {
    let name = directory.file_name().and_then(|name| name.to_str());
    let revision = name.and_then(|name| name.strip_prefix(BUILT_IN)?.strip_prefix('-'));
    revision.is_some_and(|digits| {
        digits.len() == REVISION_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// What a model was made of, so that others find it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseModel {
    /// A model on the hub.
    Hub {
        /// Its id.
        id: String,
        /// Branch, tag or commit.
        revision: Option<String>,
    },
    /// A folder on this machine, by its absolute path.
    Directory(PathBuf),
    /// The model that comes with the program.
    BuiltIn {
        /// What it is called there.
        name: String,
        /// Where it was unpacked.
        directory: PathBuf,
    },
}

impl BaseModel {
    /// What `reference`, as a user writes it, names, whose files lie in `directory`. A folder of the hub's
    /// cache is the model at the commit that it was fetched for, and one that the built-in model was unpacked to is that.
    pub fn find(reference: &str, revision: Option<&str>, directory: &Path) -> Self {
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let as_given = Path::new(reference);
        if let Some(("models", id, commit)) = hub_snapshot(directory) {
            return Self::Hub { id, revision: Some(commit) };
        }
        let is_given = as_given.is_dir() && real(as_given) == real(directory);
        if is_unpacked(&real(directory)) || (reference == BUILT_IN && !is_given) {
            return Self::BuiltIn { name: BUILT_IN.to_owned(), directory: real(directory) };
        }
        if !is_given && is_hub_id(reference) {
            return Self::Hub { id: reference.to_owned(), revision: revision.map(str::to_owned) };
        }
        Self::Directory(real(directory))
    }

    /// What `base_model_name_or_path` of an adapter says: what transformers and PEFT load on this machine.
    pub fn name_or_path(&self) -> String {
        match self {
            Self::Hub { id, .. } => id.clone(),
            Self::Directory(directory) | Self::BuiltIn { directory, .. } => directory.display().to_string(),
        }
    }

    /// Branch, tag or commit of a model on the hub.
    pub fn revision(&self) -> Option<&str> {
        match self {
            Self::Hub { revision, .. } => revision.as_deref(),
            _ => None,
        }
    }

    /// Its id on the hub, where it is there.
    pub fn hub_id(&self) -> Option<&str> {
        match self {
            Self::Hub { id, .. } => Some(id),
            _ => None,
        }
    }

    /// What gve takes for `--model`.
    pub(crate) fn for_gve(&self) -> String {
        match self {
            Self::Hub { id, .. } => id.clone(),
            Self::BuiltIn { name, .. } => name.clone(),
            Self::Directory(_) => UNKNOWN_BASE.to_owned(),
        }
    }

    /// In the words of a card, which shows no path of this machine but its last name.
    pub(crate) fn in_words(&self) -> String {
        match self {
            Self::Hub { id, revision } => {
                let link = format!("[{id}](https://huggingface.co/{id})");
                revision.as_ref().map_or(link.clone(), |revision| format!("{link}, revision `{revision}`"))
            }
            Self::BuiltIn { name, .. } => format!("`{name}`, which comes with gve"),
            Self::Directory(directory) => {
                format!("a model in a folder called {}", super::code(&super::name_of(directory)))
            }
        }
    }
}

/// What a folder of the hub's cache holds: `models` or `datasets`, the id, and the commit.
pub(crate) fn hub_snapshot(directory: &Path) -> Option<(&'static str, String, String)> {
    let directory = std::path::absolute(directory).ok()?;
    let commit = directory.file_name()?.to_str()?;
    let snapshots =
        directory.parent().filter(|parent| parent.file_name().is_some_and(|name| name == "snapshots"))?;
    let name = snapshots.parent()?.file_name()?.to_str()?;
    let (kind, rest) = ["models", "datasets"]
        .into_iter()
        .find_map(|kind| Some((kind, name.strip_prefix(kind)?.strip_prefix("--")?)))?;
    let id = rest.replacen("--", "/", 1);
    is_hub_id(&id).then(|| (kind, id, commit.to_owned()))
}

/// Whether `text` has the form of an id on the hub: `owner/name` by the hub's own rule (`validate_repo_id` of
/// `huggingface_hub`): letters, digits, `-`, `_` and `.`, no `--` or `..`, neither part beginning or ending
/// in `-` or `.`. Ids without an owner are old and not accepted: a misspelt directory would be taken for one.
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

    #[test]
    fn a_base_is_what_others_find() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let model = root.join("m");
        let snapshot = root.join("hub/models--o--m.x/snapshots/0123");
        for directory in [&model, &snapshot] {
            std::fs::create_dir_all(directory).unwrap();
        }
        let at =
            |revision: &str| BaseModel::Hub { id: "o/m.x".to_owned(), revision: Some(revision.to_owned()) };
        assert_eq!(BaseModel::find("o/m.x", Some("main"), &snapshot), at("0123"));
        assert_eq!(BaseModel::find(snapshot.to_str().unwrap(), None, &snapshot), at("0123"));
        assert_eq!(BaseModel::find("o/m.x", Some("v1"), &model), at("v1"));
        let given = root.join("hub/../m");
        let found = BaseModel::find(given.to_str().unwrap(), None, &given);
        assert_eq!((found.name_or_path(), found.hub_id()), (model.display().to_string(), None));
        assert!(!found.in_words().contains(root.to_str().unwrap()), "{}", found.in_words());
        let nano = BaseModel::find("nano", None, &model);
        assert_eq!((nano.name_or_path(), nano.for_gve()), (model.display().to_string(), "nano".to_owned()));
        let unpacked = root.join("nano-0123456789abcdef");
        std::fs::create_dir(&unpacked).unwrap();
        let path = unpacked.to_str().unwrap();
        for (reference, directory, is_built_in) in [
            (path, &unpacked, true),
            ("", &unpacked, true),
            ("nano", &model, true),
            ("", &model, false),
            ("base", &model, false),
            (model.to_str().unwrap(), &model, false),
        ] {
            let found = BaseModel::find(reference, None, directory);
            assert_eq!(matches!(found, BaseModel::BuiltIn { .. }), is_built_in, "{reference}: {found:?}");
            assert_eq!(found.in_words().contains("comes with gve"), is_built_in);
        }
        for other in ["models--o/snapshots/0", "data--o--m/snapshots/0", "models--o--m/refs/0"] {
            assert_eq!(hub_snapshot(&root.join(other)), None, "{other}");
        }
        assert_eq!(hub_snapshot(&root.join("datasets--o--d/snapshots/9")).unwrap().1, "o/d");
    }
}
