//! The parts of the training loop together, against the reference's trajectory.

use std::collections::BTreeMap;

use candle_core::Tensor;
use gve::model::{AdapterLayout, LoraAdapter};
use gve::train::{
    AdamW, AdamWConfig, Contrast, Decay, InfoNce, LoraConfig, Memory, Prepared, Schedule, SingleProcess,
    Trainable, TrainableModel,
};
use gve::{Embedder, Input};
use gve_test_support::golden::{fixture_dirs, golden_dir, max_difference};
use serde_json::{Value, json};

/// Loss, optimiser and schedule of this crate on the reference's six steps.
#[test]
fn the_trajectory_is_the_references() {
    for fixture in fixture_dirs() {
        let folder = fixture.join("train");
        let record: Value =
            serde_json::from_str(&std::fs::read_to_string(folder.join("train.json")).unwrap()).unwrap();
        let number = |key: &str| record[key].as_f64().unwrap();
        let tensors = |name: &str| -> BTreeMap<String, Tensor> {
            LoraAdapter::read(&folder.join(name)).unwrap().tensors(AdapterLayout::Flat)
        };
        let lora =
            LoraConfig::default().with_r(number("r") as usize).with_alpha(number("alpha")).with_dropout(0.0);
        let settings = Embedder::builder(fixture.join("model")).device(gve::Device::Cpu);
        let model = TrainableModel::load(settings, Trainable::Lora(lora)).unwrap();
        model.load_state(&tensors("adapter_init")).unwrap();
        let lists = ["query", "positive", "negative"].map(|key| record["pairs"][key].as_array().unwrap());
        let items: Vec<Prepared> = lists
            .into_iter()
            .flatten()
            .map(|content| {
                let line = json!({ "content": content }).to_string();
                model.prepare(&Input::from_json(&line, &golden_dir().join("media")).unwrap().1).unwrap()
            })
            .collect();
        let items: Vec<&Prepared> = items.iter().collect();
        let rows = lists[0].len();

        let loss = InfoNce {
            temperature: number("tau"),
            direction_weight: number("v2t_weight"),
            ..InfoNce::default()
        };
        let config = AdamWConfig::default().with_weight_decay(number("weight_decay"));
        let mut optimizer = AdamW::new(model.parameters(), config).unwrap();
        let steps = record["log"].as_array().unwrap();
        let schedule = Schedule {
            learning_rate: number("lr"),
            decay: Decay::Cosine,
            warmup_steps: 0,
            total_steps: steps.len(),
        };
        for (step, expected) in steps.iter().enumerate() {
            let (got, gradients) = model
                .gradients(&items, 0, Memory::default(), |embeddings| {
                    let part = |number| embeddings.narrow(0, number * rows, rows);
                    let (queries, positives, negatives) = (part(0)?, part(1)?, part(2)?);
                    let batch =
                        Contrast { queries: &queries, positives: &positives, negatives: Some(&negatives) };
                    Ok(loss.forward(batch, &SingleProcess)?.loss)
                })
                .unwrap();
            let close = |got: f64, key: &str| {
                let off = got / expected[key].as_f64().unwrap() - 1.0;
                println!("step {step}: {key} {got}, relative difference {off:e}");
                assert!(off.abs() < 1e-3, "step {step}: {key} is {got}, expected {}", expected[key]);
            };
            close(f64::from(got), "loss");
            close(gradients.norm().unwrap(), "grad_norm");
            close(schedule.at(step), "lr");
            optimizer.step(&gradients, schedule.at(step)).unwrap();
        }
        let (got, expected) = (model.state().unwrap(), tensors("adapter_final"));
        assert_eq!(got.len(), expected.len());
        for (name, expected) in expected {
            let difference = max_difference(&got[&name], &expected);
            assert!(difference < 1e-3, "{name}: {difference}");
        }
    }
}
