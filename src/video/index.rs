//! The frame index: what a scan of the packets tells, without decoding any.

use super::{
    clock::Clock,
    coded_order::{Coded, Group},
    doubtful::{Doubtful, entangled, order_as_decoded, runs},
};

/// One packet of the video stream, in the order the demuxer gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketEntry {
    /// Presentation time in stream ticks.
    pub pts: Option<i64>,
    /// Decode time in stream ticks.
    pub dts: Option<i64>,
    /// Duration in stream ticks, 0 where unknown.
    pub duration: i64,
    /// Byte in the file, negative where unknown.
    pub position: i64,
    /// What the packet tells of its picture, if anything.
    pub coded: Option<Coded>,
    /// Whether decoding can start here.
    pub keyframe: bool,
    /// Whether a frame of the presentation comes out of it; not so for packets cut away by an edit list.
    pub displayed: bool,
}

/// A packet at which decoding can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keyframe {
    /// Number of the packet in decode order.
    pub packet: u32,
    /// What to seek to.
    pub dts: i64,
    /// Byte in the file, negative where unknown.
    pub position: i64,
    /// Whether pictures before it are needed for those just behind it.
    pub gradual: bool,
}

/// Rank of packets that show nothing.
const NOT_DISPLAYED: u32 = u32::MAX;
/// Packets and frames of a stream, and how they belong together.
#[derive(Debug, Default)]
pub(super) struct FrameIndex {
    /// Presentation times in ticks, by frame, never falling. Empty where the container has no usable times.
    pts: Vec<i64>,
    /// Frame shown by each packet, in decode order. Empty where `pts` is.
    rank_of_packet: Vec<u32>,
    /// The reverse: packet of each frame.
    packet_of_rank: Vec<u32>,
    keyframes: Vec<Keyframe>,
    displayed: usize,
    packets: usize,
    last_duration: i64,
    restarts: usize,
    times_are_unique: bool,
    decoding: DecodeTimes,
}

/// Decode times of the frames, as far as they rise.
#[derive(Debug, Default, Clone, Copy)]
struct DecodeTimes {
    first: Option<i64>,
    last: Option<i64>,
    /// Whether one is missing, or before that of the frame before it.
    are_unsound: bool,
}

impl DecodeTimes {
    fn push(&mut self, dts: Option<i64>) {
        self.are_unsound |= dts.is_none() || self.last.is_some_and(|last| dts.is_some_and(|dts| dts < last));
        self.first = self.first.or(dts);
        self.last = dts;
    }
}

/// Collects packets into a [`FrameIndex`].
#[derive(Debug)]
pub(super) struct FrameIndexBuilder {
    /// Whether pictures may be shown in another order than that of their packets.
    reorders: bool,
    clock: Clock,
    /// Presentation time and packet number of each displayed packet, in decode order.
    frames: Vec<(i64, u32)>,
    keyframes: Vec<Keyframe>,
    packets: u32,
    missing_pts: usize,
    /// Packets at which times say nothing about the order.
    doubts: Vec<u32>,
    /// Pictures since the last key frame.
    group: Group,
    /// Whether times come again in a part of the file that is not indexed.
    times_recur: bool,
    last: Option<(i64, i64)>,
    decoding: DecodeTimes,
}

impl FrameIndexBuilder {
    /// A builder for a codec that shows pictures in another order than that of the packets, or does not.
    pub(super) fn new(reorders: bool) -> Self {
        Self {
            reorders,
            clock: Clock::default(),
            frames: Vec::new(),
            keyframes: Vec::new(),
            packets: 0,
            missing_pts: 0,
            doubts: Vec::new(),
            group: Group::default(),
            times_recur: false,
            last: None,
            decoding: DecodeTimes::default(),
        }
    }

    pub(super) fn push(&mut self, entry: PacketEntry) {
        let packet = self.packets;
        self.packets += 1;
        if entry.keyframe
            && let Some(dts) = entry.dts.or(entry.pts)
        {
            let gradual = entry.coded.is_some_and(|coded| coded.gradual);
            self.keyframes.push(Keyframe { packet, dts, position: entry.position, gradual });
        }
        if !entry.displayed {
            return;
        }
        self.decoding.push(entry.dts);
        let step = self.clock.step();
        let placed = self.clock.place(&entry, !self.reorders);
        self.missing_pts += usize::from(placed.pts.is_none());
        // Whatever lies before a key frame in the file is shown before it.
        let doubtful = placed.restarted || placed.pts.is_none() || (entry.keyframe && placed.overtaken);
        if self.reorders && doubtful {
            self.doubts.push(packet);
        }
        let after_previous = || self.frames.last().map_or(0, |(pts, _)| pts.saturating_add(step));
        let pts = placed.pts.unwrap_or_else(after_previous);
        self.frames.push((pts, packet));
        if let Some(coded) = entry.coded {
            self.doubts.extend(self.group.push(coded.number, pts, packet, entry.keyframe));
        }
        if self.last.is_none_or(|(last, _)| pts >= last) {
            self.last = Some((pts, entry.duration));
        }
    }

    /// Tells that times come again in a part of the file that is not indexed.
    pub(super) fn note_recurring_times(&mut self) {
        self.times_recur = true;
    }

    /// Frames seen so far.
    pub(super) fn displayed(&self) -> usize {
        self.frames.len()
    }

    /// Number of the packet that comes next.
    pub(super) fn next_packet(&self) -> u32 {
        self.packets
    }

    /// Whether some displayed packet has no presentation time.
    pub(super) fn misses_times(&self) -> bool {
        self.missing_pts > 0
    }

    /// Whether so many times are missing that what there is tells nothing.
    fn has_no_clock(&self) -> bool {
        if self.reorders {
            self.missing_pts * 4 > self.frames.len()
        } else {
            self.missing_pts == self.frames.len()
        }
    }

    /// The packets whose order only a decoder can tell, to be filled in by one.
    pub(super) fn doubtful(&mut self) -> Vec<Doubtful> {
        if !self.reorders || self.has_no_clock() {
            return Vec::new();
        }
        let mut doubts = self.doubts.clone();
        doubts.extend(self.group.contradiction());
        doubts.extend(entangled(&self.frames));
        runs(doubts, &self.keyframes, self.packets)
    }

    /// The index, given what [`Self::doubtful`] asked for.
    pub(super) fn finish(mut self, doubtful: &[Doubtful]) -> FrameIndex {
        let mut index = FrameIndex {
            displayed: self.frames.len(),
            packets: self.packets as usize,
            last_duration: self.last.map_or(0, |(_, duration)| duration),
            restarts: self.clock.restarts(),
            decoding: self.decoding,
            ..FrameIndex::default()
        };
        if self.has_no_clock() {
            return index;
        }
        self.put_in_order(doubtful);
        index.rank_of_packet = vec![NOT_DISPLAYED; self.packets as usize];
        for (rank, &(_, packet)) in self.frames.iter().enumerate() {
            if let Some(slot) = index.rank_of_packet.get_mut(packet as usize) {
                *slot = rank as u32;
            }
        }
        index.packet_of_rank = self.frames.iter().map(|(_, packet)| *packet).collect();
        let mut latest = i64::MIN;
        let rising = self.frames.into_iter().map(|(pts, _)| {
            latest = latest.max(pts);
            latest
        });
        index.pts = rising.collect();
        index.times_are_unique = !self.times_recur
            && self.clock.restarts() == 0
            && doubtful.is_empty()
            && self.keyframes.is_sorted_by(|before, after| before.dts < after.dts);
        if !doubtful.is_empty() {
            retain_rising(&mut self.keyframes, &index.rank_of_packet);
        }
        self.keyframes.shrink_to_fit();
        index.keyframes = self.keyframes;
        index
    }

    /// Sorts frames by time where times tell their order, and as decoded where not.
    fn put_in_order(&mut self, doubtful: &[Doubtful]) {
        if !self.reorders {
            return;
        }
        let mut rest = self.frames.as_mut_slice();
        let position = |packet: u32, rest: &[(i64, u32)]| rest.partition_point(|(_, other)| *other < packet);
        for run in doubtful {
            let (sound, behind) = rest.split_at_mut(position(run.packets.start, rest));
            let (tangled, behind) = behind.split_at_mut(position(run.packets.end, behind));
            sound.sort_unstable();
            order_as_decoded(tangled, &run.decoded);
            rest = behind;
        }
        rest.sort_unstable();
    }
}

/// Leaves out key frames that are not shown after those before them, at which nothing could be looked up.
fn retain_rising(keyframes: &mut Vec<Keyframe>, rank_of_packet: &[u32]) {
    let mut latest = None;
    keyframes.retain(|key| {
        let rank = rank_of_packet.get(key.packet as usize).copied().filter(|rank| *rank != NOT_DISPLAYED);
        let rises = rank.is_none() || rank > latest;
        latest = latest.max(rank);
        rises
    });
}

impl FrameIndex {
    /// Number of frames.
    pub(super) fn frames(&self) -> usize {
        self.displayed
    }

    /// Number of packets.
    pub(super) fn packets(&self) -> usize {
        self.packets
    }

    /// Whether every frame has a time of its own and so can be told from its packet.
    pub(super) fn has_times(&self) -> bool {
        !self.pts.is_empty()
    }

    /// Presentation times of all frames in ticks, never falling. Where the clock of the file steps back,
    /// times go on.
    pub(super) fn pts(&self) -> &[i64] {
        &self.pts
    }

    /// Frame shown by a packet.
    pub(super) fn rank_of(&self, packet: usize) -> Option<usize> {
        self.rank_of_packet.get(packet).filter(|rank| **rank != NOT_DISPLAYED).map(|rank| *rank as usize)
    }

    /// Packet that shows a frame.
    pub(super) fn packet_of(&self, frame: usize) -> Option<usize> {
        self.packet_of_rank.get(frame).map(|packet| *packet as usize)
    }

    /// Duration of the last frame in ticks, 0 where unknown.
    pub(super) fn last_duration(&self) -> i64 {
        self.last_duration
    }

    /// Ticks between frames by when they are decoded, where all of them have such a time.
    pub(super) fn decode_ticks_per_frame(&self) -> Option<f64> {
        let DecodeTimes { first, last, are_unsound } = self.decoding;
        let span = last?.checked_sub(first?)?;
        (!are_unsound && span > 0 && self.displayed > 1).then(|| span as f64 / (self.displayed - 1) as f64)
    }

    /// How often the clock of the file steps back.
    pub(super) fn restarts(&self) -> usize {
        self.restarts
    }

    /// Whether a time tells a key frame from all others.
    pub(super) fn times_are_unique(&self) -> bool {
        self.times_are_unique
    }

    /// A key frame by its number.
    pub(super) fn keyframe(&self, number: usize) -> Option<Keyframe> {
        self.keyframes.get(number).copied()
    }

    /// Number of the last key frame, in decode order, that is not shown after frame `target`. Leading
    /// pictures, which follow a key frame but are shown before it, so get the key frame in front of theirs.
    /// From a gradual key frame on the stream says itself when pictures are whole, but not always right: the
    /// one before is given then.
    pub(super) fn keyframe_before(&self, target: usize) -> Option<usize> {
        let upper = self.keyframes.partition_point(|key| match self.rank_of(key.packet as usize) {
            Some(rank) => rank <= target,
            // A key frame cut away by an edit list precedes what is shown from it.
            None => self.first_rank_from(key.packet as usize).is_some_and(|rank| rank <= target),
        });
        let number = upper.checked_sub(1)?;
        if self.keyframe(number)?.gradual { number.checked_sub(1) } else { Some(number) }
    }

    fn first_rank_from(&self, packet: usize) -> Option<usize> {
        (packet..self.packets).find_map(|packet| self.rank_of(packet))
    }
}

#[cfg(test)]
mod tests;
