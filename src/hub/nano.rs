//! The model that comes with the crate: small enough to be part of the program, so that everything works without a download.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{HubError, HubOptions, ResolvedModel};
use crate::hash::{FNV_OFFSET, fnv};
use crate::model::sentence_transformers;

/// The name of the built-in model, for [`resolve`](super::resolve). It knows its procedural world only
/// ([`synth::world`](crate::synth::world)): for footage there are models such as `Alibaba-NLP/GVE-3B`.
pub const NANO: &str = "nano";

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

/// The hash of the files that shape embeddings, so that those of two built-in models are never taken for those of one.
static REVISION: LazyLock<String> = LazyLock::new(|| {
    let files = FILES.iter().filter(|(name, _)| *name != "README.md");
    format!("{:016x}", files.fold(FNV_OFFSET, |hash, (_, bytes)| fnv(hash, bytes)))
});

/// Files written so far, which keeps their temporary names apart.
static UNPACKED: AtomicU64 = AtomicU64::new(0);

/// Unpacks the model where that has not been done yet.
pub(super) fn unpack(options: &HubOptions) -> Result<ResolvedModel, HubError> {
    if let Some(revision) = options.revision.as_ref().filter(|revision| **revision != *REVISION) {
        return Err(HubError::OtherNano { revision: revision.clone(), built_in: REVISION.as_str() });
    }
    let parent = match &options.nano_dir {
        Some(parent) => parent.clone(),
        None => std::env::home_dir().ok_or(HubError::NoHome)?.join(".cache/gve"),
    };
    let directory = parent.join(format!("{NANO}-{}", *REVISION));
    let io = |path: &Path| {
        let path = path.to_owned();
        |source| HubError::Io { path, source }
    };
    fs::create_dir_all(&directory).map_err(io(&directory))?;
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.join(name);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(());
        }
        // Another process or thread may be doing the same: each file appears whole, and it does not matter whose.
        let number = UNPACKED.fetch_add(1, Ordering::Relaxed);
        let temporary =
            directory.join(format!(".{}.{}.{number}", name.replace('/', "."), std::process::id()));
        let folder = path.parent().unwrap_or(&directory);
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&temporary, bytes))
            .and_then(|()| fs::rename(&temporary, &path));
        written.map_err(io(&path))
    };
    for (name, bytes) in FILES {
        write(name, bytes)?;
    }
    // Made of the files above, which are as they were built in.
    let described = sentence_transformers::files(&directory);
    for (name, text) in described.map_err(|error| io(&directory)(std::io::Error::other(error)))? {
        write(name, text.as_bytes())?;
    }
    Ok(ResolvedModel { directory, id: NANO.to_owned(), revision: Some(REVISION.clone()), warning: None })
}
