use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decay {
    /// Half a cosine wave from the full rate to 0.
    #[default]
    Cosine,
    /// A straight line from the full rate to 0.
    Linear,
    /// It does not.
    Constant,
}

/// The learning rate of each step: a straight rise from 0 over the warm-up, then a decay over the rest. As
/// `get_cosine_schedule_with_warmup`, `get_linear_schedule_with_warmup` and
/// `get_constant_schedule_with_warmup` in transformers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// The rate at the end of the warm-up.
    pub learning_rate: f64,
    /// How it falls.
    pub decay: Decay,
    /// Steps of the warm-up; the rate of step 0 is 0 if there are any.
    pub warmup_steps: usize,
    /// Steps in all.
    pub total_steps: usize,
}

impl Schedule {
    /// The learning rate of `step`, from 0.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        let decaying = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / decaying as f64).min(1.0);
        let share = match self.decay {
            Decay::Cosine => 0.5 * (1.0 + (PI * progress).cos()),
            Decay::Linear => 1.0 - progress,
            Decay::Constant => 1.0,
        };
        self.learning_rate * share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_table() {
        #[rustfmt::skip]
        let cases = [
            // The reference's trajectory: cosine to 0 over six steps.
            (Decay::Cosine, 0, 6, vec![(0, 1.0), (1, 0.933_012_701_892_219_5), (2, 0.75), (3, 0.5), (4, 0.25), (5, 0.066_987_298_107_780_65), (6, 0.0)]),
            (Decay::Cosine, 2, 6, vec![(0, 0.0), (1, 0.5), (2, 1.0), (4, 0.5), (6, 0.0), (9, 0.0)]),
            (Decay::Linear, 4, 8, vec![(0, 0.0), (3, 0.75), (4, 1.0), (5, 0.75), (8, 0.0), (20, 0.0)]),
            (Decay::Constant, 2, 8, vec![(1, 0.5), (2, 1.0), (8, 1.0)]),
            (Decay::Linear, 5, 5, vec![(4, 0.8), (5, 1.0), (6, 0.0)]),
            (Decay::Cosine, 0, 0, vec![(0, 1.0)]),
        ];
        for (decay, warmup_steps, total_steps, expected) in cases {
            let schedule = Schedule { learning_rate: 2e-3, decay, warmup_steps, total_steps };
            for (step, share) in expected {
                let got = schedule.at(step);
                assert!((got - share * 2e-3).abs() < 1e-12, "{schedule:?} at {step}: {got}");
            }
        }
    }
}
