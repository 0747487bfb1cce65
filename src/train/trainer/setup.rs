use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::checkpoint::{Checkpoint, RunState};
use super::super::config::TrainConfig;
use super::super::learner::reading;
use super::super::log::RunLog;
use super::super::optimizer::Optimizer;
use super::super::pairs::{Cursor, PairIndex, Task};
use super::super::{TrainError, TrainableModel};
use super::{Start, Trainer};

/// Settings that may change between the two halves of a run: they do not touch the weights.
const FREE_SETTINGS: [&str; 4] = ["output", "checkpoint", "evaluation", "log"];

impl Trainer {
    /// Reads the pairs, loads the model from `model_dir`, and finds the state to begin with.
    ///
    /// # Errors
    /// Pairs, model, prober or checkpoint cannot be used; the checkpoint was made with other settings or pairs; the
    /// run's directory holds a run already, or another process works in it.
    pub fn new(config: TrainConfig, model_dir: &Path, start: &Start) -> Result<Self, TrainError> {
        let mut index = PairIndex::open(&config.data.pairs, config.data.check_files)?;
        if !config.data.groups {
            index.ungroup();
        }
        if let Some(lonely) = index.tasks().iter().position(|task| task.len() < 2) {
            let task = index.tasks()[lonely].task();
            let reason = format!(
                "the only pair of task {task} has nothing to be told from: add more, or leave it out"
            );
            return Err(TrainError::Config { place: index.place(lonely, 0), reason });
        }
        let has_pairs = |task: &Task| index.tasks().iter().any(|with| with.task() == *task);
        let weights = config.curriculum.weights.iter().flatten();
        if let Some((task, _)) = weights.into_iter().find(|(task, _)| !has_pairs(task)) {
            let reason =
                format!("weighs {task}, which has no pairs: remove it, or add its file to `data.pairs`");
            return Err(TrainError::Config { place: "curriculum.weights".to_owned(), reason });
        }
        let held_out = config.evaluation.as_ref().map(|evaluation| &evaluation.pairs);
        let held_out = held_out.filter(|pairs| !pairs.is_empty());
        let held_out = held_out.map(|pairs| PairIndex::open(pairs, true)).transpose()?;

        let folder = config.checkpoints();
        fs::create_dir_all(&folder).map_err(TrainError::io("create", &folder))?;
        let lock = lock(&config.output)?;
        let checkpoint = find(&folder, start)?;
        let settings = serde_json::to_value(&config).unwrap_or_default();
        let extent = index.extent()?;
        let mut state = RunState::new(vec![Cursor::default(); index.tasks().len()], extent, settings);
        if let Some(checkpoint) = &checkpoint {
            let saved = Checkpoint::state(checkpoint)?;
            require_same(checkpoint, &saved, &state)?;
            state = saved.with_config(state.config);
        }

        let model = TrainableModel::of_run(model_dir, &config)?;
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
        let per_step = config.batch.size * config.batch.accumulate;
        let steps_per_epoch = config.steps_per_epoch.unwrap_or(index.num_pairs().div_ceil(per_step));
        let log = RunLog::open(&config.output, state.step, state.log_bytes, config.log.tensorboard)?;
        Ok(Self {
            schedule: config.schedule(config.epochs * steps_per_epoch),
            config,
            index,
            held_out,
            scorer: None,
            first_prober,
            model,
            optimizer,
            steps_per_epoch,
            state,
            negatives,
            log,
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
fn lock(output: &Path) -> Result<File, TrainError> {
    let path = output.join(".lock");
    let file = File::create(&path).map_err(TrainError::io("create", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(TrainError::Config {
            place: output.display().to_string(),
            reason: "another process trains in this directory".to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(TrainError::io("lock", &path)(error)),
    }
}

/// The checkpoint to begin with.
fn find(folder: &Path, start: &Start) -> Result<Option<PathBuf>, TrainError> {
    let newest = || Ok(Checkpoint::all(folder)?.pop().map(|checkpoint| checkpoint.directory));
    match start {
        Start::At(directory) => Ok(Some(directory.clone())),
        Start::Newest => newest(),
        Start::Fresh => match newest()? {
            None => Ok(None),
            Some(path) => {
                let reason =
                    "a run is in this directory already: go on with --resume auto, or set another `output`";
                Err(TrainError::Checkpoint { path, reason: reason.to_owned() })
            }
        },
    }
}

/// A run may only go on with what it began with.
fn require_same(checkpoint: &Path, saved: &RunState, ours: &RunState) -> Result<(), TrainError> {
    let fault = |reason| Err(TrainError::Checkpoint { path: checkpoint.to_owned(), reason });
    let differences = differences(&saved.config, &ours.config, "");
    if !differences.is_empty() {
        let list = differences.join("; ");
        return fault(format!(
            "made with other settings ({list}): use those, or begin a new run from its weights"
        ));
    }
    if saved.extent != ours.extent {
        return fault(format!(
            "made with other pairs ({:?} in {} bytes, here {:?} in {}): use those, or begin a new run from its weights",
            saved.extent.pairs, saved.extent.bytes, ours.extent.pairs, ours.extent.bytes
        ));
    }
    Ok(())
}

/// Settings that differ, as `key: there, here`.
fn differences(saved: &Value, ours: &Value, prefix: &str) -> Vec<String> {
    let (Some(saved), Some(ours)) = (saved.as_object(), ours.as_object()) else {
        return if saved == ours {
            Vec::new()
        } else {
            vec![format!("{prefix}: {saved} there, {ours} here")]
        };
    };
    let keys: BTreeSet<&String> = saved.keys().chain(ours.keys()).collect();
    keys.into_iter()
        .filter(|key| !(prefix.is_empty() && FREE_SETTINGS.contains(&key.as_str())))
        .flat_map(|key| {
            let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            let value =
                |settings: &serde_json::Map<String, Value>| settings.get(key).cloned().unwrap_or_default();
            differences(&value(saved), &value(ours), &name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_shape_the_weights_must_be_the_same() {
        let settings = |rate: f64, keep: usize, output: &str| {
            serde_json::json!({"seed": 1, "output": output, "optimizer": {"learning_rate": rate},
                "checkpoint": {"keep": keep}})
        };
        let saved = settings(0.1, 3, "a");
        assert_eq!(differences(&saved, &settings(0.1, 9, "b"), ""), [""; 0]);
        assert_eq!(
            differences(&saved, &settings(0.2, 3, "a"), ""),
            ["optimizer.learning_rate: 0.1 there, 0.2 here"]
        );
        let more =
            serde_json::json!({"seed": 1, "lora": null, "optimizer": {"learning_rate": 0.1, "eps": 1.0}});
        assert_eq!(differences(&saved, &more, ""), ["optimizer.eps: null there, 1.0 here"]);
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
        assert_eq!(find(folder.path(), &Start::Newest).unwrap(), Some(newest));
        assert!(find(folder.path(), &Start::Fresh).unwrap_err().to_string().contains("--resume auto"));
    }
}
