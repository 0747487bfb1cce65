//! How much of a hostile or mistaken file is let in.

use crate::options::with_fields;

/// Bounds checked before memory is spent. Each violation is a
/// [`VideoError::Limit`](super::VideoError::Limit).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most frames a video may hold. The index takes 16 bytes a frame, 40 where every frame is a key frame.
    /// Default 2^24: 77 hours at 60 frames a second.
    pub max_frames: usize,
    /// Most pixels a frame may have. Default 2^27, which is 16384 x 8192.
    pub max_pixels: u64,
    /// Most bytes a file may have. Default 2^38, which is 256 GiB.
    pub max_bytes: u64,
}

with_fields!(Limits {
    with_max_frames(max_frames: usize),
    with_max_pixels(max_pixels: u64),
    with_max_bytes(max_bytes: u64),
});

impl Default for Limits {
    fn default() -> Self {
        Self { max_frames: 1 << 24, max_pixels: 1 << 27, max_bytes: 1 << 38 }
    }
}
