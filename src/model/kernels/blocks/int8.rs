//! Products of blocks of int8.

use std::arch::x86_64::*;

use super::super::amx::{TILE_ROWS, Tiles};
use super::super::int8::{GROUP_STEPS, STEP as INT8_STEP, round_to_int8};
use super::super::line::{BLOCK, Line};
use super::BLOCK_SUMS;

/// Rounds up to 32 rows of activations to int8, into one block of as many steps of 64 inputs as `lines` has room for,
/// from the step `first_step` on. Each row of a group of steps gets a scale. Rows and inputs past the end become
/// zero.
pub(super) fn pack_int8_activations(
    rows: &[f32],
    in_features: usize,
    first_step: usize,
    lines: &mut [Line],
    scales: &mut [f32],
) {
    let groups = lines.chunks_mut(GROUP_STEPS * BLOCK).zip(scales.chunks_exact_mut(BLOCK)).enumerate();
    for (group, (lines, scales)) in groups {
        let first = (first_step + group * GROUP_STEPS) * INT8_STEP;
        for (row, scale) in scales.iter_mut().enumerate() {
            let mut rounded = [0; GROUP_STEPS * INT8_STEP];
            let last = in_features.min(first + rounded.len());
            *scale = match rows.get(row * in_features..(row + 1) * in_features) {
                Some(values) => round_to_int8(&values[first..last], &mut rounded[..last - first]),
                None => 0.0,
            };
            let lines = lines.iter_mut().skip(row).step_by(BLOCK);
            for (line, rounded) in lines.zip(rounded.as_chunks::<INT8_STEP>().0) {
                *line = Line::of_bytes(rounded);
            }
        }
    }
}

/// Writes the product of a packed block of 32 rows of int8 with two panels of 16 outputs to `sums`, or adds it to what
/// is there: integers are summed over a group of steps, and groups times the rows' scales.
///
/// # Safety
/// `rows` and each of `panels` has `steps` steps, and there are scales for all groups. The processor has the unit,
/// whose tiles these are.
pub(super) unsafe fn multiply_int8(
    tiles: Option<&Tiles>,
    (rows, scales): (&[Line], &[f32]),
    panels: [*const i8; 2],
    steps: usize,
    add: bool,
    sums: &mut [f32; BLOCK_SUMS],
) {
    // SAFETY: as the caller says; tiles imply AVX512F.
    unsafe {
        match tiles {
            Some(tiles) => by_tiles(tiles, (rows, scales), panels, steps, add, sums),
            #[cfg(test)]
            None => emulated(rows, scales, panels, steps, add, sums),
            #[cfg(not(test))]
            None => {}
        }
    }
}

/// # Safety
/// As [`multiply_int8`].
#[target_feature(enable = "avx512f")]
unsafe fn by_tiles(
    tiles: &Tiles,
    (rows, scales): (&[Line], &[f32]),
    panels: [*const i8; 2],
    steps: usize,
    add: bool,
    sums: &mut [f32; BLOCK_SUMS],
) {
    let mut products = [[[0; TILE_ROWS]; TILE_ROWS]; 4];
    for (group, scales) in (0..steps).step_by(GROUP_STEPS).zip(scales.chunks_exact(BLOCK)) {
        let steps = GROUP_STEPS.min(steps - group);
        let panels = panels.map(|panel| panel.wrapping_add(group * INT8_STEP * TILE_ROWS));
        // SAFETY: as the caller says.
        unsafe { tiles.multiply_int8(rows[group * BLOCK..].as_ptr(), panels, steps, &mut products) };
        let fresh = group == 0 && !add;
        for (index, products) in products.iter().enumerate() {
            let (half, panel) = (index / 2, index % 2);
            for (row, products) in (half * TILE_ROWS..).zip(products) {
                let sum = sums[row * BLOCK + panel * TILE_ROWS..].as_mut_ptr();
                // SAFETY: there are sixteen values of each.
                unsafe {
                    let product = _mm512_cvtepi32_ps(_mm512_loadu_si512(products.as_ptr().cast()));
                    let scale = _mm512_set1_ps(scales[row]);
                    _mm512_storeu_ps(
                        sum,
                        match fresh {
                            true => _mm512_mul_ps(product, scale),
                            false => _mm512_fmadd_ps(product, scale, _mm512_loadu_ps(sum)),
                        },
                    );
                }
            }
        }
    }
}

/// # Safety
/// As [`multiply_int8`].
#[cfg(test)]
unsafe fn emulated(
    rows: &[Line],
    scales: &[f32],
    panels: [*const i8; 2],
    steps: usize,
    add: bool,
    sums: &mut [f32; BLOCK_SUMS],
) {
    for (index, sum) in sums.iter_mut().enumerate() {
        let (row, output) = (index / BLOCK, index % BLOCK);
        for group in 0..steps.div_ceil(GROUP_STEPS) {
            let mut product = 0;
            for step in group * GROUP_STEPS..steps.min((group + 1) * GROUP_STEPS) {
                for input in 0..INT8_STEP {
                    let x = rows[step * BLOCK + row].bytes()[input];
                    let at =
                        ((step * INT8_STEP + input) / 4 * TILE_ROWS + output % TILE_ROWS) * 4 + input % 4;
                    // SAFETY: within the steps of a panel (caller).
                    let weight = unsafe { panels[output / TILE_ROWS].add(at).read() };
                    product += i32::from(x) * i32::from(weight);
                }
            }
            let start = if group == 0 && !add { 0.0 } else { *sum };
            *sum = (product as f32).mul_add(scales[group * BLOCK + row], start);
        }
    }
}
