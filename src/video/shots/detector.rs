//! The detector: pictures in order of time to boundaries.

use super::{
    ShotBoundary, ShotOptions, Shots, Transition,
    picture::{Blank, Picture, SHIFT},
};
use crate::options::shown_by;
use image::RgbImage;
use std::cmp::Ordering;
use std::collections::VecDeque;

/// How far the detector looks to both sides of a place before it judges it, in seconds.
const REACH: f64 = 1.0;
/// What is gone again after so many seconds is a flash. Two boundaries are at least so far apart.
const FLASH: f64 = 0.3;
/// Times that differ by less are the same.
const SAME_TIME: f64 = 1e-6;
/// A step has to be so many times as large as those around it.
const OUTSTANDING: f32 = 1.9;
/// The share of the steps around a place that are no larger than the motion there: the rest may be cuts.
const MOTION_QUANTILE: f64 = 0.75;
/// Half the lengths of dissolves looked for, in seconds.
const DISSOLVES: [f64; 3] = [1.0, 0.6, 0.3];
/// How much of a dissolve may be no mixture of its ends, as a share of the way between them.
const NO_MIXTURE: f32 = 0.35;
/// Pictures that come sooner after the one before are left out, in seconds.
const MIN_STEP: f64 = 1.0 / 64.0;
/// How far from a flash pictures are compared, in seconds.
const BESIDE: f64 = 0.6;
/// How far a camera moves in the time of a flash or a dissolve, in cells across and down.
const MOVED: (isize, isize) = (8, 4);

/// Finds where shots end, from pictures in order.
///
/// What is compared are averages of 32 x 18 cells in luma and chroma. The distance of two pictures, 0 to 1,
/// is half that of the cells (at the best shift of a picture by up to 2 cells, for moving cameras), half that
/// of their histograms.
///
/// - A *cut* is a step that is at least [`threshold`](ShotOptions::threshold) and 1.9 times as large as the
///   motion in the second before and after. Every picture in the 0.3 s before has to be as far from every one
///   in the 0.3 s after: a photo flash, which is gone again by then, is no cut. Neither is the same picture
///   in another light.
/// - A *fade* is a stretch of black or white pictures with other pictures before and after. It is one
///   boundary in its middle, however long it lasts. If it is as short as a flash, the shots have to differ.
/// - A *dissolve* is a stretch of up to 2 s, and the middle of longer ones, in which pictures are mixtures of
///   the first and the last, ever more of the last.
///
/// Boundaries are at least 0.3 s apart; of several within that, the strongest stays. What only fine textures
/// or slow changes tell apart is one shot. The method is that of adaptive detectors such as PySceneDetect's,
/// and the twin comparison of Zhang, Kankanhalli and Smoliar ("Automatic partitioning of full-motion video",
/// 1993) for dissolves.
///
/// Memory is that of a few seconds of small pictures, and of the boundaries.
///
/// ```
/// use gve::video::{ShotDetector, ShotOptions};
/// use image::{Rgb, RgbImage};
///
/// let mut detector = ShotDetector::new(&ShotOptions::default());
/// for index in 0..32 {
///     let colour = if index < 16 { [200, 40, 40] } else { [30, 60, 160] };
///     detector.push(&RgbImage::from_pixel(64, 36, Rgb(colour)), f64::from(index) / 8.0);
/// }
/// let shots = detector.finish(4.0);
/// assert_eq!(shots.boundaries.len(), 1);
/// assert_eq!(shots.boundaries[0].seconds, 2.0);
/// ```
pub struct ShotDetector {
    threshold: f32,
    /// What is at hand, in order of time.
    samples: VecDeque<Sample>,
    /// How many of them have been judged.
    judged: usize,
    /// The black or white stretch that is going on.
    run: Option<Run>,
    found: Vec<Found>,
}

shown_by!(ShotDetector |it| { threshold: it.threshold, found: it.found.len() });

struct Sample {
    seconds: f64,
    picture: Picture,
    /// Distance to the one before.
    step: f32,
    /// Distance to the one before that: small after a flash.
    leap: f32,
}

/// A stretch of blank pictures.
struct Run {
    blank: Blank,
    start: f64,
    /// The picture right before, and one further off in the same shot.
    before: Option<(Picture, Picture)>,
}

/// A boundary and the stretch it takes.
struct Found {
    boundary: ShotBoundary,
    from: f64,
    to: f64,
    /// Places in a dissolve that say so.
    votes: u32,
}

impl ShotDetector {
    /// A detector that has seen nothing. Of the options it takes the threshold; which pictures it sees is up
    /// to who feeds it.
    pub fn new(options: &ShotOptions) -> Self {
        let threshold = options.threshold as f32;
        Self { threshold, samples: VecDeque::new(), judged: 0, run: None, found: Vec::new() }
    }

    /// Takes the next picture, of any size, which comes on display `seconds` after the first frame. Left out
    /// are pictures that come less than 1/64 s after the one before, have no pixels, or a time that is no
    /// number.
    pub fn push(&mut self, image: &RgbImage, seconds: f64) {
        let last = self.samples.back();
        if !seconds.is_finite() || last.is_some_and(|last| seconds < last.seconds + MIN_STEP) {
            return;
        }
        let Some(picture) = Picture::of(image) else {
            return;
        };
        let mut latest = self.samples.iter().rev().map(|earlier| earlier.picture.distance(&picture));
        let step = latest.next().unwrap_or(0.0);
        let leap = latest.next().unwrap_or(step);
        self.samples.push_back(Sample { seconds, picture, step, leap });
        while self.samples.get(self.judged).is_some_and(|next| next.seconds + REACH + SAME_TIME < seconds) {
            self.judge_next();
        }
    }

    /// The shots of a video that lasts so many seconds.
    pub fn finish(mut self, duration_seconds: f64) -> Shots {
        while self.judged < self.samples.len() {
            self.judge_next();
        }
        let inside = |boundary: &ShotBoundary| boundary.seconds > 0.0 && boundary.seconds < duration_seconds;
        let boundaries = self.found.into_iter().map(|found| found.boundary).filter(inside).collect();
        Shots { boundaries, duration_seconds }
    }

    #[cfg(test)]
    pub(super) fn samples_at_hand(&self) -> usize {
        self.samples.len()
    }

    fn judge_next(&mut self) {
        let place = self.judged;
        let found = [self.cut_at(place), self.fade_until(place), self.dissolve_around(place)];
        found.into_iter().flatten().for_each(|found| self.note(found));
        self.judged += 1;
        // What is judged next looks so far back, and at the picture before it.
        let next = self.samples.get(self.judged).map_or(f64::MAX, |next| next.seconds);
        while self.judged > 1 && self.samples[0].seconds + REACH + SAME_TIME < next {
            self.samples.pop_front();
            self.judged -= 1;
        }
    }

    fn cut_at(&self, place: usize) -> Option<Found> {
        let sample = &self.samples[place];
        if place == 0 || sample.step < self.threshold {
            return None;
        }
        let last = &self.samples[place - 1];
        let before = || self.samples.range(..place).rev();
        let before = || before().take_while(|a| a.seconds + FLASH >= last.seconds);
        let after = self.samples.range(place..).take_while(|b| b.seconds <= sample.seconds + FLASH);
        let across = after.flat_map(|b| before().map(|a| a.picture.distance(&b.picture)));
        let strength = across.fold(f32::MAX, f32::min);
        let cut = strength >= self.threshold
            && strength >= OUTSTANDING * self.motion_around(place)
            && !last.picture.is_relit(&sample.picture, SHIFT);
        cut.then(|| Found::at(sample.seconds, Transition::Cut, strength))
    }

    /// The larger of the steps around a place that are not its own. To and fro is no motion.
    fn motion_around(&self, place: usize) -> f32 {
        let seconds = self.samples[place].seconds;
        let is_near = |other: &usize| {
            *other != place && (self.samples[*other].seconds - seconds).abs() <= REACH + SAME_TIME
        };
        let motion = |other: usize| {
            let Sample { step, leap, .. } = self.samples[other];
            self.samples.get(other + 1).map_or(step.min(leap), |next| step.min(leap).min(next.leap))
        };
        let mut steps: Vec<f32> = (1..self.samples.len()).filter(is_near).map(motion).collect();
        steps.sort_by(f32::total_cmp);
        let quantile = (steps.len() as f64 * MOTION_QUANTILE) as usize;
        steps.get(quantile).copied().unwrap_or(0.0)
    }

    /// Keeps account of blank stretches. One that ends here with pictures before it is a fade.
    fn fade_until(&mut self, place: usize) -> Option<Found> {
        let sample = &self.samples[place];
        let blank = sample.picture.blank();
        if blank.is_some() && blank == self.run.as_ref().map(|run| run.blank) {
            return None;
        }
        let ended = self.run.take();
        if let Some(blank) = blank {
            let before = place.checked_sub(1).map(|last| {
                let shot = self.found.last().map_or(f64::MIN, |found| found.to);
                let further = self.nearest(shot.max(self.samples[last].seconds - BESIDE));
                (self.samples[last].picture.clone(), self.samples[further].picture.clone())
            });
            self.run = Some(Run { blank, start: sample.seconds, before });
        }
        let Run { start, before, .. } = ended?;
        let (near, further) = before?;
        let beyond = &self.samples[self.nearest(sample.seconds + BESIDE)].picture;
        let strength = further.distance(beyond);
        // As short as a flash it is one, if the shot goes on behind it. What is on its way to black looks
        // alike on both sides of any fade.
        let is_full = near.is_full_beside(&further) && sample.picture.is_full_beside(beyond);
        let goes_on = strength < self.threshold
            || near.is_relit(&sample.picture, MOVED)
            || (is_full && near.distance_within(&sample.picture, MOVED) < self.threshold);
        if goes_on && sample.seconds - start <= FLASH {
            return None;
        }
        let middle = (start + sample.seconds) / 2.0;
        let strength = strength.max(self.threshold);
        Some(Found { from: start, to: sample.seconds, ..Found::at(middle, Transition::Fade, strength) })
    }

    fn dissolve_around(&self, place: usize) -> Option<Found> {
        DISSOLVES.iter().find_map(|half| self.dissolve_of(place, *half))
    }

    fn dissolve_of(&self, place: usize, half: f64) -> Option<Found> {
        let middle = &self.samples[place];
        let ends = [middle.seconds - half, middle.seconds + half].map(|seconds| self.nearest(seconds));
        let [start, end] = ends.map(|end| &self.samples[end]);
        let is_off = |sample: &Sample| ((sample.seconds - middle.seconds).abs() - half).abs() > half / 4.0;
        if place < ends[0] + 2 || ends[1] < place + 2 || is_off(start) || is_off(end) {
            return None;
        }
        let (share, rest) = middle.picture.mixture(&start.picture, &end.picture);
        if !(0.35..=0.65).contains(&share)
            || rest > NO_MIXTURE
            // That is a fade.
            || self.samples.range(ends[0]..=ends[1]).any(|sample| sample.picture.blank().is_some())
            // Spares most places the dearer look at what a camera may have done.
            || start.picture.distance(&end.picture) < self.threshold
            || start.picture.is_relit(&end.picture, MOVED)
        {
            return None;
        }
        let strength = start.picture.distance_within(&end.picture, MOVED);
        if strength < self.threshold {
            return None;
        }
        let (mut reached, mut mixed) = (0.0, 0);
        for sample in self.samples.range(ends[0] + 1..ends[1]) {
            let (share, rest) = sample.picture.mixture(&start.picture, &end.picture);
            if rest > NO_MIXTURE || share < reached - 0.1 || share > reached + 0.6 {
                return None;
            }
            mixed += usize::from((0.1..=0.9).contains(&share));
            reached = share;
        }
        // A lone one lies in a cut of a video whose frames were mixed when its rate was changed.
        if mixed < 2 {
            return None;
        }
        Some(Found::at(middle.seconds, Transition::Dissolve, strength))
    }

    /// The sample that is nearest in time.
    fn nearest(&self, seconds: f64) -> usize {
        let after = self.samples.partition_point(|sample| sample.seconds < seconds);
        let off = |place: usize| self.samples.get(place).map_or(f64::MAX, |s| (s.seconds - seconds).abs());
        match after.checked_sub(1) {
            Some(before) if off(before) <= off(after) => before,
            _ => after,
        }
    }

    /// Adds a boundary, or joins it with those it touches.
    fn note(&mut self, mut found: Found) {
        while let Some(last) = self.found.pop_if(|last| last.to + FLASH + SAME_TIME >= found.from) {
            found = last.joined(found);
        }
        self.found.push(found);
    }
}

impl Found {
    fn at(seconds: f64, transition: Transition, strength: f32) -> Self {
        let boundary = ShotBoundary { seconds, transition, strength: f64::from(strength) };
        Self { boundary, from: seconds, to: seconds, votes: 1 }
    }

    /// One of two that touch: a fade before a dissolve, a dissolve before a cut (its steps
    /// may be large), else the stronger. A dissolve lies in the
    /// middle of the places that say so.
    fn joined(self, other: Self) -> Self {
        let rank = |found: &Self| match found.boundary.transition {
            Transition::Fade => 2,
            Transition::Dissolve => 1,
            Transition::Cut => 0,
        };
        match rank(&self).cmp(&rank(&other)) {
            Ordering::Greater => self,
            Ordering::Less => other,
            Ordering::Equal if self.boundary.transition == Transition::Dissolve => {
                let votes = self.votes + other.votes;
                let part = |found: &Self| found.boundary.seconds * f64::from(found.votes) / f64::from(votes);
                let strength = self.boundary.strength.max(other.boundary.strength);
                let boundary =
                    ShotBoundary { seconds: part(&self) + part(&other), strength, ..self.boundary };
                Self { boundary, from: self.from, to: other.to, votes }
            }
            Ordering::Equal if other.boundary.strength > self.boundary.strength => other,
            Ordering::Equal => self,
        }
    }
}
