//! From result files to the numbers of the paper, and what a report says of them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use uvrb::report::aggregate::{Ability, Aggregate};
use uvrb::report::correlation::Method;
use uvrb::report::published::published_models;
use uvrb::report::{Report, csv, json, markdown, table};
use uvrb::result::{Counts, DatasetResult, ModelResults, Subsample, load_results, result_path};

use crate::result::plain;

/// How far a mean of numbers with three digits may be from the mean's own three digits.
const TOLERANCE: f64 = 0.0011;

/// Where the paper's table of abilities does not follow from its table of data sets.
const MISPRINTS: [(&str, &str); 4] =
    [("GME-2B", "AVG"), ("VLM2Vec-V2", "AVG"), ("VLM2Vec-V2", "TXT"), ("VLM2Vec-V2", "CG")];

/// Writes a result file for each score, as `uvrb run` would.
pub fn write_results<'a>(out: &Path, model: &str, scores: impl IntoIterator<Item = (&'a String, &'a f64)>) {
    for (dataset, score) in scores {
        plain(dataset, *score).write(&result_path(out, model, "main", dataset)).unwrap();
    }
}

pub fn load(out: &Path) -> Vec<ModelResults> {
    let (models, errors) = load_results(out, &DatasetResult::main_score);
    assert!(errors.is_empty(), "{errors:?}");
    models
}

fn by_code(aggregate: &Aggregate) -> BTreeMap<&'static str, f64> {
    let mut scores = BTreeMap::from([("AVG", aggregate.average.unwrap())]);
    scores.extend(Ability::ALL.map(|ability| (ability.code(), aggregate.ability(ability).unwrap())));
    scores
}

#[test]
fn published_data_sets_give_published_abilities() {
    let directory = tempfile::tempdir().unwrap();
    let published = published_models().unwrap();
    for model in &published {
        write_results(directory.path(), &format!("paper/{}", model.name), &model.datasets);
    }
    let models = load(directory.path());
    assert_eq!(models.len(), 16);
    let report = Report::new(&models, Vec::new(), None).unwrap();
    let mut compared = 0;
    for paper in &published {
        let name = format!("paper__{}@main", paper.name);
        let model = report.models.iter().find(|model| model.name == name).unwrap();
        for (code, found) in by_code(&model.aggregate) {
            let printed = paper.abilities_as_printed[code];
            let misprint = MISPRINTS.contains(&(paper.name.as_str(), code));
            let within = (found - printed).abs() <= TOLERANCE;
            assert_eq!(
                within, !misprint,
                "{} {code}: {found:.4} from its data sets, {printed} printed",
                paper.name
            );
            compared += 1;
        }
    }
    assert_eq!(compared, 160);
    // The one misprint whose right value the spec tells.
    let gme = report.models.iter().find(|model| model.name == "paper__GME-2B@main").unwrap();
    assert!((gme.aggregate.average.unwrap() - 0.516).abs() <= TOLERANCE);
}

/// But for VLM2Vec-V2, whose row does not even give its own mean.
#[test]
fn the_average_of_data_sets_is_the_papers() {
    let text = include_str!("../../published/published_datasets.csv");
    for (model, line) in published_models().unwrap().iter().zip(text.lines().skip(1)) {
        let printed: f64 = line.split(',').nth(1).unwrap().parse().unwrap();
        let found = Aggregate::of(&model.datasets).average_datasets.unwrap();
        let within = (found - printed).abs() <= TOLERANCE;
        assert_eq!(within, model.name != "VLM2Vec-V2", "{}: {found:.4}, {printed} printed", model.name);
    }
}

/// A model that lacks CMRB, has a sub-sample of MSRVTT, and a data set of its own.
fn some_results(out: &Path) -> Vec<ModelResults> {
    let mut scores = published_models().unwrap().pop().unwrap().datasets;
    scores.remove("CMRB");
    scores.insert("my|own".into(), 0.5);
    scores.insert("CRB-G".into(), 0.9);
    write_results(out, "org/mine", &scores);
    let path = result_path(out, "org/mine", "main", "MSRVTT");
    let mut result = plain("MSRVTT", 0.25);
    result.subsample = Some(Subsample { limit: 100, seed: 7 });
    result.write(&path).unwrap();
    load(out)
}

fn some_report(against: Option<&str>) -> Report {
    let directory = tempfile::tempdir().unwrap();
    Report::new(&some_results(directory.path()), vec!["my|own".into()], against).unwrap()
}

/// Parts compare with parts of the same size and draw of the same copy.
#[test]
fn parts_compare_with_their_like_alone() {
    let directory = tempfile::tempdir().unwrap();
    let models = [("org/base", 2, "a"), ("org/like", 2, "a"), ("org/smaller", 1, "a"), ("org/copy", 2, "b")];
    for (name, limit, revision) in models {
        let mut result = plain("MSRVTT", 0.25);
        result.subsample = Some(Subsample { limit, seed: 7 });
        result.dataset_revision = revision.to_owned();
        result.write(&result_path(directory.path(), name, "main", "MSRVTT")).unwrap();
    }
    let report = Report::new(&load(directory.path()), Vec::new(), Some("org__base@main")).unwrap();
    let json: Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    for (name, difference) in
        [("like", json!(0.0)), ("smaller", Value::Null), ("copy", Value::Null), ("base", Value::Null)]
    {
        let differences = &json["differences"][format!("org__{name}@main")];
        assert_eq!(differences["datasets"]["MSRVTT"], difference, "{name}: {differences}");
    }
}

#[test]
fn json_has_the_form_that_programs_rely_on() {
    let value: Value = serde_json::from_str(&json::render(&some_report(None)).unwrap()).unwrap();
    let mine = &value["models"]["org__mine@main"];
    assert_eq!(value["models"].as_object().unwrap().len(), 1, "the paper's are apart");
    assert_eq!(mine["datasets"].as_object().unwrap().len(), 17);
    assert_eq!(mine["datasets"]["CRB-G"], 0.9);
    assert_eq!(mine["datasets"]["my|own"], 0.5);
    for missing in [&mine["datasets"]["CMRB"], &mine["abilities"]["T"], &mine["abilities"]["FG"]] {
        assert!(missing.is_null());
    }
    for missing in [&mine["abilities"]["TXT"], &mine["abilities"]["AVG"], &mine["avg_datasets"]] {
        assert!(missing.is_null());
    }
    assert_eq!(mine["abilities"].as_object().unwrap().len(), 10);
    assert!((mine["abilities"]["CG"].as_f64().unwrap() - (0.25 + 0.433 + 0.9) / 3.0).abs() < 1e-12);
    assert_eq!(mine["subsampled"]["MSRVTT"]["limit"], 100);
    assert_eq!(value["published"].as_object().unwrap().len(), 16);
    assert_eq!(value["published"]["GME-2B"]["abilities_as_printed"]["AVG"], 0.416);
    assert_eq!(value["against"], "GVE-7B");
    let difference = value["differences"]["org__mine@main"]["datasets"]["CRB-G"].as_f64().unwrap();
    assert!((difference - 0.035).abs() < 1e-12);
    assert_eq!(value["correlations"]["models"][0][0], 16, "a sub-sampled model is left out");
}

#[test]
fn the_baseline_is_chosen_by_name() {
    let report = some_report(Some("CLIP4Clip"));
    let crb_g = report.dataset_table().rows[0][3];
    assert!((crb_g.difference.unwrap() - (0.9 - 0.511)).abs() < 1e-12);
    let itself = some_report(Some("org__mine@main"));
    assert!(itself.dataset_table().rows.iter().flatten().all(|cell| cell.difference.is_none()));

    let directory = tempfile::tempdir().unwrap();
    let models = some_results(directory.path());
    let message = Report::new(&models, Vec::new(), Some("GVE-8B")).unwrap_err().to_string();
    assert!(message.contains("GVE-8B") && message.contains("GVE-7B") && message.contains("org__mine@main"));
}

#[test]
fn text_shows_what_is_missing_and_what_is_sub_sampled() {
    let text = table::render(&some_report(None));
    let line = |start: &str| text.lines().find(|line| line.starts_with(start)).unwrap();
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    // AVG TXT CMP VIS CG FG LC S T PR
    let mine = words(line("org__mine@main"));
    assert_eq!(mine[1..3], ["-", "-"]);
    assert_eq!(mine[5], "-", "CG stands apart");
    assert_eq!(mine[9], "-");
    let (_, apart) = text.split_once("Abilities of copies and parts").unwrap();
    let apart: Vec<_> = apart.lines().skip(1).take_while(|line| !line.starts_with("Data sets")).collect();
    let starred = words(apart.iter().find(|line| line.starts_with("org__mine@main")).unwrap());
    assert_eq!(starred[1..], ["-", "-", "-", "-", "0.528*", "-", "-", "-", "-", "-"]);
    assert!(!apart.iter().any(|line| line.starts_with("GVE-7B")), "{apart:?}");
    assert_eq!(
        text.lines()
            .take_while(|line| !line.contains("copies and parts"))
            .filter(|l| l.contains('*'))
            .count(),
        0
    );
    assert_eq!(
        words(line("  against GVE-7B"))[2..],
        ["-", "-", "0.000", "0.000", "-", "-", "0.000", "0.000", "-", "0.000"]
    );
    assert_eq!(words(line("GVE-7B"))[7], "0.814", "LC");
    assert!(text.contains("(Pearson, n = 16 models)") && text.contains("(Spearman, n = 16 models)"));
    assert!(text.contains("* org__mine@main") && text.contains("seed 7"));
    assert!(
        text.lines().take_while(|line| !line.starts_with("AVG of")).all(|line| line.chars().count() <= 118)
    );
}

#[test]
fn scores_that_compare_to_nothing_but_their_like_say_so() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    let mut scores = published_models().unwrap().pop().unwrap().datasets;
    scores.retain(|id, _| id != "MSRVTT" && id != "MS-TI");
    write_results(out, "org/mine", &scores);
    let counted = |dataset: &str, queries, corpus, frames: usize| DatasetResult {
        counts: Some(Counts { queries, corpus, failed_queries: 1, failed_documents: 2, ..Counts::default() }),
        settings: BTreeMap::from([("frames".to_owned(), frames.into())]),
        gve_version: Some("0.1.0".to_owned()),
        ..plain(dataset, 0.5)
    };
    // A fifth of the data set; and all queries of one that has a list of its own for each.
    counted("MSRVTT", 200, 200, 8).write(&result_path(out, "org/mine", "main", "MSRVTT")).unwrap();
    counted("MS-TI", 400, 9000, 16).write(&result_path(out, "org/mine", "main", "MS-TI")).unwrap();
    let report = Report::new(&load(out), Vec::new(), None).unwrap();

    let cells = &report.dataset_table().rows[0];
    let starred: Vec<bool> = cells.iter().map(|cell| cell.apart).collect();
    assert_eq!(starred.iter().filter(|&&star| star).count(), 2, "the data set and the mean: {starred:?}");
    assert!(cells[0].apart && cells[1].apart && cells[1].score_text() == "0.500*");
    assert!(cells[1].difference.is_none() && cells[2].difference.is_some(), "{cells:?}");
    let value: Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    let mine = &value["models"]["org__mine@main"];
    assert_eq!(mine["other_sizes"].as_object().unwrap().len(), 1);
    assert_eq!(mine["other_sizes"]["MSRVTT"]["corpus"], 200);
    assert_eq!(value["correlations"]["models"][0][0], 16, "the paper's alone");
    let text = table::render(&report);
    for expected in [
        "* org__mine@main: not of UVRB's size: MSRVTT. MSRVTT, for one, has 200 queries and 200 documents, there 1000 and 1000 documents.",
        "not embedded, and counted as missed: 2 queries, 4 documents (MS-TI, MSRVTT).",
        "not scored alike, but differ in frames (16, 8).",
    ] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    let first = csv::render(&report);
    assert!(first.lines().nth(1).unwrap().ends_with(",,MSRVTT"), "{first}");
}

#[test]
fn a_model_stands_in_every_table_at_each_width_it_was_scored_at() {
    let directory = tempfile::tempdir().unwrap();
    let published = published_models().unwrap();
    let scores = &published[0].datasets;
    for (dataset, score) in scores {
        let whole = plain(dataset, *score);
        let half = plain(dataset, score / 2.0).scores;
        let by_width = BTreeMap::from([(64, half.clone()), (128, whole.scores.clone())]);
        let result = DatasetResult { by_width, ..whole };
        result.write(&result_path(directory.path(), "me/mrl", "main", dataset)).unwrap();
    }
    let report = Report::new(&load(directory.path()), Vec::new(), Some("me__mrl@main")).unwrap();
    let yours: Vec<_> = report.models.iter().filter(|model| model.yours).collect();
    let named: Vec<_> = yours.iter().map(|model| (model.name.as_str(), model.width)).collect();
    let expected = [
        ("me__mrl@main", None),
        ("me__mrl@main, 128 values", Some(128)),
        ("me__mrl@main, 64 values", Some(64)),
    ];
    assert_eq!(named, expected);
    let [whole, wide, narrow] = [0, 1, 2].map(|place| yours[place].aggregate.average.unwrap());
    assert!(whole == wide && (narrow - whole / 2.0).abs() < 1e-9, "{whole} {wide} {narrow}");
    let json: Value = serde_json::from_str(&json::render(&report).unwrap()).unwrap();
    let against = json["differences"]["me__mrl@main, 64 values"]["abilities"]["AVG"].as_f64().unwrap();
    assert!((against + whole / 2.0).abs() < 1e-9, "{against}");
    // Once among the models whose abilities are held against each other.
    assert_eq!(report.correlations(Method::Pearson)[0][1].models, 17);
    assert!(table::render(&report).contains("me__mrl@main, 64 values"));
}

#[test]
fn markdown_and_csv_hold_every_model_once() {
    let report = some_report(None);
    let text = markdown::render(&report);
    assert!(text.contains(r"| **org\_\_mine@main** | - |"), "{text}");
    assert!(text.contains(r"my\|own"), "a name is no column: {text}");
    for table in text.split("\n\n").filter(|block| block.starts_with("| ")) {
        let bars = |line: &str| line.replace(r"\|", "").matches('|').count();
        let mut lines = table.lines();
        let head = bars(lines.next().unwrap());
        assert!(lines.all(|line| bars(line) == head), "{table}");
    }

    let text = csv::render(&report);
    let lines: Vec<Vec<_>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(lines.len(), 1 + 2 + 16);
    assert!(lines.iter().all(|line| line.len() == 3 + 10 + 1 + 17 + 2), "{text}");
    let column = |name: &str| lines[0].iter().position(|head| *head == name).unwrap();
    assert_eq!(lines[1][column("CRB-G")], "0.900000");
    assert_eq!(lines[1][column("CMRB")], "");
    assert_eq!(lines[2][column("value")], "difference to GVE-7B");
    assert_eq!(lines[2][column("CRB-G")], "0.035000");
    assert_eq!(lines[1][column("subsampled")], "MSRVTT");
}

/// numpy.corrcoef and scipy.stats.spearmanr over the 16 rows as computed from table 1; made by
/// `tests/fixtures/correlations.py`.
#[test]
fn correlations_of_the_paper_s_models() {
    let report = Report::new(&[], Vec::new(), None).unwrap();
    let expected: Value = serde_json::from_str(include_str!("../fixtures/correlations.json")).unwrap();
    for (method, name) in [(Method::Pearson, "pearson"), (Method::Spearman, "spearman")] {
        for (a, row) in report.correlations(method).iter().enumerate() {
            for (b, found) in row.iter().enumerate() {
                let expected = expected[name][a][b].as_f64().unwrap();
                assert!((found.value.unwrap() - expected).abs() < 1e-9, "{name} {a} {b}");
                assert_eq!(found.models, 16);
            }
        }
    }
}
