//! Stretches of a video of useful lengths, by arithmetic alone.

use super::Shots;
use crate::media::TimeRange;
use crate::options::with_fields;
use crate::video::VideoError;
use crate::video::sample::{invalid, positive};

/// Most stretches that are made of one video.
const MAX_STRETCHES: f64 = (1 << 20) as f64;
/// What is longer by this share than it may be is so by rounding.
const ROUNDING: f64 = 1e-9;

/// How long moments are.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MomentLengths {
    /// The least, in seconds. Default 2.
    pub shortest_seconds: f64,
    /// The most, in seconds: at least twice the least. Default 20.
    pub longest_seconds: f64,
}

with_fields!(MomentLengths {
    with_shortest_seconds(shortest_seconds: f64),
    with_longest_seconds(longest_seconds: f64),
});

impl Default for MomentLengths {
    fn default() -> Self {
        Self { shortest_seconds: 2.0, longest_seconds: 20.0 }
    }
}

impl Shots {
    /// Stretches of the video that have at least the shortest and at most the longest length; a video shorter
    /// than that is one. They follow one upon the other: each starts at the very number at which the one
    /// before ends, the first at 0, and the last ends with the video, so that every instant lies in exactly
    /// one.
    ///
    /// Shots that are too short are joined with the neighbour beyond their weaker boundary, as often as it
    /// takes. Those that are then too long are split evenly.
    ///
    /// # Errors
    /// [`VideoError::InvalidSampling`] for lengths that are not as [`MomentLengths`] says, for a duration
    /// that is negative or no number, and where there would be more than 2^20 moments.
    pub fn moments(&self, lengths: MomentLengths) -> Result<Vec<TimeRange>, VideoError> {
        let MomentLengths { shortest_seconds: shortest, longest_seconds: longest } = lengths;
        let duration = not_negative("the duration of the video", self.duration_seconds)?;
        let shortest = not_negative("the shortest length of a moment", shortest)?;
        let longest = positive("the longest length of a moment", longest)?;
        // Halves of what is a little too long must not be too short.
        if longest < 2.0 * shortest {
            return Err(invalid("the longest length of a moment", "at least twice the shortest", longest));
        }
        few_enough("the longest length of a moment", longest, duration / longest)?;
        let edges = self.joined(shortest, duration);
        let mut moments = Vec::new();
        for shot in edges.windows(2) {
            let (start, end) = (shot[0], shot[1]);
            let pieces = ((end - start) / longest - ROUNDING).ceil().max(1.0) as usize;
            let edge = |piece: usize| match piece {
                0 => start,
                _ if piece == pieces => end,
                _ => start + (end - start) * (piece as f64 / pieces as f64),
            };
            moments.extend((0..pieces).map(|piece| TimeRange::between(edge(piece), edge(piece + 1))));
        }
        Ok(moments)
    }

    /// 0, the boundaries that are left once no shot is too short, and the end.
    ///
    /// Boundaries are gone through from the weakest to the strongest, and one beside a shot that is too short
    /// goes. Shots only grow, so one that has been left stays right.
    fn joined(&self, shortest: f64, duration: f64) -> Vec<f64> {
        let inside = |seconds: &f64| *seconds > 0.0 && *seconds < duration;
        let mut boundaries: Vec<_> =
            self.boundaries.iter().filter(|boundary| inside(&boundary.seconds)).collect();
        boundaries.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let mut edges = vec![0.0];
        edges.extend(boundaries.iter().map(|boundary| boundary.seconds));
        edges.push(duration);
        // The edges that are still there, as a list linked both ways.
        let mut before: Vec<usize> = (0..edges.len()).map(|edge| edge.saturating_sub(1)).collect();
        let mut after: Vec<usize> = (1..=edges.len()).collect();
        let mut weakest: Vec<usize> = (1..edges.len() - 1).collect();
        weakest.sort_by(|&a, &b| boundaries[a - 1].strength.total_cmp(&boundaries[b - 1].strength));
        let mut gone = vec![false; edges.len()];
        for edge in weakest {
            let (left, right) = (before[edge], after[edge]);
            if (edges[edge] - edges[left]).min(edges[right] - edges[edge]) < shortest {
                gone[edge] = true;
                after[left] = right;
                before[right] = left;
            }
        }
        edges.into_iter().zip(gone).filter_map(|(edge, gone)| (!gone).then_some(edge)).collect()
    }
}

/// Windows over a video, all of one length of at most `length_seconds`: as few as it takes, evenly spread, so
/// that the last is no sliver. The first starts at 0, neighbours share `overlap_seconds`, and the last ends
/// with the video. Without an overlap each starts at the very number at which the one before ends. A video no
/// longer than a window is one.
///
/// ```
/// use gve::{TimeRange, video::windows};
///
/// # fn main() -> Result<(), gve::video::VideoError> {
/// let found = windows(21.0, 10.0, 0.0)?;
/// assert_eq!(found, [(0.0, 7.0), (7.0, 14.0), (14.0, 21.0)].map(|(a, b)| TimeRange::between(a, b)));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// [`VideoError::InvalidSampling`] for a duration that is negative or no number, a length that is not
/// positive, an overlap that is negative or not less than the length, and where there would be more than 2^20
/// windows.
pub fn windows(
    duration_seconds: f64,
    length_seconds: f64,
    overlap_seconds: f64,
) -> Result<Vec<TimeRange>, VideoError> {
    let duration = not_negative("the duration of the video", duration_seconds)?;
    let length = positive("the length of a window", length_seconds)?;
    let overlap = not_negative("the overlap of windows", overlap_seconds)?;
    if overlap >= length {
        return Err(invalid("the overlap of windows", "less than their length", overlap));
    }
    let beyond = (duration - overlap).max(0.0);
    let count = (beyond / (length - overlap) - ROUNDING).ceil().max(1.0);
    few_enough("the length of a window beyond the overlap", length - overlap, count)?;
    let step = beyond / count;
    let count = count as usize;
    let window = |index: usize| {
        let end = if index + 1 == count { duration } else { step * (index + 1) as f64 + overlap };
        TimeRange::between(step * index as f64, end)
    };
    Ok((0..count).map(window).collect())
}

fn few_enough(what: &'static str, length: f64, count: f64) -> Result<(), VideoError> {
    if count <= MAX_STRETCHES {
        return Ok(());
    }
    Err(invalid(what, "enough for at most 2^20 of them in the video", length))
}

fn not_negative(what: &'static str, value: f64) -> Result<f64, VideoError> {
    if value.is_finite() && value >= 0.0 {
        return Ok(value);
    }
    Err(invalid(what, "a number that is not negative", value))
}

#[cfg(test)]
mod tests {
    use super::super::{ShotBoundary, Transition};
    use super::*;

    fn shots(duration_seconds: f64, boundaries: &[(f64, f64)]) -> Shots {
        let boundary = |&(seconds, strength)| ShotBoundary { seconds, transition: Transition::Cut, strength };
        Shots { boundaries: boundaries.iter().map(boundary).collect(), duration_seconds }
    }

    fn bounds(ranges: &[TimeRange]) -> Vec<(f64, f64)> {
        ranges.iter().map(|range| range.bounds().expect("both")).collect()
    }

    /// Duration, boundaries with strengths, where moments meet or end.
    type MomentsCase = (f64, &'static [(f64, f64)], &'static [f64]);
    /// Duration, length, overlap, windows.
    type WindowsCase = (f64, f64, f64, &'static [(f64, f64)]);

    #[test]
    fn moments_have_useful_lengths() {
        let table: &[MomentsCase] = &[
            (10.0, &[], &[10.0]),
            (10.0, &[(4.0, 0.5)], &[4.0, 10.0]),
            // The shot in the middle is too short and goes to the side it is more like.
            (10.0, &[(4.0, 0.5), (5.0, 0.9)], &[5.0, 10.0]),
            (10.0, &[(4.0, 0.9), (5.0, 0.5)], &[4.0, 10.0]),
            // Both ends are too short.
            (10.0, &[(1.0, 0.9), (9.5, 0.9)], &[10.0]),
            // A boundary of long shots stays, however weak.
            (10.0, &[(4.0, 0.1), (8.0, 0.9)], &[4.0, 8.0, 10.0]),
            // Joined by the weakest first: the last boundary is right once the shots before it have grown.
            (10.0, &[(1.0, 0.3), (2.0, 0.4), (3.0, 0.5), (4.0, 0.9)], &[4.0, 10.0]),
            // Even parts, and what rounding makes longer is whole.
            (21.0, &[], &[10.5, 21.0]),
            (20.0 + 1e-12, &[], &[20.0 + 1e-12]),
            (60.1, &[(0.1, 0.9)], &[60.1 / 4.0, 60.1 / 2.0, 60.1 * 0.75, 60.1]),
            // Shorter than a moment may be.
            (0.04, &[], &[0.04]),
            (0.0, &[], &[0.0]),
            // Not in order, outside, and no number.
            (
                10.0,
                &[(7.0, 0.5), (3.0, 0.5), (0.0, 0.9), (10.0, 0.9), (-1.0, 0.9), (f64::NAN, 0.9)],
                &[3.0, 7.0, 10.0],
            ),
        ];
        for (duration, boundaries, ends) in table {
            let found =
                shots(*duration, boundaries).moments(MomentLengths::default()).expect("lengths that fit");
            let starts = [0.0].into_iter().chain(ends.iter().copied());
            let expected: Vec<_> = starts.zip(ends.iter().copied()).collect();
            assert_eq!(bounds(&found), expected, "{duration} {boundaries:?}");
        }
    }

    #[test]
    fn every_instant_lies_in_one_moment_of_allowed_length() {
        let mut random = crate::random::Random::new(7);
        for _ in 0..500 {
            let duration = 0.1 + random.unit() * 300.0;
            let found: Vec<_> =
                (0..random.below(60)).map(|_| (random.unit() * duration, random.unit())).collect();
            let lengths = MomentLengths::default().with_longest_seconds(4.0 + random.unit() * 20.0);
            let moments = bounds(&shots(duration, &found).moments(lengths).expect("lengths that fit"));
            assert_eq!((moments[0].0, moments[moments.len() - 1].1), (0.0, duration));
            assert!(moments.windows(2).all(|pair| pair[0].1 == pair[1].0), "{moments:?}");
            for (start, end) in &moments {
                let length = end - start;
                assert!(length <= lengths.longest_seconds + 1e-6, "{moments:?}");
                assert!(length >= lengths.shortest_seconds - 1e-6 || moments.len() == 1, "{moments:?}");
            }
        }
    }

    #[test]
    fn windows_are_evenly_spread() {
        let table: &[WindowsCase] = &[
            (30.0, 10.0, 0.0, &[(0.0, 10.0), (10.0, 20.0), (20.0, 30.0)]),
            (21.0, 10.0, 0.0, &[(0.0, 7.0), (7.0, 14.0), (14.0, 21.0)]),
            (16.0, 10.0, 4.0, &[(0.0, 10.0), (6.0, 16.0)]),
            (17.0, 10.0, 2.0, &[(0.0, 9.5), (7.5, 17.0)]),
            (10.0, 10.0, 5.0, &[(0.0, 10.0)]),
            (3.0, 10.0, 5.0, &[(0.0, 3.0)]),
            (0.0, 10.0, 0.0, &[(0.0, 0.0)]),
        ];
        for (duration, length, overlap, expected) in table {
            let found = windows(*duration, *length, *overlap).expect("windows that fit");
            assert_eq!(bounds(&found), *expected, "{duration} {length} {overlap}");
        }
        for thirds in 1..400 {
            let duration = f64::from(thirds) / 3.0;
            let found = bounds(&windows(duration, 10.0 / 3.0, 0.0).expect("windows that fit"));
            assert_eq!(found.len(), (thirds as usize).div_ceil(10), "{duration}");
            assert!(found.windows(2).all(|pair| pair[0].1 == pair[1].0), "{found:?}");
        }
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_in_one_line() {
        let moments = |duration: f64, shortest: f64, longest: f64| {
            let lengths = MomentLengths { shortest_seconds: shortest, longest_seconds: longest };
            shots(duration, &[]).moments(lengths)
        };
        let table = [
            (
                moments(-1.0, 2.0, 20.0),
                "the duration of the video must be a number that is not negative, got -1",
            ),
            (
                moments(9.0, f64::NAN, 20.0),
                "the shortest length of a moment must be a number that is not negative, got NaN",
            ),
            (moments(9.0, 0.0, 0.0), "the longest length of a moment must be a positive number, got 0"),
            (
                moments(9.0, 2.0, 3.0),
                "the longest length of a moment must be at least twice the shortest, got 3",
            ),
            (
                moments(9.0, 0.0, 1e-6),
                "moment must be enough for at most 2^20 of them in the video, got 0.000001",
            ),
            (
                windows(f64::INFINITY, 1.0, 0.0),
                "the duration of the video must be a number that is not negative, got inf",
            ),
            (windows(9.0, 0.0, 0.0), "the length of a window must be a positive number, got 0"),
            (windows(9.0, 1.0, 1.0), "the overlap of windows must be less than their length, got 1"),
            (windows(9.0, 1.0, -1.0), "the overlap of windows must be a number that is not negative, got -1"),
            (
                windows(1e9, 1.0, 0.0),
                "the length of a window beyond the overlap must be enough for at most 2^20",
            ),
        ];
        for (tried, expected) in table {
            let line = tried.expect_err("is refused").to_string();
            assert!(line.contains(expected) && !line.contains('\n'), "{line}");
        }
    }
}
