//! Weights in f32, laid out as products of blocks read them.

#[cfg(target_arch = "x86_64")]
use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::blocks::Units;
use super::floats::Floats;
use super::line::{BLOCK, HALF, Line, transposed};
use super::scratch::filled;
use super::simd::vectorised;

/// Inputs of a step.
const STEP: usize = 16;

/// A weight matrix `[out, in]`:
///
/// ```text
/// panel (32 outputs) -> step (16 inputs) -> two halves -> 16 lines, one for an input: 16 outputs
/// ```
///
/// It takes as much memory as the matrix row by row, filled up to whole panels and steps.
#[derive(Debug, Clone, PartialEq)]
pub struct F32Matrix {
    lines: Vec<Line>,
    in_features: usize,
    out_features: usize,
}

impl F32Matrix {
    /// Whether this processor is faster with weights in this layout.
    pub fn pays() -> bool {
        #[cfg(target_arch = "x86_64")]
        return Units::best().f32.is_some();
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Lays out `values`.
    pub fn pack(values: Floats<'_>, in_features: usize, out_features: usize) -> Self {
        match values {
            Floats::F32(values) => Self::of(values, in_features, out_features),
            Floats::Bf16(values) => Self::of(values, in_features, out_features),
            Floats::F16(values) => Self::of(values, in_features, out_features),
        }
    }

    fn of<T: Copy + Into<f32> + Sync>(values: &[T], in_features: usize, out_features: usize) -> Self {
        let lines_per_panel = in_features.div_ceil(STEP) * BLOCK;
        let mut lines = filled(out_features.div_ceil(BLOCK) * lines_per_panel, Line::ZERO);
        if lines_per_panel > 0 {
            lines.par_chunks_mut(lines_per_panel).enumerate().for_each(|(panel, lines)| {
                let outputs = panel * BLOCK..out_features.min((panel + 1) * BLOCK);
                let rows = &values[outputs.start * in_features..outputs.end * in_features];
                vectorised(
                    #[inline(always)]
                    || {
                        for (index, lines) in lines.chunks_exact_mut(HALF).enumerate() {
                            let inputs = index / 2 * STEP..in_features.min((index / 2 + 1) * STEP);
                            let mut bits = [[0; HALF]; HALF];
                            let rows = rows.chunks_exact(in_features).skip(index % 2 * HALF);
                            for (bits, row) in bits.iter_mut().zip(rows) {
                                let values = bits.iter_mut().zip(&row[inputs.clone()]);
                                values.for_each(|(bits, value)| *bits = (*value).into().to_bits());
                            }
                            let columns = lines.iter_mut().zip(transposed(bits));
                            columns.for_each(|(line, bits)| *line.pairs_mut() = bits);
                        }
                    },
                );
            });
        }
        Self { lines, in_features, out_features }
    }

    /// Values of the matrix.
    pub fn len(&self) -> usize {
        self.in_features * self.out_features
    }

    /// Writes the values of an output from the input `first` on.
    pub fn widen(&self, output: usize, first: usize, values: &mut [f32]) {
        let panel = self.panel(output / BLOCK);
        let (half, lane) = (output % BLOCK / HALF, output % HALF);
        for (input, value) in (first..).zip(values) {
            *value = panel[(input / STEP * 2 + half) * HALF + input % STEP].floats()[lane];
        }
    }

    /// The weights of an input for half a panel; nothing past the last step.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn row(&self, panel: usize, half: usize, input: usize) -> Option<&[f32; HALF]> {
        self.panel(panel).get((input / STEP * 2 + half) * HALF + input % STEP).map(Line::floats)
    }

    /// The lines of some steps of a panel.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn steps(&self, panel: usize, steps: &Range<usize>) -> &[Line] {
        &self.panel(panel)[steps.start * BLOCK..steps.end * BLOCK]
    }

    fn panel(&self, panel: usize) -> &[Line] {
        let lines = self.in_features.div_ceil(STEP) * BLOCK;
        &self.lines[panel * lines..(panel + 1) * lines]
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::values;
    use super::*;

    #[test]
    fn values_come_back() {
        for (inputs, outputs) in [(1, 1), (7, 5), (32, 32), (33, 31), (65, 40), (2, 100)] {
            let weights = values(inputs * outputs, 1);
            let matrix = F32Matrix::pack(Floats::F32(&weights), inputs, outputs);
            assert_eq!(matrix.len(), weights.len());
            let bf16: Vec<_> = weights.iter().map(|&value| half::bf16::from_f32(value)).collect();
            let widened: Vec<_> = bf16.iter().map(|value| value.to_f32()).collect();
            assert!(
                F32Matrix::pack(Floats::Bf16(&bf16), inputs, outputs)
                    == F32Matrix::pack(Floats::F32(&widened), inputs, outputs)
            );
            for (output, row) in weights.chunks(inputs).enumerate() {
                let first = output % inputs;
                let mut values = vec![f32::NAN; inputs - first];
                matrix.widen(output, first, &mut values);
                assert_eq!(values, row[first..]);
            }
        }
        assert_eq!(F32Matrix::pack(Floats::F32(&[]), 0, 3).len(), 0);
    }
}
