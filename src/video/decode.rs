//! Packets to pictures.

use super::{
    Limits, VideoError, carried,
    demux::{self, Demuxer},
    disposable::{NalFraming, is_disposable},
};
use ffmpeg_next::{Discard, Error as FfmpegError, Packet, codec, decoder, ffi, format::Pixel, frame};
use std::{ffi::c_int, num::NonZeroUsize};

/// More threads only add memory: FFmpeg itself stops at 16.
const MAX_THREADS: usize = 16;

/// A decoder of one stream.
pub(super) struct Decoder {
    inner: decoder::Video,
    threads: Option<NonZeroUsize>,
    limits: Limits,
    can_skip: bool,
    /// Format and size of the latest picture.
    shape: Option<(Pixel, u32, u32)>,
    /// Whether pictures of different formats or sizes came out, or are to come.
    changes_shape: bool,
    /// For H.264 only.
    framing: Option<NalFraming>,
}

/// What the decoder has to give.
pub(super) enum Output {
    Picture(frame::Video),
    NeedsPacket,
    End,
}

impl Decoder {
    /// Opens the decoder for the stream of `demuxer`.
    pub(super) fn open(
        demuxer: &Demuxer,
        threads: Option<NonZeroUsize>,
        limits: &Limits,
    ) -> Result<Self, VideoError> {
        let no_decoder = |codec: &str, error: FfmpegError| VideoError::Decoder {
            path: demuxer.path().into(),
            stream: demuxer.stream(),
            codec: codec.to_owned(),
            reason: error.to_string(),
        };
        let parameters =
            demuxer.parameters().ok_or_else(|| no_decoder("unknown", FfmpegError::StreamNotFound))?;
        let id = parameters.id();
        let framing = (id == Id::H264).then(|| NalFraming::of_extradata(demux::extradata(&parameters)));
        let mut context =
            codec::Context::from_parameters(parameters).map_err(|error| no_decoder(id.name(), error))?;
        let count = threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, |threads| threads.get().min(MAX_THREADS));
        // SAFETY: the context is live and not yet open. Both kinds of threading are allowed by default;
        // FFmpeg picks frames over slices where the codec has both.
        unsafe {
            let context = context.as_mut_ptr();
            (*context).thread_count = count as c_int;
            (*context).max_pixels = i64::try_from(limits.max_pixels).unwrap_or(i64::MAX);
        }
        let inner = context.decoder().video().map_err(|error| no_decoder(id.name(), error))?;
        use codec::Id;
        // The codecs whose decoders drop unreferenced frames without harm to the others.
        let can_skip = matches!(id, Id::H264 | Id::MPEG1VIDEO | Id::MPEG2VIDEO | Id::MPEG4);
        Ok(Self { inner, threads, limits: *limits, can_skip, shape: None, changes_shape: false, framing })
    }

    /// Feeds a packet. `wanted` says whether its own picture is of use or only what it lends to others.
    pub(super) fn send(&mut self, packet: &Packet, wanted: bool) -> Result<(), FfmpegError> {
        let new_header = carried::side_data(packet, ffi::AVPacketSideDataType::AV_PKT_DATA_NEW_EXTRADATA);
        if let (Some(framing), Some(header)) = (&mut self.framing, new_header) {
            *framing = NalFraming::of_extradata(header);
        }
        if !wanted
            && let (Some(framing), Some(data)) = (self.framing, packet.data())
            && is_disposable(data, framing)
        {
            // Decoded by frame threads, each of which takes its packets in turn, even a skipped picture would
            // cost a turn: where every other one is skipped, one of two threads would do all the work.
            return Ok(());
        }
        if self.can_skip {
            self.inner.skip_frame(if wanted { Discard::Default } else { Discard::NonReference });
        }
        self.inner.send_packet(packet)
    }

    /// Asks for the pictures still inside. Only [`Self::start_over`] makes the decoder take packets again.
    pub(super) fn drain(&mut self) -> Result<(), FfmpegError> {
        match self.inner.send_eof() {
            Err(FfmpegError::Eof) => Ok(()),
            other => other,
        }
    }

    /// Tells that the stream has pictures of different formats or sizes.
    pub(super) fn expect_changes(&mut self) {
        self.changes_shape = true;
    }

    /// Forgets everything fed. Decoders that change format or size midway do not find the way back: they are
    /// opened anew.
    pub(super) fn start_over(&mut self, demuxer: &Demuxer) -> Result<(), VideoError> {
        if self.changes_shape {
            *self = Self::open(demuxer, self.threads, &self.limits)?;
            self.changes_shape = true;
        } else {
            self.inner.flush();
        }
        Ok(())
    }

    /// The next picture in presentation order.
    pub(super) fn receive(&mut self) -> Result<Output, FfmpegError> {
        let mut picture = frame::Video::empty();
        match self.inner.receive_frame(&mut picture) {
            Ok(()) => {
                let shape = Some((picture.format(), picture.width(), picture.height()));
                self.changes_shape |= self.shape.is_some() && self.shape != shape;
                self.shape = shape;
                Ok(Output::Picture(picture))
            }
            Err(FfmpegError::Eof) => Ok(Output::End),
            Err(FfmpegError::Other { errno }) if errno == ffmpeg_next::error::EAGAIN => {
                Ok(Output::NeedsPacket)
            }
            Err(error) => Err(error),
        }
    }
}

/// Whether the decoder reports that parts of the picture were missing.
pub(super) fn is_damaged(picture: &frame::Video) -> bool {
    // SAFETY: the frame is live.
    unsafe {
        let picture = picture.as_ptr();
        (*picture).decode_error_flags != 0 || (*picture).flags & ffi::AV_FRAME_FLAG_CORRUPT != 0
    }
}

/// Whether an error is about the machine rather than the data.
pub(super) fn is_fatal(error: FfmpegError) -> bool {
    use ffmpeg_next::error::{EIO, ENOMEM};
    matches!(error, FfmpegError::Other { errno: EIO | ENOMEM })
}
