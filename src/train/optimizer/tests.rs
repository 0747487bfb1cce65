use candle_core::Device;

use super::*;

const CONFIG: AdamWConfig = AdamWConfig { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.2 };
const GRADIENTS: [[f32; 3]; 3] = [[0.1, -0.2, 0.3], [3.0, 0.0, -0.5], [-1e-4, 1.0, 0.25]];
const RATES: [f64; 3] = [0.1, 0.05, 0.02];

fn optimizer(values: &[f32]) -> AdamW {
    let var = Var::new(values, &Device::Cpu).unwrap();
    AdamW::new(&Parameters::from([("w".to_owned(), var)]), CONFIG).unwrap()
}

fn gradients(step: usize) -> Gradients {
    let mut gradients = Gradients::default();
    gradients.add("w", &Tensor::new(&GRADIENTS[step], &Device::Cpu).unwrap()).unwrap();
    gradients
}

fn values(optimizer: &AdamW) -> Vec<f32> {
    optimizer.slots[0].var.to_vec1().unwrap()
}

/// `torch.optim.AdamW([p], betas=(0.9, 0.99), weight_decay=0.2)` with `clip_grad_norm_([p], 1.0)` before each
/// step.
#[test]
fn steps_are_torchs() {
    let expected = [
        [0.39, -0.88, 1.86],
        [0.345_794_38, -0.837_621_03, 1.829_896_1],
        [0.331_921_55, -0.844_651_46, 1.812_277_2],
    ];
    let norms = [0.374_165_74, 3.041_381_4, 1.030_776_4];
    let mut optimizer = optimizer(&[0.5, -1.0, 2.0]);
    for step in 0..3 {
        let mut gradients = gradients(step);
        let norm = clip(&mut gradients, 1.0).unwrap();
        assert!((norm - norms[step]).abs() < 1e-5, "{norm}");
        optimizer.step(&gradients, RATES[step]).unwrap();
        for (got, expected) in values(&optimizer).into_iter().zip(expected[step]) {
            assert!((got - expected).abs() < 1e-6, "step {step}: {got} for {expected}");
        }
    }
}

#[test]
fn a_restored_state_goes_on_bit_for_bit() {
    let mut straight = optimizer(&[0.5, -1.0, 2.0]);
    straight.step(&gradients(0), RATES[0]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    candle_core::safetensors::save(&straight.state(), &path).unwrap();
    let (saved, steps) = (values(&straight), straight.steps());
    straight.step(&gradients(1), RATES[1]).unwrap();

    let mut resumed = optimizer(&saved);
    let state = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    resumed.restore(&state, steps).unwrap();
    resumed.step(&gradients(1), RATES[1]).unwrap();
    assert_eq!(values(&resumed), values(&straight));

    let mut lacking = state.clone();
    lacking.remove("exp_avg_sq.w");
    assert!(resumed.restore(&lacking, steps).unwrap_err().to_string().contains("exp_avg_sq.w"));
}

#[test]
fn gradients_accumulate_and_only_long_ones_are_clipped() {
    let mut sum = gradients(0);
    sum.accumulate(&gradients(2)).unwrap();
    sum.scale(0.5).unwrap();
    let got: Vec<f32> = sum.get("w").unwrap().to_vec1().unwrap();
    assert!(got.iter().zip([0.04995, 0.4, 0.275]).all(|(a, b)| (a - b).abs() < 1e-6), "{got:?}");
    let norm = clip(&mut sum, 1.0).unwrap();
    assert_eq!(sum.norm().unwrap(), norm);
    clip(&mut sum, 0.1).unwrap();
    assert!((sum.norm().unwrap() - 0.1).abs() < 1e-5);
}

/// Worked out by the definition: the corrections of a parameter's second step are those of 2, whatever the
/// others did meanwhile.
#[test]
fn the_steps_of_a_parameter_are_those_that_had_a_gradient_for_it() {
    const SECOND: f32 = 0.766_012_5;
    const THIRD: f32 = 0.779_841_1;
    let vars = ["always", "at_times"].map(|name| (name.to_owned(), Var::new(&[1f32], &Device::Cpu).unwrap()));
    let parameters = Parameters::from(vars);
    let value = |name: &str| parameters[name].to_vec1::<f32>().unwrap()[0];
    let mut optimizer = AdamW::new(&parameters, CONFIG).unwrap();
    let step = |slopes: &[(&str, f32)], optimizer: &mut AdamW| {
        let mut gradients = Gradients::default();
        for (name, slope) in slopes {
            gradients.add(name, &Tensor::new(&[*slope], &Device::Cpu).unwrap()).unwrap();
        }
        optimizer.step(&gradients, 0.1).unwrap();
    };
    step(&[("always", 0.5), ("at_times", 0.5)], &mut optimizer);
    assert!((value("at_times") - 0.88).abs() < 1e-6);
    step(&[("always", 1.0)], &mut optimizer);
    assert!((value("at_times") - 0.88).abs() < 1e-6 && (value("always") - SECOND).abs() < 1e-6);
    let (mut without, steps) = (optimizer.state(), optimizer.steps());
    step(&[("always", 1.0), ("at_times", 1.0)], &mut optimizer);
    assert!((value("at_times") - SECOND).abs() < 1e-6, "{}", value("at_times"));

    // A state that does not say counts for all alike: the third step, here.
    assert!(without.remove("step.at_times").is_some());
    parameters["at_times"].set(&Tensor::new(&[0.88f32], &Device::Cpu).unwrap()).unwrap();
    optimizer.restore(&without, steps).unwrap();
    step(&[("at_times", 1.0)], &mut optimizer);
    assert!((value("at_times") - THIRD).abs() < 1e-6, "{}", value("at_times"));
}

#[test]
fn a_parameter_without_a_gradient_stays() {
    let mut optimizer = optimizer(&[0.5, -1.0, 2.0]);
    optimizer.step(&Gradients::default(), 0.1).unwrap();
    assert_eq!(values(&optimizer), [0.5, -1.0, 2.0]);
}

#[test]
fn muon_moves_the_matrices_of_layers_alone() {
    let names = ["model.embed_tokens.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"];
    let start = || -> Parameters {
        let ones = |dims: &[usize]| {
            Var::from_tensor(&Tensor::ones(dims, DType::F32, &Device::Cpu).unwrap()).unwrap()
        };
        let vars = [ones(&[4, 3]), ones(&[2, 3]), ones(&[3])];
        names.map(str::to_owned).into_iter().zip(vars).collect()
    };
    let gradients = |step: f32| {
        let mut gradients = Gradients::default();
        for (name, var) in &start() {
            let slope = Tensor::arange(0f32, var.elem_count() as f32, &Device::Cpu).unwrap();
            gradients
                .add(name, &(slope.sin().unwrap() * f64::from(step)).unwrap().reshape(var.shape()).unwrap())
                .unwrap();
        }
        gradients
    };
    let values = |parameters: &Parameters| -> Vec<Vec<f32>> {
        parameters.values().map(|var| var.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let make =
        |parameters: &Parameters| Optimizer::new(parameters, CONFIG, Some(MuonConfig::default())).unwrap();

    let straight = start();
    let mut optimizer = make(&straight);
    optimizer.step(&gradients(1.0), 0.1).unwrap();
    let state = optimizer.state();
    let mut kept: Vec<&str> = state.keys().map(String::as_str).collect();
    kept.sort_unstable();
    let [table, matrix, norm] = names;
    let adamw = |kind: &str| [table, norm].map(|name| format!("{kind}.{name}"));
    let momentum = vec![format!("momentum.{matrix}")];
    let expected =
        [adamw("exp_avg").to_vec(), adamw("exp_avg_sq").to_vec(), momentum, adamw("step").to_vec()];
    assert_eq!(kept, expected.concat());

    let resumed: Parameters = straight
        .iter()
        .map(|(name, var)| (name.clone(), Var::from_tensor(&var.copy().unwrap()).unwrap()))
        .collect();
    let mut again = make(&resumed);
    again.restore(&state, optimizer.steps()).unwrap();
    optimizer.step(&gradients(0.5), 0.1).unwrap();
    again.step(&gradients(0.5), 0.1).unwrap();
    assert_eq!(values(&resumed), values(&straight));

    let mut without = Optimizer::new(&start(), CONFIG, None).unwrap();
    let error = without.restore(&state, 1).unwrap_err().to_string();
    assert!(error.contains("exp_avg.model.layers.0.mlp.up_proj.weight"), "{error}");
}
