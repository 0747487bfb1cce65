//! Borders: letterboxes, pillarboxes and frames around a picture. What is black or white along an edge all
//! the time is one. Ground of another tone is as often a part of the picture: there, the picture has to
//! begin all at once.

use std::collections::VecDeque;

use super::picture::{GREY_SIDE, Grey};

/// How far greys of a border are apart, over its time, of 255.
const BORDER_SPREAD: u8 = 14;
/// How far the tone of a line of it may be from that of the outermost.
const BORDER_TONE: u8 = 10;
/// The lightest black and the darkest white of a border.
const BLACK: u8 = 24;
const WHITE: u8 = 231;
/// How far the mean of the first line within a border of another tone is from that tone.
const EDGE: u8 = 20;
/// The least that borders leave of a side.
const LEAST_INNER: usize = GREY_SIDE * 3 / 10;
/// A picture whose greys are no further apart says nothing of borders.
const PLAIN: u8 = 24;

/// What is no border: cells from `left` up to `right`, and from `top` up to `bottom`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) left: usize,
    pub(super) right: usize,
    pub(super) top: usize,
    pub(super) bottom: usize,
}

impl Frame {
    /// How much of the whole it is.
    pub(super) fn share(self) -> f64 {
        ((self.right - self.left) * (self.bottom - self.top)) as f64 / (GREY_SIDE * GREY_SIDE) as f64
    }
}

/// The lowest and highest greys of lines, and of their means.
#[derive(Clone, Copy)]
struct Spread([Line; GREY_SIDE]);

#[derive(Clone, Copy)]
struct Line {
    low: u8,
    high: u8,
    means: (u8, u8),
}

/// Finds the borders of pictures that come one after the other. A border is there all the time, in pictures
/// around the one in question: of a dark scene, or a clear sky, one picture does not tell.
pub(super) struct Borders {
    /// Rows and columns of the latest pictures; `None` of plain ones.
    spreads: VecDeque<Option<[Spread; 2]>>,
}

impl Borders {
    pub(super) fn new() -> Self {
        Self { spreads: VecDeque::new() }
    }

    /// Takes the next picture, and lets go of those before the latest `reach`.
    pub(super) fn push(&mut self, grey: &Grey, reach: usize) {
        let rows = Spread::of(grey, |row, at| row * GREY_SIDE + at);
        let columns = Spread::of(grey, |column, at| at * GREY_SIDE + column);
        let low = rows.0.iter().map(|row| row.low).min().unwrap_or(0);
        let high = rows.0.iter().map(|row| row.high).max().unwrap_or(0);
        self.spreads.push_back((high - low > PLAIN).then_some([rows, columns]));
        while self.spreads.len() > reach {
            self.spreads.pop_front();
        }
    }

    /// What is no border in the pictures at hand.
    pub(super) fn frame(&self) -> Frame {
        let mut joined: Option<[Spread; 2]> = None;
        for spreads in self.spreads.iter().flatten() {
            match &mut joined {
                Some(joined) => joined.iter_mut().zip(spreads).for_each(|(all, one)| all.join(one)),
                None => joined = Some(*spreads),
            }
        }
        let whole = (0, GREY_SIDE);
        let [(top, bottom), (left, right)] =
            joined.map_or([whole; 2], |joined| joined.map(|all| all.inner()));
        Frame { left, right, top, bottom }
    }
}

impl Spread {
    fn of(grey: &Grey, place: impl Fn(usize, usize) -> usize) -> Self {
        Self(std::array::from_fn(|line| {
            let (mut low, mut high, mut sum) = (255, 0, 0);
            for grey in (0..GREY_SIDE).map(|at| grey.0[place(line, at)]) {
                (low, high, sum) = (grey.min(low), grey.max(high), sum + usize::from(grey));
            }
            let mean = (sum / GREY_SIDE) as u8;
            Line { low, high, means: (mean, mean) }
        }))
    }

    fn join(&mut self, other: &Self) {
        for (all, one) in self.0.iter_mut().zip(&other.0) {
            let means = (all.means.0.min(one.means.0), all.means.1.max(one.means.1));
            *all = Line { low: all.low.min(one.low), high: all.high.max(one.high), means };
        }
    }

    /// The first line that is no border, and the one after the last.
    fn inner(&self) -> (usize, usize) {
        let start = border_lines(self.0.iter());
        let end = GREY_SIDE - border_lines(self.0.iter().rev());
        if end < start + LEAST_INNER { (0, GREY_SIDE) } else { (start, end) }
    }
}

/// How many lines, from the outermost on, are border.
fn border_lines<'a>(mut lines: impl Iterator<Item = &'a Line>) -> usize {
    let Some(outermost) = lines.next() else { return 0 };
    let tone = outermost.tone();
    let is_border =
        |line: &Line| line.high - line.low <= BORDER_SPREAD && line.tone().abs_diff(tone) <= BORDER_TONE;
    if !is_border(outermost) {
        return 0;
    }
    let mut count = 1;
    let inner = lines.find(|line| {
        count += usize::from(is_border(line));
        !is_border(line)
    });
    let off = |line: &Line| line.means.0.abs_diff(tone).max(line.means.1.abs_diff(tone));
    let is_plain = !(BLACK + 1..WHITE).contains(&tone);
    if is_plain || inner.is_some_and(|line| off(line) >= EDGE) { count } else { 0 }
}

impl Line {
    fn tone(&self) -> u8 {
        self.low.midpoint(self.high)
    }
}
