mod measured;

use std::path::Path;
use std::time::{Duration, Instant};

use super::super::batches::LoadedBatch;
use super::super::config::{OptimizerKind, TrainConfig};
use super::super::curriculum::Curriculum;
use super::super::gather::SingleProcess;
use super::super::planner::Planner;
use super::super::{Prepared, TrainError, TrainableModel};
use super::material::Material;
use super::{Trainer, facts, largest_task, with_batches};
use crate::device::{PeakMemory, available_memory};
use crate::embedder::CancelToken;
use crate::pairs::{Cursor, PairIndex, Task, TaskPairs};
use measured::{Measured, Taken};

/// Of the memory there is, a batch may take so much.
const MEMORY_SHARE: f64 = 0.9;
/// Pairs of a batch from which on smaller ones say what a pair takes.
const LEAST_COMPARED: usize = 4;

/// What a run would take: see [`estimate`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TrainEstimate {
    /// In the order of their names.
    pub tasks: Vec<TaskEstimate>,
    /// Steps of the optimiser that are left.
    pub steps: usize,
    /// Values that are trained.
    pub trained: usize,
    /// What these steps would take on this machine. What probes, mines, evaluates and saves comes on top.
    pub time: Duration,
    /// Of a model on the CPU, where the system tells (Linux).
    pub memory: Option<TrainMemory>,
}

/// A task of a [`TrainEstimate`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TaskEstimate {
    /// What is asked and found.
    pub task: Task,
    /// Its pairs.
    pub pairs: usize,
    /// How long a batch of it takes.
    pub batch: Duration,
    /// Pairs of the batches that were measured, the fewest first. What a larger one takes follows from the
    /// last two.
    pub measured: Vec<usize>,
}

/// Memory of a [`TrainEstimate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainMemory {
    /// Bytes of this process once the model is loaded.
    pub model_bytes: u64,
    /// Bytes that the optimiser keeps, and of the sum of gradients where a step has several batches.
    pub optimizer_bytes: u64,
    /// Bytes that a batch of the task whose batches take most takes on top.
    pub batch_bytes: u64,
    /// Bytes that the process can still get beside the model.
    pub available_bytes: u64,
    /// The largest power of two of pairs that would fit, by what smaller batches took, or all that the
    /// largest task has. `None` where batches are too small to tell.
    pub largest_batch: Option<usize>,
}

impl TrainMemory {
    /// Bytes at the most, of all together.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        self.model_bytes + self.optimizer_bytes + self.batch_bytes
    }
}

/// What the run of `config` would take, by the gradients of small batches of each task: of four pairs, and
/// then of twice as many each time, while that says more and there is memory for it. Nothing is written but
/// pairs that have to be imported, into the folder `imports`, and nothing learnt.
///
/// # Errors
/// As [`Trainer::new`], but for what is in the run's directory; [`TrainError::Cancelled`] where `cancel` is set,
/// before the next batch, and of what is imported before the next rows.
pub fn estimate(
    config: TrainConfig,
    model_dir: &Path,
    imports: &Path,
    cancel: &CancelToken,
) -> Result<TrainEstimate, TrainError> {
    let mut material = Material::of(config, |_| Ok(imports.to_owned()), cancel)?;
    let (family, _) = material.settle(model_dir, None)?;
    let model = material.load(model_dir, family)?;
    let steps = material.config.epochs * material.steps_per_epoch;
    measure(&material.config, &model, &material.index, steps, cancel)
}

impl Trainer {
    /// What the rest of the run would take: see [`estimate`]. It ends with the same bits as without.
    ///
    /// # Errors
    /// A pair that cannot be used; [`TrainError::Cancelled`].
    pub fn estimate(&self, cancel: &CancelToken) -> Result<TrainEstimate, TrainError> {
        measure(&self.config, &self.model, &self.index, self.remaining_steps(), cancel)
    }
}

fn measure(
    config: &TrainConfig,
    model: &TrainableModel,
    index: &PairIndex,
    steps: usize,
    cancel: &CancelToken,
) -> Result<TrainEstimate, TrainError> {
    let available = available_memory();
    let start = PeakMemory::begin();
    let room = available.map(|bytes| MEMORY_SHARE * bytes as f64);
    let mut of_steps = config.clone();
    if config.negatives.mined > 0 {
        // Those that are to be ranked may be yet to be mined.
        of_steps.loss.rank_net = None;
    }
    let mut of_tasks = Vec::new();
    for (number, pairs) in index.tasks().iter().enumerate() {
        let take = |size: usize| step_of((&of_steps, model, index), start, number, size, cancel);
        of_tasks.push(Measured::of(config, config.batch.size.min(pairs.len()), room, take)?);
    }
    let of_task = |(pairs, measured): (&TaskPairs, &Measured<'_>)| TaskEstimate {
        task: pairs.task(),
        pairs: pairs.len(),
        batch: measured.time(),
        measured: measured.pairs(),
    };
    let tasks: Vec<TaskEstimate> = index.tasks().iter().zip(&of_tasks).map(of_task).collect();
    let trained = model.parameters().values().map(|var| var.elem_count()).sum();
    let memory = start.filter(|_| model.is_on_cpu()).zip(available);
    let memory = memory.map(|(start, available_bytes)| {
        let optimizer_bytes = optimizer_values(config, trained) * size_of::<f32>() as u64;
        let of_run = of_tasks.iter().filter_map(|task| task.bytes(task.size())).map(|bytes| bytes as u64);
        let batch_bytes = of_run.chain(of_tasks.iter().filter_map(Measured::most_bytes)).max().unwrap_or(0);
        let room = MEMORY_SHARE * available_bytes as f64 - optimizer_bytes as f64;
        let fits = |size: usize| {
            let tasks = index.tasks().iter().zip(&of_tasks);
            let mut bytes = tasks.map(|(pairs, task)| task.bytes(size.min(pairs.len())));
            bytes.all(|bytes| bytes.is_some_and(|bytes| bytes <= room))
        };
        let largest_task = largest_task(index);
        let smaller = (1..usize::BITS).map(|power| 1_usize << power).take_while(|size| *size < largest_task);
        let fitting = smaller.chain([largest_task]).take_while(|size| fits(*size));
        let tells = of_tasks.iter().any(|task| task.size() >= LEAST_COMPARED);
        let largest_batch = tells.then(|| fitting.last().unwrap_or(1));
        let model_bytes = start.resident_bytes();
        TrainMemory { model_bytes, optimizer_bytes, batch_bytes, available_bytes, largest_batch }
    });
    let time = expected(config, index, &tasks).mul_f64((steps * config.batch.accumulate) as f64);
    Ok(TrainEstimate { tasks, steps, trained, time, memory })
}

/// What the gradients of a batch of a task take. `start` is from before the first.
fn step_of(
    (config, model, index): (&TrainConfig, &TrainableModel, &PairIndex),
    start: Option<PeakMemory>,
    task: usize,
    pairs: usize,
    cancel: &CancelToken,
) -> Result<Taken, TrainError> {
    if cancel.is_cancelled() {
        return Err(TrainError::Cancelled);
    }
    let only = (0..index.tasks().len()).map(|number| f64::from(u8::from(number == task))).collect();
    let cursors = vec![Cursor::default(); index.tasks().len()];
    let planner = Planner::new(index, config.seed, pairs, Curriculum::new(only, config.seed, 0), &cursors);
    with_batches((config, model, index), &[], planner, 1, |batches| {
        let peak = PeakMemory::begin();
        // The next batch is made ready while the model works: what it takes is no time of its own.
        let batch: LoadedBatch<Prepared> =
            batches.recv().map_err(|e| TrainError::Shape(format!("no batch: {e}")))??;
        let started = Instant::now();
        model.learn(&batch, &config.loss, &SingleProcess, 0, config)?;
        let time = started.elapsed();
        let peak = peak.and_then(PeakMemory::peak_bytes);
        Ok(Taken {
            pairs,
            items: batch.items.len(),
            tokens: batch.items.iter().map(Prepared::num_tokens).sum(),
            targets: batch.positives.len() + batch.negatives.len(),
            time,
            bytes: start.zip(peak).map(|(start, peak)| peak.saturating_sub(start.resident_bytes())),
        })
    })
}

/// How long a batch takes in the mean. How the pyramid will choose is not known: all alike.
fn expected(config: &TrainConfig, index: &PairIndex, tasks: &[TaskEstimate]) -> Duration {
    let facts = facts(config, index.tasks(), |_| 0.0);
    let floor = config.curriculum.floor.unwrap_or(0.0);
    let shares = config.sampler().probabilities(0, 1, floor, &facts);
    tasks.iter().zip(shares).map(|(task, share)| task.batch.mul_f64(share)).sum()
}

/// Moments of AdamW, two of each value; of Muon one for what it moves, which is nearly all. And a sum of
/// gradients beside those of a batch.
fn optimizer_values(config: &TrainConfig, trained: usize) -> u64 {
    let moments = match config.optimizer.kind {
        OptimizerKind::AdamW => 2,
        OptimizerKind::Muon => 1,
    };
    let sums = u64::from(config.batch.accumulate > 1);
    (moments + sums) * trained as u64
}
