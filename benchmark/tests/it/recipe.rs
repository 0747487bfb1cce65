//! How embeddings are made and searched, as results name it: recipe, width, feedback.

use std::fs;
use std::path::Path;

use gve_test_support::files::text;
use gve_test_support::golden::model;
use gve_test_support::program::{assert_status, stderr, stdout};
use serde_json::{Value, json};
use uvrb::result::read_queries;

use crate::mini::{self, MINI};
use crate::run::uvrb;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Embeddings of which the first half is right and the second, which weighs more, is not.
fn put_embeddings(directory: &Path, made: &Path) -> usize {
    let ids = |file: &str| -> Vec<String> {
        let text = fs::read_to_string(directory.join("jsonl").join(file)).unwrap();
        let id = |line: &str| serde_json::from_str::<Value>(line).unwrap()["id"].as_str().unwrap().to_owned();
        text.lines().map(id).collect()
    };
    fs::create_dir_all(made.join("MSRVTT")).unwrap();
    let width = ids("corpus.jsonl").len();
    for (file, turned, beside) in [("corpus", 1, 0.0), ("queries", 0, 0.75)] {
        let lines: Vec<Value> = (0..)
            .zip(ids(&format!("{file}.jsonl")))
            .map(|(row, id)| {
                let mut embedding = vec![0.0; 2 * width];
                embedding[row] = 1.0;
                embedding[(row + 1) % width] = beside;
                embedding[width + (row + turned) % width] = 2.0;
                json!({"id": id, "embedding": embedding})
            })
            .collect();
        mini::write_lines(&made.join(format!("MSRVTT/{file}.jsonl")), &lines);
    }
    width
}

fn score_at(result: &Value, width: &str) -> f64 {
    result["by_width"][width]["test"][0]["main_score"].as_f64().unwrap()
}

#[test]
fn a_result_names_width_and_feedback() {
    let folder = tempfile::tempdir().unwrap();
    let [data, made, out] = ["data", "made", "out"].map(|name| folder.path().join(name));
    let width = put_embeddings(&mini::make_one(&data, &MINI[0]), &made);
    let dim = width.to_string();
    let run = |more: &[&str]| {
        let fixed = ["run", text(&data), "--out", text(&out), "--precomputed", text(&made), "--json"];
        let output = uvrb(&[&fixed[..], more].concat());
        assert_status(&output, 0);
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = line["path"].as_str().unwrap().to_owned();
        let best = read_queries(&Path::new(&path).with_extension("queries.jsonl")).unwrap()[0].top[0].1;
        (line["score"].as_f64().unwrap(), best, read(Path::new(&path)))
    };
    let (score, _, result) = run(&[]);
    assert_eq!((score, &result["feedback"], &result["settings"]["dim"]), (0.0, &Value::Null, &Value::Null));
    let (score, best, result) = run(&["--dim", &dim]);
    assert_eq!((score, &result["settings"]["dim"]), (1.0, &json!(width)));
    // Of (1, 0.75) and what it is moved to, (0.8 + 0.5, 0.6).
    assert!((best - 0.8).abs() < 1e-6, "{best}");
    let (score, best, result) = run(&["--dim", &dim, "--feedback", "1"]);
    assert_eq!((score, &result["feedback"]), (1.0, &json!({"documents": 1, "weight": 0.5})));
    assert!((best - 1.3 / 1.3_f32.hypot(0.6)).abs() < 1e-6, "{best}");
    let (_, again, result) = run(&["--dim", &dim, "--feedback", "1", "--feedback-weight", "2"]);
    assert!(again > best && result["feedback"]["weight"] == 2.0, "{result:#}");
    let (score, _, result) = run(&["--widths", &format!("{dim},1")]);
    assert_eq!((score, score_at(&result, &dim)), (0.0, 1.0));
    assert!(score_at(&result, "1") < 1.0, "{result:#}");
    let again =
        uvrb(&["run", text(&data), "--out", text(&out), "--precomputed", text(&made), "--widths", &dim]);
    assert!(stdout(&again).contains(&format!("({dim} values 1.0000)")), "{}", stdout(&again));

    let wide = (2 * width + 1).to_string();
    for option in ["--dim", "--widths"] {
        let fixed = ["run", text(&data), "--out", text(&out), "--precomputed", text(&made), option, &wide];
        let output = uvrb(&fixed);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(&format!("cannot be cut to {wide}")), "{}", stderr(&output));
    }
}

/// Needs nothing but texts and the tiny model.
#[test]
fn a_model_is_cut_where_it_was_trained_for_it_or_forced() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    mini::make_one(&data, &MINI[0]);
    let run = |more: &[&str]| {
        let (model, fixed) = (model(), ["run", text(&data), "--out", text(&out), "--name", "tiny", "--json"]);
        uvrb(&[&fixed[..], &["--device", "cpu", "--frames", "2", "--model", text(&model)], more].concat())
    };
    let refused = run(&["--dim", "24"]);
    assert_status(&refused, 1);
    assert!(
        stderr(&refused).contains("was not trained to be cut to 24 of its 64 values"),
        "{}",
        stderr(&refused)
    );
    let result = |output: std::process::Output| {
        assert_status(&output, 0);
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        read(Path::new(line["path"].as_str().unwrap()))
    };
    let cut = result(run(&["--dim", "24", "--force-dim"]));
    assert_eq!((&cut["settings"]["dim"], &cut["recipe"]["name"]), (&json!(24), &json!("gve")));
    // The cache holds all values, for every width.
    let whole = result(run(&[]));
    assert_eq!((&whole["timing"]["embedded"], &whole["settings"]["dim"]), (&json!(0), &Value::Null));
    let metrics = |scores: &Value| scores["test"][0].clone();
    let widths = result(run(&["--widths", "24,48"]));
    assert_eq!(metrics(&widths["by_width"]["24"]), metrics(&cut["scores"]));
    assert_eq!(metrics(&widths["scores"]), metrics(&whole["scores"]));
    // Those that the recipe names, where none are asked for.
    let file = folder.path().join("models.toml");
    let entry = "[mine]\ntitle = \"Mine\"\nlicence = \"MIT\"\nlanguages = [\"en\"]\nsource = \"a test\"\n\
        [mine.recipe]\nwidths = [24, 32]\n";
    fs::write(&file, entry).unwrap();
    let mine = ["--models-file", text(&file), "--recipe", "mine"];
    let trained = |more: &[&str]| {
        let widths = result(run(&[&mine[..], more].concat()))["by_width"].clone();
        widths.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(trained(&[]), ["24", "32"]);
    assert_eq!(trained(&["--dim", "32"]), ["24"]);
    assert_eq!(trained(&["--widths", "8"]), ["8"]);
    let refused = run(&["--widths", "8,64"]);
    assert!(stderr(&refused).contains("--widths 64: embeddings have 64 values"), "{}", stderr(&refused));
    let other = run(&["--recipe", "nano"]);
    assert!(String::from_utf8_lossy(&other.stdout).contains("\"embedded\":0"), "it embeds alike");
}

/// What is embedded elsewhere has no use for the settings of a model here.
#[test]
fn encoders_that_are_no_model_of_gve_take_no_recipe_and_no_adapter() {
    for encoder in [
        &["--baseline", "random"][..],
        &["--server", "http://127.0.0.1:9/v1", "--name", "acme/embedder"],
        &["--precomputed", "embeddings"],
    ] {
        for option in [["--recipe", "gve"], ["--adapter", "adapter"]] {
            let refused = uvrb(&[&["run", "data"], encoder, &option].concat());
            assert_status(&refused, 1);
            let said = stderr(&refused);
            assert!(said.contains("cannot be used with") && said.contains(option[0]), "{said}");
        }
    }
}

#[test]
fn queries_are_asked_again_by_models_that_were_trained_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let [data, out, file] = ["data", "out", "models.toml"].map(|name| folder.path().join(name));
    mini::make_one(&data, &MINI[0]);
    let entry = "[mine]\ntitle = \"Mine\"\nlicence = \"MIT\"\nlanguages = [\"en\"]\nsource = \"a test\"\n\
        [mine.recipe]\npseudo_query = { frames = 2 }\n";
    fs::write(&file, entry).unwrap();
    let run = |more: &[&str]| {
        let (model, fixed) = (model(), ["run", text(&data), "--out", text(&out), "--json"]);
        let tiny = ["--device", "cpu", "--frames", "2", "--name", "tiny", "--model", text(&model)];
        uvrb(&[&fixed[..], &tiny, &["--models-file", text(&file)], more].concat())
    };
    let result = |output: std::process::Output| {
        assert_status(&output, 0);
        let line: Value = serde_json::from_slice(&output.stdout).unwrap();
        let path = Path::new(line["path"].as_str().unwrap()).to_owned();
        (read(&path), read_queries(&path.with_extension("queries.jsonl")).unwrap())
    };
    let (plain, once) = result(run(&["--recipe", "mine"]));
    assert_eq!(plain["pseudo_query"], Value::Null);
    let (asked, again) = result(run(&["--recipe", "mine", "--pseudo-query", "3"]));
    let how = &asked["pseudo_query"];
    assert_eq!((&how["most_candidates"], &how["frames"]), (&json!(3), &json!(2)), "{how}");
    assert!(once.len() == again.len() && once.iter().zip(&again).any(|(a, b)| a.top != b.top));
    // Corpus and queries were at hand; what is asked again is new.
    assert_eq!(asked["timing"]["embedded"], json!(again.len()), "{}", asked["timing"]);

    let fixed = ["run", text(&data), "--out", text(&out), "--pseudo-query", "3"];
    for (more, expected) in [
        (&["--baseline", "random"][..], "needs a model that gve runs"),
        (&["--model", "nano"], "recipe nano has no `pseudo_query`"),
    ] {
        let refused = uvrb(&[&fixed[..], more].concat());
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
}
