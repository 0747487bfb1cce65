//! The containers, codecs and faults.

use super::surgery::{self, Change};

/// A container with a codec.
pub(super) struct Form {
    pub(super) name: &'static str,
    pub(super) extension: &'static str,
    pub(super) encoding: &'static str,
    pub(super) container: Container,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Container {
    TransportStream,
    ProgramStream,
    Matroska,
    Flash,
    /// Packets and nothing else.
    Raw,
    /// Read whole and cut short alone.
    Whole,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    None,
    Joined,
    JoinedToItself,
    JoinedInThree,
    CutAtStart,
    CutAtEnd,
    CutAtBothEnds,
    CutAndJoined,
    Dropped,
    DroppedNow,
    Repeated,
    Reversed,
    StepsBack,
    StepsBackHalf,
    Scrambled,
    Offset,
    Wrapped,
    JumpsAhead,
    Stray,
    SizeChanges,
    PixelsChange,
}

impl Fault {
    pub(super) fn cuts(self) -> bool {
        matches!(self, Self::CutAtStart | Self::CutAtEnd | Self::CutAtBothEnds | Self::CutAndJoined)
    }
}

impl Container {
    pub(super) fn faults(self) -> &'static [Fault] {
        use Fault::*;
        match self {
            Self::TransportStream | Self::ProgramStream => &[
                None,
                Joined,
                JoinedToItself,
                JoinedInThree,
                CutAtStart,
                CutAtEnd,
                CutAtBothEnds,
                CutAndJoined,
                Dropped,
                DroppedNow,
                Repeated,
                Reversed,
                StepsBack,
                StepsBackHalf,
                Scrambled,
                Offset,
                Wrapped,
                JumpsAhead,
                Stray,
                SizeChanges,
                PixelsChange,
            ],
            Self::Matroska => &[
                None,
                Joined,
                JoinedToItself,
                CutAtEnd,
                Repeated,
                Reversed,
                StepsBack,
                StepsBackHalf,
                Scrambled,
                JumpsAhead,
                Stray,
            ],
            Self::Flash => &[None, CutAtEnd, Repeated, Reversed, StepsBack, Scrambled, JumpsAhead, Stray],
            Self::Raw => &[
                None,
                Joined,
                JoinedToItself,
                JoinedInThree,
                CutAtStart,
                CutAtEnd,
                CutAtBothEnds,
                CutAndJoined,
                SizeChanges,
                PixelsChange,
            ],
            Self::Whole => &[None, Joined, CutAtEnd],
        }
    }

    pub(super) fn surgery(self) -> Option<fn(&mut [u8], &Change)> {
        match self {
            Self::TransportStream => Some(surgery::transport_stream),
            Self::ProgramStream => Some(surgery::program_stream),
            Self::Matroska => Some(surgery::matroska),
            Self::Flash => Some(surgery::flash),
            Self::Raw | Self::Whole => None,
        }
    }
}

macro_rules! forms {
    ($($name:literal $extension:literal $container:ident $encoding:literal;)*) => {
        [$(Form { name: $name, extension: $extension, encoding: $encoding, container: Container::$container }),*]
    };
}

pub(super) fn forms() -> Vec<Form> {
    forms! {
        "h264" "ts" TransportStream "-c:v libx264 -g 8 -bf 2 -crf 8";
        "h264 without B" "ts" TransportStream "-c:v libx264 -g 8 -bf 0 -crf 8";
        "h264 open" "ts" TransportStream "-c:v libx264 -x264-params open-gop=1:keyint=7:min-keyint=1:scenecut=0:bframes=3:b-adapt=0 -crf 8";
        "hevc" "ts" TransportStream "-c:v libx265 -x265-params log-level=none:keyint=8:min-keyint=8:open-gop=0:bframes=3:crf=8";
        "hevc open" "ts" TransportStream "-c:v libx265 -x265-params log-level=none:keyint=7:min-keyint=7:open-gop=1:bframes=3:crf=8";
        "mpeg2" "ts" TransportStream "-c:v mpeg2video -g 7 -bf 2 -q:v 2";
        "mpeg4" "ts" TransportStream "-c:v mpeg4 -g 7 -bf 2 -q:v 2";
        "mpeg2" "vob" ProgramStream "-c:v mpeg2video -g 7 -bf 2 -q:v 2";
        "mpeg1" "mpg" ProgramStream "-c:v mpeg1video -g 7 -bf 2 -q:v 2";
        "h264" "mkv" Matroska "-c:v libx264 -g 8 -bf 2 -crf 8";
        "h264 refresh" "mkv" Matroska "-c:v libx264 -x264-params intra-refresh=1:keyint=8:bframes=0 -crf 8";
        "hevc open" "mkv" Matroska "-c:v libx265 -x265-params log-level=none:keyint=7:min-keyint=7:open-gop=1:bframes=3:crf=8";
        "mpeg2" "mkv" Matroska "-c:v mpeg2video -g 7 -bf 2 -q:v 2";
        "vp8" "webm" Matroska "-c:v libvpx -g 8 -auto-alt-ref 1 -lag-in-frames 8 -b:v 2M -cpu-used 5";
        "vp9" "webm" Matroska "-c:v libvpx-vp9 -g 8 -auto-alt-ref 1 -lag-in-frames 8 -b:v 2M -cpu-used 6";
        "av1" "mkv" Matroska "-c:v libaom-av1 -cpu-used 8 -g 8 -usage realtime -crf 10";
        "ffv1" "mkv" Matroska "-c:v ffv1 -g 5";
        "h264" "flv" Flash "-c:v libx264 -g 8 -bf 2 -crf 8";
        "flv1" "flv" Flash "-c:v flv -g 8 -q:v 2";
        "h264" "h264" Raw "-c:v libx264 -g 8 -bf 2 -crf 8";
        "hevc" "hevc" Raw "-c:v libx265 -x265-params log-level=none:keyint=8:open-gop=1:bframes=3:crf=8";
        "mpeg2" "m2v" Raw "-c:v mpeg2video -g 7 -bf 2 -q:v 2";
        "mpeg4" "m4v" Raw "-c:v mpeg4 -g 7 -bf 2 -q:v 2";
        "mjpeg" "mjpeg" Raw "-c:v mjpeg -q:v 2";
        "h264" "mp4" Whole "-c:v libx264 -g 8 -bf 2 -crf 8 -movflags +faststart";
        "h264 in fragments" "mp4" Whole "-c:v libx264 -g 8 -bf 2 -crf 8 -movflags +frag_keyframe+empty_moov";
        "hevc" "mp4" Whole "-c:v libx265 -x265-params log-level=none:keyint=7:min-keyint=7:open-gop=1:bframes=3:crf=8 -movflags +faststart";
        "mpeg4" "avi" Whole "-c:v mpeg4 -g 7 -bf 2 -q:v 2";
        "h264" "avi" Whole "-c:v libx264 -g 8 -bf 2 -crf 8";
        "mjpeg" "avi" Whole "-c:v mjpeg -q:v 2";
        "wmv2" "asf" Whole "-c:v wmv2 -g 8 -q:v 2";
        "theora" "ogv" Whole "-c:v libtheora -g 8 -q:v 10";
        "mpeg2" "nut" Whole "-c:v mpeg2video -g 7 -bf 2 -q:v 2";
        "prores" "mov" Whole "-c:v prores_ks";
        "png" "mov" Whole "-c:v png";
        "gif" "gif" Whole "";
        "apng" "apng" Whole "-f apng -plays 0";
        "palette, raw" "avi" Whole "-c:v rawvideo -pix_fmt pal8";
        "palette, raw" "mov" Whole "-c:v rawvideo -pix_fmt pal8";
        "palette, smc" "mov" Whole "-c:v smc -pix_fmt pal8 -g 8";
        "palette, qtrle gray" "mov" Whole "-c:v qtrle -pix_fmt gray -g 8";
        "palette, cinepak gray" "avi" Whole "-c:v cinepak -pix_fmt gray -g 8";
        "palette, png" "mkv" Whole "-c:v png -pix_fmt pal8";
        "msvideo1" "avi" Whole "-c:v msvideo1 -g 8";
    }
    .into()
}
