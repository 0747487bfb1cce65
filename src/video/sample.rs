//! Which frames to take: index arithmetic on metadata, without a decoder.

use std::sync::Arc;

use super::VideoError;
use crate::media::{DEFAULT_MAX_FRAMES, Sampling, TimeRange};

/// `FPS_MIN_FRAMES` of qwen-vl-utils.
const DEFAULT_MIN_FRAMES: usize = 4;

/// How a number of frames is arrived at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameCount {
    /// Exactly what was asked for, as far as the video has it.
    Exact,
    /// A multiple of so many, which a model takes together, by the rules of `smart_nframes` in qwen-vl-utils
    /// 0.0.11. Where that function raises because the video is too short, as many frames as there are.
    MultipleOf(usize),
}

impl FrameCount {
    fn factor(self) -> usize {
        match self {
            Self::Exact => 1,
            Self::MultipleOf(factor) => factor.max(1),
        }
    }
}

/// What the samplers need to know of a video.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamTiming {
    total_frames: usize,
    average_fps: f64,
    /// Sorted; empty where the frames are taken to be evenly spaced.
    pts_seconds: Arc<[f64]>,
    /// When the last frame goes, from when the first one comes up.
    end_seconds: f64,
}

impl StreamTiming {
    /// Timing from the presentation times of all frames, in any order, and the average rate.
    pub fn from_pts(mut pts_seconds: Vec<f64>, average_fps: f64) -> Self {
        pts_seconds.sort_by(f64::total_cmp);
        let span = pts_seconds.last().zip(pts_seconds.first()).map_or(0.0, |(last, first)| last - first);
        let end_seconds = (span + 1.0 / average_fps).max(pts_seconds.len() as f64 / average_fps);
        Self { total_frames: pts_seconds.len(), average_fps, pts_seconds: pts_seconds.into(), end_seconds }
    }

    /// The same, of which it is known how long the last frame is on display.
    #[cfg(feature = "video")]
    pub(super) fn lasting(self, seconds: f64) -> Self {
        Self { end_seconds: self.end_seconds.max(seconds), ..self }
    }

    /// Timing of evenly spaced frames.
    pub fn regular(total_frames: usize, average_fps: f64) -> Self {
        let end_seconds = total_frames as f64 / average_fps;
        Self { total_frames, average_fps, pts_seconds: Arc::default(), end_seconds }
    }

    /// Number of frames.
    pub fn total_frames(&self) -> usize {
        self.total_frames
    }

    /// Average frames per second.
    pub fn average_fps(&self) -> f64 {
        self.average_fps
    }

    /// What [`select`] has to be told for the frames that come up in `range`, in seconds from the first frame: it
    /// counts by the average rate, which is another thing where frames are not evenly spaced, and takes both
    /// ends. A frame that comes up at the end of `range` is none of it here, so that each frame is in one of two
    /// ranges that meet. Where none comes up it is the one that is on display. A range that no video has, or that
    /// lies outside of this one, is as it was, and [`select`] refuses it.
    pub fn by_average_rate(&self, range: TimeRange) -> TimeRange {
        let start = range.start_seconds.unwrap_or(0.0);
        let end = range.end_seconds.unwrap_or(f64::INFINITY);
        let is_inside = start.is_finite() && start <= end && start < self.end_seconds && end >= 0.0;
        if self.total_frames == 0 || !is_inside {
            return range;
        }
        let (first, last) = match (self.frames_before(start), self.frames_before(end)) {
            (first, end) if first < end => (first, end - 1),
            _ => (self.displayed_at(start), self.displayed_at(start)),
        };
        // Between frames, where rounding finds no neighbour.
        let time = |index: usize, beside: f64| (index as f64 + beside) / self.average_fps;
        TimeRange {
            start_seconds: range.start_seconds.map(|_| time(first, -0.25).max(0.0)),
            end_seconds: range.end_seconds.map(|_| time(last, 0.25)),
        }
    }

    fn seconds_from_first(&self, index: usize) -> f64 {
        match (self.pts_seconds.first(), self.pts_seconds.get(index).or(self.pts_seconds.last())) {
            (Some(first), Some(pts)) => pts - first,
            _ => index.min(self.total_frames.saturating_sub(1)) as f64 / self.average_fps,
        }
    }

    /// How many frames come up less than `seconds` after the first.
    fn frames_before(&self, seconds: f64) -> usize {
        let seconds = seconds - 1e-6;
        let before = match self.pts_seconds.first() {
            Some(first) => self.pts_seconds.partition_point(|pts| pts - first < seconds),
            None => (seconds * self.average_fps).ceil().max(0.0) as usize,
        };
        before.min(self.total_frames)
    }

    /// Index of the frame on display `seconds` after the first.
    pub(crate) fn displayed_at(&self, seconds: f64) -> usize {
        // A time stamp that was itself computed from an index must find that index again.
        let seconds = seconds + 1e-6;
        let after = match self.pts_seconds.first() {
            Some(first) => self.pts_seconds.partition_point(|pts| pts - first <= seconds),
            None => ((seconds * self.average_fps).floor().max(0.0) as usize).saturating_add(1),
        };
        after.clamp(1, self.total_frames) - 1
    }
}

/// The frames to decode.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Indices in presentation order of the video, ascending unless time stamps asked otherwise.
    pub indices: Vec<usize>,
    /// Real rate of the selected frames in frames per second.
    pub sample_fps: f64,
}

/// Chooses frames. The range is turned into frame numbers by the average rate, as
/// `calculate_video_frame_range` of qwen-vl-utils 0.0.11 does; explicit time stamps go by the presentation
/// times and ignore the range.
///
/// # Errors
/// [`VideoError::InvalidSampling`] for a parameter no video could satisfy, [`VideoError::EmptyRange`] for a
/// range outside the video.
pub fn select(
    timing: &StreamTiming,
    sampling: &Sampling,
    range: TimeRange,
    count: FrameCount,
) -> Result<Selection, VideoError> {
    if timing.total_frames == 0 {
        return Err(invalid("the number of frames in the video", "at least 1", 0));
    }
    positive("the frame rate of the video", timing.average_fps)?;
    if let Sampling::Timestamps(seconds) = sampling {
        return at_timestamps(timing, seconds);
    }
    let (first, last) = frame_range(timing, range)?;
    let total = last - first + 1;
    let factor = count.factor();
    let frames = match sampling {
        Sampling::Uniform { frames: 0 } => {
            return Err(invalid("the number of frames", "at least 1", 0));
        }
        Sampling::Uniform { frames } => round_by(*frames, factor).max(factor).min(total),
        Sampling::Fps { fps, min_frames, max_frames } => {
            frames_at_fps(timing, total, *fps, *min_frames, *max_frames, factor)?
        }
        Sampling::Timestamps(_) => total,
    };
    Ok(Selection {
        indices: linspace_rounded(first, last, frames),
        sample_fps: frames as f64 / total as f64 * timing.average_fps,
    })
}

/// `smart_nframes` with `fps`, for multiples of `factor`.
fn frames_at_fps(
    timing: &StreamTiming,
    total: usize,
    fps: f64,
    min_frames: Option<usize>,
    max_frames: Option<usize>,
    factor: usize,
) -> Result<usize, VideoError> {
    positive("fps", fps)?;
    if let Some(max) = max_frames.filter(|max| *max < factor) {
        let expected = match factor {
            1 => "at least 1",
            2 => "at least 2",
            _ => "at least as many frames as the model takes together",
        };
        return Err(invalid("max_frames", expected, max));
    }
    let wanted = total as f64 / timing.average_fps * fps;
    let min = min_frames.unwrap_or(DEFAULT_MIN_FRAMES).next_multiple_of(factor);
    let max = max_frames.unwrap_or(DEFAULT_MAX_FRAMES.min(total));
    let max = max / factor * factor;
    let bounded = wanted.max(min as f64).min(max as f64).min(total as f64);
    let frames = bounded as usize / factor * factor;
    Ok(frames.max(factor).min(total))
}

/// First and last frame number of a range, both inclusive.
fn frame_range(timing: &StreamTiming, range: TimeRange) -> Result<(usize, usize), VideoError> {
    let total = timing.total_frames;
    let duration_seconds = total as f64 / timing.average_fps;
    let start_seconds = range.start_seconds.unwrap_or(0.0);
    let end_seconds = range.end_seconds.unwrap_or(duration_seconds);
    finite("the start of the time range", start_seconds)?;
    finite("the end of the time range", end_seconds)?;
    if start_seconds > end_seconds || start_seconds >= duration_seconds || end_seconds < 0.0 {
        return Err(VideoError::EmptyRange { start_seconds, end_seconds, duration_seconds });
    }
    let frame_at = |seconds: f64| seconds.clamp(0.0, duration_seconds) * timing.average_fps;
    let first = frame_at(start_seconds).ceil() as usize;
    let last = match range.end_seconds {
        Some(seconds) => (frame_at(seconds).floor() as usize).min(total - 1),
        None => total - 1,
    };
    if first > last {
        // The range lies between two frames, where the reference raises: the frame on display stands for it.
        let displayed = (frame_at(start_seconds).floor() as usize).min(total - 1);
        return Ok((displayed, displayed));
    }
    Ok((first, last))
}

/// Frames on display at explicit times. Their rate is (n - 1) / span; without a span it is that of the video.
fn at_timestamps(timing: &StreamTiming, seconds: &[f64]) -> Result<Selection, VideoError> {
    if seconds.is_empty() {
        return Err(invalid("the number of time stamps", "at least 1", 0));
    }
    for &time in seconds {
        finite("a time stamp", time)?;
    }
    let indices: Vec<usize> = seconds.iter().map(|&time| timing.displayed_at(time)).collect();
    let earliest = indices.iter().min().copied().unwrap_or(0);
    let latest = indices.iter().max().copied().unwrap_or(0);
    let span = timing.seconds_from_first(latest) - timing.seconds_from_first(earliest);
    let sample_fps = if span > 0.0 { (indices.len() - 1) as f64 / span } else { timing.average_fps };
    Ok(Selection { indices, sample_fps })
}

/// `torch.linspace(first, last, n).round()`, halves to even, computed in `f32` and from both ends as torch
/// does.
fn linspace_rounded(first: usize, last: usize, frames: usize) -> Vec<usize> {
    let (start, end) = (first as f32, last as f32);
    let step = if frames > 1 { (end - start) / (frames - 1) as f32 } else { 0.0 };
    (0..frames)
        .map(|i| {
            let value = if i < frames / 2 || frames == 1 {
                start + step * i as f32
            } else {
                end - step * (frames - 1 - i) as f32
            };
            (value.round_ties_even() as usize).clamp(first, last)
        })
        .collect()
}

/// `round_by_factor(n, factor)`: Python's `round` takes halves to even.
fn round_by(frames: usize, factor: usize) -> usize {
    ((frames as f64 / factor as f64).round_ties_even() as usize).saturating_mul(factor)
}

pub(super) fn positive(what: &'static str, value: f64) -> Result<f64, VideoError> {
    if value.is_finite() && value > 0.0 {
        return Ok(value);
    }
    Err(invalid(what, "a positive number", value))
}

fn finite(what: &'static str, value: f64) -> Result<(), VideoError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(invalid(what, "a finite number", value))
}

pub(super) fn invalid(what: &'static str, expected: &'static str, got: impl ToString) -> VideoError {
    VideoError::InvalidSampling { what, expected, got: got.to_string() }
}

#[cfg(all(test, feature = "video"))]
mod tests {
    use super::*;

    /// A picture with sound.
    #[test]
    fn a_frame_is_on_display_as_long_as_the_container_says() {
        let (range, fps) = (TimeRange::between(10.0, 20.0), 25.0);
        let chosen = |timing: StreamTiming| {
            let range = timing.by_average_rate(range);
            select(&timing, &Sampling::Uniform { frames: 4 }, range, FrameCount::Exact).map(|s| s.indices)
        };
        assert!(chosen(StreamTiming::from_pts(vec![0.0], fps)).is_err());
        assert_eq!(chosen(StreamTiming::from_pts(vec![0.0], fps).lasting(60.0)).unwrap(), [0]);
    }
}
