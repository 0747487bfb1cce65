//! A decoded picture and where it lies in its video.

use image::RgbImage;

/// One decoded picture, upright, as 8-bit RGB.
#[derive(Debug, Clone, PartialEq)]
pub struct Frame {
    /// The pixels, after rotation: `height x width x 3`, gamma-encoded RGB in full range.
    pub image: RgbImage,
    /// Place in presentation order, which is that of the file where its clock starts over. The first frame is
    /// 0 whatever its time stamp.
    pub index: usize,
    /// Presentation time as the container has it. The first frame need not be at zero. Where the clock of the
    /// file starts over, each part goes on after the part before, so that times never fall from one frame to
    /// the next.
    pub pts_seconds: f64,
}
