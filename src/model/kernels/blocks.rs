//! Products of blocks of 32 rows and 32 outputs, which linear layers are made of on x86-64.
//!
//! Activations are laid out once per call in blocks of 32 rows, weights once and for all in panels of 32 outputs
//! ([`F32Matrix`], [`Bf16Matrix`]). Tasks run blocks through what multiplies them fastest ([`Units`]):
//! - f32 by vectors of f32 ([`f32`]), and so are bf16 weights, widened, where nothing multiplies bf16;
//! - bf16 by the tile unit ([`amx`](super::amx)), or by `vdpbf16ps` where there is only AVX512-BF16, with sums in f32;
//! - f32 by the tile unit, too: cut into three parts of bf16 that add up to it ([`Parts`]);
//! - int8 by the tile unit ([`Int8Matrix`]), with activations rounded to int8.
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
mod layout;
mod units;

use super::activation::{Activation, activate, gate_by};
use super::amx::{self, LINES_AHEAD, Parts};
use super::bf16_matrix::Bf16Matrix;
use super::f32_matrix::F32Matrix;
use super::feed_forward::FeedForward;
use super::int8::Int8Matrix;
use super::line::{BLOCK, HALF, Line};
use super::linear::{LinearRef, LinearShape, Products, WeightRef};
use super::parallel::SharedMut;
use super::scratch::resize_exact;
use super::simd::vectorised;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

pub(super) use bf16::{multiply, pack_activations, pack_weights};
use bf16::{multiply_int8, pack_f32_weights};
use f32::multiply_f32;
use layout::{Activations, Layout, Operands};
#[cfg(test)]
pub(super) use units::F32Unit;
pub(super) use units::{Bf16Unit, Units};

/// Values of a block's sums.
const BLOCK_SUMS: usize = BLOCK * BLOCK;
/// Rows for which cutting f32 weights costs more than it saves.
const FEW_ROWS: usize = BLOCK;
/// Panels of a task at most: the more, the less often activations come from further away.
const PANELS_PER_TASK: usize = 16;

thread_local! {
    static ACTIVATIONS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static BETWEEN: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static SCALES: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
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

/// Weights that are multiplied here.
#[derive(Clone, Copy)]
enum Weights<'a> {
    Bf16(&'a Bf16Matrix),
    F32(&'a F32Matrix),
    /// `[in, out]`.
    F32Rows(&'a [f32]),
    Int8(&'a Int8Matrix),
}

/// A layer, and what it is multiplied as.
struct Layer<'a> {
    weight: Weights<'a>,
    operands: Operands,
    bias: Option<&'a [f32]>,
    shape: LinearShape,
}

impl<'a> Layer<'a> {
    /// The layer as one of `units` multiplies it, where that is the fastest.
    fn of(
        LinearRef { weight, bias, shape }: LinearRef<'a>,
        products: Products,
        units: Units,
    ) -> Option<Self> {
        let cuts = units.bf16 == Some(Bf16Unit::Tiles) && shape.rows > FEW_ROWS;
        let f32 = |cut| match cut {
            true => Some(Operands::Bf16(Bf16Unit::Tiles, Parts::Both)),
            false => units.f32.map(Operands::F32),
        };
        let bf16 = || {
            let unit = units.bf16?;
            Some(Operands::Bf16(unit, unit.parts(products)?))
        };
        let (weight, operands) = match weight {
            WeightRef::PackedBf16(matrix) => (Weights::Bf16(matrix), bf16().or_else(|| f32(false))?),
            WeightRef::PackedF32(matrix) => (Weights::F32(matrix), f32(cuts)?),
            WeightRef::F32(values) if cuts => (Weights::F32Rows(values), f32(true)?),
            WeightRef::Int8(matrix) if units.bf16 == Some(Bf16Unit::Tiles) && amx::has_int8() => {
                (Weights::Int8(matrix), Operands::Int8)
            }
            _ => return None,
        };
        Some(Self { weight, operands, bias, shape })
    }

    /// The weights of a panel over some steps, where they are stored as they are multiplied.
    fn stored(&self, panel: usize, steps: &Range<usize>) -> Option<&'a [Line]> {
        match (self.weight, self.operands) {
            (Weights::Bf16(matrix), Operands::Bf16(..)) => Some(matrix.steps(panel, steps)),
            (Weights::F32(matrix), Operands::F32(_)) => Some(matrix.steps(panel, steps)),
            _ => None,
        }
    }

    /// The weights of a panel over some steps as they are multiplied, in `cut` where they are stored otherwise; not of
    /// int8.
    ///
    /// # Safety
    /// The processor has the unit of the operands.
    unsafe fn weights<'b>(&self, panel: usize, steps: &Range<usize>, cut: &'b mut [Line]) -> &'b [Line]
    where
        'a: 'b,
    {
        if let Some(stored) = self.stored(panel, steps) {
            return stored;
        }
        // SAFETY: what cuts f32 implies AVX512F, BW and BF16.
        unsafe {
            match self.weight {
                Weights::Bf16(matrix) => matrix.widen_steps(panel, steps.start, cut),
                Weights::F32(matrix) => {
                    let row = |input, half| matrix.row(panel, half, input).map(|row| &row[..]);
                    pack_f32_weights(row, steps.clone(), cut);
                }
                Weights::F32Rows(values) => {
                    let outputs = self.shape.out_features;
                    let row = |input: usize, half: usize| {
                        let first = panel * BLOCK + half * HALF;
                        let len = outputs.saturating_sub(first).min(HALF);
                        values.get(input * outputs + first..input * outputs + first + len)
                    };
                    pack_f32_weights(row, steps.clone(), cut);
                }
                Weights::Int8(_) => {}
            }
        }
        cut
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
    // A scale of int8 is that of several panels.
    if operands == Operands::Int8 || !alike(&second) || !gated.as_ref().is_none_or(alike) {
        return false;
    }
    let (mut lines, mut scales, mut between) = (ACTIVATIONS.take(), SCALES.take(), BETWEEN.take());
    let layout = Layout::of(second.shape, operands);
    resize_exact(&mut between, layout.lines(), Line::ZERO);
    // SAFETY: the processor has the units (caller).
    unsafe {
        let activations = Activations::pack(x, first.shape, operands, &mut lines, &mut scales);
        let out = Output::Packed(activation, layout, SharedMut::new(&mut between));
        Product { activations, layer: first, gated, out }.compute();
        let activations = Activations { lines: &between, scales: &[], layout };
        let out = Output::Values(SharedMut::new(y));
        Product { activations, layer: second, gated: None, out }.compute();
    }
    ACTIVATIONS.set(lines);
    SCALES.set(scales);
    BETWEEN.set(between);
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
    Packed(Activation, Layout, SharedMut<'a, Line>),
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
        let threads = rayon::current_num_threads();
        let row_tasks = self.activations.layout.row_tasks();
        let panel_tasks = (self.layers().count() * panels)
            .div_ceil(PANELS_PER_TASK)
            .max((2 * threads).div_ceil(row_tasks))
            .next_multiple_of(threads)
            .min(panels);
        (0..row_tasks * panel_tasks).into_par_iter().for_each(|task| {
            let blocks = share(blocks, row_tasks, task / panel_tasks);
            let panels = share(panels, panel_tasks, task % panel_tasks);
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
        let tiles = operands.bf16_unit().and_then(|unit| unsafe { unit.tiles() });
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
                            if let Some(tiles) = &tiles {
                                // SAFETY: tiles are of int8 where such weights are; there are as many steps.
                                unsafe { multiply_int8(tiles, rows, panels, steps.len(), add, sums) };
                            }
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
                                Operands::Int8 => {}
                            }
                        }
                    }
                }
                if pass + 1 == layout.passes()
                    && let Output::Packed(activation, to, lines) = &self.out
                {
                    let (sums, gated) = sums.split_at_mut(blocks.len());
                    for (index, (block, sums)) in blocks.clone().zip(sums).enumerate() {
                        let sums = &mut sums.0[..self.num_rows(block) * BLOCK];
                        self.activate(*activation, panel, sums, gated.get_mut(index));
                        // SAFETY: the lines of this block are this task's own (caller).
                        unsafe { to.pack(block, panel, sums, lines) };
                    }
                }
            }
        }
        if let Output::Values(y) = &self.out {
            for (index, block) in blocks.enumerate() {
                let of_panels = sums.chunks_exact(sums_per_panel).map(|sums| &sums[index]);
                // SAFETY: these outputs are this task's own (caller).
                unsafe { self.write(block, &panels, of_panels, y) };
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
        let bias = self.layer.bias.map(|bias| &bias[columns.clone()]);
        let scales = match self.layer.weight {
            Weights::Int8(matrix) => Some(&matrix.scales()[columns.clone()]),
            _ => None,
        };
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
                    for (panel, (y, sums)) in y.chunks_mut(BLOCK).zip(sums).enumerate() {
                        // Whole, without a call for so few values.
                        match <&mut [f32; BLOCK]>::try_from(&mut *y) {
                            Ok(y) => *y = *sums,
                            Err(_) => y.copy_from_slice(&sums[..y.len()]),
                        }
                        if let Some(scales) = scales {
                            y.iter_mut().zip(&scales[panel * BLOCK..]).for_each(|(y, scale)| *y *= scale);
                        }
                        if let Some(bias) = bias {
                            y.iter_mut().zip(&bias[panel * BLOCK..]).for_each(|(y, bias)| *y += bias);
                        }
                    }
                }
            },
        );
    }

    /// Rows of a block that there are.
    fn num_rows(&self, block: usize) -> usize {
        BLOCK.min(self.layer.shape.rows - block * BLOCK)
    }

    /// Sends the sums of rows of a block through the activation, and multiplies them with what they gate.
    fn activate(&self, activation: Activation, panel: usize, sums: &mut [f32], gated: Option<&mut Sums>) {
        let add_bias = |layer: &Layer<'_>, sums: &mut [f32]| {
            let Some(bias) = layer.bias else { return };
            let bias = &bias[panel * BLOCK..];
            for sums in sums.chunks_exact_mut(BLOCK) {
                sums.iter_mut().zip(bias).for_each(|(sum, bias)| *sum += bias);
            }
        };
        add_bias(&self.layer, sums);
        match (gated, &self.gated) {
            (Some(Sums(gated)), Some(layer)) => {
                let gated = &mut gated[..sums.len()];
                add_bias(layer, gated);
                gate_by(activation, sums, gated);
            }
            _ => activate(activation, sums),
        }
    }
}
