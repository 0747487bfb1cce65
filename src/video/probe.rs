//! The size that a stream's pictures have, whatever the container says.

use super::{
    Limits,
    decode::{Decoder, Output},
    demux::{self, Demuxer},
    parser::Parser,
};
use ffmpeg_next::Packet;
use std::num::NonZeroUsize;

/// Width and height in pixels of the picture in `packet`, the first one of a stream. `None` where it cannot
/// be decoded.
///
/// The header's size is checked against the stream's own, which most codecs tell without decoding. Only where
/// these differ, or nothing is told, the picture is decoded.
pub(super) fn picture_size(demuxer: &Demuxer, packet: &Packet, limits: &Limits) -> Option<(u32, u32)> {
    let parameters = demuxer.parameters()?;
    let header = demux::size(&parameters);
    let told = Parser::open(parameters).and_then(|mut parser| parser.parse(packet)).map(|parsed| parsed.size);
    if header.0 > 0 && header.1 > 0 && told == Some(header) {
        return Some(header);
    }
    let mut decoder = Decoder::open(demuxer, NonZeroUsize::new(1), limits).ok()?;
    decoder.send(packet, true).ok()?;
    decoder.drain().ok()?;
    match decoder.receive() {
        Ok(Output::Picture(picture)) => Some((picture.width(), picture.height())),
        _ => None,
    }
}
