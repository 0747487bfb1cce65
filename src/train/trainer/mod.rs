//! The loop: epochs of the curriculum, steps of the optimiser, and everything that is written down on the way.

mod setup;
mod step;

use std::path::{Path, PathBuf};

use super::batches::Source;
use super::checkpoint::{RunState, write_directory};
use super::config::TrainConfig;
use super::curriculum::{Curriculum, TaskFacts};
use super::log::{Entry, RunLog};
use super::negatives::{HardNegatives, mine};
use super::optimizer::AdamW;
use super::pairs::{PairIndex, TaskPairs};
use super::planner::Planner;
use super::prober::{Prober, alignment};
use super::schedule::Schedule;
use super::{TrainError, TrainableModel};
use crate::embedder::{CancelToken, Embedder};
use crate::random::Random;

/// Streams of random numbers beside those of the tasks' walks.
const PROBE_STREAM: u64 = u64::MAX - 1;
const POOL_STREAM: u64 = u64::MAX - 2;
const DROPOUT_STREAM: u64 = u64::MAX - 3;

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Anew, in a directory that holds no run.
    Fresh,
    /// At the newest checkpoint in the run's directory; anew if there is none.
    Newest,
    /// At the checkpoint in this directory.
    At(PathBuf),
}

/// What happens in a run, for those who watch.
#[derive(Debug)]
#[non_exhaustive]
pub enum TrainEvent<'a> {
    /// The run begins or goes on.
    Started {
        /// Steps done.
        step: usize,
        /// Steps in all.
        total_steps: usize,
    },
    /// Tasks are probed or negatives mined; takes a while.
    Preparing(&'static str),
    /// Something went into the log.
    Logged(&'a Entry),
    /// A checkpoint is complete.
    Saved(&'a Path),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// All steps are done; the trained weights lie in this directory.
    Complete(PathBuf),
    /// It was asked to stop; it goes on from this checkpoint.
    Stopped(PathBuf),
}

/// A training run.
pub struct Trainer {
    config: TrainConfig,
    index: PairIndex,
    held_out: Option<PairIndex>,
    /// Embeds for the first epoch.
    first_prober: Option<Embedder>,
    model: TrainableModel,
    optimizer: AdamW,
    schedule: Schedule,
    steps_per_epoch: usize,
    state: RunState,
    negatives: Vec<HardNegatives>,
    log: RunLog,
    /// Keeps other processes out of the run's directory.
    _lock: std::fs::File,
}

impl Trainer {
    /// Trains until the last step, or until `cancel` is set.
    ///
    /// # Errors
    /// A pair that cannot be used, a loss or gradient that is not finite, a file that cannot be written. The last
    /// checkpoint is intact then, and the error of a loss names it.
    pub fn run(
        mut self,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<Finish, TrainError> {
        let total_steps = self.schedule.total_steps;
        watch(TrainEvent::Started { step: self.state.step, total_steps });
        while self.state.step < total_steps {
            if self.state.curriculum.is_none() {
                self.begin_epoch(watch)?;
            }
            if let Some(checkpoint) = self.train_epoch(cancel, watch)? {
                return Ok(Finish::Stopped(checkpoint));
            }
        }
        let result = self.config.output.join("final");
        write_directory(&result, |directory| {
            // The model makes the directory itself.
            std::fs::remove_dir(directory).map_err(TrainError::io("remove", directory))?;
            self.model.save(directory, Some(&self.config.model.path))
        })?;
        Ok(Finish::Complete(result))
    }

    /// Probes the tasks, mines negatives, and settles how likely each task is.
    fn begin_epoch(&mut self, watch: &mut dyn FnMut(TrainEvent<'_>)) -> Result<(), TrainError> {
        let (epoch, seed) = (self.state.epoch, self.config.seed);
        let random = |stream| Random::derived(seed, &[stream, epoch as u64]);
        // From the second epoch on the model is its own prober: it is the checkpoint of the epoch before.
        let prober: &dyn Prober = match &self.first_prober {
            Some(embedder) if epoch == 0 => embedder,
            _ => &self.model,
        };
        let sampler = self.config.sampler();
        let tasks = self.index.tasks();
        let mut alignments = Vec::new();
        if sampler.needs_alignment() {
            watch(TrainEvent::Preparing("probing the tasks"));
            let mut random = random(PROBE_STREAM);
            for task in 0..tasks.len() {
                let count = self.config.probe_pairs();
                alignments.push(alignment(prober, &self.index, task, count, &mut random)?);
            }
        }
        self.negatives.clear();
        if self.config.negatives.mined > 0 {
            watch(TrainEvent::Preparing("mining hard negatives"));
            let mut random = random(POOL_STREAM);
            for (task, pairs) in tasks.iter().enumerate() {
                let pool = random.sample(pairs.len(), self.config.negatives.pool.unwrap_or(usize::MAX));
                self.negatives.push(mine(prober, &self.index, task, pool, self.config.negatives.mined)?);
            }
        }
        let facts: Vec<TaskFacts> = (0..tasks.len())
            .map(|i| TaskFacts {
                alignment: alignments.get(i).copied().unwrap_or(0.0),
                pairs: tasks[i].len(),
            })
            .collect();
        let probabilities = sampler.probabilities(epoch, self.config.epochs, &facts);
        let entry = Entry::Epoch {
            step: self.state.step,
            epoch,
            alignment: by_task(tasks, &alignments),
            probabilities: by_task(tasks, &probabilities),
            mined_pairs: self.negatives.iter().map(HardNegatives::num_pairs).sum(),
        };
        self.state.curriculum = Some(Curriculum::new(probabilities, seed, epoch));
        self.record(&entry, watch)
    }

    /// The rest of the present epoch; gives the checkpoint it stopped at when asked to stop.
    fn train_epoch(
        &mut self,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<Option<PathBuf>, TrainError> {
        let Some(curriculum) = self.state.curriculum.clone() else { return Ok(None) };
        let end = (self.state.epoch + 1) * self.steps_per_epoch;
        let batches = (end - self.state.step) * self.config.batch.accumulate;
        let (seed, size) = (self.config.seed, self.config.batch.size);
        let planner = Planner::new(&self.index, seed, size, curriculum, &self.state.cursors);
        let (index, model, negatives) = (&self.index, &self.model, &self.negatives);
        let source = Source { index, negatives, prepare: &|input| model.prepare(input) };
        let mut progress = step::Progress {
            config: &self.config,
            index,
            held_out: self.held_out.as_ref(),
            model,
            optimizer: &mut self.optimizer,
            schedule: self.schedule,
            state: &mut self.state,
            negatives,
            log: &mut self.log,
            watch,
            sample: None,
        };
        std::thread::scope(|scope| {
            let batches = source.run_ahead(scope, planner, batches);
            while progress.state.step < end {
                progress.step(&batches)?;
                if progress.state.step == end {
                    progress.state.epoch += 1;
                    progress.state.curriculum = None;
                }
                progress.evaluate_if_due()?;
                let stop = cancel.is_cancelled();
                let due = progress.state.step.is_multiple_of(progress.config.checkpoint.every_steps);
                if stop || due || progress.state.step == end {
                    let directory = progress.save()?;
                    if stop && progress.state.step < progress.schedule.total_steps {
                        return Ok(Some(directory));
                    }
                }
            }
            Ok(None)
        })
    }

    fn record(&mut self, entry: &Entry, watch: &mut dyn FnMut(TrainEvent<'_>)) -> Result<(), TrainError> {
        self.log.write(entry)?;
        self.state.log_bytes = self.log.bytes();
        watch(TrainEvent::Logged(entry));
        Ok(())
    }
}

fn by_task(tasks: &[TaskPairs], values: &[f64]) -> std::collections::BTreeMap<String, f64> {
    tasks.iter().zip(values).map(|(task, value)| (task.task().to_string(), *value)).collect()
}
