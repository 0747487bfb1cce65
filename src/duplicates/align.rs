//! Where two videos run together: a line in the plane of their times.

use super::fingerprint::{FPS, Fingerprint};
use super::signature::{Basis, Signature, Window};

/// Seconds of the first video that are laid beside as many of the second, and [`BESIDE`] more before and
/// after.
pub(super) const STRETCH: f64 = 30.0;
const BESIDE: f64 = 30.0;
/// Speeds are tried from half to twice, each so many times the one before.
const SPEED_STEP: f64 = 1.04;
/// A change in common that needs no other speed: its correlation, for how many pictures, and for which share
/// of those that the videos have at these times.
const SURE_CORRELATION: f32 = 0.7;
const SURE_PICTURES: usize = 16;
const SURE_SHARE: f64 = 0.9;
/// How far lines go by what was proposed, in pictures.
const NEAR_PROPOSED: i64 = 2;
/// Lines that are looked at closer.
const BEST_LINES: usize = 8;
/// Pictures that correlate so much are rather the same than not.
pub(super) const ALIKE: f32 = 0.5;
/// Fewest pictures of a line.
const LEAST_PICTURES: usize = 3;

/// Signatures that a view holds: more than lie within a plane.
const KEPT: usize = 512;

/// A video through a window, maybe from behind. Signatures are made as they are asked for, and those of the
/// latest places are kept.
pub(super) struct View<'a> {
    pub(super) fingerprint: &'a Fingerprint,
    basis: Basis,
    mirrored: bool,
    /// Places of pictures with their signatures, each where the remainder of its place is.
    kept: Vec<Option<(usize, Option<Signature>)>>,
}

impl<'a> View<'a> {
    pub(super) fn new(fingerprint: &'a Fingerprint, window: Window, mirrored: bool) -> Self {
        let kept = vec![None; fingerprint.pictures.len().min(KEPT)];
        Self { fingerprint, basis: Basis::of(window), mirrored, kept }
    }

    /// What is on display at a time; `None` where there is nothing to see.
    pub(super) fn at(&mut self, seconds: f64) -> Option<&Signature> {
        let place = self.fingerprint.displayed_at(seconds);
        let picture = self.fingerprint.pictures.get(place)?;
        let slot = place % self.kept.len();
        let kept = self.kept.get_mut(slot)?;
        if kept.as_ref().is_none_or(|(of, _)| *of != place) {
            let signature = self.basis.signature(picture);
            *kept = Some((place, signature.map(|own| if self.mirrored { own.mirrored() } else { own })));
        }
        kept.as_ref()?.1.as_ref()
    }

    /// What is on display at each of so many times from a first one on.
    fn grid(&mut self, from: f64, count: usize) -> Vec<Option<Signature>> {
        (0..count).map(|step| self.at(from + step as f64 / FPS).cloned()).collect()
    }
}

/// At `t` seconds of the first video, the second is at `speed * t + offset`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Line {
    pub(super) speed: f64,
    pub(super) offset: f64,
}

impl Line {
    pub(super) fn at(self, seconds: f64) -> f64 {
        self.speed * seconds + self.offset
    }
}

/// A line, and the stretch of it where the videos are alike.
#[derive(Debug, Clone, Copy)]
pub(super) struct Aligned {
    pub(super) line: Line,
    /// In seconds of the first video.
    pub(super) from: f64,
    pub(super) to: f64,
    /// How much the changes of both have in common: their correlation, times the root of how many there are.
    pub(super) strength: f32,
}

/// Two stretches beside each other.
struct Plane {
    /// Times of their first pictures.
    from: (f64, f64),
    size: (usize, usize),
    /// For each pair of pictures the correlation, and of what changes (the pictures without what is always
    /// there) the product. The second runs fastest.
    alike: Vec<f32>,
    changing: Vec<f32>,
    /// Squares of what changes.
    energies: (Vec<f32>, Vec<f32>),
}

impl Plane {
    fn new(
        a: &mut View<'_>,
        b: &mut View<'_>,
        (a_from, b_from): (f64, f64),
        is_taken: impl Fn(f64) -> bool,
    ) -> Option<Self> {
        let stretch = |fingerprint: &Fingerprint, from: f64, length: f64| {
            let start = (from.max(0.0) * FPS).floor() / FPS;
            let end = (from + length).min(fingerprint.duration_seconds.max(1.0 / FPS));
            (start, ((end - start) * FPS).ceil().max(0.0) as usize)
        };
        let (a_from, a_count) = stretch(a.fingerprint, a_from, STRETCH);
        let (b_from, b_count) = stretch(b.fingerprint, b_from - BESIDE, STRETCH + 2.0 * BESIDE);
        let (mut a_grid, b_grid) = (a.grid(a_from, a_count), b.grid(b_from, b_count));
        for (step, signature) in a_grid.iter_mut().enumerate() {
            signature.take_if(|_| is_taken(a_from + step as f64 / FPS));
        }
        let (a_changes, a_energies) = changes(&a_grid)?;
        let (b_changes, b_energies) = changes(&b_grid)?;
        let (mut alike, mut changing) = (Vec::new(), Vec::new());
        for (a, a_change) in a_grid.iter().zip(&a_changes) {
            for (b, b_change) in b_grid.iter().zip(&b_changes) {
                let both = a.as_ref().zip(b.as_ref());
                alike.push(both.map_or(0.0, |(a, b)| a.dot(b)));
                changing.push(both.map_or(0.0, |_| a_change.dot(b_change)));
            }
        }
        let (size, energies) = ((a_count, b_count), (a_energies, b_energies));
        Some(Self { from: (a_from, b_from), size, alike, changing, energies })
    }

    /// Pairs of places on the line that `start` (a place of the second at the first's first, maybe before
    /// its own) and a speed make.
    fn places(&self, start: f64, speed: f64) -> impl Iterator<Item = (usize, usize)> {
        let (a_count, b_count) = self.size;
        let first = ((-0.5 - start) / speed).ceil().max(0.0) as usize;
        let end = ((b_count as f64 - 0.5 - start) / speed).ceil().clamp(0.0, a_count as f64) as usize;
        (first..end)
            .map(move |a| (a, (start + a as f64 * speed).round() as usize))
            .filter(move |p| p.1 < b_count)
    }

    /// How much changes have in common on pairs of places, and of how many pairs; see [`Aligned::strength`].
    fn strength(&self, places: impl Iterator<Item = (usize, usize)>) -> (f32, usize) {
        let (mut sum, mut a_energy, mut b_energy, mut count) = (0.0, 0.0, 0.0, 0);
        for (a, b) in places {
            let (of_a, of_b) = (self.energies.0[a], self.energies.1[b]);
            if of_a > 0.0 && of_b > 0.0 {
                sum += self.changing[a * self.size.1 + b];
                a_energy += of_a;
                b_energy += of_b;
                count += 1;
            }
        }
        let energy = (a_energy * b_energy).sqrt();
        (if count >= LEAST_PICTURES && energy > 0.0 { sum / energy } else { 0.0 }, count)
    }

    /// The stretch of a line on which the pictures are alike.
    fn stretch(&self, start: f64, speed: f64) -> Option<(usize, usize)> {
        let mut best = (0.0, None);
        let mut current = (0.0, None);
        for (a, b) in self.places(start, speed) {
            let sees = self.energies.0[a] > 0.0 && self.energies.1[b] > 0.0;
            let gain = if sees { self.alike[a * self.size.1 + b] - ALIKE } else { 0.0 };
            if current.0 <= 0.0 {
                current = (0.0, Some(a));
            }
            current.0 += gain;
            if current.0 > best.0 {
                best = (current.0, current.1.map(|from| (from, a)));
            }
        }
        best.1
    }

    /// The strongest lines of these speeds that go by what was proposed, each as strength, start and speed.
    fn lines(&self, speeds: impl Iterator<Item = f64>, proposed: &[(f64, f64)]) -> Vec<(f32, f64, f64)> {
        let mut lines: Vec<(f32, f64, f64)> = Vec::new();
        let mut starts: Vec<i64> = Vec::new();
        for speed in speeds {
            starts.clear();
            for (a, b) in proposed {
                let start = ((b - self.from.1) - (a - self.from.0) * speed) * FPS;
                starts.extend((-NEAR_PROPOSED..=NEAR_PROPOSED).map(|beside| start.round() as i64 + beside));
            }
            starts.sort_unstable();
            starts.dedup();
            for &start in &starts {
                let (correlation, count) = self.strength(self.places(start as f64, speed));
                let strength = correlation * (count as f32).sqrt();
                if lines.len() < BEST_LINES || strength > lines[BEST_LINES - 1].0 {
                    let at = lines.partition_point(|line| line.0 >= strength);
                    lines.insert(at, (strength, start as f64, speed));
                    lines.truncate(BEST_LINES);
                }
            }
        }
        lines
    }
}

/// Pictures without what all have in common, and the squares of what is left; 0 where there is nothing to
/// see.
fn changes(grid: &[Option<Signature>]) -> Option<(Vec<Signature>, Vec<f32>)> {
    let seen = grid.iter().flatten().count();
    if seen == 0 {
        return None;
    }
    let mut mean = Signature::ZERO;
    grid.iter().flatten().for_each(|signature| mean.add(signature, 1.0 / seen as f32));
    let change = |signature: &Option<Signature>| {
        let Some(mut change) = signature.clone() else { return Signature::ZERO };
        change.add(&mean, -1.0);
        change
    };
    let changes: Vec<Signature> = grid.iter().map(change).collect();
    // Of a still there is no change, but it is seen.
    let energy = |(change, seen): (&Signature, &Option<Signature>)| {
        if seen.is_some() { change.dot(change).max(1e-9) } else { 0.0 }
    };
    let energies = changes.iter().zip(grid).map(energy).collect();
    Some((changes, energies))
}

/// The line on which a stretch of the first video runs with one of the second, given where they start, and
/// times of both that may be the same. The times of the first that are taken are left out.
pub(super) fn align(
    a: &mut View<'_>,
    b: &mut View<'_>,
    starts: (f64, f64),
    proposed: &[(f64, f64)],
    is_taken: impl Fn(f64) -> bool,
) -> Option<Aligned> {
    let plane = Plane::new(a, b, starts, is_taken)?;
    let closer = |lines: Vec<(f32, f64, f64)>| {
        let aligned = lines.into_iter().filter_map(|(_, start, speed)| {
            let (first, last) = plane.stretch(start, speed)?;
            let within = plane.places(start, speed).filter(|place| (first..=last).contains(&place.0));
            let (correlation, count) = plane.strength(within);
            let seconds = |place: usize| plane.from.0 + place as f64 / FPS;
            let line = Line { speed, offset: plane.from.1 + start / FPS - speed * plane.from.0 };
            let strength = correlation * (count as f32).sqrt();
            let is_all = (last + 1 - first) as f64 >= SURE_SHARE * plane.places(start, speed).count() as f64;
            let is_sure = is_all && correlation >= SURE_CORRELATION && count >= SURE_PICTURES;
            Some((Aligned { line, from: seconds(first), to: seconds(last), strength }, is_sure))
        });
        aligned.max_by(|a, b| a.0.strength.total_cmp(&b.0.strength))
    };
    let same_speed = closer(plane.lines(std::iter::once(1.0), proposed));
    if let Some((aligned, true)) = same_speed {
        return Some(aligned);
    }
    let steps = (2.0_f64.ln() / SPEED_STEP.ln()).floor() as i32;
    let speeds = (-steps..=steps).filter(|step| *step != 0).map(|step| SPEED_STEP.powi(step));
    let other_speed = closer(plane.lines(speeds, proposed));
    let found = [same_speed, other_speed].into_iter().flatten();
    // Another speed has to be better than by chance.
    let worth = |aligned: &Aligned| aligned.strength * if aligned.line.speed == 1.0 { 1.1 } else { 1.0 };
    found.map(|(aligned, ..)| aligned).max_by(|a, b| worth(a).total_cmp(&worth(b)))
}
