//! Keys of `config.json`: what changes the numbers is done as the reference does it, or refused by name. And
//! what the precision `auto` is.

use std::path::Path;

use candle_core::{Device, Tensor};
use gve::model::{Config, ModelError, PackedBatch, QwenVl, Visual, convert_checkpoint};
use gve::{CancelToken, DType};
use gve_test_support::golden::{Case, cosine, golden_dir};
use gve_test_support::skip;
use serde_json::{Value, json};

/// The tiny model with other settings.
pub(crate) fn changed_model(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let model = golden_dir().join("tiny-a/model");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(&model).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let path = folder.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut config);
    std::fs::write(path, config.to_string()).unwrap();
    folder
}

fn load(folder: &Path) -> Result<QwenVl, ModelError> {
    QwenVl::load(folder, candle_core::DType::F32, &Device::Cpu)
}

fn case(name: &str) -> Case {
    Case::all(&golden_dir().join("tiny-a")).into_iter().find(|case| case.name == name).unwrap()
}

fn text_state(model: &QwenVl, case: &Case) -> Vec<f32> {
    let input_ids = case.input_ids();
    let batch = PackedBatch {
        lengths: vec![input_ids.len()],
        position_ids: case.position_ids(),
        input_ids,
        ..PackedBatch::default()
    };
    model.last_hidden_states(&batch).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn visual(case: &Case) -> Visual {
    let pixels = ["pixel_values", "pixel_values_videos"].iter().find_map(|key| case.tensors.get(*key));
    let pixel_values = pixels.unwrap().flatten_all().unwrap().to_vec1().unwrap();
    Visual { pixel_values, grid_thw: case.grids()[0] }
}

fn largest_difference(got: &[f32], expected: &Value) -> f32 {
    let expected: Vec<f32> = serde_json::from_value(expected.clone()).unwrap();
    assert!(got.len() >= expected.len());
    got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// `settings.json` is made by `make_settings_fixture.py`.
#[test]
fn settings_do_what_they_do_in_the_reference() {
    let cases: Vec<Value> =
        serde_json::from_slice(&std::fs::read(golden_dir().join("settings.json")).unwrap()).unwrap();
    let (text, image) = (case("text"), case("image"));
    let pixels = visual(&image);
    let plain: Vec<f32> = serde_json::from_value(cases[0]["hidden"].clone()).unwrap();
    let mut moved = 0;
    for case in &cases {
        let folder = changed_model(|config| {
            for (key, value) in case["changes"].as_object().unwrap() {
                match value {
                    Value::Object(part) if key == "vision_config" => {
                        part.iter().for_each(|(key, value)| config["vision_config"][key] = value.clone());
                    }
                    value => config[key] = value.clone(),
                }
            }
        });
        let model = load(folder.path()).unwrap();
        let hidden = text_state(&model, &text);
        let off = largest_difference(&hidden, &case["hidden"]);
        assert!(off < 1e-4, "{}: hidden state off by {off}", case["changes"]);
        let rows: Vec<f32> =
            model.vision_embeds(&[&pixels]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        let off = largest_difference(&rows, &case["vision"]);
        assert!(off < 2e-4, "{}: vision off by {off}", case["changes"]);
        moved += usize::from(cosine(&hidden, &plain) < 0.99);
    }
    // A reader that ignores settings would fail above; this says that the cases are able to tell.
    assert!(cases.len() == 19 && moved >= 9, "{moved} of {}", cases.len());
}

#[test]
fn settings_that_are_not_built_in_are_refused_by_name() {
    let rope = |kind: &str, more: Value| {
        let mut rope = json!({"rope_type": kind, "type": kind, "mrope_section": [2, 3, 3]});
        more.as_object().unwrap().iter().for_each(|(key, value)| rope[key] = value.clone());
        ("/rope_scaling", rope)
    };
    for ((pointer, value), named) in [
        (rope("dynamic", json!({"factor": 2.0})), "dynamic"),
        (rope("longrope", json!({"short_factor": [1.0], "long_factor": [1.0]})), "longrope"),
        (rope("llama3", json!({"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0})), "llama3"),
        (rope("of tomorrow", json!({})), "of tomorrow"),
        (rope("linear", json!({})), "factor"),
        (rope("linear", json!({"factor": -2.0})), "factor"),
        (
            rope("yarn", json!({"factor": 4.0, "original_max_position_embeddings": 32768})),
            "original_max_position_embeddings",
        ),
        (rope("yarn", json!({"factor": 4.0, "truncate": false})), "truncate"),
        (rope("default", json!({"type": "yarn", "factor": 4.0})), "rope_type"),
        (rope("default", json!({"partial_rotary_factor": 0.5})), "partial_rotary_factor"),
        (
            ("/rope_parameters", json!({"rope_type": "yarn", "factor": 4.0, "mrope_section": [2, 3, 3]})),
            "rope_parameters",
        ),
        (("/hidden_act", json!("gelu_10")), "hidden_act"),
        (("/vision_config/hidden_act", json!("mish")), "hidden_act"),
        (("/use_sliding_window", json!(true)), "use_sliding_window"),
        (("/layer_types", json!(["full_attention", "sliding_attention"])), "layer_types"),
        (("/quantization_config", json!({"quant_method": "awq"})), "quantization_config"),
        (("/is_causal", json!(false)), "is_causal"),
        (("/attn_logit_softcapping", json!(50.0)), "attn_logit_softcapping"),
        (("/num_experts", json!(8)), "num_experts"),
        (
            ("/vision_config/rope_parameters", json!({"rope_type": "axial", "rope_theta": 500.0})),
            "rope_parameters",
        ),
        (("/vision_config/deepstack_visual_indexes", json!([1])), "deepstack_visual_indexes"),
    ] {
        let folder = changed_model(|config| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[key] = value.clone();
        });
        let message = load(folder.path()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains(named) && message.contains("config.json"), "{pointer} {value}: {message:?}");
        assert!(!message.contains('\n') && message.len() < 600);
    }
}

/// Files as transformers 4.51.3 and 5.23 write them for the 7B shape.
#[test]
fn files_of_both_transformers_lines_have_no_unknown_key() {
    let vision = json!({"depth": 32, "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu",
        "hidden_size": 1280, "in_channels": 3, "in_chans": 3, "intermediate_size": 3420,
        "model_type": "qwen2_5_vl", "num_heads": 16, "out_hidden_size": 3584, "patch_size": 14,
        "spatial_merge_size": 2, "spatial_patch_size": 14, "temporal_patch_size": 2, "window_size": 112});
    let old = json!({"architectures": ["Qwen2_5_VLForConditionalGeneration"], "attention_dropout": 0.0,
        "bos_token_id": 151643,
        "eos_token_id": 151645, "hidden_act": "silu", "hidden_size": 3584, "image_token_id": 151655,
        "initializer_range": 0.02,
        "intermediate_size": 18944, "max_position_embeddings": 128000, "max_window_layers": 28,
        "model_type": "qwen2_5_vl", "num_attention_heads": 28, "num_hidden_layers": 28,
        "num_key_value_heads": 4, "rms_norm_eps": 1e-06,
        "rope_scaling": {"mrope_section": [16, 24, 24], "rope_type": "default", "type": "default"},
        "rope_theta": 1000000.0,
        "sliding_window": 32768, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
        "transformers_version": "4.51.3", "use_cache": true, "use_sliding_window": false,
        "video_token_id": 151656, "vision_config": vision, "vision_end_token_id": 151653,
        "vision_start_token_id": 151652, "vision_token_id": 151654, "vocab_size": 152064});
    let mut new_vision = vision.clone();
    new_vision["rope_parameters"] = json!({"rope_theta": 10000.0, "rope_type": "axial"});
    new_vision["model_type"] = json!("qwen2_5_vl_vision");
    new_vision["id2label"] = json!({"0": "LABEL_0"});
    let new = json!({"architectures": ["Qwen2_5_VLForConditionalGeneration"], "dtype": "bfloat16",
        "image_token_id": 151655,
        "model_type": "qwen2_5_vl", "_name_or_path": "", "chunk_size_feed_forward": 0,
        "is_encoder_decoder": false, "return_dict": true,
        "text_config": {"attention_dropout": 0.0, "bos_token_id": 151643, "dtype": "bfloat16",
        "eos_token_id": 151645, "hidden_act": "silu",
            "hidden_size": 3584, "initializer_range": 0.02, "intermediate_size": 18944,
            "layer_types": vec!["full_attention"; 28], "max_position_embeddings": 128000,
            "max_window_layers": 28, "model_type": "qwen2_5_vl_text", "num_attention_heads": 28,
            "num_hidden_layers": 28, "num_key_value_heads": 4, "pad_token_id": null, "rms_norm_eps": 1e-06,
            "rope_parameters": {"mrope_section": [16, 24, 24], "rope_theta": 1000000.0, "rope_type": "default",
            "type": "mrope"}, "sliding_window": null, "use_cache": true, "use_sliding_window": false,
            "vocab_size": 152064},
        "tie_word_embeddings": false, "transformers_version": "5.23.0", "video_token_id": 151656,
        "vision_config": new_vision,
        "vision_end_token_id": 151653, "vision_start_token_id": 151652, "vision_token_id": 151654});
    // Releases between the two keep copies of the language model's keys at the top.
    let mut between = old.clone();
    between["text_config"] = new["text_config"].clone();
    let read = |config: &Value| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        Config::load(folder.path()).unwrap()
    };
    let config = read(&old);
    assert_eq!(config.unknown_keys, [""; 0]);
    // The default of transformers, where the file leaves it out.
    assert_eq!(config.vision.tokens_per_second, Some(4.0));
    assert_eq!((read(&new), read(&between)), (config.clone(), config));

    let mut strange = new;
    strange["text_config"]["a_key_of_tomorrow"] = json!(2);
    strange["a_switch_that_is_off"] = json!(false);
    assert_eq!(read(&strange).unknown_keys, ["text_config.a_key_of_tomorrow"]);
}

/// `auto` on the CPU: the memory of what is stored, the numbers of f32.
#[test]
fn weights_held_as_stored_give_what_f32_gives() {
    let tiny = golden_dir().join("tiny-a/model");
    let recipe = gve::Embedder::builder(&tiny).find_recipe().unwrap();
    let (text, image) = (case("text"), case("image"));
    let pixels = visual(&image);
    for (stored, name) in [(DType::Bf16, "bf16"), (DType::F16, "f16"), (DType::F32, "f32")] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("model");
        convert_checkpoint(&tiny, stored, &recipe, &folder, &CancelToken::new()).unwrap();
        let outcome = |dtype: DType| {
            let model = QwenVl::load(&folder, dtype, &Device::Cpu).unwrap();
            let rows: Vec<f32> =
                model.vision_embeds(&[&pixels]).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            (model.dtype(), text_state(&model, &text), rows)
        };
        let (auto, f32) = (outcome(DType::Auto), outcome(DType::F32));
        assert_eq!(auto.0, f32.0);
        let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let (text_off, vision_off) = (off(&auto.1, &f32.1), off(&auto.2, &f32.2));
        println!("stored as {name}: text off by {text_off:e}, vision by {vision_off:e}");
        assert!(text_off < 2e-5 && vision_off < 2e-5, "{name}: {text_off} {vision_off}");
        let need = gve::model::Checkpoint::open(&folder).unwrap();
        let (kept, widened) = (need.memory_as(DType::Auto), need.memory_as(DType::F32));
        assert_eq!(name == "f32", kept.weights_bytes == widened.weights_bytes);
    }
}

/// A sparse file stands for weights that no memory holds: nothing of them is read before they are refused.
#[cfg(target_os = "linux")]
#[test]
fn a_model_larger_than_memory_is_refused_before_it_is_loaded() {
    let (vocab, hidden): (usize, usize) = (1 << 20, 1 << 18);
    let bytes = 2 * vocab * hidden;
    let folder = changed_model(|config| {
        config["vocab_size"] = json!(vocab);
        config["hidden_size"] = json!(hidden);
        config["head_dim"] = json!(16);
        config["vision_config"]["out_hidden_size"] = json!(hidden);
    });
    std::fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    let tensor = json!({"dtype": "BF16", "shape": [vocab, hidden], "data_offsets": [0, bytes]});
    let header = json!({"model.embed_tokens.weight": tensor}).to_string();
    let path = folder.path().join("model.safetensors");
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat()).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    if let Err(error) = file.set_len((8 + header.len() + bytes) as u64) {
        skip(&format!("no sparse file of half a terabyte: {error}"));
        return;
    }
    for dtype in [DType::Auto, DType::F32] {
        let error = QwenVl::load(folder.path(), dtype, &Device::Cpu).err().unwrap();
        assert!(matches!(error, ModelError::Memory { .. }), "{error}");
        let message = error.to_string();
        assert!(
            message.contains("GB of memory") && message.contains("no precision makes them fit"),
            "{message}"
        );
    }
}

/// A scaled rotation and another activation are trained as they are run.
#[test]
fn changed_models_load_for_training_shapes_too() {
    let folder = changed_model(|config| {
        config["hidden_act"] = json!("gelu");
        config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0, "mrope_section": [2, 3, 3]});
    });
    let model = load(folder.path()).unwrap();
    let state = text_state(&model, &case("text"));
    assert!(state.iter().all(|value| value.is_finite()));
    let norm = Tensor::new(state, &Device::Cpu).unwrap().sqr().unwrap().sum_all().unwrap();
    assert!(norm.to_scalar::<f32>().unwrap() > 0.0);
}
