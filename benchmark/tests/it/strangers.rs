//! Files as other programs write them: run files, relevance, tables, folders nobody registered.

use std::fs;
use std::path::{Path, PathBuf};

use gve::{CancelToken, Input};
use gve_test_support::files::text;
use gve_test_support::program::{assert_status, stderr, stdout};
use gve_test_support::stub::{Answer, Stub};
use serde_json::{Value, json};
use uvrb::dataset::{CheckOptions, LoadOptions, check, load};
use uvrb::encoder::{Encoder, Item, PrecomputedEncoder, Request, Role};
use uvrb::manifest::{DatasetSpec, MainMetric, Manifest};
use uvrb::result::{DatasetResult, QueryRecord, queries_path, read_queries, result_path, write_queries};
use uvrb::run_file::Run;

use crate::mini::{self, MINI, write_lines};
use crate::result::plain;
use crate::run::uvrb;

pub(crate) fn tables(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tables").join(name)
}

/// The bytes of `text` with a byte order mark and line ends as on Windows, a blank line in front of the last.
fn windows(text: &str) -> Vec<u8> {
    let (head, last) = text.trim_end().rsplit_once('\n').unwrap_or(("", text.trim_end()));
    format!("\u{feff}{head}\n \n{last}\n").replace('\n', "\r\n").into_bytes()
}

/// A folder as in BEIR, with what those of BEIR itself have: queries of another split, and a document without
/// text.
fn beir(folder: &Path) {
    fs::create_dir_all(folder.join("qrels")).unwrap();
    let queries = ["q1", "q2", "other"].map(|id| json!({"_id": id, "text": "t", "metadata": {}}));
    let corpus = ["d1", "d2", "d3"]
        .map(|id| json!({"_id": id, "title": "", "text": if id == "d3" { "" } else { "t" }}));
    write_lines(&folder.join("queries.jsonl"), &queries);
    write_lines(&folder.join("corpus.jsonl"), &corpus);
    fs::write(folder.join("qrels/test.tsv"), "query-id\tcorpus-id\tscore\nq1\td1\t2\nq2\td2\t1\nq2\td1\t0\n")
        .unwrap();
    fs::write(folder.join("qrels/train.tsv"), "query-id\tcorpus-id\tscore\nother\td1\t1\n").unwrap();
}

/// d1 first for both queries: right for the first one alone.
const RUN: &str = "q1 Q0 d1 1 0.5 t\nq1 Q0 d2 2 0.25 t\nq2 Q0 d1 1 0.5 t\nq2 Q0 d2 2 0.25 t\n";

#[test]
fn a_folder_that_nobody_registered_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let (data, run) = (folder.path().join("nfcorpus"), folder.path().join("run.trec"));
    beir(&data);
    fs::write(&run, RUN).unwrap();
    let score = |data: &Path, more: &[&str]| {
        let output = uvrb(&[&["score", text(data), "--run", text(&run), "--json"], more].concat());
        assert_status(&output, 0);
        assert!(stderr(&output).lines().count() == 1 && stderr(&output).contains("not in the manifest"));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let line = score(&data, &[]);
    assert_eq!(
        (&line["dataset"], &line["metric"], &line["queries"]),
        (&"nfcorpus".into(), &"R@1".into(), &2.into())
    );
    assert_eq!((&line["main_score"], &line["missing_queries"]), (&0.5.into(), &0.into()));
    let all = line["scores"].as_object().unwrap();
    for metric in ["ndcg", "map", "recall", "hit_rate", "precision", "mrr"] {
        assert!(all.contains_key(&format!("{metric}_at_10")), "{metric}");
    }
    assert_eq!(score(&data, &["--main", "R@3"])["main_score"], 1.0);

    // In UVRB's layout as well.
    let own = mini::make_one(&folder.path().join("sets"), &MINI[0]);
    let renamed = folder.path().join("sets/our own");
    fs::rename(&own, &renamed).unwrap();
    fs::write(&run, "q0 Q0 d0 1 0.5 t\nq1 Q0 d0 1 0.5 t\nq2 Q0 d2 1 0.5 t\nq3 Q0 d3 1 0.5 t\n").unwrap();
    assert_eq!(score(&renamed, &[])["main_score"], 0.75);

    // A name that was given is meant.
    let output = uvrb(&["score", text(&renamed), "--run", text(&run), "--dataset", "our own"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("unknown data set"), "{}", stderr(&output));
    let output = uvrb(&["score", text(&renamed), "--run", text(&run), "--main", "nDCG@10"]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("R@k"), "{}", stderr(&output));
}

#[test]
fn marks_line_ends_and_blank_lines_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("nfcorpus");
    beir(&data);
    let spec = DatasetSpec::unregistered("nfcorpus", MainMetric::RecallAt(1));
    let options = LoadOptions { relevance_only: true, ..LoadOptions::default() };
    let plain = load(&spec, &data, &options).unwrap();
    for name in ["queries.jsonl", "corpus.jsonl", "qrels/test.tsv"] {
        let path = data.join(name);
        fs::write(&path, windows(&fs::read_to_string(&path).unwrap())).unwrap();
    }
    let dataset = load(&spec, &data, &options).unwrap();
    assert_eq!(dataset.queries.len(), 2);
    assert_eq!(dataset.queries[0].positives, plain.queries[0].positives);

    let path = folder.path().join("run");
    let json = "{\"qid\": \"q1\", \"docs\": [\"d1\"]}\n{\"qid\": \"q2\", \"docs\": [\"d2\"]}\n";
    for run in [RUN, json] {
        fs::write(&path, run).unwrap();
        let expected = Run::read(&path, &dataset).unwrap();
        fs::write(&path, windows(run)).unwrap();
        assert_eq!(Run::read(&path, &dataset).unwrap(), expected);
        let utf16: Vec<u8> = format!("\u{feff}{run}").encode_utf16().flat_map(u16::to_le_bytes).collect();
        fs::write(&path, utf16).unwrap();
        let error = Run::read(&path, &dataset).unwrap_err().to_string();
        assert!(error.contains(":1: ") && error.contains("save it as UTF-8"), "{error}");
    }

    let records = [QueryRecord { qid: "q1".into(), ..QueryRecord::default() }, QueryRecord::default()];
    write_queries(&path, &records).unwrap();
    fs::write(&path, windows(&fs::read_to_string(&path).unwrap())).unwrap();
    assert_eq!(read_queries(&path).unwrap(), records);
    let result = crate::result::plain("MSRVTT", 0.5);
    result.write(&path).unwrap();
    fs::write(&path, windows(&fs::read_to_string(&path).unwrap())).unwrap();
    assert_eq!(DatasetResult::read(&path).unwrap(), result);
    let manifest = include_str!("../../../datasets.toml");
    fs::write(&path, windows(manifest)).unwrap();
    assert_eq!(Manifest::from_file(&path).unwrap().datasets(), Manifest::builtin().datasets());
}

#[test]
fn tables_of_pandas_polars_and_pyarrow_are_data_sets() {
    for library in ["pandas", "polars", "pyarrow"] {
        let spec = DatasetSpec {
            queries: 2,
            corpus: 3,
            ..DatasetSpec::unregistered("mine", MainMetric::RecallAt(1))
        };
        let dataset = load(&spec, &tables(&format!("beir_{library}")), &LoadOptions::default()).unwrap();
        let ids: Vec<&str> = dataset.corpus.iter().map(|document| document.id.as_str()).collect();
        assert_eq!(ids, ["1", "2", "3"], "{library}");
        assert_eq!(dataset.corpus[0].input, Input::text("Dogs of all kinds"));
        let positives = dataset.queries.iter().map(|query| (query.id.as_str(), query.positives[0].document));
        assert_eq!(positives.collect::<Vec<_>>(), [("q1", 0), ("q2", 2)], "{library}");
    }
}

/// One encoder for all of an embedding's packagings: the same three rows.
#[test]
fn embeddings_of_every_library_are_scored() {
    let names =
        fs::read_dir(tables("")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let others = ["bytes", "ragged", "no_", "texts", "whole", "not_finite", "brotli", "refused"];
    let names = names.filter(|name| !others.iter().any(|other| name.contains(other)));
    let mut read = 0;
    for name in names {
        let Some(ending @ ("parquet" | "npy")) = name.rsplit('.').next() else { continue };
        let folder = tempfile::tempdir().unwrap();
        let set = folder.path().join("D");
        fs::create_dir(&set).unwrap();
        fs::copy(tables(&name), set.join(format!("corpus.{ending}"))).unwrap();
        fs::write(set.join("corpus.ids.txt"), "1\r\n2\r\n30\r\n").unwrap();
        let encoder = PrecomputedEncoder::open(folder.path(), "acme/other", "r1").unwrap();
        let input = Input::text("a");
        let items = ["30", "1", "2"].map(|id| Item { id, input: &input });
        let mut found = Vec::new();
        let request = Request { dataset: "D", role: Role::Document, items: &items };
        let mut emit = |_, values: Result<Vec<f32>, _>| {
            found.push(values.unwrap());
            Ok(())
        };
        encoder.encode(request, &mut emit).unwrap();
        assert_eq!(found, [[3.0, 0.125, 0.0], [0.5, -1.25, 2.0], [1.0, 0.25, -4.0]], "{name}");
        read += 1;
    }
    assert!(read >= 49, "{read} files");
}

#[test]
fn what_is_left_out_of_a_comparison_is_said_once() {
    let folder = tempfile::tempdir().unwrap();
    let put = |model: &str, dataset: &str| {
        let path = result_path(folder.path(), model, "main", dataset);
        plain(dataset, 0.5).write(&path).unwrap();
        write_queries(
            &queries_path(&path),
            &[QueryRecord { qid: "q".into(), score: 0.5, ..QueryRecord::default() }],
        )
        .unwrap();
    };
    for dataset in ["MSRVTT", "DiDeMo", "CRB-G", "CRB-S"] {
        put("a", dataset);
    }
    put("b", "MSRVTT");
    put("b", "CMRB");
    let [a, b] = ["a", "b"].map(|model| folder.path().join(model));
    let output = uvrb(&["compare", text(&a), text(&b)]);
    assert_status(&output, 0);
    let said = stderr(&output);
    assert_eq!(said.lines().count(), 1, "{said}");
    for named in ["b@main has no result of CRB-G, CRB-S, DiDeMo", "a@main has no result of CMRB"] {
        assert!(said.contains(named), "{said}");
    }
}

#[test]
fn no_score_is_written_where_nothing_was_embedded() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let set = mini::make_one(&data, &MINI[0]);
    let out = folder.path().join("out");
    let stub = Stub::start(|_, _| Answer::status(400));
    let arguments = ["run", text(&data), "--out", text(&out), "--server", &stub.base_url, "--name", "m"];
    let output = uvrb(&[&arguments[..], &["--rankings", "trec"]].concat());
    assert_status(&output, 1);
    let said = stderr(&output);
    assert!(
        said.contains("none of the 4 documents could be embedded") && said.contains("sent 400"),
        "{said}"
    );
    assert_eq!(stdout(&output), "");
    let files = |out: &Path| -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(out.join("m/unversioned")) else { return Vec::new() };
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    assert_eq!(files(&out), Vec::<PathBuf>::new());

    // Nor where the documents are there and no query is; and what was there stays.
    let texts = ["queries", "corpus"]
        .map(|name| fs::read_to_string(set.join(format!("jsonl/{name}.jsonl"))).unwrap());
    let stub = Stub::start({
        let queries = texts[0].lines().count();
        move |n, request| if n < queries { Answer::embedding(request) } else { Answer::status(422) }
    });
    let arguments =
        ["run", text(&data), "--out", text(&out), "--server", &stub.base_url, "--name", "m", "--no-cache"];
    let path = out.join("m/unversioned/MSRVTT.json");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    plain("MSRVTT", 0.75).write(&path).unwrap();
    let output = uvrb(&[&arguments[..], &["--overwrite"]].concat());
    assert_status(&output, 1);
    assert!(stderr(&output).contains("none of the 4 queries"), "{}", stderr(&output));
    assert_eq!(DatasetResult::read(&path).unwrap().main_score(), Ok(0.75));

    // Embeddings of other ids are no embeddings.
    let made = folder.path().join("made/MSRVTT");
    fs::create_dir_all(&made).unwrap();
    for name in ["queries", "corpus"] {
        write_lines(&made.join(format!("{name}.jsonl")), &[json!({"id": "x", "embedding": [1, 0]})]);
    }
    let made = folder.path().join("made");
    let output = uvrb(&["run", text(&data), "--out", text(&out), "--precomputed", text(&made)]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("no embedding with the id `d0`"), "{}", stderr(&output));
    assert!(!out.join("made").exists());
}

#[test]
fn the_size_of_a_generated_benchmark_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    mini::make_one(folder.path(), &MINI[0]);
    let spec = Manifest::builtin().get("MSRVTT").unwrap();
    let options = CheckOptions { load: LoadOptions::default(), decode: false };
    let of = |root: &Path| check(spec, root, &options, &CancelToken::new(), |_, _| {}).unwrap();
    let copy = of(folder.path());
    assert!(!copy.generated && copy.faults.len() == 2, "{:?}", copy.faults);
    fs::write(folder.path().join("run.json"), r#"{"kind": "uvrb-mini", "seed": 7}"#).unwrap();
    for root in [folder.path().to_owned(), folder.path().join("MSRVTT")] {
        let generated = of(&root);
        assert!(generated.generated && generated.faults.is_empty(), "{:?}", generated.faults);
        assert_eq!((generated.queries.expected, generated.queries.found), (None, 4));
    }
    fs::remove_file(folder.path().join("MSRVTT/videos/msrvtt_2.y4m")).unwrap();
    assert_eq!(of(folder.path()).faults.len(), 1, "what is missing is a fault as ever");
    let output = uvrb(&["check", text(folder.path()), "--no-decode"]);
    assert_status(&output, 2);
    assert!(stdout(&output).contains("generated") && !stderr(&output).contains("complete copy"));
}

/// A name in an index file never leads out; a link that somebody put into the folder is followed, as caches
/// of the hub need.
#[test]
#[cfg(unix)]
fn names_stay_inside_and_links_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let set = mini::make_one(folder.path(), &MINI[0]);
    let outside = folder.path().join("outside");
    fs::rename(set.join("videos"), &outside).unwrap();
    std::os::unix::fs::symlink(&outside, set.join("videos")).unwrap();
    let spec = DatasetSpec { queries: 4, corpus: 4, ..Manifest::builtin().get("MSRVTT").unwrap().clone() };
    let options = CheckOptions { load: LoadOptions::default(), decode: false };
    let whole = check(&spec, folder.path(), &options, &CancelToken::new(), |_, _| {}).unwrap();
    assert!(whole.faults.is_empty() && whole.media.total == 4, "{:?}", whole.faults);
    let secret = folder.path().join("secret.mp4");
    fs::write(&secret, "s").unwrap();
    for path in [
        "../secret.mp4",
        "videos/../../secret.mp4",
        text(&secret),
        "videos/./../../secret.mp4",
        "/../secret.mp4",
    ] {
        for kind in ["video", "image"] {
            write_lines(&set.join("jsonl/corpus.jsonl"), &[json!({"id": "d0", kind: path})]);
            let error = load(&spec, folder.path(), &LoadOptions::default()).unwrap_err().to_string();
            assert!(error.contains("leads out") && error.contains("corpus.jsonl:1"), "{error}");
        }
    }
}

#[test]
fn files_that_are_not_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("D");
    fs::create_dir(&set).unwrap();
    fs::write(set.join("corpus.npz"), "PK").unwrap();
    let encoder = PrecomputedEncoder::open(folder.path(), "m", "r").unwrap();
    let input = Input::text("a");
    let items = [Item { id: "a", input: &input }];
    let request = Request { dataset: "D", role: Role::Document, items: &items };
    let error = encoder.encode(request, &mut |_, _| Ok(())).unwrap_err().to_string();
    assert!(error.contains("corpus.npz is not read"), "{error}");
}
