//! Products of blocks of 32 rows and 32 outputs, which linear layers are made of on x86-64.
//!
//! Activations are laid out once per call in blocks of 32 rows, weights once and for all in panels of 32 outputs
//! ([`F32Matrix`](super::F32Matrix), [`Bf16Matrix`](super::Bf16Matrix)) or 16 ([`Int8Matrix`](super::Int8Matrix)).
//! Tasks run blocks through what multiplies them fastest ([`Units`]):
//! - f32 by vectors of f32 ([`f32`]), and so are bf16 weights, widened, where nothing multiplies bf16;
//! - bf16 by the tile unit ([`amx`](super::amx)), or by `vdpbf16ps` where there is only AVX512-BF16, with sums in f32;
//! - f32 by the tile unit, too: cut into three parts of bf16 that add up to it ([`Parts`](super::amx::Parts));
//! - int8 by the tile unit, with activations rounded to int8.
//!
//! Weights that are multiplied as something else than they are stored as are cut or widened by each task as it goes,
//! which is little beside what it does with them.
//!
//! What limits all of these is how fast the caches hand over what they multiply. A task takes some rows and some
//! panels, and goes over the inputs in passes that are short enough for a panel's weights of a pass to stay in the
//! first-level cache, while the activations of all its rows stream by, which the second-level cache holds. Sums wait
//! from pass to pass in blocks of their own: in rows of the output, which lie apart by powers of two, they would push
//! each other out of the caches.
//!
//! The order of summation depends on the number of inputs alone, so a row's result is the same bit for bit
//! whatever rows are computed along with it and however many threads there are.

mod bf16;
mod f32;
mod int8;
mod layer;
mod layout;
mod units;

use super::activation::{Activation, activate, gate_by};
use super::amx::LINES_AHEAD;
use super::feed_forward::FeedForward;
use super::line::{BLOCK, Line};
use super::linear::{LinearRef, LinearShape, Products};
use super::parallel::SharedMut;
use super::scratch::resize_exact;
use super::simd::vectorised;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

pub(super) use bf16::{multiply, pack_activations, pack_weights};
use f32::multiply_f32;
use int8::multiply_int8;
use layer::{Layer, Weights};
use layout::{Activations, Layout, Operands};
pub(super) use units::{Bf16Unit, Units};
#[cfg(test)]
pub(super) use units::{F32Unit, Int8Unit};

/// Values of a block's sums.
const BLOCK_SUMS: usize = BLOCK * BLOCK;
/// Panels of a task at most: the more, the less often activations come from further away.
const PANELS_PER_TASK: usize = 16;

thread_local! {
    static ACTIVATIONS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static SCALES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static LINES_BETWEEN: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static SCALES_BETWEEN: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static VALUES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
    static WEIGHTS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static SUMS: Cell<Vec<Sums>> = const { Cell::new(Vec::new()) };
}

/// The sums of a block.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Sums([f32; BLOCK_SUMS]);

impl Sums {
    #[inline(always)]
    fn row(&self, index: usize) -> &[f32; BLOCK] {
        &self.0.as_chunks().0[index]
    }
}

/// `y = x * weight^T + bias` by one of `units`, and whether that was done: not where something else is faster. The
/// slices have the lengths of the shape and no dimension is 0.
///
/// # Safety
/// The processor has the units.
pub(super) unsafe fn linear(
    units: Units,
    x: &[f32],
    linear: LinearRef<'_>,
    products: Products,
    y: &mut [f32],
) -> bool {
    let Some(layer) = Layer::of(linear, products, units) else { return false };
    let (mut lines, mut scales) = (ACTIVATIONS.take(), SCALES.take());
    // SAFETY: the processor has the units (caller).
    unsafe {
        let activations = Activations::pack(x, layer.shape, layer.operands, &mut lines, &mut scales);
        let out = Output::Values(SharedMut::new(y));
        Product { activations, layer, gated: None, out }.compute();
    }
    ACTIVATIONS.set(lines);
    SCALES.set(scales);
    true
}

/// The feed-forward layer of the rows of `x` by one of `units`, and whether that was done, as [`linear`]. What is between
/// the layers goes to memory as the last one reads it, and nowhere else.
///
/// # Safety
/// As for [`linear`].
pub(super) unsafe fn feed_forward(
    units: Units,
    x: &[f32],
    layers: FeedForward<'_>,
    products: Products,
    y: &mut [f32],
) -> bool {
    let FeedForward { first, gated, activation, second } = layers;
    let layer = |linear| Layer::of(linear, products, units);
    let (Some(first), Some(second)) = (layer(first), layer(second)) else { return false };
    let operands = first.operands;
    let gated = match gated.map(layer) {
        Some(None) => return false,
        gated => gated.flatten(),
    };
    let alike = |layer: &Layer<'_>| layer.operands == operands;
    if !alike(&second) || !gated.as_ref().is_none_or(alike) {
        return false;
    }
    let (mut lines, mut scales) = (ACTIVATIONS.take(), SCALES.take());
    let (mut lines_between, mut scales_between) = (LINES_BETWEEN.take(), SCALES_BETWEEN.take());
    let layout = Layout::of(second.shape, operands);
    resize_exact(&mut lines_between, layout.lines(), Line::ZERO);
    resize_exact(&mut scales_between, layout.scales(), 0.0);
    // SAFETY: the processor has the units (caller).
    unsafe {
        let activations = Activations::pack(x, first.shape, operands, &mut lines, &mut scales);
        let (lines, scales) = (SharedMut::new(&mut lines_between), SharedMut::new(&mut scales_between));
        let out = Output::Packed { activation, layout, lines, scales };
        Product { activations, layer: first, gated, out }.compute();
        let activations = Activations { lines: &lines_between, scales: &scales_between, layout };
        let out = Output::Values(SharedMut::new(y));
        Product { activations, layer: second, gated: None, out }.compute();
    }
    ACTIVATIONS.set(lines);
    SCALES.set(scales);
    LINES_BETWEEN.set(lines_between);
    SCALES_BETWEEN.set(scales_between);
    true
}

/// Part `index` of `0..total` cut into `parts` nearly equal ranges.
fn share(total: usize, parts: usize, index: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

/// Where a product goes.
enum Output<'a> {
    /// Row by row.
    Values(SharedMut<'a, f32>),
    /// Through an activation to the packed input of the next layer.
    Packed { activation: Activation, layout: Layout, lines: SharedMut<'a, Line>, scales: SharedMut<'a, f32> },
}

impl Output<'_> {
    /// Panels that a task does not take one without the others of.
    fn panels_together(&self) -> usize {
        match self {
            Self::Values(_) => 1,
            Self::Packed { layout, .. } => layout.operands.panels_together(),
        }
    }
}

struct Product<'a> {
    activations: Activations<'a>,
    layer: Layer<'a>,
    /// A layer of the same shape that the activation of `layer` is multiplied with, on its way to packed lines.
    gated: Option<Layer<'a>>,
    out: Output<'a>,
}

impl Product<'_> {
    /// Computes all outputs.
    ///
    /// # Safety
    /// The processor has the units of the operands, only tiles have more than one part, and the output has room.
    unsafe fn compute(&self) {
        let Layout { blocks, .. } = self.activations.layout;
        let panels = self.layer.shape.out_features.div_ceil(BLOCK);
        let together = self.out.panels_together();
        let threads = rayon::current_num_threads();
        let row_tasks = self.activations.layout.row_tasks();
        // Where panels that belong together are too few for all threads, rows are shared out further.
        let row_tasks = match together {
            1 => row_tasks,
            _ => row_tasks.max((2 * threads).div_ceil(panels.div_ceil(together))).min(blocks),
        };
        let panel_tasks = (self.layers().count() * panels)
            .div_ceil(PANELS_PER_TASK)
            .max((2 * threads).div_ceil(row_tasks))
            .next_multiple_of(threads)
            .min(panels.div_ceil(together));
        (0..row_tasks * panel_tasks).into_par_iter().for_each(|task| {
            let blocks = share(blocks, row_tasks, task / panel_tasks);
            let some = share(panels.div_ceil(together), panel_tasks, task % panel_tasks);
            let panels = some.start * together..panels.min(some.end * together);
            // SAFETY: tasks have disjoint blocks of outputs, and the processor has the units (caller).
            unsafe { self.blocks(blocks, panels) };
        });
    }

    fn layers(&self) -> impl Iterator<Item = &Layer<'_>> {
        [Some(&self.layer), self.gated.as_ref()].into_iter().flatten()
    }

    /// Computes the outputs of some rows and panels.
    ///
    /// # Safety
    /// As [`Self::compute`], and no other thread touches these outputs.
    unsafe fn blocks(&self, blocks: Range<usize>, panels: Range<usize>) {
        let layout = self.activations.layout;
        let operands = layout.operands;
        let [_, of_weights] = operands.parts();
        // SAFETY: the unit is available (caller).
        let tiles = unsafe { operands.tiles() };
        let layers: Vec<&Layer<'_>> = self.layers().collect();
        let sums_per_panel = layers.len() * blocks.len();
        let (mut sums, mut cut) = (SUMS.take(), WEIGHTS.take());
        resize_exact(&mut sums, panels.len() * sums_per_panel, Sums([0.0; BLOCK_SUMS]));
        resize_exact(&mut cut, layout.steps_per_pass * of_weights * BLOCK, Line::ZERO);
        for pass in 0..layout.passes() {
            let (steps, add) = (layout.steps(pass), pass > 0);
            for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(sums_per_panel)) {
                for (index, sums) in sums.chunks_exact_mut(blocks.len()).enumerate() {
                    let blocks = blocks.clone().zip(sums);
                    if let Weights::Int8(matrix) = layers[index].weight {
                        let panels = matrix.tiles(panel, steps.start);
                        for (block, Sums(sums)) in blocks {
                            let rows = self.activations.block(pass, block);
                            let rows = (rows, self.activations.scales(pass, block));
                            // SAFETY: the unit is available (caller), and there are as many steps.
                            unsafe { multiply_int8(tiles.as_ref(), rows, panels, steps.len(), add, sums) };
                        }
                        continue;
                    }
                    let cut = &mut cut[..steps.len() * of_weights * BLOCK];
                    // SAFETY: the unit is available (caller).
                    let weights = unsafe { layers[index].weights(panel, &steps, cut) };
                    let next = match layers.get(index + 1) {
                        Some(layer) => layer.stored(panel, &steps),
                        None if panel + 1 < panels.end => self.layer.stored(panel + 1, &steps),
                        None => None,
                    };
                    let ahead = next.unwrap_or(weights);
                    for (index, (block, sums)) in blocks.enumerate() {
                        let rows = self.activations.block(pass, block);
                        // What a block fetches of them follows on what the one before did.
                        let weights = (weights, &ahead[index * LINES_AHEAD * steps.len() % ahead.len()..]);
                        // SAFETY: both hold as many steps, the unit is available, and there are 32 x 32 sums.
                        unsafe {
                            match operands {
                                Operands::F32(unit) => {
                                    multiply_f32(unit, (rows, self.num_rows(block)), weights, add, sums);
                                }
                                Operands::Bf16(_, parts) => {
                                    let sums = (sums.0.as_mut_ptr(), BLOCK);
                                    multiply(tiles.as_ref(), parts, rows, weights, add, sums);
                                }
                                // Above.
                                Operands::Int8(_) => {}
                            }
                        }
                    }
                }
                if pass + 1 == layout.passes()
                    && let Output::Packed { activation, layout: to, lines, scales } = &self.out
                {
                    let (sums, gated) = sums.split_at_mut(blocks.len());
                    for (index, (block, sums)) in blocks.clone().zip(sums).enumerate() {
                        let sums = &mut sums.0[..self.num_rows(block) * BLOCK];
                        self.activate(*activation, panel, sums, gated.get_mut(index));
                        if self.out.panels_together() == 1 {
                            // SAFETY: the lines of this block are this task's own (caller).
                            unsafe { to.pack(block, panel, (sums, BLOCK), (lines, scales)) };
                        }
                    }
                }
            }
        }
        for (index, block) in blocks.enumerate() {
            let of_panels = sums.chunks_exact(sums_per_panel).map(|sums| &sums[index]);
            // SAFETY: these outputs are this task's own (caller).
            unsafe {
                match &self.out {
                    Output::Values(y) => self.write(block, &panels, of_panels, y),
                    Output::Packed { layout: to, lines, scales, .. } if self.out.panels_together() > 1 => {
                        self.pack(block, &panels, of_panels, *to, (lines, scales));
                    }
                    Output::Packed { .. } => {}
                }
            }
        }
        SUMS.set(sums);
        WEIGHTS.set(cut);
    }

    /// Writes the outputs of a block of rows and some panels, whose sums are `of_panels`: row by row, for lines of the
    /// cache to be written whole.
    ///
    /// # Safety
    /// They lie within the outputs, and no other thread touches them.
    unsafe fn write<'a>(
        &self,
        block: usize,
        panels: &Range<usize>,
        of_panels: impl Iterator<Item = &'a Sums> + Clone,
        y: &SharedMut<'_, f32>,
    ) {
        let LinearShape { rows, out_features, .. } = self.layer.shape;
        let columns = panels.start * BLOCK..out_features.min(panels.end * BLOCK);
        vectorised(
            #[inline(always)]
            || {
                for (row, index) in (block * BLOCK..rows).zip(0..BLOCK) {
                    // SAFETY: these columns of this row lie within the outputs, and are the task's own (caller).
                    let y = unsafe {
                        let first = y.as_ptr().add(row * out_features + columns.start);
                        std::slice::from_raw_parts_mut(first, columns.len())
                    };
                    let sums = of_panels.clone().map(|sums| sums.row(index));
                    for (panel, (y, sums)) in panels.clone().zip(y.chunks_mut(BLOCK).zip(sums)) {
                        // Whole, without a call for so few values.
                        match <&mut [f32; BLOCK]>::try_from(&mut *y) {
                            Ok(y) => *y = *sums,
                            Err(_) => y.copy_from_slice(&sums[..y.len()]),
                        }
                        self.layer.finish(panel, y);
                    }
                }
            },
        );
    }

    /// Packs what the sums of a block of rows and some panels were made into, panels that belong together at a time.
    ///
    /// # Safety
    /// The lines and scales of this block and these panels are there, and no other thread touches them.
    unsafe fn pack<'a>(
        &self,
        block: usize,
        panels: &Range<usize>,
        mut of_panels: impl Iterator<Item = &'a Sums>,
        to: Layout,
        (lines, scales): (&SharedMut<'_, Line>, &SharedMut<'_, f32>),
    ) {
        let (rows, together) = (self.num_rows(block), to.operands.panels_together());
        let mut values = VALUES.take();
        for first in panels.clone().step_by(together) {
            let some = first..panels.end.min(first + together);
            let width = self.layer.shape.out_features.min(some.end * BLOCK) - first * BLOCK;
            resize_exact(&mut values, rows * width, 0.0);
            for (column, sums) in (0..width).step_by(BLOCK).zip(of_panels.by_ref().take(some.len())) {
                let columns = column..width.min(column + BLOCK);
                for (values, sums) in values.chunks_exact_mut(width).zip((0..BLOCK).map(|row| sums.row(row)))
                {
                    values[columns.clone()].copy_from_slice(&sums[..columns.len()]);
                }
            }
            // SAFETY: as the caller says.
            unsafe { to.pack(block, first, (&values, width), (lines, scales)) };
        }
        VALUES.set(values);
    }

    /// Rows of a block that there are.
    fn num_rows(&self, block: usize) -> usize {
        BLOCK.min(self.layer.shape.rows - block * BLOCK)
    }

    /// Sends the sums of rows of a block through the activation, and multiplies them with what they gate.
    fn activate(&self, activation: Activation, panel: usize, sums: &mut [f32], gated: Option<&mut Sums>) {
        let finish = |layer: &Layer<'_>, sums: &mut [f32]| {
            sums.chunks_exact_mut(BLOCK).for_each(|sums| layer.finish(panel, sums));
        };
        finish(&self.layer, sums);
        match (gated, &self.gated) {
            (Some(Sums(gated)), Some(layer)) => {
                let gated = &mut gated[..sums.len()];
                finish(layer, gated);
                gate_by(activation, sums, gated);
            }
            _ => activate(activation, sums),
        }
    }
}
