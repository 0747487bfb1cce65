use super::*;

fn index_of(entries: &[(i64, i64, bool, bool)]) -> FrameIndex {
    let mut builder = FrameIndexBuilder::new(true);
    for &(pts, dts, keyframe, displayed) in entries {
        builder.push(PacketEntry {
            pts: Some(pts),
            dts: Some(dts),
            duration: 1,
            position: 0,
            coded: None,
            keyframe,
            displayed,
        });
    }
    builder.finish(&[])
}

#[test]
fn leading_pictures_belong_to_the_key_frame_before() {
    // Decode order I0 P3 B1 B2 I6 B4 B5 P7: the second I is an open one.
    let index = index_of(&[
        (0, -1, true, true),
        (3, 0, false, true),
        (1, 1, false, true),
        (2, 2, false, true),
        (6, 3, true, true),
        (4, 4, false, true),
        (5, 5, false, true),
        (7, 6, false, true),
    ]);
    let ranks: Vec<_> = (0..8).map(|packet| index.rank_of(packet)).collect();
    assert_eq!(ranks, [0, 3, 1, 2, 6, 4, 5, 7].map(Some));
    let keys: Vec<_> = (0..8).map(|frame| index.keyframe_before(frame)).collect();
    assert_eq!(keys, [0, 0, 0, 0, 0, 0, 1, 1].map(Some));
}

#[test]
fn packets_cut_away_are_not_counted() {
    let index =
        index_of(&[(-2, -2, true, false), (-1, -1, false, false), (0, 0, false, true), (1, 1, true, true)]);
    assert_eq!(index.frames(), 2);
    assert_eq!(index.packets(), 4);
    assert_eq!(index.rank_of(0), None);
    assert_eq!(index.rank_of(2), Some(0));
    assert_eq!(index.keyframe_before(0), Some(0));
    assert_eq!(index.keyframe_before(1), Some(1));
}

#[test]
fn a_missing_time_leaves_the_index_without_times() {
    let mut builder = FrameIndexBuilder::new(true);
    for pts in [Some(0), None, Some(2)] {
        builder.push(PacketEntry {
            pts,
            dts: pts,
            duration: 1,
            position: 0,
            coded: None,
            keyframe: true,
            displayed: true,
        });
    }
    assert!(builder.misses_times());
    let index = builder.finish(&[]);
    assert!(!index.has_times());
    assert_eq!(index.frames(), 3);
    assert_eq!(index.keyframe_before(1), None);
}

/// Decode order I0 P3 B1 B2, as many times as asked for, with a clock that starts over each time.
fn joined(parts: usize) -> FrameIndexBuilder {
    let mut builder = FrameIndexBuilder::new(true);
    for _ in 0..parts {
        for (pts, dts, keyframe) in [(1, 0, true), (4, 1, false), (2, 2, false), (3, 3, false)] {
            let (pts, dts) = (Some(pts), Some(dts));
            builder.push(PacketEntry {
                pts,
                dts,
                duration: 1,
                position: 0,
                coded: None,
                keyframe,
                displayed: true,
            });
        }
    }
    builder
}

#[test]
fn parts_of_joined_recordings_follow_each_other() {
    let mut builder = joined(3);
    let doubtful = builder.doubtful();
    assert_eq!(
        doubtful.iter().map(|run| (run.packets.start, run.packets.end)).collect::<Vec<_>>(),
        [(0, 12)]
    );
    let index = builder.finish(&doubtful);
    assert_eq!(index.restarts(), 2);
    assert!(!index.times_are_unique());
    let ranks: Vec<_> = (0..12).filter_map(|packet| index.rank_of(packet)).collect();
    assert_eq!(ranks, [0, 3, 1, 2, 4, 7, 5, 6, 8, 11, 9, 10]);
    assert_eq!(index.pts(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let keys: Vec<_> = (0..12).map(|frame| index.keyframe_before(frame)).collect();
    assert_eq!(keys, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2].map(Some));
}

#[test]
fn a_decoder_settles_what_times_leave_open() {
    let mut builder = joined(1);
    assert_eq!(builder.doubtful(), []);
    let decoded = Doubtful { packets: 0..4, from: 0, decoded: vec![0, 2, 1] };
    let index = builder.finish(&[decoded]);
    // Packet 3 did not come out and follows the one before it.
    let packets: Vec<_> = (0..4).filter_map(|frame| index.packet_of(frame)).collect();
    assert_eq!(packets, [0, 2, 3, 1]);
    assert_eq!(index.pts(), [1, 2, 3, 4]);
}

#[test]
fn equal_and_stray_times_are_doubted() {
    let gop = 40;
    let doubted = |times: &dyn Fn(i64) -> i64| {
        let mut builder = FrameIndexBuilder::new(true);
        for packet in 0..6 * gop {
            let keyframe = packet % gop == 0;
            let (pts, dts) = (Some(times(packet)), Some(packet));
            builder.push(PacketEntry {
                pts,
                dts,
                duration: 1,
                position: 0,
                coded: None,
                keyframe,
                displayed: true,
            });
        }
        builder.doubtful().into_iter().map(|run| (run.packets.start, run.packets.end)).collect::<Vec<_>>()
    };
    let runs = doubted(&|packet| packet);
    assert_eq!(runs, []);
    let runs = doubted(&|packet| if packet == 50 { 51 } else { packet });
    assert_eq!(runs, [(40, 80)]);
    let runs = doubted(&|packet| if packet == 50 { 9000 } else { packet });
    assert_eq!(runs, [(40, 120)]);
}

#[test]
fn codecs_that_do_not_reorder_go_by_the_order_of_the_file() {
    let mut builder = FrameIndexBuilder::new(false);
    for pts in [Some(5), Some(4), None, Some(9), Some(1)] {
        builder.push(PacketEntry {
            pts,
            dts: pts,
            duration: 1,
            position: 0,
            coded: None,
            keyframe: true,
            displayed: true,
        });
    }
    assert_eq!(builder.doubtful(), []);
    let index = builder.finish(&[]);
    assert_eq!((0..5).filter_map(|packet| index.rank_of(packet)).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(index.pts(), [5, 6, 7, 11, 12]);
    assert_eq!(index.restarts(), 2);
}
