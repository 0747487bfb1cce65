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
use crate::pairs::{Cursor, PairIndex, Task};

/// Of the memory there is, a batch may take so much.
const MEMORY_SHARE: f64 = 0.9;
/// Pairs of a batch from which on half as many say what a pair takes.
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
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TaskEstimate {
    /// What is asked and found.
    pub task: Task,
    /// Its pairs.
    pub pairs: usize,
    /// How long a batch of it takes.
    pub batch: Duration,
}

/// Memory of a [`TrainEstimate`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainMemory {
    /// Bytes of this process once the model is loaded.
    pub model_bytes: u64,
    /// Bytes that the optimiser keeps.
    pub optimizer_bytes: u64,
    /// Bytes that the batch that took most took on top.
    pub batch_bytes: u64,
    /// Bytes that the process can still get beside the model.
    pub available_bytes: u64,
    /// The largest power of two of pairs that would fit, by what a batch and half of one took, or all that the
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

/// What the run of `config` would take, by the gradients of a batch and a half of each task. Nothing is written
/// but pairs that have to be imported, into the folder `imports`, and nothing learnt.
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
    let (mut tasks, mut most, mut of_pair) = (Vec::new(), 0, None);
    for (number, pairs) in index.tasks().iter().enumerate() {
        let size = config.batch.size.min(pairs.len());
        let compared = size >= LEAST_COMPARED;
        // Half a batch comes first: whatever is done but once is done then.
        let (_, of_half) = step_of(config, model, index, number, size.div_ceil(2), cancel)?;
        let (time, of_all) = step_of(config, model, index, number, size, cancel)?;
        tasks.push(TaskEstimate { task: pairs.task(), pairs: pairs.len(), batch: time });
        if let (Some(half), Some(all)) = (of_half, of_all) {
            most = most.max(all.max(half));
            let more = all.saturating_sub(half) / (size - size.div_ceil(2)).max(1) as u64;
            of_pair = if compared { of_pair.max(Some((more, all, size))) } else { of_pair };
        }
    }
    let trained = model.parameters().values().map(|var| var.elem_count()).sum();
    let memory = start.filter(|_| model.is_on_cpu()).zip(available);
    let memory = memory.map(|(start, available_bytes)| {
        let optimizer_bytes = optimizer_values(config, trained) * size_of::<f32>() as u64;
        let batch_bytes = most.saturating_sub(start.resident_bytes());
        let room = (MEMORY_SHARE * available_bytes as f64) as u64;
        let largest_task = largest_task(index);
        let largest_batch = of_pair.map(|(of_pair, all, size)| {
            let fixed = all.saturating_sub(start.resident_bytes() + of_pair * size as u64) + optimizer_bytes;
            let fits = |pairs: usize| fixed + of_pair.max(1) * pairs as u64 <= room;
            let smaller =
                (1..usize::BITS).map(|power| 1_usize << power).take_while(|pairs| *pairs < largest_task);
            smaller.chain([largest_task]).take_while(|pairs| fits(*pairs)).last().unwrap_or(1)
        });
        let model_bytes = start.resident_bytes();
        TrainMemory { model_bytes, optimizer_bytes, batch_bytes, available_bytes, largest_batch }
    });
    let time = expected(config, index, &tasks).mul_f64((steps * config.batch.accumulate) as f64);
    Ok(TrainEstimate { tasks, steps, trained, time, memory })
}

/// How long the gradients of a batch of a task take, and the most memory that the process had meanwhile.
fn step_of(
    config: &TrainConfig,
    model: &TrainableModel,
    index: &PairIndex,
    task: usize,
    size: usize,
    cancel: &CancelToken,
) -> Result<(Duration, Option<u64>), TrainError> {
    if cancel.is_cancelled() {
        return Err(TrainError::Cancelled);
    }
    let only = (0..index.tasks().len()).map(|number| f64::from(u8::from(number == task))).collect();
    let cursors = vec![Cursor::default(); index.tasks().len()];
    let planner = Planner::new(index, config.seed, size, Curriculum::new(only, config.seed, 0), &cursors);
    with_batches((config, model, index), &[], planner, 1, |batches| {
        let peak = PeakMemory::begin();
        // The next batch is made ready while the model works: what it takes is no time of its own.
        let batch: LoadedBatch<Prepared> =
            batches.recv().map_err(|e| TrainError::Shape(format!("no batch: {e}")))??;
        let started = Instant::now();
        model.learn(&batch, &config.loss, &SingleProcess, 0, config)?;
        let mined = (config.negatives.mined * batch.positives.len()) as f64;
        let more = 1.0 + mined / batch.items.len().max(1) as f64;
        Ok((started.elapsed().mul_f64(more), peak.and_then(|peak| peak.peak_bytes())))
    })
}

/// How long a batch takes in the mean. How the pyramid will choose is not known: all alike.
fn expected(config: &TrainConfig, index: &PairIndex, tasks: &[TaskEstimate]) -> Duration {
    let facts = facts(config, index.tasks(), |_| 0.0);
    let floor = config.curriculum.floor.unwrap_or(0.0);
    let shares = config.sampler().probabilities(0, 1, floor, &facts);
    tasks.iter().zip(shares).map(|(task, share)| task.batch.mul_f64(share)).sum()
}

/// Moments of AdamW, two of each value; of Muon one for what it moves, which is nearly all.
fn optimizer_values(config: &TrainConfig, trained: usize) -> u64 {
    let moments = match config.optimizer.kind {
        OptimizerKind::AdamW => 2,
        OptimizerKind::Muon => 1,
    };
    moments * trained as u64
}
