//! The towers beside those of `candle-transformers`, which others keep: of the same weights, ids and pixels
//! both make the same embeddings. gve has towers of its own for adapters, for weights that are held as they
//! are stored, and for its kernels.
//!
//! Theirs take ids and pixels, so the reference's texts and images are compared, and no videos. What else they
//! have in another way than transformers is said where it is made up for.

use std::path::Path;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::{Linear, Module, VarBuilder};
use candle_transformers::models::{clip, siglip};
use gve::Embedder;
use gve_test_support::golden::cosine;
use serde_json::Value;

use crate::towers::{cases, changed, tensors};

/// Compares what both make of every case that is one text or one image.
fn compare(
    set: &str,
    model_dir: &Path,
    text: impl Fn(&Tensor) -> Result<Tensor>,
    image: impl Fn(&Tensor) -> Result<Tensor>,
) {
    let embedder =
        Embedder::builder(model_dir).device(gve::Device::Cpu).dtype(gve::DType::F32).build().unwrap();
    let given = tensors(set, "cases.safetensors");
    let mut seen = 0;
    for case in cases(set).into_iter().filter(|case| case.input.parts.len() == 1) {
        let one = |kind: &str| given.get(&format!("{}.{kind}", case.name)).map(|x| x.unsqueeze(0).unwrap());
        let theirs = match (one("input_ids"), one("pixel_values")) {
            (Some(ids), _) => text(&ids.to_dtype(DType::U32).unwrap()),
            (_, Some(pixels)) => image(&pixels),
            (None, None) => continue,
        };
        let theirs: Vec<f32> = theirs.unwrap().squeeze(0).unwrap().to_vec1().unwrap();
        let ours = embedder.embed_one(&case.input).unwrap();
        let off = 1.0 - cosine(ours.as_slice(), &theirs);
        println!("{set} {}: 1 - cosine {off:.1e}", case.name);
        assert!(off < 1e-9, "{set} {}: 1 - cosine {off:.1e}", case.name);
        seen += 1;
    }
    assert_eq!(seen, 6);
}

fn config(model_dir: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(model_dir.join("config.json")).unwrap()).unwrap()
}

/// Theirs knows quick GELU alone, which `tiny-clip-b` is therefore given here, and an epsilon of 1e-5, whatever
/// the file says. A text is pooled at its largest id instead of at `eos_token_id`: the same token.
#[test]
fn clip_agrees_with_candle_transformers() {
    for set in ["tiny-clip", "tiny-clip-b"] {
        let folder = changed(set, |config| {
            for tower in ["text_config", "vision_config"] {
                config[tower]["hidden_act"] = "quick_gelu".into();
            }
        });
        let config = config(folder.path());
        let (text, vision) = (&config["text_config"], &config["vision_config"]);
        let number = |keys: &Value, key: &str| keys[key].as_u64().unwrap() as usize;
        let projection_dim = number(&config, "projection_dim");
        let activation = clip::text_model::Activation::QuickGelu;
        let config = clip::ClipConfig {
            text_config: clip::text_model::ClipTextConfig {
                vocab_size: number(text, "vocab_size"),
                embed_dim: number(text, "hidden_size"),
                activation,
                intermediate_size: number(text, "intermediate_size"),
                max_position_embeddings: number(text, "max_position_embeddings"),
                pad_with: None,
                num_hidden_layers: number(text, "num_hidden_layers"),
                num_attention_heads: number(text, "num_attention_heads"),
                projection_dim,
            },
            vision_config: clip::vision_model::ClipVisionConfig {
                embed_dim: number(vision, "hidden_size"),
                activation,
                intermediate_size: number(vision, "intermediate_size"),
                num_hidden_layers: number(vision, "num_hidden_layers"),
                num_attention_heads: number(vision, "num_attention_heads"),
                projection_dim,
                num_channels: 3,
                image_size: number(vision, "image_size"),
                patch_size: number(vision, "patch_size"),
            },
            logit_scale_init_value: 2.6592,
            image_size: number(vision, "image_size"),
        };
        let weights = tensors(set, "model/model.safetensors");
        let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
        let theirs = clip::ClipModel::new(weights, &config).unwrap();
        compare(
            set,
            folder.path(),
            |ids| theirs.get_text_features(ids),
            |pixels| theirs.get_image_features(pixels),
        );
    }
}

/// Theirs knows no `projection_size`: the head of its tower of texts is as wide as the tower, so the
/// checkpoint's is put in afterwards. Its model of both towers, which allows no such thing, is not used.
#[test]
fn siglip_agrees_with_candle_transformers() {
    for set in ["tiny-siglip", "tiny-siglip2"] {
        for epsilon in [1e-6, 0.05] {
            let folder = changed(set, |config| {
                for tower in ["text_config", "vision_config"] {
                    config[tower]["layer_norm_eps"] = epsilon.into();
                }
            });
            let config: siglip::Config = serde_json::from_value(config(folder.path())).unwrap();
            let mut weights = tensors(set, "model/model.safetensors");
            let mut head = |name: &str| {
                weights.remove(&format!("text_model.head.{name}")).unwrap().to_dtype(DType::F32).unwrap()
            };
            let head = Linear::new(head("weight"), Some(head("bias")));
            let width = config.text_config.hidden_size;
            let nothing = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
            weights.insert("text_model.head.weight".to_owned(), nothing(&[width, width]));
            weights.insert("text_model.head.bias".to_owned(), nothing(&[width]));
            let weights = VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu);
            let mut text = siglip::TextModel::new(&config.text_config, weights.pp("text_model")).unwrap();
            text.text_model.head = head;
            let vision =
                siglip::VisionModel::new(&config.vision_config, true, weights.pp("vision_model")).unwrap();
            compare(set, folder.path(), |ids| text.forward(ids), |pixels| vision.forward(pixels));
        }
    }
}
