//! Feed-forward layers: a linear layer, an activation, which may gate a second one of the same shape, and a
//! linear layer behind.

use super::activation::{Activation, activate, gated_mul};
#[cfg(target_arch = "x86_64")]
use super::blocks::{self, Units};
use super::error::KernelError;
use super::linear::{LinearRef, Products, linear};

/// The layers, all of the same rows: `second(activation(first(x)))`, or with `gated`
/// `second(activation(first(x)) * gated(x))`.
#[derive(Debug, Clone, Copy)]
pub struct FeedForward<'a> {
    /// From the inputs to the values between.
    pub first: LinearRef<'a>,
    /// What the activation is multiplied with, of the shape of `first`.
    pub gated: Option<LinearRef<'a>>,
    /// What the values of `first` go through.
    pub activation: Activation,
    /// From the values between to the outputs.
    pub second: LinearRef<'a>,
}

/// Writes the feed-forward layer of `x` `[rows, in]` to `y` `[rows, out]`. The values between are kept in
/// `scratch`, where they have to be: products of blocks need none, and give the same as the layers one after the
/// other.
///
/// # Errors
/// [`KernelError`] when sizes do not agree.
pub fn feed_forward(
    x: &[f32],
    layers: FeedForward<'_>,
    products: Products,
    scratch: &mut [Vec<f32>; 2],
    y: &mut [f32],
) -> Result<(), KernelError> {
    let FeedForward { first, gated, activation, second } = layers;
    let between = first.shape.rows * first.shape.out_features;
    for (what, first, second) in [
        ("the layers have different numbers of rows", first.shape.rows, second.shape.rows),
        (
            "the last layer takes other values than there are",
            first.shape.out_features,
            second.shape.in_features,
        ),
    ] {
        if first != second {
            return Err(KernelError::Shape { kernel: "feed_forward", what, first, second });
        }
    }
    if let Some(gated) = gated
        && gated.shape != first.shape
    {
        let (first, second) = (first.shape.out_features, gated.shape.out_features);
        let what = "the gate and what it gates differ in shape";
        return Err(KernelError::Shape { kernel: "feed_forward", what, first, second });
    }
    #[cfg(target_arch = "x86_64")]
    if between > 0 && first.shape.in_features > 0 && second.shape.out_features > 0 {
        for layer in [Some(first), gated].into_iter().flatten() {
            layer.check("feed_forward", x.len(), between)?;
        }
        second.check("feed_forward", between, y.len())?;
        // SAFETY: `best` answers with available units only, and the lengths were checked.
        if unsafe { blocks::feed_forward(Units::best(), x, layers, products, y) } {
            return Ok(());
        }
    }
    let [values, upped] = scratch;
    let of = |layer: LinearRef<'_>, values: &mut Vec<f32>| {
        values.resize(between, 0.0);
        linear(x, layer.weight, products, layer.shape, layer.bias, values)
    };
    of(first, values)?;
    match gated {
        None => activate(activation, values),
        Some(gated) => {
            of(gated, upped)?;
            gated_mul(activation, values, upped)?;
        }
    }
    linear(values, second.weight, products, second.shape, second.bias, y)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::super::bf16_matrix::Bf16Matrix;
    use super::super::f32_matrix::F32Matrix;
    use super::super::floats::Floats;
    use super::super::linear::{LinearShape, WeightRef, transpose};
    use super::super::test_data::{assert_close, values};
    use super::*;

    /// Rows, inputs, values between and outputs around every block, of one pass over the inputs and of more.
    const SHAPES: [[usize; 4]; 5] =
        [[1, 1, 1, 1], [3, 5, 7, 2], [33, 65, 40, 31], [70, 1100, 100, 64], [530, 40, 1050, 33]];

    fn bf16_values(len: usize, seed: u64) -> Vec<bf16> {
        values(len, seed).iter().map(|&v| bf16::from_f32(v)).collect()
    }

    #[test]
    fn layers_in_one_give_what_they_give_one_after_the_other() {
        for ([rows, inputs, between, outputs], activation, is_gated, biased) in SHAPES
            .into_iter()
            .flat_map(|shape| [Activation::Silu, Activation::GeluTanh].map(|activation| (shape, activation)))
            .flat_map(|(shape, activation)| [(shape, activation, false), (shape, activation, true)])
            .flat_map(|(shape, activation, gated)| {
                [(shape, activation, gated, false), (shape, activation, gated, true)]
            })
        {
            let x = values(rows * inputs, 1);
            let sizes = [[inputs, between], [inputs, between], [between, outputs]];
            let seed = |[from, to]: [usize; 2]| (from * to) as u64;
            let bf16 = sizes
                .map(|size @ [from, to]| Bf16Matrix::pack(&bf16_values(from * to, seed(size)), from, to));
            let f32 = sizes.map(|size @ [from, to]| transpose(&values(from * to, seed(size)), to, from));
            let biases = [between, between, outputs].map(|len| values(len, 5));
            let shape = |in_features, out_features| LinearShape { rows, in_features, out_features };
            let apart = |layer: LinearRef<'_>, x: &[f32], products| {
                let mut y = vec![f32::NAN; rows * layer.shape.out_features];
                linear(x, layer.weight, products, layer.shape, layer.bias, &mut y).unwrap();
                y
            };
            let packed = sizes.map(|size @ [from, to]| {
                F32Matrix::pack(Floats::F32(&values(from * to, seed(size))), from, to)
            });
            let weights = |index: usize| {
                [
                    WeightRef::PackedBf16(&bf16[index]),
                    WeightRef::F32(&f32[index]),
                    WeightRef::PackedF32(&packed[index]),
                ]
            };
            for (weight, products) in
                [(0, Products::Rounded), (0, Products::Exact), (1, Products::Exact), (2, Products::Exact)]
            {
                let layer = |index: usize, shape| LinearRef {
                    weight: weights(index)[weight],
                    bias: biased.then_some(&biases[index][..]),
                    shape,
                };
                let first = layer(0, shape(inputs, between));
                let gated = is_gated.then_some(layer(1, shape(inputs, between)));
                let second = layer(2, shape(between, outputs));
                let mut values = apart(first, &x, products);
                match gated {
                    None => activate(activation, &mut values),
                    Some(gated) => gated_mul(activation, &mut values, &apart(gated, &x, products)).unwrap(),
                }
                let want = apart(second, &values, products);
                let mut y = vec![f32::NAN; rows * outputs];
                let layers = FeedForward { first, gated, activation, second };
                feed_forward(&x, layers, products, &mut Default::default(), &mut y).unwrap();
                let want: Vec<f64> = want.into_iter().map(f64::from).collect();
                assert_close(&y, &want, 1e-6);
            }
        }
    }

    /// Where scales of int8 are those of several panels; tiles are emulated where there are none.
    #[cfg(target_arch = "x86_64")]
    #[test]
    fn layers_of_int8_in_one_give_what_they_give_one_after_the_other() {
        use super::super::blocks::Int8Unit;
        use super::super::int8::Int8Matrix;

        let int8 = Int8Unit::available().first().copied().unwrap_or(Int8Unit::Emulated);
        let units = Units { int8: Some(int8), ..Units::default() };
        let products = Products::Exact;
        for [rows, inputs, between, outputs] in [
            [1, 1, 1, 1],
            [33, 70, 300, 40],
            [70, 1100, 600, 5],
            [3, 64, 1024, 17],
            [2, 30, 1100, 5],
            [65, 40, 31, 33],
        ] {
            let x = values(rows * inputs, 1);
            let matrix = |from: usize, to: usize, seed| {
                let weights = values(from * to, seed);
                Int8Matrix::round(from, to, |row, to| to.copy_from_slice(&weights[row * from..][..from]))
            };
            let weights =
                [matrix(inputs, between, 2), matrix(inputs, between, 3), matrix(between, outputs, 4)];
            let biases = [between, between, outputs].map(|len| values(len, 5));
            let layer = |index: usize, in_features, out_features| LinearRef {
                weight: WeightRef::Int8(&weights[index]),
                bias: Some(&biases[index][..]),
                shape: LinearShape { rows, in_features, out_features },
            };
            let apart = |layer: LinearRef<'_>, x: &[f32]| {
                let mut y = vec![f32::NAN; rows * layer.shape.out_features];
                // SAFETY: the processor has the unit, and the lengths are those of the shape.
                assert!(unsafe { blocks::linear(units, x, layer, products, &mut y) });
                y
            };
            for gated in [None, Some(layer(1, inputs, between))] {
                let (first, second) = (layer(0, inputs, between), layer(2, between, outputs));
                let mut values = apart(first, &x);
                match gated {
                    None => activate(Activation::Silu, &mut values),
                    Some(gated) => gated_mul(Activation::Silu, &mut values, &apart(gated, &x)).unwrap(),
                }
                let mut y = vec![f32::NAN; rows * outputs];
                let layers = FeedForward { first, gated, activation: Activation::Silu, second };
                // SAFETY: as above.
                assert!(unsafe { blocks::feed_forward(units, &x, layers, products, &mut y) });
                assert_eq!(y, apart(second, &values), "{rows} x {inputs} to {between} to {outputs}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let (x, weight) = ([1.0; 6], [bf16::ONE; 12]);
        let layer = |in_features, out_features| LinearRef {
            weight: WeightRef::Bf16(&weight[..in_features * out_features]),
            bias: None,
            shape: LinearShape { rows: 2, in_features, out_features },
        };
        let layers =
            |gated, second| FeedForward { first: layer(3, 4), gated, activation: Activation::Silu, second };
        let run = |x: &[f32], layers, y: &mut [f32]| {
            feed_forward(x, layers, Products::Rounded, &mut Default::default(), y)
        };
        let mut y = [0.0; 6];
        run(&x, layers(None, layer(4, 3)), &mut y).unwrap();
        run(&x, layers(Some(layer(3, 4)), layer(4, 3)), &mut y).unwrap();
        assert!(run(&x, layers(None, layer(3, 3)), &mut y).is_err());
        // As many values, but of other rows.
        let turned = LinearShape { rows: 4, in_features: 2, out_features: 3 };
        let second = LinearRef { shape: turned, ..layer(2, 3) };
        assert!(run(&x, layers(None, second), &mut [0.0; 12]).is_err());
        assert!(run(&x, layers(Some(layer(3, 3)), layer(4, 3)), &mut y).is_err());
        assert!(run(&x[1..], layers(None, layer(4, 3)), &mut y).is_err());
        assert!(run(&x, layers(None, layer(4, 3)), &mut y[1..]).is_err());
        run(&x, layers(None, layer(4, 0)), &mut []).unwrap();
    }
}
