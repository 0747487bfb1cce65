//! The model under training against the reference's gradients and trajectory, and against itself by other
//! ways.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use gve::model::{AdapterLayout, BaseModel, LoraAdapter, LoraSettings, ModelError, QwenVl, merge_adapter};

use gve::train::{Gradients, LoraConfig, Memory, Mode, Prepared, TrainError, Trainable, TrainableModel};
use gve::{CancelToken, Embedder, Input};
use gve_test_support::golden::{cosine, fixture_dirs, golden_dir, max_difference};
use serde_json::Value;

use crate::device::on_device;

/// What `make_golden.py` trained with.
pub(crate) fn lora(record: &Value) -> LoraConfig {
    LoraConfig::default()
        .with_r(record["r"].as_u64().unwrap() as usize)
        .with_alpha(record["alpha"].as_f64().unwrap())
        .with_dropout(0.0)
}

pub(crate) fn record(fixture: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fixture.join("train/train.json")).unwrap()).unwrap()
}

pub(crate) fn tensors(path: PathBuf) -> BTreeMap<String, Tensor> {
    candle_core::safetensors::load(path, &Device::Cpu).unwrap().into_iter().collect()
}

fn model(fixture: &Path, trainable: Trainable) -> TrainableModel {
    TrainableModel::load(on_device(Embedder::builder(fixture.join("model"))), trainable).unwrap()
}

/// A model with the adapter that the reference started from.
fn at_the_start(fixture: &Path, lora: LoraConfig) -> TrainableModel {
    let model = model(fixture, Trainable::Lora(lora));
    model.load_state(&tensors(fixture.join("train/adapter_init/adapter_model.safetensors"))).unwrap();
    model
}

/// Queries, positives and hard negatives of the reference, one behind the other.
#[cfg(feature = "video")]
fn pairs(model: &TrainableModel, record: &Value) -> Vec<Prepared> {
    let media = golden_dir().join("media");
    let lists = ["query", "positive", "negative"].map(|key| record["pairs"][key].as_array().unwrap());
    let contents = lists.into_iter().flatten();
    contents
        .map(|content| {
            let line = serde_json::json!({ "content": content }).to_string();
            model.prepare(&Input::from_json(&line, &media).unwrap().1).unwrap()
        })
        .collect()
}

/// Inputs of different lengths that need no decoder.
pub(crate) fn inputs(model: &TrainableModel) -> Vec<Prepared> {
    let image = golden_dir().join("media/rabbit.png");
    [
        Input::text("a rabbit in the meadow"),
        Input::text("red blue green window zoom then the person runs left"),
        Input::image(&image).and_text("now in the forest"),
        Input::text("a dog"),
        Input::image(&image),
        Input::text("a dog near the sea"),
    ]
    .iter()
    .map(|input| model.prepare(input).unwrap())
    .collect()
}

pub(crate) fn references(items: &[Prepared]) -> Vec<&Prepared> {
    items.iter().collect()
}

/// The reference's loss over as many queries, positives and negatives, with both masks.
pub(crate) fn contrastive(embeddings: &Tensor, temperature: f64) -> Result<Tensor, TrainError> {
    let n = embeddings.dim(0)? / 3;
    let queries = embeddings.narrow(0, 0, n)?;
    let targets = embeddings.narrow(0, n, 2 * n)?;
    let scores = queries.matmul(&targets.t()?)?;
    // Targets that are the row's own once more, and such that score above it, are no wrong answers.
    let is_own = Tensor::eye(n, DType::F32, &Device::Cpu)?.pad_with_zeros(1, 0, n)?;
    let targets = targets.detach();
    let same = targets.narrow(0, 0, n)?.matmul(&targets.t()?)?.gt(1.0 - 2e-5)?.to_dtype(DType::F32)?;
    let own = (scores.detach() * &is_own)?.sum_keepdim(1)?;
    let higher = scores.detach().broadcast_gt(&(own + 0.1)?)?.to_dtype(DType::F32)?;
    let dropped = ((same + higher)? * (1.0 - is_own)?)?.gt(0.5)?;
    let scores = dropped.where_cond(&Tensor::full(-1e9f32, scores.shape(), &Device::Cpu)?, &scores)?;
    let labels = Tensor::arange(0u32, n as u32, &Device::Cpu)?;
    let forward = candle_nn::loss::cross_entropy(&(&scores / temperature)?, &labels)?;
    let back = (scores.narrow(1, 0, n)?.t()? / temperature)?;
    let back = candle_nn::loss::cross_entropy(&back.contiguous()?, &labels)?;
    Ok(((forward + back)? * 0.5)?)
}

/// Largest difference between two sets of gradients, relative to the largest gradient of the same parameter.
pub(crate) fn relative_difference(model: &TrainableModel, a: &Gradients, b: &Gradients) -> f32 {
    let of = |name: &String| {
        let (a, b) = (a.get(name).unwrap(), b.get(name).unwrap());
        let largest: f32 = b.abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap();
        max_difference(a, b) / largest.max(1e-6)
    };
    model.parameters().keys().map(of).fold(0.0, f32::max)
}

#[cfg(feature = "video")]
#[test]
fn first_gradients_equal_the_reference() {
    for fixture in fixture_dirs() {
        let record = record(&fixture);
        let model = at_the_start(&fixture, lora(&record));
        let items = pairs(&model, &record);
        let expected = tensors(fixture.join("train/step0.safetensors"));
        let embeddings = model.embed(&references(&items), Mode::Evaluate).unwrap();
        let all = Tensor::cat(&["q", "p", "n"].map(|name| &expected[name]), 0).unwrap();
        println!("embeddings differ by {:e}", max_difference(&embeddings, &all));

        let temperature = record["tau"].as_f64().unwrap();
        let loss = |embeddings: &Tensor| contrastive(embeddings, temperature);
        let (loss, gradients) = model.gradients(&references(&items), 0, Memory::default(), loss).unwrap();
        let expected_loss = record["log"][0]["loss"].as_f64().unwrap();
        assert!(
            (f64::from(loss) / expected_loss - 1.0).abs() < 1e-3,
            "loss {loss}, expected {expected_loss}"
        );
        assert_eq!(
            model.parameters().len(),
            2 * 6 * gve::model::Config::load(&fixture.join("model")).unwrap().text.num_hidden_layers
        );
        for name in model.parameters().keys() {
            let want = &expected[&format!("grad.{name}")];
            let got = gradients.get(name).unwrap().to_device(want.device()).unwrap();
            let norm = |x: &Tensor| x.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            let off = norm(&(got - want).unwrap()) / norm(want);
            assert!(off < 1e-3, "{name}: relative difference {off}");
        }
        let norm = record["log"][0]["grad_norm"].as_f64().unwrap();
        assert!((gradients.norm().unwrap() / norm - 1.0).abs() < 1e-3);
    }
}

#[cfg(feature = "video")]
#[test]
fn the_trajectory_ends_where_the_reference_ended() {
    use candle_core::Var;
    use candle_core::backprop::GradStore;
    use candle_nn::{AdamW, Optimizer, ParamsAdamW};

    for fixture in fixture_dirs() {
        let record = record(&fixture);
        let model = at_the_start(&fixture, lora(&record));
        let items = pairs(&model, &record);
        let settings =
            ParamsAdamW { weight_decay: record["weight_decay"].as_f64().unwrap(), ..Default::default() };
        let vars: Vec<Var> = model.parameters().values().cloned().collect();
        let mut optimizer = AdamW::new(vars, settings).unwrap();
        for step in record["log"].as_array().unwrap() {
            let loss = |embeddings: &Tensor| contrastive(embeddings, record["tau"].as_f64().unwrap());
            let (loss, gradients) = model.gradients(&references(&items), 0, Memory::default(), loss).unwrap();
            let expected = step["loss"].as_f64().unwrap();
            println!("loss {loss}, expected {expected}");
            assert!((f64::from(loss) / expected - 1.0).abs() < 1e-3, "loss {loss}, expected {expected}");
            let mut store = GradStore::default();
            for (name, var) in model.parameters() {
                store.insert(var, gradients.get(name).unwrap().clone());
            }
            optimizer.set_learning_rate(step["lr"].as_f64().unwrap());
            optimizer.step(&store).unwrap();
        }
        let expected = tensors(fixture.join("train/adapter_final/adapter_model.safetensors"));
        for (name, value) in model.state().unwrap() {
            let off = max_difference(&value, &expected[&name]);
            assert!(off < 1e-3, "{name} differs by {off}");
        }
    }
}

/// Whatever is computed twice, and however the batch is cut: the same gradients, dropout included.
#[test]
fn saving_memory_does_not_change_gradients() {
    let fixture = &fixture_dirs()[0];
    let config = lora(&record(fixture)).with_dropout(0.3);
    let model = at_the_start(fixture, config);
    let items = inputs(&model);
    let loss = |embeddings: &Tensor| contrastive(embeddings, 0.1);
    let run = |seed, memory| model.gradients(&references(&items), seed, memory, loss).unwrap();
    let (plain_loss, plain) = run(1, Memory::default());
    let longest = items.iter().map(Prepared::num_tokens).max().unwrap();
    for memory in [
        Memory { checkpointing: true, max_tokens: None },
        Memory { checkpointing: false, max_tokens: Some(longest + 20) },
        Memory { checkpointing: true, max_tokens: Some(1) },
    ] {
        let (loss, gradients) = run(1, memory);
        let off = relative_difference(&model, &gradients, &plain);
        println!("{memory:?}: gradients differ by {off:e}");
        assert!(off < 1e-5, "{memory:?}: gradients differ by {off}");
        assert!((loss - plain_loss).abs() < 1e-5 * plain_loss, "{loss}, not {plain_loss}");
    }
    // Dropout is on, and follows the seed.
    assert!(relative_difference(&model, &run(2, Memory::default()).1, &plain) > 1e-2);
    assert_eq!(relative_difference(&model, &run(1, Memory::default()).1, &plain), 0.0);
}

#[test]
fn a_fresh_adapter_changes_nothing_and_evaluation_drops_nothing() {
    let fixture = &fixture_dirs()[0];
    let model = model(fixture, Trainable::Lora(LoraConfig::default()));
    let embedder = Embedder::builder(fixture.join("model")).device(gve::Device::Cpu).build().unwrap();
    let input = Input::text("a rabbit in the meadow");
    let item = model.prepare(&input).unwrap();
    let got: Vec<f32> = model.embed(&[&item], Mode::Evaluate).unwrap().get(0).unwrap().to_vec1().unwrap();
    assert!(cosine(&got, embedder.embed_one(&input).unwrap().as_slice()) > 1.0 - 1e-6);
    let embeddings = model.embed(&[&item], Mode::Train { seed: 1 }).unwrap();
    assert!(embeddings.track_op());
    assert!(!model.embed(&[&item], Mode::Evaluate).unwrap().track_op());
    assert_eq!(model.embed(&[], Mode::Evaluate).unwrap().dims(), [0, model.dim()]);
}

/// Gradients of all weights, in both halves, against finite differences of the loss.
#[test]
fn full_gradients_are_slopes_of_the_loss() {
    let fixture = &fixture_dirs()[0];
    let model = model(fixture, Trainable::Full { vision: true });
    let items = inputs(&model);
    let loss = |embeddings: &Tensor| contrastive(embeddings, 0.5);
    let value = || -> f64 {
        let embeddings = model.embed(&references(&items), Mode::Evaluate).unwrap();
        f64::from(loss(&embeddings).unwrap().to_scalar::<f32>().unwrap())
    };
    let (_, gradients) = model.gradients(&references(&items), 0, Memory::default(), loss).unwrap();
    let layers = Memory { checkpointing: true, max_tokens: Some(1) };
    let (_, saving) = model.gradients(&references(&items), 0, layers, loss).unwrap();
    let off = relative_difference(&model, &saving, &gradients);
    assert!(off < 2e-5, "gradients differ by {off}");
    for name in [
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.v_proj.bias",
        "model.layers.1.self_attn.o_proj.weight",
        "model.layers.3.mlp.down_proj.weight",
        "model.norm.weight",
        "visual.patch_embed.proj.weight",
        "visual.blocks.0.norm1.weight",
        "visual.blocks.1.attn.qkv.weight",
        "visual.blocks.3.mlp.gate_proj.weight",
        "visual.merger.mlp.2.bias",
    ] {
        let (var, gradient) = (&model.parameters()[name], gradients.get(name).unwrap());
        let norm = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
        assert!(norm > 1e-6, "{name} has no gradient");
        // Along its own direction the slope is the gradient's norm.
        let start = var.as_detached_tensor().copy().unwrap();
        let at = |step: f64| {
            let moved = (&start + (gradient * (step / f64::from(norm))).unwrap()).unwrap();
            var.set(&moved).unwrap();
            value()
        };
        let step = 2e-3;
        let slope = (at(step) - at(-step)) / (2.0 * step);
        var.set(&start).unwrap();
        let off = (slope / f64::from(norm) - 1.0).abs();
        println!("{name}: slope {slope}, gradient {norm}");
        assert!(off < 5e-3, "{name}: slope {slope}, gradient {norm}");
    }
}

#[test]
fn full_weights_are_saved_as_a_checkpoint_that_loads() {
    let fixture = &fixture_dirs()[0];
    let model = model(fixture, Trainable::Full { vision: false });
    assert!(model.parameters().keys().all(|name| name.starts_with("model.")));
    for var in model.parameters().values() {
        var.set(&(var.as_detached_tensor() * 1.01).unwrap()).unwrap();
    }
    let parent = tempfile::tempdir().unwrap();
    let out = parent.path().join("trained");
    model.save(&out, None).unwrap();
    let trained = Embedder::builder(&out).device(gve::Device::Cpu).build().unwrap();
    for item in ["a rabbit in the meadow", "red blue green"] {
        let input = Input::text(item);
        let item = model.prepare(&input).unwrap();
        let want: Vec<f32> =
            model.embed(&[&item], Mode::Evaluate).unwrap().get(0).unwrap().to_vec1().unwrap();
        assert!(cosine(trained.embed_one(&input).unwrap().as_slice(), &want) > 1.0 - 1e-6);
    }
    assert!(model.save(&out, None).unwrap_err().to_string().contains("not empty"));
}

#[test]
fn states_that_do_not_fit_change_nothing() {
    let fixture = &fixture_dirs()[0];
    let model = at_the_start(fixture, lora(&record(fixture)));
    let before = model.state().unwrap();
    let good = before.clone();
    let name = good.keys().next().unwrap().clone();
    let mut missing = good.clone();
    missing.remove(&name);
    let mut misshapen = good.clone();
    misshapen.insert(name.clone(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    let mut unknown = good;
    unknown.insert("nobody".to_owned(), Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap());
    for (state, named) in [(missing, &name), (misshapen, &name), (unknown, &"nobody".to_owned())] {
        let message = model.load_state(&state).unwrap_err().to_string();
        assert!(message.contains(named.as_str()), "{message}");
    }
    for (name, value) in model.state().unwrap() {
        assert_eq!(max_difference(&value, &before[&name]), 0.0);
    }
    let empty = model.gradients(&[], 0, Memory::default(), |e| Ok(e.sum_all()?));
    assert!(empty.err().unwrap().to_string().contains("without items"));
    let settings = LoraConfig::default().with_target_modules(vec!["q_prj".into()]);
    let failed = TrainableModel::load(Embedder::builder(fixture.join("model")), Trainable::Lora(settings));
    assert!(failed.err().unwrap().to_string().contains("q_prj"));
}

/// Folding at load, merging into a checkpoint, merging by hand, and the model under training: one and the
/// same.
#[test]
fn an_adapter_gives_the_same_whichever_way_it_is_used() {
    for fixture in fixture_dirs() {
        let (directory, adapter) = (fixture.join("model"), fixture.join("train/adapter_final"));
        let parent = tempfile::tempdir().unwrap();
        let merged = parent.path().join("merged");
        let recipe = Embedder::builder(&directory).adapter(&adapter).find_recipe().unwrap();
        let adapter_read = LoraAdapter::read(&adapter).unwrap();
        let merge = |cancel| merge_adapter(&directory, &adapter_read, &recipe, &merged, cancel);
        let stop = CancelToken::new();
        stop.cancel();
        let stopped = merge(&stop);
        assert!(matches!(stopped, Err(ModelError::Cancelled)) && !merged.exists(), "{stopped:?}");
        let changed = merge(&CancelToken::new()).unwrap();

        // By hand, on candle's own reading of the files.
        let config = lora(&record(&fixture));
        let factors = tensors(adapter.join("adapter_model.safetensors"));
        assert_eq!(changed * 2, factors.len());
        let shards = |directory: &Path| -> HashMap<String, Tensor> {
            let files = std::fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
            let shards = files.filter(|path| path.extension().is_some_and(|e| e == "safetensors"));
            shards.flat_map(|shard| candle_core::safetensors::load(shard, &Device::Cpu).unwrap()).collect()
        };
        let mut by_hand = shards(&directory);
        for (name, weight) in &mut by_hand {
            let Some(module) = name.strip_suffix(".weight") else { continue };
            let Some(a) = factors.get(&format!("base_model.model.{module}.lora_A.weight")) else { continue };
            let b = &factors[&format!("base_model.model.{module}.lora_B.weight")];
            let delta = (b.matmul(a).unwrap() * (config.alpha / config.r as f64)).unwrap();
            *weight = (&*weight + delta).unwrap();
        }
        let written = shards(&merged);
        assert_eq!(written.len(), by_hand.len());
        for (name, weight) in &by_hand {
            let off = max_difference(&written[name].flatten_all().unwrap(), &weight.flatten_all().unwrap());
            assert!(off < 1e-6, "{name} differs by {off}");
        }

        let load = |directory: &Path| Embedder::builder(directory).device(gve::Device::Cpu);
        let folded = load(&directory).adapter(&adapter).build().unwrap();
        let (merged, plain) = (load(&merged).build().unwrap(), load(&directory).build().unwrap());
        let training = model(&fixture, Trainable::Lora(config));
        training.load_state(&factors).unwrap();
        assert!(folded.adapter().is_some() && merged.adapter().is_none());
        let image = golden_dir().join("media/rabbit.png");
        for input in [Input::text("a rabbit in the meadow"), Input::image(image).and_text("then it runs")] {
            let want = merged.embed_one(&input).unwrap();
            assert!(want.cosine(&folded.embed_one(&input).unwrap()).unwrap() > 1.0 - 1e-6);
            assert!(want.cosine(&plain.embed_one(&input).unwrap()).unwrap() < 0.999);
            let item = training.prepare(&input).unwrap();
            let trained = training.embed(&[&item], Mode::Evaluate).unwrap().get(0).unwrap();
            assert!(cosine(want.as_slice(), &trained.to_vec1::<f32>().unwrap()) > 1.0 - 1e-6);
        }
    }
}

/// Reads `adapter_final` with its tensors renamed, or changed, by `change`.
fn changed_adapter(change: impl Fn(String, Tensor) -> (String, Tensor)) -> Result<QwenVl, ModelError> {
    let fixture = &fixture_dirs()[0];
    let source = fixture.join("train/adapter_final");
    let copy = tempfile::tempdir().unwrap();
    let tensors = tensors(source.join("adapter_model.safetensors"));
    let tensors: HashMap<String, Tensor> = tensors.into_iter().map(|(name, t)| change(name, t)).collect();
    candle_core::safetensors::save(&tensors, copy.path().join("adapter_model.safetensors")).unwrap();
    std::fs::copy(source.join("adapter_config.json"), copy.path().join("adapter_config.json")).unwrap();
    let adapter = LoraAdapter::read(copy.path())?;
    QwenVl::load_adapted(&fixture.join("model"), DType::F32, &Device::Cpu, &adapter)
}

#[test]
fn both_layouts_of_adapters_load_and_others_are_refused() {
    let renamed = |from: &'static str, to: &'static str| {
        changed_adapter(move |name, tensor| (name.replace(from, to), tensor))
    };
    renamed(".weight", ".weight").unwrap();
    renamed(".weight", ".default.weight").unwrap();
    renamed("model.model.layers", "model.model.language_model.layers").unwrap();

    for (outcome, named) in [
        // Of a deeper model: some modules bind.
        (renamed("layers.3.", "layers.30."), "18 of the adapter's 24 modules"),
        (renamed("layers.", "blocks."), "0 of the adapter's 24 modules"),
        (renamed("lora_A", "lora_C"), "lora_C"),
        (renamed("layers.0.mlp.up_proj.lora_A", "layers.0.mlp.zip_proj.lora_A"), "has no lora_"),
        (
            changed_adapter(|name, tensor| match name.contains("layers.0.mlp.up_proj.lora_B") {
                true => (name, tensor.narrow(0, 0, 100).unwrap()),
                false => (name, tensor),
            }),
            "layers.0.mlp.up_proj",
        ),
        (changed_adapter(|name, tensor| (name, tensor.narrow(0, 0, 2).unwrap())), "rank"),
    ] {
        let message = outcome.err().unwrap().to_string();
        assert!(message.contains(named), "{message} should say {named}");
    }
}

#[test]
fn written_adapters_come_back_in_both_layouts() {
    let fixture = &fixture_dirs()[0];
    let model = at_the_start(fixture, lora(&record(fixture)));
    let base = BaseModel::find("acme/tiny-a", Some("v1"), Path::new("tests"));
    let adapter = model.adapter(Some(&base)).unwrap().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (layout, prefix) in [
        (AdapterLayout::Flat, "base_model.model.model.layers."),
        (AdapterLayout::Nested, "base_model.model.model.language_model.layers."),
    ] {
        adapter.write(folder.path(), layout).unwrap();
        let written = tensors(folder.path().join("adapter_model.safetensors"));
        assert!(written.keys().all(|name| name.starts_with(prefix)));
        let back = LoraAdapter::read(folder.path()).unwrap();
        let mut expected: LoraSettings = adapter.settings().clone();
        expected.target_modules.clone_from(&back.settings().target_modules);
        assert_eq!(back.settings(), &expected);
        assert_eq!(back.settings().revision.as_deref(), Some("v1"));
        assert!(back.module_names().eq(adapter.module_names()));
        for (name, value) in model.state().unwrap() {
            let name = name.replace("base_model.model.model.layers.", prefix);
            assert_eq!(max_difference(&written[&name], &value), 0.0);
        }
    }
    // What is no directory cannot be written into.
    let file = folder.path().join("adapter_config.json");
    let message = adapter.write(&file, AdapterLayout::Flat).unwrap_err().to_string();
    assert!(message.contains("adapter_config.json"), "{message}");
}
