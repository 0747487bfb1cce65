//! Sampled frames are the frames of a full decode, whatever the container and codec.

use super::clips::{Clip, SAME_PICTURE, decode_all, difference, frames, make, source};
use gve::TimeRange;
use gve::video::{FrameCount, Sampling, Seeking, VideoOptions, VideoReader, select};

/// Compares every frame, in order and out of order, to the full decode.
fn check(clip: &Clip, expected_frames: Option<usize>) {
    let name = clip.path.display();
    let mut reader = VideoReader::open(&clip.path).unwrap_or_else(|error| panic!("{error}"));
    let (width, height) = (reader.metadata().width, reader.metadata().height);
    let all = decode_all(&clip.path, (width, height));
    assert_eq!(reader.metadata().frames, all.len(), "{name}: number of frames");
    if let Some(expected) = expected_frames {
        assert_eq!(all.len(), expected, "{name}: number of frames of the full decode");
    }
    let last = all.len() - 1;
    let orders: [Vec<usize>; 4] = [
        (0..=last).collect(),
        (0..8).map(|i| last * i / 7).collect(),
        (0..=last).rev().step_by(3).collect(),
        vec![last / 2, last / 2, last, 0, last / 3, last / 3 + 1, last.saturating_sub(1), 0],
    ];
    for order in orders {
        let order: Vec<usize> = order.into_iter().map(|index| index.min(last)).collect();
        // A fresh reader too, so that nothing hangs on what was decoded before.
        for mut reader in [
            VideoReader::open(&clip.path).expect("opens again"),
            std::mem::replace(&mut reader, VideoReader::open(&clip.path).expect("opens again")),
        ] {
            for (frame, &index) in frames(&mut reader, &order).iter().zip(&order) {
                assert_eq!(frame.index, index, "{name}");
                assert_eq!(frame.image.dimensions(), (width, height), "{name}");
                let distance = difference(frame.image.as_raw(), &all[index]);
                assert!(distance < SAME_PICTURE, "{name}: frame {index} in {order:?} is off by {distance}");
                // The picture must be nearer to its own frame than to the neighbours.
                for other in [index.wrapping_sub(1), index + 1] {
                    if let Some(other) = all.get(other)
                        && difference(other, &all[index]) > 0.0
                    {
                        assert!(
                            distance < difference(frame.image.as_raw(), other),
                            "{name}: frame {index} is a neighbour"
                        );
                    }
                }
            }
            assert_eq!(reader.warnings(), [], "{name}");
        }
    }
}

fn check_made(name: &str, input: &[String], output: &str, expected_frames: Option<usize>) {
    if let Some(clip) = make(name, input, output) {
        check(&clip, expected_frames);
    }
}

macro_rules! clip_tests {
    ($($test:ident: $file:literal, $size:literal, $rate:literal, $seconds:literal, $output:literal, $frames:expr;)*) => {$(
        #[test]
        fn $test() {
            check_made($file, &source($size, $rate, $seconds), $output, $frames);
        }
    )*};
}

clip_tests! {
    h264_in_mp4: "a.mp4", "320x180", "25", 2.0, "-c:v libx264 -g 12 -bf 3 -pix_fmt yuv420p", Some(50);
    h264_of_one_long_gop: "a.mp4", "320x180", "25", 4.0, "-c:v libx264 -g 999 -bf 3 -pix_fmt yuv420p", Some(100);
    h264_of_open_gops: "a.mp4", "320x180", "25", 4.0, "-c:v libx264 -x264-params open-gop=1:keyint=15:bframes=3 -pix_fmt yuv420p", Some(100);
    h264_that_ends_in_a_short_open_gop: "a.mp4", "320x180", "8", 5.0, "-c:v libx264 -x264-params open-gop=1:keyint=9:min-keyint=1:scenecut=0:bframes=2 -pix_fmt yuv420p", Some(40);
    h264_of_short_open_gops: "a.mp4", "320x180", "8", 5.0, "-c:v libx264 -x264-params open-gop=1:keyint=5:min-keyint=1:scenecut=0:bframes=2 -pix_fmt yuv420p", Some(40);
    h264_of_open_gops_in_ts: "a.ts", "320x180", "25", 4.0, "-c:v libx264 -x264-params open-gop=1:keyint=15:bframes=3 -pix_fmt yuv420p", Some(100);
    h264_of_intra_refresh: "a.mkv", "320x180", "25", 4.0, "-c:v libx264 -x264-params intra-refresh=1:keyint=15:bframes=0 -pix_fmt yuv420p", Some(100);
    h264_of_b_pyramids: "a.mkv", "320x180", "25", 3.0, "-c:v libx264 -x264-params keyint=20:bframes=7:b-pyramid=normal:ref=5 -pix_fmt yuv420p", Some(75);
    h264_interlaced: "a.mp4", "320x180", "25", 2.0, "-c:v libx264 -flags +ildct+ilme -x264-params tff=1:keyint=10 -pix_fmt yuv420p", Some(50);
    h264_in_avi_without_presentation_times: "a.avi", "320x180", "25", 2.0, "-c:v libx264 -bf 3 -g 12 -pix_fmt yuv420p", Some(50);
    h264_as_raw_stream: "a.h264", "320x180", "25", 2.0, "-c:v libx264 -bf 3 -g 12 -pix_fmt yuv420p", Some(50);
    h264_in_flv: "a.flv", "320x180", "25", 2.0, "-c:v libx264 -bf 2 -g 12 -pix_fmt yuv420p", Some(50);
    h264_in_fragments: "a.mp4", "320x180", "25", 2.0, "-c:v libx264 -g 12 -movflags +frag_keyframe+empty_moov -pix_fmt yuv420p", Some(50);
    h264_in_ts_starts_late: "a.ts", "320x180", "25", 2.0, "-c:v libx264 -g 12 -output_ts_offset 30 -pix_fmt yuv420p", Some(50);
    h264_of_full_range: "a.mp4", "320x180", "25", 1.0, "-c:v libx264 -vf scale=out_range=pc -color_range pc -pix_fmt yuv420p", Some(25);
    h264_of_bt709: "a.mp4", "320x180", "25", 1.0, "-c:v libx264 -vf scale=out_color_matrix=bt709 -colorspace bt709 -color_primaries bt709 -color_trc bt709 -pix_fmt yuv420p", Some(25);
    h264_of_odd_size: "a.mp4", "321x181", "25", 1.0, "-c:v libx264 -pix_fmt yuv444p", Some(25);
    hevc_in_mp4: "a.mp4", "320x180", "25", 2.0, "-c:v libx265 -x265-params log-level=none:keyint=12:open-gop=0 -pix_fmt yuv420p", Some(50);
    hevc_of_open_gops: "a.mkv", "320x180", "25", 4.0, "-c:v libx265 -x265-params log-level=none:keyint=15:min-keyint=15:open-gop=1:bframes=4 -pix_fmt yuv420p", Some(100);
    hevc_of_temporal_layers: "a.mkv", "320x180", "25", 2.0, "-c:v libx265 -x265-params log-level=none:keyint=25:temporal-layers=3:bframes=4 -pix_fmt yuv420p", Some(50);
    hevc_of_ten_bits_bt2020: "a.mp4", "320x180", "25", 1.0, "-c:v libx265 -x265-params log-level=none -vf scale=out_color_matrix=bt2020nc -colorspace bt2020nc -pix_fmt yuv420p10le", Some(25);
    vp8_with_hidden_frames: "a.webm", "320x180", "25", 2.0, "-c:v libvpx -auto-alt-ref 1 -lag-in-frames 16 -g 20 -b:v 300k -deadline good -cpu-used 4", Some(50);
    vp9_in_webm: "a.webm", "320x180", "25", 2.0, "-c:v libvpx-vp9 -g 20 -b:v 300k -deadline good -cpu-used 6 -lag-in-frames 16 -auto-alt-ref 1", Some(50);
    av1_in_mp4: "a.mp4", "320x180", "25", 1.0, "-c:v libsvtav1 -preset 12 -g 12", Some(25);
    av1_in_mkv: "a.mkv", "320x180", "25", 1.0, "-c:v libaom-av1 -cpu-used 8 -g 12 -usage realtime", Some(25);
    mpeg2_in_ts: "a.ts", "320x180", "25", 2.0, "-c:v mpeg2video -bf 2 -g 12 -b:v 2M", Some(50);
    mpeg2_in_ps: "a.mpg", "320x180", "25", 2.0, "-c:v mpeg2video -bf 2 -g 12 -b:v 2M", Some(50);
    mpeg2_in_vob: "a.vob", "320x180", "25", 2.0, "-c:v mpeg2video -bf 2 -g 12 -b:v 2M", Some(50);
    mpeg2_as_raw_stream: "a.m2v", "320x180", "25", 2.0, "-c:v mpeg2video -bf 2 -g 12 -b:v 2M", Some(50);
    mpeg2_of_open_gops: "a.mkv", "320x180", "25", 2.0, "-c:v mpeg2video -bf 2 -g 6 -b:v 2M", Some(50);
    mpeg4_in_avi: "a.avi", "320x180", "25", 2.0, "-c:v mpeg4 -bf 2 -g 12 -b:v 2M", Some(50);
    mpeg4_without_b_frames_in_avi: "a.avi", "320x180", "25", 2.0, "-c:v mpeg4 -bf 0 -g 12 -b:v 2M", Some(50);
    mjpeg_in_avi: "a.avi", "320x180", "25", 1.0, "-c:v mjpeg -q:v 3", Some(25);
    mjpeg_in_mov: "a.mov", "320x180", "25", 1.0, "-c:v mjpeg -q:v 3", Some(25);
    ffv1_in_mkv: "a.mkv", "320x180", "25", 1.0, "-c:v ffv1 -level 3 -pix_fmt yuv444p", Some(25);
    ffv1_of_odd_size_and_ten_bits: "a.mkv", "319x179", "25", 1.0, "-c:v ffv1 -g 5 -pix_fmt yuv420p10le", Some(25);
    gif: "a.gif", "320x180", "10", 2.0, "", Some(20);
    prores_in_mov: "a.mov", "320x180", "25", 0.4, "-c:v prores_ks", Some(10);
    one_frame: "a.mp4", "320x180", "25", 0.04, "-c:v libx264 -frames:v 1 -pix_fmt yuv420p", Some(1);
    two_frames_with_b_delay: "a.mkv", "320x180", "25", 0.08, "-c:v libx264 -pix_fmt yuv420p", Some(2);
    tiny_pictures: "a.mp4", "18x10", "25", 1.0, "-c:v libx264 -pix_fmt yuv420p", Some(25);
    ntsc_rate: "a.mkv", "320x180", "30000/1001", 1.0, "-c:v libx264 -pix_fmt yuv420p", Some(30);
    ten_bits_h264: "a.mp4", "320x180", "25", 1.0, "-c:v libx264 -pix_fmt yuv420p10le", Some(25);
    a_single_png: "a.png", "320x180", "25", 0.04, "-frames:v 1", Some(1);
}

#[test]
fn variable_frame_rate_keeps_the_real_times() {
    let output = "-vf select='not(mod(n,3))+lt(n,20)',setpts=PTS+0.1*floor(N/7)/TB -vsync vfr -c:v libx264 -g 10 -pix_fmt yuv420p";
    let Some(clip) = make("a.mkv", &source("320x180", "25", 3.0), output) else {
        return;
    };
    check(&clip, None);
    let mut reader = VideoReader::open(&clip.path).expect("opens");
    let count = reader.metadata().frames;
    let times: Vec<f64> =
        frames(&mut reader, &(0..count).collect::<Vec<_>>()).iter().map(|f| f.pts_seconds).collect();
    let gaps: Vec<f64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap > 0.0));
    assert!(gaps.iter().any(|gap| *gap > 0.11) && gaps.iter().any(|gap| *gap < 0.05), "{gaps:?}");
}

#[test]
fn edit_lists_cut_frames_away() {
    let Some(whole) =
        make("whole.mp4", &source("320x180", "25", 3.0), "-c:v libx264 -g 25 -bf 2 -pix_fmt yuv420p")
    else {
        return;
    };
    // Copied from the middle of a GOP: the frames before the cut are in the file but not shown.
    let input = ["-ss", "1.4", "-i", whole.path.to_str().expect("utf-8")].map(String::from);
    check_made("cut.mp4", &input, "-c copy", None);
}

#[test]
fn audio_first_and_cover_pictures_are_passed_over() {
    let Some(cover) = make("cover.png", &source("640x640", "1", 1.0), "-frames:v 1") else {
        return;
    };
    let mut input = ["-f", "lavfi", "-i", "sine=d=2", "-i", cover.path.to_str().expect("utf-8")]
        .map(String::from)
        .to_vec();
    input.extend(source("320x180", "25", 2.0));
    let output = "-map 0:a -map 1:v -map 2:v -c:a aac -c:v:0 png -c:v:1 libx264 -pix_fmt:v:1 yuv420p -disposition:v:0 attached_pic";
    let Some(clip) = make("a.mp4", &input, output) else {
        return;
    };
    let reader = VideoReader::open(&clip.path).expect("opens");
    assert_eq!(reader.metadata().codec, "h264");
    assert!(reader.metadata().stream > 0);
    check(&clip, Some(50));
}

#[test]
fn rotation_is_applied() {
    let Some(plain) = make("plain.mp4", &source("320x180", "25", 0.4), "-c:v libx264 -pix_fmt yuv420p")
    else {
        return;
    };
    for (degrees, size) in [("90", (180, 320)), ("180", (320, 180)), ("270", (180, 320))] {
        let input = ["-i", plain.path.to_str().expect("utf-8")].map(String::from);
        let Some(clip) = make("a.mp4", &input, &format!("-c copy -metadata:s:v:0 rotate={degrees}")) else {
            return;
        };
        let reader = VideoReader::open(&clip.path).expect("opens");
        assert_eq!((reader.metadata().width, reader.metadata().height), size, "rotated by {degrees}");
        check(&clip, Some(10));
    }
}

#[test]
fn approximate_seeking_agrees_on_constant_rates() {
    for (file, output) in [
        ("a.mp4", "-c:v libx264 -g 12 -bf 3 -pix_fmt yuv420p"),
        ("a.mkv", "-c:v libx264 -g 12 -bf 0 -pix_fmt yuv420p"),
        ("a.ts", "-c:v libx264 -g 12 -bf 2 -pix_fmt yuv420p"),
    ] {
        let Some(clip) = make(file, &source("320x180", "25", 4.0), output) else {
            continue;
        };
        let options = VideoOptions::default().with_seeking(Seeking::Approximate);
        let mut approximate = VideoReader::open_with(&clip.path, options).expect("opens");
        let mut exact = VideoReader::open(&clip.path).expect("opens");
        assert_eq!(approximate.metadata().frames, 100, "{file}");
        let order = [0, 14, 28, 42, 57, 71, 85, 99, 3, 50, 50, 49];
        for (a, b) in frames(&mut approximate, &order).iter().zip(frames(&mut exact, &order)) {
            let distance = difference(a.image.as_raw(), b.image.as_raw());
            assert!(distance < SAME_PICTURE, "{file}: frame {} is off by {distance}", b.index);
            assert!((a.pts_seconds - b.pts_seconds).abs() < 0.002, "{file}: frame {}", b.index);
        }
        assert_eq!(approximate.warnings(), [], "{file}");
    }
}

#[test]
fn threads_make_no_difference() {
    let Some(clip) =
        make("a.mp4", &source("320x180", "25", 3.0), "-c:v libx264 -g 30 -bf 3 -pix_fmt yuv420p")
    else {
        return;
    };
    let order = [3, 30, 31, 74, 10];
    let with = |threads| {
        let options = VideoOptions::default().with_threads(std::num::NonZeroUsize::new(threads));
        frames(&mut VideoReader::open_with(&clip.path, options).expect("opens"), &order)
    };
    let single = with(1);
    for threads in [2, 5, 16] {
        assert!(single == with(threads), "{threads} threads");
    }
}

#[test]
fn readers_go_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<VideoReader>();
}

#[test]
fn indices_beyond_the_end_are_errors() {
    let Some(clip) = make("a.mp4", &source("320x180", "25", 0.4), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let mut reader = VideoReader::open(&clip.path).expect("opens");
    let mut frames = reader.frames(&[9, 10, 0]);
    assert!(frames.next().is_some_and(|frame| frame.is_ok()));
    let error = frames.next().expect("an answer").expect_err("beyond the end").to_string();
    assert!(error.ends_with("no frame 10: the video has 10 frames, numbered from 0"), "{error}");
    assert!(frames.next().is_none());
}

/// Each part ends without the frame that comes next being known, far behind the only key frame.
#[test]
fn parts_of_a_clip_with_one_key_frame_are_read_one_after_the_other() {
    for extra in ["-bf 3", "-bf 0 -tune fastdecode"] {
        let output =
            format!("-c:v libx264 -g 1000 -keyint_min 1000 -sc_threshold 0 {extra} -pix_fmt yuv420p");
        let Some(clip) = make("clip.mp4", &source("128x96", "25", 12.0), &output) else { return };
        let mut reader = VideoReader::open(&clip.path).unwrap();
        let all = decode_all(&clip.path, (128, 96));
        for part in (0..all.len()).collect::<Vec<_>>().chunks(40) {
            let wanted: Vec<usize> = part.iter().copied().step_by(5).collect();
            for (frame, &index) in frames(&mut reader, &wanted).iter().zip(&wanted) {
                assert!(
                    difference(frame.image.as_raw(), &all[index]) < SAME_PICTURE,
                    "frame {index}, {extra}"
                );
            }
        }
    }
}

/// The container has a chunk for every field, of which every other is empty.
#[test]
fn h264_in_avi_lasts_as_long_as_it_plays() {
    let Some(clip) = make("clip.avi", &source("128x96", "30", 3.0), "-c:v libx264 -pix_fmt yuv420p") else {
        return;
    };
    let mut reader = VideoReader::open(&clip.path).unwrap();
    let metadata = reader.metadata();
    assert_eq!(metadata.frames, 90);
    assert!((metadata.duration_seconds - 3.0).abs() < 0.05, "{metadata:?}");
    assert!((metadata.average_fps - 30.0).abs() < 0.1, "{metadata:?}");
    // A frame is on display at the time that it says.
    let all: Vec<usize> = (0..90).collect();
    let times: Vec<f64> = reader.frames(&all).map(|frame| frame.unwrap().pts_seconds).collect();
    let times = Sampling::Timestamps(times.iter().map(|time| time - times[0]).collect());
    let found = select(&reader.timing(), &times, TimeRange::default(), FrameCount::Exact).unwrap();
    assert_eq!(found.indices, all);
}

#[test]
fn a_phone_tells_when_a_video_was_recorded() {
    let output = "-c:v mpeg4 -movflags use_metadata_tags -metadata creation_time=2026-01-01T00:00:00Z";
    let recorded = "-metadata com.apple.quicktime.creationdate=2019-07-20T15:01:02+0200";
    for (output, expected) in
        [(output.to_owned(), 1_767_225_600), (format!("{output} {recorded}"), 1_563_627_662)]
    {
        let Some(clip) = make("clip.mov", &source("128x96", "25", 0.4), &output) else { return };
        assert_eq!(VideoReader::open(&clip.path).unwrap().metadata().created_seconds, Some(expected));
    }
}
