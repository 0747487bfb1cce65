//! Clips made by the `ffmpeg` command, and what that command decodes from them.

use gve::video::{Frame, VideoReader};
use gve_test_support::skip;
use std::{
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

/// Largest mean absolute difference, of 255, at which two pictures are the same.
pub const SAME_PICTURE: f64 = 2.0;

/// A clip in a directory of its own.
pub struct Clip {
    pub path: PathBuf,
    _directory: TempDir,
}

/// A test picture in which every frame differs from its neighbours.
pub fn source(size: &str, rate: &str, seconds: f64) -> Vec<String> {
    let source = format!("testsrc2=s={size}:r={rate}:d={seconds}");
    ["-f", "lavfi", "-i", &source].map(String::from).to_vec()
}

/// Runs `ffmpeg` on `input` and `output` arguments. `None`, with a printed reason, where it cannot; a panic
/// instead where `GVE_REQUIRE_ALL` is 1.
pub fn make(name: &str, input: &[String], output: &str) -> Option<Clip> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join(name);
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-y"])
        .args(input)
        .args(output.split_whitespace())
        .arg(&path)
        .output();
    let reason = match run {
        Ok(run) if run.status.success() => {
            return Some(Clip { path, _directory: directory });
        }
        Ok(run) => String::from_utf8_lossy(&run.stderr).into_owned(),
        Err(error) => error.to_string(),
    };
    skip(&format!("{name} cannot be made: {reason}"));
    None
}

/// All frames of a file as the `ffmpeg` command decodes them, turned upright.
pub fn decode_all(path: &Path, size: (u32, u32)) -> Vec<Vec<u8>> {
    let frames = decode_what_there_is(path, size).unwrap_or_else(|reason| panic!("{reason}"));
    assert!(!frames.is_empty(), "{}", path.display());
    frames
}

/// The same for a file that may be damaged. The reason where the command gives frames of another size.
pub fn decode_what_there_is(path: &Path, (width, height): (u32, u32)) -> Result<Vec<Vec<u8>>, String> {
    let run = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(path)
        .args(["-map", "0:V:0", "-vsync", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .expect("ffmpeg runs");
    let frame_bytes = width as usize * height as usize * 3;
    if !run.stdout.len().is_multiple_of(frame_bytes) {
        let bytes = run.stdout.len();
        return Err(format!("{}: {bytes} bytes are no frames of {width}x{height}", path.display()));
    }
    Ok(run.stdout.chunks(frame_bytes).map(<[u8]>::to_vec).collect())
}

/// Mean absolute difference of two pictures.
pub fn difference(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

/// Frames by index, all of which must decode.
pub fn frames(reader: &mut VideoReader, indices: &[usize]) -> Vec<Frame> {
    reader.frames(indices).collect::<Result<_, _>>().expect("frames decode")
}
