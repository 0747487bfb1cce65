use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::TrainError;
use super::super::checkpoint::{Checkpoint, RunState};
use super::super::config::{BatchSection, PairsSource, TrainConfig, Trained};
use super::super::learner::reading;
use super::super::log::RunLog;
use super::super::optimizer::Optimizer;
use super::material::Material;
use super::{Start, Trainer};
use crate::embedder::{CancelToken, PIXELS_PER_TOKEN};
use crate::pairs::Cursor;
use crate::store::{Differences, IoError, Lock, differences};

/// Settings that may change between the two halves of a run: they do not touch the weights, or by rounding
/// alone, as the size of chunks, or, as the number of epochs, those of the steps to come alone.
const FREE_SETTINGS: [(&str, &str); 10] = [
    ("", "output"),
    ("", "epochs"),
    ("", "checkpoint"),
    ("", "evaluation"),
    ("", "log"),
    ("lora", "layout"),
    ("data", "check_files"),
    ("data", "max_damaged"),
    ("batch", "chunk_tokens"),
    ("batch", "gradient_checkpointing"),
];

/// The folder of a run for pairs that others wrote.
const PAIRS: &str = "pairs";

impl Trainer {
    /// Reads the pairs, loads the model from `model_dir`, and finds the state to begin with.
    ///
    /// # Errors
    /// A setting makes no sense; pairs, model, prober or checkpoint cannot be used; the checkpoint was made
    /// with other settings or pairs; the run's directory holds a run already, or another process works in it.
    pub fn new(config: TrainConfig, model_dir: &Path, start: &Start) -> Result<Self, TrainError> {
        Self::new_unless(&CancelToken::new(), config, model_dir, start)
    }

    /// The same, unless `cancel` is set before the pairs are there: those of others may take a while to
    /// import.
    ///
    /// # Errors
    /// As [`new`](Self::new); [`TrainError::Cancelled`].
    pub fn new_unless(
        cancel: &CancelToken,
        config: TrainConfig,
        model_dir: &Path,
        start: &Start,
    ) -> Result<Self, TrainError> {
        // Before anything is imported: a run that is under way reads what is in its directory.
        let mut locked = None;
        let imports = |config: &TrainConfig| {
            let held_out = config.evaluation.iter().flat_map(|evaluation| &evaluation.pairs);
            if config.data.pairs.iter().chain(held_out).any(PairsSource::is_imported) {
                fs::create_dir_all(&config.output).map_err(IoError::of("create", &config.output))?;
                locked = Some(lock(&config.output)?);
            }
            Ok(config.output.join(PAIRS))
        };
        let mut material = Material::of(config, imports, cancel)?;
        // What cannot be written down is no reason to make a directory.
        written(&material.config)?;

        let folder = material.config.checkpoints();
        fs::create_dir_all(&folder).map_err(IoError::of("create", &folder))?;
        let lock = locked.map_or_else(|| lock(&material.config.output), Ok)?;
        let checkpoint = find(&folder, start)?;
        let extent = material.index.extent()?;
        let saved = checkpoint.as_deref().map(Checkpoint::state).transpose()?;
        let settings = saved.as_ref().map(|saved| &saved.config);
        let epochs_before =
            settings.and_then(|settings| settings["epochs"].as_u64()).map(|epochs| epochs as usize);
        let (family, named) = material.settle(model_dir, settings)?;
        let config = &material.config;
        let cursors = vec![Cursor::default(); material.index.tasks().len()];
        let mut state = RunState::new(cursors, extent, written(config)?, Some(named.id()));
        if let (Some(checkpoint), Some(saved)) = (&checkpoint, saved) {
            require_same(checkpoint, &saved, &state, &config.batch)?;
            state = saved.with_settings_of(state);
            let total_steps = config.epochs * material.steps_per_epoch;
            if state.step > total_steps {
                let reason = format!(
                    "is at step {}, behind the {total_steps} of `epochs = {}`: give the run more, or go on from an \
                     earlier checkpoint",
                    state.step, config.epochs
                );
                return Err(TrainError::Checkpoint { path: checkpoint.clone(), reason });
            }
        }

        let model = material.load(model_dir, family)?;
        let Material { config, index, held_out, imported, steps_per_epoch } = material;
        let mut optimizer = Optimizer::new(model.parameters(), config.adamw(), config.muon())?;
        let mut negatives = Vec::new();
        if let Some(checkpoint) = &checkpoint {
            model.restore(checkpoint)?;
            let (tensors, mined) = Checkpoint::tensors(checkpoint)?;
            optimizer.restore(&tensors, state.optimizer_steps).map_err(|error| TrainError::Checkpoint {
                path: checkpoint.clone(),
                reason: error.to_string(),
            })?;
            negatives = mined;
        }
        let first_prober = match &config.curriculum.prober {
            Some(directory) if state.epoch == 0 && state.curriculum.is_none() => {
                Some(reading(directory, &config)?.build()?)
            }
            _ => None,
        };
        // Before the log is cut: a run that is killed in between must not find a checkpoint of what the log
        // no longer tells.
        Checkpoint::remove_after(&folder, state.step)?;
        // A log without a checkpoint beside it is of another run.
        let logged = if Checkpoint::all(&folder)?.is_empty() { 0 } else { state.log_bytes };
        let log = RunLog::open(&config.output, state.step, logged, config.log.tensorboard)?;
        state.log_bytes = log.bytes();
        Ok(Self {
            schedule: config.schedule(config.epochs * steps_per_epoch),
            config,
            index,
            held_out,
            imported,
            scorer: None,
            first_prober,
            model,
            optimizer,
            steps_per_epoch,
            state,
            negatives,
            log,
            epochs_before,
            _lock: lock,
        })
    }
}

impl TrainConfig {
    /// Where the run's checkpoints are.
    pub(super) fn checkpoints(&self) -> PathBuf {
        self.output.join("checkpoints")
    }
}

/// Two runs in one directory would write over each other.
fn lock(output: &Path) -> Result<Lock, TrainError> {
    Lock::take(&output.join(".lock"))?.ok_or_else(|| TrainError::Config {
        place: output.display().to_string(),
        reason: "another process trains in this directory".to_owned(),
    })
}

/// The checkpoint to begin with, for a run with checkpoints in `folder`.
fn find(folder: &Path, start: &Start) -> Result<Option<PathBuf>, TrainError> {
    let newest = Checkpoint::all(folder)?.pop().map(|checkpoint| checkpoint.directory);
    let from_elsewhere = match start {
        Start::Newest => return Ok(newest),
        Start::Fresh => None,
        Start::At(directory) => {
            let real = |path: &Path| fs::canonicalize(path).map_err(IoError::of("find", path));
            if real(directory)?.parent() == Some(real(folder)?.as_path()) {
                return Ok(Some(directory.clone()));
            }
            Some(directory.clone())
        }
    };
    match newest {
        None => Ok(from_elsewhere),
        Some(path) => {
            let reason =
                "a run is in this directory already: go on with --resume auto, or set another `output`";
            Err(TrainError::Checkpoint { path, reason: reason.to_owned() })
        }
    }
}

/// A run may only go on with what it began with.
fn require_same(
    checkpoint: &Path,
    saved: &RunState,
    ours: &RunState,
    batch: &BatchSection,
) -> Result<(), TrainError> {
    let fault = |reason| Err(TrainError::Checkpoint { path: checkpoint.to_owned(), reason });
    let mut there = with_defaults(&saved.config);
    if let Some(steps) = there.get_mut("steps_per_epoch").filter(|steps| steps.is_null()) {
        // Once, the default was not written down, and took all tasks for one.
        let pairs: usize = saved.extent.pairs.values().sum();
        *steps = pairs.div_ceil(batch.size.saturating_mul(batch.accumulate)).into();
    }
    let here = with_defaults(&ours.config);
    let (there, ours_here) = (with_real_paths(there, &here), with_real_paths(here.clone(), &here));
    let settings = differences(&binding(there), &binding(ours_here));
    let pairs = differences(&json!(saved.extent), &json!(ours.extent));
    let recipe = match (&saved.recipe, &ours.recipe) {
        (Some(there), Some(here)) if there.hash != here.hash => differences(&json!(there), &json!(here)),
        _ => Differences::default(),
    };
    for (what, differences) in [("settings", settings), ("pairs", pairs), ("ways of using the model", recipe)]
    {
        if !differences.is_empty() {
            return fault(format!(
                "made with other {what} ({differences}): use those, or begin a new run from its weights"
            ));
        }
    }
    Ok(())
}

/// Settings as a checkpoint holds them.
pub(super) fn written(config: &TrainConfig) -> Result<Value, TrainError> {
    serde_json::to_value(config).map_err(|error| TrainError::Config {
        place: "the settings".to_owned(),
        reason: format!("{error}: checkpoints hold them as text, so rename what cannot be written"),
    })
}

/// Settings as this release writes them: a key that came after the checkpoint was made has its default. Those
/// it cannot read stay as they are.
pub(super) fn with_defaults(saved: &Value) -> Value {
    let config: Result<TrainConfig, _> = serde_json::from_value(saved.clone());
    let as_written = |mut config: TrainConfig| {
        // Once, the area was written down in tokens, of the one family there was. And a section that is left
        // out is one of defaults.
        config.model.set_area(config.model.area(PIXELS_PER_TOKEN));
        config.curriculum.fill_in(Some(saved));
        if config.train == Trained::Lora {
            config.lora.get_or_insert_default();
        }
        serde_json::to_value(config)
    };
    config.and_then(as_written).unwrap_or_else(|_| saved.clone())
}

/// Settings with the paths that are compared as the file system knows them: one file may be called by
/// several. One that is gone may have moved with the project: it is taken for that of the same name in
/// `ours`. The hub's name of a model stays as it is.
fn with_real_paths(mut settings: Value, ours: &Value) -> Value {
    let as_known = |path: &str, ours: Option<&str>| match fs::canonicalize(path) {
        Ok(real) => real.display().to_string(),
        Err(_) => {
            let [path, ours] = [Path::new(path), Path::new(ours.unwrap_or_default())];
            let has_moved = path.is_absolute() && path.file_name() == ours.file_name();
            let known = if has_moved { fs::canonicalize(ours) } else { Ok(path.to_owned()) };
            known.unwrap_or_else(|_| path.to_owned()).display().to_string()
        }
    };
    let pairs = settings.pointer("/data/pairs").and_then(Value::as_array).map_or(0, Vec::len);
    let places = ["/model/path", "/lora/init", "/curriculum/prober"].map(str::to_owned);
    let of_pairs =
        (0..pairs).flat_map(|number| ["", "/path", "/media"].map(|key| format!("/data/pairs/{number}{key}")));
    for place in places.into_iter().chain(of_pairs) {
        let ours = ours.pointer(&place).and_then(Value::as_str);
        if let Some(path) = settings.pointer_mut(&place)
            && let Some(known) = path.as_str().map(|path| as_known(path, ours))
        {
            *path = known.into();
        }
    }
    settings
}

/// Settings without those that may change.
fn binding(mut settings: Value) -> Value {
    for (section, key) in FREE_SETTINGS {
        let section = if section.is_empty() { Some(&mut settings) } else { settings.get_mut(section) };
        if let Some(section) = section.and_then(Value::as_object_mut) {
            section.remove(key);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pairs::Extent;
    use crate::recipe::Recipes;

    #[test]
    fn settings_that_shape_the_weights_must_be_the_same() {
        let settings = |rate: f64, keep: usize, output: &str| {
            serde_json::json!({"seed": 1, "output": output, "optimizer": {"learning_rate": rate},
                "checkpoint": {"keep": keep}})
        };
        let saved = settings(0.1, 3, "a");
        let check = |ours| differences(&binding(saved.clone()), &binding(ours)).to_string();
        assert_eq!(check(settings(0.1, 9, "b")), "");
        assert_eq!(check(settings(0.2, 3, "a")), "optimizer.learning_rate: 0.1 there, 0.2 here");
        let more =
            serde_json::json!({"seed": 1, "lora": null, "optimizer": {"learning_rate": 0.1, "eps": 1.0}});
        assert_eq!(check(more), "optimizer.eps: missing there, 1.0 here");

        // What a batch holds shapes them; how much of it is in memory at once does not.
        let batch = |size: usize, tokens: usize, again: bool| {
            let batch =
                serde_json::json!({"size": size, "chunk_tokens": tokens, "gradient_checkpointing": again});
            serde_json::json!({ "batch": batch })
        };
        let check = |ours| differences(&binding(batch(8, 400, false)), &binding(ours)).to_string();
        assert_eq!(check(batch(8, 100, true)), "");
        assert_eq!(check(batch(4, 400, false)), "batch.size: 8 there, 4 here");
    }

    #[test]
    fn a_key_that_an_older_checkpoint_lacks_has_its_default() {
        let read = |optimizer: &str| -> TrainConfig {
            let least = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p.jsonl\"]\n";
            toml::from_str(&format!("{least}{optimizer}")).unwrap()
        };
        let settings = |more| with_defaults(&written(&read(more)).unwrap());
        let mut older = settings("");
        older["optimizer"].as_object_mut().unwrap().remove("kind").unwrap();
        let check = |ours| differences(&binding(with_defaults(&older)), &binding(settings(ours))).to_string();
        assert_eq!(check(""), "");
        assert_eq!(check("[optimizer]\nkind = \"muon\"\n"), "optimizer.kind: \"adamw\" there, \"muon\" here");

        // A section that is left out is one of defaults, and names in files say nothing about weights.
        assert_eq!(check("[lora]\nr = 16\nlayout = \"flat\"\n"), "");
        assert_eq!(check("[lora]\nr = 8\n"), "lora.r: 16 there, 8 here");

        // Once there was no floor, and sigma was the paper's whatever the prober knew.
        older["curriculum"].as_object_mut().unwrap().remove("floor").unwrap();
        let mut goes_on = read("");
        goes_on.curriculum.fill_in(Some(&older));
        assert_eq!((goes_on.curriculum.floor, goes_on.curriculum.sigma_start), (Some(0.0), Some(0.1)));
        assert_eq!(with_defaults(&older), with_defaults(&written(&goes_on).unwrap()));

        older["optimizer"]["of_another_release"] = 1.into();
        assert_eq!(with_defaults(&older), older);
    }

    #[test]
    fn a_path_may_be_written_in_several_ways() {
        let settings = |model: &str, pairs: &str| {
            let data = serde_json::json!({"pairs": [pairs, "gone.jsonl"]});
            serde_json::json!({"model": {"path": model}, "data": data, "lora": null})
        };
        // Tests run in the directory of the manifest.
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let (model, pairs) = (root.join("src/../examples"), root.join("examples/pairs.jsonl"));
        let ours = settings(model.to_str().unwrap(), pairs.to_str().unwrap());
        let differences = |there: Value| {
            differences(&with_real_paths(there, &ours), &with_real_paths(ours.clone(), &ours)).to_string()
        };
        assert_eq!(differences(settings("examples", "examples/../examples/pairs.jsonl")), "");
        // A project that has moved with all that is in it.
        assert_eq!(differences(settings("/gone/examples", "/gone/pairs.jsonl")), "");
        let others = differences(settings("a/examples", "/gone/other.jsonl"));
        assert!(others.contains("model.path: \"a/examples\" there"), "{others}");
        assert!(others.contains("/gone/other.jsonl"), "{others}");
    }

    #[test]
    fn a_default_that_was_not_written_down_is_what_it_was() {
        let state = |steps: Option<usize>| {
            let least = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p.jsonl\"]\n";
            let mut config: TrainConfig = toml::from_str(least).unwrap();
            config.steps_per_epoch = steps;
            let extent = Extent { pairs: ["i2v", "t2v"].map(|task| (task.to_owned(), 300)).into(), bytes: 9 };
            RunState::new(Vec::new(), extent, serde_json::to_value(config).unwrap(), None)
        };
        let check = |ours| {
            require_same(Path::new("step-1"), &state(None), &state(Some(ours)), &BatchSection::default())
        };
        check(1).unwrap();
        assert!(check(2).unwrap_err().to_string().contains("steps_per_epoch: 1 there, 2 here"));
    }

    #[test]
    fn a_run_goes_on_with_the_recipe_that_it_began_with() {
        let least = "output = \"run\"\n[model]\npath = \"m\"\n[data]\npairs = [\"p.jsonl\"]\n";
        let mut config: TrainConfig = toml::from_str(least).unwrap();
        config.steps_per_epoch = Some(1);
        let state = |recipe: Option<&str>| {
            let extent = Extent { pairs: [("t2v".to_owned(), 300)].into(), bytes: 9 };
            let recipe = recipe.map(|name| Recipes::builtin().get(name).unwrap().id());
            RunState::new(Vec::new(), extent, written(&config).unwrap(), recipe)
        };
        let check = |there, here| {
            require_same(Path::new("step-1"), &state(there), &state(Some(here)), &BatchSection::default())
        };
        check(Some("gve"), "gve").unwrap();
        // Earlier releases did not write it down.
        check(None, "gve").unwrap();
        let refused = check(Some("gve"), "gme").unwrap_err().to_string();
        assert!(
            refused.contains("other ways of using the model (") && refused.contains("\"gme\" here"),
            "{refused}"
        );
    }

    #[test]
    fn a_directory_holds_one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path()).unwrap();
        assert!(lock(folder.path()).unwrap_err().to_string().contains("another process"));
        drop(first);
        lock(folder.path()).unwrap();
    }

    #[test]
    fn a_fresh_start_does_not_write_over_a_run() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(find(folder.path(), &Start::Fresh).unwrap(), None);
        assert_eq!(find(folder.path(), &Start::Newest).unwrap(), None);
        fs::create_dir(folder.path().join("step-00000007")).unwrap();
        let newest = folder.path().join("step-00000007");
        assert_eq!(find(folder.path(), &Start::Newest).unwrap(), Some(newest.clone()));
        assert!(find(folder.path(), &Start::Fresh).unwrap_err().to_string().contains("--resume auto"));

        // One of its own checkpoints is fine, by whatever name; one of another run is not.
        let detour = newest.join("../step-00000007");
        assert_eq!(find(folder.path(), &Start::At(detour.clone())).unwrap(), Some(detour));
        let elsewhere = tempfile::tempdir().unwrap();
        let other = Start::At(elsewhere.path().join("step-00000003"));
        assert!(find(folder.path(), &other).unwrap_err().to_string().contains("cannot find"));
        fs::create_dir(elsewhere.path().join("step-00000003")).unwrap();
        assert!(find(folder.path(), &other).unwrap_err().to_string().contains("--resume auto"));
        fs::remove_dir(folder.path().join("step-00000007")).unwrap();
        assert!(find(folder.path(), &other).unwrap().is_some());
    }
}
