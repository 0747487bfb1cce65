//! Memory does not grow with the length of a video.

use super::clips::{make, source};
use gve::video::VideoReader;
use std::process::Command;

const CHILD: &str = "GVE_TEST_PEAK_MEMORY_OF";
const HOURS: f64 = 4.0;
/// The index of 4 hours at 25 frames a second takes 6 MB; this is for it, its making, and chance.
const MAX_GROWTH_KIB: u64 = 40 * 1024;

/// Not a test of its own: samples a clip and prints the peak memory of this process, when told to by the test
/// below.
#[test]
fn peak_memory_child() {
    let Ok(path) = std::env::var(CHILD) else {
        return;
    };
    let mut reader = VideoReader::open(path).expect("opens");
    let last = reader.metadata().frames - 1;
    let indices: Vec<usize> = (0..8).map(|i| last * i / 7).collect();
    assert_eq!(reader.frames(&indices).filter(|frame| frame.is_ok()).count(), 8);
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
    println!("frames={} {peak}", last + 1);
}

fn frames_and_peak_kib(path: &std::path::Path) -> (u64, u64) {
    let run = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "video::memory::peak_memory_child", "--nocapture"])
        .env(CHILD, path)
        .output()
        .expect("runs itself");
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    let number_after = |mark: &str| -> u64 {
        let rest = text.split(mark).nth(1).unwrap_or_else(|| panic!("no {mark} in {text}"));
        rest.trim_start()
            .split(|c: char| !c.is_ascii_digit())
            .next()
            .expect("a word")
            .parse()
            .expect("a number")
    };
    (number_after("frames="), number_after("VmHWM:"))
}

#[test]
#[cfg(target_os = "linux")]
fn four_hours_need_no_more_memory_than_seconds() {
    let Some(short) = make(
        "short.mp4",
        &source("160x90", "25", 10.0),
        "-c:v libx264 -g 50 -bf 2 -b:v 40k -pix_fmt yuv420p",
    ) else {
        return;
    };
    let loops = (HOURS * 360.0) as usize - 1;
    let input =
        ["-stream_loop", &loops.to_string(), "-i", short.path.to_str().expect("utf-8")].map(String::from);
    let Some(long) = make("long.mp4", &input, "-c copy") else {
        return;
    };
    let (short_frames, short_kib) = frames_and_peak_kib(&short.path);
    let (long_frames, long_kib) = frames_and_peak_kib(&long.path);
    assert_eq!(short_frames, 250);
    assert!(long_frames >= 359_000, "{long_frames} frames");
    println!("peak: {short_kib} KiB for 10 s, {long_kib} KiB for {HOURS} h");
    // FFmpeg's own table of an MP4 file's samples grows with it and is not counted against the reader.
    let container_kib = long_frames * 80 / 1024;
    assert!(long_kib < short_kib + MAX_GROWTH_KIB + container_kib, "{short_kib} KiB, then {long_kib} KiB");
}
