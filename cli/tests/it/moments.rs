//! Videos that are found by their moments.

use std::fs;
use std::path::Path;

use gve::TimeRange;
use gve::retrieval::Library;
use gve_test_support::files::text;
use gve_test_support::golden::{media, model};
use gve_test_support::program::{assert_status, json_lines, stderr};
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
            let part = json!({"type": "video", "video": clip, "start": start, "end": end});
            json!({"content": [part]}).to_string()
        })
        .collect();
    let input = folder.path().join("parts.jsonl");
    fs::write(&input, lines.join("\n")).unwrap();
    let embedded = gve(&["embed", "--model", text(&model()), "--input", text(&input)]);
    assert_status(&embedded, 0);
    for (line, row) in json_lines(&embedded).iter().zip(opened.embeddings().outer_iter().skip(1)) {
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
    assert_eq!(videos(&search(&["--moments", "-k", "99"])), [whole.unwrap()], "all of them are neighbours");
    let pictures = fs::read_dir(&thumbnails).unwrap().count();
    let first = image::open(thumbnails.join("001.jpg")).unwrap();
    assert!(pictures == 2 && first.width().max(first.height()) <= 480, "{pictures} {first:?}");

    // A second run has nothing to do, and one of another kind is refused.
    assert_eq!(json_lines(&index(&clips, &library, &["--moments", "1.5:0.5"]))[0]["unchanged"], 2);
    let other = index(&clips, &library, &[]);
    assert_status(&other, 1);
    assert!(stderr(&other).contains("moments"), "{}", stderr(&other));
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
    ] {
        let refused = index(&clips, &library, &["--moments", moments]);
        assert_status(&refused, status);
        assert!(stderr(&refused).contains(expected), "{moments}: {}", stderr(&refused));
    }
}
