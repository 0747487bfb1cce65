//! Rerankers against the reference: the pairs of `rerank.json` in `tests/golden/tiny-q3` and `tiny-a`, whose
//! generators lie beside them.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use gve::model::{PackedBatch, QwenVl};
use gve::recipe::{NamedRecipe, PartOrder, PassOrder, Recipe, Recipes, Reranking};
use gve::train::{
    Entry, Finish, Memory, Prepared, Start, TrainConfig, TrainEvent, Trainable, TrainableModel, Trainer,
    yes_no,
};
use gve::{CancelToken, Device, EmbedError, Input, Relevance, Reranker};
use gve_test_support::golden::{fixtures, golden_dir, media};
use serde_json::{Value, json};

use super::qwen::part;
use crate::adapters::write_head_as_adapter;
use crate::device::{device, on_device, opened_device};

const QWEN3_VL_RERANKER: &str = "qwen3-vl-reranker";
const LYCHEE: &str = "lychee-rerank-mm";

/// A set of pairs.
struct Set {
    directory: PathBuf,
    record: Value,
}

/// A pair, and what the reference says of it.
struct Pair<'a> {
    record: &'a Value,
    query: Input,
    candidate: Input,
}

impl Set {
    fn read(directory: &Path) -> Self {
        let record = std::fs::read(directory.join("rerank.json")).unwrap();
        Self { directory: directory.to_owned(), record: serde_json::from_slice(&record).unwrap() }
    }

    fn pairs(&self) -> Vec<Pair<'_>> {
        let input = |side: &Value| {
            let parts = side.as_array().unwrap().iter().map(|value| part(&self.directory, value));
            Input { parts: parts.collect(), ..Input::default() }
        };
        let pair = |record: &Value| {
            let instruction = record["instruction"].as_str().map(str::to_owned);
            (Input { instruction, ..input(&record["query"]) }, input(&record["document"]))
        };
        let of_case = |record| {
            let (query, candidate) = pair(record);
            Pair { record, query, candidate }
        };
        let all = self.record["cases"].as_array().unwrap().iter().map(of_case);
        all.filter(|pair| cfg!(feature = "video") || !pair.has_video()).collect()
    }
}

impl Pair<'_> {
    fn name(&self) -> &str {
        self.record["name"].as_str().unwrap()
    }

    fn has_video(&self) -> bool {
        let sides = [&self.record["query"], &self.record["document"]];
        sides.iter().any(|side| side.as_array().unwrap().iter().any(|part| part["video"].is_string()))
    }

    fn max_length(&self) -> Option<usize> {
        self.record["max_length"].as_u64().map(|tokens| tokens as usize)
    }

    fn input_ids(&self) -> Vec<u32> {
        serde_json::from_value(self.record["input_ids"].clone()).unwrap()
    }
}

fn recipe(name: &str, max_length: Option<usize>) -> Recipe {
    let mut recipe = Recipes::builtin().get(name).unwrap().recipe;
    recipe.pictures.pass_order = PassOrder::ByShape;
    recipe.max_length = max_length.unwrap_or(recipe.max_length);
    recipe
}

fn reranker(model: &Path, recipe: Recipe) -> Reranker {
    let builder = Reranker::builder(model).recipe(recipe).device(device()).dtype(gve::DType::F32);
    builder.build_reranker().unwrap()
}

fn assert_near(relevance: &Relevance, expected: &Value, tolerance: f64, name: &str) {
    let of = |key: &str| expected[key].as_f64().unwrap();
    let got = [relevance.logits[0], relevance.logits[1], relevance.score].map(f64::from);
    let off = [of("logit_yes"), of("logit_no"), of("score")].into_iter().zip(got).map(|(a, b)| (a - b).abs());
    let off = off.fold(0.0, f64::max);
    println!("{name}: off by {off:.1e}");
    assert!(off <= tolerance, "{name}: {relevance:?}, expected {expected}");
}

#[test]
fn pairs_equal_the_reference() {
    let mut seen = 0;
    for directory in fixtures("tiny-q3") {
        let set = Set::read(&directory);
        for pair in set.pairs() {
            let name = pair.name();
            let reranker = reranker(&directory.join("model"), recipe(QWEN3_VL_RERANKER, pair.max_length()));
            let prepared = reranker.prepare(&pair.query, &pair.candidate).unwrap();
            assert_eq!(Prepared::pack([&prepared]).input_ids, pair.input_ids(), "{name}: token ids");
            let relevance = reranker.score_one(&pair.query, &pair.candidate).unwrap();
            assert_near(&relevance, pair.record, if pair.has_video() { 2e-3 } else { 1e-4 }, name);
            assert_eq!(relevance.num_tokens, pair.input_ids().len(), "{name}");
            let is_cut = relevance.warnings.iter().any(|warning| warning.contains("were cut off"));
            assert_eq!(is_cut, pair.max_length().is_some(), "{name}: {:?}", relevance.warnings);
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen} pairs");
}

/// With the head tied, and with one of its own whose rows are zero but for the labels'.
#[test]
fn both_heads_of_the_other_backbone_equal_the_reference() {
    let set = Set::read(&golden_dir().join("tiny-a"));
    let tied = set.directory.join("model");
    let folder = tempfile::tempdir().unwrap();
    let untied = copy_with_head(&tied, &set.record, folder.path());
    for pair in set.pairs() {
        for (model, key) in [(tied.as_path(), "tied"), (untied.as_path(), "untied")] {
            let reranker = reranker(model, labelled(&set, pair.max_length()));
            let name = format!("{} ({key})", pair.name());
            let prepared = reranker.prepare(&pair.query, &pair.candidate).unwrap();
            assert_eq!(Prepared::pack([&prepared]).input_ids, pair.input_ids(), "{name}: token ids");
            let relevance = reranker.score_one(&pair.query, &pair.candidate).unwrap();
            assert_near(&relevance, &pair.record[key], 1e-4, &name);
        }
    }
    // An adapter may bring the head along, which no embedding is made by.
    let adapter = tempfile::tempdir().unwrap();
    write_head_as_adapter(&untied.join("head.safetensors"), adapter.path());
    for pair in set.pairs() {
        let builder = Reranker::builder(&tied).recipe(labelled(&set, pair.max_length()));
        let builder = builder.device(device()).dtype(gve::DType::F32).adapter(adapter.path());
        let relevance = builder.build_reranker().unwrap().score_one(&pair.query, &pair.candidate).unwrap();
        assert_near(&relevance, &pair.record["untied"], 1e-4, &format!("{} (of an adapter)", pair.name()));
    }
    let builder = gve::Embedder::builder(&tied).device(Device::Cpu);
    let text = Input::text("a red street");
    let plain = builder.clone().build().unwrap().embed_one(&text).unwrap();
    let with_head = builder.clone().adapter(adapter.path()).build().unwrap().embed_one(&text).unwrap();
    assert_eq!(plain.as_slice(), with_head.as_slice());
    // The merged checkpoint would have nowhere to keep it.
    let read = gve::model::LoraAdapter::read(adapter.path()).unwrap();
    let (found, out) = (builder.find_recipe().unwrap(), adapter.path().join("merged"));
    let merged = gve::model::merge_adapter(&tied, &read, &found, &out, &CancelToken::new());
    let message = merged.unwrap_err().to_string();
    assert!(message.contains("`lm_head.weight` is not"), "{message}");

    // An embedder's checkpoint has no head, and the untied model has none in common with its embeddings.
    std::fs::remove_file(untied.join("head.safetensors")).unwrap();
    std::fs::copy(tied.join(INDEX), untied.join(INDEX)).unwrap();
    let refused = |recipe: &Recipe| {
        let builder = Reranker::builder(&untied).recipe(recipe.clone()).device(Device::Cpu);
        builder.build_reranker().err().unwrap().to_string()
    };
    let message = refused(&recipe(LYCHEE, None));
    assert!(message.contains("no token \"yes\""), "{message}");
    let mut recipe = labelled(&set, None);
    let message = refused(&recipe);
    assert!(message.contains("`lm_head.weight`") && message.contains("`tie_word_embeddings`"), "{message}");
    recipe.reranking = None;
    let message = refused(&recipe);
    assert!(message.contains("says nothing of pairs"), "{message}");
}

const INDEX: &str = "model.safetensors.index.json";

/// The model in `tied` with a head of its own, in `folder`.
fn copy_with_head(tied: &Path, record: &Value, folder: &Path) -> PathBuf {
    for entry in std::fs::read_dir(tied).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.join(entry.file_name())).unwrap();
    }
    let change = |name: &str, change: &dyn Fn(&mut Value)| {
        let mut json: Value = serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap();
        change(&mut json);
        std::fs::write(folder.join(name), json.to_string()).unwrap();
        json
    };
    let config = change("config.json", &|json| json["tie_word_embeddings"] = json!(false));
    change(INDEX, &|json| json["weight_map"]["lm_head.weight"] = json!("head.safetensors"));
    let size = |key: &str| config[key].as_u64().unwrap() as usize;
    let (vocab, width) = (size("vocab_size"), size("hidden_size"));
    let mut head = vec![0.0f32; vocab * width];
    let ids: Vec<usize> = serde_json::from_value(record["label_ids"].clone()).unwrap();
    let rows: Vec<Vec<f32>> = serde_json::from_value(record["head"].clone()).unwrap();
    for (id, row) in ids.into_iter().zip(rows) {
        head[id * width..(id + 1) * width].copy_from_slice(&row);
    }
    let head = Tensor::from_vec(head, (vocab, width), &candle_core::Device::Cpu).unwrap();
    let tensors = std::collections::HashMap::from([("lm_head.weight", head)]);
    candle_core::safetensors::save(&tensors, folder.join("head.safetensors")).unwrap();
    folder.to_owned()
}

/// Its steps stand one by one in the prompt, and its patches come once.
#[test]
fn a_query_may_be_a_video_of_several_steps() {
    let model_dir = golden_dir().join("tiny-q3/model");
    let frames = vec![image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 9])); 6];
    let reranker = reranker(&model_dir, recipe(QWEN3_VL_RERANKER, None));
    let (query, candidate) = (Input::frames(frames, 2.0), Input::text("a meadow"));
    let prepared = reranker.prepare(&query, &candidate).unwrap();
    let grids: Vec<_> = Prepared::pack([&prepared]).visuals.iter().map(|visual| visual.grid_thw[0]).collect();
    assert_eq!(grids, [3]);
    let scored = reranker.score(&query, &[candidate.clone(), candidate.clone()]).unwrap();
    let alone = reranker.score_one(&query, &candidate).unwrap().score;
    assert!(scored.into_iter().all(|scored| (scored.unwrap().score - alone).abs() < 1e-5));
}

/// What the query and its candidates share is computed once, and nothing of it shows: each score is what the
/// whole pair gives, whether its candidates come alone or together, and one that fails leaves the others be.
#[test]
fn candidates_of_one_query_score_as_whole_pairs_do() {
    let directory = golden_dir().join("tiny-q3");
    let model_dir = directory.join("model");
    let model = QwenVl::load(&model_dir, DType::F32, &opened_device()).unwrap();
    let query = Input::text("now in the forest").and_image(media("rabbit.png"));
    let frames = vec![image::RgbImage::from_fn(64, 48, |x, y| image::Rgb([x as u8, y as u8, 9])); 4];
    let candidates = [
        Input::text("The rabbit looks at a butterfly."),
        Input::text(""),
        Input::default(),
        Input::image(media("missing.png")),
        Input::frames(frames, 2.0).and_text("a meadow"),
        Input::text("a dog ").and_image(media("tall.png")),
        Input::text("red blue green ".repeat(200)),
    ];
    // Of the shorter, the last candidate's text is cut, and beside a large picture the query's.
    let whole = recipe(QWEN3_VL_RERANKER, None);
    for max_length in [whole.max_length, 480, 400] {
        let mut recipe = whole.clone();
        recipe.max_length = max_length;
        let reranker = reranker(&model_dir, recipe);
        let scored = reranker.score(&query, &candidates).unwrap();
        for ((together, candidate), index) in scored.into_iter().zip(&candidates).zip(0..) {
            if index == 3 {
                let error = together.unwrap_err();
                assert!(error.to_string().contains("missing.png"), "{error}");
                continue;
            }
            let together = together.unwrap();
            let alone = reranker.score_one(&query, candidate).unwrap();
            let prepared = reranker.prepare(&query, candidate).unwrap();
            let batch: PackedBatch<'_> = Prepared::pack([&prepared]);
            assert_eq!(together.num_tokens, batch.input_ids.len());
            let hidden = model.last_hidden_states(&batch).unwrap();
            let expected = logits(&model_dir, &hidden);
            for scored in [&together, &alone] {
                let off = scored.logits.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(off < 1e-5, "{max_length}, candidate {index}: {scored:?}, expected {expected:?}");
            }
        }
    }
    let missing = reranker(&model_dir, whole).score(&Input::image(media("missing.png")), &candidates);
    assert!(matches!(missing, Err(error) if error.to_string().contains("missing.png")));
}

/// Yes and no out of the tied head of tiny-q3.
fn logits(model_dir: &Path, hidden: &Tensor) -> [f32; 2] {
    let checkpoint = gve::model::Checkpoint::open(model_dir).unwrap();
    let name = format!("{}.embed_tokens.weight", checkpoint.language_prefix());
    let table = checkpoint.tensor(&name, &[736, 80], DType::F32, &candle_core::Device::Cpu).unwrap();
    let rows = table.index_select(&Tensor::new(&[337u32, 293], table.device()).unwrap(), 0).unwrap();
    let logits: Vec<Vec<f32>> = hidden.matmul(&rows.t().unwrap()).unwrap().to_vec2().unwrap();
    [logits[0][0], logits[0][1]]
}

#[test]
fn pictures_that_do_not_fit_are_refused_and_so_is_an_empty_side_without_a_text() {
    let directory = golden_dir().join("tiny-q3");
    let model = directory.join("model");
    let query = Input::text("a dog");
    let image = Input::image(media("rabbit.png"));
    let short = reranker(&model, recipe(QWEN3_VL_RERANKER, Some(20)));
    let message = short.score_one(&query, &image).unwrap_err().to_string();
    assert!(message.contains("only 20 fit"), "{message}");
    let mut recipe = recipe(QWEN3_VL_RERANKER, None);
    recipe.prompt.empty_input = None;
    let strict = reranker(&model, recipe);
    assert!(matches!(strict.score_one(&query, &Input::default()), Err(EmbedError::EmptyInput)));
    assert!(matches!(strict.score(&Input::default(), &[]), Err(EmbedError::EmptyInput)));
}

/// The recipe of [`LYCHEE`] with the labels of tiny-a.
fn labelled(set: &Set, max_length: Option<usize>) -> Recipe {
    let mut recipe = recipe(LYCHEE, max_length);
    let label = |index: usize| set.record["labels"][index].as_str().unwrap().to_owned();
    let reranking = recipe.reranking.as_mut().unwrap();
    (reranking.yes, reranking.no) = (label(0), label(1));
    recipe
}

/// With the head tied, so that its rows move from both sides.
#[test]
fn gradients_of_the_loss_of_pairs_equal_the_reference() {
    let set = Set::read(&golden_dir().join("tiny-a"));
    let model_dir = set.directory.join("model");
    let prepare = |pair: &Pair<'_>| {
        let reranker = reranker(&model_dir, labelled(&set, pair.max_length()));
        reranker.prepare(&pair.query, &pair.candidate).unwrap()
    };
    // Every second one is a right answer; those come first.
    let items: Vec<Prepared> = set.pairs().iter().map(prepare).collect();
    let items = [&items[0], &items[2], &items[1], &items[3]];
    let settings = on_device(Reranker::builder(&model_dir).recipe(labelled(&set, None)));
    let model = TrainableModel::load_reranker(settings, Trainable::Full { vision: false }).unwrap();
    let expected = &set.record["training"];
    let pieces = Memory { checkpointing: true, max_tokens: Some(300) };
    for memory in [Memory::default(), pieces] {
        let (loss, gradients) =
            model.gradients(&items, 0, memory, |logits| Ok(yes_no(logits, 2)?.loss)).unwrap();
        assert!((f64::from(loss) - expected["loss"].as_f64().unwrap()).abs() < 1e-5, "{loss}");
        let norms = expected["norms"].as_object().unwrap();
        assert_eq!(norms.len(), model.parameters().len());
        for (name, norm) in norms {
            let got = gradients.get(name).unwrap().sqr().unwrap().sum_all().unwrap();
            let (got, norm) = (f64::from(got.to_scalar::<f32>().unwrap()).sqrt(), norm.as_f64().unwrap());
            assert!((got - norm).abs() < 1e-4 * (1.0 + norm), "{name}: {got}, expected {norm}");
        }
        let near = |got: Tensor, key: &str| {
            let got: Vec<f32> = got.flatten_all().unwrap().to_vec1().unwrap();
            let expected: Vec<f32> = match serde_json::from_value(expected[key].clone()) {
                Ok(row) => row,
                Err(_) => serde_json::from_value::<Vec<Vec<f32>>>(expected[key].clone()).unwrap().concat(),
            };
            let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(got.len() == expected.len() && off < 1e-4, "{key}: {off}");
        };
        let ids: Vec<u32> = serde_json::from_value(set.record["label_ids"].clone()).unwrap();
        let ids = Tensor::new(ids, &candle_core::Device::Cpu).unwrap();
        let embeddings = gradients.get("model.embed_tokens.weight").unwrap().to_device(ids.device()).unwrap();
        near(embeddings.index_select(&ids, 0).unwrap(), "label_rows");
        near(gradients.get("model.norm.weight").unwrap().clone(), "norm_weight");
    }
}

/// What a run leaves behind is a reranker that has learnt its pairs.
#[test]
fn a_run_makes_a_reranker() {
    let set = Set::read(&golden_dir().join("tiny-a"));
    let model_dir = set.directory.join("model");
    let folder = tempfile::tempdir().unwrap();
    let mine = NamedRecipe::from(labelled(&set, None));
    let base = folder.path().join("base");
    gve::model::convert_checkpoint(&model_dir, gve::DType::F32, &mine, &base, &CancelToken::new()).unwrap();
    let things = [("a dog runs", "the dog", "the cat"), ("a cat jumps", "the cat", "the sea")];
    let text = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    let lines = things.map(|(query, right, wrong)| {
        let (query, positive, negatives) = (text(query), text(right), [text(wrong)]);
        json!({"task": "t2t", "query": query, "positive": positive, "negatives": negatives}).to_string()
    });
    let pairs = folder.path().join("pairs.jsonl");
    std::fs::write(&pairs, lines.join("\n")).unwrap();
    for (train, rate) in [("lora", 0.002), ("full", 0.0005)] {
        let output = folder.path().join(train);
        let settings = |more: &str| {
            format!(
                "output = {output:?}\ntrain = \"{train}\"\nepochs = 1\nsteps_per_epoch = 60\n\
                 [model]\npath = {base:?}\ndevice = \"cpu\"\n[data]\npairs = [{pairs:?}]\n[batch]\nsize = 2\n\
                 [loss]\nkind = \"yes-no\"\n{more}\n[optimizer]\nlearning_rate = {rate}\nschedule = \"constant\"\n"
            )
        };
        let config = |more: &str| toml::from_str::<TrainConfig>(&settings(more)).unwrap();
        for (more, named) in [
            ("", "curriculum.sampler"),
            ("temperature = 0.1\n[curriculum]\nsampler = \"uniform\"", "loss.temperature"),
            ("[curriculum]\nsampler = \"uniform\"\n[negatives]\nmined = 1", "negatives.mined"),
        ] {
            let refused = Trainer::new(config(more), &base, &Start::Fresh).err().unwrap().to_string();
            assert!(refused.contains(named) && refused.contains("yes-no"), "{refused}");
        }
        let config = config("[curriculum]\nsampler = \"uniform\"");
        let mut losses = Vec::new();
        let mut watch = |event: TrainEvent<'_>| {
            if let TrainEvent::Logged(Entry::Step { loss, .. }) = event {
                losses.push(*loss);
            }
        };
        let trainer = Trainer::new(config, &base, &Start::Fresh).unwrap();
        let Finish::Complete(result) = trainer.run(&CancelToken::new(), &mut watch).unwrap() else {
            panic!()
        };
        assert!(losses.len() == 60 && losses[59] < losses[0] / 2.0, "{train}: {losses:?}");
        let builder = if train == "lora" {
            Reranker::builder(&base).adapter(&result)
        } else {
            Reranker::builder(&result)
        };
        let reranker = builder.device(Device::Cpu).build_reranker().unwrap();
        for (query, right, wrong) in things {
            let scored =
                reranker.score(&Input::text(query), &[Input::text(right), Input::text(wrong)]).unwrap();
            let scores: Vec<f32> = scored.into_iter().map(|relevance| relevance.unwrap().score).collect();
            assert!(scores[0] > 0.5 && scores[1] < 0.5, "{train}, {query}: {scores:?}");
        }
    }
}

/// Each thing that a recipe says of pairs shows in some case, by its ids or its score.
#[test]
fn nothing_of_the_prompt_could_be_otherwise() {
    let directory = golden_dir().join("tiny-q3");
    let set = Set::read(&directory);
    let pairs = set.pairs();
    let mutations: [(&str, fn(&mut Recipe), &str); 8] = [
        ("another system turn", |r| r.instruction = "Judge.".to_owned(), "text_text"),
        ("parts as they are given", |r| r.prompt.order = PartOrder::Given, "mixed_query"),
        ("nothing in an empty side", |r| r.prompt.empty_input = Some(String::new()), "empty_document"),
        ("one token more", |r| r.max_length += 1, "truncated"),
        ("another instruction", |r| pair_of(r).instruction.push('.'), "text_text"),
        ("a space behind a heading", |r| pair_of(r).query.push(' '), "text_text"),
        ("headings changed over", |r| swap(pair_of(r), |p| (&mut p.query, &mut p.candidate)), "text_text"),
        ("yes for no", |r| swap(pair_of(r), |p| (&mut p.yes, &mut p.no)), "instruction"),
    ];
    for (name, mutate, case) in mutations {
        let pair = pairs.iter().find(|pair| pair.name() == case).unwrap();
        let mut recipe = recipe(QWEN3_VL_RERANKER, pair.max_length());
        mutate(&mut recipe);
        let reranker = reranker(&directory.join("model"), recipe);
        let ids = Prepared::pack([&reranker.prepare(&pair.query, &pair.candidate).unwrap()]).input_ids;
        let score = f64::from(reranker.score_one(&pair.query, &pair.candidate).unwrap().score);
        let off = (score - pair.record["score"].as_f64().unwrap()).abs();
        assert!(ids != pair.input_ids() || off > 1e-3, "{name} does not show in {case}");
    }
}

fn pair_of(recipe: &mut Recipe) -> &mut Reranking {
    recipe.reranking.as_mut().unwrap()
}

fn swap(reranking: &mut Reranking, of: fn(&mut Reranking) -> (&mut String, &mut String)) {
    let (one, other) = of(reranking);
    std::mem::swap(one, other);
}
