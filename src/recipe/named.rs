use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Recipe, RecipeError, RecipeId, catalog};
use crate::store::{IoError, limited_file, write_file};

/// Bytes that a file of recipes may have.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// A recipe, and how it was come by.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct NamedRecipe {
    /// Its name in `models.toml`, or in a user's own file.
    pub name: String,
    /// What it says.
    pub recipe: Recipe,
    /// How it was found.
    pub found_by: FoundBy,
}

/// How a recipe was found; displays as the end of "recipe gve, ...".
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FoundBy {
    /// Whoever embeds gave it, or its name.
    Given,
    /// It lay beside the weights, or beside the adapter.
    Beside(PathBuf),
    /// The model that the adapter was made for.
    BaseModel(String),
    /// The id of the model on the hub.
    HubId(String),
    /// The architecture, which is all that is known of the model.
    ModelType(String),
}

impl fmt::Display for FoundBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given => f.write_str("as told"),
            Self::Beside(path) => write!(f, "which lies in {}", path.display()),
            Self::BaseModel(id) => write!(f, "that of adapters of {id}"),
            Self::HubId(id) => write!(f, "that of {id}"),
            Self::ModelType(name) => {
                write!(f, "that of models of type {name}, for nothing else is known of this one")
            }
        }
    }
}

impl From<Recipe> for NamedRecipe {
    /// One that is in no file.
    fn from(recipe: Recipe) -> Self {
        Self { name: "custom".to_owned(), recipe, found_by: FoundBy::Given }
    }
}

/// The file beside a model's weights.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    recipe: Recipe,
}

impl NamedRecipe {
    /// The file that says how the weights or the adapter beside it are used.
    pub const FILE_NAME: &'static str = "gve_recipe.toml";

    /// What tells it from others.
    pub fn id(&self) -> RecipeId {
        RecipeId { name: self.name.clone(), hash: self.recipe.fingerprint() }
    }

    /// That which lies in `directory`, if one does.
    ///
    /// # Errors
    /// [`RecipeError::Io`] and [`RecipeError::Invalid`] for a file that cannot be read.
    pub fn beside(directory: &Path) -> Result<Option<Self>, RecipeError> {
        let path = directory.join(Self::FILE_NAME);
        let text = match limited_file::read_text(&path, MAX_BYTES) {
            Ok(text) => text,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(IoError::of("read", path)(error).into()),
        };
        let File { name, recipe } = catalog::from_toml(&text, &path)?;
        if let Some(reason) = recipe.fault() {
            return Err(RecipeError::Invalid { path, line: None, reason });
        }
        Ok(Some(Self { name, recipe, found_by: FoundBy::Beside(path) }))
    }

    /// Writes it into `directory`: what is made of a model is used as the model was.
    ///
    /// # Errors
    /// [`RecipeError::Io`].
    pub fn write(&self, directory: &Path) -> Result<(), RecipeError> {
        let text = self.to_toml()?;
        Ok(write_file(directory.join(Self::FILE_NAME), |out| out.write_all(text.as_bytes()))?)
    }

    /// What the file holds.
    pub(crate) fn to_toml(&self) -> Result<String, RecipeError> {
        let file = File { name: self.name.clone(), recipe: self.recipe.clone() };
        let text = toml::to_string(&file).map_err(|error| RecipeError::Invalid {
            path: Self::FILE_NAME.into(),
            line: None,
            reason: error.to_string(),
        })?;
        Ok(format!("# How gve uses what lies beside this file: docs/models.md.\n{text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_beside_weights_is_found_there() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(NamedRecipe::beside(folder.path()).unwrap(), None);
        let recipe =
            "instruction = \"a \\\"b\\\"\"\nwidths = { from = 64 }\nquery_instruction = { text = \"t\\n\" }";
        let ours = NamedRecipe { name: "mine".into(), ..toml::from_str::<Recipe>(recipe).unwrap().into() };
        ours.write(folder.path()).unwrap();
        let path = folder.path().join(NamedRecipe::FILE_NAME);
        let found = NamedRecipe::beside(folder.path()).unwrap().unwrap();
        assert_eq!(found, NamedRecipe { found_by: FoundBy::Beside(path.clone()), ..ours.clone() });
        assert_eq!(found.id(), ours.id());

        for (text, expected) in [
            ("name = \"a\"", "missing field `recipe`"),
            ("name = \"a\"\n[recipe]\nmax_length = 1\n", "`max_length` must be at least 2"),
            ("name = \"a\"\n[recipe]\nmaxlength = 1\n", "gve_recipe.toml:3: unknown field `maxlength`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let message = NamedRecipe::beside(folder.path()).unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }
}
