//! Adapters of every kind that PEFT trains, against what they give there: see `make_adapters.py`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use gve::model::{AdapterLayout, LoraAdapter, merge_adapter};
use gve::recipe::{Recipe, Reranking};
use gve::train::{LoraConfig, Memory, Mode, Prepared, TrainError, Trainable, TrainableModel};
use gve::{Embedder, EmbedderBuilder, Input};
use gve_test_support::golden::{cosine, golden_dir, max_difference, model};
use serde_json::{Value, json};

use crate::device::on_device;

const LAYOUTS: [AdapterLayout; 2] = [AdapterLayout::Flat, AdapterLayout::Nested];
/// A batch in pieces, each of which keeps little.
const CUT: Memory = Memory { checkpointing: true, max_tokens: Some(20) };

fn adapters() -> PathBuf {
    golden_dir().join("tiny-a/adapters")
}

fn about() -> Value {
    serde_json::from_slice(&std::fs::read(adapters().join("adapters.json")).unwrap()).unwrap()
}

/// Each kind with what the text and the picture are embedded as there.
fn kinds() -> BTreeMap<String, Vec<Vec<f32>>> {
    let kinds = about()["kinds"].as_object().unwrap().clone();
    let of = |(kind, record): (String, Value)| {
        (kind, serde_json::from_value(record["embeddings"].clone()).unwrap())
    };
    kinds.into_iter().map(of).collect()
}

fn inputs() -> [Input; 2] {
    let about = about();
    let text = |key: &str| about[key].as_str().unwrap().to_owned();
    [Input::text(text("text")), Input::image(adapters().join(text("image")))]
}

fn builder(directory: &Path) -> EmbedderBuilder {
    Embedder::builder(directory).device(gve::Device::Cpu).dtype(gve::DType::F32)
}

/// That `builder` embeds the inputs so.
#[track_caller]
fn assert_embeds(builder: EmbedderBuilder, expected: &[Vec<f32>], what: &str) {
    let embedder = builder.build().unwrap();
    for (embedding, expected) in embedder.embed(&inputs()).into_iter().zip(expected) {
        let cosine = cosine(embedding.unwrap().as_slice(), expected);
        println!("{what}: 1 - cosine {:.1e}", 1.0 - cosine);
        assert!(cosine > 1.0 - 1e-5, "{what}: {cosine}");
    }
}

fn load(lora: LoraConfig) -> Result<TrainableModel, TrainError> {
    TrainableModel::load(on_device(Embedder::builder(model())), Trainable::Lora(lora))
}

fn going_on(kind: &str) -> LoraConfig {
    LoraConfig::default().with_dropout(0.0).with_init(Some(adapters().join(kind)))
}

/// A name that PEFT gave, in the flat layout here.
fn flat(name: &str) -> String {
    let name = name.replace("lora_magnitude_vector.weight", "lora_magnitude_vector");
    let name = name.replace("lora_magnitude_vector", "lora_magnitude_vector.weight");
    name.replace(".model.language_model.", ".model.").replace(".model.model.visual.", ".model.visual.")
}

#[test]
fn all_kinds_are_folded_merged_and_written_anew() {
    let plain = builder(&model()).build().unwrap();
    let plain: Vec<_> = plain.embed(&inputs()).into_iter().map(Result::unwrap).collect();
    for (kind, expected) in kinds() {
        let directory = adapters().join(&kind);
        let adapter = LoraAdapter::read(&directory).unwrap();
        let tensors = adapter.tensors(AdapterLayout::Nested);
        assert_eq!(tensors.len() as u64, about()["kinds"][&kind]["tensors"].as_u64().unwrap());
        for (embedding, plain) in expected.iter().zip(&plain) {
            assert!(cosine(embedding, plain.as_slice()) < 0.999, "{kind} changes nothing");
        }
        assert_embeds(builder(&model()).adapter(&directory), &expected, &format!("{kind}, folded"));

        let folder = tempfile::tempdir().unwrap();
        let merged = folder.path().join("merged");
        let recipe = Embedder::builder(model()).find_recipe().unwrap();
        let changed = merge_adapter(&model(), &adapter, &recipe, &merged, &gve::CancelToken::new()).unwrap();
        assert_eq!(changed, adapter.module_names().count() + adapter.saved_names().count());
        assert_embeds(builder(&merged), &expected, &format!("{kind}, merged"));

        for layout in LAYOUTS {
            let written = folder.path().join(format!("{layout:?}"));
            adapter.write(&written, layout).unwrap();
            let file =
                candle_core::safetensors::load(written.join("adapter_model.safetensors"), &Device::Cpu);
            let mut names: Vec<String> = file.unwrap().into_keys().collect();
            names.sort_unstable();
            let renamed =
                |name: &String| if layout == AdapterLayout::Flat { flat(name) } else { name.clone() };
            let mut expected_names: Vec<String> = tensors.keys().map(renamed).collect();
            expected_names.sort_unstable();
            assert_eq!(names, expected_names, "{kind} {layout:?}");
            assert_embeds(builder(&model()).adapter(&written), &expected, &format!("{kind} {layout:?}"));
        }
    }
}

/// What lies beside the merged weights is of them, and not of the base.
#[test]
fn a_merged_checkpoint_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("base");
    std::fs::create_dir(&base).unwrap();
    for entry in std::fs::read_dir(model()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, base.join(path.file_name().unwrap())).unwrap();
    }
    for name in ["README.md", "README.gve.md", "best.json", "modules.json"] {
        std::fs::write(base.join(name), "[\"of the base\"]").unwrap();
    }
    let kind = kinds().into_keys().next().unwrap();
    let adapter = LoraAdapter::read(&adapters().join(kind)).unwrap();
    let merged = |name: &str, change: &dyn Fn(&mut Recipe)| {
        let mut recipe = Embedder::builder(&base).find_recipe().unwrap();
        change(&mut recipe.recipe);
        let out = folder.path().join(name);
        merge_adapter(&base, &adapter, &recipe, &out, &gve::CancelToken::new()).unwrap();
        assert!(!out.join("README.gve.md").exists() && !out.join("best.json").exists());
        let card = std::fs::read_to_string(out.join("README.md")).unwrap();
        assert!(!card.contains("of the base") && !card.contains("comes with gve"), "{card}");
        let modules = std::fs::read_to_string(out.join("modules.json")).ok();
        let is_described = modules.is_some_and(|modules| modules.contains("Pooling"));
        assert_eq!(card.contains("SentenceTransformer"), is_described, "{card}");
        assert_eq!(card.contains("library_name: sentence-transformers"), is_described, "{card}");
        assert_eq!(out.join("modules.json").exists(), is_described);
        (card, is_described)
    };
    let (card, is_described) = merged("embedder", &|_| ());
    assert!(
        is_described && card.contains("gve embed --text") && card.contains("multimodal-embedding"),
        "{card}"
    );
    let (card, is_described) = merged("reranker", &|recipe| recipe.reranking = Some(Reranking::default()));
    assert!(!is_described && card.contains("gve rerank --query") && card.contains("- reranker\n"), "{card}");
    assert!(!card.contains("gve embed") && !card.contains("embedding"), "{card}");
    let (card, is_described) = merged("another", &|recipe| recipe.prompt.close_instruction = true);
    assert!(!is_described && card.contains("gve embed --text"), "{card}");
    // What others loaded it by, where that is whole.
    let theirs = r#"[{"idx": 0, "name": "0", "path": "", "type": "theirs.Module"}]"#;
    std::fs::write(base.join("modules.json"), theirs).unwrap();
    for (name, reranking, stays) in [("theirs", None, true), ("no more", Some(Reranking::default()), false)] {
        let mut recipe = Embedder::builder(&base).find_recipe().unwrap();
        (recipe.recipe.prompt.close_instruction, recipe.recipe.reranking) = (true, reranking);
        let out = folder.path().join(name);
        merge_adapter(&base, &adapter, &recipe, &out, &gve::CancelToken::new()).unwrap();
        assert_eq!(out.join("modules.json").exists(), stays, "{name}");
    }
}

/// A model that goes on from an adapter is the adapted one, and its gradients are PyTorch's.
#[test]
fn training_goes_on_from_all_kinds_with_the_gradients_of_peft() {
    let gradients =
        candle_core::safetensors::load(adapters().join("gradients.safetensors"), &Device::Cpu).unwrap();
    let mut compared = 0;
    for (kind, expected) in kinds().into_iter().filter(|(kind, _)| kind != "patterns") {
        let model = load(going_on(&kind)).unwrap();
        let items = inputs().map(|input| model.prepare(&input).unwrap());
        let items: Vec<&Prepared> = items.iter().collect();
        let found: Vec<Vec<f32>> = model.embed(&items, Mode::Evaluate).unwrap().to_vec2().unwrap();
        for (found, expected) in found.iter().zip(&expected) {
            assert!(cosine(found, expected) > 1.0 - 1e-5, "{kind}: {}", cosine(found, expected));
        }
        let read = LoraAdapter::read(&adapters().join(&kind)).unwrap();
        let (kept, read) = (model.adapter(None).unwrap().unwrap(), read.tensors(AdapterLayout::Nested));
        let kept = kept.tensors(AdapterLayout::Nested);
        assert!(kept.keys().eq(read.keys()), "{kind}");

        let expected: BTreeMap<String, &Tensor> = gradients
            .iter()
            .filter_map(|(name, tensor)| Some((flat(name.strip_prefix(&format!("{kind}."))?), tensor)))
            .collect();
        if expected.is_empty() {
            continue;
        }
        let loss = |embeddings: &Tensor| Ok((embeddings * &gradients["direction"])?.sum_all()?);
        for memory in [Memory::default(), CUT] {
            let (_, found) = model.gradients(&items, 0, memory, loss).unwrap();
            for name in model.parameters().keys() {
                let expected = expected[name];
                let largest = expected.abs().unwrap().flatten_all().unwrap().max(0).unwrap();
                let largest: f32 = largest.to_scalar().unwrap();
                let off = max_difference(found.get(name).unwrap(), expected) / largest.max(1e-2);
                assert!(off < 1e-3, "{kind}: the gradient of {name} is off by {off:.1e}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * (gradients.len() - 1));
}

/// What an adapter of these settings trains, by name.
fn trained(lora: LoraConfig) -> Vec<String> {
    let names: Vec<String> = load(lora).unwrap().parameters().keys().cloned().collect();
    names
}

#[test]
fn fresh_adapters_are_of_the_kind_that_is_asked_for() {
    let lora = || LoraConfig::default().with_r(2);
    let factors = |names: &[String], of: &str| {
        names.iter().filter(|name| name.contains(of) && name.ends_with("lora_B.weight")).count()
    };
    let all = trained(lora().with_target_modules(vec!["all-linear".into()]).with_use_dora(true));
    // Four language layers of 7, four blocks of 5 in the vision tower, and two layers behind it, as PEFT has it.
    assert_eq!((factors(&all, "model.layers."), factors(&all, "visual.")), (28, 22));
    let everything = LoraAdapter::read(&adapters().join("everything")).unwrap().tensors(AdapterLayout::Flat);
    assert!(everything.keys().eq(&all));

    let targets = || lora().with_target_modules(["q_proj", "gate_proj"].map(str::to_owned).to_vec());
    assert_eq!(factors(&trained(targets()), "visual."), 0);
    let both = trained(targets().with_vision(true));
    assert_eq!((factors(&both, "model.layers."), factors(&both, "visual.")), (8, 4));
    let one = lora().with_target_modules(vec!["visual.merger.mlp.0".into()]);
    assert_eq!(trained(one).len(), 2);
    let saved = trained(targets().with_modules_to_save(["norm", "merger"].map(str::to_owned).to_vec()));
    let saved: Vec<&String> = saved.iter().filter(|name| !name.contains("lora_")).collect();
    let merger = ["ln_q.weight", "mlp.0.bias", "mlp.0.weight", "mlp.2.bias", "mlp.2.weight"];
    let merger = merger.map(|name| format!("base_model.model.visual.merger.{name}"));
    assert_eq!(saved[0], "base_model.model.model.norm.weight");
    assert!(saved[1..].iter().copied().eq(&merger), "{saved:?}");

    // At the start, none of them changes the model.
    let plain = builder(&model()).build().unwrap();
    for lora in [targets().with_use_dora(true), targets().with_vision(true).with_use_rslora(true)] {
        let model = load(lora).unwrap();
        for input in inputs() {
            let item = model.prepare(&input).unwrap();
            let found: Vec<f32> =
                model.embed(&[&item], Mode::Evaluate).unwrap().get(0).unwrap().to_vec1().unwrap();
            assert!(cosine(&found, plain.embed_one(&input).unwrap().as_slice()) > 1.0 - 1e-6);
        }
    }

    for (lora, named) in [
        (targets().with_modules_to_save(vec!["head".into()]), "lora.modules_to_save"),
        (lora().with_target_modules(vec!["qkv".into()]), "names qkv, expected some of q_proj"),
        (lora().with_target_modules(vec!["q_proj".into()]).with_vision(true), "lora.vision"),
        (lora().with_target_modules(["all-linear", "q_proj"].map(str::to_owned).to_vec()), "all-linear"),
        (going_on("patterns"), "rank_pattern"),
    ] {
        let message = load(lora).err().unwrap().to_string();
        assert!(message.contains(named), "{message} should say {named}");
    }
}

/// The tensors of the adapter in a folder, by name and shape.
fn shapes(folder: &Path) -> BTreeMap<String, Vec<usize>> {
    let file = folder.join("adapter_model.safetensors");
    let tensors = candle_core::safetensors::load(file, &Device::Cpu).unwrap();
    tensors.into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec())).collect()
}

fn settings(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("adapter_config.json")).unwrap()).unwrap()
}

/// A fresh adapter has the tensors of PEFT's own of its kind, and settings that say the same. A pattern says
/// which modules they are of.
#[test]
fn fresh_adapters_are_written_as_peft_writes_them() {
    let lora = |r, alpha, targets: &[&str]| {
        let targets = targets.iter().map(|target| (*target).to_owned()).collect();
        let lora = LoraConfig::default().with_r(r).with_alpha(alpha).with_dropout(0.05);
        lora.with_target_modules(targets)
    };
    let norms = ["input_layernorm", "post_attention_layernorm"];
    // In PEFT `norm` means these, too.
    let saved = norms.into_iter().chain(["norm", "merger.mlp.2"]).map(str::to_owned).collect();
    for (kind, lora, targets) in [
        (
            "rslora",
            lora(4, 6.0, &["q_proj", "v_proj"]).with_use_rslora(true),
            r"layers\.(?:0|1|2|3)\.(?:self_attn\.q_proj|self_attn\.v_proj)",
        ),
        (
            "vision",
            lora(2, 4.0, &["qkv", "attn.proj", "q_proj", "gate_proj", "visual.merger.mlp.0"])
                .with_vision(true),
            concat!(
                r"visual\.merger\.mlp\.0|layers\.(?:0|1|2|3)\.(?:mlp\.gate_proj|self_attn\.q_proj)",
                r"|visual\.blocks\.(?:0|1|2|3)\.(?:attn\.proj|attn\.qkv|mlp\.gate_proj)"
            ),
        ),
        (
            "saved",
            lora(2, 4.0, &["q_proj"]).with_modules_to_save(saved),
            r"layers\.(?:0|1|2|3)\.(?:self_attn\.q_proj)",
        ),
        (
            "everything",
            lora(2, 3.0, &["all-linear"]).with_use_rslora(true).with_use_dora(true),
            concat!(
                r"visual\.merger\.mlp\.0|visual\.merger\.mlp\.2|layers\.(?:0|1|2|3)\.(?:mlp\.down_proj",
                r"|mlp\.gate_proj|mlp\.up_proj|self_attn\.k_proj|self_attn\.o_proj|self_attn\.q_proj",
                r"|self_attn\.v_proj)|visual\.blocks\.(?:0|1|2|3)\.(?:attn\.proj|attn\.qkv|mlp\.down_proj",
                r"|mlp\.gate_proj|mlp\.up_proj)"
            ),
        ),
    ] {
        let (names, theirs) = (shapes(&adapters().join(kind)), settings(&adapters().join(kind)));
        for layout in LAYOUTS {
            let folder = tempfile::tempdir().unwrap();
            load(lora.clone().with_layout(layout)).unwrap().save(folder.path(), None).unwrap();
            let renamed = |name: &String| match layout {
                AdapterLayout::Flat => flat(name),
                AdapterLayout::Nested => {
                    name.replace("lora_magnitude_vector", "lora_magnitude_vector.weight")
                }
            };
            let expected: BTreeMap<String, Vec<usize>> =
                names.iter().map(|(name, shape)| (renamed(name), shape.clone())).collect();
            assert_eq!(shapes(folder.path()), expected, "{kind} {layout:?}");

            let ours = settings(folder.path());
            for (key, value) in ours.as_object().unwrap() {
                let parent = if layout == AdapterLayout::Flat { "model" } else { "language_model" };
                let expected = match key.as_str() {
                    "base_model_name_or_path" => Value::Null,
                    "target_modules" => json!(format!(r"(?:.*\.)?(?:{targets})")),
                    "modules_to_save" if kind == "saved" => {
                        let of_layer = |layer| norms.map(|norm| format!("{parent}.layers.{layer}.{norm}"));
                        let of_layers = (0..4).flat_map(of_layer);
                        let others = [format!("{parent}.norm"), "visual.merger.mlp.2".to_owned()];
                        json!(of_layers.chain(others).collect::<Vec<_>>())
                    }
                    key => theirs.get(key).unwrap_or_else(|| panic!("PEFT knows no {key}")).clone(),
                };
                assert_eq!(*value, expected, "{kind} {layout:?}: {key}");
            }
            for key in ["r", "lora_alpha", "use_rslora", "use_dora", "peft_type", "task_type", "bias"] {
                assert!(ours.get(key).is_some(), "{kind} {layout:?}: {key}");
            }
        }
    }
}

/// The adapter of a kind with its settings changed by `set` and its tensors by `change`, in a folder.
fn changed(
    kind: &str,
    set: &[(&str, Value)],
    change: impl Fn(String, Tensor) -> Option<(String, Tensor)>,
) -> tempfile::TempDir {
    let (source, folder) = (adapters().join(kind), tempfile::tempdir().unwrap());
    let tensors =
        candle_core::safetensors::load(source.join("adapter_model.safetensors"), &Device::Cpu).unwrap();
    let tensors = tensors.into_iter().filter_map(|(name, tensor)| change(name, tensor)).collect();
    candle_core::safetensors::save(&tensors, folder.path().join("adapter_model.safetensors")).unwrap();
    let config = std::fs::read(source.join("adapter_config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&config).unwrap();
    for (key, value) in set {
        config[key] = value.clone();
    }
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn what_does_not_fit_together_is_refused_by_name() {
    let as_it_is = |name: String, tensor: Tensor| Some((name, tensor));
    let renamed = |from: &'static str, to: &'static str| {
        move |name: String, tensor: Tensor| Some((name.replace(from, to), tensor))
    };
    let without = |part: &'static str| {
        move |name: String, tensor: Tensor| (!name.contains(part)).then_some((name, tensor))
    };
    let narrowed = |part: &'static str| {
        move |name: String, tensor: Tensor| match name.contains(part) {
            true => Some((name, tensor.narrow(0, 0, tensor.dim(0).unwrap() - 1).unwrap())),
            false => Some((name, tensor)),
        }
    };
    for (folder, named) in [
        (changed("dora", &[("use_dora", json!(false))], as_it_is), "use_dora"),
        (changed("rslora", &[("use_dora", json!(true))], as_it_is), "has no lora_magnitude_vector"),
        (changed("dora", &[], narrowed("layers.0.mlp.up_proj.lora_magnitude")), "159 lengths"),
        (changed("vision", &[], renamed("visual.blocks.3", "visual.blocks.9")), "`visual.blocks.9"),
        (changed("saved", &[("modules_to_save", json!(["merger.mlp.2"]))], as_it_is), "norm"),
        (changed("saved", &[], without("merger")), "names `merger.mlp.2`, of which it has no tensor"),
        (
            changed("saved", &[], renamed("layers.3.input", "layers.9.input")),
            "`layers.9.input_layernorm.weight`",
        ),
        (changed("embeddings", &[], narrowed("embed_tokens")), "embed_tokens.weight"),
        (changed("patterns", &[("rank_pattern", json!({}))], as_it_is), "the rank r"),
        (changed("patterns", &[("alpha_pattern", json!({"(?=a)": 3}))], as_it_is), "(?=a)"),
    ] {
        let message = builder(&model()).adapter(folder.path()).build().err().unwrap().to_string();
        assert!(message.contains(named), "{message} should say {named}");
    }
}

/// The language head in `file` as an adapter that changes nothing besides.
pub(crate) fn write_head_as_adapter(file: &Path, folder: &Path) {
    let on_cpu = &Device::Cpu;
    let head = candle_core::safetensors::load(file, on_cpu).unwrap().remove("lm_head.weight").unwrap();
    let zeros = |shape: (usize, usize)| Tensor::zeros(shape, DType::F32, on_cpu).unwrap();
    let width = head.dim(1).unwrap();
    let tensors = HashMap::from([
        ("base_model.model.lm_head.weight", head),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight", zeros((1, width))),
        ("base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight", zeros((width, 1))),
    ]);
    candle_core::safetensors::save(&tensors, folder.join("adapter_model.safetensors")).unwrap();
    let config = json!({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["q_proj"], "modules_to_save": ["lm_head"]});
    std::fs::write(folder.join("adapter_config.json"), config.to_string()).unwrap();
}
