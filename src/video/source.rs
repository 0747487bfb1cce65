//! The bytes that FFmpeg reads: those of one regular file, in a container that holds its media itself.
//!
//! A playlist is a video to FFmpeg, whatever its name, and may name any file or address. So there are two fences: only
//! demuxers of self-contained formats are let near a file, and whatever a demuxer would open beside it is refused.

use super::{VideoError, references, sniff};
use crate::regular_file::open_regular_file;
use ffmpeg_next::{Error as FfmpegError, ffi, format::context::Input};
use std::{
    ffi::{CStr, CString, OsStr, c_char, c_int, c_void},
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
    ptr, slice,
};

/// FFmpeg's own size for the buffer of a file.
const BUFFER_BYTES: usize = 32 << 10;

/// In front of a path, so that a colon in a file name is not read as a protocol.
const PROTOCOL: &str = "file:";

/// The demuxers of formats that hold all there is to see, in all releases of FFmpeg so far: files, raw streams, single
/// pictures, and sound and subtitles, of which one can say that they are no video. Left out are playlists and
/// descriptions (hls, dash, concat, sdp, rtp, imf, vobsub, webm_dash_manifest, ffmetadata), scripts (lavfi, avisynth,
/// vapoursynth), devices, and WebP: over a damaged one FFmpeg ends the whole process, and they are read as images.
const SELF_CONTAINED: &[&str] = &[
    "3dostr",
    "4xm",
    "aa",
    "aac",
    "aax",
    "ac3",
    "ac4",
    "ace",
    "acm",
    "act",
    "adf",
    "adp",
    "ads",
    "adx",
    "aea",
    "afc",
    "aiff",
    "aix",
    "alaw",
    "alias_pix",
    "alp",
    "amr",
    "amrnb",
    "amrwb",
    "anm",
    "apc",
    "ape",
    "apm",
    "apng",
    "aptx",
    "aptx_hd",
    "apv",
    "aqtitle",
    "argo_asf",
    "argo_brp",
    "argo_cvg",
    "asf",
    "asf_o",
    "ass",
    "ast",
    "au",
    "av1",
    "avi",
    "avr",
    "avs",
    "avs2",
    "avs3",
    "bethsoftvid",
    "bfi",
    "bfstm",
    "bin",
    "bink",
    "binka",
    "bit",
    "bitpacked",
    "bmp_pipe",
    "bmv",
    "boa",
    "bonk",
    "brender_pix",
    "brstm",
    "c93",
    "caf",
    "cavsvideo",
    "cdg",
    "cdxl",
    "cine",
    "codec2",
    "codec2raw",
    "cri_pipe",
    "daud",
    "dcstr",
    "dds_pipe",
    "derf",
    "dfa",
    "dfpwm",
    "dhav",
    "dirac",
    "dnxhd",
    "dpx_pipe",
    "dsf",
    "dsicin",
    "dss",
    "dts",
    "dtshd",
    "dv",
    "dvbsub",
    "dvbtxt",
    "dxa",
    "ea",
    "ea_cdata",
    "eac3",
    "epaf",
    "evc",
    "exr_pipe",
    "f32be",
    "f32le",
    "f64be",
    "f64le",
    "film_cpk",
    "filmstrip",
    "fits",
    "flac",
    "flic",
    "flv",
    "frm",
    "fsb",
    "fwse",
    "g722",
    "g723_1",
    "g726",
    "g726le",
    "g728",
    "g729",
    "gdv",
    "gem_pipe",
    "genh",
    "gif",
    "gif_pipe",
    "gsm",
    "gxf",
    "h261",
    "h263",
    "h264",
    "hca",
    "hcom",
    "hdr_pipe",
    "hevc",
    "hnm",
    "iamf",
    "ico",
    "idcin",
    "idf",
    "iff",
    "ifv",
    "ilbc",
    "image2",
    "ingenient",
    "ipmovie",
    "ipu",
    "ircam",
    "iss",
    "iv8",
    "ivf",
    "ivr",
    "j2k_pipe",
    "jacosub",
    "jpeg_pipe",
    "jpegls_pipe",
    "jpegxl_anim",
    "jpegxl_pipe",
    "jpegxs_pipe",
    "jv",
    "kux",
    "kvag",
    "laf",
    "libgme",
    "libopenmpt",
    "live_flv",
    "lmlm4",
    "loas",
    "lrc",
    "luodat",
    "lvf",
    "lxf",
    "m4v",
    "matroska",
    "mca",
    "mcc",
    "mgsts",
    "microdvd",
    "mjpeg",
    "mjpeg_2000",
    "mlp",
    "mlv",
    "mm",
    "mmf",
    "mods",
    "moflex",
    "mov",
    "mp3",
    "mpc",
    "mpc8",
    "mpeg",
    "mpegts",
    "mpegtsraw",
    "mpegvideo",
    "mpjpeg",
    "mpl2",
    "mpsub",
    "msf",
    "msnwctcp",
    "msp",
    "mtaf",
    "mtv",
    "mulaw",
    "musx",
    "mv",
    "mvi",
    "mxf",
    "mxg",
    "nc",
    "nistsphere",
    "nsp",
    "nsv",
    "nut",
    "nuv",
    "obu",
    "ogg",
    "oma",
    "osq",
    "paf",
    "pam_pipe",
    "pbm_pipe",
    "pcx_pipe",
    "pdv",
    "pfm_pipe",
    "pgm_pipe",
    "pgmyuv_pipe",
    "pgx_pipe",
    "phm_pipe",
    "photocd_pipe",
    "pictor_pipe",
    "pjs",
    "pmp",
    "png_pipe",
    "pp_bnk",
    "ppm_pipe",
    "psd_pipe",
    "psxstr",
    "pva",
    "pvf",
    "qcp",
    "qdraw_pipe",
    "qoi_pipe",
    "r3d",
    "rawvideo",
    "rcwt",
    "realtext",
    "redspark",
    "rka",
    "rl2",
    "rm",
    "roq",
    "rpl",
    "rsd",
    "rso",
    "s16be",
    "s16le",
    "s24be",
    "s24le",
    "s32be",
    "s32le",
    "s337m",
    "s8",
    "sami",
    "sbc",
    "sbg",
    "scc",
    "scd",
    "sdns",
    "sdr2",
    "sds",
    "sdx",
    "ser",
    "sga",
    "sgi_pipe",
    "shn",
    "siff",
    "simbiosis_imx",
    "sln",
    "smjpeg",
    "smk",
    "smush",
    "sol",
    "sox",
    "spdif",
    "srt",
    "stl",
    "subviewer",
    "subviewer1",
    "sunrast_pipe",
    "sup",
    "svag",
    "svg_pipe",
    "svs",
    "swf",
    "tak",
    "tedcaptions",
    "thp",
    "tiertexseq",
    "tiff_pipe",
    "tmv",
    "truehd",
    "tta",
    "tty",
    "txd",
    "ty",
    "u16be",
    "u16le",
    "u24be",
    "u24le",
    "u32be",
    "u32le",
    "u8",
    "usm",
    "v210",
    "v210x",
    "vag",
    "vbn_pipe",
    "vc1",
    "vc1test",
    "vidc",
    "vividas",
    "vivo",
    "vmd",
    "voc",
    "vpk",
    "vplayer",
    "vqf",
    "vvc",
    "w64",
    "wady",
    "wav",
    "wc3movie",
    "webvtt",
    "wsaud",
    "wsd",
    "wsvqa",
    "wtv",
    "wv",
    "wve",
    "xa",
    "xbin",
    "xbm_pipe",
    "xmd",
    "xmv",
    "xpm_pipe",
    "xvag",
    "xwd_pipe",
    "xwma",
    "yop",
    "yuv4mpegpipe",
];

/// A file as FFmpeg reads it. Must outlive the context that reads from it.
pub(super) struct ByteSource(*mut ffi::AVIOContext);

// SAFETY: the context and the file in it are used by one thread at a time, whichever that is.
unsafe impl Send for ByteSource {}

impl ByteSource {
    /// `None` where there is no memory.
    fn new(file: File) -> Option<Self> {
        // SAFETY: the buffer and the file are handed over to the context, which `drop` takes apart again.
        unsafe {
            let buffer = ffi::av_malloc(BUFFER_BYTES).cast::<u8>();
            if buffer.is_null() {
                return None;
            }
            let file = Box::into_raw(Box::new(file));
            let context = ffi::avio_alloc_context(
                buffer,
                BUFFER_BYTES as c_int,
                0,
                file.cast::<c_void>(),
                Some(read),
                None,
                Some(seek),
            );
            if context.is_null() {
                ffi::av_free(buffer.cast());
                drop(Box::from_raw(file));
                return None;
            }
            Some(Self(context))
        }
    }

    /// Leaves it to a demuxer, which gives it back to [`close`].
    fn into_raw(self) -> *mut ffi::AVIOContext {
        let context = self.0;
        std::mem::forget(self);
        context
    }
}

impl Drop for ByteSource {
    fn drop(&mut self) {
        // SAFETY: made by `new` and freed once; FFmpeg may have put another buffer in the first one's place.
        unsafe {
            let file = (*self.0).opaque.cast::<File>();
            ffi::av_freep((&raw mut (*self.0).buffer).cast());
            ffi::avio_context_free(&mut self.0);
            drop(Box::from_raw(file));
        }
    }
}

/// `avformat_open_input` on exactly this file: no other file, no protocol, no name patterns, any bytes in the name.
pub(super) fn open(path: &Path, file: File) -> Result<(Input, ByteSource), VideoError> {
    if let Some(found) = references::describe(&file) {
        return Err(VideoError::NotSelfContained { path: path.into(), found });
    }
    let mut url = PROTOCOL.as_bytes().to_vec();
    url.extend_from_slice(path.as_os_str().as_encoded_bytes());
    let url = CString::new(url).map_err(|_| VideoError::NotFound { path: path.into() })?;
    let mut options = ffmpeg_next::Dictionary::new();
    options.set("format_whitelist", &SELF_CONTAINED.join(","));
    // Nothing gets past `open_nested`; should a demuxer have a way of its own, it ends here.
    options.set("protocol_whitelist", "file");
    // `%d` in an image's name is no pattern.
    options.set("pattern_type", "none");
    let no_memory =
        || VideoError::Container { path: path.into(), reason: "there is no memory for it".to_owned() };
    (&file).rewind().map_err(|source| VideoError::Io { path: path.into(), source })?;
    let source = ByteSource::new(file).ok_or_else(no_memory)?;
    // SAFETY: `url` outlives the call, `options` is handed over and taken back, and on failure FFmpeg frees the context,
    // but not the source of its bytes.
    let (status, context) = unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(no_memory());
        }
        (*context).pb = source.0;
        (*context).io_open = Some(open_nested);
        (*context).io_close2 = Some(close);
        let mut options = options.disown();
        let status = ffi::avformat_open_input(&mut context, url.as_ptr(), ptr::null(), &mut options);
        drop(ffmpeg_next::Dictionary::own(options));
        (status, context)
    };
    if status < 0 {
        return Err(refused(path, status));
    }
    // SAFETY: the context was opened above and has no other owner.
    Ok((unsafe { Input::wrap(context) }, source))
}

/// Why a file could not be opened.
pub(super) fn refused(path: &Path, status: c_int) -> VideoError {
    if let Some(found) = sniff::describe_playlist(path) {
        return VideoError::NotSelfContained { path: path.into(), found };
    }
    match FfmpegError::from(status) {
        // A format that is not let in is an invalid argument.
        FfmpegError::InvalidData | FfmpegError::Other { errno: libc::EINVAL } => {
            VideoError::UnknownContainer { path: path.into(), found: sniff::describe_unrecognised(path) }
        }
        error => VideoError::Container { path: path.into(), reason: error.to_string() },
    }
}

/// Opens what a demuxer asks for: the file once more, which is how pictures in single files are read, and nothing else.
unsafe extern "C" fn open_nested(
    context: *mut ffi::AVFormatContext,
    source: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    // SAFETY: FFmpeg hands over its context, whose URL is that of `open`, a place for the answer, and a string.
    unsafe {
        *source = ptr::null_mut();
        let (own, asked) = ((*context).url, CStr::from_ptr(url));
        if own.is_null() || CStr::from_ptr(own) != asked || flags & ffi::AVIO_FLAG_WRITE != 0 {
            return ffi::AVERROR(libc::EACCES);
        }
        let Some(path) = asked.to_bytes().strip_prefix(PROTOCOL.as_bytes()) else {
            return ffi::AVERROR(libc::EACCES);
        };
        // The bytes are those of an `OsStr`, which `open` put there.
        match open_regular_file(Path::new(OsStr::from_encoded_bytes_unchecked(path))) {
            Ok(file) => match ByteSource::new(file) {
                Some(opened) => {
                    *source = opened.into_raw();
                    0
                }
                None => ffi::AVERROR(libc::ENOMEM),
            },
            Err(error) => status(&error),
        }
    }
}

/// Closes what `open_nested` opened.
unsafe extern "C" fn close(_: *mut ffi::AVFormatContext, source: *mut ffi::AVIOContext) -> c_int {
    if !source.is_null() {
        drop(ByteSource(source));
    }
    0
}

unsafe extern "C" fn read(file: *mut c_void, buffer: *mut u8, bytes: c_int) -> c_int {
    // SAFETY: FFmpeg hands back the file of `new`, which nobody else uses, and a buffer of `bytes` bytes.
    let (file, buffer) = unsafe {
        (&mut *file.cast::<File>(), slice::from_raw_parts_mut(buffer, usize::try_from(bytes).unwrap_or(0)))
    };
    loop {
        return match file.read(buffer) {
            Ok(0) => ffi::AVERROR_EOF,
            // No more than the buffer's length, which is a `c_int`.
            Ok(read) => read as c_int,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => status(&error),
        };
    }
}

unsafe extern "C" fn seek(file: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: FFmpeg hands back the file of `new`, which nobody else uses.
    let file = unsafe { &mut *file.cast::<File>() };
    let from_start = |offset| u64::try_from(offset).map(SeekFrom::Start).map_err(std::io::Error::other);
    let position = match whence & !ffi::AVSEEK_FORCE {
        ffi::AVSEEK_SIZE => file.metadata().map(|metadata| metadata.len()),
        libc::SEEK_SET => from_start(offset).and_then(|to| file.seek(to)),
        libc::SEEK_CUR => file.seek(SeekFrom::Current(offset)),
        libc::SEEK_END => file.seek(SeekFrom::End(offset)),
        _ => return i64::from(ffi::AVERROR(libc::EINVAL)),
    };
    match position {
        Ok(position) => i64::try_from(position).unwrap_or(i64::MAX),
        Err(error) => i64::from(status(&error)),
    }
}

/// The system's error as FFmpeg numbers it.
fn status(error: &std::io::Error) -> c_int {
    ffi::AVERROR(error.raw_os_error().unwrap_or(libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Demuxers by name that open other files or addresses, run scripts, read devices, or abort.
    const KEPT_OUT: [&str; 24] = [
        "applehttp",
        "avisynth",
        "concat",
        "concatf",
        "dash",
        "dvdvideo",
        "ffmetadata",
        "fbdev",
        "hls",
        "image2pipe",
        "imf",
        "kmsgrab",
        "lavfi",
        "libcdio",
        "rtp",
        "rtsp",
        "sap",
        "sdp",
        "vapoursynth",
        "video4linux2",
        "vobsub",
        "webm_dash_manifest",
        // FFmpeg ends the whole process over damaged ones.
        "webp_anim",
        "webp_pipe",
    ];

    #[test]
    fn no_demuxer_that_opens_others_or_aborts_is_let_in() {
        for name in KEPT_OUT {
            assert!(!SELF_CONTAINED.contains(&name), "{name}");
        }
        assert!(SELF_CONTAINED.is_sorted(), "kept in order, so that none stands there twice");
        for name in
            ["mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "gif", "apng", "ogg", "h264", "hevc"]
        {
            assert!(SELF_CONTAINED.contains(&name), "{name}");
        }
    }
}
