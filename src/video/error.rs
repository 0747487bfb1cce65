//! What can go wrong with a video, and what was tolerated.

use std::path::PathBuf;

use crate::store::IoError;

/// Why a video could not be opened, sampled, decoded or written. Every message is one line and opens with the
/// path, but for those of the system and those on what was asked for. Media that are no file go by their
/// [name](crate::MediaSource::named) instead of a path.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VideoError {
    /// Nothing lies at the path.
    #[error("{}: no such file", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The path is a directory, a device or a socket.
    #[error("{}: is {found}, expected a video file", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What lies there, with its article.
        found: &'static str,
    },
    /// The file holds no bytes.
    #[error("{}: the file is empty (0 bytes)", path.display())]
    EmptyFile {
        /// The path as given.
        path: PathBuf,
    },
    /// The operating system refuses to read, make or name the file.
    #[error(transparent)]
    Io(#[from] IoError),
    /// No demuxer knows the bytes.
    #[error("{}: not a video file: {found}", path.display())]
    UnknownContainer {
        /// The path as given.
        path: PathBuf,
        /// What the bytes look like.
        found: &'static str,
    },
    /// A list of media that lie elsewhere. Only files that hold what they show are read, for a list could
    /// name any file.
    #[error(
        "{}: is {found}, which names media in other places; give the media files themselves",
        path.display()
    )]
    NotSelfContained {
        /// The path as given.
        path: PathBuf,
        /// What kind of list it is, with its article.
        found: &'static str,
    },
    /// A container was recognised but could not be opened.
    #[error("{}: cannot open the container: {reason}", path.display())]
    Container {
        /// The path as given.
        path: PathBuf,
        /// FFmpeg's reason.
        reason: String,
    },
    /// The container has no picture stream; cover pictures do not count.
    #[error("{}: no video stream ({found} found)", path.display())]
    NoVideoStream {
        /// The path as given.
        path: PathBuf,
        /// The streams there are, such as `1 audio stream`.
        found: String,
    },
    /// The FFmpeg that this program runs with cannot decode the stream.
    #[error(
        "{}: stream {stream}: no decoder for codec {codec}: {reason}; install an FFmpeg built with it or \
         transcode the file",
        path.display()
    )]
    Decoder {
        /// The path as given.
        path: PathBuf,
        /// Index of the stream in the file.
        stream: usize,
        /// FFmpeg's name of the codec.
        codec: String,
        /// FFmpeg's reason.
        reason: String,
    },
    /// The stream has no frame that could be decoded.
    #[error("{}: stream {stream}: no frame could be decoded out of {packets} packets", path.display())]
    NothingDecodable {
        /// The path as given.
        path: PathBuf,
        /// Index of the stream in the file.
        stream: usize,
        /// How many packets the stream holds.
        packets: usize,
    },
    /// Reading or decoding stopped for a reason other than damaged data.
    #[error("{}: stream {stream}: cannot decode near {seconds:.3} s: {reason}", path.display())]
    Decode {
        /// The path as given.
        path: PathBuf,
        /// Index of the stream in the file.
        stream: usize,
        /// Presentation time of the frame asked for.
        seconds: f64,
        /// FFmpeg's reason.
        reason: String,
    },
    /// The pixel format cannot be converted to RGB.
    #[error("{}: cannot convert {width}x{height} pixels of format {format} to RGB", path.display())]
    PixelFormat {
        /// The path as given.
        path: PathBuf,
        /// FFmpeg's name of the pixel format.
        format: String,
        /// Decoded width in pixels.
        width: u32,
        /// Decoded height in pixels.
        height: u32,
    },
    /// A frame index beyond the end was asked for.
    #[error("{}: no frame {index}: the video has {total} frames, numbered from 0", path.display())]
    IndexOutOfRange {
        /// The path as given.
        path: PathBuf,
        /// The index asked for.
        index: usize,
        /// Frames in the video.
        total: usize,
    },
    /// The file is larger than [`Limits`](super::Limits) allow.
    #[error("{}: {what} {got}, limit is {limit}; raise the limit if the file is trusted", path.display())]
    Limit {
        /// The path as given.
        path: PathBuf,
        /// The measured quantity, such as `pixels a frame:`.
        what: &'static str,
        /// The limit in force.
        limit: u64,
        /// What the file has.
        got: u64,
    },
    /// A video that cannot be written as asked for.
    #[error("{}: {what} must be {expected}, got {got}", path.display())]
    InvalidEncoding {
        /// The path as given.
        path: PathBuf,
        /// The parameter or frame at fault.
        what: String,
        /// What it has to be.
        expected: String,
        /// What it was.
        got: String,
    },
    /// The FFmpeg that this program runs with cannot encode the video.
    #[error(
        "{}: cannot encode with {encoder}: {reason}; install an FFmpeg built with it or choose another \
         encoding",
        path.display()
    )]
    Encoder {
        /// The path as given.
        path: PathBuf,
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// FFmpeg's reason.
        reason: String,
    },
    /// Pictures could not be written to the file.
    #[error("{}: cannot write the video: {reason}", path.display())]
    Write {
        /// The path as given.
        path: PathBuf,
        /// The reason of the system or of FFmpeg.
        reason: String,
    },
    /// Somebody asked to stop.
    #[error("cancelled")]
    Cancelled,
    /// A sampling request that no video could satisfy.
    #[error("invalid sampling: {what} must be {expected}, got {got}")]
    InvalidSampling {
        /// The parameter at fault.
        what: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it was.
        got: String,
    },
    /// A time range that lies outside the video or ends before it starts.
    #[error(
        "time range {start_seconds} s to {end_seconds} s holds no frame of a video of {duration_seconds:.3} s"
    )]
    EmptyRange {
        /// Start of the range, from the first frame.
        start_seconds: f64,
        /// End of the range, from the first frame.
        end_seconds: f64,
        /// Duration of the video.
        duration_seconds: f64,
    },
}

/// Damage that was tolerated. The frames handed out are usable, but not all are what the file meant them to
/// be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Warning {
    /// The frame could not be decoded; a neighbour stands in.
    Substituted {
        /// The frame asked for.
        index: usize,
        /// Its presentation time.
        pts_seconds: f64,
        /// The frame that stands in: the nearest earlier decodable one, or the first one where none is
        /// earlier.
        stand_in: usize,
    },
    /// The frame was decoded from damaged data, the missing parts filled in by the decoder.
    Concealed {
        /// The frame.
        index: usize,
        /// Its presentation time.
        pts_seconds: f64,
    },
    /// The file breaks off, or cannot be read further.
    Truncated {
        /// Frames announced by the header, if it announces any.
        expected_frames: Option<usize>,
        /// Frames found.
        found_frames: usize,
    },
    /// The clock of the file steps back, as where recordings were put one behind the other. Frames come in
    /// the order of the file, and each part's times go on after the part before.
    ClockRestarts {
        /// How often it steps back.
        restarts: usize,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Substituted { index, pts_seconds, stand_in } => {
                write!(f, "frame {index} at {pts_seconds:.3} s cannot be decoded, frame {stand_in} stands in")
            }
            Self::Concealed { index, pts_seconds } => {
                write!(f, "frame {index} at {pts_seconds:.3} s is damaged, missing parts were filled in")
            }
            Self::Truncated { expected_frames: Some(expected), found_frames } => {
                write!(f, "the file is cut short: {found_frames} of {expected} frames are there")
            }
            Self::Truncated { expected_frames: None, found_frames } => {
                write!(f, "the file cannot be read beyond {found_frames} frames")
            }
            Self::ClockRestarts { restarts } => {
                let times = if *restarts == 1 { "once".to_owned() } else { format!("{restarts} times") };
                write!(
                    f,
                    "the clock of the file starts over {times}: frames are numbered in the order of the file"
                )
            }
        }
    }
}
