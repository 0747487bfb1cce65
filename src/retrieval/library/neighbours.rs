//! Which moments of a video are one hit.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;

use super::entry::LibraryEntry;
use super::reader::Library;
use super::search::Hit;
use crate::media::TimeRange;
use crate::retrieval::{Match, RetrievalError};

/// Moments that are no further apart than this, in seconds, are neighbours.
pub(super) const NEIGHBOURS: f64 = 0.25;
/// How far below the best of its moments a hit reaches, as a share of how far that lies above the mean of the
/// query's scores with the library. Measured in docs/libraries.md.
const REACH: f32 = 0.5;
/// Scores that differ by less are alike, whatever the mean.
const ALIKE: f32 = 0.02;

/// The rows of each file one behind the other, in order of time.
#[derive(Debug)]
pub(super) struct InOrder {
    rows: Vec<usize>,
    /// Where each row is among them.
    places: Vec<usize>,
}

impl InOrder {
    pub(super) fn of(entries: &[LibraryEntry]) -> Self {
        let mut first_of: HashMap<&OsStr, usize> = HashMap::new();
        let rows = entries.iter().enumerate();
        // By the first row of each.
        let files: Vec<usize> =
            rows.map(|(row, entry)| *first_of.entry(entry.path.as_os_str()).or_insert(row)).collect();
        let bounds = |row: usize| entries[row].time_range.and_then(TimeRange::bounds).unwrap_or_default();
        // The whole before what begins with it.
        let by_time = |a: usize, b: usize| -> Ordering {
            let ((start, end), (other_start, other_end)) = (bounds(a), bounds(b));
            start.total_cmp(&other_start).then(other_end.total_cmp(&end))
        };
        let mut rows: Vec<usize> = (0..entries.len()).collect();
        rows.sort_by(|&a, &b| files[a].cmp(&files[b]).then_with(|| by_time(a, b)));
        let mut places = vec![0; rows.len()];
        rows.iter().enumerate().for_each(|(place, &row)| places[row] = place);
        Self { rows, places }
    }

    fn beside(&self, row: usize, step: isize) -> Option<usize> {
        self.rows.get(self.places.get(row)?.checked_add_signed(step)?).copied()
    }
}

/// Makes hits of moments for one query.
pub(super) struct Neighbours<'a> {
    library: &'a Library,
    query: &'a [f32],
    may_be: Option<&'a [bool]>,
    /// Of the query's scores with the library.
    mean: f32,
    /// Those that are known, of rows that are there.
    scores: HashMap<usize, Option<f32>>,
}

impl<'a> Neighbours<'a> {
    pub(super) fn new(
        library: &'a Library,
        query: &'a [f32],
        may_be: Option<&'a [bool]>,
    ) -> Result<Self, RetrievalError> {
        let mean = library.mean_score(query)? as f32;
        Ok(Self { library, query, may_be, mean, scores: HashMap::new() })
    }

    /// The `k` best moments, each with those beside it that fit nearly as well and are in no better hit.
    pub(super) fn hits(&mut self, ranking: Vec<Match>, k: usize) -> Result<Vec<Hit>, RetrievalError> {
        self.scores.extend(ranking.iter().map(|found| (found.row, Some(found.score))));
        let in_order = self.library.in_order();
        let (mut hits, mut taken) = (Vec::new(), HashSet::new());
        for best in ranking {
            if hits.len() == k {
                break;
            }
            if !taken.insert(best.row) {
                continue;
            }
            let mut hit = self.library.hit(best);
            for step in [-1, 1] {
                let mut next = in_order.beside(best.row, step);
                while let Some(row) = next
                    && !taken.contains(&row)
                    && let Some(range) = self.joined(&hit, row)?
                {
                    taken.insert(row);
                    hit.time_range = Some(range);
                    next = in_order.beside(row, step);
                }
            }
            hits.push(hit);
        }
        Ok(hits)
    }

    /// The range of `hit` with that of `row`, where they belong together.
    fn joined(&mut self, hit: &Hit, row: usize) -> Result<Option<TimeRange>, RetrievalError> {
        let entries = self.library.entries();
        if !self.may_be.is_none_or(|may_be| may_be[row]) || entries[row].path != entries[hit.row].path {
            return Ok(None);
        }
        let bounds = hit.time_range.and_then(TimeRange::bounds);
        let Some(((start, end), (from, to))) =
            bounds.zip(entries[row].time_range.and_then(TimeRange::bounds))
        else {
            return Ok(None);
        };
        if from > end + NEIGHBOURS || start > to + NEIGHBOURS {
            return Ok(None);
        }
        let score = match self.scores.get(&row) {
            Some(score) => *score,
            None => {
                let score = self.library.score(self.query, row)?;
                self.scores.insert(row, score);
                score
            }
        };
        let least = hit.score - ALIKE.max(REACH * (hit.score - self.mean));
        let is_near = score.is_some_and(|score| score >= least);
        Ok(is_near.then(|| TimeRange::between(start.min(from), end.max(to))))
    }
}
