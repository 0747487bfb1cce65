//! How published models are used: `models.toml`, the pages that show it, and the way from a checkpoint to it.

use std::fs;
use std::path::{Path, PathBuf};

use gve::model::{ModelType, convert_checkpoint};
use gve::recipe::{EndOfText, FoundBy, NamedRecipe, QueryKind, Recipe, Recipes, Widths};
use gve::{Device, EmbedError, Embedder, EmbedderBuilder, Input};
use gve_test_support::golden::{cosine, golden_dir, model, repository_dir};

/// A copy of the settings of the tiny model, without its weights, at `path` in a folder of its own.
fn settings_at(path: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join(path);
    fs::create_dir_all(&directory).unwrap();
    fs::copy(model().join("config.json"), directory.join("config.json")).unwrap();
    (folder, directory)
}

fn builder(directory: &Path) -> EmbedderBuilder {
    Embedder::builder(directory).device(Device::Cpu)
}

#[test]
fn every_architecture_has_a_recipe_and_every_recipe_an_architecture() {
    let types: Vec<&str> = Recipes::builtin()
        .entries()
        .flat_map(|(_, entry)| entry.model_types.iter().map(String::as_str))
        .collect();
    for model_type in ModelType::ALL {
        assert!(types.contains(&model_type.name()), "models.toml says nothing of {}", model_type.name());
    }
    for name in types {
        assert!(ModelType::ALL.iter().any(|known| known.name() == name), "{name} is not built in");
    }
}

/// What libraries and results name. An entry whose hash changes embeds in another way: they are made anew.
#[test]
fn hashes_of_recipes_stay() {
    let expected = [
        ("clip", "2cb3e33fa51608eb"),
        ("gme", "ecb886afabc8f95c"),
        ("gve", "cbf29ce484222325"),
        ("lychee-rerank-mm", "996bfda8421b33ff"),
        ("nano", "cbf29ce484222325"),
        ("ops-mm-v1", "acfc59a53f9dc056"),
        ("qwen2_5-vl", "cbf29ce484222325"),
        ("qwen3-vl-embedding", "666c2e5b18a9f2b2"),
        ("qwen3-vl-embedding-evaluation", "bc61d67fe495827e"),
        ("qwen3-vl-reranker", "a5f1e37f2ed2834d"),
        ("rzen-embed", "e01744a0b12e15ea"),
        ("siglip", "2cb3e33fa51608eb"),
        ("unite", "3b9a62e4e7546bd0"),
        ("vlm2vec-v2", "a5c08fe1d2bfb60b"),
    ];
    let found: Vec<(&str, String)> =
        Recipes::builtin().entries().map(|(name, entry)| (name, entry.recipe.fingerprint())).collect();
    assert_eq!(found, expected.map(|(name, hash)| (name, hash.to_owned())));
}

/// Words that the model was trained with, where it was.
#[test]
fn queries_of_gve_say_what_the_benchmark_has_them_say() {
    let datasets = fs::read_to_string(repository_dir().join("datasets.toml")).unwrap();
    let gve = Recipes::builtin().get("gve").unwrap().recipe.query_instruction;
    let kinds = [
        QueryKind::Text,
        QueryKind::Image,
        QueryKind::Video,
        QueryKind::TextAndImage,
        QueryKind::TextAndVideo,
    ];
    for kind in kinds {
        let instruction = gve.of(kind).unwrap();
        assert!(datasets.contains(&format!("prompt = \"{instruction}\"")), "{instruction}");
    }
}

/// The table of docs/models.md: model, recipe, dimensions, widths, languages, licence, and what was measured.
#[test]
fn the_page_of_models_shows_every_entry() {
    let page = fs::read_to_string(repository_dir().join("docs/models.md")).unwrap();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let mut expected: Vec<Vec<String>> = Vec::new();
    for (name, entry) in Recipes::builtin().entries() {
        expected.extend(entry.models.iter().map(|model| {
            let (languages, widths) = (entry.languages.join(", "), &entry.recipe.widths);
            let widths = if *widths == Widths::default() { "-".to_owned() } else { widths.to_string() };
            let model_id = format!("`{}`", model.id);
            [model_id, name.to_owned(), model.dim.to_string(), widths, languages, entry.licence.clone()]
                .into()
        }));
    }
    let shown: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().take(6).map(|cell| (*cell).to_owned()).collect()).collect();
    assert_eq!(shown, expected);
    assert!(rows.iter().all(|row| row.len() == 8), "memory and speed have a column each: {rows:?}");
}

#[test]
fn a_checkpoint_is_used_as_is_known_of_it() {
    let found = |builder: EmbedderBuilder| {
        let found = builder.find_recipe().unwrap();
        (found.name, found.found_by)
    };
    let by_type = FoundBy::ModelType("qwen2_5_vl".into());
    assert_eq!(found(builder(&model())), ("gve".into(), by_type));

    let id = "Qwen/Qwen2.5-VL-3B-Instruct";
    let (_cache, snapshot) = settings_at("models--Qwen--Qwen2.5-VL-3B-Instruct/snapshots/0123abc");
    assert_eq!(found(builder(&snapshot)), ("qwen2_5-vl".into(), FoundBy::HubId(id.into())));

    // An adapter of a known model, on a copy of it whose name says nothing.
    let adapter = tempfile::tempdir().unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        let from = golden_dir().join("tiny-a/train/adapter_final").join(name);
        let text = fs::read(from).unwrap();
        fs::write(adapter.path().join(name), text).unwrap();
    }
    let path = adapter.path().join("adapter_config.json");
    let mut settings: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    settings["base_model_name_or_path"] = id.into();
    fs::write(&path, settings.to_string()).unwrap();
    let adapted = || builder(&model()).adapter(adapter.path());
    assert_eq!(found(adapted()), ("qwen2_5-vl".into(), FoundBy::HubId(id.into())));

    let mut recipe = Recipe::default();
    recipe.instruction = "Represent the input.".into();
    let mine = NamedRecipe::from(recipe);
    let (_folder, beside) = settings_at("model");
    for directory in [adapter.path(), &beside] {
        mine.write(directory).unwrap();
    }
    let lies = |directory: &Path| FoundBy::Beside(directory.join(NamedRecipe::FILE_NAME));
    assert_eq!(found(builder(&beside)), ("custom".into(), lies(&beside)));
    assert_eq!(found(adapted()), ("custom".into(), lies(adapter.path())));
    assert_eq!(found(adapted().recipe(Recipes::builtin().get("nano").unwrap())).0, "nano");
    // What lies beside is what the model embeds by.
    let embed = |builder: EmbedderBuilder| builder.build().unwrap().embed_one(&Input::text("a dog")).unwrap();
    let plain = builder(&model()).instruction("Represent the input.");
    assert_eq!(embed(builder(&model()).recipe(mine)).as_slice(), embed(plain).as_slice());

    fs::write(beside.join(NamedRecipe::FILE_NAME), "name = 1").unwrap();
    let damaged = builder(&beside).find_recipe().unwrap_err().to_string();
    assert!(damaged.contains("gve_recipe.toml:1: "), "{damaged}");
}

#[test]
fn what_is_made_of_a_model_is_used_as_it_is() {
    let parent = tempfile::tempdir().unwrap();
    let mut recipe = Recipe::default();
    recipe.prompt.end_of_text = EndOfText::None;
    let mine = NamedRecipe::from(recipe);
    let out = parent.path().join("out");
    convert_checkpoint(&model(), gve::DType::F32, &mine, &out, &gve::CancelToken::new()).unwrap();
    let found = builder(&out).find_recipe().unwrap();
    assert_eq!((found.id(), &found.found_by), (mine.id(), &FoundBy::Beside(out.join("gve_recipe.toml"))));
    // Others that load it are told the same.
    let described = fs::read_to_string(out.join("sentence_bert_config.json")).unwrap();
    assert!(!described.contains("<|endoftext|>"), "{described}");
    let text = Input::text("a dog");
    let embed = |builder: EmbedderBuilder| builder.build().unwrap().embed_one(&text).unwrap();
    assert_eq!(embed(builder(&out)).as_slice(), embed(builder(&model()).recipe(mine)).as_slice());
    assert!(embed(builder(&out)).cosine(&embed(builder(&model()))).unwrap() < 0.999);
}

#[cfg(feature = "train")]
#[test]
fn what_is_trained_is_used_as_the_model_was() {
    use gve::model::BaseModel;
    use gve::train::{LoraConfig, Trainable, TrainableModel};

    let parent = tempfile::tempdir().unwrap();
    let mut recipe = Recipe::default();
    recipe.max_length = 77;
    let mine = NamedRecipe::from(recipe);
    for (name, trainable) in
        [("adapter", Trainable::Lora(LoraConfig::default())), ("weights", Trainable::Full { vision: false })]
    {
        let out = parent.path().join(name);
        let trained = TrainableModel::load(builder(&model()).recipe(mine.clone()), trainable).unwrap();
        trained.save(&out, Some(&BaseModel::Hub { id: "o/m".to_owned(), revision: None })).unwrap();
        let reader = if name == "adapter" { builder(&model()).adapter(&out) } else { builder(&out) };
        let embedder = reader.build().unwrap();
        assert_eq!((embedder.recipe().id(), embedder.max_length()), (mine.id(), 77), "{name}");
    }
    let cut = TrainableModel::load(builder(&model()).dim(8), Trainable::Full { vision: false });
    let message = cut.err().unwrap().to_string();
    assert!(message.contains("dim") && message.contains("matryoshka_dims"), "{message}");
}

#[test]
fn embeddings_are_cut_where_the_model_was_trained_for_it() {
    let text = Input::text("a dog catches a ball");
    let whole = builder(&model()).build().unwrap();
    let full = whole.embed_one(&text).unwrap();
    let mut recipe = Recipe::default();
    recipe.widths = Widths::These(vec![16, 32]);
    let trained = |dim| builder(&model()).recipe(recipe.clone()).dim(dim);
    let refused = |builder: EmbedderBuilder| match builder.build() {
        Err(EmbedError::Recipe(error)) => error.to_string(),
        other => panic!("{:?}", other.err()),
    };

    let embedder = trained(16).build().unwrap();
    let cut = embedder.embed_one(&text).unwrap();
    assert_eq!((embedder.dim(), cut.dim()), (16, 16));
    let expected = full.clone().cut(16).unwrap();
    assert!(cosine(cut.as_slice(), expected.as_slice()) > 0.999_999);
    let length = cut.as_slice().iter().map(|v| v * v).sum::<f32>();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
    assert_eq!(embedder.embed(&[text.clone(), Input::text("a cat")])[0].as_ref().unwrap().dim(), 16);

    assert!(refused(trained(24)).contains("(widths it was trained for: 16, 32)"));
    let message = refused(builder(&model()).dim(24));
    assert!(message.contains("recipe gve was not trained to be cut to 24 of its 64 values"), "{message}");
    assert_eq!(builder(&model()).dim(24).force_dim(true).build().unwrap().dim(), 24);
    assert!(refused(trained(65).force_dim(true)).contains("64 values cannot be cut to 65"));
    assert!(whole.check_dim(24, false).is_err() && whole.check_dim(64, false).is_ok());
}

#[test]
fn queries_are_told_by_what_they_are_made_of() {
    let query = Input::text("a dog").and_image("a.png");
    for (input, kind) in [
        (Input::text("a dog"), QueryKind::Text),
        (Input::image("a.png"), QueryKind::Image),
        (query.clone(), QueryKind::TextAndImage),
        (Input::video("a.mp4"), QueryKind::Video),
        (Input::frames(vec![image::RgbImage::new(4, 4)], 1.0), QueryKind::Video),
        (Input::image("a.png").and_video("a.mp4"), QueryKind::Video),
        (query.and_video("a.mp4"), QueryKind::TextAndVideo),
        (Input::default(), QueryKind::Text),
    ] {
        assert_eq!(input.query_kind(), kind, "{input:?}");
    }
    let embedder = builder(&model()).build().unwrap();
    let said = embedder.query_instruction(&Input::image("a.png"));
    assert_eq!(said, Some("Find the video according to the image."));
}
