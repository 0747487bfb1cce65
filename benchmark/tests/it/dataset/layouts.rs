//! UVRB's layout: where it is found, and what comes out of it.

use std::fs;
use std::path::Path;

use gve::{CancelToken, ImageSource, Input, Part};
use uvrb::dataset::{CheckOptions, LoadOptions, check, find, load};
use uvrb::manifest::{Candidates, DatasetSpec};

use super::{Files, failure, file, kind, own, positives, read, spec};
use crate::mini::{self, MINI};

#[test]
fn the_miniature_has_all_sixteen() {
    let dir = tempfile::tempdir().unwrap();
    mini::make(dir.path());
    let ids: Vec<String> = find(dir.path()).unwrap().into_iter().map(|found| found.id).collect();
    assert_eq!(ids.len(), 16);
    for mini in &MINI {
        assert!(ids.iter().any(|id| id == mini.id), "{}", mini.id);
        let dataset = read(spec(mini.id), dir.path());
        assert_eq!(
            (dataset.queries.len(), dataset.corpus.len()),
            (mini.queries, mini.clips.len()),
            "{}",
            mini.id
        );
        let (digest, hash) = dataset.revision.split_once(':').unwrap();
        assert_eq!((digest, hash.len()), ("sha256", 16));
        for input in dataset.queries.iter().map(|q| &q.input).chain(dataset.corpus.iter().map(|d| &d.input)) {
            assert_eq!(input.instruction, None);
            for path in input.parts.iter().filter_map(file) {
                assert!(path.is_file(), "{}", path.display());
            }
        }
        let own_list = spec(mini.id).candidates == Candidates::PerQuery;
        for query in &dataset.queries {
            assert_eq!(query.candidates.as_ref().map(Vec::len), own_list.then_some(4), "{}", mini.id);
        }
        let kinds: Vec<&str> = dataset.queries[0].input.parts.iter().map(kind).collect();
        let expected: &[&str] = match mini.id {
            "MS-TI" => &["image", "text"],
            "MS-TV" => &["video", "text"],
            "MSRVTT-I2V" => &["image"],
            "LoVR-C2V" => &["video"],
            _ => &["text"],
        };
        assert_eq!(kinds, expected, "{}", mini.id);
    }
    let graded = read(spec("LoVR-TH"), dir.path());
    assert_eq!(positives(&graded)[..2], [vec![("d0", 1), ("d1", 1)], vec![("d1", 2), ("d2", 1)]]);
    // Numbers are ids as well.
    assert_eq!(read(spec("VDC-O"), dir.path()).corpus[0].id, "100");
    // The same bytes under other names.
    let clips = |id| read(spec(id), dir.path()).corpus.iter().map(|d| bytes(&d.input)).collect::<Vec<_>>();
    for (one, other) in
        [("MSRVTT", "MSRVTT-I2V"), ("CRB-G", "CRB-S"), ("LoVR-V", "LoVR-TH"), ("VDC-O", "VDC-D")]
    {
        assert_eq!(clips(one), clips(other));
    }
}

fn bytes(input: &Input) -> Vec<u8> {
    fs::read(file(&input.parts[0]).unwrap()).unwrap()
}

#[test]
fn a_data_set_is_found_from_wherever_it_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for mini in MINI.iter().filter(|mini| ["MSRVTT", "DiDeMo"].contains(&mini.id)) {
        mini::make_one(root, mini);
    }
    for (id, places) in [
        ("MSRVTT", vec![root.to_owned(), root.join("MSRVTT")]),
        (
            "DiDeMo",
            vec![
                root.to_owned(),
                root.join("DiDeMo"),
                root.join("DiDeMo/UVRB"),
                root.join("DiDeMo/UVRB/DiDeMo"),
            ],
        ),
    ] {
        let revisions: Vec<String> = places.iter().map(|place| read(spec(id), place).revision).collect();
        assert!(revisions.iter().all(|revision| *revision == revisions[0]));
        for place in &places {
            let found = find(place).unwrap();
            assert!(found.iter().any(|found| found.id == id), "{found:?}");
        }
    }
    // A clone of the hub's repository.
    fs::create_dir(root.join("UVRB")).unwrap();
    fs::rename(root.join("MSRVTT"), root.join("UVRB/MSRVTT")).unwrap();
    fs::rename(root.join("DiDeMo"), root.join("UVRB/DiDeMo")).unwrap();
    for found in find(root).unwrap() {
        assert_eq!(read(spec(&found.id), root).corpus.len(), 4, "{found:?}");
    }
    assert_eq!(find(root).unwrap().len(), 2);
    // The files of one are not scored as another.
    let error = failure(spec("CRB-G"), &root.join("UVRB/MSRVTT"));
    assert!(
        error.contains("no data set `CRB-G`") && error.contains("jsonl/{queries,corpus,instances}.jsonl"),
        "{error}"
    );
    // Other contents, another revision.
    let before = read(spec("MSRVTT"), root).revision;
    let corpus = root.join("UVRB/MSRVTT/jsonl/corpus.jsonl");
    fs::write(&corpus, fs::read_to_string(&corpus).unwrap() + "\n").unwrap();
    assert_ne!(read(spec("MSRVTT"), root).revision, before);
}

#[test]
fn media_need_not_be_there_to_load() {
    let files = Files::new();
    let dataset = read(&own(2, 2), files.root());
    let paths: Vec<&Path> = dataset.corpus.iter().map(|d| file(&d.input.parts[0]).unwrap()).collect();
    assert_eq!(paths, [files.root().join("videos/a.mp4"), files.root().join("videos/b.mp4")]);
    assert_eq!(positives(&dataset), [[("d1", 1)], [("d2", 1)]]);
    assert_eq!(dataset.queries[0].candidates, None);
}

#[test]
fn frame_caches_are_used_only_when_their_rate_is_known() {
    let files = Files::new();
    let picture = mini::frame(1, 0);
    for (folder, names) in [
        ("a", ["2.jpg", "10.jpg", "1.jpg", "notes.txt"]),
        ("b", ["frame_9.JPG", "frame_11.jpeg", "frame_010.jpg", "x.png"]),
    ] {
        let folder = files.root().join("videos_frames").join(folder);
        fs::create_dir_all(&folder).unwrap();
        for name in names {
            picture.save_with_format(folder.join(name), image::ImageFormat::Jpeg).unwrap();
        }
    }
    let cached =
        |fps| load(&own(2, 2), files.root(), &LoadOptions { frame_cache_fps: fps, ..LoadOptions::default() });
    assert_eq!(kind(&cached(None).unwrap().corpus[0].input.parts[0]), "video");
    let dataset = cached(Some(2.0)).unwrap();
    for (row, expected) in [["1.jpg", "2.jpg", "10.jpg"], ["frame_9.JPG", "frame_010.jpg", "frame_11.jpeg"]]
        .into_iter()
        .enumerate()
    {
        let Part::Frames(frames) = &dataset.corpus[row].input.parts[0] else {
            panic!("{:?}", dataset.corpus[row].input);
        };
        let name =
            |source: &ImageSource| source.path().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(frames.frames.iter().map(name).collect::<Vec<_>>(), expected);
        assert_eq!(frames.fps, 2.0);
    }
    for bad in [0.0, -1.0, f64::NAN] {
        assert!(cached(Some(bad)).unwrap_err().to_string().contains("positive number"));
    }
    let options = CheckOptions {
        load: LoadOptions { frame_cache_fps: Some(2.0), ..LoadOptions::default() },
        decode: true,
    };
    let report = check(&own(2, 2), files.root(), &options, &CancelToken::new(), |_, _| {}).unwrap();
    assert_eq!((report.media.decoded, report.faults), (2, vec![]));
}

#[test]
fn lines_of_one_query_are_joined_and_grades_kept() {
    let files = Files::new().put(
        "instances",
        "{\"qid\": \"q1\", \"pos\": [\"d2\"], \"grades\": [3]}\n{\"qid\": \"q1\", \"pos\": [\"d1\", \"d2\"], \"grades\": [1, 3]}\r\n\n{\"qid\": \"q2\", \"pos\": [\"d1\", \"d2\"], \"grades\": [0, 2]}\n",
    );
    let dataset = read(&own(2, 2), files.root());
    assert_eq!(positives(&dataset), [vec![("d1", 1), ("d2", 3)], vec![("d2", 2)]]);
}

#[test]
fn candidates_are_the_querys_own_where_the_data_say_so() {
    let per_query = |corpus| DatasetSpec { candidates: Candidates::PerQuery, ..own(2, corpus) };
    let neg = "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"neg\": [\"d2\", \"d1\"]}\n{\"qid\": \"q2\", \"pos\": [\"d2\"], \"neg\": [\"d3\"]}";
    let files = Files::new()
        .put("corpus", "{\"id\": \"d1\", \"video\": \"a\"}\n{\"id\": \"d2\", \"video\": \"b\"}\n{\"id\": \"d3\", \"video\": \"c\"}")
        .put("instances", neg);
    let lists = |spec: &DatasetSpec, files: &Files| -> Vec<Option<Vec<usize>>> {
        read(spec, files.root()).queries.into_iter().map(|query| query.candidates).collect()
    };
    assert_eq!(lists(&per_query(2), &files), [Some(vec![0, 1]), Some(vec![1, 2])]);
    // Elsewhere negatives are a note for training, maybe on another corpus.
    assert_eq!(lists(&own(2, 3), &files), [None, None]);
    let files = files.put("instances", "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"neg\": [\"d9\"]}\n{\"qid\": \"q2\", \"pos\": [\"d2\"], \"neg\": null}");
    assert_eq!(lists(&own(2, 3), &files), [None, None]);
    let error = failure(&per_query(2), files.root());
    assert!(error.contains("instances.jsonl:1: query `q1`: document `d9` is not in corpus.jsonl"), "{error}");
    let files = files.put("instances", "{\"qid\": \"q1\", \"pos\": [\"d1\"], \"candidates\": [\"d3\", \"d1\", \"d3\"]}\n{\"qid\": \"q2\", \"pos\": [\"d2\"]}");
    assert_eq!(lists(&own(2, 3), &files), [Some(vec![0, 2]), None]);
    let error = failure(&per_query(2), files.root());
    assert!(error.contains("queries.jsonl:2: query `q2` has no candidates of its own"), "{error}");
    // A corpus no larger than one list is that list.
    assert_eq!(lists(&per_query(10), &files), [Some(vec![0, 2]), None]);
}
