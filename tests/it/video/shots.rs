//! Shots of files whose cuts are known.

use super::clips::{Clip, make};
use gve::video::{
    MomentLengths, ShotOptions, Shots, Transition, VideoEncoding, VideoError, VideoReader, VideoWriter, shots,
};
use gve::{CancelToken, Random};
use gve_test_support::skip;
use image::{Rgb, RgbImage, imageops};
use std::path::Path;
use tempfile::TempDir;

const SIZE: (u32, u32) = (96, 54);
const FPS: u32 = 25;
/// How far a boundary may be off, in seconds.
const NEAR: f64 = 0.1;
/// The same for what takes time.
const NEAR_GRADUAL: f64 = 0.25;

/// Patches of colours around one of their own, wider than the picture so that a camera can move over them.
fn scene(seed: u64) -> RgbImage {
    let mut random = Random::derived(seed, &[3]);
    let tone: [usize; 3] = std::array::from_fn(|_| 30 + random.below(100));
    let patches = RgbImage::from_fn(40, 6, |_, _| Rgb(tone.map(|tone| (tone + random.below(90)) as u8)));
    imageops::resize(&patches, SIZE.0 * 4, SIZE.1, imageops::FilterType::Triangle)
}

/// What a camera sees of a scene that has moved so many pixels.
fn seen(scene: &RgbImage, left: f64) -> RgbImage {
    imageops::crop_imm(scene, left as u32 % (SIZE.0 * 3), 0, SIZE.0, SIZE.1).to_image()
}

fn mixed(a: &RgbImage, b: &RgbImage, share: f64) -> RgbImage {
    let mut mixed = a.clone();
    for (a, b) in mixed.iter_mut().zip(b.iter()) {
        *a = (f64::from(*a) * (1.0 - share) + f64::from(*b) * share) as u8;
    }
    mixed
}

fn plain(value: u8) -> RgbImage {
    RgbImage::from_pixel(SIZE.0, SIZE.1, Rgb([value; 3]))
}

/// Writes what `picture` shows at each time. `None`, with a printed reason, without the encoder.
fn write(path: &Path, seconds: f64, picture: impl Fn(f64) -> RgbImage) -> Option<()> {
    let mut writer = match VideoWriter::create(path, VideoEncoding::H264 { crf: 23 }, SIZE, FPS) {
        Err(error @ VideoError::Encoder { .. }) => {
            skip(&format!("no video can be written: {error}"));
            return None;
        }
        created => created.expect("is created"),
    };
    for frame in 0..(seconds * f64::from(FPS)).round() as u32 {
        writer.write(&picture(f64::from(frame) / f64::from(FPS))).expect("is written");
    }
    writer.finish().expect("is finished");
    Some(())
}

fn shots_of(path: &Path) -> Shots {
    let mut reader = VideoReader::open(path).expect("opens");
    let found = shots(&mut reader, &ShotOptions::default(), &CancelToken::new()).expect("has shots");
    assert_eq!(found.duration_seconds, reader.metadata().duration_seconds);
    found
}

fn assert_boundaries(found: &Shots, expected: &[(f64, Transition)]) {
    let is_right = |(found, expected): (&gve::video::ShotBoundary, &(f64, Transition))| {
        let near = if expected.1 == Transition::Cut { NEAR } else { NEAR_GRADUAL };
        (found.seconds - expected.0).abs() <= near && found.transition == expected.1
    };
    let all = found.boundaries.iter().zip(expected).all(is_right);
    assert!(all && found.boundaries.len() == expected.len(), "{found:?} instead of {expected:?}");
}

/// Shots of 1 to 3 s in which the camera moves, one with photo flashes; the times of the cuts.
fn twenty_scenes(path: &Path) -> Option<Vec<f64>> {
    let mut random = Random::new(11);
    let mut starts = vec![0.0];
    for _ in 0..20 {
        let frames = FPS + random.below(2 * FPS as usize) as u32;
        starts.push(starts[starts.len() - 1] + f64::from(frames) / f64::from(FPS));
    }
    let scenes: Vec<_> = (0..20).map(scene).collect();
    write(path, starts[20], |t| {
        let shot = starts.partition_point(|start| *start <= t + 1e-6) - 1;
        let since = t - starts[shot];
        let picture = seen(&scenes[shot], since * (shot % 5) as f64 * 20.0);
        let flash = shot % 4 == 3 && ((0.4..0.47).contains(&since) || (0.8..0.83).contains(&since));
        if flash { mixed(&picture, &plain(255), 0.8) } else { picture }
    })?;
    Some(starts)
}

#[test]
fn twenty_scenes_have_nineteen_cuts() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("scenes.mp4");
    let Some(starts) = twenty_scenes(&path) else {
        return;
    };
    let found = shots_of(&path);
    let expected: Vec<_> = starts[1..20].iter().map(|start| (*start, Transition::Cut)).collect();
    assert_boundaries(&found, &expected);
    let moments = found.moments(MomentLengths::default()).expect("moments");
    assert_eq!(moments[moments.len() - 1].end_seconds, Some(found.duration_seconds));

    // What is left of a file that breaks off has the cuts it had.
    let input = ["-i", path.to_str().expect("UTF-8")].map(String::from);
    let Some(clip) = make("front.mp4", &input, "-c copy -movflags +faststart") else {
        return;
    };
    let bytes = std::fs::read(&clip.path).expect("reads");
    std::fs::write(&clip.path, &bytes[..bytes.len() * 6 / 10]).expect("writes");
    let found = shots_of(&clip.path);
    let inside = expected.partition_point(|cut| cut.0 < found.duration_seconds - NEAR);
    assert!((4..19).contains(&inside), "{inside} cuts in {} s", found.duration_seconds);
    assert_boundaries(&found, &expected[..inside]);
}

#[test]
fn gradual_transitions_are_found_in_their_middle() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("gradual.mp4");
    let scenes: Vec<_> = (30..34).map(scene).collect();
    let black = plain(0);
    let written = write(&path, 16.0, |t| {
        let picture = |shot: usize| seen(&scenes[shot], t * 4.0);
        match t {
            // Through black around 4 s, with half a second of it.
            _ if t < 4.0 => mixed(&black, &picture(0), ((3.75 - t) / 0.75).clamp(0.0, 1.0)),
            _ if t < 6.0 => mixed(&black, &picture(1), ((t - 4.25) / 0.75).clamp(0.0, 1.0)),
            // Over each other from 7.5 s to 8.5 s.
            _ if t < 10.0 => mixed(&picture(1), &picture(2), (t - 7.5).clamp(0.0, 1.0)),
            _ if t < 12.0 => picture(2),
            _ => picture(3),
        }
    });
    if written.is_some() {
        let expected = [(4.0, Transition::Fade), (8.0, Transition::Dissolve), (12.0, Transition::Cut)];
        assert_boundaries(&shots_of(&path), &expected);
    }
}

#[test]
fn one_shot_stays_one() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let place = scene(40);
    let pictures: [(&str, f64, &dyn Fn(f64) -> RgbImage); 4] = [
        ("one frame", 0.04, &|_| seen(&place, 0.0)),
        ("still", 3.0, &|_| seen(&place, 0.0)),
        ("pan", 4.0, &|t| seen(&place, 70.0 * t)),
        ("noise", 4.0, &|t| {
            let mut random = Random::new((t * 1000.0) as u64);
            let patches = RgbImage::from_fn(12, 7, |_, _| Rgb([random.below(256) as u8; 3]));
            imageops::resize(&patches, SIZE.0, SIZE.1, imageops::FilterType::Nearest)
        }),
    ];
    for (name, seconds, picture) in pictures {
        let path = directory.path().join(format!("{name}.mp4"));
        if write(&path, seconds, picture).is_some() {
            let found = shots_of(&path);
            assert_eq!(found.boundaries, [], "{name}");
            assert_eq!(found.ranges().count(), 1);
        }
    }
}

/// A clip whose frames 0 to 24 are shown for 0.04 s each and those after for 0.5 s, with cuts at frames 20
/// and 35.
fn variable() -> Option<(Clip, TempDir)> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("constant.mp4");
    let scenes: Vec<_> = (50..53).map(scene).collect();
    write(&path, 2.0, |t| {
        let frame = (t * f64::from(FPS)).round() as usize;
        seen(&scenes[usize::from(frame >= 20) + usize::from(frame >= 35)], 0.0)
    })?;
    let input = ["-i", path.to_str().expect("UTF-8")].map(String::from);
    let times =
        "-vf setpts='if(lt(N,25),N*0.04,1+(N-25)*0.5)/TB' -vsync passthrough -c:v libx264 -g 10 -bf 2";
    Some((make("variable.mkv", &input, times)?, directory))
}

#[test]
fn times_are_those_of_the_container() {
    let Some((clip, _directory)) = variable() else {
        return;
    };
    let found = shots_of(&clip.path);
    assert_boundaries(&found, &[(0.8, Transition::Cut), (6.0, Transition::Cut)]);
    // Between frames half a second apart, nothing is left to guess.
    assert!((found.boundaries[1].seconds - 6.0).abs() < 0.002, "{found:?}");
}

#[test]
fn what_cannot_be_is_refused_and_who_asks_to_stop_is_heard() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("clip.mp4");
    if write(&path, 1.0, |_| plain(90)).is_none() {
        return;
    }
    let mut reader = VideoReader::open(&path).expect("opens");
    let table = [
        (
            ShotOptions::default().with_fps(0.0),
            "the frames to look at in a second must be a positive number, got 0",
        ),
        (
            ShotOptions::default().with_threshold(1.5),
            "the least strength of a boundary must be 0 to 1, got 1.5",
        ),
    ];
    for (options, expected) in table {
        let line = shots(&mut reader, &options, &CancelToken::new()).expect_err("is refused").to_string();
        assert!(line.contains(expected), "{line}");
    }
    let cancel = CancelToken::new();
    cancel.cancel();
    let stopped = shots(&mut reader, &ShotOptions::default(), &cancel);
    assert!(matches!(stopped, Err(VideoError::Cancelled)), "{stopped:?}");
}
