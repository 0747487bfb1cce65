//! `gve pairs check`.

use gve_test_support::program::json_lines;

use super::*;

/// Lines of pairs, one of each fault, with `copy.mp4` that is `red.mp4` by another name.
fn desk() -> (Desk, PathBuf) {
    let desk = Desk::new();
    for (name, from) in [
        ("red.mp4", "red.mp4"),
        ("copy.mp4", "red.mp4"),
        ("blue.mp4", "blue.mp4"),
        ("green.png", "green.png"),
    ] {
        std::fs::copy(fixture("media").join(from), desk.path(name)).unwrap();
    }
    let lines = [
        json!({"query": "a red ball rolls", "positive": "red.mp4", "source": "one", "negatives": ["blue.mp4"]}),
        json!({"query": "A red ball, rolls!", "positive": "copy.mp4", "source": "two"}),
        json!({"query": "a red ball rolls", "positive": "blue.mp4"}),
        json!({"query": "a blue ball", "positive": "blue.mp4", "negatives": ["blue.mp4"]}),
        json!({"query": "the green ball lies there", "positive": "green.png"}),
        json!({"task": "t2v", "query": "a", "positive": {"content": [{"type": "video", "video": "gone.mp4"}]}}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = desk.write("pairs.jsonl", &(text + "{\n"));
    (desk, file)
}

#[test]
fn what_is_wrong_is_counted_and_named() {
    let (desk, file) = desk();
    std::fs::create_dir_all(desk.path("benchmark/videos")).unwrap();
    std::fs::copy(desk.path("blue.mp4"), desk.path("benchmark/videos/v1.mp4")).unwrap();
    let queries = json!({"id": "q1", "text": "The GREEN ball lies there."});
    desk.write(
        "benchmark/jsonl/queries.jsonl",
        &format!("{queries}\n{}\n", json!({"id": "q2", "text": "a"})),
    );
    let held_out = desk.path("benchmark");
    let output =
        gve(&["pairs", "check", file.to_str().unwrap(), "--held-out", held_out.to_str().unwrap(), "--json"]);
    assert_status(&output, 2);
    let counts = &json_lines(&output)[0];
    assert_eq!((counts["pairs"].as_u64(), counts["media"].as_u64()), (Some(6), Some(3)));
    assert_eq!(counts["tasks"]["t2v"], json!({"pairs": 5, "negatives": 2}));
    assert_eq!(counts["sources"]["two"], json!({"pairs": 1, "negatives": 0}));
    let findings =
        json!({"not readable": 1, "missing media": 1, "duplicates": 1, "contradictions": 2, "held out": 4});
    assert_eq!(counts["findings"], findings, "{}", stderr(&output));
    for part in [
        "pairs.jsonl:1: a negative holds ",
        "blue.mp4, which is ",
        "pairs.jsonl:2: the same query and positive as ",
        "pairs.jsonl:3: its positive is a negative of the same query in ",
        "pairs.jsonl:4: its negative 1 is its positive",
        "pairs.jsonl:5: its query holds the text \"the green ball lies there\" of ",
        "pairs.jsonl:6: ",
        "gone.mp4 is not there",
        "pairs.jsonl:7: not a training pair",
    ] {
        assert!(stderr(&output).contains(part), "{part} is not in {}", stderr(&output));
    }
    std::fs::create_dir_all(desk.path("bare")).unwrap();
    desk.write("bare/names.txt", "two words\n");
    for (name, said) in [("benchmrk", "cannot find "), ("bare", "bare: nothing to compare with")] {
        let held_out = desk.path(name);
        let output =
            gve(&["pairs", "check", file.to_str().unwrap(), "--held-out", held_out.to_str().unwrap()]);
        assert_status(&output, 1);
        assert!(stderr(&output).contains(said) && stdout(&output).is_empty(), "{}", stderr(&output));
    }
    let output = gve(&["pairs", "check", file.to_str().unwrap()]);
    assert!(stdout(&output).contains("6 pairs, 3 different media") && !stdout(&output).contains("held out"));
}

#[test]
fn pairs_without_a_fault_end_well() {
    let desk = Desk::new();
    assert_status(&desk.import("auto", &[&fixture("columns/videos.zstd.parquet")], &[]), 0);
    let file = desk.path("pairs.jsonl");
    let output = gve(&["pairs", "check", file.to_str().unwrap()]);
    assert_status(&output, 0);
    assert!(stdout(&output).starts_with("3 pairs, 3 different media\n"), "{}", stdout(&output));
    let empty = desk.write("empty.jsonl", "");
    assert_status(&gve(&["pairs", "check", empty.to_str().unwrap()]), 1);
    assert_status(&gve(&["pairs", "check", desk.path("gone.jsonl").to_str().unwrap()]), 1);
}

#[test]
fn what_cannot_be_decoded_is_named_when_that_is_asked_for() {
    let desk = Desk::new();
    let cut = |name: &str, from: &str| {
        let whole = std::fs::read(fixture("media").join(from)).unwrap();
        std::fs::write(desk.path(name), &whole[..whole.len() / 2]).unwrap();
    };
    cut("half.mp4.mp4", "red.mp4");
    cut("half.png", "green.png");
    std::fs::copy(fixture("media").join("red.mp4"), desk.path("red.mp4")).unwrap();
    // A copy whose path is the beginning of the other.
    std::fs::copy(desk.path("half.mp4.mp4"), desk.path("half.mp4")).unwrap();
    let video = |start: f64| json!({"content": [{"type": "video", "video": "red.mp4", "start": start}]});
    let lines = [
        json!({"query": "a red ball", "positive": "red.mp4", "negatives": ["half.mp4.mp4"]}),
        json!({"query": "half a red ball", "positive": "half.mp4.mp4"}),
        json!({"query": "half a green ball", "positive": "half.png"}),
        json!({"query": "much later", "positive": video(3600.0)}),
        json!({"task": "t2v", "query": "not there", "positive": {"content": [{"type": "video", "video": "gone.mp4"}]}}),
        json!({"query": "half a ball again", "positive": "half.mp4"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let file = desk.write("pairs.jsonl", &text);
    let check = |more: &[&str]| gve(&[&["pairs", "check", file.to_str().unwrap(), "--json"], more].concat());
    let findings = |output: &Output| json_lines(output)[0]["findings"].clone();

    let compared = check(&[]);
    assert!(!stderr(&compared).contains("half"), "{}", stderr(&compared));
    assert_eq!(findings(&compared)["damaged media"], Value::Null);

    let decoded = check(&["--decode"]);
    assert_status(&decoded, 2);
    assert_eq!(findings(&decoded)["damaged media"], 5, "{}", stderr(&decoded));
    assert_eq!(findings(&decoded)["missing media"], 1);
    let said = stderr(&decoded);
    for (line, file) in
        [(1, "half.mp4.mp4: "), (2, "half.mp4.mp4: "), (3, "half.png"), (4, "red.mp4"), (6, "half.mp4: ")]
    {
        let place = format!("pairs.jsonl:{line}: ");
        let is = |said: &&str| said.contains(&place) && said.contains(file);
        assert_eq!(said.lines().filter(is).count(), 1, "{place}{file} in {said}");
    }
}

#[test]
fn a_page_shows_examples_and_needs_nothing_else() {
    let (desk, file) = desk();
    let page = |name: &str, more: &[&str]| {
        let path = desk.path(name);
        let mut arguments = vec!["pairs", "check", file.to_str().unwrap(), "--page", path.to_str().unwrap()];
        arguments.extend(more);
        assert_status(&gve(&arguments), 2);
        std::fs::read_to_string(path).unwrap()
    };
    let all = page("look.html", &[]);
    for part in [
        "<h2>t2v</h2>",
        "<h2>t2i</h2>",
        "data:image/jpeg;base64,",
        "a red ball rolls",
        "is its positive",
        "blue.mp4",
    ] {
        assert!(all.contains(part), "{part}");
    }
    assert!(!all.contains("http:") && !all.contains("https:") && !all.contains("<script"));
    assert_eq!(all.matches("<article>").count(), 6);
    let (one, again) = (
        page("1.html", &["--examples", "2", "--seed", "3"]),
        page("2.html", &["--examples", "2", "--seed", "3"]),
    );
    assert_eq!((one.matches("<article>").count(), &one), (3, &again));
    let shown = |seed: u64| page("3.html", &["--examples", "2", "--seed", &seed.to_string()]);
    assert!((4..12).any(|seed| shown(seed) != one), "the choice is of the seed");
}

/// Pairs to evaluate on name their media, which lie elsewhere.
#[test]
fn the_media_of_pairs_that_are_held_out_are_compared() {
    let desk = Desk::new();
    for name in ["train.mp4", "other.mp4", "held/out.mp4"] {
        std::fs::create_dir_all(desk.path("held")).unwrap();
        let from = if name == "other.mp4" { "blue.mp4" } else { "red.mp4" };
        std::fs::copy(fixture("media").join(from), desk.path(name)).unwrap();
    }
    let line = |query: &str, positive: &str| format!("{}\n", json!({"query": query, "positive": positive}));
    let train = line("a red ball", "train.mp4") + &line("a blue ball", "other.mp4");
    let train = desk.write("train.jsonl", &train);
    let held_out = line("something that rolls", "held/out.mp4") + &line("another", "other.mp4");
    let held_out = desk.write("eval.jsonl", &held_out);
    let output = gve(&["pairs", "check", train.to_str().unwrap(), "--held-out", held_out.to_str().unwrap()]);
    assert_status(&output, 2);
    assert!(stdout(&output).contains("compared with 2 media"), "{}", stdout(&output));
    let said = stderr(&output);
    for part in ["train.jsonl:1: its positive holds ", "out.mp4\n", "other.mp4, which is held out\n"] {
        assert!(said.contains(part), "{part} is not in {said}");
    }
}
