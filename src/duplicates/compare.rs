//! Whether two videos show the same, given where they may.

use std::collections::{BTreeMap, HashMap};

use super::align::{Aligned, STRETCH, View, align};
use super::fingerprint::{FPS, Fingerprint};
use super::follow::{Course, Evidence, evidence, follow, line_through};
use super::signature::{Basis, Window};
use super::votes::Vote;
use crate::cancel::CancelToken;
use crate::media::TimeRange;

/// Windows that are tried, and stretches of each.
const WINDOWS_TRIED: usize = 2;
const STRETCHES_TRIED: usize = 3;
/// Stretches in common that are looked for beside the first.
const MOST_RANGES: usize = 8;
/// What a range takes: pictures in a row, how alike they are, how much they change, how much of that in
/// common.
const LEAST_PICTURES: usize = 3;
const LEAST_SIMILARITY: f32 = 0.7;
const LEAST_CHANGE: f32 = 0.01;
/// What passes before a fixed camera is a small change, and tells as much where it is in common for longer.
const SMALL_CHANGE: f32 = 5e-4;
const COMMON_SMALL_CHANGE: f32 = 0.75;
const SMALL_CHANGE_PICTURES: usize = 20;
const LEAST_COMMON_CHANGE: f32 = 0.65;
const LEAST_PRODUCT: f32 = 0.57;
const LEAST_SHORT_PRODUCT: f32 = 0.7;
const SHORT: f64 = 6.0;
/// Seconds a range lasts, or else such a share of the shorter video.
const LEAST_SECONDS: f64 = 1.5;
const LEAST_SHARE: f64 = 0.8;
/// The same at another speed: with that to choose, short ones fit too easily.
const LEAST_SECONDS_AT_SPEED: f64 = 6.0;
const LEAST_SHARE_AT_SPEED: f64 = 0.7;
/// How alike two stills are, which have nothing else in common.
const SAME_STILL: f32 = 0.9;
/// Speeds that differ by less are the same.
const SAME_SPEED: f64 = 0.012;
/// Speeds that differ by more were made so.
const OTHER_SPEED: f64 = 0.06;
/// Steps in which a window is fitted, as shares of a side, and pictures that it is fitted to.
const WINDOW_STEPS: [f32; 4] = [0.04, 0.02, 0.01, 0.005];
const WINDOW_PICTURES: usize = 8;
/// Pictures that are so much alike on average are through the right window.
const FITTING: f32 = 0.985;
/// The least of a side that a window is made.
const LEAST_SIDE: f32 = 0.7;

/// Stretches of two videos that show the same.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// Place of a video among the [`Fingerprints`](super::Fingerprints).
    pub first: usize,
    /// Place of the other.
    pub second: usize,
    /// What they have in common, in order of the first video's time, at least one range.
    pub ranges: Vec<MatchedRange>,
    /// How alike the pictures within these ranges are: the mean of their correlations, 1 where they are the
    /// same. Versions have 0.7 and more.
    pub score: f64,
    /// Whether one is seen from behind.
    pub mirrored: bool,
    /// How many times as fast as the first the second runs.
    pub speed: f64,
    /// What is to be seen in both, as a part of the first's picture without its borders: left, right, top
    /// and bottom as shares of its sides; `0, 1, 0, 1` is all of it.
    pub part_of_first: [f64; 4],
    /// The same, as a part of the second's picture.
    pub part_of_second: [f64; 4],
    /// Which share of what there is to see in the first is within the ranges, by time, 0 to 1. What many
    /// others have, too, counts less.
    pub first_share: f64,
    /// The same of the second.
    pub second_share: f64,
}

/// A stretch of one video that shows what a stretch of another does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MatchedRange {
    /// In seconds from the first frame of the first video.
    pub first: TimeRange,
    /// In seconds from the first frame of the second.
    pub second: TimeRange,
}

impl Match {
    /// The same, told from the other video.
    #[must_use]
    pub fn swapped(self) -> Self {
        let mut ranges: Vec<MatchedRange> = self
            .ranges
            .iter()
            .map(|range| MatchedRange { first: range.second, second: range.first })
            .collect();
        ranges.sort_by(|a, b| {
            let start = |range: &MatchedRange| range.first.start_seconds.unwrap_or(0.0);
            start(a).total_cmp(&start(b))
        });
        Self {
            first: self.second,
            second: self.first,
            ranges,
            speed: 1.0 / self.speed,
            first_share: self.second_share,
            second_share: self.first_share,
            part_of_first: self.part_of_second,
            part_of_second: self.part_of_first,
            ..self
        }
    }
}

/// A video, and how much each of its pictures counts.
#[derive(Clone, Copy)]
pub(super) struct Weighed<'a> {
    pub(super) fingerprint: &'a Fingerprint,
    pub(super) weights: &'a [f32],
}

/// What two videos have in common. The first is looked at through windows.
pub(super) struct Comparison<'a> {
    pub(super) first: Weighed<'a>,
    pub(super) second: Weighed<'a>,
    pub(super) mirrored: bool,
    pub(super) windows: &'a [Window],
    pub(super) cancel: &'a CancelToken,
}

impl Weighed<'_> {
    fn is_still(&self) -> bool {
        self.weights.iter().filter(|weight| **weight > 0.0).count() <= 1
    }

    /// Seconds that count, of those within `ranges`.
    fn weight_within(&self, ranges: &[TimeRange]) -> f64 {
        let ends = self.fingerprint.seconds.iter().skip(1).map(|end| f64::from(*end));
        // An image lasts for no time.
        let end = self.fingerprint.duration_seconds.max(1.0 / FPS);
        let shown = self.fingerprint.seconds.iter().zip(ends.chain([end])).zip(self.weights);
        let within = |start: f64, end: f64| -> f64 {
            let overlap = |range: &TimeRange| {
                let (from, to) = range.bounds().unwrap_or_default();
                (end.min(to) - start.max(from)).max(0.0)
            };
            ranges.iter().map(overlap).sum()
        };
        shown.map(|((start, end), weight)| f64::from(*weight) * within(f64::from(*start), end)).sum()
    }

    fn share_within(&self, ranges: &[TimeRange]) -> f64 {
        let whole = self.weight_within(&[TimeRange::between(0.0, f64::MAX)]);
        if whole > 0.0 { (self.weight_within(ranges) / whole).min(1.0) } else { 0.0 }
    }
}

impl Comparison<'_> {
    /// The match with its places left at 0, given what may be alike.
    pub(super) fn run(&self, votes: &[Vote]) -> Option<Match> {
        if self.first.is_still() || self.second.is_still() {
            return if self.first.is_still() && self.second.is_still() { self.stills(votes) } else { None };
        }
        let (aligned, window) = self.best(votes)?;
        let window = self.fitted(window, &self.pairs_of(&aligned));
        let mut a = View::new(self.first.fingerprint, window, self.mirrored);
        let mut b = View::new(self.second.fingerprint, Window::WHOLE, false);
        let mut courses: Vec<(Course, Evidence)> = Vec::new();
        let mut left: Vec<Vote> = votes.to_vec();
        let mut next = Some(aligned);
        for _ in 0..MOST_RANGES {
            let mut is_found = false;
            if let Some(aligned) = next.take() {
                let course = follow(&mut a, &mut b, &aligned, self.cancel);
                let found = evidence(&mut a, &mut b, &course);
                let is_new = courses.iter().all(|(other, _)| !overlap(other, &course));
                is_found = is_new && self.is_enough(&course, &found);
                if is_found {
                    courses.push((course, found));
                }
            }
            if courses.is_empty() || self.cancel.is_cancelled() {
                return None;
            }
            let is_taken = |first: f64| courses.iter().any(|(course, _)| covers(course, first, f64::MAX));
            left.retain(|vote| {
                let (first, second) = self.times(vote);
                courses.iter().all(|(course, _)| !covers(course, first, second))
            });
            if !is_found {
                // What is most promising was tried in vain.
                let tried = stretches(&left, |vote| self.times(vote)).into_iter().next();
                left.retain(|vote| Some(cell(self.times(vote))) != tried);
            }
            let Some(starts) = stretches(&left, |vote| self.times(vote)).into_iter().next() else { break };
            next = align(&mut a, &mut b, starts, &self.proposed(&left, starts), is_taken);
        }
        self.matched(courses, window)
    }

    fn times(&self, vote: &Vote) -> (f64, f64) {
        (self.first.fingerprint.seconds_of(vote.first), self.second.fingerprint.seconds_of(vote.second))
    }

    /// Times of both videos that may be the same, of the stretches that start there.
    fn proposed(&self, votes: &[Vote], starts: (f64, f64)) -> Vec<(f64, f64)> {
        votes.iter().map(|vote| self.times(vote)).filter(|times| cell(*times) == starts).collect()
    }

    /// The best line, and the window it was seen through.
    fn best(&self, votes: &[Vote]) -> Option<(Aligned, Window)> {
        let mut by_window: BTreeMap<u8, Vec<Vote>> = BTreeMap::new();
        votes.iter().for_each(|vote| by_window.entry(vote.window).or_default().push(*vote));
        let weight = |votes: &[Vote]| votes.iter().map(Vote::weight).sum::<f64>();
        let mut windows: Vec<(u8, Vec<Vote>)> = by_window.into_iter().collect();
        windows.sort_by(|a, b| weight(&b.1).total_cmp(&weight(&a.1)));
        let whole =
            windows.iter().position(|(window, _)| *window == 0).filter(|place| *place >= WINDOWS_TRIED);
        let tried: Vec<usize> = (0..windows.len().min(WINDOWS_TRIED)).chain(whole).collect();
        let mut best: Option<(Aligned, Window)> = None;
        for (number, votes) in tried.into_iter().map(|place| &windows[place]) {
            let window = *self.windows.get(usize::from(*number))?;
            let mut a = View::new(self.first.fingerprint, window, self.mirrored);
            let mut b = View::new(self.second.fingerprint, Window::WHOLE, false);
            for starts in stretches(votes, |vote| self.times(vote)).into_iter().take(STRETCHES_TRIED) {
                let aligned = align(&mut a, &mut b, starts, &self.proposed(votes, starts), |_| false);
                if let Some(aligned) = aligned
                    && best.as_ref().is_none_or(|(best, _)| aligned.strength > best.strength)
                {
                    best = Some((aligned, window));
                }
            }
        }
        best
    }

    /// Some pictures of both that lie on a line.
    fn pairs_of(&self, aligned: &Aligned) -> Vec<(usize, usize)> {
        let at = |share: f64| {
            let seconds = aligned.from + share * (aligned.to - aligned.from);
            let second = self.second.fingerprint.displayed_at(aligned.line.at(seconds));
            (self.first.fingerprint.displayed_at(seconds), second)
        };
        let mut pairs: Vec<(usize, usize)> =
            (0..WINDOW_PICTURES).map(|step| at(step as f64 / (WINDOW_PICTURES - 1) as f64)).collect();
        pairs.dedup();
        pairs
    }

    /// The window, moved to where the pictures are most alike.
    fn fitted(&self, window: Window, pairs: &[(usize, usize)]) -> Window {
        let whole = Basis::of(Window::WHOLE);
        let seconds: Vec<_> = pairs
            .iter()
            .filter_map(|(first, second)| {
                let first = self.first.fingerprint.pictures.get(*first)?;
                let signature = whole.signature(self.second.fingerprint.pictures.get(*second)?)?;
                Some((first, if self.mirrored { signature.mirrored() } else { signature }))
            })
            .collect();
        let alike = |window: Window| {
            let basis = Basis::of(window);
            let dots = seconds.iter().filter_map(|(first, second)| Some(basis.signature(first)?.dot(second)));
            dots.sum::<f32>()
        };
        let mut best = (alike(window), window);
        if best.0 >= FITTING * seconds.len() as f32 {
            return window;
        }
        for step in WINDOW_STEPS {
            for _ in 0..4 {
                let before = best.0;
                for (edge, by) in (0..4).flat_map(|edge| [(edge, -step), (edge, step)]) {
                    let mut moved = best.1;
                    let edges = [&mut moved.left, &mut moved.right, &mut moved.top, &mut moved.bottom];
                    if let Some(edge) = edges.into_iter().nth(edge) {
                        *edge = (*edge + by).clamp(0.0, 1.0);
                    }
                    if moved.right - moved.left < LEAST_SIDE || moved.bottom - moved.top < LEAST_SIDE {
                        continue;
                    }
                    let found = alike(moved);
                    if found > best.0 + 1e-4 {
                        best = (found, moved);
                    }
                }
                if best.0 <= before {
                    break;
                }
            }
        }
        best.1
    }

    fn is_enough(&self, course: &Course, found: &Evidence) -> bool {
        let seconds = course.len() as f64 / FPS;
        let shorter = self.first.fingerprint.duration_seconds.min(self.second.fingerprint.duration_seconds);
        let is_at_speed = (line_through(course).speed - 1.0).abs() > OTHER_SPEED;
        let (least_seconds, least_share) = match is_at_speed {
            true => (LEAST_SECONDS_AT_SPEED, LEAST_SHARE_AT_SPEED),
            false => (LEAST_SECONDS, LEAST_SHARE),
        };
        let least_product = if seconds < SHORT { LEAST_SHORT_PRODUCT } else { LEAST_PRODUCT };
        let is_small_change = found.change >= SMALL_CHANGE
            && found.common_change >= COMMON_SMALL_CHANGE
            && found.pictures >= SMALL_CHANGE_PICTURES;
        found.pictures >= LEAST_PICTURES
            && seconds >= least_seconds.min(least_share * shorter)
            && found.similarity >= LEAST_SIMILARITY
            && (found.change >= LEAST_CHANGE || is_small_change)
            && found.common_change >= LEAST_COMMON_CHANGE
            && found.similarity * found.common_change >= least_product
    }

    fn matched(&self, mut courses: Vec<(Course, Evidence)>, window: Window) -> Option<Match> {
        courses.sort_by(|a, b| a.0[0].0.total_cmp(&b.0[0].0));
        let longest = courses.iter().max_by_key(|(course, _)| course.len())?;
        let speed = line_through(&longest.0).speed;
        let speed = if (speed - 1.0).abs() < SAME_SPEED { 1.0 } else { 1.0 / speed };
        let ranges = courses.iter().map(|(course, _)| self.range_of(course)).collect();
        let pictures: usize = courses.iter().map(|(_, found)| found.pictures).sum();
        let alike: f32 = courses.iter().map(|(_, found)| found.similarity * found.pictures as f32).sum();
        Some(self.found(ranges, f64::from(alike) / pictures as f64, speed, window))
    }

    fn found(&self, ranges: Vec<MatchedRange>, score: f64, speed: f64, window: Window) -> Match {
        let side = |of: fn(&MatchedRange) -> TimeRange| ranges.iter().map(of).collect::<Vec<_>>();
        let (first_share, second_share) = (
            self.first.share_within(&side(|range| range.first)),
            self.second.share_within(&side(|range| range.second)),
        );
        let part_of_first = [window.left, window.right, window.top, window.bottom].map(f64::from);
        Match {
            first: 0,
            second: 0,
            ranges,
            score,
            mirrored: self.mirrored,
            speed,
            part_of_first,
            part_of_second: [0.0, 1.0, 0.0, 1.0],
            first_share,
            second_share,
        }
    }

    /// From the beginning of the first pictures to the end of the last.
    fn range_of(&self, course: &Course) -> MatchedRange {
        let (start, end) = (course.first().copied(), course.last().copied());
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        let speed = line_through(course).speed;
        let range = |start: f64, end: f64, length: f64, of: &Fingerprint| {
            let duration = of.duration_seconds;
            let end = if end + 1.5 * length >= duration { duration } else { end + length };
            TimeRange::between(start.max(0.0), end)
        };
        MatchedRange {
            first: range(start.0, end.0, 1.0 / FPS, self.first.fingerprint),
            second: range(start.1, end.1, speed / FPS, self.second.fingerprint),
        }
    }

    /// Two videos of one picture are the same if it is, and they last as long: what is heard with a title is
    /// not known.
    fn stills(&self, votes: &[Vote]) -> Option<Match> {
        let lasts = [self.first, self.second].map(|side| side.fingerprint.duration_seconds);
        if (lasts[0] - lasts[1]).abs() > 0.3_f64.max(0.02 * lasts[0]) {
            return None;
        }
        let vote = votes.iter().min_by_key(|vote| vote.unlike)?;
        let pair = (vote.first as usize, vote.second as usize);
        let window = self.fitted(*self.windows.get(usize::from(vote.window))?, &[pair]);
        let mut a = View::new(self.first.fingerprint, window, self.mirrored);
        let mut b = View::new(self.second.fingerprint, Window::WHOLE, false);
        let (first, second) = self.times(vote);
        let alike = a.at(first)?.dot(b.at(second)?);
        let until = |ends: [f64; 2]| {
            let [first, second] = ends.map(|end| TimeRange::between(0.0, end));
            vec![MatchedRange { first, second }]
        };
        // A picture counts for as long as none is looked at after it, but is not there longer than its video.
        let counted = until(lasts.map(|seconds| seconds.max(1.0 / FPS)));
        let shown = lasts.map(|seconds| if seconds > 0.0 { seconds } else { 1.0 / FPS });
        (alike >= SAME_STILL)
            .then(|| Match { ranges: until(shown), ..self.found(counted, f64::from(alike), 1.0, window) })
    }
}

/// Stretches of the first video and the middles of those beside them in the second, those with the most
/// votes first.
fn stretches(votes: &[Vote], times: impl Fn(&Vote) -> (f64, f64)) -> Vec<(f64, f64)> {
    let mut cells: HashMap<[u64; 2], f64> = HashMap::new();
    for vote in votes {
        let (first, second) = cell(times(vote));
        *cells.entry([first.to_bits(), second.to_bits()]).or_default() += vote.weight();
    }
    let mut cells: Vec<([u64; 2], f64)> = cells.into_iter().collect();
    // As many votes: in order of time.
    cells.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    cells.into_iter().map(|(cell, _)| (f64::from_bits(cell[0]), f64::from_bits(cell[1]))).collect()
}

/// Where the stretches of both start that hold these times.
fn cell((first, second): (f64, f64)) -> (f64, f64) {
    ((first / STRETCH).floor() * STRETCH, (second / STRETCH).floor() * STRETCH)
}

/// Whether a course goes by a time of the first video, or by one of the second.
fn covers(course: &Course, first: f64, second: f64) -> bool {
    let (Some(start), Some(end)) = (course.first(), course.last()) else { return false };
    let within = |time: f64, start: f64, end: f64| time >= start - 0.5 && time <= end + 0.5;
    within(first, start.0, end.0) || within(second, start.1, end.1)
}

fn overlap(one: &Course, other: &Course) -> bool {
    let middle = other.get(other.len() / 2);
    middle.is_none_or(|(first, second, _)| covers(one, *first, *second))
}
