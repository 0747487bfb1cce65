//! Every stage before the towers, against the reference: ids of texts, and pixels of pictures.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

use crate::model::family;
use crate::preprocess::{ImageLimits, PromptPart, load_image_with};
use crate::recipe::{Recipe, Recipes, Transparency};

const SETS: [&str; 4] = ["tiny-clip", "tiny-clip-b", "tiny-siglip", "tiny-siglip2"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// That of the checkpoints of a set.
fn recipe(set: &str) -> Recipe {
    Recipes::builtin().get(if set.contains("clip") { "clip" } else { "siglip" }).unwrap().recipe
}

fn cases(set: &str) -> (Vec<Value>, HashMap<String, Tensor>) {
    let text = std::fs::read_to_string(golden(set).join("cases.json")).unwrap();
    let tensors =
        candle_core::safetensors::load(golden(set).join("cases.safetensors"), &Device::Cpu).unwrap();
    (serde_json::from_str(&text).unwrap(), tensors)
}

#[test]
fn ids_and_pixels_are_those_of_the_reference() {
    for set in SETS {
        let model_dir = golden(set).join("model");
        let family = family::open(&model_dir).unwrap();
        let processor = family.processor(&model_dir, &recipe(set)).unwrap();
        let (records, tensors) = cases(set);
        let mut seen = [0, 0];
        for record in records {
            let name = record["name"].as_str().unwrap();
            if let Some(expected) = tensors.get(&format!("{name}.input_ids")) {
                let expected: Vec<u32> =
                    expected.to_dtype(candle_core::DType::U32).unwrap().to_vec1().unwrap();
                let text = record["text"].as_str().unwrap();
                let encoding = processor.encode(&[PromptPart::Text(text)], None).unwrap();
                assert_eq!(encoding.input_ids, expected, "{set} {name}");
                assert_eq!(encoding.truncated_tokens > 0, name == "long");
                seen[0] += 1;
            }
            if let Some(expected) = tensors.get(&format!("{name}.pixel_values")) {
                let image = golden("media").join(record["image"].as_str().unwrap());
                let image = load_image_with(&*image, &ImageLimits::default(), Transparency::Dropped).unwrap();
                let patches = processor.pictures().image(&image, None, None).unwrap();
                // Patches row by row, each (channels, rows, columns); what is left over of the picture is no
                // part of any.
                let [_, rows, columns] = patches.grid_thw;
                let side = (patches.pixel_values.len() / (3 * rows * columns)).isqrt();
                let expected =
                    expected.narrow(1, 0, rows * side).unwrap().narrow(2, 0, columns * side).unwrap();
                let expected = expected.reshape(&[3, rows, side, columns, side][..]).unwrap();
                let expected = expected.permute(vec![1, 3, 0, 2, 4]).unwrap().flatten_all().unwrap();
                let expected: Vec<f32> = expected.to_vec1().unwrap();
                let most = patches.pixel_values.iter().zip(&expected).map(|(a, b)| (a - b).abs());
                assert_eq!(patches.pixel_values.len(), expected.len());
                assert!(most.fold(0.0, f32::max) < 1e-6, "{set} {name}");
                seen[1] += 1;
            }
        }
        assert_eq!(seen, [5, 2]);
    }
}

/// What a recipe may shorten, and what no text can be shortened to.
#[test]
fn texts_are_cut_and_filled_up_as_told() {
    let ids = |set: &str, max_length: usize| {
        let model_dir = golden(set).join("model");
        let family = family::open(&model_dir).unwrap();
        let mut recipe = recipe(set);
        recipe.max_length = max_length;
        let processor = family.processor(&model_dir, &recipe)?;
        let encoding = processor.encode(&[PromptPart::Text("a red dog runs in the forest")], None)?;
        Ok::<_, crate::preprocess::PreprocessError>((encoding.input_ids, encoding.truncated_tokens))
    };
    let (whole, _) = ids("tiny-clip", 1000).unwrap();
    let (cut, truncated) = ids("tiny-clip", 5).unwrap();
    assert_eq!((cut, truncated), ([&whole[..4], &whole[8..]].concat(), 4));
    let (cut, truncated) = ids("tiny-siglip2", 5).unwrap();
    assert_eq!((cut.len(), cut[4], cut[5..].iter().max(), truncated), (64, 1, Some(&0), 4));
    assert!(ids("tiny-clip", 2).unwrap_err().to_string().contains("max_length"));
}

fn refusal(set: &str, file: &str, change: impl FnOnce(&mut Value)) -> String {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(set).join("model")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    let path = folder.path().join(file);
    let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
    let error = match family::open(folder.path()) {
        Err(error) => error.to_string(),
        Ok(family) => match family.processor(folder.path(), &recipe(set)) {
            Err(error) => error.to_string(),
            Ok(_) => "nothing".to_owned(),
        },
    };
    assert!(!error.contains('\n'));
    error
}

#[test]
fn settings_that_change_numbers_are_refused_by_name() {
    let clip = "tiny-clip";
    let siglip = "tiny-siglip2";
    for (set, file, pointer, value, named) in [
        (clip, "config.json", "/vision_config/num_channels", "1", "num_channels"),
        (clip, "config.json", "/vision_config/num_attention_heads", "5", "num_attention_heads"),
        (clip, "config.json", "/text_config/hidden_act", "\"tanh\"", "hidden_act"),
        (clip, "config.json", "/vision_config/image_size", "40", "image_size"),
        (clip, "config.json", "/projection_dim", "0", "projection_dim"),
        (clip, "preprocessor_config.json", "/crop_size", "24", "image_size"),
        (clip, "preprocessor_config.json", "/do_normalize", "false", "do_normalize"),
        (siglip, "config.json", "/text_config/projection_size", "24", "32"),
        (siglip, "config.json", "/vision_config/vision_use_head", "false", "vision_use_head"),
        (siglip, "config.json", "/model_type", "\"siglip2\"", "NaFlex"),
        (siglip, "tokenizer_config.json", "/tokenizer_class", "\"T5Tokenizer\"", "tokenizer_class"),
        (siglip, "tokenizer_config.json", "/do_lower_case", "false", "do_lower_case"),
        (siglip, "tokenizer_config.json", "/add_eos_token", "false", "add_eos_token"),
        (siglip, "tokenizer_config.json", "/pad_token", "\"<nothing>\"", "pad_token"),
        (siglip, "tokenizer_config.json", "/padding_side", "\"left\"", "padding_side"),
    ] {
        let error = refusal(set, file, |settings| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            settings.pointer_mut(parent).unwrap()[key] = serde_json::from_str(value).unwrap();
        });
        assert!(error.contains(named), "{pointer}: {error}");
    }
    assert_eq!(refusal(siglip, "config.json", |_| {}), "nothing");
    // What is left out is as transformers has it; what is there twice, as it takes it.
    let defaults = |settings: &mut Value| settings["vision_config"] = serde_json::json!({});
    assert!(refusal(siglip, "config.json", defaults).contains("768"));
    let twice = |settings: &mut Value| {
        settings["vision_config_dict"] = settings["vision_config"].clone();
        settings["vision_config"]["image_size"] = 99.into();
    };
    assert_eq!(refusal(clip, "config.json", twice), "nothing");
}
