//! Versions of videos, and where a clip is from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use gve::Random;
use gve::video::{VideoEncoding, VideoWriter};
use gve_test_support::files::text;
use gve_test_support::golden::media;
use gve_test_support::program::{assert_status, json_lines, stderr, stdout};
use gve_test_support::skip;
use image::{Rgb, RgbImage};
use serde_json::Value;

use crate::program::gve;

/// A film of rectangles that move, all of its own.
fn film(path: &Path, seed: u32, seconds: u32) {
    let mut writer = VideoWriter::create(path, VideoEncoding::Ffv1, (160, 120), 12).unwrap();
    for frame in 0..seconds * 12 {
        let shot = frame / 36;
        let mut picture = RgbImage::from_pixel(160, 120, Rgb([70, 90, 110]));
        for thing in 0..9 {
            // Every number of its own, or two films would be one, shifted.
            let draw = |what: u32| {
                let key = [seed, shot, thing, what].map(u64::from);
                (Random::derived(9, &key).unit() * 1000.0) as u32
            };
            let tone = [0, 1, 2].map(|channel| (draw(channel) / 4) as u8);
            let (left, top) = (draw(3) * 160 / 1000 + draw(5) % 5 * (frame % 36) / 3, draw(4) * 120 / 1000);
            for (x, y) in (0..18 + draw(6) / 30).flat_map(|x| (0..14 + draw(7) / 40).map(move |y| (x, y))) {
                let (x, y) = ((left + x) % 160, (top + y) % 120);
                picture.put_pixel(x, y, Rgb(tone));
            }
        }
        writer.write(&picture).unwrap();
    }
    writer.finish().unwrap();
}

/// What the `ffmpeg` program makes of a film; false where there is no such program.
fn version(from: &Path, to: &Path, arguments: &[&str]) -> bool {
    let always = ["-loglevel", "error", "-nostdin", "-i", text(from)];
    match Command::new("ffmpeg").args([&always[..], arguments, &[text(to)]].concat()).output() {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            skip(&String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            skip(&format!("no ffmpeg: {error}"));
            false
        }
    }
}

fn names(group: &Value) -> Vec<String> {
    let members = group["members"].as_array().unwrap().iter();
    let name = |member: &Value| {
        let path = PathBuf::from(member["path"].as_str().unwrap());
        path.file_stem().unwrap().to_str().unwrap().to_owned()
    };
    members.map(name).collect()
}

#[test]
fn versions_are_grouped_and_a_cut_is_located() {
    let folder = tempfile::tempdir().unwrap();
    let (clips, cache) = (folder.path().join("clips"), folder.path().join("cache"));
    fs::create_dir(&clips).unwrap();
    let (source, other) = (clips.join("source.mkv"), clips.join("other.mkv"));
    film(&source, 1, 12);
    film(&other, 2, 12);
    let small = ["-c:v", "mpeg4", "-q:v", "6"];
    let versions: [(&str, &[&str]); 10] = [
        ("small.avi", &["-vf", "scale=80:60"]),
        ("crop.avi", &["-vf", "crop=128:96:20:10"]),
        ("letterbox.avi", &["-vf", "pad=160:180:0:30"]),
        ("border.avi", &["-vf", "pad=184:152:10:16:white"]),
        ("logo.avi", &["-vf", "drawbox=120:6:32:16:red:fill"]),
        ("mirrored.avi", &["-vf", "hflip"]),
        ("fast.avi", &["-vf", "setpts=PTS/1.25"]),
        ("cut.avi", &["-ss", "4.5", "-t", "5"]),
        ("grey.avi", &["-vf", "hue=s=0,eq=brightness=0.05:contrast=0.8"]),
        ("rate.avi", &["-r", "8"]),
    ];
    for (name, arguments) in versions {
        if !version(&source, &clips.join(name), &[arguments, &small].concat()) {
            return;
        }
    }
    fs::write(clips.join("broken.mp4"), "not a video").unwrap();
    // Another name of a file is no copy of it.
    fs::hard_link(&source, clips.join("zz-linked.mkv")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&source, clips.join("a-link.mkv")).unwrap();

    let find = || gve(&["duplicates", text(&clips), "--cache", text(&cache), "--json"]);
    let found = find();
    assert_status(&found, 2);
    assert!(stderr(&found).contains("broken.mp4"), "{}", stderr(&found));
    let groups = json_lines(&found);
    assert_eq!(groups.len(), 1, "{groups:?}");
    let best = &groups[0]["members"][0];
    assert!(best["codec"].is_string() && best["duration"].as_f64() > Some(9.0), "{best}");
    let mut members = names(&groups[0]);
    // Borders make others larger, but show no more.
    assert!(!["border", "letterbox"].contains(&members[0].as_str()), "{members:?}");
    members.sort();
    assert_eq!(
        members,
        ["border", "crop", "cut", "fast", "grey", "letterbox", "logo", "mirrored", "rate", "small", "source"]
    );
    let kept = fs::read_dir(&cache).unwrap().count();
    assert_eq!(kept, 12);
    assert_eq!(stdout(&find()), stdout(&found), "what was kept says the same");

    // Where nothing can be kept, it is looked at all the same.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let unkept = gve(&["duplicates", text(&clips), "--cache", text(&file), "--json"]);
    assert_status(&unkept, 2);
    assert_eq!(stdout(&unkept), stdout(&found));
    assert!(stderr(&unkept).contains("what files look like is not kept"), "{}", stderr(&unkept));

    let shown = gve(&["duplicates", text(&clips)]);
    for expected in ["11 versions", "mirrored", "x as fast", "cropped", "of the first"] {
        assert!(stdout(&shown).contains(expected), "{expected}: {}", stdout(&shown));
    }

    let cut = folder.path().join("cut.avi");
    fs::rename(clips.join("cut.avi"), &cut).unwrap();
    fs::remove_file(clips.join("broken.mp4")).unwrap();
    let located = gve(&["locate", text(&cut), text(&source), text(&other), "--json"]);
    assert_status(&located, 0);
    let lines = json_lines(&located);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0]["path"].as_str().unwrap().ends_with("source.mkv"));
    let range = &lines[0]["ranges"][0];
    let near = |key: &str, seconds: f64| (range[key].as_f64().unwrap() - seconds).abs() < 0.5;
    assert!(
        near("start", 4.5) && near("end", 9.5) && near("of_start", 0.0) && near("of_end", 5.0),
        "{range}"
    );

    // A file that is another now is looked at again.
    fs::copy(&other, clips.join("rate.avi")).unwrap();
    let again = find();
    assert_status(&again, 0);
    let groups = json_lines(&again);
    assert!(groups.iter().any(|group| names(group) == ["other", "rate"]), "{groups:?}");
}

#[test]
fn what_is_nowhere_is_not_located() {
    let located = gve(&["locate", text(&media("bunny.mp4")), text(&media("testsrc.mp4"))]);
    assert_status(&located, 1);
    assert_eq!(stdout(&located), "");
    let said = stderr(&located);
    assert!(said.lines().any(|line| line.ends_with("bunny.mp4 is in none of 1 other file")), "{said}");
    let missing = gve(&["locate", "nowhere.mp4", text(&media("testsrc.mp4"))]);
    assert_status(&missing, 1);
    assert!(stderr(&missing).contains("nowhere.mp4"), "{}", stderr(&missing));
    let folder = tempfile::tempdir().unwrap();
    fs::copy(media("bunny.mp4"), folder.path().join("only.mp4")).unwrap();
    let several = gve(&["locate", text(folder.path()), text(&media("testsrc.mp4"))]);
    assert_status(&several, 1);
    assert!(stderr(&several).contains("is a folder, expected one clip"), "{}", stderr(&several));
    let same = gve(&["locate", text(&media("bunny.mp4")), text(&media("bunny.mp4"))]);
    assert_status(&same, 1);
}

#[test]
fn where_there_is_nothing_to_compare_that_is_all_that_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let (empty, clip) = (text(folder.path()), media("bunny.mp4"));
    let compared = gve(&["duplicates", empty]);
    assert_status(&compared, 0);
    assert_eq!(stdout(&compared), "");
    assert_eq!(stderr(&compared), "gve: nothing was found to compare\n");
    assert_eq!(stderr(&gve(&["duplicates", empty, "--quiet"])), "");

    let missing = folder.path().join("nothere");
    for (place, expected) in [(text(&missing), "nothere"), (empty, "no other file was found to look for ")] {
        let located = gve(&["locate", text(&clip), place]);
        assert_status(&located, 1);
        let said = stderr(&located);
        assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
    }
}
