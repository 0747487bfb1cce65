//! Every format, imported and trained on.

use gve::Part;
use gve_test_support::golden::model;

use super::*;

/// Format, what it looks like unasked, file, further arguments, tasks of the pairs, and rows refused.
const FORMATS: [(&str, &str, &str, &[&str], &str, usize); 43] = [
    ("sentence-transformers", "", "columns/triplets.jsonl", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.csv", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists.jsonl", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored.jsonl", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored.csv", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/paths.jsonl", &[], "t2i t2i t2v", 0),
    ("sentence-transformers", "", "columns/paths.csv", &[], "t2i t2i t2v", 0),
    ("ms-swift", "", "swift/infonce.jsonl", &[], "t2t i2t ti2v t2v", 0),
    ("ms-swift", "", "swift/cosine.jsonl", &["--min-score", "0.2"], "t2t i2ti", 0),
    ("ms-swift", "", "swift/contrastive.jsonl", &[], "t2i", 0),
    ("ms-swift", "", "swift/parts.jsonl", &[], "t2i ti2v ti2v", 0),
    ("ms-swift", "", "swift/query_response.jsonl", &[], "t2t i2t t2v", 0),
    ("vlm2vec", "", "vlm2vec/mmeb.jsonl", &["--media", "."], "ti2t t2i", 0),
    ("vlm2vec", "", "vlm2vec/hard_negatives.jsonl", &["--media", "."], "t2i", 0),
    ("llava", "", "llava/conversations.json", &["--media", "media"], "ti2t ti2t ti2t t2t", 0),
    ("llava", "", "llava/videos.json", &["--media", "media"], "tv2t tv2t", 0),
    ("llava-captions", "llava", "llava/videos.json", &["--media", "media"], "t2v t2v", 0),
    ("coco", "", "coco/captions_train.json", &["--media", "media"], "t2i t2i t2i", 1),
    (
        "msr-vtt",
        "",
        "msrvtt/train_val_videodatainfo.json",
        &["--media", "msrvtt/videos", "--split", "train"],
        "t2v t2v t2v t2v",
        0,
    ),
    (
        "msr-vtt",
        "",
        "msrvtt/msrvtt_train_9k.json",
        &["--media", "msrvtt/videos"],
        "t2v t2v t2v t2v t2v t2v",
        0,
    ),
    ("didemo", "", "didemo/train_data.json", &["--media", "didemo/videos"], "t2v t2v t2v", 0),
    ("activitynet", "", "activitynet/train.json", &["--media", "activitynet/videos"], "t2v t2v t2v t2v", 0),
    ("webvid", "", "webvid/results_2M_train.csv", &["--media", "webvid/videos"], "t2v t2v t2v", 0),
    ("folder", "", "folder", &[], "t2v t2v t2v", 1),
    ("sentence-transformers", "", "columns/triplets.snappy.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.zstd.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.plain.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.lz4.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.zstd.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets_on_disk", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets_by_split", &["--split", "train"], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists.snappy.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists_on_disk", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored.zstd.parquet", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/paths.zstd.parquet", &[], "t2i t2i t2v", 0),
    ("sentence-transformers", "", "columns/images.snappy.parquet", &[], "t2i t2i t2i", 0),
    ("sentence-transformers", "", "columns/images_on_disk", &[], "t2i t2i t2i", 0),
    ("sentence-transformers", "", "columns/videos.zstd.parquet", &[], "t2v t2v t2v", 0),
    ("sentence-transformers", "", "columns/videos_on_disk", &[], "t2v t2v t2v", 0),
    ("webdataset", "", "shards/videos-000000.tar", &[], "t2v t2v", 0),
    ("webdataset", "", "shards", &[], "t2i t2i t2v t2v t2v", 1),
    ("webdataset", "", "packed/videos-000000.tar.gz", &[], "t2v t2v t2v", 0),
    ("webdataset", "", "packed", &[], "t2i t2i t2v t2v t2v", 1),
];

/// The arguments, with folders of fixtures in full.
fn arguments(more: &[&str]) -> Vec<String> {
    let mut is_folder = false;
    let full = more.iter().map(|argument| {
        let full = if is_folder { fixture(argument).display().to_string() } else { (*argument).to_owned() };
        is_folder = *argument == "--media";
        full
    });
    full.collect()
}

#[test]
fn every_format_is_known_by_its_look_and_read() {
    for (format, look, file, more, tasks, refused) in FORMATS {
        let more = arguments(more);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let status = if refused > 0 { 2 } else { 0 };
        for asked in [format, "auto"] {
            if asked == "auto" && !look.is_empty() {
                continue;
            }
            let desk = Desk::new();
            let output = desk.import(asked, &[&fixture(file)], &more);
            assert_status(&output, status);
            assert_eq!(desk.tasks(), tasks, "{file} as {asked}");
            let pairs = if tasks.contains(' ') { "pairs" } else { " 1 pair" };
            assert!(
                stdout(&output).lines().next().unwrap().ends_with(&format!("{pairs} of {format}")),
                "{}",
                stdout(&output)
            );
            for path in desk.pairs().iter().flat_map(Pair::files) {
                assert!(path.is_file(), "{}", path.display());
            }
        }
    }
}

/// Two pairs of each task that a format gives are trained on for two steps.
#[test]
fn what_was_imported_is_trained_on() {
    for (format, _, file, more, tasks, refused) in FORMATS {
        let more = arguments(more);
        let mut more: Vec<&str> = more.iter().map(String::as_str).collect();
        let desk = Desk::new();
        if format == "didemo" {
            // Its clips here are shorter than a segment.
            more.extend(["--limit", "1"]);
        }
        assert_status(&desk.import(format, &[&fixture(file)], &more), if refused > 0 { 2 } else { 0 });
        let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
        // A task of one pair is refused.
        desk.write("pairs.jsonl", &text.repeat(2));
        let config = format!(
            "output = \"run\"\nepochs = 1\nsteps_per_epoch = 2\n[model]\npath = {:?}\ndevice = \"cpu\"\nframes = 2\ntokens_per_frame = 4\n\
             [lora]\nr = 2\n[data]\npairs = [\"pairs.jsonl\"]\n[batch]\nsize = 2\n[curriculum]\nsampler = \"uniform\"\n[log]\ntensorboard = false\n",
            model().display().to_string()
        );
        let config = desk.write("train.toml", &config);
        let output = gve(&["train", config.to_str().unwrap(), "--quiet"]);
        assert_status(&output, 0);
        let log = std::fs::read_to_string(desk.path("run/log.jsonl")).unwrap();
        assert_eq!(log.matches("\"event\":\"step\"").count(), 2, "{file}: {tasks}");
    }
}

fn texts_and_files(pair: &Pair) -> String {
    let side = |input: &gve::Input| {
        let parts = input.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Image(image) => {
                image.source.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned()
            }
            Part::Video(video) => {
                let name = video.source.path().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
                let range = video.range.bounds().map(|(start, end)| format!("@{start}-{end}"));
                name + &range.unwrap_or_default()
            }
            _ => "?".to_owned(),
        });
        let instruction = input.instruction.as_ref().map(|text| format!("[{text}] ")).unwrap_or_default();
        instruction + &parts.collect::<Vec<_>>().join(" + ")
    };
    let negatives: String =
        pair.negatives.iter().map(|negative| format!(" | not {}", side(negative))).collect();
    format!("{} | {}{negatives}", side(&pair.query), side(&pair.positive))
}

/// What the rows say arrives, each thing in its place.
#[test]
fn pairs_say_what_the_rows_say() {
    let cases: [(&str, &[&str], &[&str]); 13] = [
        (
            "columns/triplets.csv",
            &[],
            &[
                "a red ball rolls | the ball is red and rolls | not a blue ball rolls | not a red ball rests",
                "a quoted, \"comma\" line | two\nlines | not naïve café | not 球",
                "a green ball | something green | not something red",
            ],
        ),
        (
            "columns/lists.jsonl",
            &["--instruction", "Find it."],
            &[
                "[Find it.] what rolls | the red ball | not the wall | not the ground | not the sky",
                "[Find it.] what rolls | the blue ball | not the wall | not the ground | not the sky",
                "[Find it.] what is green | the green ball",
            ],
        ),
        (
            "swift/infonce.jsonl",
            &[],
            &[
                "a red ball | the ball is red",
                "red.png | a red ball",
                "red.png + now it rolls | red.mp4 | not blue.mp4",
                "[Find the clip.] a green ball rolls | green.mp4",
            ],
        ),
        (
            "swift/parts.jsonl",
            &[],
            &[
                "a red ball | red.png | not blue.png",
                "red.png + now it rolls | red.mp4",
                "[Find the clip.] green.png + moves | green.mp4",
            ],
        ),
        (
            "coco/captions_train.json",
            &["--media", "media"],
            &[
                "A red ball on a pale ground. | red.jpg",
                "A green ball. | green.jpg",
                "Something round and red. | red.jpg",
            ],
        ),
        (
            "swift/query_response.jsonl",
            &[],
            &[
                "a red ball | the ball is red | not a blue ball | not a street",
                "red.png | a red ball",
                "a red ball rolls | red.mp4",
            ],
        ),
        (
            "vlm2vec/mmeb.jsonl",
            &["--media", "."],
            &[
                "red.png + Find a caption for the picture. | A red ball. | not A blue ball.",
                "Find a picture that matches the caption.\na green ball | [Represent the given image.] green.jpg",
            ],
        ),
        (
            "llava/conversations.json",
            &["--media", "media"],
            &[
                "red.png + What is to be seen? | A red ball on a pale ground.",
                "Describe the picture. + green.jpg | A green ball.",
                "green.jpg + Which colour is it? | Green.",
                "What rolls? | A ball does.",
            ],
        ),
        (
            "msrvtt/train_val_videodatainfo.json",
            &["--media", "msrvtt/videos", "--split", "validate"],
            &["a blue ball rolls | video2.mp4", "the small blue ball rolls | video2.mp4"],
        ),
        (
            "didemo/train_data.json",
            &["--media", "didemo/videos"],
            &[
                "the red ball starts to roll | 10000001@N00_2000000001_aa00000001.mp4@0-5",
                "the red ball is at the right | 10000001@N00_2000000001_aa00000001.mp4@25-30",
                "the green ball rolls slowly | 10000002@N00_2000000002_aa00000002.mp4@5-15",
            ],
        ),
        (
            "activitynet/train.json",
            &["--media", "activitynet/videos", "--limit", "2"],
            &[
                "A red ball lies at the left. | v_aaaaaaaaa01.mp4@0-0.75",
                "The red ball rolls to the right. | v_aaaaaaaaa01.mp4@0.5-2",
            ],
        ),
        (
            "webvid/results_2M_train.csv",
            &["--media", "webvid/videos", "--limit", "1"],
            &["A red ball, rolling - on a pale ground | 1001.mp4"],
        ),
        ("folder", &["--limit", "1"], &["a green ball rolls to the right | green.mp4"]),
    ];
    for (file, more, expected) in cases {
        let more = arguments(more);
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let desk = Desk::new();
        desk.import("auto", &[&fixture(file)], &more);
        let said: Vec<String> = desk.pairs().iter().map(texts_and_files).collect();
        assert_eq!(said, expected, "{file}");
    }
}

/// Shards say the same whether they are packed or not, and pairs have the name without its endings.
#[test]
fn packed_shards_are_as_others() {
    let read = |names: &[&str]| {
        let desk = Desk::new();
        let files: Vec<PathBuf> = names.iter().map(|name| fixture(name)).collect();
        desk.import("auto", &files.iter().map(PathBuf::as_path).collect::<Vec<_>>(), &[]);
        let said: Vec<String> = desk.pairs().iter().map(texts_and_files).collect();
        (said, desk.pairs().remove(0).source)
    };
    let source = |name: &str| Some(name.to_owned());
    let (said, of) = read(&["shards/videos-000000.tar", "shards/videos-000001.tar"]);
    assert_eq!((said.len(), of), (3, source("videos-000000")));
    assert_eq!(read(&["packed/videos-000000.tar.gz"]), (said.clone(), source("videos-000000")));
    // Whatever the name says.
    let desk = Desk::new();
    let dry = desk.import("auto", &[&fixture("packed/videos-000000.tar.gz")], &["--dry-run"]);
    assert_status(&dry, 0);
    assert!(stdout(&dry).contains("3 pairs") && !desk.path("pairs.media").exists(), "{}", stdout(&dry));
    let plain = desk.path("plain.tar");
    std::fs::copy(fixture("packed/videos-000000.tar.gz"), &plain).unwrap();
    assert_status(&desk.import("auto", &[&plain], &[]), 0);
    assert_eq!(desk.pairs().iter().map(texts_and_files).collect::<Vec<_>>(), said);
}

/// A folder with its pairs and media may be moved.
#[test]
fn paths_beneath_the_pairs_are_relative() {
    let desk = Desk::new();
    std::fs::create_dir_all(desk.path("videos/7")).unwrap();
    std::fs::copy(fixture("media/red.mp4"), desk.path("videos/7/red.mp4")).unwrap();
    let table = desk.write("web.csv", "videoid,page_dir,name\nred,7,a red ball\n");
    let videos = desk.path("videos");
    // Where nothing lies, so that the shard's are left.
    std::fs::create_dir(desk.path("empty")).unwrap();
    let empty = desk.path("empty");
    let sources: [&Path; 2] = [&table, &fixture("shards/videos-000000.tar")];
    let shards = desk.import("auto", &sources, &["--media", empty.to_str().unwrap()]);
    assert_status(&shards, 2);
    let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
    assert_eq!(text.matches(r#""video":"pairs.media/"#).count(), 2, "{text}");
    assert_status(&desk.import("webvid", &[&table], &["--media", videos.to_str().unwrap()]), 0);
    let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
    assert!(text.contains(r#""video":"videos/7/red.mp4""#) && text.contains(r#""source":"web""#), "{text}");
}
