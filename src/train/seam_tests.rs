//! A family that is in no list is trained like any other.

use candle_core::{Device, Tensor};

use super::{LoraConfig, Memory, Mode, Trainable, TrainableModel};
use crate::embedder::{Embedder, Input, seam_tests};
use crate::model::skeleton::{DIM, Skeleton};

#[test]
fn the_parts_that_a_family_names_are_trained_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    seam_tests::write_checkpoint(folder.path());
    let lora =
        LoraConfig { r: 2, dropout: 0.0, target_modules: vec!["q_proj".to_owned()], ..LoraConfig::default() };
    let load = |trainable| {
        let settings = Embedder::builder(folder.path());
        TrainableModel::load_as(settings, trainable, |_| Ok(Box::new(Skeleton))).unwrap()
    };
    let model = load(Trainable::Lora(lora));
    let names: Vec<&str> = model.parameters().keys().map(String::as_str).collect();
    let factors = ["A", "B"].map(|f| format!("base_model.model.model.text.q_proj.lora_{f}.weight"));
    assert_eq!(names, factors);

    let inputs = [Input::text("b"), seam_tests::frames(&[[255, 0, 0], [0, 255, 0]]), Input::text("cd")];
    let items = inputs.each_ref().map(|input| model.prepare(input).unwrap());
    let items: Vec<_> = items.iter().collect();
    let embedder = Embedder::builder(folder.path()).build_as(|_| Ok(Box::new(Skeleton))).unwrap();
    let rows: Vec<Vec<f32>> = model.embed(&items, Mode::Evaluate).unwrap().to_vec2().unwrap();
    for (row, embedding) in rows.iter().zip(embedder.embed(&inputs)) {
        let embedding = embedding.unwrap();
        assert!(row.iter().zip(embedding.as_slice()).all(|(a, b)| (a - b).abs() < 1e-6), "{row:?}");
    }

    // In one piece or in several, texts move the adapter, and a video does not.
    let axis = Tensor::from_vec((0..DIM).map(|i| i as f32).collect(), DIM, &Device::Cpu).unwrap();
    let gradients = |items: &[&_], max_tokens| {
        let memory = Memory { max_tokens, ..Memory::default() };
        let loss = |embeddings: &Tensor| Ok(embeddings.broadcast_mul(&axis)?.sum_all()?);
        model.gradients(items, 0, memory, loss).unwrap().1
    };
    let (whole, pieces) = (gradients(&items, None), gradients(&items, Some(2)));
    let of = |gradients: &super::Gradients| -> Vec<f32> {
        gradients.get(&factors[1]).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    };
    assert!(of(&whole).iter().any(|v| v.abs() > 1e-3));
    assert!(of(&whole).iter().zip(of(&pieces)).all(|(a, b)| (a - b).abs() < 1e-6));
    assert_eq!(gradients(&items[1..2], None).norm().unwrap(), 0.0);

    let full = load(Trainable::Full { vision: false });
    let trained: Vec<&str> = full.parameters().keys().map(String::as_str).collect();
    assert_eq!(trained, ["text.bytes.weight", "text.q_proj.weight"]);
}
