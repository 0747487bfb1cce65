use std::path::Path;

use candle_core::{Device, Var};

use super::*;
use crate::random::Random;
use crate::train::gather::SingleProcess;

fn unit_rows(random: &mut Random, rows: usize, dim: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * dim).map(|_| random.unit() as f32 - 0.5).collect();
    shortened(&Tensor::from_vec(values, (rows, dim), &Device::Cpu).unwrap(), dim).unwrap()
}

fn value(loss: &InfoNce, batch: Contrast<'_>) -> f32 {
    loss.forward(batch, &SingleProcess).unwrap().loss.to_scalar().unwrap()
}

fn close(a: &Tensor, b: &Tensor) -> bool {
    let difference = (a - b).unwrap().abs().unwrap().flatten_all().unwrap();
    difference.max(0).unwrap().to_scalar::<f32>().unwrap() < 1e-5
}

#[test]
fn losses_are_the_references() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/train");
    let tensors = candle_core::safetensors::load(folder.join("loss.safetensors"), &Device::Cpu).unwrap();
    let text = std::fs::read_to_string(folder.join("loss.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (q, d) = (&tensors["q"], &tensors["d"]);
    let rows = q.dim(0).unwrap();
    let (p, n) = (d.narrow(0, 0, rows).unwrap(), d.narrow(0, rows, d.dim(0).unwrap() - rows).unwrap());
    let batch = Contrast { queries: q, positives: &p, negatives: Some(&n) };
    let losses = expected["losses"].as_object().unwrap();
    assert_eq!(losses.len(), 8);
    for (name, expected_loss) in losses {
        let loss = InfoNce {
            temperature: expected["tau"].as_f64().unwrap(),
            direction_weight: if name.contains("v2t=0.5") { 0.5 } else { 0.0 },
            mask_duplicates: name.contains("conflict=True"),
            mask_false_negatives: name.contains("false_neg=True"),
            matryoshka_dims: Vec::new(),
        };
        let got = f64::from(value(&loss, batch));
        assert!((got - expected_loss.as_f64().unwrap()).abs() < 1e-5, "{name}: {got} for {expected_loss}");
    }
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    const STEP: f32 = 1e-3;
    let mut random = Random::new(3);
    let rows = [4, 4, 3].map(|rows| unit_rows(&mut random, rows, 6));
    // The last positive is the first again, so that a mask is at work. It would let go of a positive that is
    // moved.
    let twice = [&rows[1].narrow(0, 0, 3).unwrap(), &rows[1].narrow(0, 0, 1).unwrap()];
    let twice = Tensor::cat(&twice, 0).unwrap();
    for (positives, checked) in [(&rows[1], &[0, 1, 2][..]), (&twice, &[0, 2])] {
        let vars = [&rows[0], positives, &rows[2]].map(|rows| Var::from_tensor(rows).unwrap());
        let loss = InfoNce {
            temperature: 0.2,
            direction_weight: 0.3,
            matryoshka_dims: vec![3],
            ..InfoNce::default()
        };
        let at = |vars: &[Var; 3]| {
            let batch = Contrast { queries: &vars[0], positives: &vars[1], negatives: Some(&vars[2]) };
            loss.forward(batch, &SingleProcess).unwrap().loss
        };
        let gradients = at(&vars).backward().unwrap();
        for var in checked.iter().map(|&i| &vars[i]) {
            let analytic: Vec<Vec<f32>> = gradients.get(var).unwrap().to_vec2().unwrap();
            let start: Vec<Vec<f32>> = var.to_vec2().unwrap();
            for (i, j) in (0..start.len()).flat_map(|i| (0..6).map(move |j| (i, j))) {
                let moved = |by: f32| {
                    let mut values = start.clone();
                    values[i][j] += by;
                    var.set(&Tensor::new(values, &Device::Cpu).unwrap()).unwrap();
                    at(&vars).to_scalar::<f32>().unwrap()
                };
                let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                moved(0.0);
                let got = analytic[i][j];
                assert!((slope - got).abs() < 5e-3, "({i}, {j}): slope {slope}, gradient {got}");
            }
        }
    }
}

#[test]
fn matryoshka_is_the_mean_of_the_prefixes_losses() {
    let mut random = Random::new(8);
    let (q, p) = (unit_rows(&mut random, 5, 8), unit_rows(&mut random, 5, 8));
    let plain = InfoNce::default();
    let prefix = |n| {
        value(
            &plain,
            Contrast {
                queries: &shortened(&q, n).unwrap(),
                positives: &shortened(&p, n).unwrap(),
                negatives: None,
            },
        )
    };
    let both = InfoNce { matryoshka_dims: vec![4, 2], ..plain.clone() };
    let batch = Contrast { queries: &q, positives: &p, negatives: None };
    assert!((value(&both, batch) - (prefix(8) + prefix(4) + prefix(2)) / 3.0).abs() < 1e-5);
    let too_long = InfoNce { matryoshka_dims: vec![9], ..plain };
    assert!(too_long.forward(batch, &SingleProcess).unwrap_err().to_string().contains('9'));
}

/// One of two devices, whose rows lie behind those of the other.
struct Second<'a>(std::cell::RefCell<std::vec::IntoIter<&'a Tensor>>);

impl GatherNegatives for Second<'_> {
    fn gather(&self, own: &Tensor) -> Result<Tensor> {
        Tensor::cat(&[self.0.borrow_mut().next().unwrap(), own], 0)
    }
}

#[test]
fn two_devices_together_are_one_with_the_whole_batch() {
    let mut random = Random::new(4);
    let theirs = [3, 3, 2].map(|rows| unit_rows(&mut random, rows, 8));
    let ours = [4, 4, 1].map(|rows| Var::from_tensor(&unit_rows(&mut random, rows, 8)).unwrap());
    let whole: Vec<Var> = theirs
        .iter()
        .zip(&ours)
        .map(|(a, b)| Var::from_tensor(&Tensor::cat(&[a, b.as_tensor()], 0).unwrap()).unwrap())
        .collect();
    let loss = InfoNce::default();
    let batch = |rows: &[Var], devices: &dyn GatherNegatives| {
        let batch = Contrast { queries: &rows[0], positives: &rows[1], negatives: Some(&rows[2]) };
        loss.forward(batch, devices).unwrap().loss
    };
    let alone = batch(&whole, &SingleProcess);
    let shared =
        batch(&ours, &Second(std::cell::RefCell::new(theirs.iter().collect::<Vec<_>>().into_iter())));
    assert!(close(&alone, &shared));
    let (alone, shared) = (alone.backward().unwrap(), shared.backward().unwrap());
    for ((whole, ours), theirs) in whole.iter().zip(&ours).zip(&theirs) {
        let first = theirs.dim(0).unwrap();
        let expected = alone.get(whole).unwrap().narrow(0, first, ours.dim(0).unwrap()).unwrap();
        assert!(close(&expected, shared.get(ours).unwrap()));
    }
}

fn plane(values: &[[f32; 2]]) -> Tensor {
    Tensor::from_slice(values.as_flattened(), (values.len(), 2), &Device::Cpu).unwrap()
}

/// Pairs (q, a), (q, b) and (r, b), with b and c as hard negatives: neither a nor b is wrong for q, and b is
/// not for r.
#[test]
fn no_positive_of_a_query_counts_against_it() {
    let (q, r) = ([1.0, 0.0], [0.0, 1.0]);
    let (a, b, c) = ([0.8, 0.6], [0.6, 0.8], [0.0, 1.0]);
    let (queries, positives, negatives) = (plane(&[q, q, r]), plane(&[a, b, b]), plane(&[b, c]));
    let batch = Contrast { queries: &queries, positives: &positives, negatives: Some(&negatives) };
    let loss = InfoNce {
        temperature: 1.0,
        direction_weight: 0.3,
        mask_false_negatives: false,
        ..InfoNce::default()
    };
    // What is right first, then what is left to be told from it.
    let entropy = |cosines: &[f32]| cosines.iter().map(|cosine| cosine.exp()).sum::<f32>().ln() - cosines[0];
    let forward = (entropy(&[0.8, 0.0]) + entropy(&[0.6, 0.0]) + entropy(&[0.8, 0.6, 1.0])) / 3.0;
    let backward = (entropy(&[0.8, 0.6]) + entropy(&[0.6]) + entropy(&[0.8])) / 3.0;
    let got = loss.forward(batch, &SingleProcess).unwrap();
    let value = got.loss.to_scalar::<f32>().unwrap();
    assert!((value - (0.7 * forward + 0.3 * backward)).abs() < 1e-5, "{value}");
    // Above c, c, and below c.
    let gap = got.hardest_negative_gap.unwrap();
    assert!((gap - (0.8 + 0.6 - 0.2) / 3.0).abs() < 1e-6, "{gap}");

    let unmasked = InfoNce { mask_duplicates: false, ..loss };
    let forward = entropy(&[0.8, 0.6, 0.6, 0.6, 0.0])
        + entropy(&[0.6, 0.8, 0.6, 0.6, 0.0])
        + entropy(&[0.8, 0.6, 0.8, 0.8, 1.0]);
    let backward = entropy(&[0.8, 0.8, 0.6]) + entropy(&[0.6, 0.6, 0.8]) + entropy(&[0.8, 0.6, 0.6]);
    let value = unmasked.forward(batch, &SingleProcess).unwrap().loss.to_scalar::<f32>().unwrap();
    assert!((value - (0.7 * forward + 0.3 * backward) / 3.0).abs() < 1e-5, "{value}");
}

#[test]
fn statistics_say_how_far_ahead_the_positives_are() {
    let q = plane(&[[1.0, 0.0], [0.0, 1.0]]);
    let p = plane(&[[0.8, 0.6], [0.6, 0.8]]);
    let n = plane(&[[0.0, -1.0]]);
    let of = |q, p, n| {
        InfoNce::default()
            .forward(Contrast { queries: q, positives: p, negatives: n }, &SingleProcess)
            .unwrap()
    };
    let both = of(&q, &p, Some(&n));
    assert!((both.positive_score - 0.8).abs() < 1e-6);
    assert!((both.hardest_negative_gap.unwrap() - 0.2).abs() < 1e-6);
    let single = of(&q.narrow(0, 0, 1).unwrap(), &p.narrow(0, 0, 1).unwrap(), None);
    assert_eq!(single.hardest_negative_gap, None);
    assert_eq!(single.loss.to_scalar::<f32>().unwrap(), 0.0);
    let wrong =
        InfoNce::default().forward(Contrast { queries: &q, positives: &n, negatives: None }, &SingleProcess);
    assert!(wrong.unwrap_err().to_string().contains("do not make a batch"));
}
