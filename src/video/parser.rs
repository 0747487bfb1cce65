//! What the head of a packet tells without decoding it.

use ffmpeg_next::{Packet, codec, ffi, packet::Ref};
use std::{
    ffi::c_int,
    ptr::{self, NonNull},
};

/// FFmpeg's parser of a codec.
pub(super) struct Parser {
    inner: NonNull<ffi::AVCodecParserContext>,
    context: codec::Context,
}

/// What it tells of a packet. Numbers are 0 where it tells nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parsed {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// FFmpeg's number of the pixel format, negative where it is not told.
    pub format: c_int,
    /// The picture order count of H.264 and HEVC.
    pub picture_number: i32,
    /// Whether the picture is predicted from both sides and so shown before what was coded ahead of it.
    pub bidirectional: bool,
    /// Whether the picture, or its first slice, is not predicted from others.
    pub intra: bool,
}

impl Parser {
    /// `None` where FFmpeg has no parser for the codec.
    pub(super) fn open(parameters: codec::Parameters) -> Option<Self> {
        let id: ffi::AVCodecID = parameters.id().into();
        let context = codec::Context::from_parameters(parameters).ok()?;
        // SAFETY: the call allocates or gives null. Packets are what containers hold: whole pictures.
        unsafe {
            let mut inner = NonNull::new(ffi::av_parser_init(id as c_int))?;
            inner.as_mut().flags |= ffi::PARSER_FLAG_COMPLETE_FRAMES as c_int;
            Some(Self { inner, context })
        }
    }

    /// Looks at the next packet.
    pub(super) fn parse(&mut self, packet: &Packet) -> Option<Parsed> {
        let data = packet.data()?;
        let bytes = c_int::try_from(data.len()).ok()?;
        let (mut picture, mut picture_bytes) = (ptr::null_mut(), 0);
        // SAFETY: parser, context and packet are live, and FFmpeg's padding follows the packet's data. The
        // picture that is handed out lies in the packet and is not used.
        unsafe {
            let packet = packet.as_ptr();
            ffi::av_parser_parse2(
                self.inner.as_ptr(),
                self.context.as_mut_ptr(),
                &mut picture,
                &mut picture_bytes,
                data.as_ptr(),
                bytes,
                (*packet).pts,
                (*packet).dts,
                (*packet).pos,
            );
            let parser = self.inner.as_ref();
            Some(Parsed {
                size: (u32::try_from(parser.width).unwrap_or(0), u32::try_from(parser.height).unwrap_or(0)),
                format: parser.format,
                picture_number: parser.output_picture_number,
                bidirectional: parser.pict_type == ffi::AVPictureType::AV_PICTURE_TYPE_B as c_int,
                intra: parser.pict_type == ffi::AVPictureType::AV_PICTURE_TYPE_I as c_int,
            })
        }
    }
}

impl Drop for Parser {
    fn drop(&mut self) {
        // SAFETY: the parser was made by `open` and has no other owner.
        unsafe { ffi::av_parser_close(self.inner.as_ptr()) }
    }
}
