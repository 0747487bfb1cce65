use super::curriculum::Curriculum;
use crate::pairs::{Cursor, PairIndex, Shuffled};

/// Decides what each batch holds: one task, drawn from the curriculum, and the next pairs of that task's
/// walk.
#[derive(Debug, Clone)]
pub struct Planner {
    curriculum: Curriculum,
    walks: Vec<Shuffled>,
    batch_size: usize,
}

/// What a batch holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBatch {
    /// Number of the task.
    pub task: usize,
    /// Numbers of the pairs within the task.
    pub rows: Vec<usize>,
}

impl Planner {
    /// The plan of an epoch, going on from `cursors`, one for each task.
    pub fn new(
        index: &PairIndex,
        seed: u64,
        batch_size: usize,
        curriculum: Curriculum,
        cursors: &[Cursor],
    ) -> Self {
        let tasks = index.tasks().iter().zip(cursors);
        let walks = (0..)
            .zip(tasks)
            .map(|(i, (task, &cursor))| Shuffled::new(task.groups().clone(), seed, i, cursor))
            .collect();
        Self { curriculum, walks, batch_size }
    }

    /// The next batch: as many pairs as a batch takes, or all of the task where it has fewer.
    pub fn next_batch(&mut self) -> PlannedBatch {
        let task = self.curriculum.draw();
        PlannedBatch { task, rows: self.walks[task].take(self.batch_size) }
    }

    /// The draws so far.
    pub fn curriculum(&self) -> &Curriculum {
        &self.curriculum
    }

    /// Where the walk of each task stands.
    pub fn cursors(&self) -> Vec<Cursor> {
        self.walks.iter().map(Shuffled::cursor).collect()
    }
}
