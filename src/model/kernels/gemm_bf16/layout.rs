//! How rows of activations are laid out.

use std::ops::Range;

use rayon::prelude::*;

use super::super::amx::Parts;
use super::super::bf16_matrix::{BLOCK, Line};
use super::super::int8::{GROUP_STEPS, STEP};
use super::super::linear::LinearShape;
use super::super::parallel::SharedMut;
use super::super::scratch::resize_exact;
use super::block::{pack_activations, pack_int8_activations};

/// Steps of a panel of weights in a pass at most, those of all parts counted: 32 KiB, two thirds of the first-level
/// cache.
const STEPS_PER_PASS: usize = 16;

/// What activations are multiplied as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operands {
    Bf16(Parts),
    Int8,
}

impl Operands {
    /// Inputs of a step, whose lines have 64 bytes.
    fn inputs_per_step(self) -> usize {
        match self {
            Self::Bf16(_) => BLOCK,
            Self::Int8 => STEP,
        }
    }

    /// Parts of a step of activations and of weights.
    pub(super) fn parts(self) -> [usize; 2] {
        match self {
            Self::Bf16(parts) => parts.count(),
            Self::Int8 => [1, 1],
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
            Operands::Bf16(_) => steps.div_ceil(steps.div_ceil(STEPS_PER_PASS / of_weights)),
        };
        Self { operands, blocks: shape.rows.div_ceil(BLOCK), steps, steps_per_pass }
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
    /// `lines` has this layout and no other thread touches these; the processor has AVX512F, BW and BF16.
    pub(super) unsafe fn pack(self, block: usize, panel: usize, values: &[f32], lines: &SharedMut<'_, Line>) {
        let (pass, step) = (panel / self.steps_per_pass, panel % self.steps_per_pass);
        let first = self.first_line(pass, block) + step * self.lines_per_step();
        let [parts, _] = self.operands.parts();
        // SAFETY: as the caller says.
        unsafe {
            let lines = std::slice::from_raw_parts_mut(lines.as_ptr().add(first), self.lines_per_step());
            pack_activations(values, BLOCK, 0, parts, lines);
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
    /// The processor has AVX512F, BW and BF16.
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
                    return;
                }
                let [parts, _] = operands.parts();
                // SAFETY: as the caller says.
                unsafe { pack_activations(rows, shape.in_features, steps.start, parts, lines) };
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
