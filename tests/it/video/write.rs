//! Videos written and read back.

use super::clips::{SAME_PICTURE, difference, frames};
use gve::video::{VideoEncoding, VideoError, VideoReader, VideoWriter};
use gve_test_support::skip;
use image::{Rgb, RgbImage};
use std::{fs, path::Path};

const H264: VideoEncoding = VideoEncoding::H264 { crf: 18 };
/// A width that needs padded rows and is no multiple of a macroblock.
const SIZE: (u32, u32) = (118, 70);

/// A slope under a square that moves by its own width, so that a frame is not taken for its neighbour.
fn picture((width, height): (u32, u32), index: usize) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let across = x.wrapping_sub(index as u32 * 16 % (width - 16));
        if across < 16 && (20..36).contains(&y) {
            return Rgb([240, 240, 200]);
        }
        Rgb([40 + x as u8, 60 + y as u8, 80])
    })
}

/// Writes pictures. `None`, with a printed reason, where FFmpeg lacks the encoder.
fn write(path: &Path, encoding: VideoEncoding, fps: u32, pictures: &[RgbImage]) -> Option<()> {
    let mut writer = match VideoWriter::create(path, encoding, pictures[0].dimensions(), fps) {
        Err(error @ VideoError::Encoder { .. }) => {
            skip(&format!("{} cannot be written: {error}", encoding.extension()));
            return None;
        }
        created => created.expect("is created"),
    };
    for picture in pictures {
        writer.write(picture).expect("is written");
    }
    writer.finish().expect("is finished");
    Some(())
}

#[test]
fn frames_times_and_rates_come_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let table = [
        (H264, 24, 48),
        (H264, 1, 3),
        (H264, 30, 1),
        (VideoEncoding::Ffv1, 24, 48),
        (VideoEncoding::Ffv1, 1000, 9),
    ];
    for (encoding, fps, count) in table {
        let path = directory.path().join(format!("{fps}-{count}.{}", encoding.extension()));
        let pictures: Vec<_> = (0..count).map(|index| picture(SIZE, index)).collect();
        if write(&path, encoding, fps, &pictures).is_none() {
            continue;
        }
        let mut reader = VideoReader::open(&path).expect("opens");
        let metadata = reader.metadata().clone();
        assert_eq!((metadata.width, metadata.height), SIZE);
        assert_eq!((metadata.frames, metadata.average_fps), (count, f64::from(fps)), "{encoding:?}");
        let indices: Vec<usize> = (0..count).collect();
        for (frame, picture) in frames(&mut reader, &indices).iter().zip(&pictures) {
            // Matroska counts in milliseconds.
            let seconds = frame.index as f64 / f64::from(fps);
            assert!((frame.pts_seconds - seconds).abs() <= 0.0005 + 1e-9, "{encoding:?} {frame:?}");
            if encoding == VideoEncoding::Ffv1 {
                assert!(frame.image == *picture, "frame {} is another", frame.index);
            } else {
                let difference = difference(&frame.image, picture);
                assert!(difference < SAME_PICTURE, "frame {} of {fps} fps is {difference} off", frame.index);
            }
        }
        assert_eq!(reader.warnings(), []);
    }
}

#[test]
fn colours_come_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let colours = [
        [0, 0, 0],
        [255, 255, 255],
        [128, 128, 128],
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
        [255, 255, 0],
        [0, 255, 255],
        [255, 0, 255],
        [255, 128, 0],
        [90, 45, 20],
        [13, 200, 77],
    ];
    let pictures: Vec<_> = colours.iter().map(|colour| RgbImage::from_pixel(64, 48, Rgb(*colour))).collect();
    for (encoding, tolerance) in [(H264, 3), (VideoEncoding::Ffv1, 0)] {
        let path = directory.path().join(encoding.extension());
        if write(&path, encoding, 12, &pictures).is_none() {
            continue;
        }
        let mut reader = VideoReader::open(&path).expect("opens");
        let indices: Vec<usize> = (0..colours.len()).collect();
        for (frame, colour) in frames(&mut reader, &indices).iter().zip(colours) {
            let off = frame.image.pixels().flat_map(|pixel| (0..3).map(|c| pixel[c].abs_diff(colour[c])));
            let off = off.max().expect("pixels");
            assert!(
                off <= tolerance,
                "{encoding:?} turns {colour:?} into {:?}",
                frame.image.get_pixel(32, 24)
            );
        }
    }
}

#[test]
fn the_same_frames_give_the_same_bytes() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let pictures: Vec<_> = (0..30).map(|index| picture(SIZE, index)).collect();
    for encoding in [H264, VideoEncoding::Ffv1] {
        let [first, second] = ["first", "second"].map(|name| directory.path().join(name));
        if write(&first, encoding, 24, &pictures)
            .and_then(|()| write(&second, encoding, 24, &pictures))
            .is_none()
        {
            continue;
        }
        assert!(fs::read(first).expect("reads") == fs::read(second).expect("reads"), "{encoding:?}");
    }
}

#[test]
fn only_finished_files_are_seen() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let names = || {
        let entries = fs::read_dir(directory.path()).expect("lists");
        entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect::<Vec<_>>()
    };
    let path = directory.path().join("a:b%d.mkv");
    let mut writer = VideoWriter::create(&path, VideoEncoding::Ffv1, SIZE, 24).expect("is created");
    writer.write(&picture(SIZE, 0)).expect("is written");
    assert_eq!(names(), [".a:b%d.mkv.tmp"]);
    drop(writer);
    assert_eq!(names(), [""; 0]);

    write(&path, VideoEncoding::Ffv1, 24, &[picture(SIZE, 0)]).expect("is written");
    assert_eq!(names(), ["a:b%d.mkv"]);
    let mut writer = VideoWriter::create(&path, VideoEncoding::Ffv1, SIZE, 24).expect("is created");
    for index in 0..2 {
        writer.write(&picture(SIZE, index)).expect("is written");
    }
    writer.finish().expect("is finished");
    assert_eq!(names(), ["a:b%d.mkv"]);
    assert_eq!(VideoReader::open(&path).expect("opens").metadata().frames, 2);
}

#[test]
fn what_cannot_be_written_is_refused_in_one_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("clip.mp4");
    let occupied = directory.path().join("occupied");
    fs::create_dir_all(occupied.join("child")).expect("makes a directory");
    let missing = directory.path().join("missing/clip.mp4");
    let ffv1 = VideoEncoding::Ffv1;
    let refused = |path: &Path, encoding, size, fps| {
        let tried = VideoWriter::create(path, encoding, size, fps).and_then(|mut writer| {
            writer.write(&picture(SIZE, 0))?;
            writer.finish()
        });
        tried.expect_err("is refused").to_string()
    };
    let table = [
        (
            &path,
            H264,
            (225, 168),
            24,
            "the size must be even in width and height for H.264 (FFV1 takes any), got 225x168",
        ),
        (&path, H264, (224, 167), 24, "got 224x167"),
        (&path, ffv1, (0, 168), 24, "the size must be at least 1x1 pixels, got 0x168"),
        (&path, ffv1, (1 << 16, 1 << 16), 24, "must be at most 134217728 pixels, got 65536x65536"),
        (&path, ffv1, SIZE, 0, "the frames a second must be 1 to 1000, got 0"),
        (&path, ffv1, SIZE, 1001, "got 1001"),
        (
            &path,
            VideoEncoding::H264 { crf: 52 },
            SIZE,
            24,
            "the constant rate factor must be 0 to 51, got 52",
        ),
        (&path, ffv1, (70, 118), 24, "frame 0 must be 70x118 pixels, got 118x70"),
        (&missing, ffv1, SIZE, 24, ": No such file or directory"),
        (&occupied, ffv1, SIZE, 24, ": it is a directory, expected a regular file"),
    ];
    for (path, encoding, size, fps, expected) in table {
        let line = refused(path, encoding, size, fps);
        assert!(line.contains(&path.display().to_string()) && !line.contains('\n'), "{line}");
        assert!(line.contains(expected), "{line}");
    }
    let writer = VideoWriter::create(&path, ffv1, SIZE, 24).expect("is created");
    let line = writer.finish().expect_err("is refused").to_string();
    assert!(line.contains("the number of frames must be at least 1, got 0"), "{line}");
    let left = fs::read_dir(directory.path()).expect("lists").count();
    assert_eq!(left, 1, "only the directory that was there before");
}
