//! Reading through a file once, without decoding, to index its frames.

use super::{
    Limits, VideoError,
    demux::{Demuxer, Read},
    index::{FrameIndex, FrameIndexBuilder, PacketEntry},
};
use ffmpeg_next::{Packet, codec::Id, ffi, packet::Ref};

/// Indexes the video stream. The demuxer is left at the end of the file.
pub(super) fn scan(demuxer: &mut Demuxer, limits: &Limits) -> Result<FrameIndex, VideoError> {
    let codec = demuxer.parameters().map_or(Id::None, |parameters| parameters.id());
    let builder = read_through(demuxer, codec, limits)?;
    // Program streams give a time to some pictures only. For these codecs FFmpeg works out the others right.
    if builder.misses_times() && matches!(codec, Id::MPEG1VIDEO | Id::MPEG2VIDEO) {
        demuxer.reopen(true)?;
        return Ok(read_through(demuxer, codec, limits)?.finish());
    }
    Ok(builder.finish())
}

fn read_through(demuxer: &mut Demuxer, codec: Id, limits: &Limits) -> Result<FrameIndexBuilder, VideoError> {
    let mut builder = FrameIndexBuilder::default();
    loop {
        let packet = match demuxer.read() {
            Ok(Read::Packet(packet)) => packet,
            Ok(Read::End) => return Ok(builder),
            // What was read so far can be decoded.
            Err(_) if builder.displayed() > 0 => return Ok(builder),
            Err(error) => {
                return Err(VideoError::Container { path: demuxer.path().into(), reason: error.to_string() });
            }
        };
        let first = builder.displayed() == 0;
        builder.push(PacketEntry {
            pts: packet.pts(),
            dts: packet.dts(),
            duration: packet.duration(),
            // Their pictures are painted over the ones before, whatever the container flags.
            keyframe: packet.is_key() && (first || !matches!(codec, Id::GIF | Id::APNG)),
            displayed: is_displayed(&packet, codec),
        });
        if builder.displayed() > limits.max_frames {
            return Err(VideoError::Limit {
                path: demuxer.path().into(),
                what: "frames: at least",
                limit: limits.max_frames as u64,
                got: builder.displayed() as u64,
            });
        }
    }
}

/// Whether a packet leads to a frame.
fn is_displayed(packet: &Packet, codec: Id) -> bool {
    let Some(head) = packet.data().and_then(|data| data.first()) else {
        return false;
    };
    // RFC 6386, 9.1: bit 4 of the first byte is `show_frame`.
    let hidden = codec == Id::VP8 && head & 0x10 == 0;
    // SAFETY: the packet is live.
    let flags = unsafe { (*packet.as_ptr()).flags };
    !hidden && flags & ffi::AV_PKT_FLAG_DISCARD == 0
}
