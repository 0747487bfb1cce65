//! From a query to hits: rows are ranked, and what a file has of them becomes what was asked for.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};

use ndarray::ArrayView1;
use serde::{Deserialize, Serialize};

use super::entry::LibraryEntry;
use super::filter::Filter;
use super::neighbours::{NEIGHBOURS, Neighbours};
use super::reader::Library;
use crate::media::TimeRange;
use crate::options::with_fields;
use crate::retrieval::cut::cut_row;
use crate::retrieval::{Feedback, Match, RetrievalError};

/// Rows looked at for each hit that is asked for, at first.
const ROWS_PER_HIT: usize = 4;

/// What a hit is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Unit {
    /// The best moment of each video, and images.
    #[default]
    BestMoment,
    /// Every moment, and images. A moment is one hit with those beside it in the video that fit nearly as well: that
    /// lie above the mean of the query's scores with the library by half of what the best of them does, or are
    /// within 0.02 of it.
    Moment,
    /// Each file once, by what it is as a whole.
    File,
}

/// What [`Library::search_for`] gives.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchOptions {
    /// Hits, at most.
    pub k: usize,
    /// Values that are compared, which a query has to have: the first ones of each row, normalised again.
    /// Embeddings are cut like that where their model was trained for it
    /// ([`Embedder::check_dim`](crate::Embedder::check_dim), [`Embedding::cut`](crate::Embedding::cut)), and
    /// are nonsense otherwise. `None` compares all that the library has.
    pub dim: Option<usize>,
    /// What a hit is. It makes no difference in a library without moments.
    pub unit: Unit,
    /// Whether a first search moves the query.
    pub feedback: Option<Feedback>,
    /// Which files may be found.
    pub filter: Filter,
    /// Whether every row is scored, and none left out for what its code tells, in a library of which the
    /// embeddings stay on disk. All of them are read then.
    pub exact: bool,
    /// Asks how [unusual](LibraryHit::confidence) each hit is, and leaves out those that are less than this,
    /// from 0 for none to 1 for all. Hits of a library that is too small to tell stay.
    pub min_confidence: Option<f32>,
}

impl SearchOptions {
    /// The `k` best files, videos by their best moments.
    #[must_use]
    pub fn new(k: usize) -> Self {
        Self {
            k,
            dim: None,
            unit: Unit::default(),
            feedback: None,
            filter: Filter::default(),
            exact: false,
            min_confidence: None,
        }
    }
}

with_fields!(SearchOptions {
    with_dim(dim: Option<usize>),
    with_unit(unit: Unit),
    with_feedback(feedback: Option<Feedback>),
    with_filter(filter: Filter),
    with_exact(exact: bool),
    with_min_confidence(min_confidence: Option<f32>),
});

/// What a search has found.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LibraryHit {
    /// Cosine similarity with the query.
    pub score: f32,
    /// The number of the row with that score, among the [`entries`](Library::entries) of the library that was
    /// searched: of its [embedding](Library::embedding), say, to look for more that is like it.
    pub row: usize,
    /// That row.
    pub entry: LibraryEntry,
    /// The part of the video: the row's own, or with the moments beside it that are [one hit](Unit::Moment) with it.
    pub time_range: Option<TimeRange>,
    /// How unusual the score is for this query in this library, from 0 to below 1, where
    /// [`min_confidence`](SearchOptions::min_confidence) asks for it: of 511 queries that are made up, each
    /// the mean of two random rows, the share that find nothing as good. What is compared is how far a score
    /// lies above the mean of the query's scores with the library, of which 512 rows stand for all. A query
    /// whose scores are spread less than three quarters as widely as those of the rows with each other, such
    /// as a text where texts lie apart from pictures, has them stretched to that first.
    ///
    /// It means the same for every model, library and kind of query, and orders the hits of one search as
    /// their scores do. It is of the whole library, whatever is filtered, and of the query before feedback.
    /// It is no probability that the hit is what was meant: near misses are unusual, too. `None` where it was
    /// not asked for, and in libraries of fewer than 50 rows.
    ///
    /// It is in the manner of score normalisation in speaker verification (Auckenthaler et al. 2000) and of
    /// conformal p-values (Vovk et al. 2005), with queries made of the library's own rows for impostors.
    pub confidence: Option<f32>,
}

/// What a row is among those of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// All there is.
    Alone,
    /// The whole, which has parts in other rows.
    Whole,
    /// A part of a file whose whole is another row.
    Moment,
    /// A part of a file that has no row for the whole.
    Part,
}

/// Which rows may make up a hit, by the filter and the unit that were asked for last.
pub(super) type LastMask = Mutex<Option<((Filter, Unit), Arc<[bool]>)>>;

/// What each row is: that of a file which holds all of its others is the whole.
pub(super) fn shares(entries: &[LibraryEntry]) -> Vec<Share> {
    let mut first_of: HashMap<&OsStr, usize> = HashMap::with_capacity(entries.len());
    // Of the files that have several.
    let mut rows_of: HashMap<usize, Vec<usize>> = HashMap::new();
    for (row, entry) in entries.iter().enumerate() {
        let first = *first_of.entry(entry.path.as_os_str()).or_insert(row);
        if first != row {
            rows_of.entry(first).or_insert_with(|| vec![first]).push(row);
        }
    }
    let mut shares = vec![Share::Alone; entries.len()];
    for rows in rows_of.into_values() {
        let holds = |whole: usize, part: usize| holds(entries[whole].time_range, entries[part].time_range);
        let whole = rows.iter().find(|&&whole| rows.iter().all(|&part| holds(whole, part)));
        for &row in &rows {
            shares[row] = match whole {
                None => Share::Part,
                Some(&whole) if row == whole => Share::Whole,
                Some(_) => Share::Moment,
            };
        }
    }
    shares
}

/// Whether a row of a file is of all that another is of.
pub(super) fn holds(whole: Option<TimeRange>, part: Option<TimeRange>) -> bool {
    let Some(whole) = whole else { return true };
    let bounds = whole.bounds().zip(part.and_then(TimeRange::bounds));
    bounds.is_some_and(|((start, end), (from, to))| start <= from + NEIGHBOURS && to <= end + NEIGHBOURS)
}

impl Library {
    /// The `k` files most similar to `query`, an L2-normalised vector of the library's dimension, best first;
    /// videos by their best moments. A query of another width is an error, for nothing tells whether it is of
    /// the same model: one that is wider is to be cut first ([`Embedding::cut`](crate::Embedding::cut)), and
    /// for one that was cut further there is [`SearchOptions::dim`].
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`], [`RetrievalError::NonFiniteScore`]; [`RetrievalError::Io`] where embeddings are
    /// read from disk.
    pub fn search(&self, query: ArrayView1<'_, f32>, k: usize) -> Result<Vec<LibraryHit>, RetrievalError> {
        self.search_for(query, &SearchOptions::new(k))
    }

    /// As [`search`](Self::search), for what `options` say.
    ///
    /// # Errors
    /// Those of [`search`](Self::search).
    pub fn search_for(
        &self,
        query: ArrayView1<'_, f32>,
        options: &SearchOptions,
    ) -> Result<Vec<LibraryHit>, RetrievalError> {
        let (width, got) = (self.manifest().dim, query.len());
        let expected = options.dim.unwrap_or(width);
        if !(1..=width).contains(&expected) {
            return Err(RetrievalError::InvalidWidth { width, got: expected });
        }
        if got != expected {
            return Err(RetrievalError::DimensionMismatch { what: "the query".into(), expected, got });
        }
        let may_be = self.may_be(&options.filter, options.unit);
        let hits = |query: ArrayView1<'_, f32>, k| {
            self.hits(query, k, options, may_be.as_ref().map(|rows| &rows[..]))
        };
        let hits = match options.feedback {
            None => hits(query, options.k)?,
            Some(feedback) => {
                let best = hits(query, feedback.documents)?;
                let embeddings = best.iter().map(|hit| self.embedding(hit.row));
                let embeddings: Vec<_> = embeddings.collect::<Result<_, _>>()?;
                let cut = |embedding: Cow<'_, [f32]>| cut_row(&embedding, got);
                let moved = feedback.moved_towards(query, embeddings.into_iter().flatten().map(cut));
                hits(ArrayView1::from(&moved), options.k)?
            }
        };
        let asked = match options.min_confidence {
            Some(_) => self.asked(&query.to_vec())?,
            None => None,
        };
        let hit = |Hit { row, score, time_range }| {
            let score_as_asked = match (&asked, options.feedback) {
                (Some(_), Some(_)) => self.score(&query.to_vec(), row)?,
                _ => Some(score),
            };
            let confidence = asked.as_ref().zip(score_as_asked).map(|(asked, score)| asked.confidence(score));
            Ok(LibraryHit { score, row, entry: self.entries()[row].clone(), time_range, confidence })
        };
        let mut hits = hits.into_iter().map(hit).collect::<Result<Vec<_>, RetrievalError>>()?;
        let least = options.min_confidence.unwrap_or(0.0);
        hits.retain(|hit| hit.confidence.is_none_or(|confidence| confidence >= least));
        Ok(hits)
    }

    /// Whether a row may make up a hit. The best part stands for a file whose whole the library does not
    /// have.
    fn is_of(&self, row: usize, unit: Unit) -> bool {
        match self.shares()[row] {
            Share::Alone | Share::Part => true,
            Share::Whole => unit == Unit::File,
            Share::Moment => unit != Unit::File,
        }
    }

    /// Which rows may make up a hit; `None` where all may. What was asked for last is kept, for applications
    /// search while somebody types.
    fn may_be(&self, filter: &Filter, unit: Unit) -> Option<Arc<[bool]>> {
        let is_simple = self.is_simple();
        if is_simple && *filter == Filter::default() {
            return None;
        }
        let last = || self.last_mask().lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, rows)) = &*last()
            && *of == (filter.clone(), unit)
        {
            return Some(Arc::clone(rows));
        }
        let mut rows =
            filter.rows(self.entries(), self.tag_table()).unwrap_or_else(|| vec![true; self.entries().len()]);
        if !is_simple {
            // Those of the unit alone are ranked.
            rows.iter_mut().enumerate().for_each(|(row, may_be)| *may_be &= self.is_of(row, unit));
        }
        let rows: Arc<[bool]> = rows.into();
        *last() = Some(((filter.clone(), unit), Arc::clone(&rows)));
        Some(rows)
    }

    /// Looks at ever more of the best rows until they make up `k` hits.
    fn hits(
        &self,
        query: ArrayView1<'_, f32>,
        k: usize,
        options: &SearchOptions,
        may_be: Option<&[bool]>,
    ) -> Result<Vec<Hit>, RetrievalError> {
        let (all, is_simple) = (self.entries().len(), self.is_simple());
        let values = query.to_vec();
        let mut neighbours = match options.unit {
            Unit::Moment if !is_simple => Some(Neighbours::new(self, &values, may_be)?),
            _ => None,
        };
        let mut depth = if is_simple { k } else { k.saturating_mul(ROWS_PER_HIT) };
        loop {
            let ranking = self.index().best(query, may_be, depth, options.exact)?;
            let is_all = ranking.len() < depth;
            let hits = match &mut neighbours {
                Some(neighbours) => neighbours.hits(ranking, k)?,
                None => self.files(ranking, k),
            };
            if hits.len() >= k || depth >= all || is_all {
                return Ok(hits);
            }
            depth = depth.saturating_mul(ROWS_PER_HIT);
        }
    }

    /// The `k` best files, each by the best of its rows.
    fn files(&self, ranking: Vec<Match>, k: usize) -> Vec<Hit> {
        let mut seen = HashSet::new();
        let mut is_new = |row: usize| seen.insert(self.entries()[row].path.as_path());
        ranking.into_iter().filter(|found| is_new(found.row)).take(k).map(|found| self.hit(found)).collect()
    }

    /// A row by itself.
    pub(super) fn hit(&self, Match { row, score }: Match) -> Hit {
        Hit { row, score, time_range: self.entries()[row].time_range }
    }
}

pub(super) struct Hit {
    pub(super) row: usize,
    pub(super) score: f32,
    pub(super) time_range: Option<TimeRange>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::MediaKind;
    use crate::retrieval::FileFingerprint;

    fn entry(path: &str, range: Option<(f64, f64)>) -> LibraryEntry {
        let fingerprint = FileFingerprint { size_bytes: 1, modified_nanoseconds: 1 };
        LibraryEntry::new(path, MediaKind::Video, fingerprint)
            .with_time_range(range.map(|(start, end)| TimeRange::between(start, end)))
    }

    #[test]
    fn the_whole_of_a_file_is_what_holds_its_other_rows() {
        use Share::{Alone, Moment, Part, Whole};

        let cases = [
            (&[][..], &[][..]),
            (&[Some((0.0, 9.0))], &[Alone]),
            (&[None], &[Alone]),
            (&[Some((0.0, 9.0)), Some((0.0, 5.0)), Some((5.0, 9.1))], &[Whole, Moment, Moment]),
            (&[Some((0.0, 5.0)), None, Some((5.0, 9.0))], &[Moment, Whole, Moment]),
            // Nobody put the whole there.
            (&[Some((0.0, 5.0)), Some((5.0, 9.0))], &[Part, Part]),
            (&[Some((0.0, 5.0)), Some((0.0, 5.1))], &[Whole, Moment]),
        ];
        for (ranges, expected) in cases {
            let mut entries: Vec<LibraryEntry> = ranges.iter().map(|range| entry("a", *range)).collect();
            entries.push(entry("b", Some((0.0, 99.0))));
            let shares = shares(&entries);
            assert_eq!((&shares[..ranges.len()], shares[ranges.len()]), (expected, Alone), "{ranges:?}");
        }
    }
}
