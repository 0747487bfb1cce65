//! Eight uniform frames out of a clip, open to last pixel. Clips are made by the `ffmpeg` command.

#![allow(clippy::expect_used, clippy::print_stderr)]

use criterion::{Criterion, criterion_group, criterion_main};
use gve::TimeRange;
use gve::video::{FrameCount, Sampling, VideoOptions, VideoReader, select};
use std::{path::Path, process::Command};

/// Name and encoder arguments of the clips, 20 s of 720p each.
const CLIPS: [(&str, &str); 2] = [
    ("720p", "-c:v libx264 -preset veryfast -g 50 -pix_fmt yuv420p"),
    (
        "720p_one_gop",
        "-c:v libx264 -preset veryfast -g 9999 -keyint_min 9999 -sc_threshold 0 -pix_fmt yuv420p",
    ),
];

fn sample_eight(path: &Path, options: VideoOptions) -> usize {
    let mut reader = VideoReader::open_with(path, options).expect("opens");
    let eight = Sampling::Uniform { frames: 8 };
    let selection =
        select(&reader.timing(), &eight, TimeRange::default(), FrameCount::Exact).expect("a selection");
    reader.frames(&selection.indices).map(|frame| frame.expect("decodes").image.len()).sum()
}

fn decode(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, output) in CLIPS {
        let path = directory.path().join(format!("{name}.mp4"));
        let made = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin", "-f", "lavfi", "-i", "testsrc2=s=1280x720:r=25:d=20"])
            .args(output.split_whitespace())
            .arg(&path)
            .status();
        if !made.is_ok_and(|status| status.success()) {
            eprintln!("skipped: {name}: ffmpeg could not make it");
            continue;
        }
        let mut group = criterion.benchmark_group("decode_8_uniform");
        group.sample_size(10);
        group.bench_function(name, |bencher| bencher.iter(|| sample_eight(&path, VideoOptions::default())));
        group.finish();
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
