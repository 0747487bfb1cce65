//! How a checkpoint is used.

use std::path::Path;

use super::family::Family;
use super::{LoraSettings, ModelError, config};
use crate::recipe::{FoundBy, NamedRecipe, Recipes, Sought};

/// What an adapter says of the model it is folded into.
#[derive(Default)]
pub(crate) struct AdapterClues {
    recipe: Option<NamedRecipe>,
    base_model: Option<String>,
}

impl AdapterClues {
    /// Those of the adapter in `directory`, whose weights are not read.
    pub(crate) fn read(directory: &Path) -> Result<Self, ModelError> {
        let base_model = LoraSettings::read(directory)?.base_model;
        Ok(Self { recipe: NamedRecipe::beside(directory)?, base_model })
    }
}

/// The class of transformers that the checkpoint in `model_dir` is of, where its settings say so.
pub(crate) fn architecture(model_dir: &Path) -> Option<String> {
    let (_, root) = config::read(model_dir).ok()?;
    root["architectures"][0].as_str().map(str::to_owned)
}

/// The recipe of the checkpoint in `model_dir`, which is of `family`, with the adapter that is folded into it;
/// that of its family where `recipes` has none.
///
/// # Errors
/// [`ModelError::Recipe`] for a damaged file.
pub(crate) fn find_recipe(
    recipes: &Recipes,
    model_dir: &Path,
    family: &dyn Family,
    adapter: &AdapterClues,
) -> Result<NamedRecipe, ModelError> {
    let root = config::read(model_dir).map(|(_, root)| root).unwrap_or_default();
    let model_type = root.get("model_type").and_then(serde_json::Value::as_str);
    let sought = Sought {
        directory: model_dir,
        of_adapter: adapter.recipe.as_ref(),
        base_model: adapter.base_model.as_deref(),
        model_type,
    };
    let of_family = || {
        let name = model_type.unwrap_or("unknown").to_owned();
        NamedRecipe { found_by: FoundBy::ModelType(name.clone()), name, ..family.recipe().into() }
    };
    Ok(recipes.find(&sought)?.unwrap_or_else(of_family))
}
