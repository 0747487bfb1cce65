//! Which files make a model.

use std::collections::BTreeSet;
use std::path::Path;

use serde::Deserialize;

use super::{HubError, read_text};
use crate::card::CARD;
use crate::recipe::NamedRecipe;
use crate::store::is_file_name;

/// Without these nothing can be embedded.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// Nor without one of these, which transformers 4 and 5 write.
const PICTURES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// Fetched where the repository has them.
const OPTIONAL: [&str; 7] = [
    // It names the licence, which a model that is made of it has, too.
    CARD,
    "video_preprocessor_config.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
    NamedRecipe::FILE_NAME,
];
/// Weights in one file.
const SINGLE_WEIGHTS: &str = "model.safetensors";
/// The list of shards where there are several files.
pub(super) const WEIGHTS_INDEX: &str = "model.safetensors.index.json";
/// A LoRA adapter on top: both or neither.
const ADAPTER: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The files of a repository to fetch, small ones first; the shards are not among them (see [`shards`]).
pub(super) fn files_to_fetch(has: impl Fn(&str) -> bool) -> Result<Vec<&'static str>, Vec<String>> {
    let mut missing: Vec<String> =
        REQUIRED.iter().filter(|file| !has(file)).map(|&file| file.to_owned()).collect();
    if !PICTURES.iter().any(|file| has(file)) {
        missing.push(PICTURES[0].to_owned());
    }
    // As transformers does, the single file is preferred where both are there.
    let weights = [SINGLE_WEIGHTS, WEIGHTS_INDEX].into_iter().find(|file| has(file));
    if weights.is_none() {
        missing.push(SINGLE_WEIGHTS.to_owned());
    }
    if ADAPTER.iter().any(|file| has(file)) {
        missing.extend(ADAPTER.iter().filter(|file| !has(file)).map(|&file| file.to_owned()));
    }
    if !missing.is_empty() {
        return Err(missing);
    }
    let optional = PICTURES.into_iter().chain(OPTIONAL).chain(ADAPTER).filter(|file| has(file));
    Ok(REQUIRED.into_iter().chain(optional).chain(weights).collect())
}

#[derive(Deserialize)]
struct WeightsIndex {
    weight_map: std::collections::HashMap<String, String>,
}

/// The shards an index file lists, in order of name.
pub(super) fn shards(index: &Path) -> Result<BTreeSet<String>, HubError> {
    let invalid = |reason: String| HubError::InvalidIndex { path: index.to_owned(), reason };
    let parsed: WeightsIndex =
        serde_json::from_str(&read_text(index)?).map_err(|e| invalid(e.to_string()))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    // The names become paths: nothing may point out of the model's directory.
    if let Some(bad) = shards.iter().find(|name| !is_file_name(name)) {
        return Err(invalid(format!("{bad:?} is no file name")));
    }
    if shards.is_empty() {
        return Err(invalid("its weight_map is empty".to_owned()));
    }
    Ok(shards)
}

/// What a directory lacks to be a model; empty if it is complete.
pub(super) fn missing_files(directory: &Path) -> Result<Vec<String>, HubError> {
    missing_files_of(directory, &|file| directory.join(file).is_file())
}

/// The same of a directory of which only the files count that it `has`.
pub(super) fn missing_files_of(
    directory: &Path,
    has: &dyn Fn(&str) -> bool,
) -> Result<Vec<String>, HubError> {
    match files_to_fetch(has) {
        Err(missing) => Ok(missing),
        Ok(files) if files.contains(&WEIGHTS_INDEX) => {
            Ok(shards(&directory.join(WEIGHTS_INDEX))?.into_iter().filter(|file| !has(file)).collect())
        }
        Ok(_) => Ok(Vec::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_lie_in_the_folder_of_their_index() {
        let folder = tempfile::tempdir().unwrap();
        let index = folder.path().join(WEIGHTS_INDEX);
        for (name, expected) in [
            ("model-1.safetensors", true),
            ("../model.safetensors", false),
            ("sub/model.safetensors", false),
            ("/etc/model.safetensors", false),
            ("..\\\\model.safetensors", false),
            ("C:model.safetensors", false),
            ("a\\u0000b.safetensors", false),
            ("..", false),
            (".hidden", false),
            ("", false),
        ] {
            std::fs::write(&index, format!(r#"{{"weight_map": {{"a": "{name}"}}}}"#)).unwrap();
            assert_eq!(shards(&index).is_ok(), expected, "{name}");
            // A directory is looked through by the same rule.
            for file in REQUIRED.into_iter().chain(PICTURES) {
                std::fs::write(folder.path().join(file), "").unwrap();
            }
            assert_eq!(missing_files(folder.path()).is_ok(), expected, "{name}");
        }
    }

    #[test]
    fn files_are_chosen_from_what_a_repository_has() {
        let required = format!("{} {}", REQUIRED.join(" "), PICTURES[0]);
        let of_transformers_5 = format!("{} {} model.safetensors", REQUIRED.join(" "), PICTURES[1]);
        let cases = [
            (of_transformers_5.clone(), Ok(of_transformers_5)),
            (
                format!("{required} model.safetensors README.md"),
                Ok(format!("{required} README.md model.safetensors")),
            ),
            (format!("{required} model.safetensors notes.txt"), Ok(format!("{required} model.safetensors"))),
            (format!("{required} {WEIGHTS_INDEX}"), Ok(format!("{required} {WEIGHTS_INDEX}"))),
            (
                format!("{required} {WEIGHTS_INDEX} model.safetensors"),
                Ok(format!("{required} model.safetensors")),
            ),
            (
                format!("{required} model.safetensors adapter_config.json adapter_model.safetensors"),
                Ok(format!("{required} adapter_config.json adapter_model.safetensors model.safetensors")),
            ),
            (
                format!("{required} model.safetensors adapter_config.json"),
                Err("adapter_model.safetensors".to_owned()),
            ),
            (required.clone(), Err("model.safetensors".to_owned())),
            (
                "config.json model.safetensors".to_owned(),
                Err("tokenizer.json preprocessor_config.json".to_owned()),
            ),
        ];
        for (there, expected) in cases {
            let there: Vec<&str> = there.split(' ').collect();
            let got =
                files_to_fetch(|file| there.contains(&file)).map(|f| f.join(" ")).map_err(|m| m.join(" "));
            assert_eq!(got, expected, "{there:?}");
        }
    }
}
