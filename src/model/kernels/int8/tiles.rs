//! Products of int8 by the tile unit, two tiles of rows with two panels at a time.

use std::arch::x86_64::*;
use std::cell::Cell;
use std::ops::Range;
use std::thread::LocalKey;

use super::super::amx::{self, TILE_ROWS, Tiles};
use super::block::{SPARE_I8, Unit};
use super::{GROUP, GROUP_LINES, Line, OUTPUTS, ROOM, Rows, STEP};

/// Rows of two tiles.
const PAIR: usize = 2 * TILE_ROWS;

/// A tile of sums.
type Sums = [[i32; OUTPUTS]; TILE_ROWS];

/// `tdpbssd`, which multiplies 16 rows of 64 inputs with a panel of them.
pub(super) struct Tiled;

impl Tiled {
    pub(super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512f") && amx::has_int8()
    }
}

impl Unit for Tiled {
    type Value = i8;
    const ROWS: usize = 128;
    const PANELS: usize = 2;
    const VALUES_PER_BLOCK: usize = 1 << 20;

    fn spare() -> &'static LocalKey<Cell<Rows<i8>>> {
        &SPARE_I8
    }

    unsafe fn multiply(rows: &Rows<i8>, some: Range<usize>, panels: &[Line], sums: &mut [[f32; OUTPUTS]]) {
        // SAFETY: as the caller says.
        unsafe { multiply(rows, some, panels, sums) };
    }
}

/// # Safety
/// As [`Unit::multiply`].
#[target_feature(enable = "avx512f")]
unsafe fn multiply(rows: &Rows<i8>, some: Range<usize>, panels: &[Line], out: &mut [[f32; OUTPUTS]]) {
    const { assert!(ROOM.is_multiple_of(TILE_ROWS) && OUTPUTS == TILE_ROWS) };
    // SAFETY: the processor has tiles (caller).
    let tiles = unsafe { Tiles::configure() };
    let lines = rows.width * OUTPUTS / size_of::<Line>();
    let (low, high) = panels.split_at(lines);
    // What is not there is multiplied all the same, and left.
    let high = if high.is_empty() { low } else { high };
    out.fill([0.0; OUTPUTS]);
    let mut sums = [[[0; OUTPUTS]; TILE_ROWS]; 4];
    // A group of the panels stays in the first-level cache.
    for group in 0..rows.width.div_ceil(GROUP) {
        let inputs = group * GROUP..rows.width.min((group + 1) * GROUP);
        let weights = [low, high].map(|panel| panel[group * GROUP_LINES..].as_ptr().cast());
        for first in some.clone().step_by(PAIR) {
            let second = if first + TILE_ROWS < some.end { first + TILE_ROWS } else { first };
            let x = [first, second].map(|row| rows.values[row * rows.width + inputs.start..].as_ptr());
            // SAFETY: a group has as many lines as inputs of four, and there is room for whole tiles of rows.
            unsafe { tiles.multiply_int8((x, rows.width), weights, inputs.len() / STEP, &mut sums) };
            for (panel, totals) in out.chunks_mut(some.len()).enumerate() {
                for (half, start) in (first..some.end.min(first + PAIR)).step_by(TILE_ROWS).enumerate() {
                    let totals = totals[start - some.start..].iter_mut().take(TILE_ROWS);
                    let scales = (start..).map(|row| rows.groups(row)[group].0);
                    add_scaled(&sums[2 * half + panel], scales, totals);
                }
            }
        }
    }
}

/// Adds sums, times the scales of their rows, to `totals`.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_scaled<'a>(
    sums: &Sums,
    scales: impl Iterator<Item = f32>,
    totals: impl Iterator<Item = &'a mut [f32; OUTPUTS]>,
) {
    for ((total, sums), scale) in totals.zip(sums).zip(scales) {
        // SAFETY: there are sixteen values of each.
        unsafe {
            let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.as_ptr().cast()));
            let sum = _mm512_fmadd_ps(sum, _mm512_set1_ps(scale), _mm512_loadu_ps(total.as_ptr()));
            _mm512_storeu_ps(total.as_mut_ptr(), sum);
        }
    }
}
