//! The face of the room: a video file as a list of frames.

use super::{
    Frame, Limits, StreamTiming, VideoError, VideoMetadata, Warning,
    carried::CarriedData,
    convert::{Appearance, Converter},
    cursor::Cursor,
    decode::Decoder,
    demux::{self, Demuxer, Read},
    metadata,
    origin::Origin,
    plan::Plan,
    probe::picture_size,
    scan::{Scan, scan},
};
use crate::{
    calendar,
    media::MediaSource,
    options::{shown_by, with_fields},
};
use ffmpeg_next::Packet;
use image::RgbImage;
use std::{
    num::NonZeroUsize,
    path::Path,
    sync::{Arc, OnceLock},
};

/// How frames are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seeking {
    /// Reads through the file once, without decoding, and knows every frame: right for any file.
    #[default]
    Exact,
    /// Trusts the header and takes frames to be evenly spaced: opens at once, but may be off in files of
    /// variable frame rate. Files whose header tells neither number nor duration are read through all the
    /// same.
    Approximate,
}

/// How to open a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct VideoOptions {
    /// How frames are found.
    pub seeking: Seeking,
    /// Bounds on what is let in.
    pub limits: Limits,
    /// Threads of the decoder; as many as the machine has (at most 16) where `None`.
    pub threads: Option<NonZeroUsize>,
    /// Whether pictures look as on a display, or are taken as they are coded.
    pub appearance: Appearance,
}

with_fields!(VideoOptions {
    with_seeking(seeking: Seeking),
    with_limits(limits: Limits),
    with_threads(threads: Option<NonZeroUsize>),
    with_appearance(appearance: Appearance),
});

/// An open video.
///
/// ```no_run
/// use gve::TimeRange;
/// use gve::video::{FrameCount, Sampling, VideoReader, select};
///
/// # fn main() -> Result<(), gve::video::VideoError> {
/// let mut reader = VideoReader::open("clip.mp4")?;
/// let sampling = Sampling::Uniform { frames: 8 };
/// let selection = select(&reader.timing(), &sampling, TimeRange::default(), FrameCount::MultipleOf(2))?;
/// for frame in reader.frames(&selection.indices) {
///     let frame = frame?;
///     println!("{} {:.3} s {:?}", frame.index, frame.pts_seconds, frame.image.dimensions());
/// }
/// # Ok(())
/// # }
/// ```
///
/// An upload need not become a file first:
///
/// ```
/// use gve::{MediaSource, video::VideoReader};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let upload = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/media/ntsc.mp4"))?;
/// let reader = VideoReader::open(MediaSource::bytes(upload).named("upload 17"))?;
/// assert!(reader.metadata().frames > 1);
/// # Ok(()) }
/// ```
pub struct VideoReader {
    cursor: Cursor,
    converter: Converter,
    metadata: VideoMetadata,
    limits: Limits,
    warnings: Vec<Warning>,
    /// Those of them that were there when it was opened.
    first_warnings: usize,
    /// Made when it is first asked for.
    timing: OnceLock<StreamTiming>,
}

shown_by!(VideoReader |it| { metadata: it.metadata, warnings: it.warnings.len() });

impl VideoReader {
    /// Opens a video with [`Seeking::Exact`] and default limits.
    ///
    /// # Errors
    /// As [`Self::open_with`].
    pub fn open(source: impl Into<MediaSource>) -> Result<Self, VideoError> {
        Self::open_with(source, VideoOptions::default())
    }

    /// Opens a video: a file, or [bytes or a reader](MediaSource). Takes the stream FFmpeg holds for the best
    /// one; cover pictures are not videos.
    ///
    /// # Errors
    /// A [`VideoError`] that says what the file is instead, which limit it breaks, at which byte it cannot be
    /// read, or which decoder is missing.
    pub fn open_with(source: impl Into<MediaSource>, options: VideoOptions) -> Result<Self, VideoError> {
        let origin = Origin::new(source.into(), &options.limits);
        origin.settle(Self::open_origin(&origin, options))
    }

    fn open_origin(origin: &Arc<Origin>, options: VideoOptions) -> Result<Self, VideoError> {
        let limits = options.limits;
        let mut demuxer = Demuxer::open(origin)?;
        let header_size = demuxer.parameters().as_ref().map_or((0, 0), demux::size);
        check_pixels(origin.path(), header_size, &limits)?;
        let mut decoder = Decoder::open(&demuxer, options.threads, &limits)?;
        let mut warnings = Vec::new();
        let approximate = match options.seeking {
            Seeking::Approximate => approximate_plan(&demuxer),
            Seeking::Exact => None,
        };
        let Opening { plan, carried, first, lookahead } = match approximate {
            Some(plan) => Opening::at_the_first_packet(plan, &mut demuxer),
            None => exact_plan(&mut demuxer, &mut decoder, &limits, &mut warnings)?,
        };
        if plan.frames() as u64 > limits.max_frames as u64 {
            return Err(VideoError::Limit {
                path: origin.path().into(),
                what: "frames:",
                limit: limits.max_frames as u64,
                got: plan.frames() as u64,
            });
        }
        // Headers may be wrong; the stream is not.
        let size = first.and_then(|packet| picture_size(&demuxer, &packet, &limits)).unwrap_or(header_size);
        let size = match options.appearance {
            Appearance::AsShown => demuxer.shown_size(size),
            Appearance::AsCoded => size,
        };
        check_pixels(origin.path(), size, &limits)?;
        let (metadata, colours) = (describe(&demuxer, &plan, size), demuxer.colours());
        Ok(Self {
            cursor: Cursor::new(demuxer, decoder, plan, carried, lookahead),
            converter: Converter::new(size, options.appearance).declared_as(colours),
            metadata,
            limits,
            first_warnings: warnings.len(),
            warnings,
            timing: OnceLock::new(),
        })
    }

    /// Forgets the warnings about frames, before others are read.
    pub(crate) fn forget_warnings(&mut self) {
        self.warnings.truncate(self.first_warnings);
    }

    /// What the video is.
    pub fn metadata(&self) -> &VideoMetadata {
        &self.metadata
    }

    /// Presentation times and rate, for [`select`](super::select).
    pub fn timing(&self) -> StreamTiming {
        let VideoMetadata { frames, average_fps, duration_seconds, .. } = self.metadata;
        let timing = || match self.cursor.plan() {
            plan @ (Plan::Indexed(_) | Plan::Counted { .. }) => {
                let seconds = (0..frames).map(|frame| self.cursor.demuxer().seconds(plan.ticks(frame)));
                StreamTiming::from_pts(seconds.collect(), average_fps).lasting(duration_seconds)
            }
            Plan::Approximate { .. } => StreamTiming::regular(frames, average_fps),
        };
        self.timing.get_or_init(timing).clone()
    }

    /// The frames with these indices, in the order given, each decoded when it is asked for. Ascending order
    /// costs least. Memory is that of one frame and the decoder's own, whatever the length of the video.
    ///
    /// A frame that cannot be decoded is replaced by the nearest earlier one that can, and [`Self::warnings`]
    /// says so.
    ///
    /// # Errors
    /// The iterator ends after the first [`VideoError`]: an index beyond the end, a stream in which nothing
    /// can be decoded, pixels that cannot be converted, or a failure to read.
    pub fn frames<'a>(&'a mut self, indices: &'a [usize]) -> Frames<'a> {
        Frames { reader: self, indices, failed: false }
    }

    /// The damage met so far, in the order it was met.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    fn frame(&mut self, index: usize, next: Option<usize>) -> Result<Frame, VideoError> {
        let image = self.picture(index, next, None)?;
        let pts_seconds = self.cursor.demuxer().seconds(self.cursor.plan().ticks(index));
        Ok(Frame { image: self.metadata.orientation.apply(image), index, pts_seconds })
    }

    /// A converter to small pictures, for [`Self::small`].
    pub(super) fn small_converter(&self, size: (u32, u32)) -> Converter {
        self.converter.averaging(size)
    }

    /// A frame as another converter makes it, not turned. `next` is the frame that will be asked for after
    /// it.
    pub(super) fn small(
        &mut self,
        index: usize,
        next: Option<usize>,
        converter: &mut Converter,
    ) -> Result<RgbImage, VideoError> {
        self.picture(index, next, Some(converter))
    }

    /// When a frame comes up, in seconds after the first; when the video ends, of the one behind the last.
    pub(crate) fn seconds_from_first(&self, index: usize) -> f64 {
        if index >= self.metadata.frames {
            return self.metadata.duration_seconds;
        }
        let plan = self.cursor.plan();
        self.cursor.demuxer().seconds(plan.ticks(index) - plan.ticks(0))
    }

    fn picture(
        &mut self,
        index: usize,
        next: Option<usize>,
        converter: Option<&mut Converter>,
    ) -> Result<RgbImage, VideoError> {
        let origin = Arc::clone(self.cursor.demuxer().origin());
        origin.settle(self.decode(index, next, converter))
    }

    fn decode(
        &mut self,
        index: usize,
        next: Option<usize>,
        converter: Option<&mut Converter>,
    ) -> Result<RgbImage, VideoError> {
        if index >= self.metadata.frames {
            return Err(VideoError::IndexOutOfRange {
                path: self.cursor.demuxer().path().into(),
                index,
                total: self.metadata.frames,
            });
        }
        let path = self.cursor.demuxer().path().to_owned();
        let pts_seconds = self.cursor.demuxer().seconds(self.cursor.plan().ticks(index));
        let next = next.filter(|next| *next < self.metadata.frames);
        let located = self.cursor.locate(index, next)?;
        let warning = match located.stand_in {
            Some(stand_in) => Some(Warning::Substituted { index, pts_seconds, stand_in }),
            None => located.damaged.then_some(Warning::Concealed { index, pts_seconds }),
        };
        check_pixels(&path, (located.picture.width(), located.picture.height()), &self.limits)?;
        let converter = converter.unwrap_or(&mut self.converter);
        let image = converter.convert(located.picture).map_err(|pixels| VideoError::PixelFormat {
            path,
            format: pixels.format,
            width: pixels.width,
            height: pixels.height,
        })?;
        if let Some(warning) = warning.filter(|warning| !self.warnings.contains(warning)) {
            self.warnings.push(warning);
        }
        Ok(image)
    }
}

/// Iterator over decoded frames, made by [`VideoReader::frames`].
#[derive(Debug)]
pub struct Frames<'a> {
    reader: &'a mut VideoReader,
    indices: &'a [usize],
    failed: bool,
}

impl Iterator for Frames<'_> {
    type Item = Result<Frame, VideoError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let (&index, rest) = self.indices.split_first()?;
        self.indices = rest;
        let next = rest.iter().copied().find(|next| *next != index);
        let frame = self.reader.frame(index, next);
        self.failed = frame.is_err();
        Some(frame)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (0, Some(self.indices.len()))
    }
}

fn check_pixels(path: &Path, (width, height): (u32, u32), limits: &Limits) -> Result<(), VideoError> {
    let got = u64::from(width) * u64::from(height);
    if got <= limits.max_pixels {
        return Ok(());
    }
    Err(VideoError::Limit { path: path.into(), what: "pixels a frame:", limit: limits.max_pixels, got })
}

/// What is known of a stream before any picture of it is asked for.
struct Opening {
    plan: Plan,
    carried: CarriedData,
    /// A packet with a picture, to see what pictures are like.
    first: Option<Packet>,
    /// The first packet, where that has been read and nothing else.
    lookahead: Option<Packet>,
}

impl Opening {
    /// With no more than the first packet read.
    fn at_the_first_packet(plan: Plan, demuxer: &mut Demuxer) -> Self {
        let mut carried = CarriedData::default();
        let first = match demuxer.read() {
            Ok(Read::Packet(packet)) => Some(packet),
            // Whoever asks for a frame is told.
            Ok(Read::End) | Err(_) => None,
        };
        if let Some(packet) = &first {
            carried.note(packet, 0);
        }
        Self { plan, carried, lookahead: first.clone(), first }
    }
}

/// Reads through the file.
fn exact_plan(
    demuxer: &mut Demuxer,
    decoder: &mut Decoder,
    limits: &Limits,
    warnings: &mut Vec<Warning>,
) -> Result<Opening, VideoError> {
    let Scan { index, carried, first, cut } = scan(demuxer, decoder, limits)?;
    if index.frames() == 0 {
        return Err(VideoError::NothingDecodable {
            path: demuxer.path().into(),
            stream: demuxer.stream(),
            packets: index.packets(),
        });
    }
    let expected_frames = demuxer.header_frames().filter(|frames| *frames > index.packets());
    if cut || demuxer.broke_off() || (expected_frames.is_some() && demuxer.bad_reads() > 0) {
        warnings.push(Warning::Truncated { expected_frames, found_frames: index.frames() });
    }
    if index.restarts() > 0 {
        warnings.push(Warning::ClockRestarts { restarts: index.restarts() });
    }
    let plan = if index.has_times() {
        Plan::Indexed(index)
    } else {
        let fps = metadata::average_fps(demuxer.header_fps(), 0, 0.0);
        // In an AVI file the rate is that of its chunks, of which some may be empty.
        let by_decoding = index.decode_ticks_per_frame();
        Plan::Counted {
            frames: index.frames(),
            packets: index.packets(),
            ticks_per_frame: by_decoding.unwrap_or_else(|| demuxer.ticks_per_frame(fps)),
        }
    };
    Ok(Opening { plan, carried, first, lookahead: None })
}

/// Frame numbering from the header alone, if it tells enough.
fn approximate_plan(demuxer: &Demuxer) -> Option<Plan> {
    let duration_seconds = demuxer.header_duration_seconds();
    let frames = demuxer.header_frames();
    let fps = match (demuxer.header_fps(), frames, duration_seconds) {
        (Some(fps), _, _) => fps,
        (None, Some(frames), Some(seconds)) => frames as f64 / seconds,
        (None, _, _) => return None,
    };
    let from_duration = || duration_seconds.map(|seconds| (seconds * fps).round().max(1.0) as usize);
    Some(Plan::Approximate {
        frames: frames.or_else(from_duration)?,
        start: demuxer.header_start().unwrap_or(0),
        ticks_per_frame: demuxer.ticks_per_frame(fps),
    })
}

fn describe(demuxer: &Demuxer, plan: &Plan, (width, height): (u32, u32)) -> VideoMetadata {
    let orientation = demuxer.orientation();
    let (width, height) = orientation.turned_size(width, height);
    let frames = plan.frames();
    let first = plan.ticks(0);
    let span = demuxer.seconds(plan.ticks(frames.saturating_sub(1)) - first);
    let last = match plan {
        Plan::Indexed(index) if index.last_duration() > 0 => Some(demuxer.seconds(index.last_duration())),
        _ => None,
    };
    let header_fps = demuxer.header_fps();
    // Without a duration of its own the last frame lasts as long as the others on average.
    let average_duration = if frames > 1 && span > 0.0 {
        span / (frames - 1) as f64
    } else {
        1.0 / metadata::average_fps(header_fps, 0, 0.0)
    };
    let duration_seconds = span + last.unwrap_or(average_duration);
    VideoMetadata {
        width,
        height,
        container: demuxer.container(),
        codec: demuxer.codec_name(),
        stream: demuxer.stream(),
        frames,
        average_fps: metadata::average_fps(header_fps, frames, duration_seconds),
        start_seconds: demuxer.seconds(first),
        duration_seconds,
        orientation,
        // Writers that do not know it leave the beginning of time.
        created_seconds: demuxer
            .creation_time()
            .and_then(|time| calendar::parse_with_offset(&time))
            .filter(|time| *time != 0),
    }
}
