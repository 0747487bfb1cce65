//! Pictures that are coded as if they were a frame of video, without a video around them.

use std::borrow::Cow;

/// What such a picture is coded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StillCodec {
    Av1,
    Hevc,
}

impl StillCodec {
    /// As people call files with it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Av1 => "AV1 (AVIF)",
            Self::Hevc => "HEVC (HEIC)",
        }
    }
}

/// A coded picture.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "video"), allow(dead_code, reason = "only FFmpeg reads it"))]
pub(crate) struct CodedPicture<'a> {
    pub(crate) codec: StillCodec,
    /// What the decoder is told first: `av1C` or `hvcC`.
    pub(crate) header: &'a [u8],
    pub(crate) data: Cow<'a, [u8]>,
    /// What its values stand for, where the container knows better than the data.
    pub(crate) color: Option<CodedColor>,
    /// Whether they are no light but shares, as of transparency.
    pub(crate) is_mask: bool,
}

/// What the values of a picture stand for, by their numbers in ITU-T H.273.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(not(feature = "video"), allow(dead_code, reason = "only FFmpeg reads it"))]
pub(crate) struct CodedColor {
    pub(crate) primaries: u16,
    pub(crate) transfer: u16,
    pub(crate) matrix: u16,
    pub(crate) is_full: bool,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StillError {
    /// This program cannot decode it, others may.
    #[error("{0}")]
    NoDecoder(&'static str),
    /// No program could.
    #[error("{0}")]
    #[cfg_attr(not(feature = "video"), allow(dead_code, reason = "nothing is decoded without FFmpeg"))]
    Undecodable(String),
}

#[cfg(not(feature = "video"))]
mod decoding {
    use super::{CodedPicture, StillCodec, StillError};

    /// Whether this program can decode such pictures.
    pub(crate) fn can_decode_still(_: StillCodec) -> bool {
        false
    }

    /// Decodes a picture of at most so many pixels.
    pub(crate) fn decode_still(_: &CodedPicture<'_>, _: u64) -> Result<image::RgbImage, StillError> {
        Err(StillError::NoDecoder("this program is built without FFmpeg, which has a decoder for it"))
    }
}

#[cfg(feature = "video")]
mod decoding {
    use super::super::{
        convert::{Appearance, Converter},
        decode::is_damaged,
        demux, hdr,
    };
    use super::{CodedPicture, StillCodec, StillError};
    use ffmpeg_next::{Error as FfmpegError, Packet, codec, decoder, ffi, frame};
    use image::RgbImage;
    use std::{ffi::c_int, ptr};

    fn decoder_of(codec: StillCodec) -> Option<ffmpeg_next::Codec> {
        // FFmpeg's own decoder of AV1 needs a GPU, and gives way to others.
        decoder::find(match codec {
            StillCodec::Av1 => codec::Id::AV1,
            StillCodec::Hevc => codec::Id::HEVC,
        })
    }

    /// Whether this program can decode such pictures.
    pub(crate) fn can_decode_still(codec: StillCodec) -> bool {
        decoder_of(codec).is_some()
    }

    /// Decodes a picture of at most so many pixels.
    pub(crate) fn decode_still(coded: &CodedPicture<'_>, max_pixels: u64) -> Result<RgbImage, StillError> {
        demux::initialise();
        let undecodable = |error: FfmpegError| StillError::Undecodable(error.to_string());
        let found = decoder_of(coded.codec)
            .ok_or(StillError::NoDecoder("the FFmpeg that this program runs with has no decoder for it"))?;
        let mut context = codec::Context::new_with_codec(found);
        // SAFETY: the context is live and not yet open. It frees the header, which is allocated as FFmpeg asks
        // for, with zeros behind it.
        unsafe {
            let context = context.as_mut_ptr();
            let padded = coded.header.len() + ffi::AV_INPUT_BUFFER_PADDING_SIZE as usize;
            let header = ffi::av_mallocz(padded).cast::<u8>();
            if header.is_null() {
                return Err(StillError::Undecodable("there is no memory for it".to_owned()));
            }
            ptr::copy_nonoverlapping(coded.header.as_ptr(), header, coded.header.len());
            (*context).extradata = header;
            (*context).extradata_size = coded.header.len() as c_int;
            (*context).thread_count = 1;
            (*context).max_pixels = i64::try_from(max_pixels).unwrap_or(i64::MAX);
            // A picture is whole or none.
            (*context).err_recognition |= ffi::AV_EF_EXPLODE as c_int;
        }
        let mut decoder = context.decoder().video().map_err(undecodable)?;
        decoder.send_packet(&Packet::copy(&coded.data)).map_err(undecodable)?;
        decoder.send_eof().map_err(undecodable)?;
        let mut picture = frame::Video::empty();
        decoder.receive_frame(&mut picture).map_err(undecodable)?;
        if is_damaged(&picture) {
            return Err(StillError::Undecodable("its data are damaged".to_owned()));
        }
        if let Some(color) = coded.color {
            let range = match color.is_full {
                true => ffi::AVColorRange::AVCOL_RANGE_JPEG,
                false => ffi::AVColorRange::AVCOL_RANGE_MPEG,
            };
            // SAFETY: the frame is live. What files name is written, as it is read, as numbers; where they name
            // nothing, what the coded picture says stays.
            unsafe {
                let frame = picture.as_mut_ptr();
                for (field, value) in [
                    (ptr::addr_of_mut!((*frame).colorspace).cast::<c_int>(), color.matrix),
                    (ptr::addr_of_mut!((*frame).color_trc).cast(), color.transfer),
                    (ptr::addr_of_mut!((*frame).color_primaries).cast(), color.primaries),
                ] {
                    if c_int::from(value) != hdr::UNSPECIFIED {
                        field.write(c_int::from(value));
                    }
                }
                (*frame).color_range = range;
            }
        }
        let appearance = if coded.is_mask { Appearance::AsCoded } else { Appearance::AsShown };
        Converter::new((0, 0), appearance).convert(&picture).map_err(|pixels| {
            StillError::Undecodable(format!("its pixels of format {} are not known", pixels.format))
        })
    }
}

pub(crate) use decoding::{can_decode_still, decode_still};
