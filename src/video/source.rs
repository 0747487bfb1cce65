//! The bytes that FFmpeg reads: those of one source, in a container that holds its media itself.
//!
//! A playlist is a video to FFmpeg, whatever its name, and may name any file or address. So there are two
//! fences: only demuxers of self-contained formats are let near a source, and whatever a demuxer would open
//! beside it is refused.

use super::{VideoError, origin::Origin, references, self_contained::SELF_CONTAINED, sniff};
use crate::media::MediaReader;
use crate::store::IoError;
use ffmpeg_next::{Error as FfmpegError, ffi, format::context::Input};
use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    io::{Seek, SeekFrom},
    ptr,
    sync::Arc,
};

/// FFmpeg's own size for the buffer of a file.
const BUFFER_BYTES: usize = 32 << 10;

/// Bytes read at a time where FFmpeg has room for that many, as it has for large packets.
const READ_BYTES: usize = 256 << 10;

/// A source as FFmpeg reads it. Must outlive the context that reads from it.
pub(super) struct ByteSource(*mut ffi::AVIOContext);

/// What FFmpeg hands back with each call.
struct Opened {
    reader: MediaReader,
    origin: Arc<Origin>,
    /// What was read last. FFmpeg's own buffer may be as the allocator left it, which a reader must not see,
    /// and at the end of the source FFmpeg goes on with what was in it.
    bytes: Box<[u8]>,
}

// SAFETY: the context and what is in it are used by one thread at a time, whichever that is.
unsafe impl Send for ByteSource {}

impl ByteSource {
    /// `None` where there is no memory.
    fn new(reader: MediaReader, origin: Arc<Origin>) -> Option<Self> {
        // SAFETY: the buffer and what is opened are handed over to the context, which `drop` takes apart
        // again.
        unsafe {
            let buffer = ffi::av_malloc(BUFFER_BYTES).cast::<u8>();
            if buffer.is_null() {
                return None;
            }
            let bytes = vec![0; READ_BYTES].into_boxed_slice();
            let opened = Box::into_raw(Box::new(Opened { reader, origin, bytes }));
            let context = ffi::avio_alloc_context(
                buffer,
                BUFFER_BYTES as c_int,
                0,
                opened.cast::<c_void>(),
                Some(read),
                None,
                Some(seek),
            );
            if context.is_null() {
                ffi::av_free(buffer.cast());
                drop(Box::from_raw(opened));
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
            let opened = (*self.0).opaque.cast::<Opened>();
            ffi::av_freep((&raw mut (*self.0).buffer).cast());
            ffi::avio_context_free(&mut self.0);
            drop(Box::from_raw(opened));
        }
    }
}

/// `avformat_open_input` on exactly this source: no other file, no protocol, no name patterns, any bytes in
/// the name. What the context reads from comes in front of it, as names are dropped in reverse.
pub(super) fn open(origin: &Arc<Origin>) -> Result<(ByteSource, Input), VideoError> {
    let path = || origin.path().to_owned();
    let mut reader = origin.open()?;
    if let Some(found) = references::describe(&mut reader) {
        return Err(VideoError::NotSelfContained { path: path(), found });
    }
    reader.rewind().map_err(IoError::of("read", path()))?;
    // No file has a zero in its name; of any other name it is only a hint that is lost.
    let url = CString::new(origin.url()).unwrap_or_default();
    let mut options = ffmpeg_next::Dictionary::new();
    options.set("format_whitelist", SELF_CONTAINED);
    // Nothing gets past `open_nested`; should a demuxer have a way of its own, it ends here.
    options.set("protocol_whitelist", "file");
    // `%d` in an image's name is no pattern.
    options.set("pattern_type", "none");
    let no_memory = || VideoError::Container { path: path(), reason: "there is no memory for it".to_owned() };
    let source = ByteSource::new(reader, Arc::clone(origin)).ok_or_else(no_memory)?;
    // SAFETY: `url` outlives the call, and `origin` the context, by the source. `options` is handed over and
    // taken back, and on failure FFmpeg frees the context, but not the source of its bytes.
    let (status, context) = unsafe {
        let mut context = ffi::avformat_alloc_context();
        if context.is_null() {
            return Err(no_memory());
        }
        (*context).pb = source.0;
        (*context).opaque = Arc::as_ptr(origin).cast_mut().cast();
        (*context).io_open = Some(open_nested);
        (*context).io_close2 = Some(close);
        let mut options = options.disown();
        let status = ffi::avformat_open_input(&mut context, url.as_ptr(), ptr::null(), &mut options);
        drop(ffmpeg_next::Dictionary::own(options));
        (status, context)
    };
    if status < 0 {
        return Err(refused(origin, status));
    }
    // SAFETY: the context was opened above and has no other owner.
    Ok((source, unsafe { Input::wrap(context) }))
}

/// Why a source could not be opened.
pub(super) fn refused(origin: &Origin, status: c_int) -> VideoError {
    let path = origin.path().to_owned();
    let head = origin.head();
    if head.as_ref().is_ok_and(Vec::is_empty) {
        return VideoError::EmptyFile { path };
    }
    if let Some(found) = head.as_deref().ok().and_then(sniff::describe_playlist) {
        return VideoError::NotSelfContained { path, found };
    }
    match FfmpegError::from(status) {
        // A format that is not let in is an invalid argument.
        FfmpegError::InvalidData | FfmpegError::Other { errno: libc::EINVAL } => {
            let found = head.map_or("its bytes cannot be read", |head| sniff::describe_unrecognised(&head));
            VideoError::UnknownContainer { path, found }
        }
        error => VideoError::Container { path, reason: error.to_string() },
    }
}

/// Opens what a demuxer asks for: the source once more, which is how pictures in single files are read, and
/// nothing else.
unsafe extern "C" fn open_nested(
    context: *mut ffi::AVFormatContext,
    source: *mut *mut ffi::AVIOContext,
    url: *const c_char,
    flags: c_int,
    _: *mut *mut ffi::AVDictionary,
) -> c_int {
    // SAFETY: FFmpeg hands over its context, whose URL and origin are those of `open`, a place for the
    // answer, and a string. The origin lives in an `Arc` that outlives the context.
    let origin = unsafe {
        *source = ptr::null_mut();
        let (own, asked, origin) = ((*context).url, CStr::from_ptr(url), (*context).opaque.cast::<Origin>());
        let is_other = own.is_null() || origin.is_null() || CStr::from_ptr(own) != asked;
        if is_other || flags & ffi::AVIO_FLAG_WRITE != 0 {
            return ffi::AVERROR(libc::EACCES);
        }
        Arc::increment_strong_count(origin.cast_const());
        Arc::from_raw(origin.cast_const())
    };
    let Some(reader) = origin.keep(origin.open()) else { return ffi::AVERROR(libc::EIO) };
    let Some(opened) = ByteSource::new(reader, origin) else { return ffi::AVERROR(libc::ENOMEM) };
    // SAFETY: as above.
    unsafe { *source = opened.into_raw() };
    0
}

/// Closes what `open_nested` opened.
unsafe extern "C" fn close(_: *mut ffi::AVFormatContext, source: *mut ffi::AVIOContext) -> c_int {
    if !source.is_null() {
        drop(ByteSource(source));
    }
    0
}

unsafe extern "C" fn read(opened: *mut c_void, buffer: *mut u8, room: c_int) -> c_int {
    // SAFETY: FFmpeg hands back what `new` gave it, which nobody else uses.
    let Opened { reader, origin, bytes } = unsafe { &mut *opened.cast::<Opened>() };
    let room = usize::try_from(room).unwrap_or(0).min(bytes.len());
    match bytes.get_mut(..room).and_then(|bytes| origin.read(reader, bytes)) {
        Some(0) => ffi::AVERROR_EOF,
        Some(read) => {
            // SAFETY: FFmpeg hands over a buffer of its own with that much room, and no more than that was
            // read.
            unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), buffer, read) };
            // No more than `room`, which was a `c_int`.
            read as c_int
        }
        None => ffi::AVERROR(libc::EIO),
    }
}

unsafe extern "C" fn seek(opened: *mut c_void, offset: i64, whence: c_int) -> i64 {
    // SAFETY: FFmpeg hands back what `new` gave it, which nobody else uses.
    let Opened { reader, .. } = unsafe { &mut *opened.cast::<Opened>() };
    let place = match whence & !ffi::AVSEEK_FORCE {
        ffi::AVSEEK_SIZE => reader.length(),
        libc::SEEK_SET => u64::try_from(offset).ok().and_then(|to| reader.seek(SeekFrom::Start(to)).ok()),
        libc::SEEK_CUR => reader.seek(SeekFrom::Current(offset)).ok(),
        libc::SEEK_END => reader.seek(SeekFrom::End(offset)).ok(),
        _ => None,
    };
    place.and_then(|place| i64::try_from(place).ok()).unwrap_or(i64::from(ffi::AVERROR(libc::EINVAL)))
}
