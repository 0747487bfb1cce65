//! The page, as text and in a browser.

mod browser;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use gve::Input;
use gve::page::thumbnail;
use serde_json::Value;
use uvrb::dataset::{Dataset, Document, Positive, Query};
use uvrb::report::Report;
use uvrb::report::failures::{DatasetFailures, collect};
use uvrb::report::html::{Page, render};
use uvrb::report::published::published_models;

use uvrb::result::{
    Counts, ModelResults, QueryRecord, RankedDocument, Subsample, queries_path, result_path, write_queries,
};

use crate::report::{load, write_results};
use crate::result::plain;
use browser::Browser;

const MEDIA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/media");
/// What would run, or break out of its attribute, were it not taken for text.
const HOSTILE: &str =
    r#"</script><script>window.broken=1</script><img src=x onerror="window.broken=2">"'{{js}}&lt;"#;

/// Two models, one of them with holes and a sub-sample, and a data set that failed in all the ways there are.
fn results(out: &Path) -> Vec<ModelResults> {
    let published = published_models().unwrap();
    let mut scores = published[13].datasets.clone();
    for score in scores.values_mut() {
        *score += 0.012;
    }
    scores.insert("CRB-G".into(), 0.771);
    scores.insert("my-<own>".into(), 0.5);
    write_results(out, "lab/video-embedder-7B", &scores);
    scores.retain(|id, _| !["LoVR-V", "CMRB", "my-<own>"].contains(&id.as_str()));
    write_results(out, "lab/tiny", &scores);

    let path = result_path(out, "lab/tiny", "main", "MSRVTT");
    let mut result = plain("MSRVTT", 0.33);
    result.subsample = Some(Subsample { limit: 100, seed: 7 });
    result.counts = Some(Counts {
        queries: 100,
        corpus: 1000,
        failed_queries: 1,
        failed_documents: 2,
        ..Counts::default()
    });
    result.gve_version = Some("0.1.0".into());
    result.write(&path).unwrap();

    write_queries(&queries_path(&result_path(out, "lab/video-embedder-7B", "main", "MSRVTT")), &records())
        .unwrap();
    let other = [QueryRecord {
        qid: "k1".into(),
        first_positive_rank: Some(4),
        top: ranking(),
        ..QueryRecord::default()
    }];
    write_queries(&queries_path(&result_path(out, "lab/tiny", "main", "PEV-K")), &other).unwrap();
    load(out)
}

fn ranking() -> Vec<RankedDocument> {
    [("bunny", 0.8125), ("ntsc", 0.75), ("bars", 0.5), ("broken", 0.25), ("tower", -0.125)]
        .map(|(id, score)| RankedDocument(id.into(), score))
        .to_vec()
}

fn records() -> Vec<QueryRecord> {
    let record = |qid: &str, rank: Option<usize>, positive: Option<(&str, f32)>, top: Vec<RankedDocument>| {
        QueryRecord {
            qid: qid.into(),
            first_positive_rank: rank,
            first_positive: positive.map(|(id, score)| RankedDocument(id.into(), score)),
            top,
            ..QueryRecord::default()
        }
    };
    let mut failed = record("q-failed", None, None, Vec::new());
    failed.failed = Some("moving.mp4: no video stream".into());
    let mut right = record("q-right", Some(1), Some(("bunny", 0.8125)), ranking());
    right.score = 1.0;
    vec![
        record("q-second", Some(2), Some(("ntsc", 0.75)), ranking()),
        record(HOSTILE, Some(37), Some(("rabbit", -0.25)), ranking()),
        record("q-composed", None, None, ranking()),
        failed,
        right,
    ]
}

fn dataset() -> Dataset {
    let media = |name: &str| format!("{MEDIA}/{name}");
    let document = |id: &str, input: Input| Document { id: id.into(), input };
    let query = |id: &str, input: Input, document: usize| Query {
        id: id.into(),
        input,
        positives: vec![Positive { document, grade: 1 }],
        candidates: None,
    };
    Dataset {
        id: "MSRVTT".into(),
        // That of a result that names none.
        revision: String::new(),
        corpus: vec![
            document("bunny", Input::video(media("bunny.mp4"))),
            document("ntsc", Input::video(media("ntsc.mp4"))),
            document("bars", Input::video(media("testsrc.mp4"))),
            document("broken", Input::image(media("no such \"file\".png"))),
            document("tower", Input::image(media("tall.png"))),
            document("rabbit", Input::image(media("rabbit.png"))),
        ],
        queries: vec![
            query("q-second", Input::text("a test pattern with a running clock in its corner"), 1),
            query(HOSTILE, Input::text(HOSTILE), 5),
            query("q-composed", Input::image(media("rabbit.png")).and_text("now asleep under the tree"), 5),
            query("q-failed", Input::video(media("missing.mp4")), 2),
            query("q-right", Input::text("a rabbit comes out of its burrow"), 0),
        ],
    }
}

/// The page of `results`, with media where `with_media`.
fn page(with_media: bool) -> (String, Vec<DatasetFailures>) {
    let directory = tempfile::tempdir().unwrap();
    let results = results(directory.path());
    let report = Report::new(&results, vec!["my-<own>".into()], None).unwrap();
    let datasets =
        if with_media { BTreeMap::from([("MSRVTT".to_owned(), dataset())]) } else { BTreeMap::new() };
    let (failures, pictures, errors) = collect(&results, &datasets, 10);
    assert!(errors.is_empty(), "{errors:?}");
    let pictures: Vec<_> = pictures.inputs.iter().map(|input| thumbnail(input).map(Option::unwrap)).collect();
    (render(&Page { report: &report, results: &results, failures: &failures, pictures: &pictures }), failures)
}

#[test]
fn whatever_a_query_says_is_text() {
    for with_media in [false, true] {
        let (html, _) = page(with_media);
        assert_eq!(html.matches("<script").count(), 2, "the data and the script");
        assert_eq!(html.matches("</script").count(), 2);
        assert!(!html.contains("<img src=x"));
        assert!(html.contains("&lt;/script&gt;&lt;script&gt;window.broken=1"), "as text it is there");
        assert!(html.contains("my-&lt;own&gt;") && !html.contains("my-<own>"));
        assert!(!html.replace("http://www.w3.org/2000/svg", "").contains("://"), "no address to go to");
    }
}

/// Ids of one copy may mean something else in another.
#[test]
fn media_of_another_copy_are_not_shown() {
    let directory = tempfile::tempdir().unwrap();
    let other = Dataset { revision: "other".into(), ..dataset() };
    let datasets = BTreeMap::from([("MSRVTT".to_owned(), other)]);
    let (failures, pictures, errors) = collect(&results(directory.path()), &datasets, 10);
    let [error] = &errors[..] else { panic!("{errors:?}") };
    let error = error.to_string();
    assert!(error.contains("MSRVTT.json") && error.contains("`other`"), "{error}");
    assert!(failures.iter().all(|failures| !failures.with_media) && pictures.inputs.is_empty());
}

#[test]
fn failures_say_what_was_wanted_and_what_came() {
    let (html, failures) = page(true);
    let msrvtt = failures.iter().find(|failures| failures.dataset == "MSRVTT").unwrap();
    assert_eq!((msrvtt.queries, msrvtt.failed), (5, 4));
    let places: Vec<_> =
        msrvtt.worst.iter().map(|failure| (failure.query.id.as_str(), failure.rank)).collect();
    assert_eq!(
        places,
        [("q-failed", None), ("q-composed", None), (HOSTILE, Some(37)), ("q-second", Some(2))]
    );
    let composed = &msrvtt.worst[1];
    assert_eq!(composed.query.text.as_deref(), Some("now asleep under the tree"));
    assert_eq!(composed.positive.as_ref().unwrap().item.id, "rabbit", "not ranked, but known from the data");
    assert_eq!(composed.positive.as_ref().unwrap().score, None);
    assert!(composed.top.iter().all(|ranked| !ranked.relevant));
    assert!(msrvtt.worst[3].top[1].relevant);
    for said in [
        "could not be embedded: moving.mp4: no video stream",
        "no relevant document among those ranked",
        "first relevant document at rank 37",
        "<b>37</b> · −0.250 ✓",
        "cannot be decoded",
        "4 of 5 queries below full score",
        "there are ids alone",
    ] {
        assert!(html.contains(said), "{said}");
    }
    // Every picture is in the page once, however often it is shown.
    assert_eq!(html.matches("data:image/jpeg;base64,").count(), 6);
    let (ids_alone, _) = page(false);
    assert!(!ids_alone.contains("data:image/jpeg") && !ids_alone.contains("now asleep"));
    assert!(ids_alone.contains("first relevant document at rank 37"));
}

/// Where the screenshots lie when the test is over, to be looked at.
fn keep(name: &str, png: &[u8]) {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, png).unwrap();
    let picture = image::open(&path).unwrap();
    assert!(picture.height() > 1000, "{}: the whole page", path.display());
    println!("screenshot: {}", path.display());
}

/// The texts of a column's cells from top to bottom.
fn column(browser: &Browser, number: usize) -> Vec<String> {
    let script = format!(
        "return [...document.querySelectorAll('#abilities table:not(.apart) tbody tr:not([hidden])')].map(r => r.cells[{number}].dataset.value)"
    );
    let values = browser.evaluate(&script);
    values.as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("report.html");
    fs::write(&path, page(true).0).unwrap();
    let url = format!("file://{}", path.display());
    browser.open(&url);

    sorts(&browser);
    filters(&browser);
    draws(&browser);

    browser.click("#failures details:not([open]) summary");
    // The list fills when the browser tells it that it is open, which takes a moment.
    let decoded = "return new Promise((done) => {
        const wait = () => document.querySelector('img[data-picture]') ? setTimeout(wait, 20) : done();
        wait();
    }).then(() => Promise.all([...document.images].map((image) => image.decode()))).then((all) => all.length)";
    let pictures = browser.evaluate(decoded);
    assert!(pictures.as_u64().unwrap() >= 15, "all pictures decode: {pictures}");
    let overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth";
    for (name, width, dark) in [("light", 1280, false), ("dark", 1280, true), ("narrow", 390, false)] {
        keep(&format!("report-{name}.png"), &browser.screenshot(width, dark));
        assert_eq!(browser.evaluate(overflow), 0, "{name}: the page does not scroll sideways");
    }

    assert!(browser.evaluate("return window.broken").is_null(), "no text became a script");
    assert_eq!(browser.log("browser"), Vec::<Value>::new(), "nothing on the console");
    let requests = requests(&browser, &url);
    assert!(requests.contains(&url), "requests are logged: {requests:?}");
    assert!(requests.iter().all(|asked| *asked == url || asked.starts_with("data:")), "{requests:?}");
}

/// A head is clicked, and clicked again.
fn sorts(browser: &Browser) {
    let head = |number: usize| format!("#abilities thead tr:last-child th:nth-child({number})");
    let sorted = |values: &[String]| {
        let numbers: Vec<f64> = values.iter().filter(|v| !v.is_empty()).map(|v| v.parse().unwrap()).collect();
        assert!(numbers.len() >= 16, "{values:?}");
        (numbers.is_sorted_by(|a, b| a >= b), numbers.is_sorted())
    };
    for (number, missing) in [(1, 1), (9, 1), (5, 1), (3, 0)] {
        let selector = head(number + 1);
        for expected in [(true, false), (false, true)] {
            browser.click(&format!("{selector} button"));
            let values = column(browser, number);
            assert_eq!(values.len(), 18);
            assert_eq!(sorted(&values), expected, "{values:?}");
            let empty = values.iter().rev().take_while(|value| value.is_empty()).count();
            assert_eq!(empty, missing, "what is missing stays below: {values:?}");
            let state = browser.evaluate(&format!("return document.querySelector('{selector}').ariaSort"));
            assert_eq!(state, if expected.0 { "descending" } else { "ascending" });
        }
    }
    browser.click(&format!("{} button", head(1)));
    let names = column(browser, 0);
    assert_eq!(names.first().map(String::as_str), Some("B3-7B"));
    // By the keyboard too.
    browser.evaluate(&format!("document.querySelector('{} button').focus()", head(2)));
    browser.type_into(&format!("{} button", head(2)), "\u{e007}");
    assert!(sorted(&column(browser, 1)).0);
}

fn filters(browser: &Browser) {
    browser.type_into("#filter", "gve");
    let mut names = column(browser, 0);
    names.sort();
    assert_eq!(names, ["GVE-3B", "GVE-7B"]);
    browser.evaluate("const f = document.getElementById('filter'); f.value = ''; f.dispatchEvent(new Event('input', {bubbles: true}))");
    browser.click("input[name=origin][value=yours]");
    assert_eq!(column(browser, 0).len(), 2);
    browser.click("input[name=origin][value=all]");
    assert_eq!(column(browser, 0).len(), 18);
}

/// Models are ticked and unticked.
fn draws(browser: &Browser) {
    let series = || {
        browser.evaluate(
            "return [...document.querySelectorAll('#radar [data-series]')].map(g => g.dataset.series)",
        )
    };
    let drawn = series();
    let names: Vec<_> = drawn.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(names, ["lab__video-embedder-7B@main", "lab__tiny@main", "GVE-7B"]);
    let edges = browser.evaluate("return [...document.querySelectorAll('#radar [data-series]')].map(g => g.querySelectorAll('line').length)");
    // LC, T, TXT and FG are missing, and CG rests on a part: CMP-VIS | S | PR keeps one of nine edges.
    assert_eq!(edges, serde_json::json!([9, 1, 9]));
    let apart = "return [...document.querySelectorAll('table.apart tbody tr')].map(r => r.dataset.model + ' ' + r.querySelectorAll('input').length)";
    let model = "lab__tiny@main 0";
    assert_eq!(
        browser.evaluate(apart),
        serde_json::json!([model, model]),
        "below each of the tables, to be seen alone"
    );
    let starred = "return [...document.querySelectorAll('table:not(.apart) tbody td')].filter(c => c.textContent.includes('*')).length";
    assert_eq!(browser.evaluate(starred), 0);
    browser.click("tr[data-model='CLIP4Clip'] input");
    assert_eq!(series().as_array().unwrap().len(), 4);
    assert_eq!(series()[3], "CLIP4Clip");
    browser.click("tr[data-model='CLIP4Clip'] input");
    assert_eq!(series().as_array().unwrap().len(), 3);
}

/// The addresses that the page at `url` asked for, its own first.
fn requests(browser: &Browser, url: &str) -> Vec<String> {
    let message = |entry: &Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
    let asked = |message: Value| {
        let event = &message["message"];
        // The browser's own start page asks for much.
        let ours = event["method"] == "Network.requestWillBeSent" && event["params"]["documentURL"] == url;
        ours.then(|| {
            event["params"]["request"]["url"].as_str().unwrap_or_default().chars().take(200).collect()
        })
    };
    browser.log("performance").iter().filter_map(message).filter_map(asked).collect()
}
