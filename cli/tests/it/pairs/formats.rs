//! Every format, imported and trained on.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use gve::Part;
use gve_test_support::golden::model;

use super::*;

/// Format, what it looks like unasked, file, further arguments, tasks of the pairs, and rows refused.
const FORMATS: [(&str, &str, &str, &[&str], &str, usize); 60] = [
    ("sentence-transformers", "", "columns/triplets.jsonl", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.csv", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.tsv", &[], "t2t t2t t2t", 0),
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
    ("vlm2vec", "", "vlm2vec/videos.jsonl", &["--media", "."], "tv2t t2v t2v", 0),
    ("llava", "", "llava/conversations.json", &["--media", "media"], "ti2t ti2t ti2t t2t", 0),
    ("llava", "", "llava/conversations.jsonl", &["--media", "media"], "ti2t", 0),
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
    ("didemo", "", "didemo/train_data.json", &["--media", "didemo/half_minute"], "t2v t2v t2v", 0),
    ("activitynet", "", "activitynet/train.json", &["--media", "activitynet/videos"], "t2v t2v t2v t2v", 0),
    ("webvid", "", "webvid/results_2M_train.csv", &["--media", "webvid/videos"], "t2v t2v t2v", 0),
    ("folder", "", "folder", &[], "t2v t2v t2v", 1),
    ("captions", "", "captions/images/metadata.csv", &[], "t2i t2i", 0),
    ("captions", "", "captions/images", &[], "t2i t2i", 0),
    ("captions", "", "captions/videos/metadata.jsonl", &[], "t2v t2v t2v", 0),
    ("captions", "", "didemo/didemo_ret_train.json", &["--media", "didemo/videos"], "t2v t2v t2v t2v", 0),
    ("sentence-transformers", "", "columns/triplets.snappy.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.zstd.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.gzip.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.lz4.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.plain.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.lz4.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets.zstd.arrow", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets_on_disk", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/triplets_by_split", &["--split", "train"], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists.snappy.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists.zstd.parquet", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/lists_on_disk", &[], "t2t t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored.snappy.parquet", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored.zstd.parquet", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/scored_on_disk", &["--min-score", "0.3"], "t2t t2t", 0),
    ("sentence-transformers", "", "columns/paths.snappy.parquet", &[], "t2i t2i t2v", 0),
    ("sentence-transformers", "", "columns/paths.zstd.parquet", &[], "t2i t2i t2v", 0),
    ("sentence-transformers", "", "columns/paths_on_disk", &["--media", "columns"], "t2i t2i t2v", 0),
    ("sentence-transformers", "", "columns/images.snappy.parquet", &[], "t2i t2i t2i", 0),
    ("sentence-transformers", "", "columns/images.zstd.parquet", &[], "t2i t2i t2i", 0),
    ("sentence-transformers", "", "columns/images_on_disk", &[], "t2i t2i t2i", 0),
    ("sentence-transformers", "", "columns/videos.snappy.parquet", &[], "t2v t2v t2v", 0),
    ("sentence-transformers", "", "columns/videos.zstd.parquet", &[], "t2v t2v t2v", 0),
    ("sentence-transformers", "", "columns/videos_on_disk", &[], "t2v t2v t2v", 0),
    ("webdataset", "", "shards/videos-000000.tar", &[], "t2v t2v", 0),
    ("webdataset", "", "shards", &[], "t2i t2i t2v t2v t2v", 1),
    ("webdataset", "", "packed/videos-000000.tar.gz", &[], "t2v t2v t2v", 0),
    ("webdataset", "", "packed/images-000000.tgz", &[], "t2i t2i", 1),
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

/// What comes of a file of the fixtures, as a format.
fn import(desk: &Desk, format: &str, file: &str, more: &[&str]) -> Output {
    let more = arguments(more);
    let more: Vec<&str> = more.iter().map(String::as_str).collect();
    desk.import(format, &[&fixture(file)], &more)
}

#[test]
fn every_format_is_known_by_its_look_and_read() {
    for (format, look, file, more, tasks, refused) in FORMATS {
        let status = if refused > 0 { 2 } else { 0 };
        for asked in [format, "auto"] {
            if asked == "auto" && !look.is_empty() {
                continue;
            }
            let desk = Desk::new();
            let output = import(&desk, asked, file, more);
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

/// Rows are the same pairs in every kind of file that they lie in.
#[test]
fn kinds_of_files_make_no_difference() {
    let mut known = BTreeMap::new();
    for (format, _, file, more, ..) in FORMATS {
        let Some(name) = file.strip_prefix("columns/") else { continue };
        let desk = Desk::new();
        assert_status(&import(&desk, format, file, &[more, &["--source", "rows"]].concat()), 0);
        let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
        let first = known.entry(name.split(['.', '_']).next()).or_insert_with(|| text.clone());
        assert_eq!(*first, text, "{file}");
    }
    assert_eq!(known.len(), 6, "{known:?}");
}

/// The pairs on a desk by task, without where they are from. Where all of a task share their query or their
/// positive, which teaches nothing, there is another one besides.
fn to_be_told_apart(desk: &Desk) -> BTreeMap<String, Vec<Value>> {
    let text = std::fs::read_to_string(desk.path("pairs.jsonl")).unwrap();
    let mut tasks: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for line in text.lines() {
        let mut pair: Value = serde_json::from_str(line).unwrap();
        pair.as_object_mut().unwrap().remove("source");
        tasks.entry(pair["task"].as_str().unwrap().to_owned()).or_default().push(pair);
    }
    for pairs in tasks.values_mut() {
        let first = pairs[0].clone();
        if ["query", "positive"].iter().any(|side| pairs.iter().all(|pair| pair[side] == first[side])) {
            pairs.push(another(first, desk));
        }
    }
    tasks
}

/// A pair with other texts and files in the same places.
fn another(mut pair: Value, desk: &Desk) -> Value {
    pair.as_object_mut().unwrap().remove("negatives");
    for side in ["query", "positive"] {
        for part in pair[side]["content"].as_array_mut().unwrap() {
            let kind = part["type"].as_str().unwrap().to_owned();
            let held = part[&kind].as_str().unwrap();
            let other = match kind.as_str() {
                "text" => json!(format!("another {held}")),
                _ => json!(of_another_colour(&desk.path(held))),
            };
            part[&kind] = other;
        }
    }
    pair
}

fn of_another_colour(path: &Path) -> PathBuf {
    let (ending, bytes) = (path.extension().unwrap().to_str().unwrap(), std::fs::read(path).unwrap());
    let all = ["red", "green", "blue"].map(|colour| fixture(&format!("media/{colour}.{ending}")));
    all.into_iter().find(|other| std::fs::read(other).unwrap() != bytes).unwrap()
}

/// Whether each of the factors that are zero before the first step is not any more.
fn has_moved(adapter: &Path) -> bool {
    let tensors = candle_core::safetensors::load(adapter, &candle_core::Device::Cpu).unwrap();
    let mut factors = tensors.iter().filter(|(name, _)| name.contains("lora_B")).map(|(_, factor)| {
        let values: Vec<f32> = factor.flatten_all().unwrap().to_vec1().unwrap();
        values.iter().any(|value| *value != 0.0)
    });
    factors.next() == Some(true) && factors.all(|has_moved| has_moved)
}

/// With this seed, the first draws among two, three or four tasks are of each of them once.
const SEED: u64 = 18;

/// Each task of each format is trained on, in batches of all its pairs, which are to be told apart. Pairs
/// that come of several files alike are trained on once.
#[test]
fn what_was_imported_is_trained_on() {
    let mut known = HashSet::new();
    for (format, _, file, more, tasks, refused) in FORMATS {
        let desk = Desk::new();
        assert_status(&import(&desk, format, file, more), if refused > 0 { 2 } else { 0 });
        let pairs = to_be_told_apart(&desk);
        let text: String = pairs.values().flatten().map(|pair| format!("{pair}\n")).collect();
        desk.write("pairs.jsonl", &text);
        if !known.insert(text) {
            continue;
        }
        let tasks: BTreeSet<&str> = tasks.split(' ').collect();
        let steps = tasks.len().max(2);
        let config = format!(
            "output = \"run\"\nepochs = 1\nsteps_per_epoch = {steps}\nseed = {SEED}\n[model]\npath = {:?}\ndevice = \"cpu\"\n\
             frames = 2\ntokens_per_frame = 4\n[lora]\nr = 2\n[data]\npairs = [\"pairs.jsonl\"]\n[batch]\nsize = 16\n\
             [curriculum]\nsampler = \"uniform\"\n[log]\ntensorboard = false\n",
            model().display().to_string()
        );
        let config = desk.write("train.toml", &config);
        assert_status(&gve(&["train", config.to_str().unwrap(), "--quiet"]), 0);
        let log = std::fs::read_to_string(desk.path("run/log.jsonl")).unwrap();
        let log: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let log: Vec<&Value> = log.iter().filter(|entry| entry["event"] == "step").collect();
        assert_eq!(log.len(), steps, "{file}");
        let trained: BTreeSet<&str> = log.iter().map(|step| step["tasks"][0].as_str().unwrap()).collect();
        assert_eq!(trained, tasks, "{file}");
        for step in log {
            let is_positive = |key: &str| step[key].as_f64().is_some_and(|x| x > 0.0 && x.is_finite());
            assert!(is_positive("loss") && is_positive("gradient_norm"), "{file}: {step}");
        }
        assert!(has_moved(&desk.path("run/final/adapter_model.safetensors")), "{file}");
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
    let cases: [(&str, &[&str], &[&str]); 16] = [
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
            "vlm2vec/videos.jsonl",
            &["--media", "."],
            &[
                "green.mp4 + What happens? | A green ball rolls. | not A green ball rests.",
                "Find a video that matches the caption.\na red ball rolls | [Represent the given video.] red.mp4 \
                 | not [Represent the given video.] blue.mp4",
                "[Find the clip.] a blue ball rolls | blue.mp4",
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
            "llava/conversations.jsonl",
            &["--media", "media"],
            &["red.png + blue.png + What is different? | The colour of the ball."],
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
        ("captions/images", &[], &["a red ball on a pale ground | red.png", "a ball, green | green.jpg"]),
        ("folder", &["--limit", "1"], &["a green ball rolls to the right | green.mp4"]),
    ];
    for (file, more, expected) in cases {
        let desk = Desk::new();
        import(&desk, "auto", file, more);
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
