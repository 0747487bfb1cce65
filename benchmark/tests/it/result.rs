//! Result files: written, read back, old ones, and folders of them with something wrong.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use uvrb::result::{
    DatasetResult, QueryRecord, RankedDocument, SPLIT, SubsetScores, load_results, queries_path,
    read_queries, result_path, write_queries,
};

const MTEB: &str = include_str!("../fixtures/results/mteb.json");
const FIRST_VERSION: &str = include_str!("../fixtures/results/first_version.json");

/// A result of nothing but a score.
pub fn plain(dataset: &str, score: f64) -> DatasetResult {
    DatasetResult {
        task_name: dataset.to_owned(),
        scores: BTreeMap::from([(SPLIT.to_owned(), vec![SubsetScores::new(score, &[])])]),
        ..DatasetResult::default()
    }
}

fn put(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

#[test]
fn files_of_mteb_load() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("MSRVTT-I2V.json");
    put(&path, MTEB);
    let result = DatasetResult::read(&path).unwrap();
    assert_eq!(result.main_score(), Ok(0.8));
    assert_eq!(result.mteb_version.as_deref(), Some("2.0.5"));
    let scores = &result.scores[SPLIT][0];
    assert_eq!(scores.metric("ndcg_at_10"), Some(0.86123));
    assert_eq!(scores.metric("nauc_recall_at_1000_max"), None, "NaN is no number");
    assert_eq!(result.gve_version, None);
}

/// The fixture is what the first version wrote, to the byte: what loads today must load for ever.
#[test]
fn the_first_version_loads_with_all_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("CRB-G.json");
    put(&path, FIRST_VERSION);
    let result = DatasetResult::read(&path).unwrap();
    let counts = result.counts.clone().unwrap();
    assert_eq!((counts.queries, counts.failed_queries, counts.failed_documents), (8, 1, 2));
    assert_eq!(result.model.clone().unwrap().name, "Alibaba-NLP/GVE-3B");
    assert_eq!(result.subsample.unwrap().seed, 7);
    assert_eq!(result.confidence_interval.unwrap().high, 0.875);
    assert_eq!(result.timing.unwrap().from_cache, 105);
    assert_eq!(result.settings["sampling"]["uniform"]["frames"], 8);

    let copy = directory.path().join("copy/CRB-G.json");
    result.write(&copy).unwrap();
    assert_eq!(DatasetResult::read(&copy).unwrap(), result);
    assert_eq!(fs::read_to_string(&copy).unwrap(), FIRST_VERSION);
}

#[test]
fn keys_of_later_versions_are_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.json");
    put(
        &path,
        r#"{"task_name": "A", "energy": 7, "scores": {"test": [{"main_score": 0.5, "new": {"x": []}}]}}"#,
    );
    assert_eq!(DatasetResult::read(&path).unwrap().main_score(), Ok(0.5));
}

#[test]
fn a_result_without_a_score_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("A.json");
    let error = plain("A", f64::NAN).write(&path).unwrap_err().to_string();
    assert!(error.contains("A.json") && error.contains("NaN"), "{error}");
    assert!(!path.exists());
}

#[test]
fn query_records_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = queries_path(&result_path(directory.path(), "org/model", "main", "MSRVTT"));
    assert!(path.ends_with("org__model/main/MSRVTT.queries.jsonl"), "{}", path.display());
    let records = [
        QueryRecord {
            qid: "q\"1".into(),
            score: 1.0,
            first_positive_rank: Some(1),
            first_positive: Some(RankedDocument("v1".into(), 0.5)),
            top: vec![RankedDocument("v1".into(), 0.5), RankedDocument("v2".into(), 0.25)],
            ..QueryRecord::default()
        },
        QueryRecord { qid: "q2".into(), failed: Some("no such file".into()), ..QueryRecord::default() },
    ];
    write_queries(&path, &records).unwrap();
    assert_eq!(read_queries(&path).unwrap(), records);

    let mut text = fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 10);
    fs::write(&path, text).unwrap();
    let error = read_queries(&path).unwrap_err().to_string();
    assert!(error.contains("MSRVTT.queries.jsonl:2:"), "{error}");
}

#[test]
fn one_broken_file_is_one_error_and_costs_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let path = |dataset: &str| result_path(out, "org/model", "main", dataset);
    plain("MSRVTT", 0.5).write(&path("MSRVTT")).unwrap();
    plain("DiDeMo", 0.25).write(&path("DiDeMo")).unwrap();
    plain("MSRVTT", 0.75).write(&path("again")).unwrap();
    plain("CRB_G", 0.5).write(&path("typo")).unwrap();
    put(&path("truncated"), &FIRST_VERSION[..200]);
    put(&path("percent"), "{\"task_name\": \"LoVR-V\",\n\"scores\": {\"test\": [{\"main_score\": 46.4}]}}");
    put(&path("model_meta"), "{}");
    put(&out.join("report.json"), "{}");
    plain("MSRVTT", 0.125).write(&result_path(out, "other", "main", "MSRVTT")).unwrap();

    let known = |result: &DatasetResult| match result.task_name.as_str() {
        "CRB_G" => Err("did you mean `CRB-G`".to_owned()),
        _ => result.main_score(),
    };
    let (models, errors) = load_results(out, &known);
    let names: Vec<_> = models.iter().map(|model| model.name.as_str()).collect();
    assert_eq!(names, ["org__model@main", "other@main"]);
    let scores: Vec<_> = models[0].results.iter().map(|(id, stored)| (id.as_str(), stored.score)).collect();
    assert_eq!(scores, [("DiDeMo", 0.25), ("MSRVTT", 0.5)]);

    let messages: Vec<_> = errors.iter().map(ToString::to_string).collect();
    let expected = [
        ("again.json", "a second result for `MSRVTT`"),
        ("percent.json:2", "found 46.4"),
        ("truncated.json:10", "EOF"),
        ("typo.json:2", "did you mean `CRB-G`"),
    ];
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, (place, reason)) in messages.iter().zip(expected) {
        assert!(message.contains(place) && message.contains(reason), "{message}");
        assert!(!message.contains('\n'));
    }
}

#[test]
fn any_level_of_the_folder_will_do() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    plain("MSRVTT", 0.5).write(&result_path(out, "org/model", "main", "MSRVTT")).unwrap();
    for level in [out.to_owned(), out.join("org__model"), out.join("org__model/main")] {
        let (models, errors) = load_results(&level, &DatasetResult::main_score);
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(models[0].name, "org__model@main", "{}", level.display());
    }
    for (place, reason) in [("nowhere", "cannot open"), ("empty", "no result files")] {
        fs::create_dir_all(out.join("empty")).unwrap();
        let (models, errors) = load_results(&out.join(place), &DatasetResult::main_score);
        assert!(models.is_empty());
        let message = errors[0].to_string();
        assert!(message.contains(place) && message.contains(reason), "{message}");
    }
}
