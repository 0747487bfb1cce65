//! The size that a stream's pictures have, whatever the container says.

use super::{
    Limits,
    decode::{Decoder, Output},
    demux::{self, Demuxer},
};
use ffmpeg_next::{Packet, codec, ffi, packet::Ref};
use std::{ffi::c_int, num::NonZeroUsize, ptr};

/// Width and height in pixels of the picture in `packet`, the first one of a stream. `None` where it cannot be decoded.
///
/// The header's size is checked against the stream's own, which most codecs tell without decoding. Only where these differ,
/// or nothing is told, the picture is decoded.
pub(super) fn picture_size(demuxer: &Demuxer, packet: &Packet, limits: &Limits) -> Option<(u32, u32)> {
    let parameters = demuxer.parameters()?;
    let header = demux::size(&parameters);
    if header.0 > 0 && header.1 > 0 && parsed_size(parameters, packet) == Some(header) {
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

/// The size in the head of a packet. `None` where FFmpeg has no parser for the codec or finds none.
fn parsed_size(parameters: codec::Parameters, packet: &Packet) -> Option<(u32, u32)> {
    let id: ffi::AVCodecID = parameters.id().into();
    let mut context = codec::Context::from_parameters(parameters).ok()?;
    let data = packet.data()?;
    // SAFETY: context and packet are live, and the packet's data are followed by FFmpeg's padding. The parser is closed
    // before anything that it refers to goes away; the frame it hands out lies in the packet and is not used.
    let (width, height) = unsafe {
        let parser = ffi::av_parser_init(id as c_int);
        if parser.is_null() {
            return None;
        }
        (*parser).flags |= ffi::PARSER_FLAG_COMPLETE_FRAMES as c_int;
        let (mut frame, mut bytes) = (ptr::null_mut(), 0);
        let (pts, dts, position) = ((*packet.as_ptr()).pts, (*packet.as_ptr()).dts, (*packet.as_ptr()).pos);
        ffi::av_parser_parse2(
            parser,
            context.as_mut_ptr(),
            &mut frame,
            &mut bytes,
            data.as_ptr(),
            c_int::try_from(data.len()).unwrap_or(0),
            pts,
            dts,
            position,
        );
        let size = ((*parser).width, (*parser).height);
        ffi::av_parser_close(parser);
        size
    };
    let size = (u32::try_from(width).ok()?, u32::try_from(height).ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}
