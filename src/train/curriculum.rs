//! Which task the next batch is of. Pure: state in, decision out.

use serde::{Deserialize, Serialize};

use crate::random::Random;

/// How batches are spread over tasks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "kind", deny_unknown_fields)]
pub enum Sampler {
    /// The Modality Pyramid (arXiv 2510.27571): first the tasks whose pairs already lie close together, more
    /// and more of the others from epoch to epoch. Probabilities are the softmax of `alignment / sigma`, and
    /// sigma rises linearly from the first epoch to the last.
    Pyramid {
        /// In the first epoch.
        sigma_start: f64,
        /// In the last epoch.
        sigma_end: f64,
    },
    /// Every task as often.
    Uniform,
    /// Every task as often as it has pairs.
    Proportional,
}

impl Default for Sampler {
    fn default() -> Self {
        let (sigma_start, sigma_end) = Self::PYRAMID_SIGMAS;
        Self::Pyramid { sigma_start, sigma_end }
    }
}

/// What a sampler may look at.
#[derive(Debug, Clone, Copy)]
pub struct TaskFacts {
    /// Mean cosine of the task's positive pairs, as the prober sees them.
    pub alignment: f64,
    /// Number of pairs.
    pub pairs: usize,
    /// Factor on what the sampler would give it; 1 leaves that alone.
    pub weight: f64,
}

impl Sampler {
    /// Sigma of the first and of the last epoch where nobody says.
    pub(super) const PYRAMID_SIGMAS: (f64, f64) = (0.1, 1.0);

    /// Whether it needs the tasks' alignment.
    pub fn needs_alignment(&self) -> bool {
        matches!(self, Self::Pyramid { .. })
    }

    /// The pyramid as it ends: for a prober to which alignments say nothing. Any other sampler as it is.
    pub fn flattened(self) -> Self {
        match self {
            Self::Pyramid { sigma_end, .. } => Self::Pyramid { sigma_start: sigma_end, sigma_end },
            other => other,
        }
    }

    /// Sigma of the pyramid in `epoch`, from 0, of `epochs`.
    pub fn sigma(&self, epoch: usize, epochs: usize) -> Option<f64> {
        let &Self::Pyramid { sigma_start, sigma_end } = self else { return None };
        let last = epochs.saturating_sub(1);
        let progress = if last == 0 { 0.0 } else { epoch.min(last) as f64 / last as f64 };
        Some(sigma_start + (sigma_end - sigma_start) * progress)
    }

    /// The probability of each task in `epoch`, from 0, of `epochs`: of all batches the share `floor` is spread
    /// evenly over the tasks, and the rest as the sampler has it.
    pub fn probabilities(&self, epoch: usize, epochs: usize, floor: f64, tasks: &[TaskFacts]) -> Vec<f64> {
        let shares: Vec<f64> = match (self, self.sigma(epoch, epochs)) {
            (_, Some(sigma)) => {
                let largest = tasks.iter().map(|t| t.alignment).fold(f64::NEG_INFINITY, f64::max);
                tasks.iter().map(|t| ((t.alignment - largest) / sigma).exp()).collect()
            }
            (Self::Proportional, _) => tasks.iter().map(|t| t.pairs as f64).collect(),
            _ => vec![1.0; tasks.len()],
        };
        let even = floor / tasks.len() as f64;
        let floored = of_one(shares).into_iter().map(|share| even + (1.0 - floor) * share);
        of_one(floored.zip(tasks).map(|(share, task)| share * task.weight).collect())
    }
}

/// Shares that add up to 1.
fn of_one(shares: Vec<f64>) -> Vec<f64> {
    let total: f64 = shares.iter().sum();
    shares.into_iter().map(|share| share / total).collect()
}

/// The draws of one epoch. All of it is in the checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Curriculum {
    probabilities: Vec<f64>,
    drawn: Vec<u64>,
    random: Random,
}

impl Curriculum {
    /// The start of `epoch`, in which task `i` has `probabilities[i]`.
    pub fn new(probabilities: Vec<f64>, seed: u64, epoch: usize) -> Self {
        let drawn = vec![0; probabilities.len()];
        // A stream of its own, away from those of the tasks' pairs.
        Self { probabilities, drawn, random: Random::derived(seed, &[u64::MAX, epoch as u64]) }
    }

    /// The task of the next batch.
    pub fn draw(&mut self) -> usize {
        let mut rest = self.random.unit();
        let mut task = self.probabilities.len().saturating_sub(1);
        for (i, probability) in self.probabilities.iter().enumerate() {
            rest -= probability;
            if rest < 0.0 {
                task = i;
                break;
            }
        }
        self.drawn[task] += 1;
        task
    }

    /// The probability of each task.
    pub fn probabilities(&self) -> &[f64] {
        &self.probabilities
    }

    /// The share of each task in the batches of this epoch so far.
    pub fn shares(&self) -> Vec<f64> {
        let total = self.drawn.iter().sum::<u64>().max(1) as f64;
        self.drawn.iter().map(|&n| n as f64 / total).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(tasks: &[(f64, usize)]) -> Vec<TaskFacts> {
        tasks.iter().map(|&(alignment, pairs)| TaskFacts { alignment, pairs, weight: 1.0 }).collect()
    }

    fn assert_close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?} for {expected:?}");
    }

    #[test]
    fn sigma_rises_from_the_first_epoch_to_the_last() {
        let cases =
            [(0, 3, 0.1), (1, 3, 0.55), (2, 3, 1.0), (7, 3, 1.0), (0, 1, 0.1), (1, 4, 0.4), (3, 4, 1.0)];
        for (epoch, epochs, expected) in cases {
            let sigma = Sampler::default().sigma(epoch, epochs).unwrap();
            assert!((sigma - expected).abs() < 1e-12, "{epoch} of {epochs}");
        }
    }

    #[test]
    fn probabilities_follow_the_table() {
        let tasks = facts(&[(0.8, 100), (0.6, 300), (0.5, 600)]);
        let pyramid = Sampler::default();
        // exp(0), exp(-2), exp(-3) over their sum; in the last epoch exp(0), exp(-0.2), exp(-0.3).
        assert_close(
            &pyramid.probabilities(0, 3, 0.0, &tasks),
            &[0.843_794_734_481_339, 0.114_195_199_384_594, 0.042_010_066_134_066],
        );
        assert_close(
            &pyramid.probabilities(2, 3, 0.0, &tasks),
            &[0.390_693_833_269_815, 0.319_873_056_335_919, 0.289_433_110_394_264],
        );
        assert_close(&Sampler::Uniform.probabilities(0, 3, 0.0, &tasks), &[1.0 / 3.0; 3]);
        assert_close(&Sampler::Proportional.probabilities(2, 3, 0.0, &tasks), &[0.1, 0.3, 0.6]);
        for sampler in [pyramid, Sampler::Uniform, Sampler::Proportional] {
            assert_close(&sampler.probabilities(0, 1, 0.0, &facts(&[(-0.9, 7)])), &[1.0]);
        }
        let extreme = Sampler::Pyramid { sigma_start: 1e-6, sigma_end: 1.0 };
        assert_close(&extreme.probabilities(0, 2, 0.0, &tasks), &[1.0, 0.0, 0.0]);
    }

    #[test]
    fn every_task_has_its_share_of_the_floor() {
        let tasks = facts(&[(0.8, 100), (0.6, 300), (0.5, 600)]);
        let extreme = Sampler::Pyramid { sigma_start: 1e-6, sigma_end: 1.0 };
        assert_close(&extreme.probabilities(0, 2, 0.3, &tasks), &[0.8, 0.1, 0.1]);
        assert_close(
            &Sampler::Proportional.probabilities(0, 2, 0.5, &tasks),
            &[0.65 / 3.0, 0.95 / 3.0, 1.4 / 3.0],
        );
        assert_close(&extreme.probabilities(0, 2, 1.0, &tasks), &[1.0 / 3.0; 3]);
        let flat = extreme.flattened();
        assert_close(&flat.probabilities(0, 2, 0.0, &tasks), &extreme.probabilities(1, 2, 0.0, &tasks));
    }

    #[test]
    fn weights_multiply_what_the_sampler_gives() {
        let mut tasks = facts(&[(0.8, 100), (0.6, 300), (0.5, 600)]);
        tasks[2].weight = 0.5;
        assert_close(
            &Sampler::Proportional.probabilities(0, 3, 0.0, &tasks),
            &[1.0 / 7.0, 3.0 / 7.0, 3.0 / 7.0],
        );
        assert_close(&Sampler::Uniform.probabilities(0, 3, 0.0, &tasks), &[0.4, 0.4, 0.2]);
        // exp(0), exp(-2) and half of exp(-3) over their sum.
        let pyramid = Sampler::default().probabilities(0, 3, 0.0, &tasks);
        assert_close(&pyramid, &[0.861_898_950_435_682, 0.116_645_338_578_552, 0.021_455_710_985_766]);
    }

    #[test]
    fn draws_follow_the_probabilities_and_repeat() {
        let mut curriculum = Curriculum::new(vec![0.7, 0.0, 0.3], 42, 0);
        let draws: Vec<usize> = (0..10_000).map(|_| curriculum.draw()).collect();
        let shares = curriculum.shares();
        assert!((shares[0] - 0.7).abs() < 0.02 && shares[1] == 0.0, "{shares:?}");
        let again = |seed, epoch| {
            let mut curriculum = Curriculum::new(vec![0.7, 0.0, 0.3], seed, epoch);
            (0..10_000).map(|_| curriculum.draw()).collect::<Vec<_>>()
        };
        assert_eq!(again(42, 0), draws);
        assert!(again(42, 1) != draws && again(43, 0) != draws);
        // The very first draws, written out: they must be the same on every platform.
        assert_eq!(draws[..12], [0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_saved_state_goes_on_with_the_same_draws() {
        let mut curriculum = Curriculum::new(vec![0.2, 0.3, 0.5], 1, 2);
        for _ in 0..17 {
            curriculum.draw();
        }
        let text = serde_json::to_string(&curriculum).unwrap();
        let mut resumed: Curriculum = serde_json::from_str(&text).unwrap();
        assert_eq!(resumed, curriculum);
        for _ in 0..100 {
            assert_eq!(resumed.draw(), curriculum.draw());
        }
        assert_eq!(resumed.shares(), curriculum.shares());
    }
}
