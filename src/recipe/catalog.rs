//! `models.toml`, typed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::Spanned;

use super::named::MAX_BYTES;
use super::{FoundBy, NamedRecipe, Recipe, RecipeError};
use crate::store::{IoError, limited_file};

/// Where the file lies that the built-in recipes are made of, as errors name it.
const BUILTIN_PATH: &str = "models.toml";

#[allow(clippy::expect_used, reason = "the file is part of the program, and a test parses it")]
static BUILTIN: LazyLock<Recipes> = LazyLock::new(|| {
    Recipes::from_toml(include_str!("../../models.toml"), Path::new(BUILTIN_PATH))
        .expect("the built-in models.toml is valid")
});

/// The recipes there are, by name: those of the crate, and before them those of a user's own file.
///
/// ```
/// use gve::recipe::{QueryKind, Recipes};
///
/// let gve = Recipes::builtin().get("gve")?;
/// let of_texts = gve.recipe.query_instruction.of(QueryKind::Text);
/// assert_eq!(of_texts, Some("Find the video according to the text description."));
/// # Ok::<(), gve::recipe::RecipeError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Recipes {
    /// Where one is looked for, first things first.
    entries: Vec<(String, RecipeEntry)>,
}

/// A recipe, which models are used by it, and what is known of these.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecipeEntry {
    /// A few words for people.
    pub title: String,
    /// The models that were published for it.
    #[serde(default)]
    pub models: Vec<PublishedModel>,
    /// Models whose adapters are used by it, as `base_model_name_or_path` names them.
    #[serde(default)]
    pub base_models: Vec<String>,
    /// Architectures whose models are used by it where nothing else is known of them, as `model_type` in
    /// `config.json` names them.
    #[serde(default)]
    pub model_types: Vec<String>,
    /// What their publisher says of the terms of the weights.
    pub licence: String,
    /// Languages they were made for, by their codes in ISO 639.
    pub languages: Vec<String>,
    /// What it was read from.
    pub source: String,
    /// How they are used.
    #[serde(default)]
    pub recipe: Recipe,
}

/// A model on the hub.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct PublishedModel {
    /// Its id.
    pub id: String,
    /// Values in its embeddings.
    pub dim: usize,
}

/// What is known of a model whose recipe is looked for.
#[derive(Debug, Clone)]
pub(crate) struct Sought<'a> {
    /// Where its files are.
    pub(crate) directory: &'a Path,
    /// The recipe that lay beside the adapter.
    pub(crate) of_adapter: Option<&'a NamedRecipe>,
    /// What the adapter was made for.
    pub(crate) base_model: Option<&'a str>,
    /// What `config.json` says.
    pub(crate) model_type: Option<&'a str>,
}

impl Recipes {
    /// Those of `models.toml`.
    pub fn builtin() -> &'static Self {
        &BUILTIN
    }

    /// Those of `models.toml`, and before them those of a user's own file, which take the place of others of
    /// their names.
    ///
    /// # Errors
    /// [`RecipeError::Io`], and those of [`Self::from_toml`].
    pub fn builtin_with(models_file: Option<&Path>) -> Result<Self, RecipeError> {
        let Some(path) = models_file else { return Ok(Self::builtin().clone()) };
        let text = limited_file::read_text(path, MAX_BYTES).map_err(IoError::of("read", path))?;
        let mut recipes = Self::from_toml(&text, path)?;
        let builtin = Self::builtin().entries.iter().filter(|(name, _)| recipes.entry(name).is_none());
        let builtin: Vec<_> = builtin.cloned().collect();
        recipes.entries.extend(builtin);
        Ok(recipes)
    }

    /// Reads entries in the form of `models.toml`; `path` names their file in errors.
    ///
    /// # Errors
    /// [`RecipeError::Invalid`] with the line: bad TOML, unknown or missing keys, values that make no sense, a
    /// model or an architecture that two entries claim.
    pub fn from_toml(text: &str, path: &Path) -> Result<Self, RecipeError> {
        let file: BTreeMap<Spanned<String>, RecipeEntry> = from_toml(text, path)?;
        let mut recipes = Self { entries: Vec::new() };
        for (name, entry) in file {
            let line = line_of(text, name.span().start);
            let name = name.into_inner();
            if let Some(reason) = entry.fault(&name).or_else(|| recipes.claimed(&entry)) {
                let reason = format!("recipe `{name}`: {reason}");
                return Err(RecipeError::Invalid { path: path.to_owned(), line: Some(line), reason });
            }
            recipes.entries.push((name, entry));
        }
        Ok(recipes)
    }

    /// The recipe called `name`.
    ///
    /// # Errors
    /// [`RecipeError::Unknown`] with the names there are.
    pub fn get(&self, name: &str) -> Result<NamedRecipe, RecipeError> {
        let entry = self.entry(name).ok_or_else(|| {
            let names: Vec<_> = self.entries.iter().map(|(name, _)| name.as_str()).collect();
            RecipeError::Unknown { name: name.to_owned(), known: names.join(", ") }
        })?;
        Ok(named(name, entry, FoundBy::Given))
    }

    /// The recipe of the model of this id on the hub, if it has one of its own.
    pub fn of_model(&self, id: &str) -> Option<NamedRecipe> {
        let (name, entry) =
            self.entries.iter().find(|(_, entry)| entry.models.iter().any(|model| model.id == id))?;
        Some(named(name, entry, FoundBy::HubId(id.to_owned())))
    }

    /// What is known besides of the recipe called `name`.
    pub fn entry(&self, name: &str) -> Option<&RecipeEntry> {
        self.entries().find(|(other, _)| *other == name).map(|(_, entry)| entry)
    }

    /// All of them, with their names.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &RecipeEntry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// The recipe of a model, by what is known best: what lies beside the adapter, what the adapter was made
    /// for, the model's id, what lies beside its weights, its architecture.
    ///
    /// # Errors
    /// Those of [`NamedRecipe::beside`].
    pub(crate) fn find(&self, sought: &Sought<'_>) -> Result<Option<NamedRecipe>, RecipeError> {
        if let Some(found) = sought.of_adapter {
            return Ok(Some(found.clone()));
        }
        let by = |claims: &dyn Fn(&RecipeEntry) -> bool, found_by: FoundBy| {
            let (name, entry) = self.entries().find(|(_, entry)| claims(entry))?;
            Some(named(name, entry, found_by))
        };
        let of_adapters = |id: &str| {
            let claims = |entry: &RecipeEntry| entry.base_models.iter().any(|base| base == id);
            by(&claims, FoundBy::BaseModel(id.to_owned()))
        };
        let of_type = |name: &str| {
            let claims = |entry: &RecipeEntry| entry.model_types.iter().any(|known| known == name);
            by(&claims, FoundBy::ModelType(name.to_owned()))
        };
        let known = sought.base_model.and_then(|id| of_adapters(id).or_else(|| self.of_model(id)));
        let known = known.or_else(|| self.of_model(&hub_id(sought.directory)?));
        match known {
            Some(found) => Ok(Some(found)),
            None => {
                Ok(NamedRecipe::beside(sought.directory)?.or_else(|| sought.model_type.and_then(of_type)))
            }
        }
    }

    /// Which of the models and architectures of `entry` another one has, in words.
    fn claimed(&self, entry: &RecipeEntry) -> Option<String> {
        self.entries().find_map(|(name, other)| {
            let shared = entry.claims().find(|claim| other.claims().any(|theirs| theirs == *claim));
            shared.map(|(what, value)| format!("{what} {value:?} is that of recipe `{name}` already"))
        })
    }
}

impl RecipeEntry {
    /// What it is found by, each of which is one entry's.
    fn claims(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let models = self.models.iter().map(|model| ("the model", model.id.as_str()));
        let bases = self.base_models.iter().map(|id| ("the base model", id.as_str()));
        let types = self.model_types.iter().map(|name| ("the model type", name.as_str()));
        models.chain(bases).chain(types)
    }

    /// What makes no sense about it, in words.
    fn fault(&self, name: &str) -> Option<String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        let is_code =
            |code: &String| matches!(code.len(), 2 | 3) && code.bytes().all(|c| c.is_ascii_lowercase());
        let claims: Vec<_> = self.claims().collect();
        let is_twice = claims.iter().enumerate().any(|(place, claim)| claims[..place].contains(claim));
        let rules = [
            (
                name.is_empty() || !name.chars().all(plain),
                "a name has small letters, digits, `-` and `_` alone",
            ),
            (self.title.trim().is_empty(), "`title` is empty"),
            (self.licence.trim().is_empty(), "`licence` is empty: say `unknown`"),
            (self.source.trim().is_empty(), "`source` is empty: say what the recipe was read from"),
            (!self.languages.iter().all(is_code), "`languages` holds codes of ISO 639, such as \"en\""),
            (self.models.iter().any(|model| model.dim == 0), "a `dim` is 0"),
            (claims.iter().any(|(_, value)| value.trim().is_empty()), "an id is empty"),
            (is_twice, "an id stands there twice"),
        ];
        let fault = rules.into_iter().find(|(is_wrong, _)| *is_wrong);
        fault.map(|(_, reason)| reason.to_owned()).or_else(|| self.recipe.fault())
    }
}

fn named(name: &str, entry: &RecipeEntry, found_by: FoundBy) -> NamedRecipe {
    NamedRecipe { name: name.to_owned(), recipe: entry.recipe.clone(), found_by }
}

/// The id of the model whose snapshot in the hub's cache `directory` is:
/// `models--<owner>--<name>/snapshots/<commit>`.
fn hub_id(directory: &Path) -> Option<String> {
    let mut parts = directory.components().rev().map(|part| part.as_os_str().to_str());
    let (_, snapshots, folder) = (parts.next()??, parts.next()??, parts.next()??);
    let (owner, name) =
        folder.strip_prefix("models--").filter(|_| snapshots == "snapshots")?.split_once("--")?;
    Some(format!("{owner}/{name}"))
}

/// Reads TOML, naming the line of what is wrong.
pub(super) fn from_toml<T: DeserializeOwned>(text: &str, path: &Path) -> Result<T, RecipeError> {
    toml::from_str(text).map_err(|error| RecipeError::Invalid {
        path: path.to_owned(),
        line: error.span().map(|span| line_of(text, span.start)),
        reason: error.message().split_whitespace().collect::<Vec<_>>().join(" "),
    })
}

/// The line, from 1, of a byte of `text`.
fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|&byte| byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[a]\ntitle = \"t\"\nlicence = \"l\"\nlanguages = [\"en\"]\nsource = \"s\"\n";

    fn read(text: &str) -> Result<Recipes, RecipeError> {
        Recipes::from_toml(text, Path::new("m.toml"))
    }

    #[test]
    fn faults_name_entry_and_line() {
        assert_eq!(read(LEAST).unwrap().get("a").unwrap().recipe, Recipe::default());
        let twice =
            format!("{LEAST}model_types = [\"x\"]\n\n{}model_types = [\"x\"]\n", LEAST.replace("[a]", "[b]"));
        for (text, expected) in [
            (LEAST.replace("title", "titel"), "m.toml:2: unknown field `titel`, expected one of `title`"),
            (LEAST.replace("source = \"s\"\n", ""), "m.toml:1: missing field `source`"),
            (format!("{LEAST}[a.recipe]\nmaxlength = 2\n"), "m.toml:7: unknown field `maxlength`"),
            (
                format!("{LEAST}[a.recipe]\nmax_length = 1\n"),
                "m.toml:1: recipe `a`: `max_length` must be at least 2",
            ),
            (
                format!("\n{LEAST}models = [{{ id = \"o/m\", dim = 0 }}]\n"),
                "m.toml:2: recipe `a`: a `dim` is 0",
            ),
            (format!("{LEAST}base_models = [\"o/m\", \"o/m\"]\n"), "recipe `a`: an id stands there twice"),
            (format!("{LEAST}model_types = [\"\"]\n"), "recipe `a`: an id is empty"),
            (LEAST.replace("[a]", "[A]"), "m.toml:1: recipe `A`: a name has small letters"),
            (LEAST.replace("\"en\"", "\"English\""), "`languages` holds codes"),
            (LEAST.replace("\"l\"", "\" \""), "`licence` is empty"),
            (twice, "m.toml:8: recipe `b`: the model type \"x\" is that of recipe `a` already"),
            ("[a".to_owned(), "m.toml:1: "),
        ] {
            let message = read(&text).unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{text}: {message}");
        }
        let unknown = Recipes::builtin().get("gvee").unwrap_err().to_string();
        assert!(unknown.contains("\"gvee\"") && unknown.contains("gve, "), "{unknown}");
    }

    #[test]
    fn what_is_known_best_says_which() {
        let entry =
            |name: &str, keys: &str| format!("{}{keys}\n", LEAST.replace("[a]", &format!("[{name}]")));
        let recipes = read(
            &[
                entry("model", "models = [{ id = \"o/m\", dim = 4 }]"),
                entry("adapter", "base_models = [\"o/m\", \"o/n\"]"),
                entry("type", "model_types = [\"x\"]"),
            ]
            .concat(),
        );
        let recipes = recipes.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let cached = folder.path().join("models--o--m/snapshots/0123");
        std::fs::create_dir_all(&cached).unwrap();
        let beside = NamedRecipe::from(Recipe::default());
        beside.write(folder.path()).unwrap();
        let find = |directory: &Path, of_adapter, base_model, model_type| {
            let sought = Sought { directory, of_adapter, base_model, model_type };
            recipes.find(&sought).unwrap().map(|found| (found.name, found.found_by.to_string()))
        };
        let nowhere = Path::new("/nowhere");
        for (found, expected) in [
            (find(nowhere, None, None, None), None),
            (find(nowhere, None, None, Some("y")), None),
            (find(nowhere, None, None, Some("x")), Some(("type", "that of models of type x, for nothing"))),
            (find(folder.path(), None, None, Some("x")), Some(("custom", "which lies in /"))),
            (find(&cached, None, None, Some("x")), Some(("model", "that of o/m"))),
            (find(nowhere, None, Some("o/n"), Some("x")), Some(("adapter", "that of adapters of o/n"))),
            (find(&cached, None, Some("o/m"), Some("x")), Some(("adapter", "that of adapters of o/m"))),
            (find(&cached, None, Some("o/else"), Some("x")), Some(("model", "that of o/m"))),
            (find(&cached, Some(&beside), Some("o/m"), Some("x")), Some(("custom", "as told"))),
        ] {
            let is_right = match (&found, expected) {
                (Some((name, how)), Some((expected, by))) => name == expected && how.starts_with(by),
                (found, expected) => found.is_none() && expected.is_none(),
            };
            assert!(is_right, "{found:?}, expected {expected:?}");
        }
        assert_eq!(hub_id(&folder.path().join("models--o--m/refs/0123")), None);
        assert_eq!(hub_id(Path::new("models--o--m")), None);
    }

    #[test]
    fn a_users_own_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.toml");
        let own = LEAST.replace("[a]", "[gve]");
        let own =
            format!("{own}\n{LEAST}models = [{{ id = \"nano\", dim = 4 }}]\n[a.recipe]\nmax_length = 99\n");
        std::fs::write(&path, own).unwrap();
        let recipes = Recipes::builtin_with(Some(&path)).unwrap();
        assert_eq!(recipes.entries().count(), Recipes::builtin().entries().count() + 1);
        assert_eq!(recipes.entry("gve").unwrap().title, "t");
        assert_eq!(recipes.of_model("nano").unwrap().recipe.max_length, 99);
        // Nobody claims it any more.
        assert_eq!(recipes.of_model("Alibaba-NLP/GVE-3B"), None);
        let missing = Recipes::builtin_with(Some(&folder.path().join("none.toml"))).unwrap_err().to_string();
        assert!(missing.starts_with("cannot read ") && missing.contains("none.toml"), "{missing}");
    }
}
