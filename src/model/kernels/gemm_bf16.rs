//! Linear layers on processors that multiply bf16.
//!
//! Activations are rounded to bf16 once per call and laid out in blocks of 32 rows. Weights in bf16 are laid out
//! in panels of 32 outputs ([`Bf16Matrix`]). Tasks run blocks of 32 x 32 outputs through one of two block products:
//! the tile unit ([`amx`](super::amx)), or `vdpbf16ps` where there is only AVX512-BF16. Sums are kept in f32.
//!
//! The tile unit multiplies f32 as well, faster than vectors do: cut into three parts of bf16 that add up to it
//! ([`Parts`]). Tasks cut weights in f32 as they go, which is little beside what they do with them. Weights in int8
//! ([`Int8Matrix`]) go the same way, with activations rounded to int8.
//!
//! What limits the tile unit is how fast the second-level cache hands over what it multiplies. A task takes some
//! rows and some panels, and goes over the inputs in passes that are short enough for a panel's weights of a pass
//! to stay in the first-level cache, while the activations of all its rows stream by, which the second-level
//! cache holds. Sums wait from pass to pass in blocks of their own: in rows of the output, which lie apart by
//! powers of two, they would push each other out of the caches.
//!
//! The order of summation depends on the number of inputs alone, so a row's result is the same bit for bit
//! whatever rows are computed along with it and however many threads there are.

mod block;
mod layout;

use super::activation::{Activation, activate, gate_by};
use super::amx::{self, LINES_AHEAD, Parts, Tiles};
use super::bf16_matrix::{BLOCK, Bf16Matrix, Line};
use super::feed_forward::FeedForward;
use super::int8::Int8Matrix;
use super::linear::{LinearRef, LinearShape, Products, WeightRef};
use super::parallel::SharedMut;
use super::scratch::resize_exact;
use super::simd::vectorised;
use rayon::prelude::*;
use std::cell::Cell;
use std::ops::Range;

pub(super) use block::{multiply, pack_activations, pack_weights};
use block::{multiply_int8, pack_f32_weights};
use layout::{Activations, Layout, Operands};

/// Steps of all rows of a task in a pass at most, those of all parts counted: 768 KiB, less than half of the
/// second-level cache.
const STEPS_PER_TASK: usize = 384;
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
struct Sums([f32; BLOCK * BLOCK]);

impl Sums {
    #[inline(always)]
    fn row(&self, index: usize) -> &[f32; BLOCK] {
        &self.0.as_chunks().0[index]
    }
}

/// Which block product to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bf16Unit {
    Tiles,
    Vectors,
}

impl Bf16Unit {
    /// Units of this processor, the fastest first.
    pub(super) fn available() -> Vec<Self> {
        let vectors = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512bf16");
        let mut units = Vec::new();
        if vectors && amx::has_bf16() {
            units.push(Self::Tiles);
        }
        if vectors {
            units.push(Self::Vectors);
        }
        units
    }

    /// The fastest unit, found once.
    pub(super) fn best() -> Option<Self> {
        static BEST: std::sync::OnceLock<Option<Bf16Unit>> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().first().copied())
    }

    /// What this unit cuts the operands of `products` with bf16 weights into; `None` where vectors of f32 are
    /// faster.
    pub(super) fn parts(self, products: Products) -> Option<Parts> {
        match (products, self) {
            (Products::Rounded, _) => Some(Parts::One),
            (Products::Exact, Self::Tiles) => Some(Parts::Activations),
            (Products::Exact, Self::Vectors) => None,
        }
    }

    /// The tiles of this thread, if this is the tile unit.
    ///
    /// # Safety
    /// It is one of [`available`](Self::available).
    pub(super) unsafe fn tiles(self) -> Option<Tiles> {
        // SAFETY: as the caller says.
        (self == Self::Tiles).then(|| unsafe { Tiles::configure() })
    }
}

/// Weights that are multiplied here.
#[derive(Clone, Copy)]
enum Weights<'a> {
    /// With what steps are cut into.
    Bf16(&'a Bf16Matrix, Parts),
    /// `[in, out]`, for tiles alone.
    F32(&'a [f32]),
    /// For tiles alone.
    Int8(&'a Int8Matrix),
}

impl Weights<'_> {
    fn operands(self) -> Operands {
        match self {
            Self::Bf16(_, parts) => Operands::Bf16(parts),
            Self::F32(_) => Operands::Bf16(Parts::Both),
            Self::Int8(_) => Operands::Int8,
        }
    }
}

type Layer<'a> = LinearRef<'a, Weights<'a>>;

/// A layer as `unit` multiplies it, where it is the fastest.
fn layer<'a>(
    LinearRef { weight, bias, shape }: LinearRef<'a>,
    products: Products,
    unit: Bf16Unit,
) -> Option<Layer<'a>> {
    let weight = match (weight, unit) {
        (WeightRef::PackedBf16(matrix), _) => Weights::Bf16(matrix, unit.parts(products)?),
        (WeightRef::F32(values), Bf16Unit::Tiles) if shape.rows > FEW_ROWS => Weights::F32(values),
        (WeightRef::Int8(matrix), Bf16Unit::Tiles) if amx::has_int8() => Weights::Int8(matrix),
        _ => return None,
    };
    Some(LinearRef { weight, bias, shape })
}

/// `y = x * weight^T + bias` on `unit`, and whether that was done: not where something else is faster. The slices
/// have the lengths of the shape and no dimension is 0.
///
/// # Safety
/// `unit` is one of [`Bf16Unit::available`].
pub(super) unsafe fn linear(
    unit: Bf16Unit,
    x: &[f32],
    linear: LinearRef<'_>,
    products: Products,
    y: &mut [f32],
) -> bool {
    let Some(layer) = layer(linear, products, unit) else { return false };
    let (mut lines, mut scales) = (ACTIVATIONS.take(), SCALES.take());
    // SAFETY: the unit is available (caller).
    unsafe {
        let activations = Activations::pack(x, layer.shape, layer.weight.operands(), &mut lines, &mut scales);
        let out = Output::Values(SharedMut::new(y));
        Product { unit, activations, layer, gated: None, out }.compute();
    }
    ACTIVATIONS.set(lines);
    SCALES.set(scales);
    true
}

/// The feed-forward layer of the rows of `x` on `unit`, and whether that was done, as [`linear`]. What is between
/// the layers goes to memory as the last one reads it, and nowhere else.
///
/// # Safety
/// As for [`linear`].
pub(super) unsafe fn feed_forward(
    unit: Bf16Unit,
    x: &[f32],
    layers: FeedForward<'_>,
    products: Products,
    y: &mut [f32],
) -> bool {
    let FeedForward { first, gated, activation, second } = layers;
    let layer = |linear| layer(linear, products, unit);
    let (Some(first), Some(second)) = (layer(first), layer(second)) else { return false };
    let operands = first.weight.operands();
    let gated = match gated.map(layer) {
        Some(None) => return false,
        gated => gated.flatten(),
    };
    let alike = |layer: &Layer<'_>| layer.weight.operands() == operands;
    // A scale of int8 is that of several panels.
    if operands == Operands::Int8 || !alike(&second) || !gated.as_ref().is_none_or(alike) {
        return false;
    }
    let (mut lines, mut scales, mut between) = (ACTIVATIONS.take(), SCALES.take(), BETWEEN.take());
    let layout = Layout::of(second.shape, operands);
    resize_exact(&mut between, layout.lines(), Line::ZERO);
    // SAFETY: the unit is available (caller).
    unsafe {
        let activations = Activations::pack(x, first.shape, operands, &mut lines, &mut scales);
        let out = Output::Packed(activation, layout, SharedMut::new(&mut between));
        Product { unit, activations, layer: first, gated, out }.compute();
        let activations = Activations { lines: &between, scales: &[], layout };
        let out = Output::Values(SharedMut::new(y));
        Product { unit, activations, layer: second, gated: None, out }.compute();
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
    unit: Bf16Unit,
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
    /// The unit is available, only tiles have more than one part, and the output has room.
    unsafe fn compute(&self) {
        let Layout { operands, blocks, steps_per_pass, .. } = self.activations.layout;
        let panels = self.layer.shape.out_features.div_ceil(BLOCK);
        let threads = rayon::current_num_threads();
        let row_tasks = (blocks * steps_per_pass * operands.parts()[0]).div_ceil(STEPS_PER_TASK).min(blocks);
        let panel_tasks = (self.layers().count() * panels)
            .div_ceil(PANELS_PER_TASK)
            .max((2 * threads).div_ceil(row_tasks))
            .next_multiple_of(threads)
            .min(panels);
        (0..row_tasks * panel_tasks).into_par_iter().for_each(|task| {
            let blocks = share(blocks, row_tasks, task / panel_tasks);
            let panels = share(panels, panel_tasks, task % panel_tasks);
            // SAFETY: tasks have disjoint blocks of outputs, and the unit is available (caller).
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
        let [_, of_weights] = layout.operands.parts();
        // SAFETY: the unit is available (caller).
        let tiles = unsafe { self.unit.tiles() };
        let layers: Vec<&Layer<'_>> = self.layers().collect();
        let sums_per_panel = layers.len() * blocks.len();
        let (mut sums, mut cut) = (SUMS.take(), WEIGHTS.take());
        resize_exact(&mut sums, panels.len() * sums_per_panel, Sums([0.0; BLOCK * BLOCK]));
        resize_exact(&mut cut, layout.steps_per_pass * of_weights * BLOCK, Line::ZERO);
        for pass in 0..layout.passes() {
            let steps = layout.steps(pass);
            for (panel, sums) in panels.clone().zip(sums.chunks_exact_mut(sums_per_panel)) {
                for (index, sums) in sums.chunks_exact_mut(blocks.len()).enumerate() {
                    let (weights, parts) = match layers[index].weight {
                        Weights::Bf16(matrix, parts) => (matrix.steps(panel, &steps), parts),
                        Weights::F32(values) => {
                            let cut = &mut cut[..steps.len() * of_weights * BLOCK];
                            let outputs = self.layer.shape.out_features;
                            // SAFETY: any unit implies AVX512F, BW and BF16.
                            unsafe { pack_f32_weights(values, outputs, panel * BLOCK, steps.clone(), cut) };
                            (&*cut, Parts::Both)
                        }
                        Weights::Int8(matrix) => {
                            let panels = matrix.tiles(panel, steps.start);
                            for (block, Sums(sums)) in blocks.clone().zip(sums) {
                                let rows = self.activations.block(pass, block);
                                let rows = (rows, self.activations.scales(pass, block));
                                if let Some(tiles) = &tiles {
                                    // SAFETY: tiles are of int8 where such weights are; there are as many steps.
                                    unsafe {
                                        multiply_int8(tiles, rows, panels, steps.len(), pass > 0, sums)
                                    };
                                }
                            }
                            continue;
                        }
                    };
                    let (next, next_panel) = match layers.get(index + 1) {
                        Some(layer) => (layer.weight, panel),
                        None => (self.layer.weight, panel + 1),
                    };
                    let ahead = match next {
                        Weights::Bf16(matrix, _) if next_panel < panels.end => {
                            matrix.steps(next_panel, &steps)
                        }
                        _ => weights,
                    };
                    for (index, (block, sums)) in blocks.clone().zip(sums).enumerate() {
                        let rows = self.activations.block(pass, block);
                        // What a block fetches of them follows on what the one before did.
                        let weights = (weights, &ahead[index * LINES_AHEAD * steps.len() % ahead.len()..]);
                        let sums = (sums.0.as_mut_ptr(), BLOCK);
                        // SAFETY: both hold as many steps, and there are 32 x 32 sums.
                        unsafe { multiply(tiles.as_ref(), parts, rows, weights, pass > 0, sums) };
                    }
                }
                if pass + 1 == layout.passes()
                    && let Output::Packed(activation, to, lines) = &self.out
                {
                    let (sums, gated) = sums.split_at_mut(blocks.len());
                    for (index, (block, sums)) in blocks.clone().zip(sums).enumerate() {
                        let sums = self.activated(*activation, panel, sums, gated.get_mut(index));
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
                        y.copy_from_slice(&sums[..y.len()]);
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

    /// The sums of a block through the activation, and times what they gate.
    fn activated<'a>(
        &self,
        activation: Activation,
        panel: usize,
        Sums(sums): &'a mut Sums,
        gated: Option<&mut Sums>,
    ) -> &'a [f32] {
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
                add_bias(layer, gated);
                gate_by(activation, sums, gated);
            }
            _ => activate(activation, sums),
        }
        sums
    }
}
