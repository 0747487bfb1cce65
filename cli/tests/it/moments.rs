//! Videos that are found by their moments.

use std::fs;
use std::path::Path;

use gve::TimeRange;
use gve::retrieval::Library;
use gve::video::{VideoEncoding, VideoWriter};
use gve_test_support::files::text;
use gve_test_support::golden::{media, model};
use gve_test_support::program::{assert_status, json_lines, stderr};
use image::{Rgb, RgbImage};
use serde_json::{Value, json};

use crate::program::gve;

fn index(clips: &Path, library: &Path, more: &[&str]) -> std::process::Output {
    let model = model();
    let always = ["index", text(clips), "--library", text(library), "--model", text(&model), "--json"];
    gve(&[&always[..], more].concat())
}

/// A folder with a video, a picture, and what is none.
fn clips(folder: &Path) -> std::path::PathBuf {
    let clips = folder.join("clips");
    fs::create_dir(&clips).unwrap();
    fs::copy(media("testsrc.mp4"), clips.join("clip.mp4")).unwrap();
    fs::copy(media("tiny.png"), clips.join("picture.png")).unwrap();
    clips
}

/// A moment has the embedding that its stretch of the file has by itself.
#[test]
fn moments_are_embedded_beside_the_whole_and_found() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, library) = (clips(folder.path()), folder.path().join("library"));
    let indexed = index(&clips, &library, &["--moments", "1.5:0.5"]);
    assert_status(&indexed, 0);
    assert_eq!(json_lines(&indexed)[0]["added"], 2, "files are counted, not rows");
    let opened = Library::open(&library).unwrap();
    let ranges: Vec<Option<(f64, f64)>> =
        opened.entries().iter().map(|entry| entry.time_range.and_then(TimeRange::bounds)).collect();
    let [whole, parts @ .., None] = &ranges[..] else { panic!("{ranges:?}") };
    let (_, end) = whole.unwrap();
    assert!(parts.len() > 1 && parts[0].unwrap().0 == 0.0, "{parts:?}");
    assert!((parts[parts.len() - 1].unwrap().1 - end).abs() < 0.1, "{parts:?} of {whole:?}");
    for pair in parts.windows(2) {
        let ((_, end), (start, _)) = (pair[0].unwrap(), pair[1].unwrap());
        assert!(start <= end, "a gap: {parts:?}");
    }

    let clip = clips.canonicalize().unwrap().join("clip.mp4");
    let lines: Vec<String> = parts
        .iter()
        .map(|range| {
            let (start, end) = range.unwrap();
            let part =
                json!({"type": "video", "video": clip, "start": start, "end": end, "clock": "display"});
            json!({"content": [part]}).to_string()
        })
        .collect();
    let input = folder.path().join("parts.jsonl");
    fs::write(&input, lines.join("\n")).unwrap();
    let embedded = gve(&["embed", "--model", text(&model()), "--input", text(&input)]);
    assert_status(&embedded, 0);
    for (line, row) in json_lines(&embedded).iter().zip(opened.embeddings().unwrap().outer_iter().skip(1)) {
        let alone: Vec<f32> = serde_json::from_value(line["embedding"].clone()).unwrap();
        assert!(row.iter().zip(&alone).all(|(a, b)| (a - b).abs() < 1e-5), "{row} {alone:?}");
    }

    let thumbnails = folder.path().join("found");
    let search = |more: &[&str]| {
        let output =
            gve(&[&["search", "--library", text(&library), "a red square", "--json"], more].concat());
        assert_status(&output, 0);
        json_lines(&output)
    };
    let videos = |hits: &[Value]| -> Vec<(f64, f64)> {
        let of = |hit: &Value| Some((hit["start"].as_f64()?, hit["end"].as_f64()?));
        hits.iter().filter_map(of).collect()
    };
    let best = videos(&search(&["--thumbnails", text(&thumbnails)]));
    assert!(best.len() == 1 && parts.contains(&Some(best[0])), "{best:?} of {parts:?}");
    assert_eq!(videos(&search(&["--files"])), [whole.unwrap()]);
    let every = videos(&search(&["--moments", "-k", "99"]));
    let covered = |time: f64| every.iter().any(|&(start, end)| start <= time && time <= end);
    assert!(parts.iter().all(|part| covered(part.unwrap().0) && covered(part.unwrap().1)), "{every:?}");
    let pictures = fs::read_dir(&thumbnails).unwrap().count();
    let first = image::open(thumbnails.join("001.jpg")).unwrap();
    assert!(pictures == 2 && first.width().max(first.height()) <= 480, "{pictures} {first:?}");

    // A second run has nothing to do, and one of another kind is refused.
    assert_eq!(json_lines(&index(&clips, &library, &["--moments", "1.5:0.5"]))[0]["unchanged"], 2);
    let other = index(&clips, &library, &[]);
    assert_status(&other, 1);
    assert!(stderr(&other).contains("moments"), "{}", stderr(&other));
}

/// A film of still scenes, each of its own colours, that meet at 3 and 7 seconds.
fn film(path: &Path) {
    let mut writer = VideoWriter::create(path, VideoEncoding::Ffv1, (64, 48), 8).unwrap();
    let scenes: [(u32, [u8; 3], u32); 3] =
        [(24, [200, 30, 30], 7), (32, [20, 160, 60], 11), (24, [40, 40, 220], 5)];
    for (frames, colour, stripes) in scenes {
        let scene = RgbImage::from_fn(64, 48, |x, y| {
            if (x / stripes + y / stripes) % 2 == 0 { Rgb(colour) } else { Rgb([235, 235, 225]) }
        });
        (0..frames).for_each(|_| writer.write(&scene).unwrap());
    }
    writer.finish().unwrap();
}

#[test]
fn shots_are_moments() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, library) = (folder.path().join("clips"), folder.path().join("library"));
    fs::create_dir(&clips).unwrap();
    film(&clips.join("film.mkv"));
    let said = index(&clips, &library, &["--moments", "shots", "--dry-run"]);
    assert_eq!(json_lines(&said)[0]["rows"], 4, "by the shots that a stretch of it has");
    assert_status(&index(&clips, &library, &["--moments", "shots"]), 0);
    let entries = Library::open(&library).unwrap().entries().to_vec();
    let ranges: Vec<(f64, f64)> =
        entries.iter().map(|entry| entry.time_range.and_then(TimeRange::bounds).unwrap()).collect();
    let expected = [(0.0, 10.0), (0.0, 3.0), (3.0, 7.0), (7.0, 10.0)];
    let near = |(a, b): &((f64, f64), (f64, f64))| (a.0 - b.0).abs() < 0.26 && (a.1 - b.1).abs() < 0.26;
    assert_eq!(ranges.len(), expected.len(), "{ranges:?}");
    assert!(ranges.iter().copied().zip(expected).all(|pair| near(&pair)), "{ranges:?}");
}

#[test]
fn what_no_video_can_be_cut_by_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, library) = (clips(folder.path()), folder.path().join("library"));
    for (moments, status, expected) in [
        ("ten", 1, "expected shots, 10 or 10:2"),
        ("10:6", 1, "half of 10 s"),
        ("0", 1, "must be a positive number"),
        ("inf", 1, "must be a positive number"),
        ("10:NaN", 1, "half of 10 s"),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let refused = index(&clips, &library, &[&["--moments", moments], more].concat());
            assert_status(&refused, status);
            assert!(stderr(&refused).contains(expected), "{moments}: {}", stderr(&refused));
        }
    }
    let refused = index(&clips, &library, &["--dry-run", "--prune"]);
    assert!(stderr(&refused).contains("cannot be used with"), "{}", stderr(&refused));
    assert!(!library.exists());
}

#[test]
fn a_dry_run_says_what_it_would_cost_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, library) = (clips(folder.path()), folder.path().join("library"));
    let cost = |more: &[&str]| {
        let output = index(&clips, &library, &[&["--dry-run"], more].concat());
        assert_status(&output, 0);
        json_lines(&output)[0].clone()
    };
    let plain = cost(&[]);
    assert_eq!((&plain["videos"], &plain["images"], &plain["rows"]), (&json!(1), &json!(1), &json!(2)));
    assert!(!library.exists());
    let cut = cost(&["--moments", "1"]);
    assert!(
        cut["rows"].as_u64() > plain["rows"].as_u64() && cut["tokens"].as_u64() > plain["tokens"].as_u64()
    );
    assert_eq!(cut["bytes"].as_u64().unwrap(), cut["rows"].as_u64().unwrap() * 64 * 4);
    let int8 = cost(&["--moments", "1", "--store-dtype", "int8"]);
    assert_eq!(int8["bytes"].as_u64().unwrap() * 4, cut["bytes"].as_u64().unwrap());
    assert_eq!((cut["probed"].as_u64(), cut["seconds"].as_f64() > Some(0.0)), (Some(2), true));

    assert_status(&index(&clips, &library, &["--moments", "1"]), 0);
    assert_eq!(cost(&["--moments", "1"])["rows"], 0, "all of it is there");
    let (overlapping, made) = (["--moments", "2:0.9"], folder.path().join("overlapping"));
    let dry = json_lines(&index(&clips, &made, &[&overlapping[..], &["--dry-run"]].concat()))[0].clone();
    assert_status(&index(&clips, &made, &overlapping), 0);
    assert_eq!(dry["rows"], Library::open(&made).unwrap().entries().len());
    let refused = index(&clips, &library, &["--moments", "1", "--store-dtype", "int8", "--dry-run"]);
    assert_status(&refused, 1);
    assert!(stderr(&refused).contains("keeps embeddings in f32"), "{}", stderr(&refused));
    let rows = Library::open(&library).unwrap().entries().len();
    assert_eq!(cut["rows"], rows, "what was said came true");
    let model = model();
    let words = |library: &Path, more: &[&str]| {
        let (library, model) = (text(library), text(&model));
        let plain = ["index", text(&clips), "--library", library, "--model", model, "--dry-run"];
        let said = gve(&[&plain, more].concat());
        String::from_utf8(said.stdout).unwrap()
    };
    assert_eq!(words(&library, &["--moments", "1"]), "nothing new to embed\n");
    let other = folder.path().join("other");
    let said = words(&other, &[]);
    assert!(said.starts_with("1 video (") && said.contains("by a probe of 2 files"), "{said}");
    // What will not be embedded costs nothing, and the rest is known all the same.
    fs::write(clips.join("picture.png"), "no picture").unwrap();
    let said = words(&other, &[]);
    assert!(said.contains("and 1 image: ") && said.ends_with("by a probe of 1 file\n"), "{said}");
}

#[test]
fn filters_say_which_files_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, library) = (clips(folder.path()), folder.path().join("library"));
    assert_status(&index(&clips, &library, &["--moments", "1"]), 0);
    let search = |more: &[&str]| {
        gve(&[&["search", "--library", text(&library), "a red square", "--json", "--moments"], more].concat())
    };
    let names = |more: &[&str]| -> Vec<String> {
        let output = search(more);
        assert_status(&output, 0);
        let name = |hit: &Value| hit["path"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let mut names: Vec<String> = json_lines(&output).iter().map(name).collect();
        names.sort();
        names.dedup();
        names
    };
    let (video, picture) = (vec!["clip.mp4".to_owned()], vec!["picture.png".to_owned()]);
    let both = [&video[..], &picture].concat();
    for (filters, expected) in [
        (&["--under", text(&clips)][..], &both),
        (&["--under", text(folder.path()), "--kind", "image"], &picture),
        (&["--named", "*.MP4"], &video),
        (&["--named", "*.mp4", "--kind", "image"], &Vec::new()),
        (&["--min-duration", "1"], &video),
        (&["--max-duration", "1"], &Vec::new()),
        (&["--modified-after", "2020-01-01", "--modified-before", "2999-12-31T23:59:59Z"], &both),
        (&["--modified-before", "2020-01-01"], &Vec::new()),
    ] {
        assert_eq!(&names(filters), expected, "{filters:?}");
        let said = stderr(&search(filters)).contains("no file of the library is what the filters ask for");
        assert_eq!(said, expected.is_empty(), "{filters:?}");
    }
    for (filter, expected) in
        [(["--modified-after", "yesterday"], "expected 2026-05-31"), (["--named", "[a"], "is no pattern")]
    {
        let refused = search(&filter);
        assert_status(&refused, 1);
        assert!(stderr(&refused).contains(expected), "{}", stderr(&refused));
    }
}
