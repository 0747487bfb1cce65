//! Damaged files give what they can, and say what they could not.

use super::clips::{SAME_PICTURE, decode_all, difference, frames, make, source};
use gve::video::{VideoError, VideoReader, Warning};
use std::fs;

const FAST_START: &str = "-c:v libx264 -g 10 -bf 2 -movflags +faststart -pix_fmt yuv420p";

#[test]
fn a_file_cut_short_gives_the_frames_it_has() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 4.0), FAST_START) else {
        return;
    };
    let whole = decode_all(&clip.path, (320, 180));
    let bytes = fs::read(&clip.path).expect("reads");
    fs::write(&clip.path, &bytes[..bytes.len() * 6 / 10]).expect("writes");
    let mut reader = VideoReader::open(&clip.path).expect("opens");
    let total = reader.metadata().frames;
    assert!((30..90).contains(&total), "{total} frames");
    let cut = Warning::Truncated { expected_frames: Some(100), found_frames: total };
    assert!(reader.warnings().contains(&cut), "{:?}", reader.warnings());
    let order = [0, total / 2, total - 1];
    let found = frames(&mut reader, &order);
    for (frame, index) in found.iter().zip(order).take(2) {
        assert!(difference(frame.image.as_raw(), &whole[index]) < SAME_PICTURE, "frame {index}");
    }
    assert_eq!(found[2].index, total - 1);
}

/// Overwrites the packets of some frames (a 12-frame intra-only stream, so that packet i is frame i).
fn damaged_intra(frames_hit: std::ops::Range<usize>) -> Option<(super::clips::Clip, Vec<Vec<u8>>)> {
    let clip = make("a.avi", &source("320x180", "12", 1.0), "-c:v mjpeg -q:v 3")?;
    let whole = decode_all(&clip.path, (320, 180));
    let mut bytes = fs::read(&clip.path).expect("reads");
    let starts: Vec<usize> =
        (0..bytes.len() - 4).filter(|&at| bytes[at..].starts_with(&[0xff, 0xd8, 0xff])).collect();
    assert_eq!(starts.len(), 12);
    for &start in &starts[frames_hit] {
        bytes[start..start + 700].fill(0x55);
    }
    fs::write(&clip.path, bytes).expect("writes");
    Some((clip, whole))
}

#[test]
fn the_nearest_earlier_frame_stands_in_for_damaged_ones() {
    for (hit, expected) in [(5..7, [4, 4, 4, 7, 3]), (10..12, [4, 5, 6, 7, 3])] {
        let Some((clip, whole)) = damaged_intra(hit.clone()) else {
            return;
        };
        let mut reader = VideoReader::open(&clip.path).expect("opens");
        assert_eq!(reader.metadata().frames, 12);
        let order = [4, 5, 6, 7, 3];
        for (frame, (asked, shown)) in frames(&mut reader, &order).iter().zip(order.iter().zip(expected)) {
            assert_eq!(frame.index, *asked);
            assert!(difference(frame.image.as_raw(), &whole[shown]) < SAME_PICTURE, "frame {asked}");
        }
        let tail = frames(&mut reader, &[11]);
        let last = if hit.end == 12 { 9 } else { 11 };
        assert!(difference(tail[0].image.as_raw(), &whole[last]) < SAME_PICTURE);
        let stand_ins: Vec<_> = reader
            .warnings()
            .iter()
            .map(|warning| match warning {
                Warning::Substituted { index, stand_in, .. } => (*index, *stand_in),
                other => panic!("{other}"),
            })
            .collect();
        assert_eq!(stand_ins, if hit.end == 12 { vec![(11, 9)] } else { vec![(5, 4), (6, 4)] });
    }
}

#[test]
fn without_an_earlier_frame_the_first_later_one_stands_in() {
    let Some((clip, whole)) = damaged_intra(0..3) else {
        return;
    };
    let mut reader = VideoReader::open(&clip.path).expect("opens");
    let first = frames(&mut reader, &[0]);
    assert!(difference(first[0].image.as_raw(), &whole[3]) < SAME_PICTURE);
    assert!(
        matches!(reader.warnings(), [Warning::Substituted { index: 0, stand_in: 3, .. }]),
        "{:?}",
        reader.warnings()
    );
}

#[test]
fn a_stream_without_a_decodable_frame_is_an_error() {
    let Some((clip, _)) = damaged_intra(0..12) else {
        return;
    };
    let error = match VideoReader::open(&clip.path) {
        Ok(mut reader) => reader.frames(&[3]).next().expect("an answer").expect_err("nothing decodes"),
        Err(error) => error,
    };
    assert!(matches!(error, VideoError::NothingDecodable { packets: 12, .. }), "{error}");
}

#[test]
fn noise_in_the_middle_never_ends_the_run() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 4.0), FAST_START) else {
        return;
    };
    let whole = decode_all(&clip.path, (320, 180));
    let mut bytes = fs::read(&clip.path).expect("reads");
    let (from, to) = (bytes.len() * 5 / 10, bytes.len() * 6 / 10);
    bytes[from..to].iter_mut().enumerate().for_each(|(i, byte)| *byte = ((i * 151) >> 3) as u8);
    fs::write(&clip.path, bytes).expect("writes");
    let mut reader = VideoReader::open(&clip.path).expect("opens");
    let order: Vec<usize> = (0..100).collect();
    let found = frames(&mut reader, &order);
    assert_eq!(found.len(), 100);
    for index in [0, 10, 25, 99] {
        assert!(difference(found[index].image.as_raw(), &whole[index]) < SAME_PICTURE, "frame {index}");
    }
    assert!(!reader.warnings().is_empty());
}
