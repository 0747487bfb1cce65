//! The frame index: what a scan of the packets tells, without decoding any.

/// One packet of the video stream, in the order the demuxer gives them.
#[derive(Debug, Clone, Copy)]
pub(super) struct PacketEntry {
    /// Presentation time in stream ticks.
    pub pts: Option<i64>,
    /// Decode time in stream ticks.
    pub dts: Option<i64>,
    /// Duration in stream ticks, 0 where unknown.
    pub duration: i64,
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
}

/// Rank of packets that show nothing.
const NOT_DISPLAYED: u32 = u32::MAX;

/// Packets and frames of a stream, and how they belong together.
#[derive(Debug, Default)]
pub(super) struct FrameIndex {
    /// Presentation times in ticks, by frame. Empty where the container has no usable times.
    pts: Vec<i64>,
    /// Frame shown by each packet, in decode order. Empty where `pts` is.
    rank_of_packet: Vec<u32>,
    /// The reverse: packet of each frame.
    packet_of_rank: Vec<u32>,
    keyframes: Vec<Keyframe>,
    displayed: usize,
    packets: usize,
    last_duration: i64,
}

/// Collects packets into a [`FrameIndex`].
#[derive(Debug, Default)]
pub(super) struct FrameIndexBuilder {
    /// Presentation time and packet number of each displayed packet.
    frames: Vec<(i64, u32)>,
    keyframes: Vec<Keyframe>,
    packets: u32,
    displayed: usize,
    missing_pts: usize,
    last: Option<(i64, i64)>,
}

impl FrameIndexBuilder {
    pub(super) fn push(&mut self, entry: PacketEntry) {
        let packet = self.packets;
        self.packets += 1;
        if entry.keyframe
            && let Some(dts) = entry.dts.or(entry.pts)
        {
            self.keyframes.push(Keyframe { packet, dts });
        }
        if !entry.displayed {
            return;
        }
        self.displayed += 1;
        match entry.pts {
            Some(pts) => {
                self.frames.push((pts, packet));
                if self.last.is_none_or(|(last, _)| pts >= last) {
                    self.last = Some((pts, entry.duration));
                }
            }
            None => self.missing_pts += 1,
        }
    }

    /// Frames seen so far.
    pub(super) fn displayed(&self) -> usize {
        self.displayed
    }

    /// Whether some displayed packet has no presentation time.
    pub(super) fn misses_times(&self) -> bool {
        self.missing_pts > 0
    }

    pub(super) fn finish(mut self) -> FrameIndex {
        let mut index = FrameIndex {
            displayed: self.displayed,
            packets: self.packets as usize,
            last_duration: self.last.map_or(0, |(_, duration)| duration),
            ..FrameIndex::default()
        };
        if self.misses_times() {
            return index;
        }
        self.frames.sort_unstable();
        index.rank_of_packet = vec![NOT_DISPLAYED; self.packets as usize];
        for (rank, &(_, packet)) in self.frames.iter().enumerate() {
            if let Some(slot) = index.rank_of_packet.get_mut(packet as usize) {
                *slot = rank as u32;
            }
        }
        index.packet_of_rank = self.frames.iter().map(|(_, packet)| *packet).collect();
        index.pts = self.frames.into_iter().map(|(pts, _)| pts).collect();
        self.keyframes.shrink_to_fit();
        index.keyframes = self.keyframes;
        index
    }
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

    /// Presentation times of all frames in ticks, ascending.
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

    /// A key frame by its number.
    pub(super) fn keyframe(&self, number: usize) -> Option<Keyframe> {
        self.keyframes.get(number).copied()
    }

    /// Number of the last key frame, in decode order, that is not shown after frame `target`. Leading pictures, which
    /// follow a key frame but are shown before it, so get the key frame in front of theirs.
    pub(super) fn keyframe_before(&self, target: usize) -> Option<usize> {
        let upper = self.keyframes.partition_point(|key| match self.rank_of(key.packet as usize) {
            Some(rank) => rank <= target,
            // A key frame cut away by an edit list precedes what is shown from it.
            None => self.first_rank_from(key.packet as usize).is_some_and(|rank| rank <= target),
        });
        upper.checked_sub(1)
    }

    fn first_rank_from(&self, packet: usize) -> Option<usize> {
        (packet..self.packets).find_map(|packet| self.rank_of(packet))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(entries: &[(i64, i64, bool, bool)]) -> FrameIndex {
        let mut builder = FrameIndexBuilder::default();
        for &(pts, dts, keyframe, displayed) in entries {
            builder.push(PacketEntry { pts: Some(pts), dts: Some(dts), duration: 1, keyframe, displayed });
        }
        builder.finish()
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
        let index = index_of(&[
            (-2, -2, true, false),
            (-1, -1, false, false),
            (0, 0, false, true),
            (1, 1, true, true),
        ]);
        assert_eq!(index.frames(), 2);
        assert_eq!(index.packets(), 4);
        assert_eq!(index.rank_of(0), None);
        assert_eq!(index.rank_of(2), Some(0));
        assert_eq!(index.keyframe_before(0), Some(0));
        assert_eq!(index.keyframe_before(1), Some(1));
    }

    #[test]
    fn a_missing_time_leaves_the_index_without_times() {
        let mut builder = FrameIndexBuilder::default();
        for pts in [Some(0), None, Some(2)] {
            builder.push(PacketEntry { pts, dts: pts, duration: 1, keyframe: true, displayed: true });
        }
        assert!(builder.misses_times());
        let index = builder.finish();
        assert!(!index.has_times());
        assert_eq!(index.frames(), 3);
        assert_eq!(index.keyframe_before(1), None);
    }
}
