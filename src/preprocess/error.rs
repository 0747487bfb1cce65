//! What can go wrong between raw media and model inputs.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use super::image::PixelFormat;
use super::size::PixelSize;
use crate::store::IoError;
use crate::text::one_line;

/// An error of the preprocessing room. Every message is one line and names the file or the prompt part at
/// fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PreprocessError {
    /// A file the checkpoint must have is not there.
    #[error(
        "checkpoint file {} is missing; point to a model directory in Hugging Face layout",
        path.display()
    )]
    MissingCheckpointFile {
        /// The file that was looked for.
        path: PathBuf,
    },
    /// A file exists but could not be read.
    #[error(transparent)]
    Io(#[from] IoError),
    /// A configuration file is not the JSON it should be.
    #[error("cannot parse {}: {reason}", path.display())]
    ParseConfig {
        /// The file.
        path: PathBuf,
        /// The parser's reason, with line and column.
        reason: serde_json::Error,
    },
    /// A configuration value is outside what the model can be run with.
    #[error("{}: {field} must be {expected}, got {got}", path.display())]
    InvalidConfig {
        /// The file.
        path: PathBuf,
        /// The key in that file.
        field: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What was found.
        got: String,
    },
    /// A setting of a checkpoint asks for what is not built in.
    #[error("{}: {reason}", path.display())]
    UnsupportedSetting {
        /// The file.
        path: PathBuf,
        /// The key, what was found and what is supported.
        reason: String,
    },
    /// An image is larger in bytes than the limit.
    #[error(
        "image {place} has {bytes} bytes, more than the limit of {limit_bytes}; raise the limit or shrink \
         the file"
    )]
    ImageByteLimit {
        /// Path or caller's name of the image.
        place: String,
        /// Size found, at least.
        bytes: u64,
        /// Size allowed.
        limit_bytes: u64,
    },
    /// An image has more pixels than the limit.
    #[error(
        "image {place} has {size} pixels, more than the limit of {limit_pixels} in all; raise the limit \
         or shrink the image"
    )]
    ImagePixelLimit {
        /// Path or caller's name of the image.
        place: String,
        /// Size declared by the file.
        size: PixelSize,
        /// Width times height allowed.
        limit_pixels: u64,
    },
    /// An image that would take more memory than the limit.
    #[error(
        "image {place} of {size} pixels needs {needed_bytes} bytes of memory to decode, more than the \
         limit of {limit_bytes}; raise the limit, shrink the image or store it with 8 bits a sample"
    )]
    ImageMemoryLimit {
        /// Path or caller's name of the image.
        place: String,
        /// Size declared by the file.
        size: PixelSize,
        /// Bytes that would be held at a time.
        needed_bytes: u64,
        /// Bytes allowed.
        limit_bytes: u64,
    },
    /// The data of an image end, or make no sense, before its picture is complete.
    #[error(
        "image {place} is cut short or damaged: its data end before the picture is complete; get the \
         whole file"
    )]
    IncompleteImage {
        /// Path or caller's name of the image.
        place: String,
    },
    /// The bytes are no image of a supported format, or are damaged.
    #[error(
        "cannot decode image {place}: {}; PNG, JPEG, GIF, WebP, BMP, TIFF, JPEG XL, HEIC, AVIF and the JPEG \
         in raw files of cameras are supported",
        one_line(reason)
    )]
    DecodeImage {
        /// Path or caller's name of the image.
        place: String,
        /// The decoder's reason.
        reason: image::ImageError,
    },
    /// A file without a byte in it.
    #[error("cannot decode image {place}: it is empty (0 bytes)")]
    EmptyImage {
        /// Path or caller's name of the image.
        place: String,
    },
    /// An image that this program cannot decode, and others may.
    #[error("cannot decode image {place}: it holds {format}, and {reason}")]
    NoImageDecoder {
        /// Path or caller's name of the image.
        place: String,
        /// What it is coded with.
        format: &'static str,
        /// Why this program cannot.
        reason: &'static str,
    },
    /// Pixel bounds that no size can meet.
    #[error(
        "min_pixels {min_pixels} and max_pixels {max_pixels} allow no size: max_pixels must be at least \
         {least_pixels} (one visual token) and not below min_pixels"
    )]
    InvalidPixelBounds {
        /// Lower bound of the area.
        min_pixels: u64,
        /// Upper bound of the area.
        max_pixels: u64,
        /// Area of one visual token.
        least_pixels: u64,
    },
    /// Pixel bounds that exclude the one size that a model reads.
    #[error(
        "the model reads pictures of {size} pixels, whatever their size; bounds of {min_pixels} to \
         {max_pixels} pixels do not allow that: leave them out"
    )]
    FixedSize {
        /// The model's size.
        size: PixelSize,
        /// Lower bound of the area.
        min_pixels: u64,
        /// Upper bound of the area.
        max_pixels: u64,
    },
    /// A picture without area.
    #[error("a picture of {size} pixels cannot be embedded; width and height must be at least 1")]
    EmptyPicture {
        /// The size given.
        size: PixelSize,
    },
    /// A [`FrameView`](super::FrameView) whose stride or data disagree with its size.
    #[error("a frame of {size} pixels of {format:?}: {what} must be {}, got {got}", bytes_of(expected))]
    FrameBuffer {
        /// The size given.
        size: PixelSize,
        /// What a pixel is made of.
        format: PixelFormat,
        /// What does not fit.
        what: &'static str,
        /// Bytes that would fit.
        expected: RangeInclusive<usize>,
        /// Bytes given.
        got: usize,
    },
    /// A pixel buffer whose length disagrees with its size.
    #[error("frame {frame_index} of {size} pixels needs {expected_bytes} bytes of RGB, got {got_bytes}")]
    PixelBufferLength {
        /// Index of the frame in the order given.
        frame_index: usize,
        /// Declared size.
        size: PixelSize,
        /// Width times height times 3.
        expected_bytes: u64,
        /// Length of the buffer.
        got_bytes: usize,
    },
    /// A video whose frames differ in size.
    #[error(
        "frame {frame_index} is {got} pixels but the first frame is {expected}; all frames of a video \
         must have one size"
    )]
    FrameSizeMismatch {
        /// Index of the frame in the order given.
        frame_index: usize,
        /// Size of the first frame.
        expected: PixelSize,
        /// Size of this frame.
        got: PixelSize,
    },
    /// A video without frames.
    #[error("a video needs at least one frame, got none")]
    NoFrames,
    /// The resampler refused a picture.
    #[error("cannot resize a picture from {from} to {to} pixels: {reason}")]
    Resize {
        /// Source size.
        from: PixelSize,
        /// Target size.
        to: PixelSize,
        /// The resampler's reason.
        reason: String,
    },
    /// `tokenizer.json` could not be turned into a tokenizer.
    #[error("cannot load tokenizer {}: {reason}", path.display())]
    LoadTokenizer {
        /// The file.
        path: PathBuf,
        /// The tokenizer library's reason.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The tokenizer lacks a token the chat template is made of.
    #[error("tokenizer {} has no token {token}; a Qwen2.5-VL tokenizer is needed", path.display())]
    MissingSpecialToken {
        /// The file.
        path: PathBuf,
        /// Spelling of the token.
        token: &'static str,
    },
    /// A token of the chat template would also be matched in user text.
    #[error(
        "tokenizer {} does not mark {token} as special, so user text could forge it; set \"special\": true",
        path.display()
    )]
    TokenNotSpecial {
        /// The file.
        path: PathBuf,
        /// Spelling of the token.
        token: &'static str,
    },
    /// `config.json` and `tokenizer.json` name different ids for one token.
    #[error(
        "config.json says {field} {config_id} but tokenizer {} has {token} as {tokenizer_id}; the files \
         belong to different checkpoints",
        path.display()
    )]
    TokenIdMismatch {
        /// The tokenizer file.
        path: PathBuf,
        /// Key in `config.json`.
        field: &'static str,
        /// Spelling of the token.
        token: &'static str,
        /// Id in the tokenizer.
        tokenizer_id: u32,
        /// Id in `config.json`.
        config_id: u32,
    },
    /// The tokenizer failed on a text.
    #[error("cannot tokenize a text of {bytes} bytes: {reason}")]
    Tokenize {
        /// Length of the text.
        bytes: usize,
        /// The tokenizer library's reason.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A text without a place to break it at, too long to be tokenised as a whole.
    #[error(
        "a text has {bytes} bytes without a blank or another place to break it at, more than the limit of \
         {limit_bytes}; break it up or shorten it"
    )]
    UnbrokenText {
        /// Length of the part that cannot be broken.
        bytes: usize,
        /// Length allowed.
        limit_bytes: usize,
    },
    /// No tokenizer could be trained on the texts given, or it could not be written.
    #[error("cannot train a tokenizer for {}: {reason}", path.display())]
    TrainTokenizer {
        /// The file it was for.
        path: PathBuf,
        /// The tokenizer library's reason.
        reason: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A setting of the prompt that no prompt can be made with.
    #[error("{field} must be {expected}, got {got}")]
    InvalidPromptConfig {
        /// The setting.
        field: &'static str,
        /// What is accepted.
        expected: &'static str,
        /// What was given.
        got: String,
    },
    /// Truncation would drop visual tokens.
    #[error(
        "prompt part {part_index} ends at token {needed_tokens} but only {allowed_tokens} fit; use fewer \
         frames, a lower max_pixels or a higher max_length"
    )]
    VisualTokenLimit {
        /// Index of the last visual part.
        part_index: usize,
        /// Sequence length that would keep every visual token, `<|endoftext|>` included.
        needed_tokens: usize,
        /// `max_length`.
        allowed_tokens: usize,
    },
    /// A grid the merger cannot divide.
    #[error(
        "prompt part {part_index} has grid_thw {grid_thw:?}; every entry must be positive and height and \
         width multiples of {spatial_merge_size}"
    )]
    InvalidGrid {
        /// Index of the visual part.
        part_index: usize,
        /// Patches along time, height and width.
        grid_thw: [usize; 3],
        /// Patches merged along each side.
        spatial_merge_size: usize,
    },
    /// Parts of which the prompt has nothing.
    #[error("there is nothing to embed: no picture, and no text that says something")]
    EmptyPrompt,
    /// A rate or a duration that is not a positive number.
    #[error(
        "{field} must be a positive finite number, got {got}; frames without timing need an explicit fps"
    )]
    InvalidTiming {
        /// Name of the quantity.
        field: &'static str,
        /// What was given.
        got: f64,
    },
    /// Position ids beyond 32 bits.
    #[error(
        "position ids reach {got}, beyond {limit}; the frames lie too far apart in time or the prompt is \
         too long"
    )]
    PositionLimit {
        /// The id that would be needed.
        got: f64,
        /// Largest id.
        limit: u32,
    },
}

fn bytes_of(expected: &RangeInclusive<usize>) -> String {
    match (*expected.start(), *expected.end()) {
        (least, usize::MAX) => format!("at least {least} bytes"),
        (least, most) if least == most => format!("{least} bytes"),
        (least, most) => format!("{least} to {most} bytes"),
    }
}

/// Result of the preprocessing room.
pub type Result<T, E = PreprocessError> = std::result::Result<T, E>;
