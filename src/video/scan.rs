//! Reading through a file once, without decoding, to index its frames.

use super::{
    Limits, VideoError,
    carried::CarriedData,
    coded_order::CodedOrder,
    decode::Decoder,
    demux::{self, Demuxer, Read},
    index::{FrameIndex, FrameIndexBuilder, PacketEntry},
    learn::learn,
};
use ffmpeg_next::{Packet, codec::Id, ffi, packet::Ref};
use std::ffi::c_int;

/// What a scan finds.
pub(super) struct Scan {
    pub index: FrameIndex,
    pub carried: CarriedData,
    /// The first packet at which decoding can start.
    pub first: Option<Packet>,
    /// Whether the rest of the file is another stream, with headers of its own.
    pub cut: bool,
}

/// A scan under way.
struct Progress {
    builder: FrameIndexBuilder,
    carried: CarriedData,
    first: Option<Packet>,
    cut: bool,
    /// Whether pictures change their size or format midway.
    changes_shape: bool,
}

/// Indexes the video stream. The demuxer is left somewhere in the file. The decoder is used only where the
/// times of the file do not tell the order of its pictures, and left empty.
pub(super) fn scan(
    demuxer: &mut Demuxer,
    decoder: &mut Decoder,
    limits: &Limits,
) -> Result<Scan, VideoError> {
    let codec = demuxer.parameters().map_or(Id::None, |parameters| parameters.id());
    let mut scanned = read_through(demuxer, codec, limits)?;
    // Program streams give a time to some pictures only. For these codecs FFmpeg works out the others right.
    if scanned.builder.misses_times() && matches!(codec, Id::MPEG1VIDEO | Id::MPEG2VIDEO) {
        demuxer.reopen(true)?;
        scanned = read_through(demuxer, codec, limits)?;
    }
    if scanned.changes_shape {
        decoder.expect_changes();
    }
    let mut doubtful = scanned.builder.doubtful();
    if !doubtful.is_empty() {
        learn(&mut doubtful, &scanned.carried, demuxer, decoder)?;
    }
    let Progress { builder, carried, first, cut, .. } = scanned;
    Ok(Scan { index: builder.finish(&doubtful), carried, first, cut })
}

fn read_through(demuxer: &mut Demuxer, codec: Id, limits: &Limits) -> Result<Progress, VideoError> {
    let mut builder = FrameIndexBuilder::new(reorders(codec));
    let mut order = demuxer.parameters().and_then(CodedOrder::open);
    let is_trusted = trust(demuxer, codec);
    let mut carried = demuxer
        .parameters()
        .map_or_else(CarriedData::default, |parameters| CarriedData::new(demux::extradata(&parameters)));
    let mut first = None;
    // Whether all that packets bring for those behind them could be kept.
    let mut is_startable = true;
    let mut cut = false;
    loop {
        let packet = match demuxer.read() {
            Ok(Read::Packet(packet)) => packet,
            Ok(Read::End) => break,
            // What was read so far can be decoded.
            Err(_) if builder.displayed() > 0 => break,
            Err(error) => {
                return Err(VideoError::Container { path: demuxer.path().into(), reason: error.to_string() });
            }
        };
        if builder.displayed() > 0 && is_stream_header(&packet, codec) {
            cut = true;
            builder.note_recurring_times();
            break;
        }
        is_startable &= carried.note(&packet, builder.next_packet());
        // Their pictures are painted over the ones before, whatever the container flags.
        let is_painted_over = matches!(codec, Id::GIF | Id::APNG) && builder.displayed() > 0;
        let entry = PacketEntry {
            pts: packet.pts(),
            dts: packet.dts(),
            duration: packet.duration(),
            position: i64::try_from(packet.position()).unwrap_or(-1),
            coded: order.as_mut().and_then(|order| order.look(&packet)),
            keyframe: packet.is_key()
                && is_startable
                && !is_painted_over
                && is_trusted(builder.next_packet()),
            displayed: is_displayed(&packet, codec),
        };
        builder.push(entry);
        if first.is_none() && entry.keyframe && entry.displayed {
            first = Some(packet);
        }
        if builder.displayed() > limits.max_frames {
            return Err(VideoError::Limit {
                path: demuxer.path().into(),
                what: "frames: at least",
                limit: limits.max_frames as u64,
                got: builder.displayed() as u64,
            });
        }
    }
    let changes_shape = order.is_some_and(|order| order.changes_shape());
    Ok(Progress { builder, carried, first, cut, changes_shape })
}

/// Whether pictures of a codec may be shown in another order than that of their packets.
fn reorders(codec: Id) -> bool {
    properties(codec) & ffi::AV_CODEC_PROP_REORDER != 0
}

/// Which packets are key frames if flagged so. AVI files tell in their index. Packets that it does not cover
/// are all flagged, also those that only paint over the picture before, and decoders that show any picture do
/// not notice.
fn trust(demuxer: &Demuxer, codec: Id) -> impl Fn(u32) -> bool + use<> {
    let notices = properties(codec) & (ffi::AV_CODEC_PROP_REORDER | ffi::AV_CODEC_PROP_INTRA_ONLY) != 0;
    let covered = if notices { None } else { demuxer.packets_in_avi_index() };
    move |packet| packet == 0 || covered.is_none_or(|covered| (packet as usize) < covered)
}

fn properties(codec: Id) -> c_int {
    // SAFETY: descriptors are static, and there is none for codecs that FFmpeg does not know.
    unsafe { ffi::avcodec_descriptor_get(codec.into()).as_ref().map_or(0, |descriptor| descriptor.props) }
}

/// Whether a packet begins another stream. Decoders of Theora cannot take one with several threads, nor go
/// back behind it.
fn is_stream_header(packet: &Packet, codec: Id) -> bool {
    // Theora specification, 6.1: the first bit of a header packet is set.
    let head = packet.data().and_then(|data| data.first());
    codec == Id::THEORA && head.is_some_and(|head| head & 0x80 != 0)
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
