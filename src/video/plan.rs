//! How frame numbers, packets and decoded pictures of one stream belong together.

use super::{
    demux::Demuxer,
    index::{FrameIndex, Keyframe},
};
use ffmpeg_next::{Packet, ffi, frame};

/// Without a container index, targets this many frames ahead are decoded towards rather than sought.
const FRAMES_DECODED_TOWARDS: f64 = 64.0;
/// How far before a missed time the next try starts, in frames.
const FRAMES_BACK: i64 = 48;
/// Pictures that H.264 decoders hold back, at the most.
const MAX_REORDERED: usize = 16;

/// Where decoding starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    /// The first packet.
    Beginning,
    /// A key frame by its number in the index.
    Keyframe(usize),
    /// Where the container leads for a time in ticks.
    Time(i64),
}

/// Frame numbering of a stream. Labels are frame numbers, or ticks in [`Plan::Approximate`].
pub(super) enum Plan {
    /// Every packet is known with its frame; packets are stamped with the frame's number, which comes out
    /// with it.
    Indexed(FrameIndex),
    /// The stream has no usable times: pictures are counted as they come out.
    Counted { frames: usize, packets: usize, ticks_per_frame: f64 },
    /// Nothing is known but the header: frames are taken to be evenly spaced.
    Approximate { frames: usize, start: i64, ticks_per_frame: f64 },
}

/// Stamp of packets that show nothing.
const HIDDEN: i64 = -1;

impl Plan {
    pub(super) fn frames(&self) -> usize {
        match self {
            Self::Indexed(index) => index.frames(),
            Self::Counted { frames, .. } | Self::Approximate { frames, .. } => *frames,
        }
    }

    pub(super) fn packets(&self) -> usize {
        match self {
            Self::Indexed(index) => index.packets(),
            Self::Counted { packets, .. } => *packets,
            Self::Approximate { frames, .. } => *frames,
        }
    }

    /// Packets after which nothing more can be read; unknown without a scan.
    pub(super) fn packets_to_read(&self) -> usize {
        match self {
            Self::Indexed(_) | Self::Counted { .. } => self.packets(),
            Self::Approximate { .. } => usize::MAX,
        }
    }

    /// Presentation time of a frame.
    pub(super) fn ticks(&self, frame: usize) -> i64 {
        match self {
            Self::Indexed(index) => index.pts().get(frame).copied().unwrap_or(0),
            Self::Counted { ticks_per_frame, .. } => (frame as f64 * ticks_per_frame).round() as i64,
            Self::Approximate { start, ticks_per_frame, .. } => {
                start + (frame as f64 * ticks_per_frame).round() as i64
            }
        }
    }

    pub(super) fn label(&self, frame: usize) -> i64 {
        match self {
            Self::Indexed(_) | Self::Counted { .. } => frame as i64,
            Self::Approximate { .. } => self.ticks(frame),
        }
    }

    /// The frame with a label, the nearest one if need be.
    pub(super) fn frame_of(&self, label: i64) -> usize {
        match self {
            Self::Indexed(_) | Self::Counted { .. } => usize::try_from(label).unwrap_or(0),
            Self::Approximate { frames, start, ticks_per_frame } => {
                let frame = (label.saturating_sub(*start)) as f64 / ticks_per_frame;
                (frame.round().max(0.0) as usize).min(frames.saturating_sub(1))
            }
        }
    }

    /// Whether a picture with this label is the answer to `frame`.
    pub(super) fn is_frame(&self, label: i64, frame: usize) -> bool {
        match self {
            Self::Indexed(_) | Self::Counted { .. } => label == frame as i64,
            Self::Approximate { ticks_per_frame, .. } => {
                (label - self.ticks(frame)).abs() as f64 <= ticks_per_frame / 2.0
            }
        }
    }

    /// The label of a picture, the `decoded`-th since the start.
    pub(super) fn label_of(&self, picture: &frame::Video, decoded: usize) -> i64 {
        match self {
            Self::Indexed(_) => picture.pts().unwrap_or(HIDDEN),
            Self::Counted { .. } => decoded as i64,
            Self::Approximate { start, ticks_per_frame, .. } => {
                // SAFETY: the frame is live.
                let guess = unsafe { (*picture.as_ptr()).best_effort_timestamp };
                if guess == ffi::AV_NOPTS_VALUE {
                    start + (decoded as f64 * ticks_per_frame).round() as i64
                } else {
                    guess
                }
            }
        }
    }

    /// Marks a packet so that its picture can be recognised. True where that picture is the target or lies
    /// behind it.
    pub(super) fn stamp(
        &self,
        packet: &mut Packet,
        number: usize,
        target: usize,
        next: Option<usize>,
    ) -> bool {
        match self {
            Self::Indexed(index) => {
                let rank = index.rank_of(number);
                packet.set_pts(Some(rank.map_or(HIDDEN, |rank| rank as i64)));
                packet.set_dts(None);
                rank.is_none_or(|rank| {
                    rank == target || (rank > target && next.is_none_or(|next| rank >= next))
                })
            }
            Self::Counted { .. } => true,
            Self::Approximate { ticks_per_frame, .. } => {
                packet.pts().is_none_or(|pts| (pts as f64) >= self.ticks(target) as f64 - ticks_per_frame)
            }
        }
    }

    /// Whether a packet shows a picture from before `floor`. `None` where it shows none.
    pub(super) fn is_leading(&self, packet: usize, floor: i64) -> Option<bool> {
        match self {
            Self::Indexed(index) => index.rank_of(packet).map(|rank| (rank as i64) < floor),
            Self::Counted { .. } | Self::Approximate { .. } => Some(false),
        }
    }

    /// Whether the decoder has been given all of frame `target` once `next_packet` comes next.
    pub(super) fn is_complete(&self, target: usize, next_packet: usize) -> bool {
        match self {
            // A packet that shows nothing may be the second field of the frame before it.
            Self::Indexed(index) => {
                index.packet_of(target).is_some_and(|packet| packet < next_packet)
                    && (index.rank_of(next_packet).is_some() || next_packet >= index.packets())
            }
            Self::Counted { .. } | Self::Approximate { .. } => false,
        }
    }

    /// Whether so much lies between the key frame before `target` and it that decoding the few packets by
    /// which the frame comes out is cheaper than having to start there again, should something behind it be
    /// asked for.
    pub(super) fn is_far(&self, target: usize) -> bool {
        const FAR: usize = 64;
        let Self::Indexed(index) = self else { return false };
        let start = index.keyframe_before(target).and_then(|number| index.keyframe(number));
        let start = start.map_or(0, |key| key.packet as usize);
        index.packet_of(target).is_some_and(|packet| packet.saturating_sub(start) > FAR)
    }

    /// Whether a time tells a key frame from all others.
    pub(super) fn times_are_unique(&self) -> bool {
        matches!(self, Self::Indexed(index) if index.times_are_unique())
    }

    pub(super) fn keyframe(&self, number: usize) -> Option<Keyframe> {
        match self {
            Self::Indexed(index) => index.keyframe(number),
            Self::Counted { .. } | Self::Approximate { .. } => None,
        }
    }

    /// Presentation time of the frame in a packet.
    pub(super) fn pts_of_packet(&self, packet: usize) -> Option<i64> {
        match self {
            Self::Indexed(index) => index.rank_of(packet).and_then(|rank| index.pts().get(rank).copied()),
            Self::Counted { .. } | Self::Approximate { .. } => None,
        }
    }

    /// The latest place from which frame `target` can be decoded.
    pub(super) fn start_before(&self, target: usize) -> Start {
        match self {
            Self::Indexed(index) => index.keyframe_before(target).map_or(Start::Beginning, Start::Keyframe),
            Self::Counted { .. } => Start::Beginning,
            Self::Approximate { .. } if target == 0 => Start::Beginning,
            Self::Approximate { .. } => Start::Time(self.ticks(target)),
        }
    }

    /// Whether a decoder may hold all from `start` to the target in its reordering, so that none of it comes
    /// out before it is drained.
    pub(super) fn is_close(&self, start: Start, target: usize) -> bool {
        match (self, start) {
            (Self::Indexed(index), Start::Keyframe(number)) => index
                .keyframe(number)
                .zip(index.packet_of(target))
                .is_some_and(|(key, packet)| packet.saturating_sub(key.packet as usize) <= MAX_REORDERED),
            _ => false,
        }
    }

    /// An earlier place than `start`, if there is one.
    pub(super) fn earlier(&self, start: Start, steps: usize) -> Option<Start> {
        match (self, start) {
            (_, Start::Beginning) => None,
            (_, Start::Keyframe(0)) => Some(Start::Beginning),
            (_, Start::Keyframe(key)) => Some(Start::Keyframe(key.saturating_sub(steps))),
            (Self::Approximate { start: first, ticks_per_frame, .. }, Start::Time(ticks)) => {
                let back = (FRAMES_BACK * steps as i64) as f64 * ticks_per_frame;
                let ticks = ticks - back as i64;
                Some(if ticks <= *first { Start::Beginning } else { Start::Time(ticks) })
            }
            (_, Start::Time(_)) => Some(Start::Beginning),
        }
    }

    /// The smallest label that decodes right from `start`.
    pub(super) fn floor(&self, start: Start) -> i64 {
        match (self, start) {
            (Self::Indexed(index), Start::Keyframe(number)) => index
                .keyframe(number)
                .and_then(|key| index.rank_of(key.packet as usize))
                .map_or(0, |rank| rank as i64),
            (Self::Indexed(_) | Self::Counted { .. }, _) => 0,
            (Self::Approximate { .. }, _) => i64::MIN,
        }
    }

    /// Whether a decoder that has been fed up to `next_packet` and has given out `position` is past `start`
    /// already, so that starting there would gain nothing.
    pub(super) fn is_past(
        &self,
        start: Start,
        next_packet: usize,
        position: Option<i64>,
        demuxer: &mut Demuxer,
    ) -> bool {
        match (self, start) {
            (Self::Indexed(index), Start::Keyframe(number)) => {
                index.keyframe(number).is_some_and(|key| (key.packet as usize) < next_packet)
            }
            (_, Start::Beginning | Start::Keyframe(_)) => true,
            (Self::Approximate { ticks_per_frame, .. }, Start::Time(ticks)) => {
                position.is_some_and(|position| {
                    match (demuxer.container_keyframe(position), demuxer.container_keyframe(ticks)) {
                        (Some(here), Some(there)) => here >= there,
                        _ => (ticks - position) as f64 <= FRAMES_DECODED_TOWARDS * ticks_per_frame,
                    }
                })
            }
            (_, Start::Time(_)) => false,
        }
    }
}
