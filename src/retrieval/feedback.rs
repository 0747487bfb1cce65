use ndarray::{ArrayView1, ArrayView2};
use serde::{Deserialize, Serialize};

use super::RetrievalError;

/// Weight of what was found beside the query's own, unless told otherwise.
const WEIGHT: f32 = 0.5;

/// Feedback that needs neither a judge nor a model: what ranks first is taken for relevant, and the query is
/// moved towards its mean (Rocchio 1971; of dense vectors, Li et al. 2021, arXiv 2108.11044).
///
/// ```
/// use gve::retrieval::Feedback;
/// use ndarray::{arr1, arr2};
///
/// # fn main() -> Result<(), gve::retrieval::RetrievalError> {
/// let corpus = arr2(&[[0.6, 0.8], [0.0, 1.0]]);
/// let moved = Feedback::of(1).moved(arr1(&[1.0, 0.0]).view(), corpus.view(), [0])?;
/// assert!((moved[1] / moved[0] - 0.4 / 1.3).abs() < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Feedback {
    /// Documents, the best ones, that are taken for relevant.
    pub documents: usize,
    /// Weight of their mean, where the query has 1.
    pub weight: f32,
}

impl Feedback {
    /// That of the best `documents`, with a weight of 0.5.
    #[must_use]
    pub fn of(documents: usize) -> Self {
        Self { documents, weight: WEIGHT }
    }

    /// The same with another [`weight`](Self::weight).
    #[must_use]
    pub fn with_weight(self, weight: f32) -> Self {
        Self { weight, ..self }
    }

    /// `query`, `[dim]`, moved towards the mean of the rows `best` of `corpus`, `[rows, dim]`, and of length
    /// 1 again. It stays as it is where there are none, or where what comes out has no direction. A row that
    /// `corpus` does not have is passed over.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`] for a query that is not as wide as the corpus.
    pub fn moved(
        &self,
        query: ArrayView1<'_, f32>,
        corpus: ArrayView2<'_, f32>,
        best: impl IntoIterator<Item = usize>,
    ) -> Result<Vec<f32>, RetrievalError> {
        let (expected, got) = (corpus.ncols(), query.len());
        // A corpus without rows may have no width either.
        if got != expected && corpus.nrows() > 0 {
            return Err(RetrievalError::DimensionMismatch { what: "the query".into(), expected, got });
        }
        let rows = best.into_iter().filter(|row| *row < corpus.nrows());
        Ok(self.moved_towards(query, rows.map(|row| corpus.row(row).to_vec())))
    }

    /// As [`moved`](Self::moved), by the embeddings of the best.
    pub(super) fn moved_towards(
        &self,
        query: ArrayView1<'_, f32>,
        best: impl IntoIterator<Item = Vec<f32>>,
    ) -> Vec<f32> {
        let mut sum = vec![0.0; query.len()];
        let mut count = 0;
        for embedding in best.into_iter().take(self.documents) {
            sum.iter_mut().zip(embedding).for_each(|(sum, value)| *sum += f64::from(value));
            count += 1;
        }
        let share = f64::from(self.weight) / f64::from(count.max(1));
        let moved: Vec<f64> =
            query.iter().zip(sum).map(|(&value, sum)| f64::from(value) + share * sum).collect();
        let length = moved.iter().map(|value| value * value).sum::<f64>().sqrt();
        if count == 0 || !(length.is_finite() && length > 0.0) {
            return query.to_vec();
        }
        moved.into_iter().map(|value| (value / length) as f32).collect()
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{arr1, arr2};

    use super::*;

    #[test]
    fn a_query_moves_towards_the_mean_of_the_best() {
        let corpus = arr2(&[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]);
        let query = arr1(&[1.0, 0.0, 0.0]);
        let moved = |documents, weight, best: &[usize]| {
            let feedback = Feedback::of(documents).with_weight(weight);
            feedback.moved(query.view(), corpus.view(), best.iter().copied()).unwrap()
        };
        // (1, 0.5, 0.5) and (1, 1, 0), of length 1.
        let (side, diagonal) = (1.0 / 1.5_f32.sqrt(), 0.5_f32.sqrt());
        for (documents, weight, best, expected) in [
            (2, 1.0, &[0, 1][..], [side, side / 2.0, side / 2.0]),
            (1, 1.0, &[0, 1], [diagonal, diagonal, 0.0]),
            (9, 1.0, &[0], [diagonal, diagonal, 0.0]),
            (2, 0.0, &[0, 1], [1.0, 0.0, 0.0]),
            (0, 1.0, &[0, 1], [1.0, 0.0, 0.0]),
            (3, 1.0, &[], [1.0, 0.0, 0.0]),
            // There is no such row.
            (9, 1.0, &[0, 3], [diagonal, diagonal, 0.0]),
            // The two cancel each other.
            (1, 1.0, &[2], [1.0, 0.0, 0.0]),
        ] {
            let moved = moved(documents, weight, best);
            let gap = moved.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-6, "{documents} {weight} {best:?}: {moved:?}, expected {expected:?}");
        }
        let none = arr2(&[[0.0; 0]; 0]);
        assert_eq!(Feedback::of(1).moved(query.view(), none.view(), []).unwrap(), query.to_vec());
        let narrow = Feedback::of(1).moved(arr1(&[1.0, 0.0]).view(), corpus.view(), [0]).unwrap_err();
        assert_eq!(narrow.to_string(), "the query has dimension 2, expected 3");
    }
}
