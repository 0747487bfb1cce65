//! The model that comes with the crate: small enough to be part of the program, so that everything works
//! without a download.

use std::fs;
use std::io::Write;
use std::sync::LazyLock;

use super::{HubError, HubOptions, ResolvedModel};
use crate::card::{BUILT_IN, unpacked_name};
use crate::hash::{FNV_OFFSET, fnv};
use crate::model::sentence_transformers;
use crate::recipe::{NamedRecipe, Recipes};
use crate::store::{IoError, create_folder_of, write_file};

/// The name of the built-in model, for [`resolve`](super::resolve). It knows its procedural world only
/// ([`synth::world`](crate::synth::world)): for footage there are models such as `Alibaba-NLP/GVE-3B`.
pub const NANO: &str = BUILT_IN;

macro_rules! files {
    ($($name:literal),* $(,)?) => { [$(($name, include_bytes!(concat!("../../assets/nano/", $name)))),*] };
}

const FILES: [(&str, &[u8]); 7] = files![
    "README.md",
    "chat_template.json",
    "config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The hash of the files that shape embeddings, so that those of two built-in models are never taken for
/// those of one.
static REVISION: LazyLock<String> = LazyLock::new(|| {
    let files = FILES.iter().filter(|(name, _)| *name != "README.md");
    format!("{:016x}", files.fold(FNV_OFFSET, |hash, (_, bytes)| fnv(hash, bytes)))
});

/// Unpacks the model where that has not been done yet.
pub(super) fn unpack(options: &HubOptions) -> Result<ResolvedModel, HubError> {
    if let Some(revision) = options.revision.as_ref().filter(|revision| **revision != *REVISION) {
        return Err(HubError::OtherNano { revision: revision.clone(), built_in: REVISION.as_str() });
    }
    let parent = match &options.nano_dir {
        Some(parent) => parent.clone(),
        None => std::env::home_dir().ok_or(HubError::NoHome)?.join(".cache/gve"),
    };
    let directory = parent.join(unpacked_name(&REVISION));
    let write = |name: &str, bytes: &[u8]| -> Result<(), IoError> {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        // Another process or thread may be doing the same: each file appears whole, and it does not matter
        // whose.
        create_folder_of(&path)?;
        write_file(path, |file| file.write_all(bytes))
    };
    for (name, bytes) in FILES {
        write(name, bytes)?;
    }
    // Made of the files above, which are as they were built in.
    if let Some(recipe) = Recipes::builtin().of_model(NANO) {
        write(NamedRecipe::FILE_NAME, recipe.to_toml()?.as_bytes())?;
    }
    let described = sentence_transformers::files(&directory);
    let described =
        described.map_err(|error| IoError::of("describe", &directory)(std::io::Error::other(error)))?;
    for (name, text) in described {
        write(name, text.as_bytes())?;
    }
    Ok(ResolvedModel { directory, id: NANO.to_owned(), revision: Some(REVISION.clone()), warning: None })
}
