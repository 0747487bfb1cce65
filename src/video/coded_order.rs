//! Whether presentation times agree with the order that the pictures themselves were coded for.

use super::parser::{Parsed, Parser};
use ffmpeg_next::{
    Packet,
    codec::{self, Id},
};
use std::ffi::c_int;

/// Pictures looked at together where key frames are far apart.
const MAX_GROUP: usize = 1024;
/// Pictures that the next group begins with then: more than decoders reorder.
const OVERLAP: usize = 32;
/// More pictures than ever stand between two that others are predicted from.
const BETWEEN: i64 = 1 << 20;

/// What a packet tells of its picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Coded {
    /// Its place in the order in which pictures are to be shown. Compares from one key frame to the next.
    pub number: i64,
    /// Whether a key frame is one only in that decoding it and some pictures behind it makes up for those
    /// before.
    pub gradual: bool,
}

/// Numbers pictures by the order in which they are to be shown.
pub(super) struct CodedOrder {
    parser: Parser,
    numbering: Numbering,
    /// Pictures so far that others are predicted from, and bidirectional ones since.
    anchors: i64,
    since: i64,
    /// Size and pixel format of the pictures so far.
    shape: Option<((u32, u32), c_int)>,
    changes_shape: bool,
}

#[derive(Debug, Clone, Copy)]
enum Numbering {
    /// Pictures carry their number.
    Counts,
    /// Bidirectional pictures are shown between the last two others.
    Types,
}

impl CodedOrder {
    /// `None` for codecs whose packets do not tell.
    pub(super) fn open(parameters: codec::Parameters) -> Option<Self> {
        let numbering = match parameters.id() {
            Id::H264 | Id::HEVC => Numbering::Counts,
            Id::MPEG1VIDEO | Id::MPEG2VIDEO | Id::MPEG4 => Numbering::Types,
            _ => return None,
        };
        Some(Self {
            parser: Parser::open(parameters)?,
            numbering,
            anchors: 0,
            since: 0,
            shape: None,
            changes_shape: false,
        })
    }

    /// Looks at the next packet.
    pub(super) fn look(&mut self, packet: &Packet) -> Option<Coded> {
        let Parsed { size, format, picture_number, bidirectional, intra } = self.parser.parse(packet)?;
        if size != (0, 0) {
            let shape = Some((size, format));
            self.changes_shape |= self.shape.is_some() && self.shape != shape;
            self.shape = shape;
        }
        let number = match self.numbering {
            Numbering::Counts => i64::from(picture_number),
            Numbering::Types if bidirectional => {
                self.since += 1;
                (self.anchors - 1) * BETWEEN + self.since
            }
            Numbering::Types => {
                self.anchors += 1;
                self.since = 0;
                self.anchors * BETWEEN
            }
        };
        Some(Coded { number, gradual: matches!(self.numbering, Numbering::Counts) && !intra })
    }

    /// Whether pictures of different sizes or pixel formats were among the packets.
    pub(super) fn changes_shape(&self) -> bool {
        self.changes_shape
    }
}

/// Pictures from one key frame to the next: number, presentation time and packet.
#[derive(Debug, Default)]
pub(super) struct Group {
    pictures: Vec<(i64, i64, u32)>,
}

impl Group {
    /// Adds a picture. A key frame begins the next group. Gives a packet whose time contradicts its number,
    /// if there is one in the group that ended.
    pub(super) fn push(&mut self, number: i64, pts: i64, packet: u32, keyframe: bool) -> Option<u32> {
        let mut contradiction = None;
        if keyframe || self.pictures.len() >= MAX_GROUP {
            contradiction = self.contradiction();
            let kept = if keyframe { 0 } else { OVERLAP };
            self.pictures.drain(..self.pictures.len().saturating_sub(kept));
        }
        self.pictures.push((number, pts, packet));
        contradiction
    }

    /// Sorts the pictures by number. Gives one whose time is not behind that of the picture before it.
    pub(super) fn contradiction(&mut self) -> Option<u32> {
        self.pictures.sort_unstable();
        self.pictures.windows(2).find_map(|pair| match pair {
            [(_, before, a), (_, pts, b)] if pts < before => Some(*a.max(b)),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contradiction(pictures: &[(i64, i64)]) -> Option<u32> {
        let mut group = Group::default();
        for (packet, &(number, pts)) in pictures.iter().enumerate() {
            assert_eq!(group.push(number, pts, packet as u32, packet == 0), None);
        }
        group.contradiction()
    }

    #[test]
    fn times_must_rise_with_the_numbers_of_pictures() {
        assert_eq!(contradiction(&[(0, 10), (6, 13), (2, 11), (4, 12)]), None);
        assert_eq!(contradiction(&[(0, 10), (6, 13), (2, 14), (4, 12)]), Some(3));
        assert_eq!(contradiction(&[(0, 10), (6, 110), (2, 11), (4, 112)]), Some(3));
        assert_eq!(contradiction(&[(0, 10)]), None);
    }

    #[test]
    fn groups_end_at_key_frames_and_are_bounded() {
        let mut group = Group::default();
        group.push(0, 5, 0, true);
        group.push(1, 4, 1, false);
        assert_eq!(group.push(0, 6, 2, true), Some(1));
        for packet in 3..5000_u32 {
            assert_eq!(group.push(packet.into(), i64::from(packet) * 2, packet, false), None);
            assert!(group.pictures.len() <= MAX_GROUP);
        }
    }
}
