//! What is wrong in UVRB's layout is told with file and line.

use std::fs;
use std::path::Path;

use super::{Files, failure, own};

#[test]
fn the_first_fault_is_the_error_with_file_and_line() {
    let cases: &[(&str, &str, &str, &[&str])] = &[
        (
            "queries",
            "{\"id\": 1, \"text\": \"a\"}\n{\"id\": \"1\", \"text\": \"b\"}",
            "queries.jsonl:2: ",
            &["`1`", "line 1"],
        ),
        ("queries", "{\"id\": \"q1\", \"txt\": \"a\"}", "queries.jsonl:1: ", &["`txt`", "`text`"]),
        ("queries", "\n{\"id\": \"q1\"}", "queries.jsonl:2: ", &["`q1`", "empty"]),
        (
            "queries",
            "{\"id\": \"q1\", \"text\": \" \", \"image\": \"\"}",
            "queries.jsonl:1: ",
            &["`q1`", "empty"],
        ),
        ("queries", "{\"id\": \"q1\", \"text\": \"a\"", "queries.jsonl:1: ", &["column"]),
        ("queries", "{\"text\": \"a\"}", "queries.jsonl:1: ", &["`id`"]),
        ("queries", "{\"id\": null, \"text\": \"a\"}", "queries.jsonl:1: ", &["null"]),
        ("queries", "", "queries.jsonl: ", &["no query"]),
        (
            "queries",
            "{\"id\": \"q1\", \"text\": \"a\"}\n{\"id\": \"q2\", \"text\": \"b\"}\n{\"id\": \"q3\", \"text\": \"c\"}",
            "queries.jsonl:3: ",
            &["`q3`", "no relevant document", "instances.jsonl"],
        ),
        (
            "queries",
            "{\"id\": \"q1\", \"image\": \"../../etc/passwd\"}",
            "queries.jsonl:1: ",
            &["../../etc/passwd", "leads out"],
        ),
        (
            "corpus",
            "{\"id\": \"d1\", \"video\": \"a.mp4\"}\n{\"id\": \"d1\", \"video\": \"b.mp4\"}",
            "corpus.jsonl:2: ",
            &["`d1`", "line 1"],
        ),
        ("corpus", "{\"id\": \"d1\", \"vidoe\": \"a.mp4\"}", "corpus.jsonl:1: ", &["`vidoe`", "`video`"]),
        (
            "corpus",
            "{\"id\": \"d1\", \"video\": \"/etc/passwd\"}",
            "corpus.jsonl:1: ",
            &["/etc/passwd", "leads out"],
        ),
        ("corpus", "[]", "corpus.jsonl:1: ", &[]),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\", \"d9\"]}",
            "instances.jsonl:1: ",
            &["`q1`", "`d9`", "corpus.jsonl"],
        ),
        (
            "instances",
            "{\"qid\": \"q9\", \"pos\": [\"d1\"]}",
            "instances.jsonl:1: ",
            &["`q9`", "queries.jsonl"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": []}",
            "queries.jsonl:1: ",
            &["`q1`", "no relevant document"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"grades\": [0]}",
            "queries.jsonl:1: ",
            &["no relevant document"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"grades\": [1, 2]}",
            "instances.jsonl:1: ",
            &["2 grades for 1"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"grades\": [0.5]}",
            "instances.jsonl:1: ",
            &["whole number"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"]}\n{\"qid\": \"q1\", \"pos\": [\"d1\"], \"grades\": [2]}",
            "instances.jsonl:2: ",
            &["grade 2 here and 1 before"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"candidates\": [\"d2\"]}",
            "queries.jsonl:1: ",
            &["`d1`", "not among its candidates"],
        ),
        (
            "instances",
            "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"candidates\": [\"d1\", \"d9\"]}",
            "instances.jsonl:1: ",
            &["`d9`"],
        ),
        ("instances", "{\"qid\": \"q1\"}", "instances.jsonl:1: ", &["`pos`"]),
    ];
    for (name, text, place, expected) in cases {
        let files = Files::new().put(name, text);
        let error = failure(&own(2, 2), files.root());
        let place = files.root().join("jsonl").join(place).display().to_string();
        assert!(error.starts_with(&place), "{error} should open with {place}");
        for expected in *expected {
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }
    let files = Files::new();
    fs::write(files.root().join("jsonl/queries.jsonl"), b"{\"id\": \"q1\", \"text\": \"\xff\"}").unwrap();
    assert!(failure(&own(2, 2), files.root()).contains("queries.jsonl:1: not UTF-8"));
    fs::remove_file(files.root().join("jsonl/instances.jsonl")).unwrap();
    assert!(failure(&own(2, 2), files.root()).contains("jsonl/instances.jsonl is missing"));
    let nothing = failure(&own(2, 2), Path::new("/nowhere"));
    assert!(nothing.contains("looked for") && nothing.contains("/nowhere/mine/UVRB/mine"), "{nothing}");
}
