//! What a video is, known once it is open.

use super::Orientation;

/// Facts about the video stream of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct VideoMetadata {
    /// Width in pixels after rotation: that of the first picture, to which all others are scaled. Where pixels are
    /// not square it is that at which it is shown, unless [`Appearance::AsCoded`](super::Appearance) is asked for.
    pub width: u32,
    /// Height in pixels after rotation.
    pub height: u32,
    /// FFmpeg's short name of the container, such as `mov,mp4,m4a,3gp,3g2,mj2`.
    pub container: String,
    /// FFmpeg's short name of the codec, such as `h264`.
    pub codec: String,
    /// Index of the video stream among the streams of the file.
    pub stream: usize,
    /// Number of frames: counted by [`Seeking::Exact`](super::Seeking::Exact), else taken or derived from the
    /// header.
    pub frames: usize,
    /// Average frames per second. That of the header where it agrees with the frames counted, else frames
    /// over duration.
    pub average_fps: f64,
    /// Presentation time of the first frame.
    pub start_seconds: f64,
    /// Seconds from the start of the first frame to the end of the last.
    pub duration_seconds: f64,
    /// How decoded pictures are turned; already applied to the frames handed out.
    pub orientation: Orientation,
    /// When it was made by what the container says (`creation_time`), in seconds from the beginning of 1970.
    pub created_seconds: Option<i64>,
}

/// Relative difference up to which the rate in a header is believed. Containers with coarse clocks are off by
/// less.
const RATE_TOLERANCE: f64 = 0.01;

/// Rate used where neither the header nor the time stamps tell one, as FFmpeg assumes for raw streams.
const FALLBACK_FPS: f64 = 25.0;

/// The average rate, given the header's (if any) and what was counted.
pub(super) fn average_fps(header: Option<f64>, frames: usize, duration_seconds: f64) -> f64 {
    let header = header.filter(|fps| fps.is_finite() && *fps > 0.0);
    let counted = (frames > 1 && duration_seconds > 0.0).then(|| frames as f64 / duration_seconds);
    match (header, counted) {
        (Some(header), Some(counted)) if (header - counted).abs() > RATE_TOLERANCE * counted => counted,
        (Some(header), _) => header,
        (None, Some(counted)) => counted,
        (None, None) => FALLBACK_FPS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_rate_is_believed_where_it_agrees() {
        let ntsc = 30000.0 / 1001.0;
        let table = [
            (Some(ntsc), 90, 3.003, ntsc),
            (Some(ntsc), 90, 3.0, ntsc),
            (Some(25.0), 100, 10.0, 10.0),
            (None, 50, 2.0, 25.0),
            (Some(0.0), 50, 2.0, 25.0),
            (Some(f64::NAN), 1, 0.0, 25.0),
            (Some(10.0), 1, 0.04, 10.0),
        ];
        for (header, frames, duration, expected) in table {
            assert_eq!(average_fps(header, frames, duration), expected, "{header:?} {frames} {duration}");
        }
    }
}
