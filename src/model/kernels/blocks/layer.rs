//! Layers as products of blocks see them.

use std::ops::Range;

use super::super::amx::Parts;
use super::super::bf16_matrix::Bf16Matrix;
use super::super::f32_matrix::F32Matrix;
use super::super::int8::Int8Matrix;
use super::super::line::{BLOCK, HALF, Line};
use super::super::linear::{LinearRef, LinearShape, Products, WeightRef};
use super::bf16::pack_f32_weights;
use super::layout::Operands;
use super::units::{Bf16Unit, Units};

/// Rows for which cutting f32 weights costs more than it saves.
const FEW_ROWS: usize = BLOCK;

/// Weights that are multiplied here.
#[derive(Clone, Copy)]
pub(super) enum Weights<'a> {
    Bf16(&'a Bf16Matrix),
    F32(&'a F32Matrix),
    /// `[in, out]`.
    F32Rows(&'a [f32]),
    Int8(&'a Int8Matrix),
}

/// A layer, and what it is multiplied as.
pub(super) struct Layer<'a> {
    pub(super) weight: Weights<'a>,
    pub(super) operands: Operands,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) shape: LinearShape,
}

impl<'a> Layer<'a> {
    /// The layer as one of `units` multiplies it, where that is the fastest.
    pub(super) fn of(
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
            WeightRef::Int8(matrix) => (Weights::Int8(matrix), Operands::Int8(units.int8?)),
            _ => return None,
        };
        Some(Self { weight, operands, bias, shape })
    }

    /// Finishes sums of a panel that begin at its first output: times the scales of the weights, plus the bias.
    #[inline(always)]
    pub(super) fn finish(&self, panel: usize, sums: &mut [f32]) {
        let first = panel * BLOCK;
        if let Weights::Int8(matrix) = self.weight {
            sums.iter_mut().zip(&matrix.scales()[first..]).for_each(|(sum, scale)| *sum *= scale);
        }
        if let Some(bias) = self.bias {
            sums.iter_mut().zip(&bias[first..]).for_each(|(sum, bias)| *sum += bias);
        }
    }

    /// The weights of a panel over some steps, where they are stored as they are multiplied.
    pub(super) fn stored(&self, panel: usize, steps: &Range<usize>) -> Option<&'a [Line]> {
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
    pub(super) unsafe fn weights<'b>(
        &self,
        panel: usize,
        steps: &Range<usize>,
        cut: &'b mut [Line],
    ) -> &'b [Line]
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
