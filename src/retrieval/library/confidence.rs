//! How unusual a score is in a library: beside what made-up queries find there, which mean none of its files.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;

use super::reader::Library;
use crate::random::Random;
use crate::retrieval::cut::cut_row;
use crate::retrieval::{RetrievalError, dot, normalize};

/// Rows of which a library has too few to tell anything.
const MIN_ROWS: usize = 50;
/// Rows that stand for all of them, where there are so many.
const SAMPLE: usize = 512;
/// Queries that are made up. What is counted is a share of one more.
const MADE_UP: usize = 511;
/// Share of the rows' spread up to which that of a query is its own, and beyond which it is put down to its
/// kind: nano's lie within, and texts that lie apart from pictures far beyond.
const OWN_SPREAD: f64 = 0.75;
/// Any number; the same rows are drawn every time.
const SEED: u64 = 0x6e75_6c6c;

/// What a library was asked about last, by the width of the query.
pub(super) type LastNull = Mutex<Option<(usize, Option<Arc<Null>>)>>;

/// What scores are held against.
#[derive(Debug)]
pub(super) struct Null {
    rows: Vec<Vec<f32>>,
    /// Made when it is first asked for.
    scale: OnceLock<Scale>,
}

/// What is unusual among rows.
#[derive(Debug)]
struct Scale {
    /// Standard deviation of a row's scores with the others, in the mean.
    spread: f64,
    /// Of the best score of each query that was made up, in ascending order.
    elevations: Vec<f64>,
}

/// A query's scores with rows of the library.
struct Scores {
    mean: f64,
    deviation: f64,
    best: f64,
}

/// A query, of which scores are judged.
pub(super) struct Asked {
    null: Arc<Null>,
    scores: Scores,
}

impl Scores {
    fn of(query: &[f32], rows: &[Vec<f32>]) -> Self {
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(dot(query, row))).collect();
        let mean = scores.iter().sum::<f64>() / scores.len() as f64;
        let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / scores.len() as f64;
        let best = scores.into_iter().fold(f64::MIN, f64::max);
        Self { mean, deviation: variance.sqrt(), best }
    }

    /// How far `score` lies above the mean, on the scale of files among one another.
    fn elevation(&self, score: f64, spread: f64) -> f64 {
        let scale = if spread > 0.0 { (self.deviation / (OWN_SPREAD * spread)).min(1.0) } else { 1.0 };
        if scale > 0.0 { (score - self.mean) / scale } else { 0.0 }
    }
}

impl Null {
    fn scale(&self) -> &Scale {
        if let Some(scale) = self.scale.get() {
            return scale;
        }
        // Not while others wait: threads that wait for each other's rows may be the same.
        let made = Scale::of(&self.rows);
        self.scale.get_or_init(|| made)
    }
}

impl Scale {
    /// Of rows of length 1, two at least.
    fn of(rows: &[Vec<f32>]) -> Self {
        let spread = rows.par_iter().map(|row| Scores::of(row, rows).deviation).collect::<Vec<_>>();
        let spread = spread.iter().sum::<f64>() / rows.len() as f64;
        let mut random = Random::new(SEED);
        let pairs: Vec<(usize, usize)> = (0..MADE_UP)
            .map(|_| {
                let (first, second) = (random.below(rows.len()), random.below(rows.len() - 1));
                (first, second + usize::from(second >= first))
            })
            .collect();
        let between = |&(first, second): &(usize, usize)| {
            let mut query: Vec<f32> = rows[first].iter().zip(&rows[second]).map(|(a, b)| a + b).collect();
            // Between opposites there is no direction.
            normalize(&mut query, "a made-up query").ok()?;
            let scores = Scores::of(&query, rows);
            Some(scores.elevation(scores.best, spread))
        };
        let mut elevations: Vec<f64> = pairs.par_iter().filter_map(between).collect();
        elevations.sort_unstable_by(f64::total_cmp);
        Self { spread, elevations }
    }
}

impl Asked {
    fn new(query: &[f32], null: Arc<Null>) -> Self {
        Self { scores: Scores::of(query, &null.rows), null }
    }

    /// The share of made-up queries whose best score lies less high; below 1.
    pub(super) fn confidence(&self, score: f32) -> f32 {
        let Scale { spread, elevations } = self.null.scale();
        let elevation = self.scores.elevation(f64::from(score), *spread);
        let lower = elevations.partition_point(|other| *other < elevation);
        lower as f32 / (elevations.len() + 1) as f32
    }
}

impl Library {
    /// What tells how unusual the scores of `query` are; `None` in a library of too few rows.
    pub(super) fn asked(&self, query: &[f32]) -> Result<Option<Asked>, RetrievalError> {
        let last = || self.last_null().lock().unwrap_or_else(PoisonError::into_inner);
        let dim = query.len();
        let kept = last().as_ref().filter(|(of, _)| *of == dim).map(|(_, null)| null.clone());
        let null = match kept {
            Some(null) => null,
            None => {
                // Not under the lock, as reading takes a while.
                let null = self.sample(dim)?.map(|rows| Arc::new(Null { rows, scale: OnceLock::new() }));
                *last() = Some((dim, null.clone()));
                null
            }
        };
        Ok(null.map(|null| Asked::new(query, null)))
    }

    /// The mean of the scores of `query` with all rows, as far as a sample of them tells.
    pub(super) fn mean_score(&self, query: &[f32]) -> Result<f64, RetrievalError> {
        if let Some(asked) = self.asked(query)? {
            return Ok(asked.scores.mean);
        }
        let scores = (0..self.entries().len()).map(|row| self.score(query, row));
        let scores: Vec<_> = scores.collect::<Result<_, _>>()?;
        let (count, sum) =
            scores.into_iter().flatten().fold((0, 0.0), |(n, sum), score| (n + 1, sum + score));
        Ok(if count > 0 { f64::from(sum) / f64::from(count) } else { 0.0 })
    }

    /// The score of `query` with a row; `None` where that is damaged.
    pub(super) fn score(&self, query: &[f32], row: usize) -> Result<Option<f32>, RetrievalError> {
        Ok(self.embedding(row)?.map(|embedding| dot(query, &cut_row(&embedding, query.len()))))
    }

    /// Rows that stand for all of them, `dim` wide.
    fn sample(&self, dim: usize) -> Result<Option<Vec<Vec<f32>>>, RetrievalError> {
        let all = self.entries().len();
        if all < MIN_ROWS {
            return Ok(None);
        }
        let rows = Random::new(SEED).sample(all, SAMPLE).into_par_iter().map(|row| self.embedding(row));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        let rows: Vec<Vec<f32>> = rows.into_iter().flatten().map(|row| cut_row(&row, dim)).collect();
        Ok((rows.len() >= MIN_ROWS).then_some(rows))
    }
}
