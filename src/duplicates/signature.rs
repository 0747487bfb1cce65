//! What of a picture is compared: its low frequencies, within a window.

use std::f32::consts::{PI, SQRT_2};
use std::sync::LazyLock;

use super::picture::{Picture, SIDE};

/// Frequencies across and down.
const FREQUENCIES: usize = 10;
const LENGTH: usize = FREQUENCIES * FREQUENCIES;
/// Greys vary by at least so much where there is something to see: the standard deviation, of 255.
const LEAST_DEVIATION: f32 = 3.0;
/// In pictures of the world amplitudes fall with the frequency: they are weighed by its power.
const WHITENING: f32 = 0.8;
/// What each coefficient is weighed by.
static WEIGHTS: LazyLock<[f32; LENGTH]> = LazyLock::new(|| {
    let frequency = |at: usize| ((at / FREQUENCIES) as f32).hypot((at % FREQUENCIES) as f32);
    std::array::from_fn(|at| frequency(at).powf(WHITENING))
});
/// Frequencies with room to whole vectors of a processor.
const ROW: usize = 12;
/// Sums of a dot product that do not wait for each other.
const LANES: usize = 20;

/// Cosine coefficients of a picture, by row of frequencies down, then across, as a vector of length 1. The
/// dot product of two is the correlation of what they are of: near 1 of versions of one picture, mostly
/// below 0.4 of others.
#[derive(Clone)]
pub(super) struct Signature(pub(super) [f32; LENGTH]);

/// A part of a picture, as shares of its sides.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    pub(super) left: f32,
    pub(super) right: f32,
    pub(super) top: f32,
    pub(super) bottom: f32,
}

impl Window {
    pub(super) const WHOLE: Self = Self { left: 0.0, right: 1.0, top: 0.0, bottom: 1.0 };

    /// Windows through which a picture is looked at for crops of it, the whole first. The others are 0.9 or
    /// 0.8 of both sides, or 0.75 of one.
    pub(super) fn crops() -> Vec<Self> {
        let mut windows = vec![Self::WHOLE];
        for (width, height) in [(0.9, 0.9), (0.8, 0.8), (0.75, 1.0), (1.0, 0.75)] {
            let places =
                |side: f32| if side < 1.0 { vec![0.0, (1.0 - side) / 2.0, 1.0 - side] } else { vec![0.0] };
            for left in places(width) {
                for top in places(height) {
                    windows.push(Self { left, right: left + width, top, bottom: top + height });
                }
            }
        }
        windows
    }
}

/// Cosines over a window, by cell of the picture and frequency.
pub(super) struct Basis {
    across: [[f32; ROW]; SIDE],
    down: [[f32; ROW]; SIDE],
}

impl Basis {
    pub(super) fn of(window: Window) -> Self {
        Self { across: cosines(window.left, window.right), down: cosines(window.top, window.bottom) }
    }

    /// `None` where there is nothing to see.
    pub(super) fn signature(&self, picture: &Picture) -> Option<Signature> {
        let mut rows = [[0.0; ROW]; FREQUENCIES];
        for (cells, down) in picture.chunks_exact(SIDE).zip(&self.down) {
            let mut row = [0.0; ROW];
            for (cell, across) in cells.iter().zip(&self.across) {
                let grey = f32::from(*cell);
                row.iter_mut().zip(across).for_each(|(sum, cosine)| *sum += grey * cosine);
            }
            for (values, down) in rows.iter_mut().zip(down) {
                values.iter_mut().zip(&row).for_each(|(sum, value)| *sum += down * value);
            }
        }
        let mut values: [f32; LENGTH] = std::array::from_fn(|at| rows[at / FREQUENCIES][at % FREQUENCIES]);
        values[0] = 0.0;
        let variance: f32 = values.iter().map(|value| value * value).sum();
        if variance < LEAST_DEVIATION * LEAST_DEVIATION {
            return None;
        }
        values.iter_mut().zip(WEIGHTS.iter()).for_each(|(value, weight)| *value *= weight);
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        Some(Signature(values.map(|value| value / length)))
    }
}

/// Orthonormal cosines over the part from `start` to `end`, averaged over each cell.
fn cosines(start: f32, end: f32) -> [[f32; ROW]; SIDE] {
    let width = end - start;
    let within = |edge: usize| ((edge as f32 / SIDE as f32).clamp(start, end) - start) / width;
    // The integral of each frequency's cosine up to an edge.
    let up_to = |edge: usize| -> [f32; ROW] {
        std::array::from_fn(|frequency| match frequency {
            0 => within(edge),
            1..FREQUENCIES => {
                let wave = PI * frequency as f32;
                SQRT_2 * (wave * within(edge)).sin() / wave
            }
            _ => 0.0,
        })
    };
    let mut before = up_to(0);
    std::array::from_fn(|cell| {
        let after = up_to(cell + 1);
        let cosines = std::array::from_fn(|frequency| after[frequency] - before[frequency]);
        before = after;
        cosines
    })
}

impl Signature {
    pub(super) const ZERO: Self = Self([0.0; LENGTH]);

    pub(super) fn dot(&self, other: &Self) -> f32 {
        // In lanes, which the compiler makes vectors of.
        let mut lanes = [0.0; LANES];
        for (a, b) in self.0.chunks_exact(LANES).zip(other.0.chunks_exact(LANES)) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
        }
        lanes.iter().sum()
    }

    /// That of the same picture, seen from behind.
    pub(super) fn mirrored(mut self) -> Self {
        self.0.iter_mut().skip(1).step_by(2).for_each(|value| *value = -*value);
        self
    }

    pub(super) fn add(&mut self, other: &Self, factor: f32) {
        self.0.iter_mut().zip(&other.0).for_each(|(sum, value)| *sum += factor * value);
    }

    /// The signs of the 64 lowest frequencies, the lowest in the lowest bits, and how large each value is.
    pub(super) fn code(&self, order: &Order) -> (u64, [f32; 64]) {
        let mut code = 0;
        let sizes = std::array::from_fn(|bit| {
            let value = self.0[order.0[bit]];
            code |= u64::from(value > 0.0) << bit;
            value.abs()
        });
        (code, sizes)
    }
}

/// A sum of many signatures.
pub(super) struct Sum([f64; LENGTH]);

impl Default for Sum {
    fn default() -> Self {
        Self([0.0; LENGTH])
    }
}

impl Sum {
    pub(super) fn add(&mut self, signature: &Signature) {
        self.0.iter_mut().zip(&signature.0).for_each(|(sum, value)| *sum += f64::from(*value));
    }

    pub(super) fn dot(&self, other: &Self) -> f64 {
        self.0.iter().zip(&other.0).map(|(a, b)| a * b).sum()
    }
}

/// A signature in a quarter of the memory, whose dot products are right to 0.01.
pub(super) struct SmallSignature([i8; LENGTH]);

impl SmallSignature {
    const SCALE: f32 = 127.0;

    pub(super) fn of(signature: &Signature) -> Self {
        Self(signature.0.map(|value| (value * Self::SCALE).round() as i8))
    }

    pub(super) fn dot(&self, other: &Signature) -> f32 {
        let mut lanes = [0.0; LANES];
        for (a, b) in self.0.chunks_exact(LANES).zip(other.0.chunks_exact(LANES)) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += f32::from(*a) * b);
        }
        lanes.iter().sum::<f32>() / Self::SCALE
    }
}

/// Places of the 64 lowest frequencies, from the lowest up.
pub(super) struct Order([usize; 64]);

impl Order {
    pub(super) fn new() -> Self {
        let mut places: Vec<usize> = (1..LENGTH).collect();
        let frequency = |at: usize| (at / FREQUENCIES).pow(2) + (at % FREQUENCIES).pow(2);
        places.sort_by_key(|at| (frequency(*at), *at));
        Self(std::array::from_fn(|bit| places[bit]))
    }
}
