//! How rows of activations are laid out.

use std::ops::Range;

use rayon::prelude::*;

use super::super::amx::{Parts, Tiles};
use super::super::int8::{GROUP_STEPS, STEP as INT8_STEP};
use super::super::line::{BLOCK, Line};
use super::super::linear::LinearShape;
use super::super::parallel::SharedMut;
use super::super::scratch::resize_exact;
use super::bf16::pack_activations;
use super::f32::{STEP as F32_STEP, pack_f32_activations};
use super::int8::pack_int8_activations;
use super::units::{Bf16Unit, F32Unit, Int8Unit};

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
    Int8(Int8Unit),
}

impl Operands {
    /// Inputs of a step, whose lines have 64 bytes.
    fn inputs_per_step(self) -> usize {
        match self {
            Self::Bf16(..) => BLOCK,
            Self::F32(_) => F32_STEP,
            Self::Int8(_) => INT8_STEP,
        }
    }

    /// Parts of a step of activations and of weights.
    pub(super) fn parts(self) -> [usize; 2] {
        match self {
            Self::Bf16(_, parts) => parts.count(),
            Self::F32(_) | Self::Int8(_) => [1, 1],
        }
    }

    /// Panels of the layer before whose values are packed together: those that share a scale.
    pub(super) fn panels_together(self) -> usize {
        match self {
            Self::Int8(_) => GROUP_STEPS * INT8_STEP / BLOCK,
            Self::Bf16(..) | Self::F32(_) => 1,
        }
    }

    /// Packs up to 32 rows into one block of as many steps as `lines` has room for, from a step on, with `scales` if
    /// they are to be int8.
    ///
    /// # Safety
    /// The processor has the unit. `rows` is a whole number of rows.
    unsafe fn pack(
        self,
        rows: &[f32],
        in_features: usize,
        first_step: usize,
        lines: &mut [Line],
        scales: &mut [f32],
    ) {
        match self {
            // SAFETY: every unit of bf16 implies AVX512F, BW and BF16.
            Self::Bf16(_, parts) => unsafe {
                pack_activations(rows, in_features, first_step, parts.count()[0], lines);
            },
            Self::F32(_) => pack_f32_activations(rows, in_features, first_step, lines),
            Self::Int8(_) => pack_int8_activations(rows, in_features, first_step, lines, scales),
        }
    }

    /// The tiles of this thread, if these multiply them.
    ///
    /// # Safety
    /// The processor has the unit.
    pub(super) unsafe fn tiles(self) -> Option<Tiles> {
        // SAFETY: as the caller says.
        unsafe {
            match self {
                Self::Bf16(unit, _) => unit.tiles(),
                Self::Int8(Int8Unit::Tiles) => Some(Tiles::configure()),
                _ => None,
            }
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
            Operands::Int8(_) => steps.min(STEPS_PER_PASS),
            Operands::F32(_) => steps.min(F32_STEPS_PER_PASS),
            Operands::Bf16(..) => steps.div_ceil(steps.div_ceil(STEPS_PER_PASS / of_weights)),
        };
        Self { operands, blocks: shape.rows.div_ceil(BLOCK), steps, steps_per_pass }
    }

    /// Tasks that share the rows.
    pub(super) fn row_tasks(self) -> usize {
        let per_task = match self.operands {
            Operands::F32(_) => F32_STEPS_PER_TASK,
            Operands::Bf16(..) | Operands::Int8(_) => STEPS_PER_TASK,
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

    pub(super) fn scales(self) -> usize {
        self.passes() * self.blocks * self.scales_per_block()
    }

    /// Lines of a block in a pass.
    fn lines_per_block(self) -> usize {
        self.steps_per_pass * self.lines_per_step()
    }

    fn lines_per_step(self) -> usize {
        self.operands.parts()[0] * BLOCK
    }

    /// Scales of a block in a pass, one of each row and group; none but of int8.
    fn scales_per_block(self) -> usize {
        match self.operands {
            Operands::Int8(_) => self.steps_per_pass.div_ceil(GROUP_STEPS) * BLOCK,
            Operands::Bf16(..) | Operands::F32(_) => 0,
        }
    }

    /// The first line of a block in a pass.
    fn first_line(self, pass: usize, block: usize) -> usize {
        (pass * self.blocks + block) * self.lines_per_block()
    }

    /// The first scale of a block in a pass.
    fn first_scale(self, pass: usize, block: usize) -> usize {
        (pass * self.blocks + block) * self.scales_per_block()
    }

    /// Packs the values, `width` of each row, that a panel of the layer before gives for a block of rows, or
    /// [that](Operands::panels_together) and those that it shares a scale with.
    ///
    /// # Safety
    /// `lines` and `scales` have this layout and no other thread touches these; the processor has the unit of the
    /// operands.
    pub(super) unsafe fn pack(
        self,
        block: usize,
        panel: usize,
        (values, width): (&[f32], usize),
        (lines, scales): (&SharedMut<'_, Line>, &SharedMut<'_, f32>),
    ) {
        let inputs_per_step = self.operands.inputs_per_step();
        let step = panel * BLOCK / inputs_per_step;
        let pass = step / self.steps_per_pass;
        let steps = self.steps(pass);
        let num_lines = width.div_ceil(inputs_per_step).min(steps.end - step) * self.lines_per_step();
        let line = self.first_line(pass, block) + (step - steps.start) * self.lines_per_step();
        let num_scales = self.scales_per_block().min(BLOCK);
        let scale = self.first_scale(pass, block) + (step - steps.start) / GROUP_STEPS * num_scales;
        // SAFETY: as the caller says.
        unsafe {
            let lines = std::slice::from_raw_parts_mut(lines.as_ptr().add(line), num_lines);
            let scales = std::slice::from_raw_parts_mut(scales.as_ptr().add(scale), num_scales);
            self.operands.pack(values, width, 0, lines, scales);
        }
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
        resize_exact(scales, layout.scales(), 0.0);
        let shared = SharedMut::new(scales);
        lines.par_chunks_mut(layout.lines_per_block()).enumerate().for_each(|(index, lines)| {
            let (pass, block) = (index / layout.blocks, index % layout.blocks);
            let steps = layout.steps(pass);
            let rows = &x[block * BLOCK * shape.in_features..];
            let lines = &mut lines[..steps.len() * layout.lines_per_step()];
            // SAFETY: these scales are of this block and pass alone, and the processor has the unit (caller).
            unsafe {
                let first = shared.as_ptr().add(layout.first_scale(pass, block));
                let scales = std::slice::from_raw_parts_mut(first, layout.scales_per_block());
                operands.pack(rows, shape.in_features, steps.start, lines, scales);
            }
        });
        Self { lines, scales, layout }
    }

    /// The steps of a block in a pass.
    pub(super) fn block(&self, pass: usize, block: usize) -> &'a [Line] {
        let first = self.layout.first_line(pass, block);
        &self.lines[first..first + self.layout.steps(pass).len() * self.layout.lines_per_step()]
    }

    /// The scales of a block in a pass.
    pub(super) fn scales(&self, pass: usize, block: usize) -> &'a [f32] {
        &self.scales[self.layout.first_scale(pass, block)..][..self.layout.scales_per_block()]
    }
}
