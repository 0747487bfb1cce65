//! What is no pair, and what is said of it.

use super::*;

/// A format, a file by its ending, its text, and what is said.
const CASES: [(&str, &str, &str, &[&str]); 37] = [
    (
        "auto",
        "jsonl",
        "{\"a\": 1}\n",
        &["bad.jsonl:1: looks like no known format: it holds a; formats are pairs, "],
    ),
    (
        "auto",
        "jsonl",
        "{\"qry\": \"a\", \"pos_txt\": \"b\"}\n",
        &[":1: ", "holds pos_txt, qry; the nearest is vlm2vec, which wants `pos_text`"],
    ),
    (
        "auto",
        "jsonl",
        "{\"Anchor\": \"a\", \"Positives\": \"b\"}\n",
        &["the nearest is sentence-transformers", "`anchor` (it has `Anchor`)"],
    ),
    ("auto", "jsonl", "[1]\n", &[":1: a list where an object was expected"]),
    ("auto", "jsonl", "{\"anchor\": \n", &[":1: not JSON: EOF while parsing"]),
    (
        "auto",
        "jsonl",
        "{\"anchor\": \"a\", \"positive\": \"gone.mp4\"}\n",
        &["no pair of sentence-transformers: `positive` ", "gone.mp4 is not there; relative paths begin in "],
    ),
    (
        "auto",
        "jsonl",
        "{\"anchor\": \"a\", \"positive\": 7}\n",
        &["`positive` is a number, expected text or a path"],
    ),
    ("auto", "jsonl", "{\"anchor\": \"a\", \"positive\": \"\"}\n", &["`positive` is empty"]),
    (
        "auto",
        "jsonl",
        "{\"sentence1\": \"a\", \"sentence2\": \"b\", \"score\": \"high\"}\n",
        &["`score` is text, expected a number"],
    ),
    (
        "vlm2vec",
        "jsonl",
        "{\"anchor\": \"a\", \"positive\": \"b\"}\n",
        &["no pair of vlm2vec: `qry` is empty; it looks like sentence-transformers"],
    ),
    ("auto", "jsonl", "{\"messages\": [], \"positive_messages\": [[]]}\n", &["no pair of ms-swift: "]),
    (
        "auto",
        "jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"<image>\"}], \"positive_messages\": [[{\"role\": \"user\", \"content\": \"b\"}]]}\n",
        &["`messages` has no file for its <image>"],
    ),
    (
        "auto",
        "jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": [\"a\"]}], \"positive_messages\": [[]]}\n",
        &["`messages` has a part that is none of text, image and video with a `type`"],
    ),
    (
        "auto",
        "jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": 7}], \"positive_messages\": [[]]}\n",
        &["`messages` has a message without `content` as text or a list of parts"],
    ),
    (
        "auto",
        "jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image\", \"image\": \"gone.png\"}]}], \"positive_messages\": [[]]}\n",
        &["`messages` has a part that ", "gone.png is not there"],
    ),
    (
        "auto",
        "jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"video\"}]}], \"positive_messages\": [[]]}\n",
        &["`messages` has no file for its <video>"],
    ),
    (
        "auto",
        "jsonl",
        "{\"query\": \"a\", \"response\": \"b\", \"rejected_response\": [7]}\n",
        &["`rejected_response` holds a number"],
    ),
    (
        "auto",
        "jsonl",
        "{\"qry\": \"<|image_1|> a\", \"qry_image_path\": \"\", \"pos_text\": \"b\"}\n",
        &["`qry` has no file for its <|image_1|>"],
    ),
    (
        "auto",
        "json",
        "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}]}]",
        &["bad.json: entry 1: ", "no turn of human that is followed by one of gpt"],
    ),
    (
        "auto",
        "json",
        "[{\"conversations\": [{\"from\": \"cat\", \"value\": \"a\"}]}]",
        &["is from `cat`, expected human or gpt"],
    ),
    (
        "llava-captions",
        "json",
        "[{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": \"gpt\", \"value\": \"b\"}]}]",
        &["bad.json: entry 1: no pair of llava-captions: neither `image` nor `video` is there"],
    ),
    (
        "auto",
        "jsonl",
        "{\"file_name\": \"gone.png\", \"text\": \"a\"}\n",
        &["bad.jsonl:1: no pair of captions: ", "gone.png is not there; relative paths begin in "],
    ),
    (
        "captions",
        "jsonl",
        "{\"text\": \"a\"}\n",
        &["bad.jsonl:1: no pair of captions: none of video, video_path, ", ", path is there"],
    ),
    (
        "auto",
        "json",
        "{\"videos\": [], \"sentences\": [{\"video_id\": \"video9\", \"caption\": \"a\"}]}",
        &["entry 1: no pair of msr-vtt: ", "video9 is not there"],
    ),
    (
        "auto",
        "json",
        "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}], \"annotations\": [{\"image_id\": 2, \"caption\": \"a\"}, {\"image_id\": 1, \"caption\": \"b\"}]}",
        &[
            "bad.json: entry 1: no pair of coco: `image_id` is 2, and no image with a `file_name` has this `id`",
            "bad.json: entry 2: no pair of coco: ",
            "a.jpg is not there",
        ],
    ),
    (
        "auto",
        "json",
        "{\"images\": [{\"id\": 1, \"file_name\": \"a.jpg\"}], \"annotations\": [{\"image_id\": 1, \"bbox\": [0, 0, 1, 1]}]}",
        &["entry 1: looks like no known format: ", "the nearest is coco, which wants `caption`"],
    ),
    (
        "auto",
        "json",
        "[{\"video\": \"a\", \"description\": \"b\", \"times\": [[0, 0], [3, 3]]}]",
        &["no two of the 2 annotators name times that overlap"],
    ),
    (
        "auto",
        "json",
        "[{\"video\": \"a\", \"description\": \"b\", \"times\": [[0]]}]",
        &["`times` holds something else than pairs"],
    ),
    (
        "auto",
        "json",
        "{\"v_a\": {\"timestamps\": [[0, 1]], \"sentences\": []}}",
        &["bad.json: v_a: no pair of activitynet: "],
    ),
    (
        "auto",
        "json",
        "{\"a\": 1, \"b\": [2]}",
        &["bad.json: an object of a, b where a list of rows was expected"],
    ),
    (
        "auto",
        "json",
        "[{\"anchor\": \"a\"}",
        &["bad.json: entry 1: looks like no known format", "bad.json: not JSON: EOF"],
    ),
    (
        "webvid",
        "csv",
        "videoid,page_dir,name\n7,p,a\n8,p\n",
        &[
            "bad.csv:2: no pair of webvid: ",
            "p/7.mp4 is not there",
            "bad.csv:3: 2 cells, the first line names 3 columns",
        ],
    ),
    ("auto", "tsv", "anchor\tpositive\na\tb\tc\n", &["bad.tsv:2: 3 cells, the first line names 2 columns"]),
    ("auto", "csv", "anchor,anchor\na,b\n", &["bad.csv: two of its columns are called \"anchor\""]),
    (
        "auto",
        "jsonl.gz",
        "\u{1f}",
        &["bad.jsonl.gz: not known how rows are stored in it: expected JSON lines, ", "tar or tar.gz"],
    ),
    ("auto", "txt", "a pair\n", &["bad.txt: not known how rows are stored in it"]),
    (
        "pairs",
        "jsonl",
        "{\"task\": \"t2v\", \"query\": \"a\", \"positive\": \"b\"}\n",
        &["no pair of pairs: task t2v wants `positive` to hold video, it holds text"],
    ),
];

#[test]
fn each_row_that_is_no_pair_is_named() {
    for (format, ending, text, says) in CASES {
        let desk = Desk::new();
        let file = desk.write(&format!("bad.{ending}"), text);
        let output = desk.import(format, &[&file], &[]);
        assert_status(&output, 1);
        for part in says {
            assert!(stderr(&output).contains(part), "{part} is not in {}", stderr(&output));
        }
        assert!(!desk.path("pairs.jsonl").exists(), "{text}");
    }
}

/// Media of which nothing is said are named, with what was looked for.
#[test]
fn media_without_a_text_are_named() {
    let desk = Desk::new();
    let row = json!({"file_name": fixture("media/red.png"), "width": 64});
    let bare = desk.write("bare.jsonl", &format!("{row}\n"));
    let beside = |ending: &str| {
        format!("has no text beside its {ending}: none of txt, caption, text, captions, cls, title, json\n")
    };
    for (format, path, status, place, says) in [
        ("captions", bare, 1, "bare.jsonl:1", "none of caption, captions, text, texts, ".to_owned()),
        ("webdataset", fixture("shards/images-000001.tar"), 1, "tar: part/blue", beside("jpg")),
        ("folder", fixture("folder"), 2, "no_text.png", beside("png")),
    ] {
        let output = desk.import(format, &[&path], &["--dry-run"]);
        assert_status(&output, status);
        let says = format!("{place}: no pair of {format}: {says}");
        assert!(stderr(&output).contains(&says), "{says} is not in {}", stderr(&output));
    }
}

/// A negative of another kind than the positive is said, and the pair goes on without it.
#[test]
fn negatives_of_another_kind_are_left_out() {
    let desk = Desk::new();
    let (red, blue) = (fixture("media/red.png"), fixture("media/blue.png"));
    let row = json!({"anchor": "a", "positive": red, "negative_1": blue, "negative_2": "a street"});
    let output = desk.import("auto", &[&desk.write("mixed.jsonl", &format!("{row}\n"))], &[]);
    assert_status(&output, 0);
    let said = stderr(&output);
    let says = "mixed.jsonl:1: negative 2 is of another kind than the positive, and left out\n";
    assert!(said.contains(says) && said.contains(": 1 negative left out\n"), "{said}");
    assert_eq!((desk.tasks().as_str(), desk.pairs()[0].negatives.len()), ("t2i", 1));
}

/// Labels that are 0 or 1, however they are written, say by themselves what is a pair.
#[test]
fn labels_of_0_and_1_need_no_least_score() {
    let line = |label: Value| format!("{}\n", json!({"sentence1": "a", "sentence2": "b", "label": label}));
    let lines = |labels: [Value; 2]| labels.map(line).concat();
    for (name, text) in [
        ("whole.jsonl", lines([json!(1), json!(0)])),
        ("points.jsonl", lines([json!(1.0), json!(0.0)])),
        ("booleans.jsonl", lines([json!(true), json!(false)])),
        ("cells.csv", "sentence1,sentence2,label\na,b,1\na,c,0\n".to_owned()),
        ("words.csv", "sentence1,sentence2,label\na,b,True\na,c,False\n".to_owned()),
        ("unscored.csv", "sentence1,sentence2,score,label\na,b,,1\na,c,,0\n".to_owned()),
        ("cells.tsv", "sentence1\tsentence2\tlabel\na\tb\t1.0\na\tc\t0.0\n".to_owned()),
    ] {
        let desk = Desk::new();
        let output = desk.import("auto", &[&desk.write(name, &text)], &[]);
        assert_status(&output, 0);
        assert_eq!(desk.tasks(), "t2t", "{name}");
        let said = stderr(&output);
        assert!(said.contains(": 1 row passed over, by score") && !said.contains("refused"), "{said}");
    }
    for (name, text, says) in [
        ("between.jsonl", lines([json!(1), json!(0.7)]), "between.jsonl:2: has the label 0.7"),
        ("cells.csv", "sentence1,sentence2,label\na,b,0.7\n".to_owned(), "cells.csv:2: has the label 0.7"),
        ("classes.jsonl", lines([json!(2), json!(1)]), "classes.jsonl:1: has the label 2"),
    ] {
        let desk = Desk::new();
        let output = desk.import("auto", &[&desk.write(name, &text)], &[]);
        assert_status(&output, 1);
        let said = stderr(&output);
        assert!(said.contains(says) && said.contains("--min-score"), "{says} is not in {said}");
    }
}

#[test]
fn the_other_rows_go_on() {
    let desk = Desk::new();
    let good = json!({"anchor": "a", "positive": "b"});
    let text = format!("{good}\n{{\n\n{good}\n{}\n{good}\n", json!({"anchor": "a"}));
    let file = desk.write("some.jsonl", &text);
    let gone = desk.path("gone.jsonl");
    let output = desk.import("auto", &[&gone, &file], &["--source", "mine"]);
    assert_status(&output, 2);
    assert_eq!(desk.tasks(), "t2t t2t t2t");
    assert!(desk.pairs().iter().all(|pair| pair.source.as_deref() == Some("mine")));
    let said = stderr(&output);
    for part in [
        "gone.jsonl: ",
        "some.jsonl:2: not JSON",
        "some.jsonl:5: no pair of sentence-transformers: none of positive, ",
        "3 rows refused",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_is_missing_before_the_first_row_is_an_error() {
    let desk = Desk::new();
    let cases: [(&str, &str, &[&str], &[&str]); 7] = [
        ("auto", "columns/triplets.csv", &["--media", "nowhere"], &["/nowhere: is no folder"]),
        ("csvs", "columns/triplets.csv", &[], &["no format is called `csvs`: expected auto, pairs, "]),
        ("csv", "columns/triplets.csv", &[], &["how rows are stored is seen from the file"]),
        ("auto", "columns/scored.csv", &[], &["scored.csv:2: has the score 0.95", "--min-score"]),
        ("auto", "swift/cosine.jsonl", &[], &["cosine.jsonl:1: has the label 0.8"]),
        (
            "auto",
            "columns/scored.csv",
            &["--min-score", "nan"],
            &["'nan' for '--min-score <X>': expected a finite number"],
        ),
        ("auto", "columns/scored.csv", &["--min-score", "-inf"], &["'-inf' for '--min-score <X>': "]),
    ];
    for (format, file, more, says) in cases {
        let output = desk.import(format, &[&fixture(file)], more);
        assert_status(&output, 1);
        for part in says {
            assert!(stderr(&output).contains(part), "{part} is not in {}", stderr(&output));
        }
    }
    let output = gve(&["pairs", "import", "auto", fixture("columns/triplets.csv").to_str().unwrap()]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("--out"), "{}", stderr(&output));
    std::fs::create_dir(desk.path("empty")).unwrap();
    let output = desk.import("auto", &[&desk.path("empty")], &[]);
    assert_status(&output, 1);
    assert!(stderr(&output).contains("no rows of pairs were found"), "{}", stderr(&output));
}

/// A file of pairs that is there stays as it is until the new one is complete, and in a dry run.
#[test]
fn a_file_is_written_whole_or_not_at_all() {
    let desk = Desk::new();
    desk.write("pairs.jsonl", "old");
    let bad = desk.write("bad.jsonl", "{}\n");
    assert_status(&desk.import("auto", &[&bad], &[]), 1);
    assert_status(&desk.import("auto", &[&fixture("columns/triplets.csv")], &["--dry-run"]), 0);
    assert_status(
        &desk.import("auto", &[&fixture("columns/triplets.csv"), &fixture("columns/scored.csv")], &[]),
        1,
    );
    assert_eq!(std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap(), "old");
    assert_status(&desk.import("auto", &[&fixture("columns/triplets.csv")], &[]), 0);
    assert_eq!(desk.pairs().len(), 3);
    let names: Vec<_> =
        std::fs::read_dir(desk.folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

/// Lines of one's own may be short, and come out in full.
#[test]
fn short_lines_are_pairs() {
    let desk = Desk::new();
    let clip = fixture("media/red.mp4");
    let short = json!({"query": "a red ball", "positive": clip, "negatives": [fixture("media/blue.mp4")], "group": "g"});
    let file = desk.write("short.jsonl", &format!("{short}\n"));
    assert_status(&desk.import("pairs", &[&file], &[]), 0);
    let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
    let line: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((line["task"].as_str(), line["group"].as_str()), (Some("t2v"), Some("g")));
    assert_eq!(line["positive"]["content"][0]["video"], clip.display().to_string());
    // As they are, too.
    assert_eq!(Pair::from_json(&short.to_string(), Path::new("")).unwrap().negatives.len(), 1);
}

/// Files that are cut short, or are something else, are told by their names; what came before stays.
#[test]
fn damaged_files_are_named() {
    let desk = Desk::new();
    for (name, ending, says) in [
        ("columns/triplets.snappy.parquet", "parquet", "not a Parquet file: "),
        ("columns/triplets.zstd.parquet", "parquet", "not a Parquet file: "),
        ("columns/triplets.plain.arrow", "arrow", "rrow file"),
        ("columns/triplets.zstd.arrow", "arrow", "rrow file"),
        ("columns/triplets_on_disk/data-00000-of-00001.arrow", "arrow", "rrow file"),
        ("shards/videos-000000.tar", "tar", "no tar file, or damaged: "),
        ("packed/videos-000000.tar.gz", "tar.gz", "no tar file, or damaged: "),
    ] {
        let whole = std::fs::read(fixture(name)).unwrap();
        for bytes in [&whole[..whole.len() / 3], b"words, and more of them"] {
            let file = desk.path(&format!("cut.{ending}"));
            std::fs::write(&file, bytes).unwrap();
            let output = desk.import("auto", &[&file, &fixture("columns/triplets.csv")], &["--dry-run"]);
            assert_status(&output, 2);
            let said = stderr(&output);
            assert!(said.contains(&format!("cut.{ending}")) && said.contains(says), "{name}: {said}");
        }
    }
}

/// Parquet files say at their end what lies in them; damage before that is seen where pages are unpacked.
#[test]
fn damage_in_pages_is_named() {
    let desk = Desk::new();
    for (name, begin, says) in [
        ("triplets.zstd.parquet", b"\x28\xb5\x2f\xfd", "Unknown frame descriptor"),
        ("triplets.gzip.parquet", b"\x1f\x8b\x08\x00", "invalid gzip header"),
    ] {
        let mut bytes = std::fs::read(fixture("columns").join(name)).unwrap();
        let page = bytes.windows(begin.len()).position(|part| part == begin).unwrap();
        bytes[page..page + begin.len()].fill(0);
        let file = desk.path(name);
        std::fs::write(&file, bytes).unwrap();
        let output = desk.import("auto", &[&file, &fixture("columns/triplets.csv")], &["--dry-run"]);
        assert_status(&output, 2);
        let said = stderr(&output);
        assert!(said.contains(&format!("{name}: ")) && said.contains(says), "{said}");
        assert!(stdout(&output).contains("3 pairs of sentence-transformers"), "{}", stdout(&output));
    }
}

/// The sum at the end of a packed shard is looked at, and what is packed besides is told as such.
#[test]
fn damage_in_packed_files_is_seen() {
    let desk = Desk::new();
    let mut bytes = std::fs::read(fixture("packed/videos-000000.tar.gz")).unwrap();
    let lines = desk.path("train.jsonl.gz");
    std::fs::write(&lines, &bytes).unwrap();
    let output = desk.import("auto", &[&lines], &["--dry-run"]);
    assert_status(&output, 1);
    let said = stderr(&output);
    assert!(said.contains("train.jsonl.gz: packed with gzip: only tar files are read so"), "{said}");
    let sum = bytes.len() - 8;
    bytes[sum] ^= 1;
    let shard = desk.path("shard.tgz");
    std::fs::write(&shard, &bytes).unwrap();
    let output = desk.import("auto", &[&shard], &["--dry-run"]);
    assert_status(&output, 2);
    let said = stderr(&output);
    assert!(said.contains("shard.tgz: no tar file, or damaged: ") && said.contains("checksum"), "{said}");
}
