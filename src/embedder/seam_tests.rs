//! A family that is in no list, through everything that embeds and trains.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use image::{Rgb, RgbImage};

use super::{EmbedError, Embedder, EmbedderBuilder, Input, PixelLimits};
use crate::model::skeleton::{DIM, PATCH_LEN, Skeleton};
use crate::recipe::Recipe;
use crate::video::{FrameCount, Sampling};

/// Weights by which byte `b` is the unit vector `b % 8`, and a frame has its mean red, green and blue.
pub(crate) fn write_checkpoint(folder: &Path) {
    let unit = |rows: usize| -> Vec<f32> {
        (0..rows * DIM).map(|i| f32::from(u8::from(i % DIM == i / DIM % DIM))).collect()
    };
    let patch: Vec<f32> = (0..DIM * PATCH_LEN)
        .map(|i| if i / PATCH_LEN == i % PATCH_LEN / 16 { 1.0 / 16.0 } else { 0.0 })
        .collect();
    let tensor =
        |values: Vec<f32>, columns: usize| Tensor::from_vec(values, ((), columns), &Device::Cpu).unwrap();
    let tensors = HashMap::from([
        ("text.bytes.weight", tensor(unit(256), DIM)),
        ("text.q_proj.weight", tensor(unit(DIM), DIM)),
        ("vision.patch.weight", tensor(patch, PATCH_LEN)),
    ]);
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), r#"{"model_type": "skeleton"}"#).unwrap();
}

pub(crate) fn frames(colours: &[[u8; 3]]) -> Input {
    Input::frames(colours.iter().map(|&colour| RgbImage::from_pixel(9, 7, Rgb(colour))).collect(), 1.0)
}

fn load(builder: EmbedderBuilder) -> Embedder {
    builder.build_as(|_| Ok(Box::new(Skeleton))).unwrap()
}

/// Unit vectors of `axes`, added up and normalised.
fn along(axes: &[usize]) -> Vec<f32> {
    let mut vector = vec![0.0; DIM];
    axes.iter().for_each(|&axis| vector[axis] += 1.0);
    let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
    vector.into_iter().map(|v| v / length).collect()
}

#[test]
fn texts_and_frames_go_through_towers_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    write_checkpoint(folder.path());
    let unknown = Embedder::load(folder.path()).err().unwrap().to_string();
    assert!(unknown.contains("model_type is \"skeleton\", expected \"qwen2_vl\" or "), "{unknown}");

    let embedder = load(Embedder::builder(folder.path()));
    assert_eq!((embedder.dim(), embedder.sampling()), (DIM, &Sampling::Uniform { frames: 3 }));
    assert_eq!(embedder.frame_count(), FrameCount::MultipleOf(1));
    assert_eq!(embedder.pixels().max_pixels, Some(1024));
    // A frame of 9 x 7 becomes 8 x 8: four patches.
    let (red, green) = ([255, 0, 0], [0, 255, 0]);
    let cases = [
        // The instruction is `a`, 97; `b` is 98.
        (Input::text("b"), along(&[1, 2]), 2),
        (frames(&[red, green]), along(&[0, 1]), 8),
        (Input::text("bb").with_instruction("c"), along(&[2, 2, 3]), 3),
        (frames(&[green, green, green]), along(&[1]), 12),
    ];
    let inputs =
        [cases.iter().map(|case| case.0.clone()).collect(), vec![frames(&[red]).and_text("b")]].concat();
    let mut embedded = embedder.embed(&inputs);
    let mixed = embedded.pop().unwrap().unwrap_err();
    assert!(
        matches!(mixed, EmbedError::Preprocess(_)) && mixed.to_string().contains("one text or one video")
    );
    for (embedding, (input, expected, tokens)) in embedded.into_iter().zip(cases) {
        let embedding = embedding.unwrap();
        let gap = embedding.as_slice().iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(gap < 1e-6, "{embedding:?}, expected {expected:?}");
        assert_eq!(embedding.num_tokens(), tokens, "{embedding:?}");
        assert_eq!(embedding, embedder.embed_one(&input).unwrap());
    }
    let mut recipe = Recipe::default();
    (recipe.instruction, recipe.tokens_per_frame) = ("c".to_owned(), 2);
    let other = load(Embedder::builder(folder.path()).recipe(recipe));
    assert_eq!(other.pixels().max_pixels, Some(32));
    let told = load(Embedder::builder(folder.path()).tokens_per_frame(3));
    assert_eq!(told.pixels().max_pixels, Some(48));
    // A token of this family has 4 x 4 pixels.
    let bound = |pixels| {
        let pixels = PixelLimits::default().with_max_pixels(Some(pixels));
        let builder = Embedder::builder(folder.path()).sampling(None).pixels(pixels);
        builder.build_as(|_| Ok(Box::new(Skeleton)))
    };
    assert_eq!(bound(16).unwrap().sampling(), &Sampling::Uniform { frames: 3 });
    let refused = bound(15).err().unwrap().to_string();
    assert!(refused.contains("max_pixels must be at least 16 (one visual token)"), "{refused}");
    assert_eq!(other.embed_one(&Input::text("b")).unwrap().as_slice(), along(&[2, 3]));
}
