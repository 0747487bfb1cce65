//! The loop: epochs of the curriculum, steps of the optimiser, and everything that is written down on the
//! way.

mod area;
mod estimate;
mod material;
mod selection;
mod setup;
mod step;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::batches::{Ask, LoadedBatch, Ranks, Source};
use super::card::State;
use super::checkpoint::RunState;
use super::config::TrainConfig;
use super::curriculum::{Curriculum, TaskFacts};
use super::log::{Entry, RunLog};
use super::negatives::{HardNegatives, mine};
use super::optimizer::Optimizer;
use super::planner::Planner;
use super::prober::{Probe, Prober, probe};
use super::schedule::Schedule;
use super::sources::ImportedPairs;
use super::{Prepared, TrainError, TrainableModel};
use crate::embedder::{CancelToken, Embedder, Input};
use crate::options::shown_by;
use crate::pairs::{PairIndex, TaskPairs};
use crate::random::Random;
use crate::store::{Existing, IoError, Lock, write_folder};
pub use estimate::{TaskEstimate, TrainEstimate, TrainMemory, estimate};
use step::Progress;

/// What the prober has to separate of each task for its alignments to choose between tasks.
const KNOWN: f64 = 0.75;

/// Streams of random numbers beside those of the tasks' walks.
const PROBE_STREAM: u64 = u64::MAX - 1;
const POOL_STREAM: u64 = u64::MAX - 2;
const DROPOUT_STREAM: u64 = u64::MAX - 3;
const ORDER_STREAM: u64 = u64::MAX - 4;

/// Where a run begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// Anew, in a directory that holds no run.
    Fresh,
    /// At the newest checkpoint in the run's directory; anew if there is none.
    Newest,
    /// At the checkpoint in this directory. One of the run itself becomes its newest: what came after is
    /// removed. One of another run begins in a directory that holds no run.
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
    /// The run has another number of epochs than when its checkpoint was written.
    Extended {
        /// Epochs that there were to be.
        before: usize,
        /// Epochs that there are to be.
        now: usize,
    },
    /// Tasks are probed or negatives mined; takes a while.
    Preparing(&'static str),
    /// Something went into the log.
    Logged(&'a Entry),
    /// A checkpoint is complete.
    Saved(&'a Path),
    /// The model card in this directory is a person's and stays; that of the run lies beside it, as `README.gve.md`.
    CardKept(&'a Path),
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// All steps are done; the trained weights lie in this directory.
    Complete(PathBuf),
    /// It was asked to stop; it goes on from this checkpoint.
    Stopped(PathBuf),
}

/// Scores the weights of a run on the way by other means than the run's own, such as a program that is run on
/// them.
///
/// Is given the directory of an evaluation. The weights lie in its `weights/`, as in `final/` at the end;
/// what else is left in the directory stays. Gives scores by name, or none where there are none to tell.
pub type Scorer = dyn FnMut(&Path) -> BTreeMap<String, f64>;

/// A training run.
pub struct Trainer {
    config: TrainConfig,
    index: PairIndex,
    held_out: Option<PairIndex>,
    imported: Vec<ImportedPairs>,
    scorer: Option<Box<Scorer>>,
    /// Embeds for the first epoch, and is gone once that has begun.
    first_prober: Option<Embedder>,
    model: TrainableModel,
    optimizer: Optimizer,
    schedule: Schedule,
    steps_per_epoch: usize,
    state: RunState,
    negatives: Vec<HardNegatives>,
    log: RunLog,
    /// Epochs as the checkpoint has them.
    epochs_before: Option<usize>,
    /// Keeps other processes out of the run's directory.
    _lock: Lock,
}

shown_by!(Trainer |it| { model: it.model, steps_per_epoch: it.steps_per_epoch });

impl Trainer {
    /// The settings of the run, with what was left to the model or to a checkpoint filled in: they are what a
    /// checkpoint holds.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps that are left.
    pub fn remaining_steps(&self) -> usize {
        self.schedule.total_steps.saturating_sub(self.state.step)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.index.tasks().len()
    }

    /// Pairs of the largest task: a batch has no more.
    pub fn largest_task(&self) -> usize {
        largest_task(&self.index)
    }

    /// What was imported for the run, of the pairs that others have.
    pub fn imported(&self) -> &[ImportedPairs] {
        &self.imported
    }

    /// Has `scorer` score the weights at every evaluation.
    #[must_use]
    pub fn scored_by(self, scorer: Box<Scorer>) -> Self {
        Self { scorer: Some(scorer), ..self }
    }

    /// Trains until the last step, or until `cancel` is set. What probes, mines or evaluates then ends before
    /// its next batch of inputs, and is begun anew when the run goes on.
    ///
    /// # Errors
    /// A pair that cannot be used, a loss, gradient or model that is not finite, a file that cannot be
    /// written. The last checkpoint is intact then, and the error of what is not finite names it.
    /// `evaluation.uvrb` without a [`Scorer`].
    pub fn run(
        mut self,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<Finish, TrainError> {
        if self.scorer.is_none() && self.config.evaluation.as_ref().is_some_and(|e| e.uvrb.is_some()) {
            let reason = "nobody scores: see `Trainer::scored_by`, or use the program `gve train`".to_owned();
            return Err(TrainError::Config { place: "evaluation.uvrb".to_owned(), reason });
        }
        let total_steps = self.schedule.total_steps;
        watch(TrainEvent::Started { step: self.state.step, total_steps });
        let now = self.config.epochs;
        if let Some(before) = self.epochs_before.filter(|before| *before != now) {
            watch(TrainEvent::Extended { before, now });
        }
        let mut evaluated_at = Instant::now();
        let mut progress = self.progress(&mut evaluated_at, watch);
        progress.evaluate_if_due(cancel)?;
        if cancel.is_cancelled() && progress.state.step == 0 {
            return progress.save().map(Finish::Stopped);
        }
        while self.state.step < total_steps && !self.progress(&mut evaluated_at, watch).gains_nothing() {
            if self.state.curriculum.is_none() {
                match self.begin_epoch(cancel, watch) {
                    Err(TrainError::Cancelled) => {
                        return self.progress(&mut evaluated_at, watch).save().map(Finish::Stopped);
                    }
                    begun => begun?,
                }
            }
            if let Some(checkpoint) = self.train_epoch(&mut evaluated_at, cancel, watch)? {
                return Ok(Finish::Stopped(checkpoint));
            }
        }
        let result = self.config.output.join("final");
        let mut progress = self.progress(&mut evaluated_at, watch);
        progress.write_described(&result, State::Final)?;
        progress.show()?;
        Ok(Finish::Complete(result))
    }

    /// Probes the tasks, mines negatives, and settles how likely each task is.
    fn begin_epoch(
        &mut self,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<(), TrainError> {
        let (epoch, seed) = (self.state.epoch, self.config.seed);
        let random = |stream| Random::derived(seed, &[stream, epoch as u64]);
        // From the second epoch on the model is its own prober: it is the checkpoint of the epoch before.
        let prober: &dyn Prober = match &self.first_prober {
            Some(embedder) => embedder,
            None => &self.model,
        };
        let mut sampler = self.config.sampler();
        let tasks = self.index.tasks();
        let leaves_out = leaves_out(&self.config);
        let mut left_out = vec![Vec::new(); tasks.len()];
        let mut probes: Vec<Probe> = Vec::new();
        if sampler.needs_alignment() {
            watch(TrainEvent::Preparing("probing the tasks"));
            let mut random = random(PROBE_STREAM);
            for (task, left_out) in left_out.iter_mut().enumerate() {
                let count = self.config.probe_pairs();
                let failed = &mut noting(leaves_out, left_out);
                probes.push(probe(prober, &self.index, task, count, &mut random, failed, cancel)?);
            }
            let is_known = probes.iter().all(|probe| probe.separation >= KNOWN);
            if self.config.curriculum.sigma_start.is_none() && !is_known {
                sampler = sampler.flattened();
            }
        }
        let mut negatives = Vec::new();
        if self.config.negatives.mined > 0 {
            watch(TrainEvent::Preparing("mining hard negatives"));
            let mut random = random(POOL_STREAM);
            for (task, pairs) in tasks.iter().enumerate() {
                let pool = random.sample(pairs.len(), self.config.negatives.pool.unwrap_or(usize::MAX));
                let count = self.config.negatives.mined;
                let failed = &mut noting(leaves_out, &mut left_out[task]);
                negatives.push(mine(prober, &self.index, task, pool, count, failed, cancel)?);
            }
        }
        let facts = facts(&self.config, tasks, |task| probes.get(task).map_or(0.0, |probe| probe.alignment));
        let (epochs, floor) = (self.config.epochs, self.config.curriculum.floor.unwrap_or(0.0));
        let probabilities = sampler.probabilities(epoch, epochs, floor, &facts);
        let probed = |of: fn(&Probe) -> f64| by_task(tasks, &probes.iter().map(of).collect::<Vec<_>>());
        let entry = Entry::Epoch {
            step: self.state.step,
            epoch,
            alignment: probed(|probe| probe.alignment),
            separation: probed(|probe| probe.separation),
            sigma: sampler.sigma(epoch, epochs),
            probabilities: by_task(tasks, &probabilities),
            mined_pairs: negatives.iter().map(HardNegatives::num_pairs).sum(),
        };
        self.negatives = negatives;
        self.first_prober = None;
        self.state.curriculum = Some(Curriculum::new(probabilities, seed, epoch));
        let mut evaluated_at = Instant::now();
        let mut progress = self.progress(&mut evaluated_at, watch);
        for (task, pairs) in left_out.into_iter().enumerate() {
            progress.leave_out(task, pairs)?;
        }
        progress.record(&entry)
    }

    /// The rest of the present epoch; gives the checkpoint it stopped at when asked to stop.
    fn train_epoch(
        &mut self,
        evaluated_at: &mut Instant,
        cancel: &CancelToken,
        watch: &mut dyn FnMut(TrainEvent<'_>),
    ) -> Result<Option<PathBuf>, TrainError> {
        let Some(curriculum) = self.state.curriculum.clone() else { return Ok(None) };
        let end = (self.state.epoch + 1) * self.steps_per_epoch;
        let batches = (end - self.state.step) * self.config.batch.accumulate;
        let (seed, size) = (self.config.seed, self.config.batch.size);
        let mut progress = self.progress(evaluated_at, watch);
        let planner = Planner::new(progress.index, seed, size, curriculum, &progress.state.cursors);
        let run = (progress.config, progress.model, progress.index);
        with_batches(run, progress.negatives, planner, batches, |batches| {
            while progress.state.step < end {
                progress.step(batches).map_err(|error| progress.end_by(error))?;
                if progress.state.step == end {
                    progress.state.epoch += 1;
                    progress.state.curriculum = None;
                }
                progress.evaluate_if_due(cancel).map_err(|error| progress.end_by(error))?;
                let (stop, enough) = (cancel.is_cancelled(), progress.gains_nothing());
                if enough {
                    progress.tell_end()?;
                }
                let due = progress.state.step.is_multiple_of(progress.config.checkpoint.every_steps);
                if stop || enough || due || progress.state.step == end {
                    let directory = progress.save()?;
                    if stop && progress.state.step < progress.schedule.total_steps {
                        return Ok(Some(directory));
                    }
                    if enough {
                        return Ok(None);
                    }
                }
            }
            Ok(None)
        })
    }

    fn progress<'a>(
        &'a mut self,
        evaluated_at: &'a mut Instant,
        watch: &'a mut dyn FnMut(TrainEvent<'_>),
    ) -> Progress<'a> {
        Progress {
            config: &self.config,
            index: &self.index,
            held_out: self.held_out.as_ref(),
            imported: &self.imported,
            scorer: self.scorer.as_deref_mut(),
            model: &self.model,
            optimizer: &mut self.optimizer,
            schedule: self.schedule,
            state: &mut self.state,
            negatives: &self.negatives,
            log: &mut self.log,
            watch,
            evaluated_at,
            sample: None,
        }
    }
}

/// Whether the run goes on without pairs that cannot be read.
fn leaves_out(config: &TrainConfig) -> bool {
    config.data.max_damaged > 0.0
}

/// Notes pairs that cannot be read in `left_out`, if they may be.
fn noting(
    leaves_out: bool,
    left_out: &mut Vec<(usize, String)>,
) -> impl FnMut(usize, TrainError) -> Result<(), TrainError> {
    move |row, error| match error {
        TrainError::Input { reason, .. } if leaves_out && reason.is_of_input() => {
            left_out.push((row, reason.to_string()));
            Ok(())
        }
        error => Err(error),
    }
}

/// Hands `train` the next `count` batches of `planner`, which are made ready while it works.
fn with_batches<R>(
    (config, model, index): (&TrainConfig, &TrainableModel, &PairIndex),
    negatives: &[HardNegatives],
    planner: Planner,
    count: usize,
    train: impl FnOnce(&Receiver<Result<LoadedBatch<Prepared>, TrainError>>) -> R,
) -> R {
    let prepare = |inputs: &[&Input]| match inputs {
        [query, candidate] => model.prepare_pair(query, candidate),
        [input] => model.prepare(input),
        _ => Err(TrainError::Shape(format!("an item of {} inputs", inputs.len()))),
    };
    let ask = |query: &Input, documents: &[&Input], random: &mut Random| {
        model.pseudo_query_shuffled(query, documents, random)
    };
    let ranks = config.loss.rank_net.as_ref().map(|ranks| Ranks {
        ask: ranks.pseudo_query.then_some(&ask as &Ask<'_>),
        seed: Random::derived(config.seed, &[ORDER_STREAM]).next_u64(),
    });
    let of_pairs = config.loss.is_of_pairs();
    let leaves_out = leaves_out(config);
    let source = Source { index, negatives, of_pairs, ranks, leaves_out, prepare: &prepare };
    std::thread::scope(|scope| train(&source.run_ahead(scope, planner, count)))
}

/// Writes what is trained for others to load, with what `add` writes beside it, as a whole or not at all.
fn write_weights(
    model: &TrainableModel,
    directory: &Path,
    config: &TrainConfig,
    add: impl FnOnce(&Path) -> Result<(), TrainError>,
) -> Result<(), TrainError> {
    write_folder(directory, Existing::Replace, |directory| {
        // The model makes the directory itself.
        std::fs::remove_dir(directory).map_err(IoError::of("remove", directory))?;
        model.save(directory, Some(&model.base(config)))?;
        add(directory)
    })
}

/// Pairs of the largest task.
fn largest_task(index: &PairIndex) -> usize {
    index.tasks().iter().map(TaskPairs::len).max().unwrap_or(0)
}

/// What the sampler may look at.
fn facts(config: &TrainConfig, tasks: &[TaskPairs], alignment: impl Fn(usize) -> f64) -> Vec<TaskFacts> {
    let weights = config.curriculum.weights.as_ref();
    let weight = |task: &TaskPairs| weights.and_then(|weights| weights.get(&task.task())).copied();
    let facts = |(i, task): (usize, &TaskPairs)| TaskFacts {
        alignment: alignment(i),
        pairs: task.len(),
        weight: weight(task).unwrap_or(1.0),
    };
    tasks.iter().enumerate().map(facts).collect()
}

fn by_task(tasks: &[TaskPairs], values: &[f64]) -> BTreeMap<String, f64> {
    tasks.iter().zip(values).map(|(task, value)| (task.task().to_string(), *value)).collect()
}
