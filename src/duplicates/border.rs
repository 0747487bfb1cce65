//! Borders: letterboxes, pillarboxes and frames around a picture, black or white ones. Plain ground of another colour is
//! as often a part of the picture; where such borders are narrow, they are met as crops are.

use std::collections::VecDeque;

use super::picture::{GREY_SIDE, Grey};

/// How far greys of a border are apart, over its time, of 255.
const BORDER_SPREAD: u8 = 14;
/// How far the tone of a line of it may be from that of the outermost.
const BORDER_TONE: u8 = 10;
/// The lightest black and the darkest white of a border.
const BLACK: u8 = 24;
const WHITE: u8 = 231;
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

/// The lowest and highest greys of lines.
#[derive(Clone, Copy)]
struct Spread([(u8, u8); GREY_SIDE]);

/// Finds the borders of pictures that come one after the other. A border is there all the time, in pictures around the
/// one in question: of a dark scene, or a clear sky, one picture does not tell.
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
        let (low, high) = rows.0.iter().fold((255, 0), |(low, high), row| (row.0.min(low), row.1.max(high)));
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
            let greys = (0..GREY_SIDE).map(|at| grey.0[place(line, at)]);
            greys.fold((255, 0), |(low, high), grey| (grey.min(low), grey.max(high)))
        }))
    }

    fn join(&mut self, other: &Self) {
        for (all, one) in self.0.iter_mut().zip(&other.0) {
            *all = (all.0.min(one.0), all.1.max(one.1));
        }
    }

    /// The first line that is no border, and the one after the last.
    fn inner(&self) -> (usize, usize) {
        let tone = |(low, high): (u8, u8)| low.midpoint(high);
        let borders = |outermost: (u8, u8), lines: &mut dyn Iterator<Item = &(u8, u8)>| {
            if (BLACK + 1..WHITE).contains(&tone(outermost)) {
                return 0;
            }
            let is_border = |line: &&(u8, u8)| {
                line.1 - line.0 <= BORDER_SPREAD && tone(**line).abs_diff(tone(outermost)) <= BORDER_TONE
            };
            lines.take_while(is_border).count()
        };
        let start = borders(self.0[0], &mut self.0.iter());
        let end = GREY_SIDE - borders(self.0[GREY_SIDE - 1], &mut self.0.iter().rev());
        if end < start + LEAST_INNER { (0, GREY_SIDE) } else { (start, end) }
    }
}
