use std::path::Path;

use serde_json::Value;

use super::super::TrainError;
use super::super::config::ModelSection;
use super::setup::with_defaults;
use crate::embedder::EmbedError;
use crate::model::family::Family;
use crate::recipe::Recipe;

/// The area of pictures: as the settings say, or the run so far, or as everything else that embeds has it.
pub(super) fn area(
    model: &ModelSection,
    saved: Option<&Value>,
    family: &dyn Family,
    recipe: &Recipe,
    model_dir: &Path,
) -> Result<u64, TrainError> {
    let saved = || {
        let model = with_defaults(saved?);
        model.pointer("/model/max_pixels")?.as_u64()
    };
    if let Some(area) = model.max_pixels {
        return Ok(area);
    }
    let pictures = || family.pictures(model_dir, recipe).map_err(EmbedError::from);
    match (model.tokens_per_frame, saved()) {
        (Some(tokens), _) => Ok(pictures()?.budget.pixels(tokens)),
        (None, Some(area)) => Ok(area),
        (None, None) => Ok(pictures()?.max_pixels(recipe.tokens_per_frame)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::setup::written;
    use super::*;
    use crate::model::family;

    #[test]
    fn the_area_of_pictures_is_as_told_or_as_before_or_as_the_model_allows() {
        let model =
            |keys: &str| -> ModelSection { toml::from_str(&format!("path = \"m\"\n{keys}")).unwrap() };
        let saved = |keys: &str| {
            let least = "output = \"run\"\n[data]\npairs = [\"p.jsonl\"]\n[model]\npath = \"m\"\n";
            written(&toml::from_str(&format!("{least}{keys}")).unwrap()).unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let nano = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/nano");
        let family = family::open(&nano).unwrap();
        let recipe = Recipe::default();
        let area = |model: &ModelSection, saved: Option<&Value>, folder: &Path| {
            area(model, saved, &*family, &recipe, folder)
        };
        fs::write(folder.path().join("preprocessor_config.json"), "{\"max_pixels\": 9408}").unwrap();
        let older = saved("tokens_per_frame = 200");
        for (keys, saved, expected) in [
            ("", None, 9408),
            ("tokens_per_frame = 20", None, 15_680),
            ("max_pixels = 5000", None, 5000),
            ("", Some(&older), 156_800),
            ("", Some(&saved("max_pixels = 7000")), 7000),
            ("max_pixels = 5000", Some(&older), 5000),
        ] {
            assert_eq!(area(&model(keys), saved, folder.path()).unwrap(), expected, "{keys} after {saved:?}");
        }
        // What a larger model allows, the default does not take.
        fs::write(folder.path().join("preprocessor_config.json"), "{}").unwrap();
        assert_eq!(area(&model(""), None, folder.path()).unwrap(), 200 * 784);
        assert!(area(&model(""), None, Path::new("/nowhere")).is_err());
    }
}
