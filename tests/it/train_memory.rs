//! What training costs in memory, measured: each figure in a process of its own.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::path::Path;
use std::process::Command;

use candle_core::{DType, Device, Tensor};
use gve::train::{LoraConfig, Memory, Trainable, TrainableModel};
use gve::{Embedder, Input};
use gve_test_support::golden::golden_dir;

use crate::train_model::relative_difference;

/// Directory of a model, and what to do with it: see [`train_memory_child`].
const CHILD: &str = "GVE_TEST_TRAINING_MEMORY_OF";
const MIB: u64 = 1024;

/// The shape of a language model.
struct Shape {
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    key_heads: usize,
    mrope_section: [usize; 3],
}

/// Writes a checkpoint of that shape whose weights follow no pattern that matters; everything else is
/// tiny-a's.
fn make_checkpoint(shape: &Shape, out: &Path) {
    let source = golden_dir().join("tiny-a/model");
    let mut tensors = HashMap::new();
    for file in std::fs::read_dir(&source).unwrap().map(|file| file.unwrap().path()) {
        let name = file.file_name().unwrap().to_str().unwrap();
        if name.ends_with(".safetensors") {
            tensors.extend(candle_core::safetensors::load(&file, &Device::Cpu).unwrap());
        } else if name != "model.safetensors.index.json" {
            std::fs::copy(&file, out.join(name)).unwrap();
        }
    }
    let config = out.join("config.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    json["hidden_size"] = shape.hidden.into();
    json["intermediate_size"] = shape.intermediate.into();
    json["num_hidden_layers"] = shape.layers.into();
    json["num_attention_heads"] = shape.heads.into();
    json["num_key_value_heads"] = shape.key_heads.into();
    json["rope_scaling"]["mrope_section"] = shape.mrope_section.as_slice().into();
    json["vision_config"]["out_hidden_size"] = shape.hidden.into();
    let vocab = json["vocab_size"].as_u64().unwrap() as usize;
    std::fs::write(&config, json.to_string()).unwrap();

    tensors.retain(|name, _| name.starts_with("visual.") && !name.starts_with("visual.merger.mlp.2"));
    let mut add = |name: String, dims: &[usize]| {
        let scale = 1.0 / (dims[dims.len() - 1] as f32).sqrt();
        let value = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 1009) as f32 / 504.5 - 1.0;
        let values: Vec<f32> = (0..dims.iter().product()).map(|i| value(i) * scale).collect();
        tensors.insert(name, Tensor::from_vec(values, dims, &Device::Cpu).unwrap());
    };
    let (hidden, intermediate) = (shape.hidden, shape.intermediate);
    let keys = hidden / shape.heads * shape.key_heads;
    let merged = 4 * json["vision_config"]["hidden_size"].as_u64().unwrap() as usize;
    add("visual.merger.mlp.2.weight".into(), &[hidden, merged]);
    add("visual.merger.mlp.2.bias".into(), &[hidden]);
    add("model.embed_tokens.weight".into(), &[vocab, hidden]);
    add("model.norm.weight".into(), &[hidden]);
    for layer in 0..shape.layers {
        let mut add = |name: &str, dims: &[usize]| add(format!("model.layers.{layer}.{name}"), dims);
        add("input_layernorm.weight", &[hidden]);
        add("post_attention_layernorm.weight", &[hidden]);
        for (name, outputs) in [("q_proj", hidden), ("k_proj", keys), ("v_proj", keys)] {
            add(&format!("self_attn.{name}.weight"), &[outputs, hidden]);
            add(&format!("self_attn.{name}.bias"), &[outputs]);
        }
        add("self_attn.o_proj.weight", &[hidden, hidden]);
        add("mlp.gate_proj.weight", &[intermediate, hidden]);
        add("mlp.up_proj.weight", &[intermediate, hidden]);
        add("mlp.down_proj.weight", &[hidden, intermediate]);
    }
    candle_core::safetensors::save(&tensors, out.join("model.safetensors")).unwrap();
}

/// A line of `/proc/self/status` in KiB.
fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
    line.trim_start_matches(':').split_whitespace().next().unwrap().parse().unwrap()
}

/// Not a test of its own: prints how much memory gradients take beyond the loaded model, when told to by the
/// tests below.
#[test]
fn train_memory_child() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let task: serde_json::Value = serde_json::from_str(&task).unwrap();
    let settings = Embedder::builder(task["model"].as_str().unwrap()).device(gve::Device::Cpu);
    let lora = LoraConfig::default().with_r(4);
    let model = TrainableModel::load(settings, Trainable::Lora(lora)).unwrap();
    let memory = Memory {
        checkpointing: task["checkpointing"].as_bool().unwrap(),
        max_tokens: task["max_tokens"].as_u64().map(|tokens| tokens as usize),
    };
    let text = "a rabbit in the meadow near the street ".repeat(task["words"].as_u64().unwrap() as usize / 8);
    let items: Vec<_> = (0..task["items"].as_u64().unwrap())
        .map(|i| model.prepare(&Input::text(format!("{i} {text}"))).unwrap())
        .collect();
    let items: Vec<_> = items.iter().collect();
    let loss = |e: &Tensor| Ok(e.matmul(&e.t()?)?.exp()?.sum_all()?);
    // Makes the peak start anew from what is resident.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS");
    let (_, gradients) = model.gradients(&items, 0, memory, loss).unwrap();
    assert!(gradients.norm().unwrap() > 0.0);
    println!("growth={}", status("VmHWM").saturating_sub(before));
}

/// KiB that gradients take beyond the loaded model.
fn growth_kib(model: &Path, items: usize, words: usize, memory: Memory) -> u64 {
    let task = serde_json::json!({
        "model": model, "items": items, "words": words,
        "checkpointing": memory.checkpointing, "max_tokens": memory.max_tokens,
    });
    let run = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "train_memory::train_memory_child", "--nocapture"])
        .env(CHILD, task.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let number = text.split("growth=").nth(1).unwrap_or_else(|| panic!("{text}"));
    number.split_whitespace().next().unwrap().parse().unwrap()
}

/// candle's own matmul would leave a gradient for each of the seven weights, 308 MB in all.
#[test]
fn a_frozen_layer_of_3b_costs_no_gradient_of_its_weights() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape {
        hidden: 2048,
        intermediate: 11_008,
        layers: 1,
        heads: 16,
        key_heads: 2,
        mrope_section: [16, 24, 24],
    };
    make_checkpoint(&shape, folder.path());
    let growth = growth_kib(folder.path(), 2, 8, Memory::default());
    println!("gradients of an adapter on a 3B-shaped layer take {} MiB", growth / MIB);
    // The smallest of the seven weights with a gradient worth the name has 16 MiB, the largest 86.
    assert!(growth < 40 * MIB, "{growth} KiB");
}

#[test]
fn layers_and_batches_can_be_had_in_less_memory() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape {
        hidden: 256,
        intermediate: 768,
        layers: 12,
        heads: 4,
        key_heads: 2,
        mrope_section: [8, 12, 12],
    };
    make_checkpoint(&shape, folder.path());
    let measure = |checkpointing, max_tokens| {
        let growth = growth_kib(folder.path(), 16, 96, Memory { checkpointing, max_tokens });
        println!("checkpointing {checkpointing}, max_tokens {max_tokens:?}: {} MiB", growth / MIB);
        growth
    };
    let plain = measure(false, None);
    let layers = measure(true, None);
    let pieces = measure(false, Some(400));
    let both = measure(true, Some(400));
    assert!(layers * 2 < plain, "{layers} KiB, {plain} without checkpointing");
    assert!(pieces * 2 < plain, "{pieces} KiB, {plain} in one piece");
    assert!(both < layers && both < pieces, "{both} KiB, not less than {layers} and {pieces}");
}

/// Parts of a large batch go through the model at the same time: the same bits on one thread as on several, and the
/// gradients of one that goes through it item by item.
#[test]
fn parts_of_a_batch_have_the_gradients_of_the_whole() {
    let directory = golden_dir().join("tiny-a/model");
    let picture = golden_dir().join("media/rabbit.png");
    let words = "red blue green window zoom then the person runs left now in the forest ".repeat(6);
    for trainable in
        [Trainable::Lora(LoraConfig::default().with_dropout(0.3)), Trainable::Full { vision: true }]
    {
        let settings = Embedder::builder(&directory).device(gve::Device::Cpu);
        let model = TrainableModel::load(settings, trainable).unwrap();
        let inputs = (0..48).map(|number| match number % 3 {
            0 => Input::image(&picture).and_text(format!("{number}")),
            _ => Input::text(format!("{number} {words}")),
        });
        let items: Vec<_> = inputs.map(|input| model.prepare(&input).unwrap()).collect();
        let tokens: usize = items.iter().map(|item| item.num_tokens()).sum();
        assert!(tokens > 3 * 1024, "{tokens} tokens are one part or two");
        let items: Vec<_> = items.iter().collect();
        let run = |threads, checkpointing, max_tokens| {
            let threads = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let loss = |e: &Tensor| Ok(e.matmul(&e.t()?)?.exp()?.sum_all()?);
            let memory = Memory { checkpointing, max_tokens };
            threads.install(|| model.gradients(&items, 5, memory, loss).unwrap())
        };
        let (value, gradients) = run(1, false, None);
        for (threads, checkpointing, max_tokens) in
            [(3, false, None), (2, true, None), (1, false, Some(1)), (3, true, Some(tokens / 2))]
        {
            let (other, others) = run(threads, checkpointing, max_tokens);
            let off = relative_difference(&model, &others, &gradients);
            println!("{threads} threads, checkpointing {checkpointing}, {max_tokens:?} tokens: {off:e}");
            assert!((value - other).abs() <= 1e-6 * value, "{other}, not {value}");
            assert!(off <= if max_tokens.is_none() { 0.0 } else { 2e-5 }, "gradients differ by {off}");
        }
    }
}

#[test]
fn precision_of_what_is_trained_is_f32() {
    let folder = tempfile::tempdir().unwrap();
    let shape =
        Shape { hidden: 64, intermediate: 160, layers: 2, heads: 4, key_heads: 2, mrope_section: [2, 3, 3] };
    make_checkpoint(&shape, folder.path());
    use gve::DType::{Bf16, F16, F32, Int8};
    for (dtype, dora) in [(Bf16, false), (F16, false), (Int8, false), (Int8, true), (F32, false)] {
        let settings = Embedder::builder(folder.path()).device(gve::Device::Cpu).dtype(dtype);
        let lora = LoraConfig::default().with_use_dora(dora);
        let model = TrainableModel::load(settings, Trainable::Lora(lora)).unwrap();
        assert!(model.parameters().values().all(|var| var.dtype() == DType::F32));
        let items = ["a rabbit", "two dog"].map(|text| model.prepare(&Input::text(text)).unwrap());
        let loss = |e: &Tensor| Ok((e.get(0)? * e.get(1)?)?.sum_all()?);
        let (_, gradients) = model.gradients(&[&items[0], &items[1]], 0, Memory::default(), loss).unwrap();
        let norm = gradients.norm().unwrap();
        assert!(norm.is_finite() && norm > 0.0, "{dtype}: {norm}");
    }
}
