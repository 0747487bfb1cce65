//! Which files of a directory are sent.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use serde_json::{Map, Value};

use super::super::{HubError, layout};
use super::content::Content;
use super::{PushOptions, below};
use crate::card::{CARD, CARD_BESIDE, front_values, is_hub_id, read, with_base};
use crate::model::LoraSettings;
use crate::store::{IoError, limited_file};

const ADAPTER_CONFIG: &str = "adapter_config.json";
const ADAPTER_WEIGHTS: &str = "adapter_model.safetensors";
/// Bytes that settings may have.
const MAX_SETTINGS: u64 = 16 << 20;

/// Names of files that say where training stood, of gve and of transformers.
const STATE: [&str; 14] = [
    "log.jsonl",
    "negatives.json",
    "optimizer.bin",
    "optimizer.pt",
    "optimizer.safetensors",
    "parameters.safetensors",
    "rng_state.pth",
    "run.html",
    "scaler.pt",
    "scheduler.bin",
    "scheduler.pt",
    "state.json",
    "trainer_state.json",
    "training_args.bin",
];
/// Beginnings of names of folders that hold such files.
const STATE_FOLDERS: [&str; 7] =
    ["checkpoint-", "checkpoints", "evaluations", "global_step", "runs", "step-", "tensorboard"];
/// Names, and ends of names, of files that open something.
const SECRETS: [&str; 12] = [
    "credentials",
    "credentials.json",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "id_rsa",
    "kaggle.json",
    "secrets.json",
    "secrets.toml",
    "secrets.yaml",
    "secrets.yml",
    "token",
];
const SECRET_ENDINGS: [&str; 7] = [".env", ".jks", ".key", ".kdbx", ".p12", ".pem", ".pfx"];
/// What is in nobody's model.
const PASSING: [&str; 5] = [".bak", ".lock", ".part", ".swp", ".tmp"];
/// Ends of names that the hub's repositories have in large file storage from the start.
const LARGE_ENDINGS: [&str; 24] = [
    ".7z",
    ".arrow",
    ".bin",
    ".bz2",
    ".ckpt",
    ".gz",
    ".h5",
    ".joblib",
    ".mlmodel",
    ".model",
    ".msgpack",
    ".npy",
    ".npz",
    ".onnx",
    ".parquet",
    ".pb",
    ".pickle",
    ".pkl",
    ".pt",
    ".pth",
    ".safetensors",
    ".tar",
    ".zip",
    ".zst",
];

/// What a directory comes to.
pub(super) struct Chosen {
    pub(super) files: BTreeMap<String, Content>,
    pub(super) left_out: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
}

/// Whether a file of this name goes to large file storage in a repository that is new.
pub(super) fn is_large_by_name(name: &str) -> bool {
    LARGE_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// The files of the model in `directory`, as they are to be sent.
pub(super) fn choose(directory: &Path, id: &str, options: &PushOptions) -> Result<Chosen, HubError> {
    let refused =
        |reason: String| HubError::NotPushable { directory: directory.to_owned(), id: id.to_owned(), reason };
    if let Some(base) = options.base.as_ref().filter(|base| !is_hub_id(base)) {
        return Err(refused(format!("the base {base:?} is no id on the hub, such as Alibaba-NLP/GVE-3B")));
    }
    if !directory.is_dir() {
        return Err(refused("there is no such folder".to_owned()));
    }
    for inner in ["final", "best", "weights"] {
        if !directory.join("config.json").exists()
            && !directory.join(ADAPTER_CONFIG).exists()
            && directory.join(inner).is_dir()
        {
            return Err(refused(format!(
                "it is a run and no model: push {}",
                directory.join(inner).display()
            )));
        }
    }
    let mut chosen = Chosen { files: BTreeMap::new(), left_out: Vec::new(), warnings: Vec::new() };
    chosen.walk(directory, "")?;
    let has = |name: &str| chosen.files.contains_key(name);
    let is_adapter = has(ADAPTER_CONFIG) && !has("config.json");
    let missing = if is_adapter {
        Some(ADAPTER_WEIGHTS).filter(|name| !has(name)).into_iter().map(str::to_owned).collect()
    } else {
        layout::missing_files_of(directory, &has)?
    };
    if !missing.is_empty() {
        let mut reason = format!("it is no model: it lacks {}", missing.join(", "));
        if let Some((name, why)) = chosen.left_out.iter().find(|(name, _)| missing.contains(name)) {
            reason = format!("{reason} ({name} is left out: {why})");
        }
        return Err(refused(reason));
    }
    chosen.settle_base(directory, is_adapter, options, &refused)?;
    if !chosen.files.contains_key(CARD) {
        chosen.warnings.push(format!(
            "there is no {CARD}: people will not know what the model is, nor under which terms"
        ));
    }
    Ok(chosen)
}

impl Chosen {
    fn walk(&mut self, directory: &Path, folder: &str) -> Result<(), HubError> {
        let at = if folder.is_empty() { directory.to_owned() } else { below(directory, folder) };
        let failed = || IoError::of("read", &at);
        let mut entries =
            fs::read_dir(&at).map_err(failed())?.collect::<Result<Vec<_>, _>>().map_err(failed())?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Ok(own) = entry.file_name().into_string() else {
                self.left_out.push((path.display().to_string(), "its name is no text".to_owned()));
                continue;
            };
            let name = if folder.is_empty() { own.clone() } else { format!("{folder}/{own}") };
            let kind = entry.file_type().map_err(IoError::of("look at", &path))?;
            if let Some(why) = why_left_out(&own, kind.is_dir(), kind.is_symlink()) {
                self.left_out.push((name, why.to_owned()));
            } else if kind.is_dir() {
                self.walk(directory, &name)?;
            } else if kind.is_file() {
                self.files.insert(name, Content::of_file(path)?);
            } else {
                self.left_out.push((name, "it is no file".to_owned()));
            }
        }
        Ok(())
    }

    /// Sees that others find what the model was made of.
    fn settle_base(
        &mut self,
        directory: &Path,
        is_adapter: bool,
        options: &PushOptions,
        refused: &dyn Fn(String) -> HubError,
    ) -> Result<(), HubError> {
        let card = read(directory)?.filter(|_| self.files.contains_key(CARD));
        if is_adapter {
            let settings = LoraSettings::read(directory).map_err(|error| refused(error.to_string()))?;
            let base = settings.base_model.unwrap_or_default();
            if options.base.is_none() && !is_hub_id(&base) {
                let said = if base.is_empty() { "nothing".to_owned() } else { format!("{base:?}") };
                return Err(refused(format!(
                    "base_model_name_or_path of {ADAPTER_CONFIG} is {said}, where others find no model: name the id of the same \
                     model on the hub as the base (--base OWNER/NAME), pushing that first if need be"
                )));
            }
        }
        let Some(base) = &options.base else {
            let named = card.as_deref().map(|card| front_values(card, "base_model")).unwrap_or_default();
            if let Some(path) = named.iter().find(|name| !is_hub_id(name)) {
                self.warnings.push(format!("base_model of {CARD} is {path:?}, which the hub does not take: give the base (--base OWNER/NAME)"));
            }
            return Ok(());
        };
        if card.is_some() {
            let path = directory.join(CARD);
            let text = match limited_file::read_text(&path, MAX_SETTINGS) {
                Err(error) if error.kind() == ErrorKind::InvalidData => {
                    return Err(refused(format!(
                        "{CARD} is no text in UTF-8, so that the base cannot be written there ({error}): save it as UTF-8"
                    )));
                }
                text => text.map_err(IoError::of("read", &path))?,
            };
            let text = with_base(&text, base, if is_adapter { "adapter" } else { "finetune" });
            self.files.insert(CARD.to_owned(), Content::of_memory(text.into_bytes()));
        } else if !is_adapter {
            self.warnings.push(format!("there is no {CARD} to name the base {base} in: nothing will say it"));
        }
        if is_adapter {
            let path = directory.join(ADAPTER_CONFIG);
            let text = limited_file::read_text(&path, MAX_SETTINGS).map_err(IoError::of("read", &path))?;
            let mut config: Map<String, Value> = serde_json::from_str(&text)
                .map_err(|error| refused(format!("{ADAPTER_CONFIG} is no object of settings: {error}")))?;
            config.insert("base_model_name_or_path".to_owned(), base.as_str().into());
            // A revision is one of the base that it was.
            config.insert("revision".to_owned(), Value::Null);
            let text = format!("{:#}\n", Value::Object(config));
            self.files.insert(ADAPTER_CONFIG.to_owned(), Content::of_memory(text.into_bytes()));
        }
        Ok(())
    }
}

/// Why an entry of a folder is nothing to send.
fn why_left_out(name: &str, is_folder: bool, is_link: bool) -> Option<&'static str> {
    let lower = name.to_ascii_lowercase();
    let ends = |endings: &[&str]| endings.iter().any(|ending| lower.ends_with(ending));
    match () {
        () if is_link => Some("it is a link, and what it leads to may lie anywhere: put a copy in its place"),
        () if !is_folder
            && (SECRETS.contains(&lower.as_str()) || ends(&SECRET_ENDINGS) || lower.starts_with(".env")) =>
        {
            Some("it may hold a secret")
        }
        () if name.starts_with('.') => Some("it is hidden"),
        () if is_folder && STATE_FOLDERS.iter().any(|beginning| lower.starts_with(beginning)) => {
            Some("it holds states of training")
        }
        () if is_folder && lower == "__pycache__" => Some("it is made anew wherever it is needed"),
        () if !is_folder && STATE.contains(&lower.as_str()) => Some("it is a state of training"),
        () if !is_folder && ends(&PASSING) => Some("it is of passing use"),
        () if name == CARD_BESIDE => {
            Some("README.md is the card; take over from this one what you want, and delete it")
        }
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_secrets_stay_here() {
        for (name, is_folder, expected) in [
            ("config.json", false, false),
            ("tokenizer.json", false, false),
            ("special_tokens_map.json", false, false),
            ("1_Pooling", true, false),
            ("best.json", false, false),
            ("token", false, true),
            (".env.local", false, true),
            ("prod.env", false, true),
            ("server.PEM", false, true),
            ("optimizer.safetensors", false, true),
            ("checkpoint-500", true, true),
            ("step-00000002", true, true),
            (".git", true, true),
            (".model.safetensors.tmp", false, true),
            ("README.gve.md", false, true),
        ] {
            assert_eq!(why_left_out(name, is_folder, false).is_some(), expected, "{name}");
        }
        assert!(why_left_out("model.safetensors", false, true).unwrap().contains("link"));
    }
}
