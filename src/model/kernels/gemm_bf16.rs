//! Linear layers whose weights are bf16, on processors that multiply bf16.
//!
//! The activations are rounded to bf16 once per call and laid out in blocks of 32 rows, or as three parts of
//! bf16 that add up to them, each multiplied in its turn; weights are packed once per call, a group of outputs
//! at a time, and tasks run blocks of 32 x 32 outputs through one of two block products: the tile unit
//! ([`amx`](super::amx)), or `vdpbf16ps` where there is only AVX512-BF16. Sums are kept in f32. Both operands
//! have the layout the tile unit wants:
//!
//! ```text
//! step (32 inputs) -> two tiles -> 16 lines of 64 bytes
//!   activations: a line is one row,           32 inputs
//!   weights:     a line is one pair of inputs, 16 outputs x 2 inputs
//! ```
//!
//! The order of summation depends on the number of inputs alone, so a row's result is the same bit for bit
//! whatever rows are computed along with it and however many threads there are.

mod block;

use super::activation::{Activation, activate, gate_by};
use super::amx::{self, Tiles};
use super::feed_forward::FeedForward;
use super::linear::{LinearRef, LinearShape, Products};
use super::parallel::SharedMut;
use super::scratch::resize_exact;
use half::bf16;
use rayon::prelude::*;
use std::cell::Cell;
use std::mem::MaybeUninit;
use std::ops::Range;

pub(super) use block::{BLOCK, Line, multiply, pack_activations, pack_weights};

/// Inputs summed before moving on to the next outputs: 64 KiB of packed weights stay in the second-level
/// cache.
const STEPS_PER_PASS: usize = 32;
/// Blocks of 32 rows x 32 inputs of a task: they take 1 MiB, half of the second-level cache.
const STEPS_PER_TASK: usize = 512;
/// Steps of weights that are packed at a time for each thread, 1 MiB as well.
const STEPS_PER_GROUP: usize = 512;

/// Parts of 8 bits that the 24 bits of an f32 are cut into.
pub(super) const EXACT_PARTS: usize = 3;

thread_local! {
    static ACTIVATIONS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static BETWEEN: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    static WEIGHTS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
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

    /// How many parts of activations this unit multiplies for `products`; `None` where f32 vectors are
    /// faster.
    pub(super) fn parts(self, products: Products) -> Option<usize> {
        match (products, self) {
            (Products::Rounded, _) => Some(1),
            (Products::Exact, Self::Tiles) => Some(EXACT_PARTS),
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

    /// The fastest unit, found once.
    pub(super) fn best() -> Option<Self> {
        static BEST: std::sync::OnceLock<Option<Bf16Unit>> = std::sync::OnceLock::new();
        *BEST.get_or_init(|| Self::available().first().copied())
    }
}

/// A layer whose weights are bf16.
pub(super) type Bf16Layer<'a> = LinearRef<'a, &'a [bf16]>;

/// `y = x * weight^T + bias`, with `x` as `parts` parts of bf16; the slices have the lengths of the shape and
/// no dimension is 0.
///
/// # Safety
/// `unit` is one of [`Bf16Unit::available`].
pub(super) unsafe fn linear(unit: Bf16Unit, parts: usize, x: &[f32], layer: Bf16Layer<'_>, y: &mut [f32]) {
    let mut activations = ACTIVATIONS.take();
    // SAFETY: the unit is available (caller).
    unsafe {
        pack_rows(x, layer.shape, parts, &mut activations);
        let out = Output::Values(SharedMut::new(y));
        Product { unit, parts, activations: &activations, layer, gated: None, out }.compute();
    }
    ACTIVATIONS.set(activations);
}

/// The feed-forward layer of `rows` of x, where what goes into its layers is rounded to bf16. What is between
/// them goes to memory as the last layer reads it, and nowhere else.
///
/// # Safety
/// As for [`linear`].
pub(super) unsafe fn feed_forward(
    unit: Bf16Unit,
    x: &[f32],
    layers: FeedForward<'_, &[bf16]>,
    y: &mut [f32],
) {
    let FeedForward { first, gated, activation, second } = layers;
    let (mut activations, mut between) = (ACTIVATIONS.take(), BETWEEN.take());
    let (blocks, steps) = (second.shape.rows.div_ceil(BLOCK), second.shape.in_features.div_ceil(BLOCK));
    resize(&mut between, blocks * steps * BLOCK);
    // SAFETY: the unit is available (caller).
    unsafe {
        pack_rows(x, first.shape, 1, &mut activations);
        let out = Output::Packed(activation, SharedMut::new(&mut between));
        Product { unit, parts: 1, activations: &activations, layer: first, gated, out }.compute();
        let out = Output::Values(SharedMut::new(y));
        Product { unit, parts: 1, activations: &between, layer: second, gated: None, out }.compute();
    }
    ACTIVATIONS.set(activations);
    BETWEEN.set(between);
}

/// Packs all rows of `x`; the parts of a block lie one behind the other.
///
/// # Safety
/// The processor has AVX512F, BW and BF16.
unsafe fn pack_rows(x: &[f32], shape: LinearShape, parts: usize, lines: &mut Vec<Line>) {
    let steps = shape.in_features.div_ceil(BLOCK);
    resize(lines, parts * shape.rows.div_ceil(BLOCK) * steps * BLOCK);
    lines.par_chunks_mut(steps * BLOCK).enumerate().for_each(|(index, lines)| {
        let rows = &x[index / parts * BLOCK * shape.in_features..];
        // SAFETY: as the caller says.
        unsafe { pack_activations(rows, shape.in_features, index % parts, lines) };
    });
}

/// Part `index` of `0..total` cut into `parts` nearly equal ranges.
fn share(total: usize, parts: usize, index: usize) -> Range<usize> {
    total * index / parts..total * (index + 1) / parts
}

fn resize(buffer: &mut Vec<Line>, lines: usize) {
    resize_exact(buffer, lines, Line::ZERO);
}

/// A block of products, which are written before they are read.
type Values = MaybeUninit<[f32; BLOCK * BLOCK]>;

/// Where a product goes.
enum Output<'a> {
    /// Row by row.
    Values(SharedMut<'a, f32>),
    /// Through an activation to the packed input of the next layer.
    Packed(Activation, SharedMut<'a, Line>),
}

struct Product<'a> {
    unit: Bf16Unit,
    parts: usize,
    activations: &'a [Line],
    layer: Bf16Layer<'a>,
    /// A layer of the same shape that the activation of `layer` is multiplied with, on its way to packed lines.
    gated: Option<Bf16Layer<'a>>,
    out: Output<'a>,
}

/// Steps of a pass over the inputs: the first, and how many.
#[derive(Clone, Copy)]
struct Pass {
    first: usize,
    steps: usize,
}

impl Product<'_> {
    /// Computes all outputs. Weights are packed once, a group of outputs at a time.
    ///
    /// # Safety
    /// The unit is available, and the output has room.
    unsafe fn compute(&self) {
        let LinearShape { rows, in_features, out_features } = self.layer.shape;
        let (steps, row_blocks) = (in_features.div_ceil(BLOCK), rows.div_ceil(BLOCK));
        // What is activated has to be complete.
        let steps_per_pass = match self.out {
            Output::Values(_) => STEPS_PER_PASS.min(steps),
            Output::Packed(..) => steps,
        };
        let threads = rayon::current_num_threads();
        let blocks_per_task = (STEPS_PER_TASK / (steps_per_pass * self.parts)).max(1);
        let row_tasks = row_blocks.div_ceil(blocks_per_task);
        let panels = out_features.div_ceil(BLOCK);
        let layers = [Some(self.layer), self.gated].into_iter().flatten();
        let layers: Vec<Bf16Layer<'_>> = layers.collect();
        let panels_per_group = threads * STEPS_PER_GROUP / (steps_per_pass * layers.len());
        let groups = panels.div_ceil(panels_per_group.max(1));
        let mut packed = WEIGHTS.take();
        for first in (0..steps).step_by(steps_per_pass) {
            let pass = Pass { first, steps: steps_per_pass.min(steps - first) };
            for group in (0..groups).map(|group| share(panels, groups, group)) {
                let (first_panel, panels) = (group.start, group.len());
                let lines_per_panel = layers.len() * pass.steps * BLOCK;
                resize(&mut packed, panels * lines_per_panel);
                packed.par_chunks_mut(pass.steps * BLOCK).enumerate().for_each(|(index, lines)| {
                    let Bf16Layer { weight, shape, .. } = layers[index % layers.len()];
                    let output = (first_panel + index / layers.len()) * BLOCK;
                    // SAFETY: both units imply AVX512-BF16 (caller).
                    unsafe { pack_weights(weight, shape, output, first * BLOCK, lines) };
                });
                let panel_tasks = (4 * threads).div_ceil(row_tasks).next_multiple_of(threads).min(panels);
                (0..row_tasks * panel_tasks).into_par_iter().for_each(|task| {
                    let blocks = share(row_blocks, row_tasks, task / panel_tasks);
                    let panels = share(panels, panel_tasks, task % panel_tasks);
                    let lines = &packed[panels.start * lines_per_panel..panels.end * lines_per_panel];
                    // SAFETY: tasks have disjoint blocks of outputs, and the unit is available (caller).
                    unsafe { self.blocks(pass, blocks, first_panel + panels.start, lines) };
                });
            }
        }
        WEIGHTS.set(packed);
    }

    /// Computes the outputs of `blocks` and of the panels from `first_panel` on, whose weights are `packed`,
    /// over the inputs of one pass.
    ///
    /// # Safety
    /// The unit is available and no other thread touches these outputs.
    unsafe fn blocks(&self, pass: Pass, blocks: Range<usize>, first_panel: usize, packed: &[Line]) {
        let steps = self.layer.shape.in_features.div_ceil(BLOCK);
        // SAFETY: the unit is available (caller).
        let tiles = unsafe { self.unit.tiles() };
        let layers = 1 + usize::from(self.gated.is_some());
        for (panel, b) in (first_panel..).zip(packed.chunks_exact(layers * pass.steps * BLOCK)) {
            for (block, part) in
                blocks.clone().flat_map(|block| (0..self.parts).map(move |part| (block, part)))
            {
                let first_line = ((block * self.parts + part) * steps + pass.first) * BLOCK;
                let a = &self.activations[first_line..first_line + pass.steps * BLOCK];
                let is_first = pass.first == 0 && part == 0;
                // SAFETY: as above; the outputs are this task's own (caller).
                unsafe { self.block(tiles.as_ref(), a, b, block, panel, is_first) };
            }
        }
    }

    /// One block of 32 x 32 outputs over the inputs of one pass.
    ///
    /// # Safety
    /// As [`Self::blocks`].
    unsafe fn block(
        &self,
        tiles: Option<&Tiles>,
        a: &[Line],
        b: &[Line],
        block: usize,
        panel: usize,
        first_pass: bool,
    ) {
        let LinearShape { rows, out_features, .. } = self.layer.shape;
        let (row, column) = (block * BLOCK, panel * BLOCK);
        let rows = BLOCK.min(rows - row);
        let columns = BLOCK.min(out_features - column);
        let bias_of = |layer: &Bf16Layer<'_>| {
            let mut bias = [0f32; BLOCK];
            if let (Some(values), true) = (layer.bias, first_pass) {
                bias[..columns].copy_from_slice(&values[column..column + columns]);
            }
            bias
        };
        let bias = bias_of(&self.layer);
        let y = match &self.out {
            Output::Packed(activation, lines) => {
                let first = (block * out_features.div_ceil(BLOCK) + panel) * BLOCK;
                let (b, b_gated) = b.split_at(a.len());
                let (mut values, mut up) = (Values::uninit(), Values::uninit());
                // SAFETY: `a` and both of `b` hold as many steps; a product writes all of its values, and the
                // lines of this block are this task's own.
                unsafe {
                    multiply(tiles, a, b, (bias.as_ptr(), 0), (values.as_mut_ptr().cast(), BLOCK));
                    let values = values.assume_init_mut();
                    match &self.gated {
                        None => activate(*activation, values),
                        Some(gated) => {
                            let bias = bias_of(gated);
                            multiply(tiles, a, b_gated, (bias.as_ptr(), 0), (up.as_mut_ptr().cast(), BLOCK));
                            gate_by(*activation, values, up.assume_init_ref());
                        }
                    }
                    let lines = std::slice::from_raw_parts_mut(lines.as_ptr().add(first), BLOCK);
                    pack_activations(values, BLOCK, 0, lines);
                }
                return;
            }
            // SAFETY: `row` and `column` lie within the outputs.
            Output::Values(y) => unsafe { y.as_ptr().add(row * out_features + column) },
        };
        let start = |c: *const f32, stride| if first_pass { (bias.as_ptr(), 0) } else { (c, stride) };
        if rows == BLOCK && columns == BLOCK {
            // SAFETY: `a` and `b` hold as many steps; 32 x 32 outputs lie at `y`, this task's own.
            unsafe { multiply(tiles, a, b, start(y, out_features), (y, out_features)) };
            return;
        }
        let mut edge = [0f32; BLOCK * BLOCK];
        if !first_pass {
            for (r, line) in edge.chunks_exact_mut(BLOCK).take(rows).enumerate() {
                // SAFETY: this row and these columns are within the outputs, and this task's own.
                unsafe { std::ptr::copy_nonoverlapping(y.add(r * out_features), line.as_mut_ptr(), columns) };
            }
        }
        let c = edge.as_mut_ptr();
        // SAFETY: `a` and `b` hold as many steps; all of `edge` may be read and written.
        unsafe { multiply(tiles, a, b, start(c, BLOCK), (c, BLOCK)) };
        for (r, line) in edge.chunks_exact(BLOCK).take(rows).enumerate() {
            // SAFETY: as when reading.
            unsafe { std::ptr::copy_nonoverlapping(line.as_ptr(), y.add(r * out_features), columns) };
        }
    }
}
