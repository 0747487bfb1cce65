use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::config::{BatchSection, TrainConfig};
use super::super::learner::reading_of_model;
use super::super::sources::{Files, ImportedPairs};
use super::super::{TrainError, TrainableModel};
use super::area::area;
use super::selection::require_metric;
use crate::embedder::CancelToken;
use crate::model::family::{self, Family};
use crate::pairs::{PairIndex, TaskPairs};
use crate::recipe::NamedRecipe;

/// What a run is made of, before anything is written.
pub(super) struct Material {
    /// With the steps of an epoch written down, and once [settled](Self::settle) all that was left open.
    pub(super) config: TrainConfig,
    pub(super) index: PairIndex,
    pub(super) held_out: Option<PairIndex>,
    pub(super) imported: Vec<ImportedPairs>,
    pub(super) steps_per_epoch: usize,
}

impl Material {
    /// Checks the settings and reads the pairs.
    /// What others wrote becomes files in the folder that `imports` names.
    pub(super) fn of(
        mut config: TrainConfig,
        imports: impl FnOnce(&TrainConfig) -> Result<PathBuf, TrainError>,
        cancel: &CancelToken,
    ) -> Result<Self, TrainError> {
        config.check()?;
        let Files { pairs, held_out, imported } = Files::of(&config, &imports(&config)?, cancel)?;
        let mut index = PairIndex::open(&pairs, config.data.check_files)?;
        if !config.data.groups {
            index.ungroup();
        }
        require_tasks(&index, &config)?;
        let held_out = Some(held_out).filter(|pairs| !pairs.is_empty());
        let held_out = held_out.map(|pairs| PairIndex::open(&pairs, true)).transpose()?;

        require_metric(held_out.as_ref(), &config)?;

        let pairs = index.tasks().iter().map(TaskPairs::len);
        let steps_per_epoch =
            config.steps_per_epoch.unwrap_or_else(|| steps_that_see_all(pairs, &config.batch));
        // A checkpoint holds the number, wherever it is from.
        config.steps_per_epoch = Some(steps_per_epoch);
        Ok(Self { config, index, held_out, imported, steps_per_epoch })
    }

    /// Fills in what is left to the model in `model_dir`, and to the settings of a run that goes on.
    pub(super) fn settle(
        &mut self,
        model_dir: &Path,
        saved: Option<&Value>,
    ) -> Result<(Box<dyn Family>, NamedRecipe), TrainError> {
        let config = &mut self.config;
        let family = family::open(model_dir)?;
        let named = reading_of_model(model_dir, config)?.recipe_of(&*family)?;
        let area = area(&config.model, saved, &*family, &named.recipe, model_dir)?;
        config.model.set_area(Some(area));
        config.model.fill_in(&named.recipe);
        config.curriculum.fill_in(saved);
        Ok((family, named))
    }

    /// The model at the start of the run.
    pub(super) fn load(
        &self,
        model_dir: &Path,
        family: Box<dyn Family>,
    ) -> Result<TrainableModel, TrainError> {
        let config = &self.config;
        let model = TrainableModel::of_run(model_dir, family, config)?;
        if let Some(long) = config.loss.matryoshka_dims.iter().find(|&&dim| dim > model.dim()) {
            let reason = format!("holds {long}, but an embedding of this model has {} values", model.dim());
            return Err(TrainError::Config { place: "loss.matryoshka_dims".to_owned(), reason });
        }
        Ok(model)
    }
}

/// Every task can be trained, and every task that is weighed is there.
fn require_tasks(index: &PairIndex, config: &TrainConfig) -> Result<(), TrainError> {
    let tasks = index.tasks();
    if let Some(lonely) = tasks.iter().position(|task| task.len() < 2) {
        let task = tasks[lonely].task();
        let reason =
            format!("the only pair of task {task} has nothing to be told from: add more, or leave it out");
        return Err(TrainError::Config { place: index.place(lonely, 0), reason });
    }
    let mut weighed = config.curriculum.weights.iter().flatten().map(|(task, _)| *task);
    match weighed.find(|task| tasks.iter().all(|with| with.task() != *task)) {
        None => Ok(()),
        Some(task) => {
            let reason =
                format!("weighs {task}, which has no pairs: remove it, or add its file to `data.pairs`");
            Err(TrainError::Config { place: "curriculum.weights".to_owned(), reason })
        }
    }
}

/// Optimiser steps with as many batches as it takes to see each pair once. A batch is of one task, and has
/// all of it where that is less than its size.
fn steps_that_see_all(pairs: impl Iterator<Item = usize>, batch: &BatchSection) -> usize {
    pairs.map(|pairs| pairs.div_ceil(batch.size)).sum::<usize>().div_ceil(batch.accumulate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_has_the_batches_of_every_task() {
        let batch = |size, accumulate| BatchSection { size, accumulate, ..BatchSection::default() };
        let cases = [
            (&[300, 300][..], batch(1024, 1), 2),
            (&[300, 300], batch(1024, 2), 1),
            (&[300, 300], batch(100, 1), 6),
            (&[301, 299, 2], batch(100, 1), 8),
            (&[301, 299, 2], batch(100, 3), 3),
            (&[2], batch(1024, 8), 1),
        ];
        for (pairs, batch, expected) in cases {
            assert_eq!(steps_that_see_all(pairs.iter().copied(), &batch), expected, "{pairs:?} in {batch:?}");
        }
    }
}
