//! Which moments of a video are one hit.

use std::collections::HashSet;

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

/// Makes hits of moments for one query.
pub(super) struct Neighbours<'a> {
    pub(super) library: &'a Library,
    pub(super) query: &'a [f32],
    pub(super) may_be: Option<&'a [bool]>,
    /// Of the query's scores with the library.
    pub(super) mean: f32,
}

impl Neighbours<'_> {
    /// The `k` best moments, each with those beside it that fit nearly as well and are in no better hit.
    pub(super) fn hits(&self, ranking: Vec<Match>, k: usize) -> Result<Vec<Hit>, RetrievalError> {
        let (mut hits, mut taken) = (Vec::new(), HashSet::new());
        for best in ranking {
            if hits.len() == k {
                break;
            }
            if !taken.insert(best.row) {
                continue;
            }
            let mut hit = self.library.hit(best);
            // The moments of a video lie one behind the other.
            for step in [-1, 1] {
                let beside = |row: usize| row.checked_add_signed(step);
                let mut next = beside(best.row);
                while let Some(row) = next
                    && !taken.contains(&row)
                    && let Some(range) = self.joined(&hit, row)?
                {
                    taken.insert(row);
                    hit.time_range = Some(range);
                    next = beside(row);
                }
            }
            hits.push(hit);
        }
        Ok(hits)
    }

    /// The range of `hit` with that of `row`, where they belong together.
    fn joined(&self, hit: &Hit, row: usize) -> Result<Option<TimeRange>, RetrievalError> {
        let entries = self.library.entries();
        let may_be = self.may_be.map_or(row < entries.len(), |may_be| may_be.get(row) == Some(&true));
        if !may_be || entries[row].path != entries[hit.row].path {
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
        let least = hit.score - ALIKE.max(REACH * (hit.score - self.mean));
        let is_near = self.library.score(self.query, row)?.is_some_and(|score| score >= least);
        Ok(is_near.then(|| TimeRange::between(start.min(from), end.max(to))))
    }
}
