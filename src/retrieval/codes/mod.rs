//! One bit a dimension: small codes of vectors, over which a library that does not fit into memory is
//! searched before the best are scored exactly.
//!
//! A vector loses its set's mean, is turned by a [rotation](rotation), and of each of its values the sign is
//! kept, with two numbers from which an inner product is estimated without bias, and of known spread (RaBitQ,
//! Gao and Long, SIGMOD 2024, arXiv 2405.12497). Of 2048 dimensions 264 bytes of 8192 are left. A query keeps
//! 4 bits of each of its values, so that an estimate is a handful of logical operations and counts of bits
//! ([`scan`]).
//!
//! The rotation spreads a vector over all of its bits: any 512 of them are an estimate by themselves. They
//! lie apart ([`Layout`]), so that a first pass over all rows reads no more than 64 bytes of each.

mod encode;
mod file;
mod rotation;
mod scan;

use std::ops::Range;

pub(super) use encode::Encoder;
pub(super) use file::{read, write};
pub(super) use scan::{Estimate, SetQuery, TurnedQuery, estimates};

/// Bits of the first pass.
const STAGE_BITS: usize = 512;
/// The same in bytes.
const STAGE_BYTES: usize = STAGE_BITS / 8;

/// Bits of a code of vectors of width `dim`: what a first pass reads, as often as is needed.
fn bits_of(dim: usize) -> usize {
    dim.next_multiple_of(STAGE_BITS)
}

/// The codes of the rows of one segment.
#[derive(Debug)]
pub(super) struct CodeSet {
    /// Width of the vectors.
    dim: usize,
    rows: usize,
    /// Of what it was made.
    key: u64,
    /// What is taken off each vector, turned as they are.
    mean: Vec<f32>,
    /// The codes themselves, as [`Layout`] has them.
    body: Vec<u8>,
}

/// Where what lies in a body: of each row its numbers, of each row what the first pass reads, and of each row
/// the rest of its bits. All of it in the order of the smallest byte first.
#[derive(Debug, Clone, Copy)]
struct Layout {
    rows: usize,
    /// Bytes of a row behind those of the first pass.
    rest: usize,
}

/// Of each row two f32: by what the product of signs is multiplied, and what is added.
const NUMBERS: usize = 8;

impl Layout {
    fn new(rows: usize, dim: usize) -> Self {
        Self { rows, rest: bits_of(dim) / 8 - STAGE_BYTES }
    }

    fn numbers(self) -> Range<usize> {
        0..self.rows * NUMBERS
    }

    fn first(self) -> Range<usize> {
        let start = self.numbers().end;
        start..start + self.rows * STAGE_BYTES
    }

    fn rest(self) -> Range<usize> {
        let start = self.first().end;
        start..start + self.rows * self.rest
    }

    fn bytes(self) -> usize {
        self.rest().end
    }
}

impl CodeSet {
    /// Rows it has codes of.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// What tells of what they were made.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    fn layout(&self) -> Layout {
        Layout::new(self.rows, self.dim)
    }
}
