//! Folders as in BEIR.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use gve::Input;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{failure, own, positives, read};
use crate::mini::write_lines;

/// Queries, corpus and relevance of a folder as in BEIR, as rows of columns.
fn beir_rows() -> [(&'static str, Vec<Value>); 3] {
    [
        ("queries", vec![json!({"_id": "q1", "text": "a dog"}), json!({"_id": "q2", "text": "a cat"})]),
        (
            "corpus",
            vec![
                json!({"_id": "1", "title": "Dogs", "text": "of all kinds"}),
                json!({"_id": "2", "video": "videos/a.mp4"}),
                json!({"_id": "3", "text": "none", "image": "c.png"}),
            ],
        ),
        (
            "qrels",
            vec![
                json!({"query-id": "q1", "corpus-id": "2", "score": 2}),
                json!({"query-id": "q1", "corpus-id": "1", "score": 1}),
                json!({"query-id": "q2", "corpus-id": "3", "score": 1}),
                json!({"query-id": "q2", "corpus-id": "1", "score": 0}),
            ],
        ),
    ]
}

fn write_parquet(path: &Path, rows: &[Value]) {
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().flat_map(|row| row.as_object().unwrap().keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let columns = names.into_iter().map(|name| {
        let column: ArrayRef = if name == "score" {
            Arc::new(rows.iter().map(|row| row[&name].as_i64()).collect::<Int64Array>())
        } else {
            Arc::new(rows.iter().map(|row| row[&name].as_str()).collect::<StringArray>())
        };
        (name, column)
    });
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let mut writer = ArrowWriter::try_new(fs::File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// A folder as in BEIR, its relevance in `qrels`, which ends in `.tsv`, `.jsonl` or `.parquet`.
fn beir(suffix: &str, qrels: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("qrels")).unwrap();
    for (name, rows) in beir_rows() {
        let path =
            dir.path().join(if name == "qrels" { qrels.to_owned() } else { format!("{name}.{suffix}") });
        match path.extension().unwrap().to_str().unwrap() {
            "jsonl" => write_lines(&path, &rows),
            "parquet" => write_parquet(&path, &rows),
            _ => fs::write(&path, tsv(&rows)).unwrap(),
        }
    }
    dir
}

fn tsv(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let [query, document] = ["query-id", "corpus-id"].map(|key| row[key].as_str().unwrap().to_owned());
        format!("{query}\t{document}\t{}\n", row["score"])
    };
    rows.iter().map(line).collect()
}

#[test]
fn beir_folders_are_read_in_all_their_forms() {
    for (suffix, qrels) in [
        ("jsonl", "qrels.tsv"),
        ("jsonl", "qrels/test.tsv"),
        ("jsonl", "qrels.jsonl"),
        ("parquet", "qrels.parquet"),
        ("parquet", "qrels/test.tsv"),
    ] {
        let dir = beir(suffix, qrels);
        let dataset = read(&own(2, 3), dir.path());
        assert_eq!(positives(&dataset), [vec![("1", 1), ("2", 2)], vec![("3", 1)]], "{suffix} {qrels}");
        assert_eq!(dataset.corpus[0].input, Input::text("Dogs of all kinds"));
        assert_eq!(dataset.corpus[1].input, Input::video(dir.path().join("videos/a.mp4")));
        let composed = Input::image(dir.path().join("images/c.png")).and_text("none");
        assert_eq!(dataset.corpus[2].input, composed);
        assert_eq!(dataset.queries[1].input, Input::text("a cat"));
    }
    // With the header, with `id` and with what BEIR carries along.
    let dir = beir("jsonl", "qrels.tsv");
    let path = dir.path().join("qrels.tsv");
    fs::write(&path, format!("query-id\tcorpus-id\tscore\n{}", fs::read_to_string(&path).unwrap())).unwrap();
    let queries =
        [json!({"id": "q1", "text": "a dog", "metadata": {"a": [1]}}), json!({"id": "q2", "text": "a cat"})];
    write_lines(&dir.path().join("queries.jsonl"), &queries);
    assert_eq!(positives(&read(&own(2, 3), dir.path())), [vec![("1", 1), ("2", 2)], vec![("3", 1)]]);
}

#[test]
fn faults_of_beir_folders() {
    let tsv_cases: &[(&str, &str, &[&str])] = &[
        ("q1 1 1\n", "qrels.tsv:1: ", &["1 tab-separated columns", "corpus-id"]),
        ("q1\t1\tx\n", "qrels.tsv:1: ", &["whole number", "`x`"]),
        ("q1\t1\t1\nquery-id\tcorpus-id\tscore\n", "qrels.tsv:2: ", &["`score`"]),
        ("q1\t9\t1\n", "qrels.tsv:1: ", &["`9`", "corpus.jsonl"]),
        ("q1\t1\t1\nq2\t1\t0\n", "queries.jsonl:2: ", &["`q2`", "qrels.tsv"]),
        ("q1\t1\t1\nq2\t1\t-1\n", "queries.jsonl:2: ", &["`q2`", "no relevant"]),
        ("q1\t1\n", "qrels.tsv:1: ", &["2 tab-separated columns"]),
    ];
    for (text, place, expected) in tsv_cases {
        let dir = beir("jsonl", "qrels.tsv");
        fs::write(dir.path().join("qrels.tsv"), text).unwrap();
        let error = failure(&own(2, 3), dir.path());
        assert!(error.starts_with(&dir.path().join(place).display().to_string()), "{error}");
        for expected in *expected {
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }
    let dir = beir("parquet", "qrels.parquet");
    let queries = dir.path().join("queries.parquet");
    write_parquet(&queries, &[json!({"_id": "q1", "txt": "a dog"})]);
    assert!(failure(&own(2, 3), dir.path()).contains("queries.parquet: unknown column `txt`"));
    write_parquet(&queries, &[json!({"_id": "q1", "text": "a"}), json!({"_id": "q1", "text": "b"})]);
    assert!(
        failure(&own(2, 3), dir.path())
            .contains("queries.parquet:2: query id `q1` is there already, on line 1")
    );
    fs::write(&queries, "PAR1").unwrap();
    assert!(failure(&own(2, 3), dir.path()).contains("queries.parquet: not a Parquet file"));
    fs::write(dir.path().join("queries.jsonl"), "").unwrap();
    assert!(failure(&own(2, 3), dir.path()).contains("both queries.jsonl and queries.parquet"));
    let dir = beir("jsonl", "qrels.tsv");
    fs::remove_file(dir.path().join("qrels.tsv")).unwrap();
    assert!(failure(&own(2, 3), dir.path()).contains("qrels.tsv or qrels.jsonl or"));
}
