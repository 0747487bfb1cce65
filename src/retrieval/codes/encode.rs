//! From vectors to codes.

use pulp::Arch;
use rayon::prelude::*;

use super::rotation::{LANES, Lanes, Rotation};
use super::{CodeSet, Layout, NUMBERS, STAGE_BYTES, bits_of};

/// Vectors that wait to be encoded together, in parts for all threads.
const BATCH: usize = 64 * LANES;

/// Makes the codes of vectors as they come.
pub(in super::super) struct Encoder {
    dim: usize,
    rotation: Rotation,
    mean: Vec<f32>,
    numbers: Vec<u8>,
    first: Vec<u8>,
    rest: Vec<u8>,
    waiting: Vec<f32>,
}

/// What is kept of a vector.
struct Code {
    numbers: [u8; NUMBERS],
    bits: Vec<u8>,
}

impl Encoder {
    /// For vectors of width `dim`. `mean` is that of all of them, or of some: the nearer to it they lie, the
    /// better estimates are.
    pub(in super::super) fn new(dim: usize, mean: &[f32]) -> Self {
        let rotation = Rotation::new(dim);
        let mut turned = vec![[0.0; LANES]; bits_of(dim)];
        for (turned, value) in turned.iter_mut().zip(mean) {
            turned[0] = *value;
        }
        rotation.apply(&mut turned);
        Self {
            dim,
            rotation,
            mean: turned.iter().map(|lanes| lanes[0]).collect(),
            numbers: Vec::new(),
            first: Vec::new(),
            rest: Vec::new(),
            waiting: Vec::with_capacity(BATCH * dim),
        }
    }

    /// The next vector, which is `dim` wide.
    pub(in super::super) fn push(&mut self, vector: &[f32]) {
        self.waiting.extend_from_slice(vector);
        if self.waiting.len() >= BATCH * self.dim {
            self.encode_waiting();
        }
    }

    /// The codes of all vectors. `key` tells of what they were made.
    pub(in super::super) fn finish(mut self, key: u64) -> CodeSet {
        self.encode_waiting();
        let Self { dim, mean, numbers: mut body, mut first, mut rest, .. } = self;
        let rows = body.len() / NUMBERS;
        body.reserve_exact(Layout::new(rows, dim).bytes() - body.len());
        body.append(&mut first);
        body.append(&mut rest);
        CodeSet { dim, rows, key, mean, body }
    }

    fn encode_waiting(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let arch = Arch::new();
        let codes: Vec<Vec<Code>> = waiting
            .par_chunks(LANES * self.dim)
            .map(|vectors| arch.dispatch(|| self.encode(vectors)))
            .collect();
        for code in codes.into_iter().flatten() {
            self.numbers.extend_from_slice(&code.numbers);
            let (first, rest) = code.bits.split_at(STAGE_BYTES);
            self.first.extend_from_slice(first);
            self.rest.extend_from_slice(rest);
        }
        self.waiting = waiting;
        self.waiting.clear();
    }

    /// The codes of at most [`LANES`] vectors.
    #[inline(always)]
    fn encode(&self, vectors: &[f32]) -> Vec<Code> {
        let mut turned = vec![[0.0; LANES]; bits_of(self.dim)];
        for (lane, vector) in vectors.chunks_exact(self.dim).enumerate() {
            for (turned, value) in turned.iter_mut().zip(vector) {
                turned[lane] = *value;
            }
        }
        self.rotation.apply(&mut turned);
        let mut sums = Sums::default();
        let mut bits = vec![[0_u64; LANES]; turned.len() / 64];
        for ((word, values), means) in
            bits.iter_mut().zip(turned.chunks_exact(64)).zip(self.mean.chunks_exact(64))
        {
            for (place, (values, &mean)) in values.iter().zip(means).enumerate() {
                sums.add(word, values, mean, place);
            }
        }
        let lanes = 0..vectors.len() / self.dim;
        let bits = |lane: usize| bits.iter().flat_map(|word| word[lane].to_le_bytes()).collect();
        let code = |lane| Code { numbers: sums.numbers(lane), bits: bits(lane) };
        lanes.map(code).collect()
    }
}

/// What the numbers of [`LANES`] vectors are made of.
#[derive(Default)]
struct Sums {
    squares: Lanes,
    magnitudes: Lanes,
    with_mean: Lanes,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, word: &mut [u64; LANES], values: &Lanes, mean: f32, place: usize) {
        for lane in 0..LANES {
            let value = values[lane] - mean;
            word[lane] |= u64::from(value >= 0.0) << place;
            self.squares[lane] += value * value;
            self.magnitudes[lane] += value.abs();
            self.with_mean[lane] += value * mean;
        }
    }

    /// By what the product of signs is multiplied, and what is added.
    fn numbers(&self, lane: usize) -> [u8; NUMBERS] {
        let magnitude = self.magnitudes[lane];
        let scale = if magnitude > 0.0 { self.squares[lane] / magnitude } else { 0.0 };
        let mut numbers = [0; NUMBERS];
        numbers[..4].copy_from_slice(&scale.to_le_bytes());
        numbers[4..].copy_from_slice(&self.with_mean[lane].to_le_bytes());
        numbers
    }
}
