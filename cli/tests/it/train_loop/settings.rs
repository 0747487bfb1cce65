//! Settings reach the run: each that is to change the numbers changes them, and no other does.

use gve::{DType, Device, Input};
use gve_test_support::golden::cosine;

use super::*;

/// A run of three steps.
const SHORT: [(&str, &str); 6] = [
    ("epochs", "1"),
    ("steps_per_epoch", "3"),
    ("negatives.mined", "0"),
    ("curriculum.probe_pairs", "2"),
    ("optimizer.warmup_steps", "1"),
    ("evaluation.every_steps", "1000"),
];

/// The logged numbers of each step, and the weights at the end.
fn numbers(bench: &Bench, name: &str, more: &[(&str, &str)]) -> (Vec<Value>, BTreeMap<PathBuf, Vec<u8>>) {
    let kept: Vec<_> = SHORT.into_iter().filter(|(key, _)| more.iter().all(|(new, _)| new != key)).collect();
    assert_status(&run(&bench.config(name, &[&kept[..], more].concat()), &["--quiet"]), 0);
    let log = bench.log(name).into_iter().filter(|line| line["event"] == "step").collect();
    (log, bench.final_weights(name))
}

#[test]
fn each_setting_changes_what_it_is_to_change() {
    let bench = Bench::new();
    let (plain_log, plain) = numbers(&bench, "plain", &[]);
    let norms = |log: &[Value]| log.iter().map(|step| step["gradient_norm"].clone()).collect::<Vec<_>>();
    for (key, value) in [
        ("seed", "7"),
        ("loss.temperature", "0.3"),
        ("loss.direction_weight", "1.0"),
        ("loss.matryoshka_dims", "[8]"),
        ("batch.size", "2"),
        ("batch.accumulate", "3"),
        ("negatives.mined", "2"),
        ("lora.alpha", "80.0"),
        ("lora.dropout", "0.5"),
        ("lora.target_modules", "[\"q_proj\"]"),
        ("optimizer.weight_decay", "0.9"),
        ("optimizer.betas", "[0.5, 0.6]"),
        ("optimizer.eps", "1.0"),
        ("optimizer.schedule", "\"constant\""),
        ("optimizer.warmup_steps", "0"),
    ] {
        let name = key.replace('.', "_");
        let (_, weights) = numbers(&bench, &name, &[(key, value)]);
        assert!(weights != plain, "{key} = {value} changes nothing");
    }
    // So small that the optimiser, which does not see the scale of gradients, sees that of its eps: the
    // weights hardly move.
    let (log, clipped) = numbers(&bench, "clipped", &[("optimizer.clip_norm", "1e-12")]);
    assert_eq!(
        log[0]["gradient_norm"], plain_log[0]["gradient_norm"],
        "the norm is that before it is clipped"
    );
    assert!(clipped != plain, "clip_norm changes nothing");

    for (key, value) in
        [("checkpoint.every_steps", "1"), ("log.tensorboard", "false"), ("evaluation.every_steps", "1")]
    {
        let (log, weights) = numbers(&bench, &key.replace('.', "_"), &[(key, value)]);
        assert!(weights == plain && norms(&log) == norms(&plain_log), "{key} changes the weights");
    }
}

/// The floor is spread evenly, whatever the tasks' alignments. What the prober tells apart stands beside it.
#[test]
fn every_task_gets_its_share_of_the_floor() {
    let bench = Bench::new();
    let epoch = |name: &str, more: &[(&str, &str)]| {
        numbers(&bench, name, more);
        bench.log(name).into_iter().find(|line| line["event"] == "epoch").unwrap()
    };
    let even = epoch("even", &[("curriculum.floor", "1.0"), ("curriculum.sigma_start", "1e-3")]);
    assert_eq!(even["probabilities"], json!({"i2t": 0.5, "t2t": 0.5}));
    let steep = epoch("steep", &[("curriculum.floor", "0.0"), ("curriculum.sigma_start", "1e-3")]);
    assert!(steep["probabilities"]["i2t"].as_f64().unwrap() < 1e-6, "{steep}");
    assert_eq!(steep["sigma"], 1e-3);
    // Random weights see no text in a picture: the default is flat, and a quarter of all batches is spread.
    let plain = epoch("plain", &[]);
    let share = |task: &str| plain["probabilities"][task].as_f64().unwrap();
    let alignment = |task: &str| plain["alignment"][task].as_f64().unwrap();
    assert!(plain["separation"]["i2t"].as_f64().unwrap() < 0.75, "{plain}");
    assert_eq!(plain["sigma"], 1.0);
    let odds = (alignment("i2t") - alignment("t2t")).exp();
    assert!((share("i2t") - (0.125 + 0.75 * odds / (1.0 + odds))).abs() < 1e-9, "{plain}");
}

/// An adapter over weights that are held as integers: the run stays near that over f32 and goes on with the
/// same bits, and what it ends with is an adapter of the model in any precision.
#[test]
fn an_adapter_is_trained_over_weights_in_int8() {
    let bench = Bench::new();
    let kept = [("checkpoint.every_steps", "1"), ("checkpoint.keep", "9")];
    let over = |dtype| [&kept[..], &[("model.dtype", dtype)]].concat();
    let (plain_log, plain) = numbers(&bench, "plain", &over("\"f32\""));
    let (log, trained) = numbers(&bench, "int8", &over("\"int8\""));
    assert_eq!((log.len(), trained.len()), (3, 1));
    for (step, near) in log.iter().zip(&plain_log) {
        let off = |key: &str| (step[key].as_f64().unwrap() - near[key].as_f64().unwrap()).abs();
        assert!(off("loss") < 0.5 && off("positive_score") < 0.05, "{step}\n{near}");
    }
    assert!(log[0]["loss"] != plain_log[0]["loss"], "nothing was rounded");
    assert!(trained != plain);

    let config = bench.config("resumed", &[&SHORT[..], &over("\"int8\"")].concat());
    let from = bench.path("int8/checkpoints/step-00000001");
    assert_status(&run(&config, &["--quiet", "--resume", from.to_str().unwrap()]), 0);
    assert!(bench.final_weights("resumed") == trained, "the weights differ");
    let rest: Vec<Value> = bench.log("resumed").into_iter().filter(|line| line["event"] == "step").collect();
    assert_eq!(rest, log[1..]);

    let adapter = bench.path("int8/final");
    assert!(weights(&adapter).values().all(|tensor| tensor.dtype() == candle_core::DType::F32));
    let embed = |adapter: Option<&str>, dtype| {
        let mut builder = Embedder::builder(model()).device(Device::Cpu).dtype(dtype);
        if let Some(run) = adapter {
            builder = builder.adapter(bench.path(run).join("final"));
        }
        builder.build().unwrap().embed_one(&Input::text("a red bicycle")).unwrap().into_vec()
    };
    let adapted = embed(Some("int8"), DType::F32);
    assert!(cosine(&adapted, &embed(None, DType::F32)) < 0.9999, "the adapter changes nothing");
    assert!(cosine(&adapted, &embed(Some("plain"), DType::F32)) > 0.9999);
    assert!(cosine(&adapted, &embed(Some("int8"), DType::Int8)) > 0.99);
}
