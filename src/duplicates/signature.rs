//! What of a picture is compared: its low frequencies, within a window.

use std::f32::consts::{PI, SQRT_2};

use super::picture::{Picture, SIDE};

/// Frequencies across and down.
const FREQUENCIES: usize = 10;
const LENGTH: usize = FREQUENCIES * FREQUENCIES;
/// Greys vary by at least so much where there is something to see: the standard deviation, of 255.
const LEAST_DEVIATION: f32 = 3.0;
/// In pictures of the world amplitudes fall with the frequency: they are weighed by its power.
const WHITENING: f32 = 0.8;

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
    across: [[f32; FREQUENCIES]; SIDE],
    down: [[f32; FREQUENCIES]; SIDE],
}

impl Basis {
    pub(super) fn of(window: Window) -> Self {
        Self { across: cosines(window.left, window.right), down: cosines(window.top, window.bottom) }
    }

    /// `None` where there is nothing to see.
    pub(super) fn signature(&self, picture: &Picture) -> Option<Signature> {
        let mut values = [0.0; LENGTH];
        for (cells, down) in picture.chunks_exact(SIDE).zip(&self.down) {
            let mut row = [0.0; FREQUENCIES];
            for (cell, across) in cells.iter().zip(&self.across) {
                let grey = f32::from(*cell);
                row.iter_mut().zip(across).for_each(|(sum, cosine)| *sum += grey * cosine);
            }
            for (values, down) in values.chunks_exact_mut(FREQUENCIES).zip(down) {
                values.iter_mut().zip(&row).for_each(|(sum, value)| *sum += down * value);
            }
        }
        values[0] = 0.0;
        let variance: f32 = values.iter().map(|value| value * value).sum();
        if variance < LEAST_DEVIATION * LEAST_DEVIATION {
            return None;
        }
        for (at, value) in values.iter_mut().enumerate() {
            let (down, across) = ((at / FREQUENCIES) as f32, (at % FREQUENCIES) as f32);
            *value *= down.hypot(across).powf(WHITENING);
        }
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        Some(Signature(values.map(|value| value / length)))
    }
}

/// Orthonormal cosines over the part from `start` to `end`, averaged over each cell.
fn cosines(start: f32, end: f32) -> [[f32; FREQUENCIES]; SIDE] {
    let width = end - start;
    std::array::from_fn(|cell| {
        let within = |edge: usize| ((edge as f32 / SIDE as f32).clamp(start, end) - start) / width;
        let (from, to) = (within(cell), within(cell + 1));
        std::array::from_fn(|frequency| match frequency {
            0 => to - from,
            frequency => {
                let wave = PI * frequency as f32;
                SQRT_2 * ((wave * to).sin() - (wave * from).sin()) / wave
            }
        })
    })
}

impl Signature {
    pub(super) const ZERO: Self = Self([0.0; LENGTH]);

    pub(super) fn dot(&self, other: &Self) -> f32 {
        // In lanes, which the compiler makes vectors of.
        let mut lanes = [0.0; FREQUENCIES];
        for (a, b) in self.0.chunks_exact(FREQUENCIES).zip(other.0.chunks_exact(FREQUENCIES)) {
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
