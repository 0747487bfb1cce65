//! Training that ranks the documents of a query, asked alone or together with them.

use std::path::Path;

use gve::recipe::{PseudoQuery, Recipe};
use gve::train::{Entry, Finish, Start, TrainConfig, TrainEvent, Trainer};
use gve::{CancelToken, Device, Embedder, Input};
use gve_test_support::golden::golden_dir;
use serde_json::json;

/// Queries whose documents stand from the best to the worst, the order of one turned round for the other.
const PAIRS: [(&str, [&str; 3]); 2] = [
    ("what runs", ["a dog in the park", "a cat on a chair", "a stone"]),
    ("what rests", ["a stone", "a cat on a chair", "a dog in the park"]),
];

fn pairs(folder: &Path) -> String {
    let input = |text: &str| json!({"content": [{"type": "text", "text": text}]});
    let lines = PAIRS.map(|(query, [best, others @ ..])| {
        let negatives = others.map(input);
        json!({"task": "t2t", "query": input(query), "positive": input(best), "negatives": negatives})
            .to_string()
    });
    let path = folder.join("pairs.jsonl");
    std::fs::write(&path, lines.join("\n")).unwrap();
    path.display().to_string()
}

fn config(folder: &Path, output: &str, base: &Path, rank_net: &str) -> TrainConfig {
    let (output, pairs) = (folder.join(output), pairs(folder));
    toml::from_str(&format!(
        "output = {output:?}\nepochs = 1\nsteps_per_epoch = 60\n[model]\npath = {base:?}\ndevice = \"cpu\"\n\
         [data]\npairs = [{pairs:?}]\n[batch]\nsize = 2\n[loss]\nrank_net = {{ {rank_net} }}\n\
         [curriculum]\nsampler = \"uniform\"\n[optimizer]\nlearning_rate = 0.002\nschedule = \"constant\"\n"
    ))
    .unwrap()
}

/// Documents of each query from the best to the worst, as `asking` ranks them.
fn ranked(embedder: &Embedder, query: &Input, documents: &[Input]) -> Vec<usize> {
    let asking = embedder.embed_one(query).unwrap();
    let cosine = |document: &Input| {
        let document = embedder.embed_one(document).unwrap();
        asking.as_slice().iter().zip(document.as_slice()).map(|(a, b)| a * b).sum::<f32>()
    };
    let cosines: Vec<f32> = documents.iter().map(cosine).collect();
    let mut order: Vec<usize> = (0..documents.len()).collect();
    order.sort_by(|&a, &b| cosines[b].total_cmp(&cosines[a]));
    order
}

#[test]
fn a_run_learns_the_order_of_documents_by_what_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let base = golden_dir().join("tiny-a/model");
    for (output, pseudo_query) in [("alone", false), ("together", true)] {
        let rank_net = format!("ordered = true, pseudo_query = {pseudo_query}");
        let trainer =
            Trainer::new(config(folder.path(), output, &base, &rank_net), &base, &Start::Fresh).unwrap();
        let mut losses = Vec::new();
        let mut watch = |event: TrainEvent<'_>| {
            if let TrainEvent::Logged(Entry::Step { loss, .. }) = event {
                losses.push(*loss);
            }
        };
        let Finish::Complete(result) = trainer.run(&CancelToken::new(), &mut watch).unwrap() else {
            panic!()
        };
        assert!(losses[59] < losses[0] / 2.0, "{output}: {losses:?}");
        let embedder = Embedder::builder(&base).adapter(&result).device(Device::Cpu).build().unwrap();
        let recipe = &embedder.recipe().recipe;
        assert_eq!(recipe.pseudo_query, pseudo_query.then(PseudoQuery::default));
        // It changes no embedding of what is searched.
        assert_eq!(embedder.recipe().id().hash, Recipe::default().fingerprint());
        for (query, documents) in PAIRS {
            let (query, documents) = (Input::text(query), documents.map(Input::text));
            let asked = if pseudo_query {
                embedder.pseudo_query(&query, &documents).unwrap()
            } else {
                let refused = embedder.pseudo_query(&query, &documents).unwrap_err().to_string();
                assert!(refused.contains("recipe gve has no `pseudo_query`"), "{refused}");
                query
            };
            assert_eq!(ranked(&embedder, &asked, &documents), [0, 1, 2], "{output}: {asked:?}");
        }
    }
}

#[test]
fn models_that_read_no_such_prompt_are_refused_before_the_first_step() {
    let folder = tempfile::tempdir().unwrap();
    for (base, rank_net, expected) in [
        ("tiny-siglip", "", "loss.rank_net.pseudo_query: the model reads the parts of an input one by one"),
        ("tiny-q3", "", "loss.rank_net.pseudo_query: the recipe moves the parts of an input"),
        ("tiny-a", "scale = 0.0", "loss.rank_net.scale: must be a positive number"),
        ("tiny-a", "weight = -1.0", "loss.rank_net.weight: must be a positive number"),
    ] {
        let base = golden_dir().join(base).join("model");
        let config = config(folder.path(), "run", &base, rank_net);
        let refused = Trainer::new(config, &base, &Start::Fresh).err().unwrap().to_string();
        assert!(refused.contains(expected), "{refused}");
    }
    let base = golden_dir().join("tiny-q3/model");
    let config = config(folder.path(), "run", &base, "pseudo_query = false");
    assert!(Trainer::new(config, &base, &Start::Fresh).is_ok());
}
