//! Training steps on a device, beside the CPU's.

use candle_core::Tensor;
use gve::train::{AdamWConfig, Memory, MuonConfig, Optimizer, Trainable, TrainableModel};
use gve::{Embedder, EmbedderBuilder};
use gve_test_support::golden::fixture_dirs;

use crate::device::on_device;
use crate::train_model::{contrastive, inputs, lora, record, references, tensors};

/// Steps of each optimiser, of an adapter and of all weights, at once and in pieces.
#[test]
#[ignore = "needs a device: GVE_TEST_DEVICE=cuda"]
fn steps_on_a_device_are_those_of_the_cpu() {
    let fixture = &fixture_dirs()[0];
    let adapter = tensors(fixture.join("train/adapter_init/adapter_model.safetensors"));
    let pieces = Memory { checkpointing: true, max_tokens: Some(1) };
    for (what, trainable, start) in [
        ("adapter", Trainable::Lora(lora(&record(fixture)).with_dropout(0.2)), Some(adapter)),
        ("language", Trainable::Full { vision: false }, None),
        ("everything", Trainable::Full { vision: true }, None),
    ] {
        for (optimiser, muon) in [("AdamW", None), ("Muon", Some(MuonConfig::default()))] {
            for memory in [Memory::default(), pieces] {
                let steps = |settings: EmbedderBuilder| {
                    let model = TrainableModel::load(settings, trainable.clone()).unwrap();
                    if let Some(start) = &start {
                        model.load_state(start).unwrap();
                    }
                    let items = inputs(&model);
                    let before = model.state().unwrap();
                    let mut optimizer =
                        Optimizer::new(model.parameters(), AdamWConfig::default(), muon).unwrap();
                    let losses: Vec<f32> = (0..3)
                        .map(|seed| {
                            let loss = |embeddings: &Tensor| contrastive(embeddings, 0.1);
                            let (loss, gradients) =
                                model.gradients(&references(&items), seed, memory, loss).unwrap();
                            optimizer.step(&gradients, 1e-3).unwrap();
                            loss
                        })
                        .collect();
                    (losses, before, model.state().unwrap())
                };
                let builder = || Embedder::builder(fixture.join("model"));
                let (expected_losses, before, expected) = steps(builder().device(gve::Device::Cpu));
                let (losses, _, found) = steps(on_device(builder()));
                let square = |a: &Tensor, b: &Tensor| -> f32 {
                    (a - b).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar().unwrap()
                };
                let (mut off, mut moved) = (0.0, 0.0);
                for (name, expected) in &expected {
                    off += square(&found[name], expected);
                    moved += square(&before[name], expected);
                }
                let off = (off / moved).sqrt();
                println!("{what}, {optimiser}, {memory:?}: losses {losses:?}, off by {off:.1e} of the way");
                for (loss, expected) in losses.iter().zip(expected_losses) {
                    assert!((loss - expected).abs() < 1e-3 * expected, "{loss}, expected {expected}");
                }
                assert!(off < 0.02, "{what}, {optimiser}, {memory:?}: off by {off} of the way");
            }
        }
    }
}
