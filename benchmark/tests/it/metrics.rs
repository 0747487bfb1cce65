//! Metrics, runs and rankings from end to end: against trec_eval and ranx, and through files.
//!
//! `tests/fixtures/metrics/make_metrics.py` made the numbers.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::path::{Path, PathBuf};

use gve::Input;
use ndarray::Array2;
use serde::Deserialize;
use uvrb::comparison::compare_models;
use uvrb::dataset::{Dataset, Document, Positive, Query};
use uvrb::metrics::{AtCutoffs, CUTOFFS, QueryScores, mean};
use uvrb::ranking::{self, DEPTH, RankableCorpus, Ranked};
use uvrb::result::{
    DatasetResult, QueryRecord, SPLIT, Subsample, SubsetScores, load_results, queries_path, result_path,
    write_queries,
};
use uvrb::run_file::{Run, RunFormat, RunWriter, check_trec_ids};
use uvrb::statistics;

#[derive(Deserialize)]
struct Fixture {
    cutoffs: [usize; 7],
    cases: Vec<Case>,
    paired_tests: Vec<PairedTest>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    corpus: Vec<String>,
    qrels: BTreeMap<String, HashMap<String, u32>>,
    run: BTreeMap<String, HashMap<String, f32>>,
    expected: BTreeMap<String, HashMap<String, AtCutoffs>>,
}

#[derive(Deserialize)]
struct PairedTest {
    a: Vec<f64>,
    b: Vec<f64>,
    p: f64,
}

fn fixture() -> Fixture {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/metrics/metrics.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

impl Case {
    fn dataset(&self) -> Dataset {
        let row = |id: &String| self.corpus.iter().position(|other| other == id).unwrap();
        let positive = |(id, &grade): (&String, &u32)| Positive { document: row(id), grade };
        let query = |(id, relevant): (&String, &HashMap<String, u32>)| Query {
            id: id.clone(),
            input: Input::text(id),
            positives: relevant.iter().map(positive).collect(),
            candidates: None,
        };
        Dataset {
            id: self.name.clone(),
            revision: String::new(),
            queries: self.qrels.iter().map(query).collect(),
            corpus: self.corpus.iter().map(|id| document(id)).collect(),
        }
    }

    /// Lines in no order, ranks that mean nothing.
    fn trec(&self) -> String {
        let mut text = String::new();
        for (query, results) in &self.run {
            for (document, score) in results {
                writeln!(text, "{query}\tQ0  {document} 7 {score} x").unwrap();
            }
        }
        text
    }

    fn json_lines(&self) -> String {
        let mut text = String::new();
        for (qid, results) in &self.run {
            let docs: Vec<_> =
                results.iter().map(|(id, score)| serde_json::json!({ "id": id, "score": score })).collect();
            writeln!(text, "{}", serde_json::json!({ "qid": qid, "docs": docs })).unwrap();
        }
        text
    }
}

fn document(id: &str) -> Document {
    Document { id: id.to_owned(), input: Input::text(id) }
}

/// Two queries, the second with candidates, and the documents `a`, `b`, `c`.
fn small_dataset() -> Dataset {
    let query = |id: &str, candidates| Query {
        id: id.to_owned(),
        input: Input::text(id),
        positives: vec![Positive { document: 1, grade: 1 }],
        candidates,
    };
    Dataset {
        id: "SMALL".into(),
        revision: String::new(),
        queries: vec![query("q1", None), query("2", Some(vec![0, 1]))],
        corpus: ["a", "b", "c"].map(document).into(),
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn assert_close(got: &QueryScores, expected: &HashMap<String, AtCutoffs>, what: &str) {
    assert_eq!(expected.len(), got.named().len());
    for (name, values) in got.named() {
        for ((value, expected), k) in values.iter().zip(expected[name]).zip(CUTOFFS) {
            assert!((value - expected).abs() < 1e-9, "{what}: {name}@{k} is {value}, expected {expected}");
        }
    }
}

#[test]
fn every_metric_equals_trec_eval_and_ranx() {
    let fixture = fixture();
    assert_eq!(fixture.cutoffs, CUTOFFS);
    let directory = tempfile::tempdir().unwrap();
    for case in &fixture.cases {
        let dataset = case.dataset();
        let trec = write(directory.path(), "run.trec", &case.trec());
        let json = write(directory.path(), "run.jsonl", &case.json_lines());
        for path in [&trec, &json] {
            let run = Run::read(path, &dataset).unwrap();
            let scores = run.scores(&dataset);
            assert_eq!(scores.len(), case.expected.len());
            for (scores, (query, expected)) in scores.iter().zip(&case.expected) {
                assert_close(scores, expected, &format!("{}, query {query}", case.name));
            }
            let queries = case.expected.len() as f64;
            let mut means: HashMap<String, AtCutoffs> = HashMap::new();
            for (name, values) in case.expected.values().flatten() {
                let mean = means.entry(name.clone()).or_default();
                mean.iter_mut().zip(values).for_each(|(mean, value)| *mean += value / queries);
            }
            assert_close(&mean(&scores), &means, &case.name);
        }
        // JSON lines know of queries without results; TREC runs do not.
        let absent = case.qrels.len() - case.run.len();
        let empty = case.run.values().filter(|results| results.is_empty()).count();
        assert_eq!(Run::read(&json, &dataset).unwrap().missing(), absent, "{}", case.name);
        assert_eq!(Run::read(&trec, &dataset).unwrap().missing(), absent + empty, "{}", case.name);
    }
}

#[test]
fn the_paired_test_equals_scipy() {
    for test in fixture().paired_tests {
        let pairs: Vec<(f64, f64)> = test.a.iter().copied().zip(test.b.iter().copied()).collect();
        let p = statistics::compare(&pairs, 0).p;
        assert!((p - test.p).abs() < 1e-12, "{pairs:?}: {p}, expected {}", test.p);
    }
}

#[test]
fn a_written_run_reads_back_to_the_bit_and_in_the_same_order() {
    let ids: Vec<String> = (0..60).map(|i| format!("d{i}")).collect();
    let dataset = Dataset {
        id: "TIES".into(),
        revision: String::new(),
        queries: (0..9)
            .map(|i| Query {
                id: format!("q{i}"),
                input: Input::text("?"),
                positives: vec![Positive { document: i, grade: 1 }],
                candidates: None,
            })
            .collect(),
        corpus: ids.iter().map(|id| document(id)).collect(),
    };
    let mut builder = RankableCorpus::builder(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for document in 0..ids.len() {
        // Every direction three times, so that there are ties; document 7 has no embedding.
        let angle = (document % 20) as f32;
        if document != 7 {
            builder.insert(document, &[angle.cos(), angle.sin()], "a document").unwrap();
        }
    }
    let corpus = builder.finish();
    let queries =
        Array2::from_shape_fn((9, 2), |(i, j)| if j == 0 { (i as f32).cos() } else { (i as f32).sin() });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    for format in [RunFormat::Trec { tag: "org/model at main".into() }, RunFormat::JsonLines] {
        let mut writer = RunWriter::create(&path, format).unwrap();
        let mut rankings: Vec<Option<Vec<Ranked>>> = Vec::new();
        ranking::rank(queries.view(), &corpus, |_| None, DEPTH, &mut |row, ranking| {
            rankings.push(Some(ranking.to_vec()));
            writer.write(&format!("q{row}"), ranking.iter().map(|r| (&*ids[r.document], r.score)))
        })
        .unwrap();
        writer.finish().unwrap();
        assert!(rankings.iter().flatten().all(|ranking| ranking.len() == 59));
        assert_eq!(Run::read(&path, &dataset).unwrap(), Run { rankings });
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
}

#[test]
fn extreme_scores_read_back_to_the_bit() {
    // Patterns over the whole range of f32, with its ends.
    let patterns = (0..5000_u32).map(|i| f32::from_bits(i.wrapping_mul(2_654_435_761)));
    let ends = [f32::MAX, f32::MIN, f32::MIN_POSITIVE, f32::from_bits(1), -0.0];
    let scores: Vec<f32> = patterns.chain(ends).filter(|score| score.is_finite()).collect();
    let ids: Vec<String> = (0..scores.len()).map(|i| i.to_string()).collect();
    let dataset = Dataset { corpus: ids.iter().map(|id| document(id)).collect(), ..small_dataset() };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    for format in [RunFormat::Trec { tag: "t".into() }, RunFormat::JsonLines] {
        let mut writer = RunWriter::create(&path, format).unwrap();
        writer.write("q1", ids.iter().map(String::as_str).zip(scores.iter().copied())).unwrap();
        writer.finish().unwrap();
        let run = Run::read(&path, &dataset).unwrap();
        let ranking = run.rankings[0].as_ref().unwrap();
        assert_eq!(ranking.len(), scores.len());
        for ranked in ranking {
            assert_eq!(ranked.score.to_bits(), scores[ranked.document].to_bits());
        }
    }
}

#[test]
fn json_lines_may_hold_ids_alone_and_numbers_as_ids() {
    let directory = tempfile::tempdir().unwrap();
    let text = "\n{\"qid\": 2, \"docs\": [\"b\", \"a\"]}\r\n{\"qid\": \"q1\", \"docs\": []}\n";
    let run = Run::read(&write(directory.path(), "run", text), &small_dataset()).unwrap();
    let documents: Vec<usize> = run.rankings[1].iter().flatten().map(|ranked| ranked.document).collect();
    assert_eq!(documents, [1, 0], "the order of the file");
    assert_eq!(run.rankings[0], Some(Vec::new()));
    assert_eq!(run.missing(), 0);
}

#[test]
fn a_bad_run_is_one_line_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let cases = [
        ("q1 Q0 a 1 0.5 t\n\nq1 Q0 b 2 0.4\n", ":3: expected `qid Q0 docid rank score tag`, found 5 fields"),
        ("q1 Q0 a 1 0.5 t extra", ":1: expected `qid Q0 docid rank score tag`, found 7 fields"),
        ("q1 Q0 a 1 high t", ":1: the score `high` is no number"),
        ("q1 Q0 a 1 nan t", ":1: the score NaN is not a finite number"),
        ("q1 Q0 a 1 1e39 t", ":1: the score inf is not a finite number"),
        ("q1 Q0 a 1 0.5 t\nq3 Q0 a 1 0.5 t", ":2: `q3` is not one of the 2 queries of SMALL"),
        ("q1 Q0 d 1 0.5 t", ":1: `d` is not one of the 3 documents of SMALL"),
        ("2 Q0 a 1 0.5 t\n2 Q0 c 1 0.5 t", ":2: `c` is not among the candidates of query `2`; leave it out"),
        // Of several, the first in the file.
        (
            "q1 Q0 a 1 3 t\n2 Q0 a 1 3 t\n2 Q0 a 2 2 t\nq1 Q0 b 1 3 t\nq1 Q0 b 2 2 t\nq1 Q0 a 3 1 t\n",
            ":3: `a` again for query `2`; it is on line 2",
        ),
        ("", ": it holds no rankings"),
        ("\n \n", ": it holds no rankings"),
        ("{\"qid\": \"q1\"}", ":1: not a ranking: missing field `docs`"),
        ("{\"qid\": \"q1\", \"docs\": [\"a\"]", ":1: not a ranking: EOF"),
        ("{\"qid\": \"q1\", \"docs\": [], \"run\": 1}", ":1: not a ranking: unknown field `run`"),
        (
            "{\"qid\": \"q1\", \"docs\": [{\"id\": \"a\", \"sim\": 1}]}",
            ":1: not a ranking: expected a document's id, or {\"id\", \"score\"}",
        ),
        ("{\"qid\": \"q1\", \"docs\": [{\"id\": \"a\", \"score\": 1e39}]}", ":1: the score inf is not"),
        (
            "{\"qid\": \"q1\", \"docs\": [{\"id\": \"a\", \"score\": 1}, \"b\"]}",
            ":1: 1 of 2 documents have a score; give all of them one, or none",
        ),
        (
            "{\"qid\": \"q1\", \"docs\": [\"a\"]}\n{\"qid\": \"q1\", \"docs\": [\"b\"]}",
            ":2: a second ranking for query `q1`",
        ),
        (
            "{\"qid\": \"q1\", \"docs\": [\"a\", \"b\", \"a\"]}",
            ":1: `a` again for query `q1`; it is on line 1",
        ),
        ("{\"qid\": \"q1\", \"docs\": [\"a\"]}\nq1 Q0 a 1 1 t", ":2: not a ranking: expected value"),
    ];
    for (text, expected) in cases {
        let path = write(directory.path(), "run", text);
        let error = Run::read(&path, &small_dataset()).unwrap_err().to_string();
        let place = format!("{}{expected}", path.display());
        assert!(error.starts_with(&place) && !error.contains('\n'), "{text:?}: {error}");
    }
    let path = directory.path().join("run");
    std::fs::write(&path, b"q1 Q0 a 1 1 t\nq1 Q0 \xff 1 1 t\n").unwrap();
    let error = Run::read(&path, &small_dataset()).unwrap_err().to_string();
    assert!(error.contains(":2: not UTF-8"), "{error}");
    let error = Run::read(&directory.path().join("none"), &small_dataset()).unwrap_err().to_string();
    assert!(error.starts_with("cannot open ") && error.contains("none"), "{error}");
}

#[test]
fn ids_that_trec_cannot_hold_are_an_error_and_leave_no_file() {
    let mut dataset = small_dataset();
    check_trec_ids(&dataset).unwrap();
    dataset.corpus[2].id = "c d.mp4".into();
    let error = check_trec_ids(&dataset).unwrap_err().to_string();
    assert!(
        error.contains("SMALL") && error.contains("`c d.mp4`") && error.contains("use JSON lines"),
        "{error}"
    );

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("run");
    let mut writer = RunWriter::create(&path, RunFormat::Trec { tag: "t".into() }).unwrap();
    let error = writer.write("q1", [("c d.mp4", 0.5)]).unwrap_err().to_string();
    assert!(error.contains("`c d.mp4`"), "{error}");
    drop(writer);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);

    let mut writer = RunWriter::create(&path, RunFormat::JsonLines).unwrap();
    writer.write("q1", [("c d.mp4", 0.5)]).unwrap();
    writer.finish().unwrap();
    assert_eq!(Run::read(&path, &dataset).unwrap().rankings[0].as_ref().unwrap()[0].document, 2);
}

/// `<out>/<model>/main/<data set>.json` with its query records: all a comparison reads.
fn write_result(
    out: &Path,
    model: &str,
    dataset: &str,
    change: impl Fn(&mut DatasetResult),
    scores: &[(&str, f64)],
) {
    let path = result_path(out, model, "main", dataset);
    let mean = scores.iter().map(|(_, score)| score).sum::<f64>() / scores.len().max(1) as f64;
    let mut result = DatasetResult {
        task_name: dataset.into(),
        metric: Some("R@1".into()),
        scores: [(SPLIT.to_owned(), vec![SubsetScores::new(mean, &[])])].into(),
        ..DatasetResult::default()
    };
    change(&mut result);
    result.write(&path).unwrap();
    let record =
        |(qid, score): &(&str, f64)| QueryRecord { qid: (*qid).into(), score: *score, ..Default::default() };
    write_queries(&queries_path(&path), &scores.iter().map(record).collect::<Vec<_>>()).unwrap();
}

#[test]
fn two_models_are_compared_query_by_query() {
    let out = tempfile::tempdir().unwrap();
    let none = |_: &mut DatasetResult| {};
    // In another order in the second file; b wins three of four that differ.
    write_result(
        out.path(),
        "a",
        "ONE",
        none,
        &[("q1", 0.0), ("q2", 0.0), ("q3", 0.0), ("q4", 1.0), ("q5", 1.0)],
    );
    write_result(
        out.path(),
        "b",
        "ONE",
        none,
        &[("q5", 1.0), ("q3", 1.0), ("q2", 1.0), ("q1", 1.0), ("q4", 0.0)],
    );
    // Only one of them has it.
    write_result(out.path(), "a", "LONE", none, &[("q1", 0.0)]);
    for (dataset, second) in [
        ("FEWER", &[("q1", 0.5)][..]),
        ("OTHER", &[("q1", 0.5), ("q3", 0.5)]),
        ("TWICE", &[("q1", 0.5), ("q1", 0.5)]),
        ("METRIC", &[("q1", 0.5), ("q2", 0.5)]),
        ("REVISION", &[("q1", 0.5), ("q2", 0.5)]),
        ("SAMPLE", &[("q1", 0.5), ("q2", 0.5)]),
    ] {
        write_result(out.path(), "a", dataset, none, &[("q1", 0.0), ("q2", 0.0)]);
        let change = |result: &mut DatasetResult| match dataset {
            "METRIC" => result.metric = Some("R@10".into()),
            "REVISION" => result.dataset_revision = "later".into(),
            // The same queries, among fewer documents.
            "SAMPLE" => result.subsample = Some(Subsample { limit: 2, seed: 7 }),
            _ => {}
        };
        write_result(out.path(), "b", dataset, change, second);
    }
    let [a, b] = ["a", "b"].map(|model| {
        let (mut models, errors) = load_results(&out.path().join(model), &DatasetResult::main_score);
        assert!(errors.is_empty() && models.len() == 1, "{errors:?}");
        models.remove(0)
    });
    let (comparisons, errors) = compare_models(&a, &b, 0);
    let [one] = &comparisons[..] else { panic!("{comparisons:?}") };
    assert_eq!((&*one.dataset, one.queries, one.means), ("ONE", 5, [0.4, 0.8]));
    assert!((one.comparison.difference + 0.4).abs() < 1e-12);
    // Of the 16 signs of four differences, 10 give a sum of 2 or more either way.
    assert_eq!(one.comparison.p, 10.0 / 16.0);
    let expected = [
        ("FEWER.queries.jsonl", "1 queries, but 2 in "),
        ("METRIC.json", "its metric is `R@10`, but `R@1` in "),
        ("OTHER.queries.jsonl:2", "query `q2` is not in "),
        ("REVISION.json", "its dataset_revision is `later`"),
        ("SAMPLE.json", "its part is `at most 2 queries, seed 7`, but `all of it` in "),
        ("TWICE.queries.jsonl:2", "query `q1` a second time"),
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:?}");
    for (error, (place, reason)) in errors.iter().zip(expected) {
        let error = error.to_string();
        assert!(error.contains(&format!("{place}: {reason}")), "{error}");
    }
}
