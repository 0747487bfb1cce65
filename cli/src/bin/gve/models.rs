//! How models are used, to look at.

use std::path::Path;

use anyhow::Result;
use gve::recipe::{FoundBy, NamedRecipe, QueryKind, RecipeEntry, Recipes};
use gve_cli::output::{Outcome, print};
use serde_json::{Value, json};

/// Prints all recipes, each with its models.
pub(crate) fn list(models_file: Option<&Path>, as_json: bool) -> Result<Outcome> {
    let recipes = Recipes::builtin_with(models_file)?;
    for (name, entry) in recipes.entries() {
        if as_json {
            print(&json!({ "name": name, "hash": entry.recipe.fingerprint(), "entry": entry }).to_string())?;
            continue;
        }
        print(&format!("{name}: {}", entry.title))?;
        for model in &entry.models {
            print(&format!("  {} of {} values", model.id, model.dim))?;
        }
        for (what, ids) in [("adapters of", &entry.base_models), ("models of type", &entry.model_types)] {
            if !ids.is_empty() {
                print(&format!("  {what} {}", ids.join(", ")))?;
            }
        }
        let languages = entry.languages.join(", ");
        print(&format!("  licence {}; languages {languages}; {}", entry.licence, entry.source))?;
    }
    Ok(Outcome::Complete)
}

/// What `gve model info` says of how a model is used: names and values.
pub(crate) fn rows(recipe: &NamedRecipe, recipes: &Recipes) -> Vec<(&'static str, String)> {
    let settings = &recipe.recipe;
    let mut rows = vec![
        ("recipe", format!("{}, {}", recipe.id(), recipe.found_by)),
        ("instructed", format!("{:?}", settings.instruction)),
    ];
    let query = settings.query_instruction.of(QueryKind::Text);
    rows.extend(query.map(|query| ("a query", format!("{query:?}, of text"))));
    rows.push(("cut to", settings.widths.to_string()));
    if let Some(entry) = published(recipe, recipes) {
        rows.push(("licence", entry.licence.clone()));
        rows.push(("languages", entry.languages.join(", ")));
    }
    rows
}

/// The same for programs.
pub(crate) fn json(recipe: &NamedRecipe, recipes: &Recipes) -> Value {
    let entry = published(recipe, recipes);
    json!({
        "name": recipe.name, "hash": recipe.recipe.fingerprint(), "found": recipe.found_by.to_string(),
        "settings": recipe.recipe,
        "licence": entry.map(|entry| &entry.licence), "languages": entry.map(|entry| &entry.languages),
    })
}

/// What is known of a model that was published; the terms of one that was made of it are another matter.
fn published<'a>(recipe: &NamedRecipe, recipes: &'a Recipes) -> Option<&'a RecipeEntry> {
    recipes.entry(&recipe.name).filter(|_| matches!(recipe.found_by, FoundBy::HubId(_)))
}
