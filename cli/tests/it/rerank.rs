//! `gve rerank`, and `gve search --rerank`.

use std::fs;
use std::path::PathBuf;

use gve_test_support::files::text;
use gve_test_support::golden::{golden_dir, media};
use gve_test_support::program::{assert_status, json_lines, stderr};
use serde_json::{Value, json};

use crate::program::gve;

const RECIPE: &str = "qwen3-vl-reranker";

fn model() -> PathBuf {
    golden_dir().join("tiny-q3/model")
}

fn rerank(lines: &[String]) -> std::process::Output {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("pairs.jsonl");
    fs::write(&input, lines.join("\n")).unwrap();
    gve(&["rerank", "--model", text(&model()), "--recipe", RECIPE, "--input", text(&input)])
}

#[test]
fn a_line_becomes_a_ranking_and_what_is_bad_of_it_is_named() {
    let golden = fs::read(golden_dir().join("tiny-q3/rerank.json")).unwrap();
    let golden: Value = serde_json::from_slice(&golden).unwrap();
    let case = &golden["cases"][0];
    let image = |name: &str| json!({"id": name, "content": [{"type": "image", "image": media(name)}]});
    let good = json!({
        "id": 7, "query": {"content": case["query"]},
        "candidates": [{"content": case["document"]}, image("missing.png"), image("tall.png"), {"content": []}],
    });
    let output = rerank(&["{".to_owned(), good.to_string(), json!({"query": {"content": []}}).to_string()]);
    assert_status(&output, 2);
    let lines = json_lines(&output);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["id"], "7");
    let results = line["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    let scores: Vec<f64> = results.iter().map(|result| result["score"].as_f64().unwrap()).collect();
    assert!(scores[0] >= scores[1], "{line}");
    for (rank, result) in (1..).zip(results) {
        assert_eq!(result["rank"], rank);
        match result["candidate"].as_u64().unwrap() {
            0 => {
                let off = result["score"].as_f64().unwrap() - case["score"].as_f64().unwrap();
                assert!(off.abs() < 1e-4, "{line}");
                assert!(result.get("id").is_none());
            }
            2 => assert_eq!(result["id"], "tall.png"),
            other => panic!("candidate {other}"),
        }
    }
    let errors = line["errors"].as_array().unwrap();
    let mut failed: Vec<u64> = errors.iter().map(|error| error["candidate"].as_u64().unwrap()).collect();
    failed.sort_unstable();
    assert_eq!(failed, [1, 3]);
    let said = stderr(&output);
    for part in ["pairs.jsonl:1", "missing.png", "7, candidate 3", "`content` is empty", "pairs.jsonl:3"] {
        assert!(said.contains(part), "{said}");
    }

    let plain = gve(&["rerank", "--model", text(&model())]);
    assert_status(&plain, 1);
    assert!(stderr(&plain).contains("qwen3-vl-embedding, says nothing of pairs"), "{}", stderr(&plain));
    let embedded = gve(&["embed", "--model", text(&model()), "--recipe", RECIPE, "--text", "a"]);
    assert_status(&embedded, 1);
    assert!(stderr(&embedded).contains("is a reranker"), "{}", stderr(&embedded));
}

#[test]
fn the_best_hits_of_a_search_are_ranked_again() {
    let folder = tempfile::tempdir().unwrap();
    let clips = folder.path().join("clips");
    fs::create_dir(&clips).unwrap();
    let names = ["testsrc.mp4", "rabbit.png", "tall.png"];
    for name in names {
        fs::copy(media(name), clips.join(name)).unwrap();
    }
    let library = folder.path().join("library");
    assert_status(&gve(&["index", text(&clips), "--library", text(&library), "--model", text(&model())]), 0);
    let again = |more: &[&str]| {
        let (model, always) = (model(), ["search", "--library", text(&library), "--json", "a tree"]);
        let with = ["--rerank", text(&model), "--rerank-recipe", RECIPE];
        gve(&[&always[..], &with[..], more].concat())
    };
    let output = again(&[]);
    assert_status(&output, 0);
    let hits = json_lines(&output);
    let score = |hit: &Value| hit["rerank_score"].as_f64();
    assert_eq!(hits.len(), 3);
    assert!(hits.is_sorted_by(|a, b| score(a).unwrap() >= score(b).unwrap()), "{hits:?}");

    // What is scored is the file, as `gve rerank` scores it.
    let image = hits.iter().find(|hit| hit["path"].as_str().unwrap().ends_with("tall.png")).unwrap();
    let alone = rerank(&[json!({
        "query": {"content": [{"type": "text", "text": "a tree"}]},
        "candidates": [{"content": [{"type": "image", "image": image["path"]}]}],
    })
    .to_string()]);
    let alone = json_lines(&alone)[0]["results"][0]["score"].as_f64().unwrap();
    assert!((alone - score(image).unwrap()).abs() < 1e-5, "{alone} {image}");

    // What lies behind the first is left where it was.
    let first = json_lines(&again(&["--rerank-top", "1"]));
    assert!(score(&first[0]).is_some() && score(&first[1]).is_none(), "{first:?}");
    assert!(first.is_sorted_by(|a, b| a["score"].as_f64() >= b["score"].as_f64()), "{first:?}");

    fs::remove_file(clips.join("tall.png")).unwrap();
    let output = again(&[]);
    assert_status(&output, 2);
    let hits = json_lines(&output);
    assert!(hits[2]["path"].as_str().unwrap().ends_with("tall.png") && score(&hits[2]).is_none(), "{hits:?}");
    assert!(stderr(&output).contains("tall.png is not scored again"), "{}", stderr(&output));
}

/// The frame that comes up at the end of a moment is none of it, for a reranker either.
#[test]
fn a_moment_is_ranked_by_what_is_on_display_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let (clip, library, model) = (folder.path().join("clip.mp4"), folder.path().join("library"), model());
    fs::copy(media("testsrc.mp4"), &clip).unwrap();
    let index = ["index", text(&clip), "--library", text(&library), "--model", text(&model)];
    assert_status(&gve(&[&index[..], &["--moments", "1:0"]].concat()), 0);
    let with = ["--rerank", text(&model), "--rerank-recipe", RECIPE];
    let output = gve(&[&["search", "--library", text(&library), "--json", "a tree"], &with[..]].concat());
    assert_status(&output, 0);
    let hit = &json_lines(&output)[0];
    let candidate = |clock: &str| {
        let part =
            json!({"type": "video", "video": clip, "start": hit["start"], "end": hit["end"], "clock": clock});
        json!({"content": [part]})
    };
    let query = json!({"content": [{"type": "text", "text": "a tree"}]});
    let candidates = ["display", "average_rate"].map(candidate);
    let line = rerank(&[json!({"query": query, "candidates": candidates}).to_string()]);
    let results = json_lines(&line)[0]["results"].clone();
    let score = |place: u64| {
        let of = results.as_array().unwrap().iter().find(|result| result["candidate"] == place);
        of.unwrap()["score"].as_f64().unwrap()
    };
    let again = hit["rerank_score"].as_f64().unwrap();
    assert!((score(0) - again).abs() < 1e-5 && (score(1) - again).abs() > 1e-5, "{results} {hit}");
}
