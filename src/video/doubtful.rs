//! Where times do not tell the order of pictures, and how it is put right.

use super::index::Keyframe;
use std::ops::Range;

/// A run of packets, from one key frame to another, whose times do not tell the order of their pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Doubtful {
    /// The packets.
    pub packets: Range<u32>,
    /// The key frame before them, from which their pictures can be decoded.
    pub from: u32,
    /// Those whose pictures a decoder gives, in the order in which it gives them.
    pub decoded: Vec<u32>,
}

/// Pictures that a decoder holds back at the most, twice over for streams in fields.
const MAX_REORDERED: usize = 32;

/// The runs that packets in doubt lie in, each from a key frame to another.
pub(super) fn runs(mut doubts: Vec<u32>, keyframes: &[Keyframe], packets: u32) -> Vec<Doubtful> {
    doubts.sort_unstable();
    let mut runs: Vec<Doubtful> = Vec::new();
    for packet in doubts {
        if runs.last().is_some_and(|run| packet < run.packets.end) {
            // A key frame at the end of a run has a doubt of its own, which the next run is about.
            continue;
        }
        let before = keyframes.partition_point(|key| key.packet < packet);
        let after = keyframes.partition_point(|key| key.packet <= packet);
        let key_packet =
            |number: Option<usize>| number.and_then(|number| keyframes.get(number)).map(|key| key.packet);
        let start = key_packet(before.checked_sub(1)).unwrap_or(0);
        let from = key_packet(before.checked_sub(2)).unwrap_or(0);
        let end = key_packet(Some(after)).unwrap_or(packets);
        match runs.last_mut() {
            // What decoding begins with has been decoded by then.
            Some(run) if from < run.packets.end => run.packets.end = end,
            _ => runs.push(Doubtful { packets: start..end, from, decoded: Vec::new() }),
        }
    }
    runs
}

/// Packets that share their time with another, or lie further from their place than decoders reorder.
pub(super) fn entangled(frames: &[(i64, u32)]) -> Vec<u32> {
    let mut sorted: Vec<(i64, u32)> = frames.to_vec();
    sorted.sort_unstable();
    let mut found: Vec<u32> = sorted
        .windows(2)
        .filter_map(|pair| match pair {
            [(a, first), (b, second)] if a == b => Some([*first, *second]),
            _ => None,
        })
        .flatten()
        .collect();
    let moved = sorted.iter().zip(frames).enumerate().filter(|(place, ((_, packet), here))| {
        *packet != here.1
            && frames
                .binary_search_by_key(packet, |(_, packet)| *packet)
                .is_ok_and(|coded| coded.abs_diff(*place) > MAX_REORDERED)
    });
    found.extend(moved.map(|(_, ((_, packet), _))| *packet));
    found
}

/// Puts frames, given in the order of their packets, into the order in which a decoder gave them. One that
/// did not come out follows the packet before it, or goes in front of all if it is a leading picture. Times
/// are handed out in ascending order.
pub(super) fn order_as_decoded(frames: &mut [(i64, u32)], decoded: &[u32]) {
    let mut times: Vec<i64> = frames.iter().map(|(pts, _)| *pts).collect();
    if decoded.is_empty() {
        frames.sort_unstable();
        return;
    }
    let mut places: Vec<(u32, usize)> =
        decoded.iter().enumerate().map(|(place, packet)| (*packet, place + 1)).collect();
    places.sort_unstable();
    let first = frames.first().map_or(0, |(pts, _)| *pts);
    let mut before = 0;
    let mut keyed: Vec<(usize, bool, u32)> = Vec::with_capacity(frames.len());
    for &(pts, packet) in frames.iter() {
        let place = places.binary_search_by_key(&packet, |(packet, _)| *packet);
        let place = place.ok().and_then(|found| places.get(found));
        keyed.push(match place {
            Some(&(_, place)) => {
                before = place;
                (place, false, packet)
            }
            None if pts < first => (0, true, packet),
            None => (before, true, packet),
        });
    }
    keyed.sort_unstable();
    times.sort_unstable();
    for ((frame, (.., packet)), pts) in frames.iter_mut().zip(keyed).zip(times) {
        *frame = (pts, packet);
    }
}
