#[cfg(target_arch = "x86_64")]
use super::super::blocks::{Bf16Unit, F32Unit};
use super::super::floats::Floats;
use super::super::test_data::{assert_close, values};
use super::*;

/// Sizes around and between every block: 32 rows and outputs, 128 inputs and outputs, 512 inputs and rows, 768 rows.
const SHAPES: [(usize, usize, usize); 9] = [
    (1, 1, 1),
    (3, 5, 7),
    (32, 32, 32),
    (33, 31, 65),
    (40, 64, 64),
    (100, 1037, 50),
    (556, 131, 40),
    (800, 70, 129),
    (7, 2100, 300),
];

struct Case {
    shape: LinearShape,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Case {
    fn transposed(&self) -> Vec<f32> {
        transpose(&self.weight, self.shape.out_features, self.shape.in_features)
    }

    fn packed(&self) -> F32Matrix {
        F32Matrix::pack(Floats::F32(&self.weight), self.shape.in_features, self.shape.out_features)
    }
}

#[test]
fn transposing_swaps_rows_and_columns() {
    assert_eq!(transpose(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    for (rows, columns) in [(1, 40), (40, 1), (33, 47), (0, 5)] {
        let matrix = values(rows * columns, 1);
        assert_eq!(transpose(&transpose(&matrix, rows, columns), columns, rows), matrix);
    }
}

fn case((rows, in_features, out_features): (usize, usize, usize)) -> Case {
    Case {
        shape: LinearShape { rows, in_features, out_features },
        x: values(rows * in_features, 1),
        // Exact in bf16 and f16, so that every type of weight has the same reference.
        weight: values(in_features * out_features, 2).iter().map(|v| (v * 128.0).round() / 128.0).collect(),
        bias: values(out_features, 3),
    }
}

fn reference(x: &[f32], case: &Case, bias: bool) -> Vec<f64> {
    let LinearShape { in_features, out_features, .. } = case.shape;
    let mut y = Vec::new();
    for x in x.chunks(in_features) {
        for (output, weight) in case.weight.chunks(in_features).enumerate() {
            let sum: f64 = x.iter().zip(weight).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum();
            y.push(sum + if bias { f64::from(case.bias[output]) } else { 0.0 });
        }
    }
    assert_eq!(y.len(), case.shape.rows * out_features);
    y
}

fn bf16_values(values: &[f32]) -> Vec<bf16> {
    values.iter().map(|&v| bf16::from_f32(v)).collect()
}

fn f16_values(values: &[f32]) -> Vec<f16> {
    values.iter().map(|&v| f16::from_f32(v)).collect()
}

/// NaN everywhere: a value that is not written, or added to, shows.
fn unwritten(shape: LinearShape) -> Vec<f32> {
    vec![f32::NAN; shape.rows * shape.out_features]
}

#[test]
fn f32_weights_match_the_definition() {
    for case in SHAPES.map(case) {
        for bias in [None, Some(&case.bias[..])] {
            let mut y = unwritten(case.shape);
            let (transposed, packed) = (case.transposed(), case.packed());
            for weight in [WeightRef::F32(&transposed), WeightRef::PackedF32(&packed)] {
                y.fill(f32::NAN);
                linear(&case.x, weight, Products::Exact, case.shape, bias, &mut y).unwrap();
                assert_close(&y, &reference(&case.x, &case, bias.is_some()), 1e-5);
            }
        }
    }
}

#[test]
fn widened_weights_match_the_definition() {
    for case in SHAPES.map(case) {
        let want = reference(&case.x, &case, true);
        let mut y = unwritten(case.shape);
        let (bf16, inputs) = (bf16_values(&case.weight), case.shape.in_features);
        linear_widened(&case.x, half_rows(&bf16, inputs), case.shape, Some(&case.bias), &mut y);
        assert_close(&y, &want, 1e-5);
        let (mut y, f16) = (unwritten(case.shape), f16_values(&case.weight));
        linear(&case.x, WeightRef::F16(&f16), Products::Rounded, case.shape, Some(&case.bias), &mut y)
            .unwrap();
        assert_close(&y, &want, 1e-5);
    }
}

#[test]
fn bf16_weights_match_the_definition_on_this_processor() {
    for case in SHAPES.map(case) {
        // Activations may have been rounded: 8 bits.
        for (products, tolerance) in [(Products::Rounded, 4e-3), (Products::Exact, 1e-5)] {
            let (weight, want) = (bf16_values(&case.weight), reference(&case.x, &case, false));
            let packed = Bf16Matrix::pack(&weight, case.shape.in_features, case.shape.out_features);
            for weight in [WeightRef::Bf16(&weight), WeightRef::PackedBf16(&packed)] {
                let mut y = unwritten(case.shape);
                linear(&case.x, weight, products, case.shape, None, &mut y).unwrap();
                assert_close(&y, &want, tolerance);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_bf16_unit_multiplies_activations_rounded_or_whole() {
    let units = Bf16Unit::available();
    if units.is_empty() {
        eprintln!("skipped: this processor does not multiply bf16");
    }
    for (unit, case) in units.iter().flat_map(|unit| SHAPES.map(|shape| (*unit, case(shape)))) {
        let LinearShape { in_features, out_features, .. } = case.shape;
        let rounded: Vec<f32> = bf16_values(&case.x).iter().map(|v| v.to_f32()).collect();
        let weight = Bf16Matrix::pack(&bf16_values(&case.weight), in_features, out_features);
        let (transposed, packed) = (case.transposed(), case.packed());
        for (weight, products, x) in [
            (WeightRef::PackedBf16(&weight), Products::Rounded, &rounded),
            (WeightRef::PackedBf16(&weight), Products::Exact, &case.x),
            (WeightRef::F32(&transposed), Products::Exact, &case.x),
            (WeightRef::PackedF32(&packed), Products::Exact, &case.x),
        ] {
            for bias in [None, Some(&case.bias[..])] {
                let mut y = unwritten(case.shape);
                let layer = LinearRef { weight, bias, shape: case.shape };
                let units = Units { bf16: Some(unit), ..Units::default() };
                // SAFETY: the unit is available, and the case has the lengths of its shape.
                let done = unsafe { blocks::linear(units, &case.x, layer, products, &mut y) };
                let is_f32 = matches!(weight, WeightRef::F32(_) | WeightRef::PackedF32(_));
                let few = is_f32 && case.shape.rows <= 32;
                assert_eq!(done, (unit == Bf16Unit::Tiles || products == Products::Rounded) && !few);
                if done {
                    assert_close(&y, &reference(x, &case, bias.is_some()), 1e-5);
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn every_f32_unit_multiplies_f32_and_widened_bf16_and_a_row_alone_alike() {
    let units: Vec<F32Unit> = F32Unit::available().into_iter().chain([F32Unit::Emulated]).collect();
    if units.len() == 1 {
        eprintln!("skipped: this processor has no AVX2");
    }
    for (unit, case) in units.iter().flat_map(|unit| SHAPES.map(|shape| (*unit, case(shape)))) {
        let LinearShape { rows, in_features, out_features } = case.shape;
        let bf16 = Bf16Matrix::pack(&bf16_values(&case.weight), in_features, out_features);
        let f32 = case.packed();
        let units = Units { f32: Some(unit), ..Units::default() };
        let run = |x: &[f32], weight, bias, shape: LinearShape| {
            let mut y = unwritten(shape);
            // SAFETY: the unit is available, and the slices have the lengths of the shape.
            let done = unsafe {
                blocks::linear(units, x, LinearRef { weight, bias, shape }, Products::Exact, &mut y)
            };
            assert!(done);
            y
        };
        for bias in [None, Some(&case.bias[..])] {
            let y = run(&case.x, WeightRef::PackedF32(&f32), bias, case.shape);
            assert_close(&y, &reference(&case.x, &case, bias.is_some()), 1e-5);
            assert!(y == run(&case.x, WeightRef::PackedBf16(&bf16), bias, case.shape));
            let last = &case.x[(rows - 1) * in_features..];
            let alone = run(last, WeightRef::PackedF32(&f32), bias, LinearShape { rows: 1, ..case.shape });
            assert_eq!(alone, y[(rows - 1) * out_features..], "{unit:?}");
        }
    }
}

/// Weights with all their bits, against f64 and the `gemm` crate: no further off, but for a little.
#[cfg(target_arch = "x86_64")]
#[test]
fn f32_cut_into_parts_is_as_exact_as_f32() {
    if Units::best().bf16 != Some(Bf16Unit::Tiles) {
        eprintln!("skipped: this processor has no tile unit");
        return;
    }
    let mut case = case((40, 2048, 96));
    case.weight = values(case.weight.len(), 7);
    let want = reference(&case.x, &case, false);
    let error = |y: &[f32]| {
        let squares: f64 = y.iter().zip(&want).map(|(&y, want)| (f64::from(y) - want).powi(2)).sum();
        (squares / want.len() as f64).sqrt()
    };
    let transposed = case.transposed();
    let (mut by_parts, mut by_vectors) = (unwritten(case.shape), unwritten(case.shape));
    linear(&case.x, WeightRef::F32(&transposed), Products::Exact, case.shape, None, &mut by_parts).unwrap();
    linear_f32(&case.x, &transposed, case.shape, None, &mut by_vectors);
    assert_ne!(by_parts, by_vectors);
    assert!(error(&by_parts) < 1.5 * error(&by_vectors), "{} {}", error(&by_parts), error(&by_vectors));
}

#[test]
fn threads_do_not_change_a_bit_and_other_rows_hardly() {
    let case = case((300, 1100, 170));
    let (f32, bf16, f16) = (case.transposed(), bf16_values(&case.weight), f16_values(&case.weight));
    let packed = case.packed();
    for (weight, products) in [
        (WeightRef::F32(&f32), Products::Exact),
        (WeightRef::PackedF32(&packed), Products::Exact),
        (WeightRef::Bf16(&bf16), Products::Rounded),
        (WeightRef::Bf16(&bf16), Products::Exact),
        (WeightRef::F16(&f16), Products::Exact),
    ] {
        let with_threads = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut y = unwritten(case.shape);
            pool.install(|| linear(&case.x, weight, products, case.shape, Some(&case.bias), &mut y)).unwrap();
            y
        };
        let all = with_threads(1);
        assert!(all == with_threads(3), "the number of threads shows");
        for (row, x) in case.x.chunks(1100).enumerate().step_by(37) {
            let mut alone = vec![f32::NAN; 170];
            let shape = LinearShape { rows: 1, ..case.shape };
            linear(x, weight, products, shape, Some(&case.bias), &mut alone).unwrap();
            let batched: Vec<f64> = all[row * 170..][..170].iter().map(|&v| f64::from(v)).collect();
            // A lone row is summed in another order.
            assert_close(&alone, &batched, 3e-6);
        }
    }
}

#[test]
fn empty_and_ill_fitting_operands() {
    let shape = LinearShape { rows: 2, in_features: 3, out_features: 4 };
    let (x, w, bias) = ([1.0; 6], [1.0; 12], [0.5; 4]);
    let mut y = [0.0; 8];
    let got = linear(&x, WeightRef::F32(&w[1..]), Products::Exact, shape, None, &mut y);
    assert_eq!(got, Err(KernelError::Length { kernel: "linear", operand: "weight", expected: 12, got: 11 }));
    assert!(linear(&x[1..], WeightRef::F32(&w), Products::Exact, shape, None, &mut y).is_err());
    assert!(linear(&x, WeightRef::F32(&w), Products::Exact, shape, Some(&bias[1..]), &mut y).is_err());
    assert!(linear(&x, WeightRef::F32(&w), Products::Exact, shape, None, &mut y[1..]).is_err());
    let no_inputs = LinearShape { in_features: 0, ..shape };
    linear(&[], WeightRef::F32(&[]), Products::Exact, no_inputs, Some(&bias), &mut y).unwrap();
    assert_eq!(y, [0.5; 8]);
    let no_rows = LinearShape { rows: 0, ..shape };
    assert_eq!(linear(&[], WeightRef::F32(&w), Products::Exact, no_rows, None, &mut []), Ok(()));
}
