//! Files that are no videos, each with one clear line.

use super::clips::{make, source};
use gve::video::{Limits, VideoError, VideoOptions, VideoReader};
use std::{fs, path::Path};

fn refusal(path: &Path) -> VideoError {
    match VideoReader::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => {
            let line = error.to_string();
            assert!(line.starts_with(&path.display().to_string()), "{line}");
            assert!(!line.contains('\n'), "{line}");
            error
        }
    }
}

/// Bytes without a pattern, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn files_that_are_no_videos_are_named_for_what_they_are() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let table: [(&str, Vec<u8>, &str); 6] = [
        ("empty.mp4", vec![], "the file is empty (0 bytes)"),
        ("noise.mp4", noise(60_000), "not a video file: the bytes match no known container"),
        ("text.mp4", b"just a few words\n".repeat(50), "not a video file: the file holds text"),
        ("short.mp4", b"x".to_vec(), "not a video file: the file holds text"),
        ("zeros.mkv", vec![0; 40_000], "not a video file: the file holds zeros"),
        (
            "ftyp.mp4",
            b"\0\0\0\x20ftypisom\0\0\x02\0isomiso2avc1mp41\0\0\0\x08free".to_vec(),
            "without a usable moov atom",
        ),
    ];
    for (name, bytes, expected) in table {
        let path = directory.path().join(name);
        fs::write(&path, bytes).expect("writes");
        let line = refusal(&path).to_string();
        assert!(line.contains(expected), "{line}");
    }
    let missing = directory.path().join("missing.mp4");
    assert!(matches!(refusal(&missing), VideoError::NotFound { .. }));
    assert!(refusal(directory.path()).to_string().ends_with("is a directory, expected a video file"));
}

#[test]
fn sound_without_pictures_is_told_apart() {
    let tone = ["-f", "lavfi", "-i", "sine=d=1"].map(String::from);
    if let Some(clip) = make("tone.wav", &tone, "") {
        assert!(refusal(&clip.path).to_string().ends_with("no video stream (1 audio stream found)"));
    }
    if let Some(clip) = make("tone.m4a", &tone, "-c:a aac") {
        assert!(refusal(&clip.path).to_string().ends_with("no video stream (1 audio stream found)"));
    }
    let mut with_cover = tone.to_vec();
    with_cover.extend(source("64x64", "1", 1.0));
    if let Some(clip) =
        make("tone.mp3", &with_cover, "-map 0 -map 1 -c:v png -disposition:v attached_pic -frames:v 1")
    {
        let line = refusal(&clip.path).to_string();
        assert!(line.ends_with("no video stream (1 audio stream, 1 cover picture found)"), "{line}");
    }
}

#[test]
fn an_mp4_cut_before_its_moov_atom_says_so() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 1.0), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let bytes = fs::read(&clip.path).expect("reads");
    fs::write(&clip.path, &bytes[..bytes.len() / 2]).expect("writes");
    let line = refusal(&clip.path).to_string();
    assert!(line.contains("without a usable moov atom"), "{line}");
}

#[test]
fn names_are_not_patterns_or_addresses() {
    let Some(clip) = make("a.mp4", &source("64x64", "25", 0.2), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    for name in ["http:colon.mp4", "per%03dcent.mp4", "-dash.mp4", "pipe:0", "space and \u{e9}.mp4"] {
        let path = clip.path.with_file_name(name);
        fs::copy(&clip.path, &path).expect("copies");
        assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 5, "{name}");
    }
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        let path = clip.path.with_file_name(std::ffi::OsStr::from_bytes(b"\xff\xfe.mp4"));
        fs::copy(&clip.path, &path).expect("copies");
        assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 5);
    }
}

#[test]
fn limits_are_errors_of_their_own() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 1.0), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let defaults = Limits::default();
    let table = [
        (Limits { max_frames: 24, ..defaults }, "frames: at least 25, limit is 24"),
        (Limits { max_pixels: 57_599, ..defaults }, "pixels a frame: 57600, limit is 57599"),
        (Limits { max_bytes: 100, ..defaults }, "limit is 100"),
    ];
    for (limits, expected) in table {
        let options = VideoOptions { limits, ..VideoOptions::default() };
        let error = VideoReader::open_with(&clip.path, options).err().expect("a limit is broken");
        assert!(matches!(error, VideoError::Limit { .. }));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let just = Limits { max_frames: 25, max_pixels: 57_600, ..defaults };
    assert!(
        VideoReader::open_with(&clip.path, VideoOptions { limits: just, ..VideoOptions::default() }).is_ok()
    );
}
