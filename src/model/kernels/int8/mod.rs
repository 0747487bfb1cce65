//! Linear layers whose weights are int8.
//!
//! Each row of weights has one scale, its largest value over 127. Activations are rounded to int8 when they
//! arrive, with a scale for every [`GROUP`] inputs of a row, so that a value far beyond the others blurs
//! those of its group alone. Products of integers are summed in i32 over a group, which is exact, and groups
//! in f32.
//!
//! Weights are laid out once, as every unit reads them:
//!
//! ```text
//! panel (16 outputs) -> line (4 inputs) -> 16 outputs x 4 inputs, 64 bytes
//! ```
//!
//! A row's result is the same bit for bit whatever rows are computed along with it, however many threads there
//! are, and whatever unit multiplies, but for the order in which the last additions are rounded.

mod block;

use rayon::prelude::*;

use super::linear::LinearRef;
use super::parallel::SharedMut;
use super::scratch::{filled, resize_exact};
use super::simd::{max_of, sum_of, vectorised};
#[cfg(target_arch = "x86_64")]
use block::{Avx2, Vnni};
use block::{MAX_ROWS, Portable, Unit};

/// Inputs of a line.
const QUAD: usize = 4;
/// Outputs of a panel.
const OUTPUTS: usize = 16;
/// Inputs that share a scale of the activations.
const GROUP: usize = 256;
/// Lines of a group.
const GROUP_LINES: usize = GROUP / QUAD;
/// Inputs are filled up with zeros to a multiple of this, the step of the tile unit.
pub(super) const STEP: usize = 64;
/// Steps of a group.
#[cfg(target_arch = "x86_64")]
pub(super) const GROUP_STEPS: usize = GROUP / STEP;
/// Largest magnitude of a weight or an activation.
const LARGEST: f32 = 127.0;

/// The weights of four inputs for sixteen outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
struct Line([i8; OUTPUTS * QUAD]);

/// A weight matrix `[out, in]` in int8 with a scale per output.
#[derive(Debug, Clone, PartialEq)]
pub struct Int8Matrix {
    lines: Vec<Line>,
    /// Of the outputs, filled up to whole panels.
    scales: Vec<f32>,
    in_features: usize,
    out_features: usize,
}

impl Int8Matrix {
    /// Rounds the matrix whose row `output` is what `read` writes to the slice it is given.
    pub fn round(in_features: usize, out_features: usize, read: impl Fn(usize, &mut [f32]) + Sync) -> Self {
        Self::pack(in_features, out_features, |output, rounded| {
            let mut row = vec![0.0; in_features];
            read(output, &mut row);
            round_to_int8(&row, rounded)
        })
    }

    /// The matrix whose row `output` is what `read` writes, times the scale it returns.
    pub fn pack(
        in_features: usize,
        out_features: usize,
        read: impl Fn(usize, &mut [i8]) -> f32 + Sync,
    ) -> Self {
        let lines_per_panel = in_features.next_multiple_of(STEP) / QUAD;
        let panels = out_features.div_ceil(OUTPUTS);
        let mut lines = filled(panels * lines_per_panel, Line([0; OUTPUTS * QUAD]));
        let mut scales = vec![0.0; panels * OUTPUTS];
        if in_features > 0 {
            let panels = lines.par_chunks_mut(lines_per_panel).zip(scales.par_chunks_mut(OUTPUTS));
            panels.enumerate().for_each(|(panel, (lines, scales))| {
                let mut row = vec![0; in_features];
                let outputs = panel * OUTPUTS..out_features.min((panel + 1) * OUTPUTS);
                for (lane, (output, scale)) in outputs.zip(scales).enumerate() {
                    *scale = read(output, &mut row);
                    let (quads, rest) = row.as_chunks::<QUAD>();
                    for (line, quad) in lines.iter_mut().zip(quads) {
                        line.0.as_chunks_mut::<QUAD>().0[lane] = *quad;
                    }
                    if let Some(line) = lines.get_mut(quads.len()) {
                        line.0[lane * QUAD..][..rest.len()].copy_from_slice(rest);
                    }
                }
            });
        }
        Self { lines, scales, in_features, out_features }
    }

    /// Values of the matrix.
    pub fn len(&self) -> usize {
        self.in_features * self.out_features
    }

    /// Writes the values of an output from the input `first` on.
    pub fn widen(&self, output: usize, first: usize, values: &mut [f32]) {
        let lines = self.panel(output / OUTPUTS);
        let (lane, scale) = (output % OUTPUTS * QUAD, self.scales[output]);
        for (input, value) in (first..).zip(values) {
            *value = f32::from(lines[input / QUAD].0[lane + input % QUAD]) * scale;
        }
    }

    fn panel(&self, panel: usize) -> &[Line] {
        let lines = self.in_features.next_multiple_of(STEP) / QUAD;
        &self.lines[panel * lines..(panel + 1) * lines]
    }

    /// The weights of a pair of panels from a step on. The second of a pair that has none is the first once more.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn tiles(&self, pair: usize, first_step: usize) -> [*const i8; 2] {
        let last = self.out_features.div_ceil(OUTPUTS) - 1;
        [2 * pair, last.min(2 * pair + 1)]
            .map(|panel| self.panel(panel)[first_step * STEP / QUAD..].as_ptr().cast())
    }

    /// The scales of the outputs.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }
}

/// Rounds `values` to multiples of what is returned. A value that is not finite makes that so as well.
pub fn round_to_int8(values: &[f32], rounded: &mut [i8]) -> f32 {
    // What is below has an inverse beyond f32.
    const SMALLEST: f32 = 1e-30;
    // Added and taken off, it rounds to the nearest integer.
    const ROUNDER: f32 = 12_582_912.0;
    vectorised(
        #[inline(always)]
        || {
            let largest = max_of(values, 0.0, f32::abs);
            // NaN is passed over there.
            let unsound = sum_of(values, |value| value * 0.0);
            let inverse = if largest > SMALLEST { LARGEST / largest } else { 0.0 };
            for (rounded, value) in rounded.iter_mut().zip(values) {
                *rounded = ((value * inverse + ROUNDER).to_bits() as i32 - ROUNDER.to_bits() as i32) as i8;
            }
            largest / LARGEST + unsound
        },
    )
}

/// Activations, rounded.
#[derive(Default)]
struct Rows<T> {
    /// (blocks of [`per_block`](Self::per_block) rows, lines of the weights, rows of the block, [`QUAD`]): in the order
    /// in which they are read.
    values: Vec<T>,
    /// The group's scale and the sum of its values, (rows, groups).
    groups: Vec<(f32, i32)>,
    per_block: usize,
    width: usize,
}

impl<T: Copy + Default + From<i8> + Send> Rows<T> {
    /// Rounds the rows of `x`, of `in_features` values each, for so many to be multiplied at once.
    fn round(&mut self, x: &[f32], in_features: usize, per_block: usize) {
        self.width = in_features.next_multiple_of(STEP);
        self.per_block = per_block;
        let (rows, groups) = (x.len() / in_features, in_features.div_ceil(GROUP));
        resize_exact(&mut self.values, rows.next_multiple_of(per_block) * self.width, T::default());
        self.groups.resize(rows * groups, (0.0, 0));
        let values = self.values.par_chunks_mut(per_block * self.width);
        let blocks = values.zip(self.groups.par_chunks_mut(per_block * groups));
        blocks.zip(x.par_chunks(per_block * in_features)).for_each(|((values, of_rows), x)| {
            let mut rounded = [0i8; GROUP];
            let of_rows = of_rows.chunks_exact_mut(groups).zip(x.chunks_exact(in_features));
            for (row, (groups, x)) in of_rows.enumerate() {
                let values = values.chunks_mut(GROUP * per_block);
                for ((values, group), x) in values.zip(groups).zip(x.chunks(GROUP)) {
                    let rounded = &mut rounded[..values.len() / per_block];
                    rounded.fill(0);
                    let scale = round_to_int8(x, rounded);
                    *group = (scale, rounded.iter().map(|value| i32::from(*value)).sum());
                    let quads = values.as_chunks_mut::<QUAD>().0.iter_mut().skip(row).step_by(per_block);
                    for (values, rounded) in quads.zip(rounded.as_chunks::<QUAD>().0) {
                        *values = rounded.map(T::from);
                    }
                }
            }
        });
    }

    /// The values of the block that begins with a row.
    fn block(&self, first_row: usize) -> &[T] {
        &self.values[first_row * self.width..(first_row + self.per_block) * self.width]
    }

    /// The scales and sums of a row's groups.
    fn groups(&self, row: usize) -> &[(f32, i32)] {
        let groups = self.width.div_ceil(GROUP);
        &self.groups[row * groups..(row + 1) * groups]
    }
}

/// `y = x * weight^T + bias`; the slices have the lengths of the shape and no dimension is 0.
pub(super) fn linear(x: &[f32], layer: LinearRef<'_, &Int8Matrix>, y: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    {
        if Vnni::is_available() {
            return linear_by::<Vnni>(x, layer, y);
        }
        if Avx2::is_available() {
            return linear_by::<Avx2>(x, layer, y);
        }
    }
    linear_by::<Portable>(x, layer, y);
}

/// The same on a unit, which this processor has.
fn linear_by<U: Unit>(x: &[f32], layer: LinearRef<'_, &Int8Matrix>, y: &mut [f32]) {
    let LinearRef { weight, bias, shape } = layer;
    let mut rows = U::spare().take();
    rows.round(x, shape.in_features, U::ROWS);
    let panels = shape.out_features.div_ceil(OUTPUTS);
    // More than threads, for these are not equally fast.
    let tasks = panels.min(4 * rayon::current_num_threads());
    let rows_per_block = (U::VALUES_PER_BLOCK / rows.width / U::ROWS).max(1) * U::ROWS;
    let out = SharedMut::new(y);
    (0..tasks).into_par_iter().for_each(|task| {
        let panels = panels * task / tasks..panels * (task + 1) / tasks;
        let mut sums = [[0f32; OUTPUTS]; MAX_ROWS];
        for first in (0..shape.rows).step_by(rows_per_block) {
            let block = first..shape.rows.min(first + rows_per_block);
            for panel in panels.clone() {
                let lines = weight.panel(panel);
                let output = panel * OUTPUTS;
                let outputs = OUTPUTS.min(shape.out_features - output);
                let scales = &weight.scales[output..];
                for row in block.clone().step_by(U::ROWS) {
                    let rows_here = row..block.end.min(row + U::ROWS);
                    let sums = &mut sums[..rows_here.len()];
                    // SAFETY: the processor has the unit (caller), and as many rows are there.
                    unsafe { U::multiply(&rows, rows_here.clone(), lines, sums) };
                    for (row, sums) in rows_here.zip(sums) {
                        // SAFETY: these outputs of this row lie within `y`, and are this task's own.
                        let y = unsafe {
                            let first = out.as_ptr().add(row * shape.out_features + output);
                            std::slice::from_raw_parts_mut(first, outputs)
                        };
                        for ((y, sum), scale) in y.iter_mut().zip(sums).zip(scales) {
                            *y = *sum * scale;
                        }
                        if let Some(bias) = bias {
                            y.iter_mut().zip(&bias[output..]).for_each(|(y, bias)| *y += bias);
                        }
                    }
                }
            }
        }
    });
    U::spare().set(rows);
}

#[cfg(test)]
mod tests {
    #[cfg(target_arch = "x86_64")]
    use super::super::blocks::{self, Int8Unit, Units};
    use super::super::linear::LinearShape;
    #[cfg(target_arch = "x86_64")]
    use super::super::linear::{Products, WeightRef};
    use super::super::test_data::{assert_close, values};
    use super::*;

    /// Rows, inputs and outputs around every block.
    const SHAPES: [[usize; 3]; 11] = [
        [1, 1, 1],
        [3, 5, 7],
        [6, 64, 16],
        [7, 255, 17],
        [12, 256, 31],
        [13, 257, 33],
        [25, 1100, 50],
        [150, 1030, 20],
        [300, 600, 5],
        [150, 8200, 3],
        [145, 320, 81],
    ];

    fn matrix(weight: &[f32], inputs: usize, outputs: usize) -> Int8Matrix {
        Int8Matrix::round(inputs, outputs, |row, values| {
            values.copy_from_slice(&weight[row * inputs..(row + 1) * inputs]);
        })
    }

    /// What the rounded values give in f64.
    fn reference(
        x: &[f32],
        weight: &Int8Matrix,
        bias: &[f32],
        [rows, inputs, outputs]: [usize; 3],
    ) -> Vec<f64> {
        let mut wide = vec![0.0; inputs * outputs];
        (0..outputs).for_each(|row| weight.widen(row, 0, &mut wide[row * inputs..(row + 1) * inputs]));
        let mut rounded = vec![0.0; x.len()];
        for (x, rounded) in x.chunks(inputs).zip(rounded.chunks_mut(inputs)) {
            for (x, rounded) in x.chunks(GROUP).zip(rounded.chunks_mut(GROUP)) {
                let mut integers = [0; GROUP];
                let scale = f64::from(round_to_int8(x, &mut integers[..x.len()]));
                let values = integers.map(|integer| f64::from(integer) * scale);
                rounded.copy_from_slice(&values[..x.len()]);
            }
        }
        let outputs = (0..rows * outputs).map(|index| {
            let (row, output) = (index / outputs, index % outputs);
            let x = &rounded[row * inputs..(row + 1) * inputs];
            let weight = &wide[output * inputs..(output + 1) * inputs];
            let sum: f64 = x.iter().zip(weight).map(|(x, weight)| x * f64::from(*weight)).sum();
            sum + f64::from(bias[output])
        });
        outputs.collect()
    }

    fn check(linear: impl Fn(&[f32], LinearRef<'_, &Int8Matrix>, &mut [f32])) {
        for shape @ [rows, inputs, outputs] in SHAPES {
            let (x, bias) = (values(rows * inputs, 1), values(outputs, 3));
            let weight = matrix(&values(inputs * outputs, 2), inputs, outputs);
            let layer = LinearRef {
                weight: &weight,
                bias: Some(&bias[..]),
                shape: LinearShape { rows, in_features: inputs, out_features: outputs },
            };
            let mut y = vec![f32::NAN; rows * outputs];
            linear(&x, layer, &mut y);
            assert_close(&y, &reference(&x, &weight, &bias, shape), 1e-5);
            // A row alone is the same to the bit.
            let mut alone = vec![f32::NAN; outputs];
            let shape = LinearShape { rows: 1, ..layer.shape };
            linear(&x[(rows - 1) * inputs..], LinearRef { shape, ..layer }, &mut alone);
            assert_eq!(alone, y[(rows - 1) * outputs..]);
        }
    }

    #[test]
    fn every_unit_multiplies_what_is_rounded() {
        check(linear_by::<Portable>);
        #[cfg(target_arch = "x86_64")]
        {
            if Avx2::is_available() {
                check(linear_by::<Avx2>);
            } else {
                eprintln!("skipped: this processor has no AVX2");
            }
            if Vnni::is_available() {
                check(linear_by::<Vnni>);
            } else {
                eprintln!("skipped: this processor has no AVX512-VNNI");
            }
            let mut units = Int8Unit::available();
            if units.is_empty() {
                eprintln!("skipped: this processor has no AMX-INT8");
            }
            units.push(Int8Unit::Emulated);
            for unit in units {
                let units = Units { int8: Some(unit), ..Units::default() };
                check(|x, LinearRef { weight, bias, shape }, y| {
                    let layer = LinearRef { weight: WeightRef::Int8(weight), bias, shape };
                    // SAFETY: the unit is available, and the lengths are those of the shape.
                    assert!(unsafe { blocks::linear(units, x, layer, Products::Rounded, y) });
                });
            }
        }
    }

    #[test]
    fn weights_come_back_within_half_a_step() {
        let weight = values(33 * 70, 5);
        let rounded = matrix(&weight, 70, 33);
        for (output, row) in weight.chunks(70).enumerate() {
            let largest = row.iter().fold(0f32, |largest, value| largest.max(value.abs()));
            let mut wide = [0.0; 67];
            rounded.widen(output, 3, &mut wide);
            for (wide, value) in wide.iter().zip(&row[3..]) {
                assert!((wide - value).abs() <= largest / 127.0 * 0.501, "{wide} for {value}");
            }
        }
    }

    #[test]
    fn extremes_are_exact_and_what_is_not_finite_stays_so() {
        let mut rounded = [1; 3];
        assert_eq!(round_to_int8(&[0.0, 0.0, -0.0], &mut rounded), 0.0);
        assert_eq!(rounded, [0; 3]);
        assert_eq!(round_to_int8(&[1e-38, 0.0, -1e-38], &mut rounded) * f32::from(rounded[0]), 0.0);
        assert_eq!(round_to_int8(&[-127.0, 1.4, 126.6], &mut rounded), 1.0);
        assert_eq!(rounded, [-127, 1, 127]);
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = values(300, 1);
            x[7] = value;
            let weight = matrix(&values(300, 2), 300, 1);
            let shape = LinearShape { rows: 1, in_features: 300, out_features: 1 };
            let mut y = [0.0];
            linear(&x, LinearRef { weight: &weight, bias: None, shape }, &mut y);
            assert!(!y[0].is_finite(), "{value} gives {}", y[0]);
            assert!(round_to_int8(&x, &mut [0; 300]).is_nan() || value.is_infinite());
        }
    }

    #[test]
    fn a_value_far_beyond_the_others_blurs_its_group_alone() {
        let mut x = values(1024, 1);
        x[700] = 1000.0;
        let mut rows = Rows::<i16>::default();
        rows.round(&x, 1024, 1);
        let of = |group: usize| rows.groups(0)[group].0;
        assert!(of(0) < 0.01 && of(1) < 0.01 && of(2) > 7.0 && of(3) < 0.01);
    }
}
