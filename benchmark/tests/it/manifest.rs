//! The manifest against the paper's tables, and what is wrong in files of one's own.

use std::path::Path;
use std::process::Command;

use uvrb::manifest::Domain::{CoarseGrained, FineGrained, LongContext};
use uvrb::manifest::MainMetric::{PrecisionAt, RecallAt};
use uvrb::manifest::SubDomain::{PartiallyRelevant, Spatial, Temporal};
use uvrb::manifest::Task::{Composed, Text, Visual};
use uvrb::manifest::{Candidates, DatasetSpec, Domain, Layout, MainMetric, Manifest, SubDomain, Task};

/// Tables 4 and 5 of arXiv 2510.27571.
#[rustfmt::skip]
const PAPER: [(&str, Task, Option<Domain>, Option<SubDomain>, usize, usize, MainMetric, &str); 16] = [
    ("MSRVTT", Text, Some(CoarseGrained), None, 1000, 1000, RecallAt(1), "Find the clip that corresponds to the described scene in the given video."),
    ("DiDeMo", Text, Some(CoarseGrained), None, 1004, 1004, RecallAt(1), "Find a video that includes the following described scenes."),
    ("CRB-G", Text, Some(CoarseGrained), None, 1000, 1000, RecallAt(1), "Find the video according to the general text description."),
    ("CRB-S", Text, Some(FineGrained), Some(Spatial), 1000, 1000, RecallAt(1), "Find the video according to the spatial description."),
    ("VDC-O", Text, Some(FineGrained), Some(Spatial), 1027, 1027, RecallAt(1), "Find the video according to the object description."),
    ("CRB-T", Text, Some(FineGrained), Some(Temporal), 1000, 1000, RecallAt(1), "Find the video according to the temporal description."),
    ("CMRB", Text, Some(FineGrained), Some(Temporal), 728, 1071, RecallAt(10), "Find the video according to the camera motion description."),
    ("DREAM-E", Text, Some(FineGrained), Some(PartiallyRelevant), 6251, 1000, RecallAt(1), "Find the video according to the text description."),
    ("LoVR-TH", Text, Some(FineGrained), Some(PartiallyRelevant), 8854, 8854, RecallAt(10), "Find the video according to text description about video theme information."),
    ("PEV-K", Text, Some(FineGrained), Some(PartiallyRelevant), 14427, 15000, RecallAt(1), "Find the video according to the text description of a series of keywords."),
    ("LoVR-V", Text, Some(LongContext), None, 100, 467, RecallAt(1), "Find the long video according to the long text description."),
    ("VDC-D", Text, Some(LongContext), None, 1000, 1027, RecallAt(1), "Find the video according to the detailed text description."),
    ("MS-TI", Composed, None, None, 400, 10, PrecisionAt(1), "Find the video clip that corresponds to the given text and the given image."),
    ("MS-TV", Composed, None, None, 400, 10, PrecisionAt(1), "Find the video clip that corresponds to the given text and the given video."),
    ("MSRVTT-I2V", Visual, None, None, 1000, 1000, RecallAt(1), "Find the video according to the image."),
    ("LoVR-C2V", Visual, None, None, 467, 467, RecallAt(1), "Find the original long video according to the short video clip."),
];

#[test]
fn every_entry_is_the_papers() {
    let manifest = Manifest::builtin();
    assert_eq!(manifest.datasets().len(), PAPER.len());
    for (spec, (id, task, domain, sub_domain, queries, corpus, metric, prompt)) in
        manifest.datasets().iter().zip(PAPER)
    {
        assert_eq!(spec.id, id);
        assert_eq!((spec.task, spec.domain, spec.sub_domain), (task, domain, sub_domain), "{id}");
        assert_eq!((spec.queries, spec.corpus, spec.metric), (queries, corpus, metric), "{id}");
        assert_eq!(spec.prompt, prompt);
        let candidates = if task == Composed { Candidates::PerQuery } else { Candidates::Corpus };
        assert_eq!((spec.layout, spec.candidates), (Layout::Uvrb, candidates), "{id}");
        assert_eq!(spec.source, "Alibaba-NLP/UVRB");
        assert!(!spec.title.is_empty() && !spec.licence.is_empty(), "{id}");
        assert_eq!(manifest.get(id).unwrap(), spec);
    }
}

/// An entry that is right, from line 2 on.
const ENTRY: &str = r#"
[[dataset]]
id = "mine"
title = "My clips"
task = "TXT"
domain = "FG"
sub_domain = "S"
prompt = "Find the clip."
metric = "R@5"
queries = 3
corpus = 4
source = "somebody/clips"
licence = "mine"
layout = "beir"
candidates = "corpus"
"#;

fn parse(text: &str) -> Result<Manifest, uvrb::Error> {
    Manifest::from_toml(text, Path::new("mine.toml"))
}

#[test]
fn own_entries_stand_behind_the_sixteen() {
    let manifest = Manifest::builtin().extended(parse(ENTRY).unwrap()).unwrap();
    assert_eq!(manifest.datasets().len(), 17);
    let spec: &DatasetSpec = manifest.get("mine").unwrap();
    assert_eq!((spec.metric, spec.layout), (RecallAt(5), Layout::Beir));
    // What an entry says goes before the defaults.
    let text = format!(
        "[defaults]\nmetric = \"P@1\"\nlicence = \"none\"\n{}",
        ENTRY.replace("licence = \"mine\"\n", "")
    );
    let spec = parse(&text).unwrap().get("mine").unwrap().clone();
    assert_eq!((spec.metric, spec.licence.as_str()), (RecallAt(5), "none"));
}

#[test]
fn faults_name_file_and_line() {
    let with = |from: &str, to: &str| {
        assert!(ENTRY.contains(from), "{from}");
        ENTRY.replace(from, to)
    };
    let cases: Vec<(String, &str, &[&str])> = vec![
        (with("prompt", "promt"), "mine.toml:8: ", &["promt"]),
        (format!("[defaults]\nprompts = \"x\"\n{ENTRY}"), "mine.toml:2: ", &["prompts"]),
        (format!("datasets = 3\n{ENTRY}"), "mine.toml:1: ", &["datasets"]),
        (with("R@5", "R@7"), "mine.toml:9: ", &["`R@7`", "10"]),
        (with("TXT", "TEXT"), "mine.toml:5: ", &["TEXT", "TXT"]),
        (with("queries = 3", "queries = -3"), "mine.toml:10: ", &["-3"]),
        (with("queries = 3", "queries = 0"), "mine.toml:2: ", &["`mine`", "at least 1"]),
        (with("layout = \"beir\"", "layout = \"coco\""), "mine.toml:14: ", &["coco", "beir"]),
        (with("metric = \"R@5\"\n", ""), "mine.toml:2: ", &["no `metric`", "[defaults]"]),
        (with("title = \"My clips\"\n", ""), "mine.toml:2: ", &["title"]),
        (with("Find the clip.", " "), "mine.toml:2: ", &["`prompt` is empty"]),
        (with("\"mine\"\ntitle", "\"a/b\"\ntitle"), "mine.toml:2: ", &["`a/b`"]),
        (with("sub_domain = \"S\"\n", ""), "mine.toml:2: ", &["sub_domain"]),
        (with("\"FG\"", "\"LC\""), "mine.toml:2: ", &["FG only"]),
        (with("\"TXT\"", "\"VIS\""), "mine.toml:2: ", &["TXT only"]),
        (format!("{ENTRY}{ENTRY}"), "mine.toml:17: ", &["`mine` is there already", "mine.toml:2"]),
        (with("corpus = 4", "corpus = "), "mine.toml:11: ", &[]),
        (String::new(), "mine.toml: ", &["[[dataset]]"]),
    ];
    for (text, place, expected) in cases {
        let error = parse(&text).unwrap_err().to_string();
        assert!(error.starts_with(place), "{error} should open with {place}");
        assert!(!error.contains('\n'), "{error}");
        for expected in expected {
            assert!(error.contains(expected), "{error} should say {expected}");
        }
    }
    let again = parse(&with("\"mine\"\ntitle", "\"CRB-G\"\ntitle")).unwrap();
    let error = Manifest::builtin().extended(again).unwrap_err().to_string();
    assert!(
        error.starts_with("mine.toml:2: ") && error.contains("`CRB-G`") && error.contains("datasets.toml:")
    );
}

#[test]
fn the_command_lists_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, ENTRY).unwrap();
    let list = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_uvrb")).arg("list").args(arguments).output().unwrap()
    };
    let table = list(&[]);
    assert!(table.status.success() && table.stderr.is_empty());
    let table = String::from_utf8(table.stdout).unwrap();
    assert_eq!(table.lines().count(), 17);
    for (id, _, _, _, queries, _, metric, prompt) in PAPER {
        let line = table.lines().find(|line| line.starts_with(&format!("{id} "))).unwrap();
        assert!(line.contains(prompt) && line.contains(&queries.to_string()), "{line}");
        assert!(line.contains(&metric.to_string()), "{line}");
    }
    let json = list(&["--json", "--datasets-file", file.to_str().unwrap()]);
    let json: Vec<serde_json::Value> = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json.len(), 17);
    assert_eq!((json[6]["id"].as_str(), json[6]["metric"].as_str()), (Some("CMRB"), Some("R@10")));
    assert_eq!((json[6]["task"].as_str(), json[6]["sub_domain"].as_str()), (Some("TXT"), Some("T")));
    assert_eq!((json[12]["candidates"].as_str(), json[16]["id"].as_str()), (Some("per-query"), Some("mine")));
    std::fs::write(&file, ENTRY.replace("prompt", "promt")).unwrap();
    let bad = list(&["--datasets-file", file.to_str().unwrap()]);
    let message = String::from_utf8(bad.stderr).unwrap();
    assert_eq!(bad.status.code(), Some(1));
    assert!(message.starts_with("uvrb: error: ") && message.contains("mine.toml:8: "), "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
}
