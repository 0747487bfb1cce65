//! What a checkpoint tells the Python library [sentence-transformers](https://sbert.net) about how gve
//! embeds.
//!
//! A checkpoint without `modules.json` is loaded there all the same, and pooled by the mean of its tokens.
//! The files here say what the reference does: the chat template with the start of the answer,
//! `<|endoftext|>` behind it, the hidden state of that last token, length 1. Everything that writes a
//! checkpoint writes them. `tests/interop/check_sentence_transformers.py` holds the installed package against
//! them.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::family::{self, Family};
use super::{AdapterClues, ModelError, architecture, find_recipe};
use crate::preprocess::{ChatTemplate, END_OF_TEXT, PreprocessError};
use crate::recipe::{EndOfText, Pooling, PromptRecipe, Recipe, Recipes};
use crate::store::{IoError, create_folder_of, limited_file, write_file};

/// Prompts, similarity and the like. The one of these files that others may have had a say in.
const SETTINGS: &str = "config_sentence_transformers.json";
/// What makes a folder one of sentence-transformers'.
const MODULES: &str = "modules.json";
/// Bytes that settings may have.
const MAX_SETTINGS_BYTES: u64 = 16 << 20;

/// What reads texts and pictures, beside the weights of a checkpoint.
const PROCESSORS: [&str; 11] = [
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "merges.txt",
    "preprocessor_config.json",
    "processor_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "video_preprocessor_config.json",
    "vocab.json",
];

/// Those of them that may name the class of the whole.
const SETTINGS_OF_PICTURES: [&str; 2] = ["preprocessor_config.json", "processor_config.json"];
/// The key by which they do.
const PROCESSOR_CLASS: &str = "processor_class";

/// Writes the files into the checkpoint in `directory`, if there is something to say; whether there is. Otherwise a
/// [`MODULES`] that was copied along goes where it is wrong: it names folders that were not, or is of an embedder that
/// became a reranker.
///
/// Those that are there and say how to pool are replaced: gve knows one way. Prompts stay, as they are named
/// and used by name; one that was the default is so no longer, as gve would not use it.
///
/// # Errors
/// [`ModelError::Config`] and [`ModelError::Io`].
pub(crate) fn describe(directory: &Path) -> Result<bool, ModelError> {
    let family = family::open(directory)?;
    let recipe = recipe_of(directory, &*family, &AdapterClues::default())?;
    let files = files_with(directory, &*family, &recipe)?;
    let is_described = !files.is_empty();
    write_all(directory, files)?;
    let path = directory.join(MODULES);
    if !is_described && path.is_file() && (recipe.reranking.is_some() || !are_there(&path)?) {
        fs::remove_file(&path).map_err(IoError::of("delete", path))?;
    }
    Ok(is_described)
}

/// Whether the folders lie beside it that a [`MODULES`] names; `""` is the one it lies in.
fn are_there(path: &Path) -> Result<bool, ModelError> {
    let text = limited_file::read_text(path, MAX_SETTINGS_BYTES).map_err(IoError::of("read", path))?;
    let modules: Vec<Map<String, Value>> = serde_json::from_str(&text).unwrap_or_default();
    let is_there = |module: &Map<String, Value>| {
        let folder = module.get("path").and_then(Value::as_str);
        folder.is_some_and(|folder| path.with_file_name(folder).is_dir() || folder.is_empty())
    };
    Ok(!modules.is_empty() && modules.iter().all(is_there))
}

/// Writes the files into the folder `adapter` of an adapter of the checkpoint in `directory`, and what reads texts and pictures
/// there: sentence-transformers takes these from where it takes the adapter, and the weights from the base.
pub(crate) fn describe_adapter(directory: &Path, adapter: &Path) -> Result<(), ModelError> {
    let family = family::open(directory)?;
    let recipe = recipe_of(directory, &*family, &AdapterClues::read(adapter)?)?;
    let files = files_with(directory, &*family, &recipe)?;
    let Some(class) = processor_class(directory).filter(|_| !files.is_empty()) else { return Ok(()) };
    for name in PROCESSORS.into_iter().filter(|name| directory.join(name).is_file()) {
        let (from, path) = (directory.join(name), adapter.join(name));
        if !SETTINGS_OF_PICTURES.contains(&name) {
            fs::copy(from, &path).map_err(IoError::of("write", &path))?;
            continue;
        }
        let mut settings = object(&from)?.unwrap_or_default();
        if settings.get(PROCESSOR_CLASS).is_none_or(Value::is_null) {
            settings.insert(PROCESSOR_CLASS.to_owned(), class.as_str().into());
        }
        let text = format!("{:#}\n", Value::Object(settings));
        write_file(path, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(write_all(adapter, files)?)
}

/// What transformers calls the processor of the checkpoint in `directory`. It tells by `config.json` otherwise, which an adapter
/// has not, and takes the tokenizer alone where nothing tells.
fn processor_class(directory: &Path) -> Option<String> {
    let of_model =
        || Some(format!("{}Processor", architecture(directory)?.strip_suffix("ForConditionalGeneration")?));
    let named = SETTINGS_OF_PICTURES.into_iter().find_map(|name| {
        object(&directory.join(name)).ok()??.get(PROCESSOR_CLASS)?.as_str().map(str::to_owned)
    });
    named.or_else(of_model)
}

/// Whether [`describe_adapter`] does something for adapters of the checkpoint in `directory`, where whole ones are described.
pub(crate) fn takes_adapters(directory: &Path) -> bool {
    processor_class(directory).is_some()
}

fn write_all(directory: &Path, files: Vec<(&str, String)>) -> Result<(), IoError> {
    for (name, text) in files {
        let path = directory.join(name);
        create_folder_of(&path)?;
        write_file(path, |file| file.write_all(text.as_bytes()))?;
    }
    Ok(())
}

/// Whether a checkpoint that is used by `recipe` has these files.
pub(crate) fn describes(family: &dyn Family, recipe: &Recipe) -> bool {
    template(family, recipe).is_some()
}

/// What lays out the prompts, where it does so alone, and for embeddings.
fn template<'a>(family: &'a dyn Family, recipe: &Recipe) -> Option<&'a ChatTemplate> {
    let by_template =
        PromptRecipe { end_of_text: EndOfText::Kept, ..recipe.prompt.clone() } == PromptRecipe::default();
    family.template().filter(|_| by_template && recipe.reranking.is_none())
}

/// How the checkpoint in `directory` is used, with an adapter that says so.
fn recipe_of(directory: &Path, family: &dyn Family, adapter: &AdapterClues) -> Result<Recipe, ModelError> {
    Ok(find_recipe(Recipes::builtin(), directory, family, adapter)?.recipe)
}

/// Names within the checkpoint in `directory`, and contents. None where prompts are not laid out by a chat
/// template alone, and of a reranker.
pub(crate) fn files(directory: &Path) -> Result<Vec<(&'static str, String)>, ModelError> {
    let family = family::open(directory)?;
    files_with(directory, &*family, &recipe_of(directory, &*family, &AdapterClues::default())?)
}

/// The same, of a checkpoint that is used by `recipe`.
fn files_with(
    directory: &Path,
    family: &dyn Family,
    recipe: &Recipe,
) -> Result<Vec<(&'static str, String)>, ModelError> {
    let Some(template) = template(family, recipe) else { return Ok(Vec::new()) };
    let modules = ["Transformer", "Pooling", "Normalize"].into_iter().zip(["", "1_Pooling", "2_Normalize"]);
    let modules: Vec<Value> = (0..)
        .zip(modules)
        .map(|(place, (kind, path))| {
            json!({"idx": place, "name": place.to_string(), "path": path, "type": format!("sentence_transformers.models.{kind}")})
        })
        .collect();
    let mode = match recipe.pooling {
        Pooling::LastToken => "lasttoken",
    };
    let pooling = json!({"embedding_dimension": family.dim(), "pooling_mode": mode, "include_prompt": true});
    let normalize =
        json!({"module_input_name": "sentence_embedding", "module_output_name": "sentence_embedding"});
    let files = [
        (MODULES, json!(modules)),
        ("sentence_bert_config.json", transformer(directory, family, template, recipe)?),
        ("1_Pooling/config.json", pooling),
        ("2_Normalize/config.json", normalize),
        (SETTINGS, settings(&directory.join(SETTINGS))?),
    ];
    Ok(files.map(|(name, value)| (name, format!("{value:#}\n"))).into())
}

/// How inputs become tokens and pictures.
fn transformer(
    directory: &Path,
    family: &dyn Family,
    template: &ChatTemplate,
    recipe: &Recipe,
) -> Result<Value, ModelError> {
    let forward = json!({"method": "forward", "method_output_name": "last_hidden_state"});
    let mut message = forward.clone();
    message["format"] = "structured".into();
    let end = if recipe.prompt.end_of_text == EndOfText::None { "" } else { END_OF_TEXT };
    let mut processing = json!({
        "chat_template": {
            "chat_template": format!("{}{end}", template.jinja),
            "add_generation_prompt": true,
            // Special tokens in a user's text are text.
            "sanitize_control_tokens": true,
        },
        "text": {"max_length": recipe.max_length},
    });
    let invalid =
        |error: PreprocessError| ModelError::Config { path: directory.to_owned(), reason: error.to_string() };
    match family.pictures(directory, recipe) {
        Ok(pictures) => {
            let area = pictures.max_pixels(recipe.tokens_per_frame);
            let (processor, budget) = (&pictures.processor, &pictures.budget);
            let image = budget.for_image(None, Some(area)).map_err(invalid)?;
            let video =
                budget.for_video(None, Some(area), None, recipe.frames_per_video()).map_err(invalid)?;
            let least = image.min_pixels().max(processor.pixel_bounds().min_pixels()).min(area);
            processing["image"] = size(least, area);
            processing["video"] = size(video.min_pixels(), area);
        }
        // Weights alone, which embed texts.
        Err(PreprocessError::MissingCheckpointFile { .. }) => {}
        Err(error) => return Err(invalid(error)),
    }
    Ok(json!({
        "transformer_task": "feature-extraction",
        "modality_config": {"text": forward, "image": forward, "video": forward, "message": message},
        "module_output_name": "token_embeddings",
        "processing_kwargs": processing,
        // Packed sequences would have the positions of one.
        "unpad_inputs": false,
    }))
}

fn size(min_pixels: u64, max_pixels: u64) -> Value {
    json!({"size": {"shortest_edge": min_pixels, "longest_edge": max_pixels}})
}

/// The object in the file at `path`, if there is one.
fn object(path: &Path) -> Result<Option<Map<String, Value>>, ModelError> {
    match limited_file::read(path, MAX_SETTINGS_BYTES) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            let reason =
                format!("no object of settings ({error}): mend it, or delete it to have it made anew");
            ModelError::Config { path: path.to_owned(), reason }
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(IoError::of("read", path)(error).into()),
    }
}

/// The file that is at `path`, with what is ours in it.
fn settings(path: &Path) -> Result<Value, ModelError> {
    let mut settings = Value::Object(object(path)?.unwrap_or_default());
    settings["model_type"] = "SentenceTransformer".into();
    settings["default_prompt_name"] = Value::Null;
    for (key, default) in
        [("prompts", json!({"query": "", "document": ""})), ("similarity_fn_name", json!("cosine"))]
    {
        if settings[key].is_null() {
            settings[key] = default;
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_prompts_stay_and_its_pooling_does_not() {
        let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model");
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::copy(model.join("config.json"), path("config.json")).unwrap();
        let prompts = json!({"query": "Find the video.", "document": ""});
        let theirs = json!({"prompts": prompts, "default_prompt_name": "query", "similarity_fn_name": "dot"});
        fs::write(path(SETTINGS), theirs.to_string()).unwrap();
        fs::write(path("modules.json"), "[]").unwrap();
        describe(folder.path()).unwrap();
        let read = |name: &str| -> Value { serde_json::from_slice(&fs::read(path(name)).unwrap()).unwrap() };
        let settings = read(SETTINGS);
        assert_eq!((&settings["prompts"], &settings["similarity_fn_name"]), (&prompts, &json!("dot")));
        assert_eq!(settings["default_prompt_name"], Value::Null);
        assert_eq!(read("modules.json").as_array().unwrap().len(), 3);
        assert_eq!(read("1_Pooling/config.json")["pooling_mode"], "lasttoken");
        // Without an image processor there is nothing to say of pictures.
        assert!(read("sentence_bert_config.json")["processing_kwargs"].get("image").is_none());
        // Prompts that cannot be read are nobody's to throw away.
        for unreadable in ["{", "[]"] {
            fs::write(path(SETTINGS), unreadable).unwrap();
            let message = describe(folder.path()).unwrap_err().to_string();
            assert!(message.contains(SETTINGS) && message.contains("no object of settings"), "{message}");
        }
        fs::remove_file(path(SETTINGS)).unwrap();
        describe(folder.path()).unwrap();
        assert_eq!(read(SETTINGS)["prompts"]["query"], "");
        fs::write(path("preprocessor_config.json"), "{").unwrap();
        assert!(describe(folder.path()).unwrap_err().to_string().contains("preprocessor_config.json"));
    }
}
