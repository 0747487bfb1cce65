//! A rotation that looks random and costs `n log n`: signs are changed at random and values mixed by a
//! Walsh-Hadamard transform, four times, in turns over the first and the last values where their number is no
//! power of two.

use super::bits_of;
use crate::random::Random;

/// Vectors that are turned together, one to a lane of the vector unit.
pub(super) const LANES: usize = 8;
/// One value of each of them.
pub(super) type Lanes = [f32; LANES];

const ROUNDS: usize = 4;
/// Codes on disk are made with it: it may never change.
const SEED: u64 = 0x6776_6563_6f64_6573;

/// The rotation of vectors of one width.
#[derive(Debug)]
pub(super) struct Rotation {
    /// Values of a round's mixing, a power of two.
    mixed: usize,
    /// A sign for each value and round.
    signs: Vec<f32>,
}

impl Rotation {
    pub(super) fn new(dim: usize) -> Self {
        let width = bits_of(dim);
        let mixed = 1 << width.ilog2();
        let mut random = Random::derived(SEED, &[width as u64]);
        let signs =
            (0..ROUNDS * width).map(|_| if random.next_u64() >> 63 == 0 { 1.0 } else { -1.0 }).collect();
        Self { mixed, signs }
    }

    /// Turns vectors in place, each continued by zeros to the width of the codes.
    #[inline(always)]
    pub(super) fn apply(&self, vectors: &mut [Lanes]) {
        let width = vectors.len();
        let scale = 1.0 / (self.mixed as f32).sqrt();
        for (round, signs) in self.signs.chunks_exact(width).enumerate() {
            for (value, sign) in vectors.iter_mut().zip(signs) {
                value.iter_mut().for_each(|x| *x *= sign);
            }
            let from = if round % 2 == 0 { 0 } else { width - self.mixed };
            let part = &mut vectors[from..from + self.mixed];
            hadamard(part);
            for value in part {
                value.iter_mut().for_each(|x| *x *= scale);
            }
        }
    }
}

/// The Walsh-Hadamard transform, unscaled, of a power of two of values.
#[inline(always)]
fn hadamard(values: &mut [Lanes]) {
    let mut half = 1;
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                for (a, b) in a.iter_mut().zip(b) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_products_stay_and_a_spike_is_spread() {
        for dim in [3, 512, 513, 1536, 2048, 3584] {
            let width = bits_of(dim);
            let mut vectors = vec![[0.0; LANES]; width];
            for (i, value) in vectors.iter_mut().take(dim).enumerate() {
                value[0] = ((i * 37 % 101) as f32 - 50.0) / 50.0;
                value[1] = ((i * 53 % 89) as f32 - 44.0) / 44.0;
            }
            vectors[dim / 2][2] = 1.0;
            let product = |vectors: &[Lanes], a: usize, b: usize| -> f64 {
                vectors.iter().map(|v| f64::from(v[a]) * f64::from(v[b])).sum()
            };
            let pairs = [(0, 0), (1, 1), (0, 1), (2, 2), (0, 2)];
            let before = pairs.map(|(a, b)| product(&vectors, a, b));
            Rotation::new(dim).apply(&mut vectors);
            for ((a, b), before) in pairs.into_iter().zip(before) {
                let after = product(&vectors, a, b);
                assert!((after - before).abs() < 1e-3 * (1.0 + before.abs()), "{dim}: {after} and {before}");
            }
            let largest = vectors.iter().map(|v| v[2].abs()).fold(0.0, f32::max);
            assert!(largest < 8.0 / (width as f32).sqrt(), "{dim}: {largest}");
        }
    }
}
