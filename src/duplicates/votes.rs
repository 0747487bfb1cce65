//! What pictures of two videos propose together.

use super::fingerprint::Fingerprint;

/// Speeds at which lines are looked for: so many times the one before, so many up and down.
const SPEED_STEP: f64 = 1.15;
const SPEED_STEPS: i32 = 4;
/// How far from a line its votes are, in seconds.
const NEAR_LINE: f64 = 0.5;

/// Two pictures that may be the same, the first of them through a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vote {
    pub(super) first: u32,
    pub(super) second: u32,
    pub(super) window: u8,
    /// How far their correlation is from 1, in thousandths.
    pub(super) unlike: u16,
}

impl Vote {
    /// How alike the pictures are.
    pub(super) fn weight(&self) -> f64 {
        1.0 - f64::from(self.unlike) / 1000.0
    }
}

/// How sure pictures of the first video are together whose votes lie on one line of time: 1 of each that counts
/// whole and is the same in both, hardly anything of those that are about as alike as unlike ones may be. Votes
/// come in order of these pictures.
pub(super) fn sure_on_a_line(votes: &[Vote], videos: [&Fingerprint; 2], weights: &[f32]) -> f32 {
    let times: Vec<(f64, f64)> = votes
        .iter()
        .map(|vote| (videos[0].seconds_of(vote.first), videos[1].seconds_of(vote.second)))
        .collect();
    let mut best = 0.0_f32;
    // Of each place and picture the surest vote first.
    let mut places: Vec<(i64, u32, u16)> = Vec::with_capacity(2 * votes.len());
    for step in -SPEED_STEPS..=SPEED_STEPS {
        let speed = SPEED_STEP.powi(step);
        places.clear();
        for (vote, (first, second)) in votes.iter().zip(&times) {
            // Places overlap by half.
            let place = ((second - speed * first) / NEAR_LINE).floor() as i64;
            places.extend([0, 1].map(|beside| (place + beside, vote.first, vote.unlike)));
        }
        places.sort_unstable();
        places.dedup_by_key(|(place, picture, _)| (*place, *picture));
        for same in places.chunk_by(|a, b| a.0 == b.0) {
            let sure = same.iter().map(|(_, picture, unlike)| weights[*picture as usize] * sureness(*unlike));
            best = best.max(sure.sum());
        }
    }
    best
}

/// 1 of what is the same, 0 of what correlates by a half.
fn sureness(unlike: u16) -> f32 {
    (1.0 - f32::from(unlike) / 500.0).max(0.0).powi(2)
}
