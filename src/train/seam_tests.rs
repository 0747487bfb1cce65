//! A family that is in no list is trained like any other.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::{LoraConfig, Memory, Mode, Trainable, TrainableModel};
use crate::embedder::{Embedder, EmbedderBuilder, Input, seam_tests};
use crate::model::AdapterLayout;
use crate::model::skeleton::{DIM, Skeleton};
use crate::recipe::{PromptRecipe, Recipe, Reranking};

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

#[test]
fn whether_others_are_told_how_it_embeds_goes_by_the_recipe_of_the_run() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model");
    let told = |recipe: Option<Recipe>| {
        let settings = Embedder::builder(&directory).device(crate::Device::Cpu);
        let settings = recipe.into_iter().fold(settings, EmbedderBuilder::recipe);
        let lora = LoraConfig { layout: AdapterLayout::Nested, ..LoraConfig::default() };
        let model = TrainableModel::load(settings, Trainable::Lora(lora)).unwrap();
        (model.describes_adapter(), model.is_described())
    };
    assert_eq!(told(None), (true, true));
    let prompt = PromptRecipe { close_instruction: true, ..PromptRecipe::default() };
    assert_eq!(told(Some(Recipe { prompt, ..Recipe::default() })), (false, false));
    let reranking = Some(Reranking::default());
    assert_eq!(told(Some(Recipe { reranking, ..Recipe::default() })), (false, false));
}
