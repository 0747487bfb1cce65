//! Pixels, sizes and tails that headers or seeking get wrong, against the `ffmpeg` command.

use super::clips::{Clip, SAME_PICTURE, decode_all, difference, frames, make, source};
use gve::video::{Seeking, VideoOptions, VideoReader};
use rayon::prelude::*;
use std::fs;

/// Largest difference of a value to FFmpeg's, of 255.
fn largest_difference(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn pixels_of_every_depth_are_those_of_ffmpeg() {
    let ffv1 = "gbrp9le gbrp10le gbrp12le gbrp14le gbrp16le gbrap10le gbrap12le gbrap16le rgb48le rgba64le bgr0 gray gray9le \
                gray10le gray12le gray16le ya8 yuv420p10le yuv422p12le yuv444p16le yuva444p10le";
    let table = [
        ("mkv", "-c:v ffv1 -level 3", ffv1),
        ("mkv", "-c:v libx265 -x265-params log-level=none", "gbrp gbrp10le gbrp12le gray10le yuv444p12le"),
        ("mkv", "-c:v libx264 -qp 10", "yuv422p10le gray10le"),
        ("mkv", "-c:v libx264rgb -qp 10", "rgb24"),
        ("mkv", "-c:v libvpx-vp9 -cpu-used 8", "gbrp gbrp10le gbrp12le yuv440p"),
        ("mkv", "-c:v libaom-av1 -cpu-used 8 -usage realtime", "gbrp10le gray10le"),
        ("mov", "-c:v png", "rgb48be rgba64be gray16be ya16be pal8 monob"),
        ("mkv", "-c:v jpeg2000", "rgb48le rgba64le xyz12le gray16le ya16le"),
        ("mov", "-c:v r210", "gbrp10le"),
        ("mov", "-c:v cfhd", "gbrp12le"),
        (
            "nut",
            "-c:v rawvideo",
            "gbrp16be rgb48be bgr48le rgba64be x2rgb10le gray14le grayf32le rgb565le bgr8 p010le nv24",
        ),
        ("mkv", "-c:v dnxhd -profile:v dnxhr_444 -s 256x120 -aspect 256:120", "gbrp10le"),
        ("mkv", "-c:v utvideo", "gbrp gbrap"),
        ("mkv", "-c:v ffvhuff", "gbrp10le gbrp14le gbrap16le gray16le"),
    ];
    let cases: Vec<_> = table
        .iter()
        .flat_map(|(file, codec, pixels)| pixels.split_whitespace().map(move |pixels| (file, codec, pixels)))
        .collect();
    let faults: Vec<String> = cases
        .par_iter()
        .filter_map(|(file, codec, pixels)| {
            let clip = make(
                &format!("a.{file}"),
                &source("64x48", "25", 0.08),
                &format!("{codec} -pix_fmt {pixels}"),
            )?;
            let mut reader = VideoReader::open(&clip.path).expect("opens");
            let expected = decode_all(&clip.path, (reader.metadata().width, reader.metadata().height));
            let found = frames(&mut reader, &[0, 1]);
            let off = found
                .iter()
                .zip(expected)
                .map(|(frame, expected)| largest_difference(frame.image.as_raw(), &expected));
            let off = off.max().unwrap_or(u8::MAX);
            (off > 1).then(|| format!("{codec} {pixels} in {file}: off by {off}"))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Where a header keeps its width and height, and in how many bytes each.
enum SizeField {
    /// In the sample entry of an MP4 or MOV file.
    SampleEntry(&'static [u8; 4]),
    /// In two neighbouring elements of a Matroska file.
    Elements,
    /// In the `BITMAPINFOHEADER` of an AVI file.
    Bitmap,
}

/// Puts a size of 100x60 pixels over the 64x48 of a header.
fn change_size(bytes: &mut [u8], field: &SizeField) {
    let find = |mark: &[u8]| (0..bytes.len()).find(|&at| bytes[at..].starts_with(mark)).expect("a header");
    let (places, before) = match field {
        SizeField::SampleEntry(kind) => {
            let sample_description = find(b"stsd");
            let entry = (sample_description..bytes.len())
                .find(|&at| bytes[at..].starts_with(*kind))
                .expect("an entry");
            ([entry + 29, entry + 31], [64, 48])
        }
        SizeField::Elements => {
            let elements = find(&[0xb0, 0x81, 64, 0xba, 0x81, 48]);
            ([elements + 2, elements + 5], [64, 48])
        }
        SizeField::Bitmap => {
            let header = find(b"strf");
            ([header + 12, header + 16], [64, 48])
        }
    };
    assert_eq!(places.map(|at| bytes[at]), before);
    bytes[places[0]] = 100;
    bytes[places[1]] = 60;
}

/// What is wrong with a clip whose header tells another size than its stream.
fn size_faults(file: &str, codec: &str, field: &SizeField) -> Vec<String> {
    let Some(clip) = make(file, &source("64x48", "25", 0.4), codec) else {
        return Vec::new();
    };
    let mut bytes = fs::read(&clip.path).expect("reads");
    change_size(&mut bytes, field);
    fs::write(&clip.path, bytes).expect("writes");
    let expected = decode_all(&clip.path, (64, 48));
    let mut faults = Vec::new();
    for seeking in [Seeking::Exact, Seeking::Approximate] {
        let options = VideoOptions::default().with_seeking(seeking);
        let mut reader = VideoReader::open_with(&clip.path, options).expect("opens");
        let size = (reader.metadata().width, reader.metadata().height);
        if size != (64, 48) || expected.len() != 10 {
            faults.push(format!("{codec} in {file}, {seeking:?}: {size:?}, {} frames", expected.len()));
            continue;
        }
        for frame in frames(&mut reader, &[0, 5, 9]) {
            let distance = difference(frame.image.as_raw(), &expected[frame.index]);
            if distance >= SAME_PICTURE {
                faults.push(format!(
                    "{codec} in {file}, {seeking:?}: frame {} is off by {distance}",
                    frame.index
                ));
            }
        }
    }
    faults
}

#[test]
fn the_size_is_that_of_the_stream() {
    use SizeField::*;
    let table = [
        ("a.mp4", "-c:v libx264 -g 8 -pix_fmt yuv420p", SampleEntry(b"avc1")),
        ("a.mp4", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p", SampleEntry(b"hev1")),
        ("a.mp4", "-c:v mpeg4", SampleEntry(b"mp4v")),
        ("a.mp4", "-c:v mpeg2video", SampleEntry(b"mp4v")),
        ("a.mp4", "-c:v libvpx-vp9 -cpu-used 8 -pix_fmt yuv420p", SampleEntry(b"vp09")),
        ("a.mp4", "-c:v libaom-av1 -cpu-used 8 -usage realtime", SampleEntry(b"av01")),
        ("a.mov", "-c:v mjpeg", SampleEntry(b"jpeg")),
        ("a.mov", "-c:v png", SampleEntry(b"png ")),
        ("a.mkv", "-c:v libx264 -g 8 -pix_fmt yuv420p", Elements),
        ("a.webm", "-c:v libvpx -cpu-used 8", Elements),
        ("a.avi", "-c:v mjpeg", Bitmap),
        ("a.avi", "-c:v libx264 -bf 0 -pix_fmt yuv420p", Bitmap),
    ];
    let faults: Vec<String> =
        table.par_iter().flat_map(|(file, codec, field)| size_faults(file, codec, field)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What is wrong with frames that are asked for one by one, each of a new reader.
fn faults_of_frames_alone(clip: &Clip, what: &str) -> Vec<String> {
    let total = VideoReader::open(&clip.path).expect("opens").metadata().frames;
    let expected = decode_all(&clip.path, (64, 48));
    if expected.len() != total {
        return vec![format!("{what}: {total} frames, not {}", expected.len())];
    }
    let alone = |index: usize| {
        let mut reader = VideoReader::open(&clip.path).expect("opens");
        let frame = frames(&mut reader, &[index]).remove(0);
        let distance = difference(frame.image.as_raw(), &expected[index]);
        let right = reader.warnings().is_empty() && distance < SAME_PICTURE;
        (!right).then(|| format!("{what}: frame {index} is off by {distance}, {:?}", reader.warnings()))
    };
    (0..total).filter_map(alone).collect()
}

#[test]
fn tails_of_open_groups_decode() {
    let table = [
        (
            "mp4",
            "-c:v libx264 -x264-params open-gop=1:min-keyint=1:scenecut=0:bframes=3:b-adapt=0:keyint=",
            [5, 9, 20],
        ),
        (
            "ts",
            "-c:v libx264 -x264-params open-gop=1:min-keyint=1:scenecut=0:bframes=7:b-pyramid=normal:b-adapt=0:keyint=",
            [9, 20, 21],
        ),
        (
            "mkv",
            "-c:v libx265 -x265-params log-level=none:open-gop=1:bframes=4:b-adapt=0:scenecut=0:min-keyint=1:keyint=",
            [5, 9, 20],
        ),
        (
            "ts",
            "-c:v libx265 -x265-params log-level=none:open-gop=1:bframes=4:b-adapt=0:scenecut=0:min-keyint=1:keyint=",
            [6, 9, 20],
        ),
        ("ts", "-c:v mpeg2video -bf 2 -q:v 2 -g ", [4, 9, 20]),
        ("vob", "-c:v mpeg2video -bf 2 -q:v 2 -g ", [4, 9, 20]),
        ("mkv", "-c:v mpeg4 -bf 2 -q:v 2 -g ", [4, 9, 20]),
        ("webm", "-c:v libvpx-vp9 -cpu-used 8 -lag-in-frames 16 -auto-alt-ref 1 -b:v 1M -g ", [5, 9, 20]),
    ];
    let cases: Vec<_> = table
        .iter()
        .flat_map(|(file, codec, groups)| {
            groups.iter().flat_map(move |group| [22, 23, 24].map(|frames| (file, codec, group, frames)))
        })
        .collect();
    let faults: Vec<String> = cases
        .par_iter()
        .flat_map(|(file, codec, group, frames)| {
            let output = format!("{codec}{group} -frames:v {frames} -pix_fmt yuv420p -threads 1");
            let what = format!("{codec}{group} in {file}, {frames} frames");
            let clip = make(&format!("a.{file}"), &source("64x48", "25", 1.0), &output);
            clip.map_or_else(Vec::new, |clip| faults_of_frames_alone(&clip, &what))
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
