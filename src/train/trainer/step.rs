use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::time::Instant;

use candle_core::Var;

use super::super::batches::LoadedBatch;
use super::super::checkpoint::{Checkpoint, RunState};
use super::super::config::TrainConfig;
use super::super::gather::SingleProcess;
use super::super::gradients::norm;
use super::super::log::{Entry, RunLog};
use super::super::negatives::HardNegatives;
use super::super::optimizer::{Optimizer, clip};
use super::super::schedule::Schedule;
use super::super::sources::ImportedPairs;
use super::super::{Gradients, Mode, Prepared, TrainError, TrainableModel};
use super::{DROPOUT_STREAM, Scorer, TrainEvent, by_task};
use crate::pairs::PairIndex;
use crate::random::Random;

/// What the steps of an epoch read and move.
pub(super) struct Progress<'a> {
    pub(super) config: &'a TrainConfig,
    pub(super) index: &'a PairIndex,
    pub(super) held_out: Option<&'a PairIndex>,
    pub(super) imported: &'a [ImportedPairs],
    pub(super) scorer: Option<&'a mut Scorer>,
    pub(super) model: &'a TrainableModel,
    pub(super) optimizer: &'a mut Optimizer,
    pub(super) schedule: Schedule,
    pub(super) state: &'a mut RunState,
    pub(super) negatives: &'a [HardNegatives],
    pub(super) log: &'a mut RunLog,
    pub(super) watch: &'a mut dyn FnMut(TrainEvent<'_>),
    /// When there was an evaluation, or the run began.
    pub(super) evaluated_at: &'a mut Instant,
    /// A query of the last batch, and what batch that was, until the model behind it was looked at.
    pub(super) sample: Option<(Prepared, String)>,
}

/// Sums over the batches of a step.
#[derive(Default)]
struct Sums {
    loss: f64,
    positive_score: f64,
    gaps: Vec<f64>,
    pairs: usize,
    tasks: Vec<String>,
}

impl Progress<'_> {
    /// One step of the optimiser.
    pub(super) fn step(
        &mut self,
        batches: &Receiver<Result<LoadedBatch<Prepared>, TrainError>>,
    ) -> Result<(), TrainError> {
        let start = Instant::now();
        let step = self.state.step;
        let count = self.config.batch.accumulate;
        let loss = self.config.loss.clone();
        let mut gradients = Gradients::default();
        let mut sums = Sums::default();
        // A step that fails on the way has moved nothing.
        let mut after = None;
        for number in 0..count {
            // The loading thread only ends early with an error.
            let mut batch = batches.recv().map_err(|e| TrainError::Shape(format!("no batch: {e}")))??;
            self.leave_out(batch.task, batch.left_out.drain(..))?;
            let task = self.index.tasks()[batch.task].task().to_string();
            let seed =
                Random::derived(self.config.seed, &[DROPOUT_STREAM, step as u64, number as u64]).next_u64();
            let (result, of_batch) = self.model.learn(&batch, &loss, &SingleProcess, seed, self.config)?;
            let name = format!("a batch of {task} from {}", batch.place);
            self.require_finite("loss", result.loss, step + 1, &name)?;
            gradients.accumulate(&of_batch)?;
            sums.loss += result.loss;
            sums.positive_score += result.positive_score;
            sums.gaps.extend(result.hardest_negative_gap);
            sums.pairs += batch.positives.len();
            sums.tasks.push(task);
            // The first item is the first query, or has it.
            self.sample = batch.items.into_iter().next().map(|query| (query, name));
            after = Some(batch.after);
        }
        if count > 1 {
            gradients.scale(1.0 / count as f64)?;
        }
        let clip_norm = self.config.optimizer.clip_norm;
        let gradient_norm =
            if clip_norm > 0.0 { clip(&mut gradients, clip_norm)? } else { gradients.norm()? };
        let name = self.sample.as_ref().map(|(_, name)| name.clone()).unwrap_or_default();
        self.require_finite("gradient norm", gradient_norm, step + 1, &name)?;
        let learning_rate = self.schedule.at(step);
        self.optimizer.step(&gradients, learning_rate)?;
        self.state.optimizer_steps = self.optimizer.steps();
        self.state.step += 1;
        if let Some((curriculum, cursors)) = after {
            self.state.curriculum = Some(curriculum);
            self.state.cursors = cursors;
        }
        let shares = self.state.curriculum.as_ref().map(|c| c.shares()).unwrap_or_default();
        self.record(&Entry::Step {
            step: self.state.step,
            epoch: self.state.epoch,
            tasks: sums.tasks,
            loss: sums.loss / count as f64,
            positive_score: sums.positive_score / count as f64,
            hardest_negative_gap: (!sums.gaps.is_empty())
                .then(|| sums.gaps.iter().sum::<f64>() / sums.gaps.len() as f64),
            learning_rate,
            gradient_norm,
            task_shares: by_task(self.index.tasks(), &shares),
            pairs_per_second: sums.pairs as f64 / start.elapsed().as_secs_f64(),
        })
    }

    /// Goes on without pairs of a task, given by their numbers, as far as it may.
    pub(super) fn leave_out(
        &mut self,
        task: usize,
        pairs: impl IntoIterator<Item = (usize, String)>,
    ) -> Result<(), TrainError> {
        let all = self.index.num_pairs();
        // Rounded up, but not by what a product of floats is off by.
        let most = (self.config.data.max_damaged * all as f64 - 1e-6).ceil() as usize;
        for (row, reason) in pairs {
            let pair = self.index.place(task, row);
            if self.state.left_out.contains(&(task, row)) {
                continue;
            }
            if self.state.left_out.len() >= most {
                return Err(TrainError::TooManyDamaged { place: pair, reason, most, pairs: all });
            }
            self.state.left_out.insert((task, row));
            self.record(&Entry::LeftOut { step: self.state.step, pair, reason })?;
        }
        Ok(())
    }

    /// Writes a checkpoint where a file that cannot be read is what ends the run: nothing of it is lost then.
    pub(super) fn end_by(&mut self, error: TrainError) -> TrainError {
        match error {
            TrainError::Input { .. } | TrainError::TooManyDamaged { .. } => match self.save() {
                Ok(_) => error,
                Err(unsaved) => {
                    let reason = format!("{unsaved}; what ended the run: {error}");
                    TrainError::Checkpoint { path: self.config.checkpoints(), reason }
                }
            },
            error => error,
        }
    }

    fn require_finite(
        &self,
        what: &'static str,
        value: f64,
        step: usize,
        batch: &str,
    ) -> Result<(), TrainError> {
        if value.is_finite() {
            return Ok(());
        }
        let last = match Checkpoint::all(&self.config.checkpoints())?.pop() {
            Some(last) => format!("the last good checkpoint is {}", last.directory.display()),
            None => "there is no checkpoint yet".to_owned(),
        };
        Err(TrainError::NotFinite { step, batch: batch.to_owned(), what, value, last })
    }

    /// Ends the run if the last step has ruined the model, so that what is scored or saved is a good one.
    /// Looks once behind each step.
    ///
    /// One input does not reach every weight, as a text does not those of the vision tower: the norm of all
    /// tells of the others.
    pub(super) fn require_good_model(&mut self) -> Result<(), TrainError> {
        let Some((query, batch)) = self.sample.take() else { return Ok(()) };
        let step = self.state.step;
        let embedding = self.model.embed(&[&query], Mode::Evaluate)?.flatten_all()?.to_vec1::<f32>()?;
        let sum = embedding.into_iter().map(f64::from).sum();
        self.require_finite("embedding after it", sum, step, &batch)?;
        let norm = norm(self.model.parameters().values().map(Var::as_detached_tensor))?;
        self.require_finite("norm of the trained weights after it", norm, step, &batch)
    }

    /// Writes a checkpoint of the present state, unless the last step has ruined the model: a checkpoint that
    /// is there is a good one.
    pub(super) fn save(&mut self) -> Result<PathBuf, TrainError> {
        self.require_good_model()?;
        let (folder, keep) = (self.config.checkpoints(), self.config.checkpoint.keep);
        let base_model = self.model.base(self.config);
        let weights = |directory: &Path| self.model.save_for_resumption(directory, &base_model);
        let saved =
            Checkpoint::write(&folder, self.state, &self.optimizer.state(), self.negatives, keep, weights)?;
        (self.watch)(TrainEvent::Saved(&saved.directory));
        self.show()?;
        Ok(saved.directory)
    }

    pub(super) fn record(&mut self, entry: &Entry) -> Result<(), TrainError> {
        self.log.write(entry)?;
        self.state.log_bytes = self.log.bytes();
        (self.watch)(TrainEvent::Logged(entry));
        Ok(())
    }
}
