//! Where one shot of a video ends and the next begins.
//!
//! [`ShotDetector`] is fed pictures in order and their times, and keeps no more than a few seconds of them,
//! each as 32 x 18 averages. What it holds for a boundary is said there. `shots` feeds it the frames of a
//! file, and [`Shots::moments`] makes stretches of useful lengths of what was found; [`windows`] does so
//! without looking.

mod detector;
mod moments;
mod picture;
#[cfg(feature = "video")]
mod read;
#[cfg(test)]
mod tests;

pub use detector::ShotDetector;
pub use moments::{MomentLengths, windows};
#[cfg(feature = "video")]
pub use read::shots;
#[cfg(all(feature = "video", feature = "library"))]
pub(crate) use read::shots_among;

use crate::media::TimeRange;
use crate::options::with_fields;

/// How shots are looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct ShotOptions {
    /// Most frames to look at in a second of video. Default 8, which places a boundary within 0.1 s. Fades
    /// and dissolves take at least 4.
    pub fps: f64,
    /// Least [strength](ShotBoundary::strength) of a boundary, 0 to 1. Default 0.25; more finds fewer.
    pub threshold: f64,
}

with_fields!(ShotOptions { with_fps(fps: f64), with_threshold(threshold: f64) });

impl Default for ShotOptions {
    fn default() -> Self {
        Self { fps: 8.0, threshold: 0.25 }
    }
}

/// How one shot goes over into the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// From one frame to the next.
    Cut,
    /// Through black or white.
    Fade,
    /// One shows through the other.
    Dissolve,
}

/// The end of one shot and the beginning of the next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShotBoundary {
    /// Seconds from the first frame of the video: of a cut when the new shot comes up, else the middle.
    pub seconds: f64,
    /// How the shots go over into each other.
    pub transition: Transition,
    /// How unlike the pictures of both sides are: 0 where they are the same, 1 where they share neither
    /// colours nor arrangement.
    pub strength: f64,
}

/// The shots of a video.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Shots {
    /// Where they meet, in order of time.
    pub boundaries: Vec<ShotBoundary>,
    /// Seconds from the start of the first frame to the end of the last.
    pub duration_seconds: f64,
}

impl Shots {
    /// The shots in order: the first starts at 0, each of the others where the one before ends, and the last
    /// ends with the video.
    pub fn ranges(&self) -> impl Iterator<Item = TimeRange> + '_ {
        let inner = || self.boundaries.iter().map(|boundary| boundary.seconds);
        let starts = std::iter::once(0.0).chain(inner());
        starts.zip(inner().chain([self.duration_seconds])).map(|(start, end)| TimeRange::between(start, end))
    }
}
