//! What a decoder is told by one packet and needs for all that follow: palettes and codec headers.

use ffmpeg_next::{
    Error as FfmpegError, Packet,
    ffi::{self, AVPacketSideDataType as Kind},
    packet::{Mut, Ref},
};
use std::{ptr, slice};

/// The side data that stays in force.
const KINDS: [Kind; 3] =
    [Kind::AV_PKT_DATA_PALETTE, Kind::AV_PKT_DATA_NEW_EXTRADATA, Kind::AV_PKT_DATA_PARAM_CHANGE];
/// Bytes kept of one stream. A palette has 1024, so this holds more of them than any real file changes.
const MAX_BYTES: usize = 16 << 20;

/// Side data that stays in force from its packet on. Demuxers hand it out once, when they first come past,
/// and not again after a seek.
#[derive(Debug, Default)]
pub(super) struct CarriedData {
    /// The codec header that the container begins with.
    header: Vec<u8>,
    /// In the order of the packets.
    changes: Vec<Change>,
    bytes: usize,
}

#[derive(Debug)]
struct Change {
    packet: u32,
    kind: Kind,
    data: Vec<u8>,
}

impl CarriedData {
    /// Nothing but the codec header that the container begins with, empty where it has none.
    pub(super) fn new(header: &[u8]) -> Self {
        Self { header: header.to_vec(), ..Self::default() }
    }

    /// Remembers what packet `number` brings. False where there is too much to remember, so that decoding
    /// cannot start behind this packet.
    pub(super) fn note(&mut self, packet: &Packet, number: u32) -> bool {
        for kind in KINDS {
            let Some(data) = side_data(packet, kind) else {
                continue;
            };
            if self.in_force(kind, number).is_some_and(|known| known.data == data) {
                continue;
            }
            if kind == Kind::AV_PKT_DATA_NEW_EXTRADATA && number > 0 && !self.header.is_empty() {
                // From here on the first header is one among others.
                let data = std::mem::take(&mut self.header);
                self.changes.insert(0, Change { packet: 0, kind, data });
            }
            self.bytes = self.bytes.saturating_add(data.len());
            if self.bytes > MAX_BYTES {
                return false;
            }
            self.changes.push(Change { packet: number, kind, data: data.to_vec() });
        }
        true
    }

    fn in_force(&self, kind: Kind, number: u32) -> Option<&Change> {
        let known = self.changes.partition_point(|change| change.packet <= number);
        self.changes.get(..known)?.iter().rev().find(|change| change.kind == kind)
    }

    /// Gives packet `number`, the first one after a seek, what is in force there and it does not bring
    /// itself.
    pub(super) fn attach(&self, packet: &mut Packet, number: u32) -> Result<(), FfmpegError> {
        for kind in KINDS {
            if side_data(packet, kind).is_none()
                && let Some(change) = self.in_force(kind, number)
            {
                attach(packet, kind, &change.data)?;
            }
        }
        Ok(())
    }
}

/// The side data of a packet, if it has any of this kind.
pub(super) fn side_data(packet: &Packet, kind: Kind) -> Option<&[u8]> {
    let mut bytes = 0;
    // SAFETY: the packet is live for as long as the slice is, and the data of the size that FFmpeg tells.
    unsafe {
        let data = ffi::av_packet_get_side_data(packet.as_ptr(), kind, &mut bytes);
        (!data.is_null()).then(|| slice::from_raw_parts(data, bytes))
    }
}

fn attach(packet: &mut Packet, kind: Kind, data: &[u8]) -> Result<(), FfmpegError> {
    // SAFETY: the packet is live, and FFmpeg gives as many bytes as it is asked for, or none at all.
    unsafe {
        let bytes = ffi::av_packet_new_side_data(packet.as_mut_ptr(), kind, data.len());
        if bytes.is_null() {
            return Err(FfmpegError::Other { errno: ffmpeg_next::error::ENOMEM });
        }
        ptr::copy_nonoverlapping(data.as_ptr(), bytes, data.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(kind: Kind, data: &[u8]) -> Packet {
        let mut packet = Packet::copy(&[1, 2, 3]);
        attach(&mut packet, kind, data).expect("memory");
        packet
    }

    fn palette_of(packet: &Packet) -> Vec<u8> {
        side_data(packet, Kind::AV_PKT_DATA_PALETTE).map(<[u8]>::to_vec).unwrap_or_default()
    }

    #[test]
    fn the_latest_palette_before_a_packet_is_in_force() {
        let mut carried = CarriedData::default();
        for (number, palette) in [(0, [1; 8]), (1, [1; 8]), (5, [2; 8]), (9, [3; 8])] {
            assert!(carried.note(&with(Kind::AV_PKT_DATA_PALETTE, &palette), number));
        }
        assert_eq!(carried.changes.len(), 3, "what does not change is kept once");
        for (number, expected) in [(0, 1), (4, 1), (5, 2), (8, 2), (100, 3)] {
            let mut packet = Packet::copy(&[1, 2, 3]);
            carried.attach(&mut packet, number).expect("memory");
            assert_eq!(palette_of(&packet), [expected; 8], "packet {number}");
        }
    }

    #[test]
    fn a_packet_that_brings_its_own_keeps_it() {
        let mut carried = CarriedData::default();
        assert!(carried.note(&with(Kind::AV_PKT_DATA_PALETTE, &[1; 8]), 0));
        let mut packet = with(Kind::AV_PKT_DATA_PALETTE, &[7; 8]);
        carried.attach(&mut packet, 3).expect("memory");
        assert_eq!(palette_of(&packet), [7; 8]);
    }

    #[test]
    fn the_first_header_is_in_force_until_another_one() {
        let kind = Kind::AV_PKT_DATA_NEW_EXTRADATA;
        let mut carried = CarriedData::new(&[1; 9]);
        let header = |carried: &CarriedData, number| {
            let mut packet = Packet::copy(&[1, 2, 3]);
            carried.attach(&mut packet, number).expect("memory");
            side_data(&packet, kind).map(<[u8]>::to_vec)
        };
        assert_eq!(header(&carried, 3), None, "what the decoder was opened with needs no telling");
        assert!(carried.note(&with(kind, &[2; 9]), 7));
        assert_eq!(header(&carried, 3), Some(vec![1; 9]));
        assert_eq!(header(&carried, 7), Some(vec![2; 9]));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut carried = CarriedData::default();
        assert!(carried.note(&with(Kind::AV_PKT_DATA_NEW_EXTRADATA, &vec![1; MAX_BYTES]), 0));
        assert!(!carried.note(&with(Kind::AV_PKT_DATA_NEW_EXTRADATA, &[2; 1]), 1));
        assert!(
            carried.note(&with(Kind::AV_PKT_DATA_DISPLAYMATRIX, &[2; 36]), 2),
            "side data of one frame is not kept"
        );
    }
}
