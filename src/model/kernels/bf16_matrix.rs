//! Weights in bf16, laid out as the processor's products of bf16 read them.

use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

use super::linear::Products;
use super::scratch::resize_exact;

/// Rows and outputs of a block, and inputs of a step.
pub(super) const BLOCK: usize = 32;
/// Outputs of a tile, of which a step of a panel has two.
const TILE: usize = 16;

/// One cache line of packed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub(super) struct Line([u16; BLOCK]);

impl Line {
    pub(super) const ZERO: Self = Self([0; BLOCK]);

    /// The same memory of int8.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn of_bytes(bytes: &[i8; 2 * BLOCK]) -> Self {
        // SAFETY: both are 64 plain bytes.
        unsafe { std::mem::transmute::<[i8; 2 * BLOCK], Self>(*bytes) }
    }
}

/// A weight matrix `[out, in]`:
///
/// ```text
/// panel (32 outputs) -> step (32 inputs) -> two tiles -> 16 lines, one for a pair of inputs: 16 outputs x 2
/// ```
///
/// It takes as much memory as the matrix row by row, filled up to whole panels and steps.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bf16Matrix {
    lines: Vec<Line>,
    in_features: usize,
    out_features: usize,
}

impl Bf16Matrix {
    /// Whether this processor is faster with weights in this layout.
    pub fn pays(products: Products) -> bool {
        #[cfg(target_arch = "x86_64")]
        return super::gemm_bf16::Bf16Unit::best().is_some_and(|unit| unit.parts(products).is_some());
        #[cfg(not(target_arch = "x86_64"))]
        return false;
    }

    /// Lays out `values`, row by row `[out, in]`.
    pub fn pack(values: &[bf16], in_features: usize, out_features: usize) -> Self {
        let mut matrix = Self::default();
        matrix.repack(values, in_features, out_features);
        matrix
    }

    /// [`pack`](Self::pack) in the memory of a matrix that is done with.
    pub(super) fn repack(&mut self, values: &[bf16], in_features: usize, out_features: usize) {
        (self.in_features, self.out_features) = (in_features, out_features);
        let lines_per_panel = self.lines_per_panel();
        resize_exact(&mut self.lines, out_features.div_ceil(BLOCK) * lines_per_panel, Line::ZERO);
        if self.lines.is_empty() {
            return;
        }
        self.lines.par_chunks_mut(lines_per_panel).enumerate().for_each(|(panel, lines)| {
            let outputs = panel * BLOCK..out_features.min((panel + 1) * BLOCK);
            let rows = &values[outputs.start * in_features..outputs.end * in_features];
            #[cfg(target_arch = "x86_64")]
            if super::gemm_bf16::Bf16Unit::best().is_some() {
                // SAFETY: any unit implies AVX512F and BW.
                unsafe { super::gemm_bf16::pack_weights(rows, in_features, lines) };
                return;
            }
            pack_panel(rows, in_features, lines);
        });
    }

    /// Values of the matrix.
    pub fn len(&self) -> usize {
        self.in_features * self.out_features
    }

    /// Writes the values of an output from the input `first` on.
    pub fn widen(&self, output: usize, first: usize, values: &mut [f32]) {
        let panel = self.panel(output / BLOCK);
        let (tile, lane) = (output % BLOCK / TILE, output % TILE);
        for (input, value) in (first..).zip(values) {
            let line = &panel[(input / BLOCK * 2 + tile) * TILE + input % BLOCK / 2];
            *value = bf16::from_bits(line.0[lane * 2 + input % 2]).to_f32();
        }
    }

    /// The lines of a panel.
    fn panel(&self, panel: usize) -> &[Line] {
        let lines = self.lines_per_panel();
        &self.lines[panel * lines..(panel + 1) * lines]
    }

    /// The lines of some steps of a panel.
    pub(super) fn steps(&self, panel: usize, steps: &Range<usize>) -> &[Line] {
        &self.panel(panel)[steps.start * BLOCK..steps.end * BLOCK]
    }

    fn lines_per_panel(&self) -> usize {
        self.in_features.div_ceil(BLOCK) * BLOCK
    }
}

/// Lays out up to 32 rows of weights, of `in_features` values each, on any processor.
fn pack_panel(rows: &[bf16], in_features: usize, lines: &mut [Line]) {
    lines.fill(Line::ZERO);
    for (row, values) in rows.chunks_exact(in_features).enumerate() {
        let (tile, lane) = (row / TILE, row % TILE);
        for (values, step) in values.chunks(BLOCK).zip(lines.chunks_exact_mut(BLOCK)) {
            for (pair, line) in values.chunks(2).zip(&mut step[tile * TILE..]) {
                for (value, place) in pair.iter().zip(&mut line.0[lane * 2..]) {
                    *place = value.to_bits();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_data::values;
    use super::*;

    #[test]
    fn values_come_back_however_they_are_laid_out() {
        for (inputs, outputs) in [(1, 1), (7, 5), (32, 32), (33, 31), (65, 40), (2, 100)] {
            let weights: Vec<bf16> =
                values(inputs * outputs, 1).iter().map(|&value| bf16::from_f32(value)).collect();
            // What was there before does not show.
            let mut matrix = Bf16Matrix::pack(&[bf16::ONE; 200 * 70], 200, 70);
            matrix.repack(&weights, inputs, outputs);
            assert_eq!(matrix, Bf16Matrix::pack(&weights, inputs, outputs));
            assert_eq!(matrix.len(), weights.len());
            for (panel, rows) in weights.chunks(BLOCK * inputs).enumerate() {
                let mut anywhere = vec![Line([1; BLOCK]); matrix.lines_per_panel()];
                pack_panel(rows, inputs, &mut anywhere);
                assert!(anywhere == matrix.panel(panel), "{inputs} inputs, panel {panel}");
            }
            for (output, row) in weights.chunks(inputs).enumerate() {
                let first = output % inputs;
                let mut wide = vec![f32::NAN; inputs - first];
                matrix.widen(output, first, &mut wide);
                assert!(wide.iter().zip(&row[first..]).all(|(wide, value)| *wide == value.to_f32()));
            }
        }
        assert_eq!(Bf16Matrix::pack(&[], 0, 3).len(), 0);
    }
}
