//! Files to packets: opening, choosing the video stream, reading and seeking.

use super::{Orientation, VideoError, convert::Colours, origin::Origin, source, source::ByteSource};
use ffmpeg_next::{
    Discard, Error as FfmpegError, Packet, Rational, codec, ffi,
    format::{context::Input, stream::Disposition},
    media,
};
use std::{
    ffi::c_int,
    path::Path,
    ptr, slice,
    sync::{Arc, Once},
};

/// An open file of which only the video stream is read.
pub(super) struct Demuxer {
    input: Input,
    origin: Arc<Origin>,
    stream: usize,
    /// What the container says of its colours.
    colours: Option<Colours>,
    time_base: Rational,
    generate_pts: bool,
    packets_in_index: usize,
    bad_reads: usize,
    broke_off: bool,
    /// What `input` reads from, and so dropped after it.
    _source: ByteSource,
}

/// Reads in a row that may fail on bad data before the rest of the file is given up.
const MAX_BAD_READS_IN_A_ROW: usize = 1024;

/// The width of a pixel beside its height, at least, that is believed, and the other way round.
const LEAST_ASPECT: f64 = 0.25;

/// One read of the file.
pub(super) enum Read {
    Packet(Packet),
    End,
}

impl Demuxer {
    /// Opens a source and picks its video stream.
    pub(super) fn open(origin: &Arc<Origin>) -> Result<Self, VideoError> {
        initialise();
        Self::open_as(Arc::clone(origin), false)
    }

    /// The same file from its first packet, for streams that cannot be sought in. With `generate_pts` the
    /// demuxer fills in presentation times that the file leaves out.
    pub(super) fn reopen(&mut self, generate_pts: bool) -> Result<(), VideoError> {
        let generate_pts = generate_pts || self.generate_pts;
        *self = Self::open_as(Arc::clone(&self.origin), generate_pts)?;
        Ok(())
    }

    fn open_as(origin: Arc<Origin>, generate_pts: bool) -> Result<Self, VideoError> {
        let (source, mut input) = source::open(&origin)?;
        // What is found out of the coded pictures takes its place, be it nothing.
        let colours: Vec<Colours> = input.streams().map(|stream| colours(&stream.parameters())).collect();
        find_out(&mut input, &origin)?;
        let stream = best_video_stream(&input).ok_or_else(|| VideoError::NoVideoStream {
            path: origin.path().into(),
            found: describe_streams(&input),
        })?;
        for (index, mut other) in input.streams_mut().enumerate() {
            let discard = if index == stream { Discard::Default } else { Discard::All };
            // SAFETY: the stream belongs to the live format context.
            unsafe { (*other.as_mut_ptr()).discard = discard.into() };
        }
        if generate_pts {
            // SAFETY: the context is live and nothing has been read by us yet.
            unsafe { (*input.as_mut_ptr()).flags |= ffi::AVFMT_FLAG_GENPTS };
        }
        let time_base = input.stream(stream).map_or(Rational(1, 1), |s| s.time_base());
        let packets_in_index = packets_in_index(&input, stream);
        Ok(Self {
            input,
            origin,
            stream,
            colours: colours.get(stream).copied(),
            time_base,
            generate_pts,
            packets_in_index,
            bad_reads: 0,
            broke_off: false,
            _source: source,
        })
    }

    /// What errors call the source.
    pub(super) fn path(&self) -> &Path {
        self.origin.path()
    }

    /// What is read.
    pub(super) fn origin(&self) -> &Arc<Origin> {
        &self.origin
    }

    /// Index of the video stream.
    pub(super) fn stream(&self) -> usize {
        self.stream
    }

    pub(super) fn container(&self) -> String {
        self.input.format().name().to_owned()
    }

    pub(super) fn parameters(&self) -> Option<codec::Parameters> {
        self.input.stream(self.stream).map(|stream| stream.parameters())
    }

    /// The size at which pictures of this size are shown, where pixels are square. What no camera has is taken for a
    /// mistake.
    pub(super) fn shown_size(&self, (width, height): (u32, u32)) -> (u32, u32) {
        let Some(stream) = self.input.stream(self.stream) else { return (width, height) };
        // SAFETY: the context and the stream are live, and only read; the picture is optional.
        let aspect = unsafe {
            let (context, stream) = (self.input.as_ptr().cast_mut(), stream.as_ptr().cast_mut());
            ffi::av_guess_sample_aspect_ratio(context, stream, ptr::null_mut())
        };
        let aspect = f64::from(aspect.num) / f64::from(aspect.den.max(1));
        let is_likely = (LEAST_ASPECT..=1.0 / LEAST_ASPECT).contains(&aspect);
        let shown = (f64::from(width) * aspect).round() as u32;
        // Some encoders are off square by rounding.
        let is_other = shown.abs_diff(width) > width / 100;
        (if is_likely && is_other { shown.max(1) } else { width }, height)
    }

    /// What the container says of the colours of the stream.
    pub(super) fn colours(&self) -> Option<Colours> {
        self.colours
    }

    /// Seconds of a time in stream ticks.
    pub(super) fn seconds(&self, ticks: i64) -> f64 {
        ticks as f64 * f64::from(self.time_base.0) / f64::from(self.time_base.1)
    }

    /// Stream ticks between frames at a rate.
    pub(super) fn ticks_per_frame(&self, fps: f64) -> f64 {
        f64::from(self.time_base.1) / f64::from(self.time_base.0) / fps
    }

    /// FFmpeg's short name of the codec.
    pub(super) fn codec_name(&self) -> String {
        self.parameters().map_or("unknown", |parameters| parameters.id().name()).to_owned()
    }

    /// The average frame rate of the header, if it has one.
    pub(super) fn header_fps(&self) -> Option<f64> {
        let stream = self.input.stream(self.stream)?;
        [stream.avg_frame_rate(), stream.rate()]
            .into_iter()
            .find(|rate| rate.0 > 0 && rate.1 > 0)
            .map(f64::from)
    }

    /// When the file was made, or else the stream, as the header has it: `2026-05-31T18:00:00.000000Z`. Where
    /// a phone says when it was recorded, that: `2019-07-20T15:01:02+0200`; the other is the time of an
    /// export by then.
    pub(super) fn creation_time(&self) -> Option<String> {
        let of_file = |key| self.input.metadata().get(key).map(str::to_owned);
        let stream = || Some(self.input.stream(self.stream)?.metadata().get("creation_time")?.to_owned());
        of_file("com.apple.quicktime.creationdate").or_else(|| of_file("creation_time")).or_else(stream)
    }

    /// The number of frames in the header, if it has one.
    pub(super) fn header_frames(&self) -> Option<usize> {
        let frames = self.input.stream(self.stream)?.frames();
        usize::try_from(frames).ok().filter(|frames| *frames > 0)
    }

    /// The duration in the header: that of the stream, else that of the file.
    pub(super) fn header_duration_seconds(&self) -> Option<f64> {
        let stream = self.input.stream(self.stream)?.duration();
        if stream > 0 {
            return Some(self.seconds(stream));
        }
        let file = self.input.duration();
        (file > 0).then(|| file as f64 / f64::from(ffi::AV_TIME_BASE))
    }

    /// Presentation time of the first frame by the header, in ticks.
    pub(super) fn header_start(&self) -> Option<i64> {
        let start = self.input.stream(self.stream)?.start_time();
        (start != ffi::AV_NOPTS_VALUE).then_some(start)
    }

    /// The rotation of the stream's display matrix.
    pub(super) fn orientation(&self) -> Orientation {
        let Some(stream) = self.input.stream(self.stream) else {
            return Orientation::default();
        };
        let matrix = stream
            .side_data()
            .find(|data| data.kind() == codec::packet::side_data::Type::DisplayMatrix)
            .and_then(|data| upper_left(data.data()));
        matrix.map_or_else(Orientation::default, Orientation::from_matrix)
    }

    /// The next packet of the video stream.
    pub(super) fn read(&mut self) -> Result<Read, FfmpegError> {
        let mut bad_reads_in_a_row = 0;
        while bad_reads_in_a_row < MAX_BAD_READS_IN_A_ROW {
            let mut packet = Packet::empty();
            match packet.read(&mut self.input) {
                Ok(()) if packet.stream() == self.stream => {
                    self.bad_reads += usize::from(packet.is_corrupt());
                    return Ok(Read::Packet(packet));
                }
                Ok(()) => {}
                // Demuxers find the next packet again after bad data.
                Err(FfmpegError::InvalidData) => {
                    self.bad_reads += 1;
                    bad_reads_in_a_row += 1;
                }
                Err(FfmpegError::Eof) => return Ok(Read::End),
                Err(error) => {
                    self.broke_off = true;
                    return Err(error);
                }
            }
        }
        self.broke_off = true;
        Ok(Read::End)
    }

    /// Whether reading ended at an error rather than at the end of the file.
    pub(super) fn broke_off(&self) -> bool {
        self.broke_off
    }

    /// Reads that gave bad or incomplete data so far.
    pub(super) fn bad_reads(&self) -> usize {
        self.bad_reads
    }

    /// Goes to the last key frame at or before `ticks`, as well as the container can.
    pub(super) fn seek(&mut self, ticks: i64) -> Result<(), FfmpegError> {
        // SAFETY: the context is live and the stream index valid.
        let status = unsafe {
            ffi::av_seek_frame(
                self.input.as_mut_ptr(),
                self.stream as c_int,
                ticks,
                ffi::AVSEEK_FLAG_BACKWARD,
            )
        };
        if status < 0 { Err(FfmpegError::from(status)) } else { Ok(()) }
    }

    /// How many packets the index of an AVI file covers. `None` for other containers.
    pub(super) fn packets_in_avi_index(&self) -> Option<usize> {
        (self.input.format().name() == "avi").then_some(self.packets_in_index)
    }

    /// Goes to a byte at which a packet begins, in containers that are read on from any place.
    pub(super) fn seek_byte(&mut self, position: i64) -> Result<(), FfmpegError> {
        if position < 0 || !matches!(self.input.format().name(), "mpegts" | "mpeg") {
            return Err(FfmpegError::InvalidData);
        }
        // SAFETY: the context is live and the stream index valid.
        let status = unsafe {
            ffi::av_seek_frame(self.input.as_mut_ptr(), self.stream as c_int, position, ffi::AVSEEK_FLAG_BYTE)
        };
        if status < 0 { Err(FfmpegError::from(status)) } else { Ok(()) }
    }

    /// Which key frame the container's own index names for a time, if it has an index.
    pub(super) fn container_keyframe(&mut self, ticks: i64) -> Option<i32> {
        // SAFETY: the stream is one of the live context; the call only searches its index.
        let entry = unsafe {
            let streams = (*self.input.as_mut_ptr()).streams;
            ffi::av_index_search_timestamp(*streams.add(self.stream), ticks, ffi::AVSEEK_FLAG_BACKWARD)
        };
        (entry >= 0).then_some(entry)
    }
}

/// Makes FFmpeg quiet, once: its log goes to standard error, which is not a library's to write to. And has
/// its errors looked up, which print as nothing before.
pub(super) fn initialise() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        ffmpeg_next::log::set_level(ffmpeg_next::log::Level::Quiet);
        ffmpeg_next::util::error::register_all();
    });
}

/// Finds out about the streams what the header does not tell.
fn find_out(input: &mut Input, origin: &Origin) -> Result<(), VideoError> {
    if is_described(input) {
        return Ok(());
    }
    // SAFETY: the context is live.
    let status = unsafe { ffi::avformat_find_stream_info(input.as_mut_ptr(), ptr::null_mut()) };
    if status < 0 { Err(source::refused(origin, status)) } else { Ok(()) }
}

fn colours(parameters: &codec::Parameters) -> Colours {
    // SAFETY: the parameters are live. The fields are read as integers because files may carry values that the
    // bindings' enums do not name.
    unsafe {
        let parameters = parameters.as_ptr();
        Colours {
            matrix: ptr::addr_of!((*parameters).color_space).cast::<c_int>().read(),
            transfer: ptr::addr_of!((*parameters).color_trc).cast::<c_int>().read(),
            primaries: ptr::addr_of!((*parameters).color_primaries).cast::<c_int>().read(),
        }
    }
}

/// Whether the header tells all that we ask of it. `avformat_find_stream_info` would decode several frames to
/// find out no more, which takes as long as a dozen others. MP4 and MOV that are not fragmented have such
/// headers.
fn is_described(input: &Input) -> bool {
    let is_known = |stream: ffmpeg_next::Stream<'_>| {
        let parameters = stream.parameters();
        let (width, height) = size(&parameters);
        let rate = stream.avg_frame_rate();
        parameters.id() != codec::Id::None
            && width > 0
            && height > 0
            && !extradata(&parameters).is_empty()
            && stream.frames() > 0
            && stream.duration() > 0
            && rate.0 > 0
            && rate.1 > 0
    };
    let mut videos =
        input.streams().filter(|stream| stream.parameters().medium() == media::Type::Video).peekable();
    input.format().name().starts_with("mov,") && videos.peek().is_some() && videos.all(is_known)
}

/// The stream FFmpeg would choose, cover pictures left out; of several then the largest.
fn best_video_stream(input: &Input) -> Option<usize> {
    let is_video = |stream: &ffmpeg_next::Stream<'_>| {
        stream.parameters().medium() == media::Type::Video
            && !stream.disposition().contains(Disposition::ATTACHED_PIC)
    };
    if let Some(best) = input.streams().best(media::Type::Video).filter(is_video) {
        return Some(best.index());
    }
    let area = |stream: &ffmpeg_next::Stream<'_>| {
        let (width, height) = size(&stream.parameters());
        u64::from(width) * u64::from(height)
    };
    input.streams().filter(is_video).max_by_key(area).map(|stream| stream.index())
}

/// Packets of a stream that the container's index, as read so far, names.
fn packets_in_index(input: &Input, stream: usize) -> usize {
    let entries = input.stream(stream).map_or(0, |stream| {
        // SAFETY: the stream belongs to the live format context, and the call only reads.
        unsafe { ffi::avformat_index_get_entries_count(stream.as_ptr()) }
    });
    usize::try_from(entries).unwrap_or(0)
}

/// Coded width and height in pixels.
pub(super) fn size(parameters: &codec::Parameters) -> (u32, u32) {
    // SAFETY: the parameters are live.
    let (width, height) = unsafe {
        let parameters = parameters.as_ptr();
        ((*parameters).width, (*parameters).height)
    };
    (u32::try_from(width).unwrap_or(0), u32::try_from(height).unwrap_or(0))
}

/// The codec's own header, empty where there is none.
pub(super) fn extradata(parameters: &codec::Parameters) -> &[u8] {
    // SAFETY: the parameters are live for as long as the slice is, and their extra data is of that size.
    unsafe {
        let parameters = parameters.as_ptr();
        match usize::try_from((*parameters).extradata_size) {
            Ok(bytes) if !(*parameters).extradata.is_null() => {
                slice::from_raw_parts((*parameters).extradata, bytes)
            }
            _ => &[],
        }
    }
}

/// Counts the streams by kind, such as `1 audio stream, 2 subtitle streams`.
fn describe_streams(input: &Input) -> String {
    let kind = |stream: ffmpeg_next::Stream<'_>| match stream.parameters().medium() {
        media::Type::Video => "cover picture",
        media::Type::Audio => "audio stream",
        media::Type::Subtitle => "subtitle stream",
        _ => "data stream",
    };
    let mut counts = std::collections::BTreeMap::<_, usize>::new();
    for stream in input.streams() {
        *counts.entry(kind(stream)).or_default() += 1;
    }
    if counts.is_empty() {
        return "no streams".to_owned();
    }
    let described: Vec<String> = counts
        .into_iter()
        .map(|(kind, count)| format!("{count} {kind}{}", if count == 1 { "" } else { "s" }))
        .collect();
    described.join(", ")
}

/// The part of a 3x3 display matrix that turns.
fn upper_left(bytes: &[u8]) -> Option<[i32; 4]> {
    let entry = |i: usize| {
        let bytes = bytes.get(i * 4..i * 4 + 4)?;
        Some(i32::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some([entry(0)?, entry(1)?, entry(3)?, entry(4)?])
}
