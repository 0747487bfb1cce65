//! From a video file to the frames a model looks at.
//!
//! Sampling and decoding are apart. [`select`] turns a wish ("eight frames", "two a second") and the timing
//! of a stream into frame numbers by arithmetic alone; [`VideoReader`] turns frame numbers into pictures.
//! Between them stands one convention: frame `i` is the `i`-th picture in presentation order, whatever time
//! stamps the container starts with. Where the clock of a file starts over or goes to and fro, that is the
//! order in which a decoder gives the pictures of the file from its beginning to its end: each once, none
//! left out.
//!
//! An exact reader first reads through all packets without decoding any. That tells when each frame is shown,
//! which packet it comes from and where decoding can start. Each packet is then stamped with the number of
//! its frame before the decoder sees it, so a picture that comes out says itself which frame it is: no
//! rounding of times, no doubt after a seek, and pictures that a damaged file leaves out are noticed. To get
//! at a frame the reader goes to the key frame in front of it, decodes forward, leaves out pictures that no
//! other picture refers to, and drains the decoder as soon as the frame is in. Frames in ascending order
//! share what has been decoded already.
//!
//! Files that fit no rule still come out right, only slower. Where seeking misses, packets are counted from
//! the start of the file; where a stream has no time stamps, decoded pictures are; where time stamps
//! contradict the pictures, these are decoded once to learn their order; where a key frame turns out not to
//! be one, an earlier one is taken. What headers say of the size of pictures is checked against the first
//! picture, and later ones of another size are scaled to that. Damage is tolerated as far as there is a
//! picture to stand in, and told as [`Warning`]s.
//!
//! The way back is short: [`VideoWriter`] encodes pictures into a file that appears once it is complete.
//!
//! Frame types and samplers are always there. Reader and writer need the cargo feature `video` and FFmpeg 5.1
//! or later, which no other module names.

mod error;
mod frame;
mod limits;
mod orientation;
mod sample;
mod shots;
mod still;

pub use crate::media::Sampling;
pub use error::{VideoError, Warning};
pub use frame::Frame;
pub use limits::Limits;
pub use orientation::Orientation;
pub use sample::{FrameCount, Selection, StreamTiming, select};
#[cfg(feature = "video")]
pub use shots::shots;
#[cfg(all(feature = "video", feature = "library"))]
pub(crate) use shots::shots_among;
pub use shots::{MomentLengths, ShotBoundary, ShotDetector, ShotOptions, Shots, Transition, windows};
pub(crate) use still::{CodedColor, CodedPicture, StillCodec, StillError, can_decode_still, decode_still};

#[cfg(feature = "video")]
mod carried;
#[cfg(feature = "video")]
mod clock;
#[cfg(feature = "video")]
mod coded_order;
#[cfg(feature = "video")]
mod convert;
#[cfg(feature = "video")]
mod cursor;
#[cfg(feature = "video")]
mod decode;
#[cfg(feature = "video")]
mod demux;
#[cfg(feature = "video")]
mod disposable;
#[cfg(feature = "video")]
mod doubtful;
#[cfg(feature = "video")]
mod hdr;
#[cfg(feature = "video")]
mod index;
#[cfg(feature = "video")]
mod learn;
#[cfg(feature = "video")]
mod metadata;
#[cfg(feature = "video")]
mod origin;
#[cfg(feature = "video")]
mod parser;
#[cfg(feature = "video")]
mod plan;
#[cfg(feature = "video")]
mod probe;
#[cfg(feature = "video")]
mod reader;
#[cfg(feature = "video")]
mod references;
#[cfg(feature = "video")]
mod scan;
#[cfg(feature = "video")]
mod self_contained;
#[cfg(feature = "video")]
mod small;
#[cfg(feature = "video")]
mod sniff;
#[cfg(feature = "video")]
mod source;
#[cfg(feature = "video")]
mod writer;

#[cfg(feature = "video")]
pub use convert::Appearance;
#[cfg(feature = "video")]
pub use metadata::VideoMetadata;
#[cfg(feature = "video")]
pub use reader::{Frames, Seeking, VideoOptions, VideoReader};
#[cfg(feature = "video")]
pub(crate) use small::small_pictures;
#[cfg(feature = "video")]
pub use writer::{VideoEncoding, VideoWriter};
