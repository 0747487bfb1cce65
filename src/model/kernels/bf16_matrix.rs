//! Weights in bf16, laid out as the processor's products of bf16 read them.

#[cfg(target_arch = "x86_64")]
use std::ops::Range;

use half::bf16;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::blocks::Units;
use super::line::{BLOCK, HALF, Line, transposed};
use super::linear::Products;
use super::scratch::{filled, resize_exact};
use super::simd::vectorised;

/// A weight matrix `[out, in]`:
///
/// ```text
/// panel (32 outputs) -> step (32 inputs) -> two halves -> 16 lines, one for a pair of inputs: 16 outputs x 2
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
    /// Whether this processor is faster with weights in this layout, so much that it is worth laying them out for
    /// one call if `once`, or for all.
    pub fn pays(products: Products, once: bool) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let Units { bf16, f32, .. } = Units::best();
            bf16.is_some_and(|unit| unit.parts(products).is_some()) || (f32.is_some() && !once)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            let _ = (products, once);
            false
        }
    }

    /// Lays out `values`, row by row `[out, in]`.
    pub fn pack(values: &[bf16], in_features: usize, out_features: usize) -> Self {
        let lines = filled(out_features.div_ceil(BLOCK) * in_features.div_ceil(BLOCK) * BLOCK, Line::ZERO);
        let mut matrix = Self { lines, ..Self::default() };
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
            if Units::best().bf16.is_some() {
                // SAFETY: any unit implies AVX512F and BW.
                unsafe { super::blocks::pack_weights(rows, in_features, lines) };
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
        let (half, lane) = (output % BLOCK / HALF, output % HALF);
        for (input, value) in (first..).zip(values) {
            let line = &panel[(input / BLOCK * 2 + half) * HALF + input % BLOCK / 2];
            *value = bf16::from_bits(line.0[lane * 2 + input % 2]).to_f32();
        }
    }

    /// The lines of a panel.
    fn panel(&self, panel: usize) -> &[Line] {
        let lines = self.lines_per_panel();
        &self.lines[panel * lines..(panel + 1) * lines]
    }

    /// The lines of some steps of a panel.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn steps(&self, panel: usize, steps: &Range<usize>) -> &[Line] {
        &self.panel(panel)[steps.start * BLOCK..steps.end * BLOCK]
    }

    /// Widens the weights of a panel from a step of [`F32Matrix`](super::F32Matrix) on, which has half as many
    /// inputs: as many as `lines` are of that layout.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn widen_steps(&self, panel: usize, first_step: usize, lines: &mut [Line]) {
        let panel = &self.panel(panel)[first_step / 2 * BLOCK..];
        vectorised(
            #[inline(always)]
            || {
                for (step, lines) in (first_step % 2..).zip(lines.chunks_exact_mut(BLOCK)) {
                    for (half, lines) in lines.chunks_exact_mut(HALF).enumerate() {
                        let narrow = &panel[(step / 2 * 2 + half) * HALF + step % 2 * HALF / 2..];
                        for (wide, pairs) in lines.as_chunks_mut::<2>().0.iter_mut().zip(narrow) {
                            let [even, odd] = wide.each_mut().map(Line::pairs_mut);
                            for ((even, odd), pair) in even.iter_mut().zip(odd).zip(pairs.pairs()) {
                                (*even, *odd) = (pair << 16, pair & 0xFFFF_0000);
                            }
                        }
                    }
                }
            },
        );
    }

    fn lines_per_panel(&self) -> usize {
        self.in_features.div_ceil(BLOCK) * BLOCK
    }
}

/// Lays out up to 32 rows of weights, of `in_features` values each, on any processor.
fn pack_panel(rows: &[bf16], in_features: usize, lines: &mut [Line]) {
    let pair = |[even, odd]: [bf16; 2]| u32::from(even.to_bits()) | u32::from(odd.to_bits()) << 16;
    vectorised(
        #[inline(always)]
        || {
            for (index, lines) in lines.chunks_exact_mut(HALF).enumerate() {
                let inputs = index / 2 * BLOCK..in_features.min((index / 2 + 1) * BLOCK);
                let mut pairs = [[0; HALF]; HALF];
                let rows = rows.chunks_exact(in_features).skip(index % 2 * HALF);
                for (pairs, row) in pairs.iter_mut().zip(rows) {
                    let (values, last) = row[inputs.clone()].as_chunks::<2>();
                    pairs.iter_mut().zip(values).for_each(|(to, values)| *to = pair(*values));
                    if let [value] = last {
                        pairs[values.len()] = pair([*value, bf16::ZERO]);
                    }
                }
                let columns = lines.iter_mut().zip(transposed(pairs));
                columns.for_each(|(line, pairs)| *line.pairs_mut() = pairs);
            }
        },
    );
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    use super::super::f32_matrix::F32Matrix;
    #[cfg(target_arch = "x86_64")]
    use super::super::floats::Floats;
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

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn widened_steps_are_laid_out_as_f32_is() {
        for (inputs, outputs) in [(1, 1), (33, 31), (100, 65)] {
            let weights = values(inputs * outputs, 1);
            let bf16: Vec<bf16> = weights.iter().map(|&value| bf16::from_f32(value)).collect();
            let wide: Vec<f32> = bf16.iter().map(|value| value.to_f32()).collect();
            let (narrow, wide) = (
                Bf16Matrix::pack(&bf16, inputs, outputs),
                F32Matrix::pack(Floats::F32(&wide), inputs, outputs),
            );
            let steps = inputs.div_ceil(HALF);
            for (panel, first) in (0..outputs.div_ceil(BLOCK)).flat_map(|p| (0..steps).map(move |s| (p, s))) {
                let mut lines = vec![Line([1; BLOCK]); (steps - first) * BLOCK];
                narrow.widen_steps(panel, first, &mut lines);
                assert!(lines == wide.steps(panel, &(first..steps)), "{inputs} inputs, panel {panel}");
            }
        }
    }
}
