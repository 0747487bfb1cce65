//! The state of a run on disk: written as a whole or not at all, the last few kept.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::TrainError;
use super::curriculum::Curriculum;
use super::negatives::HardNegatives;
use crate::pairs::{Cursor, Extent};
use crate::recipe::RecipeId;
use crate::store::{Existing, IoError, remove_folder, write_folder};

/// Version of [`RunState`]'s form.
const FORMAT_VERSION: u32 = 1;
const STATE_FILE: &str = "state.json";
const OPTIMIZER_FILE: &str = "optimizer.safetensors";
const NEGATIVES_FILE: &str = "negatives.json";

/// Where a run stands: all but weights and moments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunState {
    /// Version of this form.
    format_version: u32,
    /// Optimiser steps done.
    pub step: usize,
    /// The epoch of the next step.
    pub epoch: usize,
    /// Draws of tasks; `None` where the next epoch has yet to start.
    pub curriculum: Option<Curriculum>,
    /// Where the walk over each task's pairs stands.
    pub cursors: Vec<Cursor>,
    /// Steps the optimiser counts.
    pub optimizer_steps: u64,
    /// What the pair files were.
    pub extent: Extent,
    /// The settings of the run, to notice others.
    pub config: serde_json::Value,
    /// How the model is used; earlier releases did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<RecipeId>,
    /// Length of the log.
    pub log_bytes: u64,
    /// The step of the last evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<usize>,
    /// The best weights that an evaluation has seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Pairs that the run has left out at some time because they could not be read, as numbers of task and pair.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left_out: BTreeSet<(usize, usize)>,
}

/// Which weights were the best.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Best {
    /// Optimiser steps done.
    pub step: usize,
    /// Their score.
    pub value: f64,
    /// Evaluations since.
    pub since: usize,
}

impl RunState {
    /// The state of a run that has not begun.
    pub fn new(
        cursors: Vec<Cursor>,
        extent: Extent,
        config: serde_json::Value,
        recipe: Option<RecipeId>,
    ) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            step: 0,
            epoch: 0,
            curriculum: None,
            cursors,
            optimizer_steps: 0,
            extent,
            config,
            recipe,
            log_bytes: 0,
            evaluated: None,
            best: None,
            left_out: BTreeSet::new(),
        }
    }

    /// The same under the settings of `other`, as far as those may change, and its recipe.
    pub fn with_settings_of(self, other: Self) -> Self {
        Self { config: other.config, recipe: other.recipe, ..self }
    }
}

/// A complete checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Its directory.
    pub directory: PathBuf,
    /// Optimiser steps done.
    pub step: usize,
}

impl Checkpoint {
    /// The checkpoints in `folder`, oldest first. What a killed run left unfinished is not among them.
    ///
    /// # Errors
    /// The folder is there and cannot be read.
    pub fn all(folder: &Path) -> Result<Vec<Self>, TrainError> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(IoError::of("read", folder)(error).into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let directory = entry.map_err(IoError::of("read", folder))?.path();
            let name = directory.file_name().and_then(|name| name.to_str());
            if let Some(step) = name.and_then(|name| name.strip_prefix("step-")?.parse().ok()) {
                found.push(Self { directory, step });
            }
        }
        found.sort_by_key(|checkpoint| checkpoint.step);
        Ok(found)
    }

    /// Writes a checkpoint into `folder` and removes all but the newest `keep`. `save_weights` adds its
    /// files to the directory it is given.
    ///
    /// # Errors
    /// Something cannot be written, a full disk included. The checkpoints that were there are untouched then.
    pub fn write(
        folder: &Path,
        state: &RunState,
        optimizer: &HashMap<String, Tensor>,
        negatives: &[HardNegatives],
        keep: usize,
        save_weights: impl FnOnce(&Path) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let directory = folder.join(format!("step-{:08}", state.step));
        write_folder(&directory, Existing::Replace, |temporary| {
            save_weights(temporary)?;
            let path = temporary.join(OPTIMIZER_FILE);
            candle_core::safetensors::save(optimizer, &path).map_err(|e| fault(&path, &e))?;
            write_json(&temporary.join(NEGATIVES_FILE), negatives)?;
            write_json(&temporary.join(STATE_FILE), state)
        })?;
        let all = Self::all(folder)?;
        for expired in &all[..all.len().saturating_sub(keep.max(1))] {
            remove_folder(&expired.directory)?;
        }
        Ok(Self { directory, step: state.step })
    }

    /// Removes the checkpoints in `folder` that came after `step`, the newest first: a run that is killed
    /// meanwhile has come back part of the way.
    ///
    /// # Errors
    /// One of them cannot be removed.
    pub fn remove_after(folder: &Path, step: usize) -> Result<(), TrainError> {
        for newer in Self::all(folder)?.iter().rev().take_while(|checkpoint| checkpoint.step > step) {
            remove_folder(&newer.directory)?;
        }
        Ok(())
    }

    /// Reads the state.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn state(directory: &Path) -> Result<RunState, TrainError> {
        let state: RunState = read_json(&directory.join(STATE_FILE))?;
        if state.format_version != FORMAT_VERSION {
            let reason =
                format!("format version {}, this program reads {FORMAT_VERSION}", state.format_version);
            return Err(TrainError::Checkpoint { path: directory.to_owned(), reason });
        }
        Ok(state)
    }

    /// Reads the optimiser's tensors and the mined negatives.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn tensors(directory: &Path) -> Result<(HashMap<String, Tensor>, Vec<HardNegatives>), TrainError> {
        let path = directory.join(OPTIMIZER_FILE);
        let optimizer = candle_core::safetensors::load(&path, &Device::Cpu).map_err(|e| fault(&path, &e))?;
        Ok((optimizer, read_json(&directory.join(NEGATIVES_FILE))?))
    }
}

fn write_json<T: Serialize + ?Sized>(path: &Path, value: &T) -> Result<(), TrainError> {
    let bytes = serde_json::to_vec(value).map_err(|e| fault(path, &e))?;
    Ok(fs::write(path, bytes).map_err(IoError::of("write", path))?)
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T, TrainError> {
    let bytes = fs::read(path).map_err(IoError::of("read", path))?;
    serde_json::from_slice(&bytes).map_err(|e| fault(path, &e))
}

fn fault(path: &Path, reason: &dyn std::fmt::Display) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(step: usize) -> RunState {
        let extent = Extent { pairs: [("t2v".to_owned(), 3)].into(), bytes: 9 };
        let mut curriculum = Curriculum::new(vec![0.5, 0.5], 42, 0);
        curriculum.draw();
        let cursors = vec![Cursor { pass: 1, taken: 2 }];
        RunState {
            step,
            curriculum: Some(curriculum),
            ..RunState::new(cursors, extent, serde_json::json!({"seed": 42}), None)
        }
    }

    fn write(folder: &Path, step: usize, keep: usize) -> Result<Checkpoint, TrainError> {
        let optimizer = HashMap::from([("m".to_owned(), Tensor::new(&[step as f32], &Device::Cpu).unwrap())]);
        let weights = |directory: &Path| {
            Ok(fs::write(directory.join("w"), "w").map_err(IoError::of("write", directory))?)
        };
        Checkpoint::write(folder, &state(step), &optimizer, &[HardNegatives::default()], keep, weights)
    }

    fn steps(folder: &Path) -> Vec<usize> {
        Checkpoint::all(folder).unwrap().into_iter().map(|checkpoint| checkpoint.step).collect()
    }

    #[test]
    fn what_was_written_comes_back_and_the_newest_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("checkpoints");
        assert_eq!(steps(&folder), [0; 0]);
        for step in [1, 2, 3, 20] {
            write(&folder, step, 2).unwrap();
        }
        assert_eq!(steps(&folder), [3, 20]);
        let newest = Checkpoint::all(&folder).unwrap().pop().unwrap();
        assert_eq!(Checkpoint::state(&newest.directory).unwrap(), state(20));
        let (optimizer, negatives) = Checkpoint::tensors(&newest.directory).unwrap();
        assert_eq!(optimizer["m"].to_vec1::<f32>().unwrap(), [20.0]);
        assert_eq!(negatives, [HardNegatives::default()]);
        assert_eq!(fs::read(newest.directory.join("w")).unwrap(), b"w");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_run_that_is_set_back_loses_what_came_after() {
        let folder = tempfile::tempdir().unwrap();
        for step in [1, 2, 3, 4] {
            write(folder.path(), step, 9).unwrap();
        }
        // One that was killed while it removed the last.
        let hidden = folder.path().join(".step-00000004.tmp");
        fs::create_dir(&hidden).unwrap();
        fs::write(hidden.join(STATE_FILE), "{").unwrap();
        Checkpoint::remove_after(folder.path(), 4).unwrap();
        assert_eq!(steps(folder.path()), [1, 2, 3, 4]);
        Checkpoint::remove_after(folder.path(), 2).unwrap();
        assert_eq!(steps(folder.path()), [1, 2]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left over");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 1, 1).unwrap();
        let full = |_: &Path| {
            Err(IoError::of("write", "w")(std::io::Error::from(std::io::ErrorKind::StorageFull)).into())
        };
        let error = Checkpoint::write(folder.path(), &state(2), &HashMap::new(), &[], 1, full).unwrap_err();
        assert!(error.to_string().contains("cannot write w"));
        assert_eq!(steps(folder.path()), [1]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        // A run killed while it wrote leaves a temporary directory, which is no checkpoint and in nobody's
        // way.
        fs::create_dir(folder.path().join(".step-00000002.tmp")).unwrap();
        assert_eq!(steps(folder.path()), [1]);
        write(folder.path(), 2, 1).unwrap();
        assert_eq!(steps(folder.path()), [2]);
    }

    #[test]
    fn damage_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let directory = write(folder.path(), 1, 1).unwrap().directory;
        fs::write(directory.join(STATE_FILE), "{").unwrap();
        assert!(Checkpoint::state(&directory).unwrap_err().to_string().contains(STATE_FILE));
        fs::write(directory.join(OPTIMIZER_FILE), "short").unwrap();
        assert!(Checkpoint::tensors(&directory).unwrap_err().to_string().contains(OPTIMIZER_FILE));
        let other = RunState { format_version: 9, ..state(1) };
        write_json(&directory.join(STATE_FILE), &other).unwrap();
        assert!(Checkpoint::state(&directory).unwrap_err().to_string().contains("format version 9"));
    }
}
