//! Frame encoders against the reference: see `tests/golden/make_golden_towers.py`.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device as TensorDevice, Tensor};
use gve::model::{LoraAdapter, merge_adapter};
use gve::{CancelToken, DType, Device, Embedder, Input};
use gve_test_support::golden::{cosine, golden_dir, media};
use image::RgbImage;
use serde_json::Value;

use crate::device::{device, rounded_dtypes};

const SETS: [&str; 4] = ["tiny-clip", "tiny-clip-b", "tiny-siglip", "tiny-siglip2"];

pub(crate) struct TowerCase {
    pub(crate) name: String,
    pub(crate) input: Input,
    pub(crate) embedding: Vec<f32>,
    /// Tokens of the text, as the reference reads them.
    tokens: Option<usize>,
}

pub(crate) fn model_dir(set: &str) -> PathBuf {
    golden_dir().join(set).join("model")
}

pub(crate) fn tensors(set: &str, file: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden_dir().join(set).join(file), &TensorDevice::Cpu).unwrap()
}

pub(crate) fn cases(set: &str) -> Vec<TowerCase> {
    let text = std::fs::read_to_string(golden_dir().join(set).join("cases.json")).unwrap();
    let records: Vec<Value> = serde_json::from_str(&text).unwrap();
    let tensors = tensors(set, "cases.safetensors");
    let case = |record: Value| {
        let name = record["name"].as_str().unwrap().to_owned();
        let mut input = Input::default();
        if let Some(text) = record["text"].as_str() {
            input = input.and_text(text);
        }
        if let Some(image) = record["image"].as_str().map(media) {
            input.parts.extend(match record["crops"].as_array() {
                None => Input::image(image).parts,
                Some(crops) => Input::frames(frames(&image, crops), 1.0).parts,
            });
        }
        let embedding = tensors[&format!("{name}.embedding")].to_vec1().unwrap();
        let tokens = tensors.get(&format!("{name}.input_ids")).map(Tensor::elem_count);
        TowerCase { name, input, embedding, tokens }
    };
    records.into_iter().map(case).collect()
}

fn frames(image: &Path, crops: &[Value]) -> Vec<RgbImage> {
    let image = image::open(image).unwrap().into_rgb8();
    let crop = |crop: &Value| {
        let [x, y, width, height]: [u32; 4] = serde_json::from_value(crop.clone()).unwrap();
        image::imageops::crop_imm(&image, x, y, width, height).to_image()
    };
    crops.iter().map(crop).collect()
}

/// A copy of a set's checkpoint in which `config.json` is changed.
pub(crate) fn changed(set: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(model_dir(set)).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    folder
}

fn embedder(set: &str) -> Embedder {
    embedder_in(set, DType::F32)
}

fn embedder_in(set: &str, dtype: DType) -> Embedder {
    Embedder::builder(model_dir(set)).device(device()).dtype(dtype).build().unwrap()
}

/// The largest difference of a value.
fn gap(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn embeddings_equal_the_reference() {
    for set in SETS {
        let embedder = embedder(set);
        for case in cases(set) {
            let embedding = embedder.embed_one(&case.input).unwrap();
            let off = 1.0 - cosine(embedding.as_slice(), &case.embedding);
            println!("{set} {}: 1 - cosine {off:.1e}", case.name);
            assert!(off < 1e-6, "{set} {}: 1 - cosine {off:.1e}", case.name);
            // Which shows mistakes that turn an embedding by less: see `check_golden_towers.py`.
            let gap = gap(embedding.as_slice(), &case.embedding);
            assert!(gap < 1e-5, "{set} {}: values differ by {gap:.1e}", case.name);
            if let (Some(tokens), 1) = (case.tokens, case.input.parts.len()) {
                assert_eq!(embedding.num_tokens(), tokens, "{set} {}", case.name);
            }
        }
    }
}

/// One that is large enough to show in an embedding.
#[test]
fn epsilon_is_that_of_the_settings() {
    for set in SETS {
        let model = changed(set, |config| {
            for tower in ["text_config", "vision_config"] {
                config[tower]["layer_norm_eps"] = 0.05.into();
            }
        });
        let embedder = Embedder::builder(model.path()).device(device()).dtype(DType::F32).build().unwrap();
        let mut expected = tensors(set, "epsilon.safetensors");
        for case in cases(set) {
            let Some(expected) = expected.remove(&case.name) else { continue };
            let embedding = embedder.embed_one(&case.input).unwrap();
            let gap = gap(embedding.as_slice(), &expected.to_vec1::<f32>().unwrap());
            println!("{set} {}: values differ by {gap:.1e}", case.name);
            assert!(gap < 1e-5, "{set} {}: values differ by {gap:.1e}", case.name);
        }
        assert!(expected.is_empty());
    }
}

/// Activations are in half precision too, but on the CPU.
#[test]
fn rounded_weights_stay_close() {
    for set in SETS {
        for dtype in rounded_dtypes() {
            let embedder = embedder_in(set, dtype);
            for case in cases(set) {
                let embedding = embedder.embed_one(&case.input).unwrap();
                let cosine = cosine(embedding.as_slice(), &case.embedding);
                println!("{set} {} in {dtype}: cosine {cosine:.5}", case.name);
                assert!(cosine > 0.99, "{set} {} in {dtype}: cosine {cosine}", case.name);
            }
        }
    }
}

#[test]
fn many_equal_one() {
    for set in SETS {
        let embedder = embedder(set);
        let inputs: Vec<Input> = cases(set).into_iter().map(|case| case.input).collect();
        for (input, together) in inputs.iter().zip(embedder.embed(&inputs)) {
            let alone = embedder.embed_one(input).unwrap();
            let together = together.unwrap();
            assert!(gap(alone.as_slice(), together.as_slice()) < 1e-6, "{set}: {input:?}");
        }
    }
}

/// Integers in a checkpoint, such as the numbers of positions, stay what they are.
#[test]
fn a_converted_checkpoint_embeds_alike() {
    for set in ["tiny-clip", "tiny-siglip2"] {
        let folder = tempfile::tempdir().unwrap();
        let wide = folder.path().join("wide");
        let recipe = Embedder::builder(model_dir(set)).find_recipe().unwrap();
        gve::model::convert_checkpoint(&model_dir(set), DType::F32, &recipe, &wide, &CancelToken::new())
            .unwrap();
        let text = Input::text("a red dog");
        let [stored, wide] = [model_dir(set), wide].map(|model| {
            Embedder::builder(model).device(Device::Cpu).build().unwrap().embed_one(&text).unwrap()
        });
        assert!(stored.cosine(&wide).unwrap() > 0.999_999);
    }
}

/// As a model around the towers saves them.
#[test]
fn names_behind_that_of_a_wrapping_model_load_alike() {
    for (set, wrapper) in [("tiny-clip", "clip."), ("tiny-clip-b", "model."), ("tiny-siglip2", "siglip.")] {
        let original = tensors(set, "model/model.safetensors");
        let save = |left_out: &str, wrapper: &str| {
            let wrapped = changed(set, |_| {});
            let named = original.iter().filter(|(name, _)| *name != left_out);
            let named = named.map(|(name, x)| (format!("{wrapper}{name}"), x.clone()));
            let named = named.chain([("classifier.weight".to_owned(), original["logit_scale"].clone())]);
            let path = wrapped.path().join("model.safetensors");
            candle_core::safetensors::save(&HashMap::<_, _>::from_iter(named), path).unwrap();
            wrapped
        };
        let wrapped = save("", wrapper);
        let models = [&model_dir(set), wrapped.path()];
        let embed = |model: &Path, adapter: Option<&Path>| {
            let builder = Embedder::builder(model).device(Device::Cpu).dtype(DType::F32);
            let builder = match adapter {
                Some(adapter) => builder.adapter(adapter),
                None => builder,
            };
            let input = Input::text("a red dog").and_image(media("tall.png"));
            builder.build().unwrap().embed_one(&input).unwrap()
        };
        let [plain, behind] = models.map(|model| embed(model, None));
        assert_eq!(plain.as_slice(), behind.as_slice(), "{set}");

        let directory = golden_dir().join(set).join("adapter");
        let [plain, behind] = models.map(|model| embed(model, Some(&directory)));
        assert_eq!(plain.as_slice(), behind.as_slice(), "{set}: folded");
        let adapter = LoraAdapter::read(&directory).unwrap();
        let [plain, behind] = models.map(|model| {
            let (folder, recipe) =
                (tempfile::tempdir().unwrap(), Embedder::builder(model).find_recipe().unwrap());
            let merged = folder.path().join("merged");
            merge_adapter(model, &adapter, &recipe, &merged, &CancelToken::new()).unwrap();
            embed(&merged, None)
        });
        assert_eq!(plain.as_slice(), behind.as_slice(), "{set}: merged");

        let refused = |folder: &tempfile::TempDir| {
            Embedder::builder(folder.path()).device(Device::Cpu).build().err().unwrap().to_string()
        };
        let lost = "vision_model.post_layernorm.bias";
        let error = refused(&save(lost, wrapper));
        assert!(error.contains(&format!("`{wrapper}{lost}`")), "{error}");
        let error = refused(&save("", "backbone."));
        println!("{error}");
        let named = ["`text_model.", "`clip.`", "`siglip.`", "`model.`"];
        assert!(named.iter().all(|name| error.contains(name)), "{error}");
    }
}

#[test]
fn parts_are_averaged_and_what_no_tower_reads_is_refused() {
    for set in ["tiny-clip", "tiny-siglip2"] {
        let embedder = embedder(set);
        let image = || Input::image(media("tall.png"));
        let refused = |input: Input| embedder.embed_one(&input).unwrap_err().to_string();
        let instructed = refused(Input::text("a dog").with_instruction("Find it."));
        assert!(instructed.contains("instruction must be none"), "{instructed}");
        assert!(
            refused(Input::text("a").and_image(media("tall.png")).and_text("b")).contains("at most one text")
        );
        // Side by side they are one.
        let (apart, whole) = (Input::text("a red ").and_text("dog"), Input::text("a red dog"));
        assert_eq!(embedder.embed_one(&apart).unwrap(), embedder.embed_one(&whole).unwrap());

        let sides = embedder.pixels().max_pixels.unwrap();
        let limits = |pixels: u64| {
            let pixels = gve::PixelLimits::default().with_max_pixels(Some(pixels));
            let mut input = image();
            let Some(gve::Part::Image(part)) = input.parts.first_mut() else { unreachable!() };
            part.pixels = pixels;
            input
        };
        assert_eq!(embedder.embed_one(&limits(sides)).unwrap(), embedder.embed_one(&image()).unwrap());
        assert!(refused(limits(sides - 1)).contains("whatever their size"));

        let mut recipe = Embedder::builder(model_dir(set)).find_recipe().unwrap().recipe;
        recipe.composed = gve::recipe::Composed::Refused;
        let strict = Embedder::builder(model_dir(set)).recipe(recipe).build().unwrap();
        let both = Input::text("a dog").and_image(media("tall.png"));
        assert!(strict.embed_one(&both).unwrap_err().to_string().contains("an input must be one text"));
        assert!(embedder.embed_one(&both).is_ok());
    }
}

/// Spellings of special tokens in a text do not end it.
#[test]
fn texts_cannot_spell_special_tokens() {
    for (set, token) in
        [("tiny-clip", "<|endoftext|>"), ("tiny-clip-b", "<|endoftext|>"), ("tiny-siglip2", "<pad>")]
    {
        let embedder = embedder(set);
        let [spelled, cut] = ["a red ", "a red"].map(|start| {
            let text = if start == "a red" { start.to_owned() } else { format!("{start}{token} dog") };
            embedder.embed_one(&Input::text(text)).unwrap()
        });
        assert!(spelled.cosine(&cut).unwrap() < 0.999, "{set}");
    }
}
