//! How rows of activations are laid out.

use std::ops::Range;

use rayon::prelude::*;

use super::super::amx::Parts;
use super::super::int8::{GROUP_STEPS, STEP as INT8_STEP};
use super::super::line::{BLOCK, Line};
use super::super::linear::LinearShape;
use super::super::parallel::SharedMut;
use super::super::scratch::resize_exact;
use super::bf16::{pack_activations, pack_int8_activations};
use super::f32::{STEP as F32_STEP, pack_f32_activations};
use super::units::{Bf16Unit, F32Unit};

/// Steps of a panel of weights in a pass at most, those of all parts counted: 32 KiB, two thirds of the first-level
/// cache.
const STEPS_PER_PASS: usize = 16;
/// The same of f32, which processors with less of that cache multiply as well; even, so that a panel of one layer is
/// two steps in a pass of the next.
const F32_STEPS_PER_PASS: usize = 6;
/// Steps of all rows of a task in a pass at most, those of all parts counted: 768 KiB, less than half of the
/// second-level cache.
const STEPS_PER_TASK: usize = 384;
/// The same of f32: 256 KiB.
const F32_STEPS_PER_TASK: usize = 128;

/// What activations and weights are multiplied as, and by what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    /// Only tiles have more than one part.
    Bf16(Bf16Unit, Parts),
    F32(F32Unit),
    /// By tiles.
    Int8,
}

impl Operands {
    /// Inputs of a step, whose lines have 64 bytes.
    fn inputs_per_step(self) -> usize {
        match self {
            Self::Bf16(..) => BLOCK,
            Self::F32(_) => F32_STEP,
            Self::Int8 => INT8_STEP,
        }
    }

    /// Parts of a step of activations and of weights.
    pub(super) fn parts(self) -> [usize; 2] {
        match self {
            Self::Bf16(_, parts) => parts.count(),
            Self::F32(_) | Self::Int8 => [1, 1],
        }
    }

    /// Packs up to 32 rows into one block of as many steps as `lines` has room for, from a step on, of what is not
    /// int8.
    ///
    /// # Safety
    /// The processor has the unit. `rows` is a whole number of rows.
    unsafe fn pack(self, rows: &[f32], in_features: usize, first_step: usize, lines: &mut [Line]) {
        match self {
            // SAFETY: every unit of bf16 implies AVX512F, BW and BF16.
            Self::Bf16(_, parts) => unsafe {
                pack_activations(rows, in_features, first_step, parts.count()[0], lines);
            },
            Self::F32(_) | Self::Int8 => pack_f32_activations(rows, in_features, first_step, lines),
        }
    }

    /// What multiplies them, where that is the tile unit or one of bf16.
    pub(super) fn bf16_unit(self) -> Option<Bf16Unit> {
        match self {
            Self::Bf16(unit, _) => Some(unit),
            Self::F32(_) => None,
            Self::Int8 => Some(Bf16Unit::Tiles),
        }
    }
}

/// Pass by pass, so that the activations of a pass lie side by side, and in a pass block by block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) operands: Operands,
    /// Of 32 rows.
    pub(super) blocks: usize,
    /// Of as many inputs as 64 bytes hold.
    steps: usize,
    /// The last pass may have fewer.
    pub(super) steps_per_pass: usize,
}

impl Layout {
    pub(super) fn of(shape: LinearShape, operands: Operands) -> Self {
        let [_, of_weights] = operands.parts();
        let steps = shape.in_features.div_ceil(operands.inputs_per_step());
        let steps_per_pass = match operands {
            // Scales belong to whole groups of them.
            Operands::Int8 => steps.min(STEPS_PER_PASS),
            Operands::F32(_) => steps.min(F32_STEPS_PER_PASS),
            Operands::Bf16(..) => steps.div_ceil(steps.div_ceil(STEPS_PER_PASS / of_weights)),
        };
        Self { operands, blocks: shape.rows.div_ceil(BLOCK), steps, steps_per_pass }
    }

    /// Tasks that share the rows.
    pub(super) fn row_tasks(self) -> usize {
        let per_task = match self.operands {
            Operands::F32(_) => F32_STEPS_PER_TASK,
            Operands::Bf16(..) | Operands::Int8 => STEPS_PER_TASK,
        };
        let [of_rows, _] = self.operands.parts();
        (self.blocks * self.steps_per_pass * of_rows).div_ceil(per_task).min(self.blocks)
    }

    pub(super) fn passes(self) -> usize {
        self.steps.div_ceil(self.steps_per_pass)
    }

    /// The steps of a pass.
    pub(super) fn steps(self, pass: usize) -> Range<usize> {
        let first = pass * self.steps_per_pass;
        first..self.steps.min(first + self.steps_per_pass)
    }

    pub(super) fn lines(self) -> usize {
        self.passes() * self.blocks * self.lines_per_block()
    }

    /// Lines of a block in a pass.
    fn lines_per_block(self) -> usize {
        self.steps_per_pass * self.lines_per_step()
    }

    fn lines_per_step(self) -> usize {
        self.operands.parts()[0] * BLOCK
    }

    /// Scales of a block in a pass, one of each row and group.
    fn scales_per_block(self) -> usize {
        self.steps_per_pass.div_ceil(GROUP_STEPS) * BLOCK
    }

    /// The first line of a block in a pass.
    fn first_line(self, pass: usize, block: usize) -> usize {
        (pass * self.blocks + block) * self.lines_per_block()
    }

    /// Packs the values that a panel of the layer before gives for a block of rows.
    ///
    /// # Safety
    /// `lines` has this layout and no other thread touches these; the processor has the unit of the operands, which are
    /// not int8.
    pub(super) unsafe fn pack(self, block: usize, panel: usize, values: &[f32], lines: &SharedMut<'_, Line>) {
        let per_panel = BLOCK / self.operands.inputs_per_step();
        let step = panel * per_panel;
        let pass = step / self.steps_per_pass;
        let steps = self.steps(pass);
        let num_lines = per_panel.min(steps.end - step) * self.lines_per_step();
        let first = self.first_line(pass, block) + (step - steps.start) * self.lines_per_step();
        // SAFETY: as the caller says.
        let lines = unsafe { std::slice::from_raw_parts_mut(lines.as_ptr().add(first), num_lines) };
        // SAFETY: as the caller says.
        unsafe { self.operands.pack(values, BLOCK, 0, lines) };
    }
}

/// Packed activations.
#[derive(Clone, Copy)]
pub(super) struct Activations<'a> {
    pub(super) lines: &'a [Line],
    /// Of int8.
    pub(super) scales: &'a [f32],
    pub(super) layout: Layout,
}

impl<'a> Activations<'a> {
    /// Packs all rows of `x` into `lines` and, if they are to be int8, `scales`.
    ///
    /// # Safety
    /// The processor has the unit of the operands.
    pub(super) unsafe fn pack(
        x: &[f32],
        shape: LinearShape,
        operands: Operands,
        lines: &'a mut Vec<Line>,
        scales: &'a mut Vec<f32>,
    ) -> Self {
        let layout = Layout::of(shape, operands);
        resize_exact(lines, layout.lines(), Line::ZERO);
        resize_exact(scales, layout.passes() * layout.blocks * layout.scales_per_block(), 0.0);
        let blocks = lines.par_chunks_mut(layout.lines_per_block());
        blocks.zip(scales.par_chunks_mut(layout.scales_per_block())).enumerate().for_each(
            |(index, (lines, scales))| {
                let (pass, block) = (index / layout.blocks, index % layout.blocks);
                let steps = layout.steps(pass);
                let rows = &x[block * BLOCK * shape.in_features..];
                let lines = &mut lines[..steps.len() * layout.lines_per_step()];
                if operands == Operands::Int8 {
                    pack_int8_activations(rows, shape.in_features, steps.start, lines, scales);
                } else {
                    // SAFETY: as the caller says.
                    unsafe { operands.pack(rows, shape.in_features, steps.start, lines) };
                }
            },
        );
        Self { lines, scales, layout }
    }

    /// The steps of a block in a pass.
    pub(super) fn block(&self, pass: usize, block: usize) -> &'a [Line] {
        let first = self.layout.first_line(pass, block);
        &self.lines[first..first + self.layout.steps(pass).len() * self.layout.lines_per_step()]
    }

    /// The scales of a block in a pass.
    pub(super) fn scales(&self, pass: usize, block: usize) -> &'a [f32] {
        let scales = self.layout.scales_per_block();
        &self.scales[(pass * self.layout.blocks + block) * scales..][..scales]
    }
}
