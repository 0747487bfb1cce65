//! Rows whose embeddings stay on disk: found by codes in memory, and scored by what is read of the best.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView1;
use rayon::prelude::*;

use super::checksum;
use super::entry::{LibraryEntry, Place, check_length};
use super::index::{Index, KnownCodes};
use super::segment::Segment;
use super::vectors::SegmentVectors;
use crate::retrieval::codes::{CodeSet, Estimate, SetQuery, TurnedQuery, estimates};
use crate::retrieval::topk::{KnownThreshold, TopK};
use crate::retrieval::{Match, RetrievalError, dot};
use crate::store::IoError;

/// Rows that the first pass leaves over, at least.
const SURVIVORS: usize = 1 << 14;
/// The same for each row that is asked for.
const SURVIVORS_PER_ROW: usize = 64;
/// Rows of one unit of work of the first pass.
const BLOCK: usize = 1 << 13;
/// Parts of the first pass for each thread.
const PARTS: usize = 2;
/// Rows that the second pass begins with, at least: what is read of the best of them tells which of the others
/// need no look.
const FIRST_PART: usize = 1 << 9;
/// Rows of one unit of work of the second pass.
const ESTIMATED: usize = 1 << 8;
/// Rows that are read and scored together.
const CHUNK: usize = 1 << 6;
/// How far above its estimate a row may be and be found all the same, in standard deviations.
const DEVIATIONS: f32 = 2.5;
/// The same by what the first pass reads, once the best of the library are known about.
const LAST_DEVIATIONS: f32 = 3.0;
/// The same in the first pass, where what is left over is many times what is asked for.
const FIRST_DEVIATIONS: f32 = 1.0;
/// No row of the library.
pub(super) const NOT_LIVE: u32 = u32::MAX;

/// One segment of it.
#[derive(Debug)]
pub(super) struct OnDiskSegment {
    pub(super) segment: Segment,
    pub(super) vectors: SegmentVectors,
    pub(super) codes: Arc<CodeSet>,
    /// Of each row of the segment that of the library, or [`NOT_LIVE`].
    pub(super) rows: Vec<u32>,
    /// Whether all of them are live.
    pub(super) is_live: bool,
    /// Of each row of the segment; `None` in segments of before there were any.
    pub(super) checksums: Vec<Option<u64>>,
    /// Of each row of the segment, where its precision has any.
    pub(super) scales: Vec<f32>,
}

/// The embeddings of a library on disk.
#[derive(Debug)]
pub(super) struct OnDisk {
    dim: usize,
    segments: Vec<OnDiskSegment>,
    entries: Arc<Vec<LibraryEntry>>,
    /// Of each row of the library its segment, and the row of that.
    places: Vec<(u32, u32)>,
    /// Rows that were found decayed, and what is not told of them yet.
    decayed: Mutex<Decayed>,
}

#[derive(Debug, Default)]
struct Decayed {
    rows: std::collections::HashSet<u32>,
    untold: Vec<RetrievalError>,
}

/// The best rows so far, in order.
struct Best {
    k: usize,
    matches: Vec<Match>,
}

impl Best {
    /// Whether a row with a score of up to this would be among them.
    fn may_hold(&self, bound: f32) -> bool {
        // Of codes that have decayed, a bound may be no number.
        !(self.matches.len() >= self.k && self.matches.last().is_some_and(|worst| worst.score >= bound))
    }

    fn extend(&mut self, matches: Vec<Match>) {
        self.matches.extend(matches);
        self.matches.sort_unstable_by(Match::order);
        self.matches.truncate(self.k);
    }
}

/// An upper bound of a row, and where that lies: its segment and the row of that.
type Bounded = (f32, (u32, u32));

/// Rows with upper bounds, the highest first.
fn by_bound(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Room for reading an embedding.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    values: Vec<f32>,
}

impl OnDisk {
    /// `entries` lie at `places` of the `segments`, both in order.
    pub(super) fn new(
        dim: usize,
        mut segments: Vec<OnDiskSegment>,
        entries: Arc<Vec<LibraryEntry>>,
        places: &[Place],
    ) -> Self {
        let mut found = Vec::with_capacity(places.len());
        let mut number = 0;
        for (live, place) in (0..).zip(places) {
            while segments.get(number).is_some_and(|segment| segment.segment.sequence < place.sequence) {
                number += 1;
            }
            if let Some(row) = segments.get_mut(number).and_then(|segment| segment.rows.get_mut(place.row)) {
                *row = live;
            }
            found.push((number as u32, place.row as u32));
        }
        for segment in &mut segments {
            segment.is_live = !segment.rows.contains(&NOT_LIVE);
        }
        Self { dim, segments, entries, places: found, decayed: Mutex::default() }
    }

    /// Reads the embedding of a row and holds it against its checksum; `None` if it has decayed.
    fn read<'a>(&self, row: u32, room: &'a mut Room) -> Result<Option<&'a [f32]>, RetrievalError> {
        let (number, place) = self.places[row as usize];
        let (segment, place) = (&self.segments[number as usize], place as usize);
        let Room { bytes, values } = room;
        values.resize(self.dim, 0.0);
        let scale = segment.scales.get(place).copied().unwrap_or(1.0);
        segment
            .vectors
            .read(place, scale, bytes, values)
            .map_err(IoError::of("read", &segment.segment.path))?;
        let entry = &self.entries[row as usize];
        let fits = match segment.checksums.get(place).copied().flatten() {
            Some(expected) if expected != checksum::of_row(place, entry, values) => {
                Err("its checksum does not fit".to_owned())
            }
            _ => check_length(values),
        };
        let Err(reason) = fits else { return Ok(Some(values)) };
        let mut decayed = self.decayed.lock().unwrap_or_else(PoisonError::into_inner);
        if decayed.rows.insert(row) {
            let (path, file) = (segment.segment.path.clone(), Some(entry.path.clone()));
            // The next writer reads all of it. Where they cannot be removed, it is told of again.
            drop(segment.segment.remove_codes());
            decayed.untold.push(RetrievalError::DamagedRows {
                path,
                first: place,
                last: place,
                file,
                reason,
            });
        }
        Ok(None)
    }

    /// Rows of segments, which are numbered through.
    fn ranges(&self, most: usize) -> Vec<(usize, Range<usize>, usize)> {
        let mut ranges = Vec::new();
        let mut before = 0;
        for (number, segment) in self.segments.iter().enumerate() {
            let rows = segment.rows.len();
            let starts = (0..rows).step_by(most);
            ranges.extend(starts.map(|start| (number, start..(start + most).min(rows), before + start)));
            before += rows;
        }
        ranges
    }

    /// Where the rows lie among which the best surely are, as far as the first bits of codes tell: each its segment
    /// and the row of that, and an upper bound. First some with the highest, then the others in any order.
    fn survivors(
        &self,
        queries: &[SetQuery<'_>],
        may_be: Option<&[bool]>,
        k: usize,
    ) -> (Vec<Bounded>, Vec<Bounded>) {
        let first = FIRST_PART.max(k);
        let is_candidate = |live: u32| live != NOT_LIVE && may_be.is_none_or(|may_be| may_be[live as usize]);
        let count =
            may_be.map_or(self.entries.len(), |may_be| may_be.iter().filter(|may_be| **may_be).count());
        let most = SURVIVORS.max(k.saturating_mul(SURVIVORS_PER_ROW));
        if count <= most {
            let rows = self.places.iter().zip(0..).filter(|(_, row)| is_candidate(*row));
            let mut rows: Vec<_> = rows.map(|(place, _)| (f32::INFINITY, *place)).collect();
            let rest = rows.split_off(first.min(rows.len()));
            return (rows, rest);
        }
        let ranges = self.ranges(BLOCK);
        let fresh = || (TopK::new(most), Vec::new());
        // Each part collects as many as are asked for in all: few parts, and what one knows all know.
        let least_part = ranges.len().div_ceil(PARTS * rayon::current_num_threads());
        let known = KnownThreshold::new();
        let best = ranges
            .into_par_iter()
            .with_min_len(least_part)
            .fold(fresh, |(mut best, mut bounds), (number, rows, first)| {
                queries[number].first(rows.clone(), FIRST_DEVIATIONS, &mut bounds);
                // Of codes that have decayed, a bound may be anything.
                let finite = |bound: f32| if bound.is_finite() { bound } else { f32::MIN };
                let segment = &self.segments[number];
                if segment.is_live && may_be.is_none() {
                    bounds.iter_mut().for_each(|bound| *bound = finite(*bound));
                } else {
                    for (bound, live) in bounds.iter_mut().zip(&segment.rows[rows]) {
                        *bound = if is_candidate(*live) { finite(*bound) } else { f32::MIN };
                    }
                }
                best.share(&known);
                let extended = best.extend(first, &bounds);
                debug_assert!(extended.is_ok(), "bounds are finite");
                best.share(&known);
                (best, bounds)
            })
            .map(|(best, _)| best)
            .reduce(|| TopK::new(most), TopK::merge);
        // One for each segment, be it without rows: of several with the same start the last has the rows.
        let starts = self.segments.iter().scan(0, |before, segment| {
            let start = *before;
            *before += segment.rows.len();
            Some(start)
        });
        let starts: Vec<usize> = starts.collect();
        let bounded = |found: Match| {
            let number = starts.partition_point(|start| *start <= found.row) - 1;
            let place = (number as u32, (found.row - starts[number]) as u32);
            (found.score > f32::MIN).then_some((found.score, place))
        };
        let (best, rest) = best.into_best_and_rest(first);
        let places = |matches: Vec<Match>| matches.into_iter().filter_map(bounded).collect();
        (places(best), places(rest))
    }

    /// Upper bounds of rows by all bits of their codes, and the rows.
    fn bounds(&self, queries: &[SetQuery<'_>], places: &[(u32, u32)]) -> Vec<(f32, u32)> {
        let bound = |estimate: Estimate| {
            let bound = estimate.value + DEVIATIONS * estimate.spread;
            // Codes have decayed that give none: what is on disk tells.
            if bound.is_finite() { bound } else { f32::INFINITY }
        };
        let row = |&(number, place): &(u32, u32)| self.segments[number as usize].rows[place as usize];
        let of_some = |places: &[(u32, u32)]| {
            let bounds = estimates(queries, places).into_iter().map(bound);
            bounds.zip(places.iter().map(row)).collect::<Vec<_>>()
        };
        places.par_chunks(ESTIMATED).flat_map_iter(of_some).collect()
    }

    /// The best rows, of those that codes give.
    fn best_by_codes(
        &self,
        query: &[f32],
        may_be: Option<&[bool]>,
        k: usize,
    ) -> Result<Vec<Match>, RetrievalError> {
        if k == 0 {
            return Ok(Vec::new());
        }
        if let Some(&value) = query.iter().find(|value| !value.is_finite()) {
            return Err(RetrievalError::NonFiniteScore { query: 0, row: 0, score: value });
        }
        let turned = TurnedQuery::new(query);
        let queries: Vec<SetQuery<'_>> =
            self.segments.iter().map(|segment| SetQuery::new(&turned, &segment.codes)).collect();
        let (first, others) = self.survivors(&queries, may_be, k);
        let mut best = Best { k, matches: Vec::new() };
        let first: Vec<(u32, u32)> = first.into_iter().map(|(_, place)| place).collect();
        let mut bounds = self.bounds(&queries, &first);
        bounds.sort_unstable_by(by_bound);
        let scored = bounds.drain(..CHUNK.max(k).min(bounds.len()));
        best.extend(self.scored(query, scored.map(|(_, row)| row).collect())?);
        let may_be_best = |&(bound, (number, place)): &Bounded| {
            let spread = queries[number as usize].first_spread(place as usize);
            best.may_hold(bound + (LAST_DEVIATIONS - FIRST_DEVIATIONS) * spread)
        };
        // All of them: bounds of rows that lie wide apart are less sure than others.
        let rest: Vec<(u32, u32)> =
            others.into_par_iter().filter(may_be_best).map(|(_, place)| place).collect();
        bounds.extend(self.bounds(&queries, &rest));
        bounds.sort_unstable_by(by_bound);
        for chunk in bounds.chunks(CHUNK.max(k)) {
            if !best.may_hold(chunk[0].0) {
                break;
            }
            best.extend(self.scored(query, chunk.iter().map(|(_, row)| *row).collect())?);
        }
        Ok(best.matches)
    }

    /// The scores of rows, by what is read of them.
    fn scored(&self, query: &[f32], rows: Vec<u32>) -> Result<Vec<Match>, RetrievalError> {
        let score = |room: &mut Room, row: u32| {
            let Some(embedding) = self.read(row, room)? else { return Ok(None) };
            let score =
                if query.len() == self.dim { dot(query, embedding) } else { cut_score(query, embedding) };
            match score.is_finite() {
                true => Ok(Some(Match { row: row as usize, score })),
                false => Err(RetrievalError::NonFiniteScore { query: 0, row: row as usize, score }),
            }
        };
        let scores = rows.into_par_iter().map_init(Room::default, score);
        Ok(scores.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
    }
}

/// The score of a row that is cut to the width of the query and of length 1 again.
fn cut_score(query: &[f32], embedding: &[f32]) -> f32 {
    let cut = &embedding[..query.len()];
    let length = cut.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 { (f64::from(dot(query, cut)) / length) as f32 } else { 0.0 }
}

impl Index for OnDisk {
    fn best(
        &self,
        query: ArrayView1<'_, f32>,
        may_be: Option<&[bool]>,
        k: usize,
        exact: bool,
    ) -> Result<Vec<Match>, RetrievalError> {
        let query = query.to_vec();
        if query.len() == self.dim && !exact {
            return self.best_by_codes(&query, may_be, k);
        }
        let mut best = Best { k, matches: Vec::new() };
        for (number, rows, _) in self.ranges(BLOCK) {
            let rows = self.segments[number].rows[rows].iter().copied();
            let is_candidate =
                |live: &u32| *live != NOT_LIVE && may_be.is_none_or(|may_be| may_be[*live as usize]);
            best.extend(self.scored(&query, rows.filter(is_candidate).collect())?);
        }
        Ok(best.matches)
    }

    fn embedding(&self, row: usize) -> Result<Option<Cow<'_, [f32]>>, RetrievalError> {
        let rows = self.entries.len();
        let number = u32::try_from(row).ok().filter(|_| row < rows);
        let number = number.ok_or(RetrievalError::CandidateOutOfRange { row, rows })?;
        let mut room = Room::default();
        Ok(self.read(number, &mut room)?.map(<[f32]>::to_vec).map(Cow::Owned))
    }

    fn codes(&self) -> KnownCodes {
        // Where something has decayed, all is to be read again.
        if !self.decayed.lock().unwrap_or_else(PoisonError::into_inner).rows.is_empty() {
            return KnownCodes::new();
        }
        let of = |segment: &OnDiskSegment| (segment.segment.sequence, Arc::clone(&segment.codes));
        self.segments.iter().map(of).collect()
    }

    fn take_damage(&self) -> Vec<RetrievalError> {
        std::mem::take(&mut self.decayed.lock().unwrap_or_else(PoisonError::into_inner).untold)
    }
}
