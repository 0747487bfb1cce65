//! Samplers against the reference's numbers, on tables and on real clips.

use gve::TimeRange;
use gve::video::{FrameCount, Sampling, StreamTiming, VideoError, VideoReader, select};
use std::path::Path;

const WHOLE: TimeRange = TimeRange { start_seconds: None, end_seconds: None };

fn uniform(frames: usize) -> Sampling {
    Sampling::Uniform { frames }
}

fn fps(fps: f64, min_frames: Option<usize>, max_frames: Option<usize>) -> Sampling {
    Sampling::Fps { fps, min_frames, max_frames }
}

fn between(start_seconds: Option<f64>, end_seconds: Option<f64>) -> TimeRange {
    TimeRange { start_seconds, end_seconds }
}

/// `smart_nframes`, `calculate_video_frame_range` and `torch.linspace` of qwen-vl-utils 0.0.11 printed these.
#[test]
fn the_model_count_is_that_of_the_reference() {
    let ntsc = 30000.0 / 1001.0;
    let eight = [0, 19, 37, 56, 75, 94, 112, 131];
    let four = [0, 44, 87, 131];
    type Row<'a> = (usize, f64, Sampling, TimeRange, &'a [usize], f64);
    let table: [Row; 22] = [
        (132, 25.0, uniform(8), WHOLE, &eight, 1.5151515151515151),
        (132, 25.0, uniform(7), WHOLE, &eight, 1.5151515151515151),
        (132, 25.0, uniform(5), WHOLE, &four, 0.7575757575757576),
        (132, 25.0, uniform(3), WHOLE, &four, 0.7575757575757576),
        (6, 10.0, uniform(4), WHOLE, &[0, 2, 3, 5], 6.666666666666666),
        (4, 10.0, uniform(2), WHOLE, &[0, 3], 5.0),
        (5, 10.0, uniform(4), WHOLE, &[0, 1, 3, 4], 8.0),
        (8, 10.0, uniform(8), WHOLE, &[0, 1, 2, 3, 4, 5, 6, 7], 10.0),
        (132, 25.0, fps(1.0, None, None), WHOLE, &four, 0.7575757575757576),
        (120, 30.0, fps(4.0, Some(4), Some(10)), WHOLE, &[0, 13, 26, 40, 53, 66, 79, 93, 106, 119], 2.5),
        (120, 30.0, fps(2.0, None, None), WHOLE, &[0, 17, 34, 51, 68, 85, 102, 119], 2.0),
        (300, 30.0, fps(0.1, None, None), WHOLE, &[0, 100, 199, 299], 0.4),
        (300, 30.0, fps(1.0, Some(5), None), WHOLE, &[0, 33, 66, 100, 133, 166, 199, 233, 266, 299], 1.0),
        (300, 30.0, fps(1.0, None, Some(7)), WHOLE, &[0, 60, 120, 179, 239, 299], 0.6),
        (100, ntsc, fps(2.0, None, None), WHOLE, &[0, 20, 40, 59, 79, 99], 1.7982017982017982),
        (3, 25.0, fps(2.0, None, None), WHOLE, &[0, 2], 16.666666666666664),
        (2, 25.0, fps(2.0, None, None), WHOLE, &[0, 1], 25.0),
        (132, 25.0, uniform(4), between(Some(1.0), Some(3.0)), &[25, 42, 58, 75], 1.9607843137254901),
        (132, 25.0, uniform(4), between(Some(4.5), None), &[113, 119, 125, 131], 5.263157894736842),
        (132, 25.0, uniform(4), between(None, Some(1.03)), &[0, 8, 17, 25], 3.8461538461538463),
        (
            132,
            25.0,
            fps(2.0, None, None),
            between(Some(1.01), Some(4.99)),
            &[26, 46, 65, 85, 104, 124],
            1.5151515151515151,
        ),
        (132, 25.0, uniform(4), between(Some(-2.0), Some(99.0)), &four, 0.7575757575757576),
    ];
    for (total, rate, sampling, range, indices, sample_fps) in table {
        let timing = StreamTiming::regular(total, rate);
        let selection = select(&timing, &sampling, range, FrameCount::MultipleOf(2)).expect("a selection");
        assert_eq!(selection.indices, indices, "{total} {rate} {sampling:?} {range:?}");
        assert_eq!(selection.sample_fps, sample_fps, "{total} {rate} {sampling:?} {range:?}");
    }
    let long = select(
        &StreamTiming::regular(100_000, 25.0),
        &fps(2.0, None, None),
        WHOLE,
        FrameCount::MultipleOf(2),
    );
    let long = long.expect("a selection");
    let some = [0, 1, 384, 767].map(|i| long.indices[i]);
    assert_eq!((long.indices.len(), some, long.sample_fps), (768, [0, 130, 50065, 99999], 0.192));
}

/// Where the reference raises because the clip is too short.
#[test]
fn short_clips_give_what_they_have() {
    let table: [(usize, Sampling, TimeRange, &[usize], f64); 7] = [
        (5, uniform(8), WHOLE, &[0, 1, 2, 3, 4], 25.0),
        (1, uniform(8), WHOLE, &[0], 25.0),
        (1, fps(2.0, None, None), WHOLE, &[0], 25.0),
        (132, uniform(1), WHOLE, &[0, 131], 0.3787878787878788),
        (132, uniform(4), between(Some(2.0), Some(2.0)), &[50], 25.0),
        (132, uniform(4), between(Some(2.01), Some(2.02)), &[50], 25.0),
        (132, uniform(8), between(Some(2.0), Some(2.1)), &[50, 51, 52], 25.0),
    ];
    for (total, sampling, range, indices, sample_fps) in table {
        let selection =
            select(&StreamTiming::regular(total, 25.0), &sampling, range, FrameCount::MultipleOf(2));
        let selection = selection.expect("a selection");
        assert_eq!(selection.indices, indices, "{total} {sampling:?} {range:?}");
        assert_eq!(selection.sample_fps, sample_fps, "{total} {sampling:?} {range:?}");
    }
}

#[test]
fn the_exact_count_is_what_was_asked_for() {
    let table: [(usize, Sampling, &[usize]); 9] = [
        (132, uniform(1), &[0]),
        (132, uniform(2), &[0, 131]),
        (132, uniform(3), &[0, 66, 131]),
        (132, uniform(7), &[0, 22, 44, 66, 87, 109, 131]),
        (5, uniform(8), &[0, 1, 2, 3, 4]),
        (1, uniform(8), &[0]),
        (75, fps(1.0, Some(1), None), &[0, 37, 74]),
        (75, fps(1.0, None, None), &[0, 25, 49, 74]),
        (75, fps(25.0, None, Some(3)), &[0, 37, 74]),
    ];
    for (total, sampling, indices) in table {
        let selection = select(&StreamTiming::regular(total, 25.0), &sampling, WHOLE, FrameCount::Exact);
        let selection = selection.expect("a selection");
        assert_eq!(selection.indices, indices, "{total} {sampling:?}");
        assert_eq!(selection.sample_fps, indices.len() as f64 / total as f64 * 25.0);
    }
}

#[test]
fn time_stamps_find_the_frame_on_display() {
    let uneven = StreamTiming::from_pts(vec![10.0, 10.5, 10.6, 12.0, 13.0], 1.25);
    let table: [(&StreamTiming, &[f64], &[usize], f64); 6] = [
        (&uneven, &[0.0, 0.49, 0.5, 1.99, 2.0, 99.0], &[0, 0, 1, 2, 3, 4], 5.0 / 3.0),
        (&uneven, &[2.5, 0.55], &[3, 1], 1.0 / 1.5),
        (&uneven, &[-1.0], &[0], 1.25),
        (&uneven, &[0.1, 0.2], &[0, 0], 1.25),
        (&StreamTiming::regular(100, 25.0), &[0.0, 0.04, 0.079, 0.08, 9.0], &[0, 1, 1, 2, 99], 4.0 / 3.96),
        (&StreamTiming::regular(100, 30000.0 / 1001.0), &[1.001, 2.002], &[30, 60], 1.0 / 1.001),
    ];
    for (timing, seconds, indices, sample_fps) in table {
        let selection =
            select(timing, &Sampling::Timestamps(seconds.to_vec()), WHOLE, FrameCount::MultipleOf(2));
        let selection = selection.expect("a selection");
        assert_eq!(selection.indices, indices, "{seconds:?}");
        assert!((selection.sample_fps - sample_fps).abs() < 1e-9, "{seconds:?}: {}", selection.sample_fps);
    }
}

#[test]
fn requests_that_no_video_satisfies_are_errors() {
    let timing = StreamTiming::regular(132, 25.0);
    let table = [
        (uniform(0), WHOLE, "the number of frames must be at least 1, got 0"),
        (fps(0.0, None, None), WHOLE, "fps must be a positive number, got 0"),
        (fps(f64::NAN, None, None), WHOLE, "fps must be a positive number, got NaN"),
        (fps(1.0, None, Some(1)), WHOLE, "max_frames must be at least 2, got 1"),
        (Sampling::Timestamps(vec![]), WHOLE, "the number of time stamps must be at least 1, got 0"),
        (Sampling::Timestamps(vec![f64::INFINITY]), WHOLE, "a time stamp must be a finite number, got inf"),
        (
            uniform(4),
            between(Some(6.0), None),
            "time range 6 s to 5.28 s holds no frame of a video of 5.280 s",
        ),
        (uniform(4), between(Some(3.0), Some(2.0)), "time range 3 s to 2 s holds no frame"),
        (uniform(4), between(None, Some(-1.0)), "time range 0 s to -1 s holds no frame"),
        (
            uniform(4),
            between(Some(f64::NAN), None),
            "the start of the time range must be a finite number, got NaN",
        ),
    ];
    for (sampling, range, expected) in table {
        let error =
            select(&timing, &sampling, range, FrameCount::MultipleOf(2)).expect_err("an error").to_string();
        assert!(error.contains(expected), "{error}");
    }
    let empty = select(&StreamTiming::regular(0, 25.0), &uniform(8), WHOLE, FrameCount::MultipleOf(2));
    assert!(matches!(empty, Err(VideoError::InvalidSampling { got, .. }) if got == "0"));
}

/// The numbers stand beside the reference tensors of the golden cases.
#[test]
fn real_clips_are_sampled_like_the_golden_cases() {
    let four = [0, 44, 87, 131];
    type Row<'a> = (&'a str, Sampling, usize, f64, &'a [usize], f64);
    let table: [Row; 5] = [
        ("bunny.mp4", uniform(8), 132, 25.0, &[0, 19, 37, 56, 75, 94, 112, 131], 1.5151515151515151),
        ("bunny.mp4", fps(1.0, None, None), 132, 25.0, &four, 0.7575757575757576),
        ("bunny.mp4", uniform(4), 132, 25.0, &four, 0.7575757575757576),
        (
            "testsrc.mp4",
            fps(4.0, Some(4), Some(10)),
            120,
            30.0,
            &[0, 13, 26, 40, 53, 66, 79, 93, 106, 119],
            2.5,
        ),
        ("ntsc.mp4", uniform(6), 90, 29.97002997002997, &[0, 18, 36, 53, 71, 89], 1.9980019980019978),
    ];
    let media = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/media");
    for (clip, sampling, total_frames, average_fps, indices, sample_fps) in table {
        let mut reader = VideoReader::open(media.join(clip)).expect("opens");
        assert_eq!(reader.metadata().frames, total_frames, "{clip}");
        assert_eq!(reader.metadata().average_fps, average_fps, "{clip}");
        let selection =
            select(&reader.timing(), &sampling, WHOLE, FrameCount::MultipleOf(2)).expect("a selection");
        assert_eq!(selection.indices, indices, "{clip} {sampling:?}");
        assert_eq!(selection.sample_fps, sample_fps, "{clip} {sampling:?}");
        let found: Vec<usize> =
            reader.frames(&selection.indices).map(|frame| frame.expect("decodes").index).collect();
        assert_eq!(found, indices, "{clip} {sampling:?}");
    }
}

/// Ten frames in a second, then one a second: by the average rate, the first second is over after two frames.
#[test]
fn times_of_the_container_are_counted_where_frames_are_uneven() {
    let pts = (0..10).map(|i| f64::from(i) / 10.0).chain((0..10).map(|i| f64::from(i) + 1.0)).collect();
    let timing = StreamTiming::from_pts(pts, 20.0 / 11.0);
    let frames = |range| select(&timing, &uniform(20), range, FrameCount::Exact).unwrap().indices;
    for (start, end, expected) in [
        (0.0, 1.0, (0..10).collect::<Vec<usize>>()),
        (0.5, 3.5, (5..13).collect()),
        (1.0, 4.0, (10..13).collect()),
        (9.2, 10.0, vec![18]),
        (3.2, 3.4, vec![12]),
    ] {
        let range = between(Some(start), Some(end));
        assert_eq!(frames(timing.by_average_rate(range)), expected, "{start} to {end}");
    }
    assert_ne!(frames(between(Some(0.0), Some(1.0))).len(), 10);
    // The last frame may be on display for long, and others for no time.
    let held = StreamTiming::from_pts((0..300).map(|i| f64::from(i) / 30.0).collect(), 5.0);
    let late = held.by_average_rate(between(Some(20.0), Some(30.0)));
    assert_eq!(select(&held, &uniform(9), late, FrameCount::Exact).unwrap().indices, [299]);
    let twice = StreamTiming::from_pts(vec![0.0, 1.0, 2.0, 2.0, 2.0, 3.0], 1.5);
    let before = twice.by_average_rate(between(Some(0.0), Some(2.0)));
    assert_eq!(select(&twice, &uniform(9), before, FrameCount::Exact).unwrap().indices, [0, 1]);
    // Where they are even, the frame that comes up at the end is left out.
    let even = StreamTiming::from_pts((0..50).map(|i| 5.0 + f64::from(i) / 25.0).collect(), 25.0);
    for timing in [even, StreamTiming::regular(50, 25.0)] {
        let frames = |start, end| {
            let range = timing.by_average_rate(between(start, end));
            select(&timing, &uniform(50), range, FrameCount::Exact).map(|selection| selection.indices)
        };
        assert_eq!(frames(Some(0.4), Some(1.2)).unwrap(), (10..30).collect::<Vec<_>>());
        assert_eq!(frames(Some(0.41), Some(1.21)).unwrap(), (11..31).collect::<Vec<_>>());
        assert_eq!(frames(Some(0.41), Some(0.43)).unwrap(), [10]);
        assert_eq!(frames(Some(1.2), None).unwrap(), (30..50).collect::<Vec<_>>());
        assert_eq!(frames(None, Some(0.2)).unwrap(), (0..5).collect::<Vec<_>>());
        assert_eq!(frames(Some(1.9), Some(1e300)).unwrap(), [48, 49]);
        assert_eq!(frames(Some(1.97), Some(1.99)).unwrap(), [49]);
        for (start, end) in [(2.0, 3.0), (1.0, 0.5), (-2.0, -1.0), (f64::NAN, 1.0), (0.0, f64::NAN)] {
            assert!(frames(Some(start), Some(end)).is_err(), "{start} to {end}");
        }
    }
}
