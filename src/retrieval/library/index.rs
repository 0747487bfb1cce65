//! How the rows of a library are searched.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use ndarray::{Array2, ArrayView1, Axis};

use crate::retrieval::codes::CodeSet;
use crate::retrieval::{Match, RetrievalError, cut_rows, rank, rank_candidates};

/// Codes of segments, by the segments' numbers.
pub(super) type KnownCodes = HashMap<u64, Arc<CodeSet>>;

/// What finds the best rows for a query.
pub(super) trait Index: Debug + Send + Sync {
    /// The `k` best rows of those that `may_be` found, best first, by inner product in f32 with `query`,
    /// which may be narrower than the rows. Where `exact`, nothing is left out for what is known of it by
    /// less.
    fn best(
        &self,
        query: ArrayView1<'_, f32>,
        may_be: Option<&[bool]>,
        k: usize,
        exact: bool,
    ) -> Result<Vec<Match>, RetrievalError>;

    /// The embedding of a row; `None` if it has decayed.
    fn embedding(&self, row: usize) -> Result<Option<Cow<'_, [f32]>>, RetrievalError>;

    /// All embeddings, where they are in memory.
    fn matrix(&self) -> Option<&Array2<f32>> {
        None
    }

    /// The codes in memory that another may share.
    fn codes(&self) -> KnownCodes {
        KnownCodes::new()
    }

    /// What has been found damaged since this was last asked.
    fn take_damage(&self) -> Vec<RetrievalError> {
        Vec::new()
    }
}

/// All embeddings in memory, of which every one is scored.
#[derive(Debug)]
pub(super) struct Matrix(pub(super) Array2<f32>);

impl Index for Matrix {
    fn best(
        &self,
        query: ArrayView1<'_, f32>,
        may_be: Option<&[bool]>,
        k: usize,
        _: bool,
    ) -> Result<Vec<Match>, RetrievalError> {
        let cut;
        let embeddings = if query.len() < self.0.ncols() {
            cut = cut_rows(self.0.view(), query.len());
            cut.view()
        } else {
            self.0.view()
        };
        match may_be {
            Some(may_be) => {
                let rows: Vec<usize> = (0..embeddings.nrows()).filter(|&row| may_be[row]).collect();
                rank_candidates(query, embeddings, &rows, k)
            }
            None => Ok(rank(query.insert_axis(Axis(0)), embeddings, k)?.into_iter().flatten().collect()),
        }
    }

    fn embedding(&self, row: usize) -> Result<Option<Cow<'_, [f32]>>, RetrievalError> {
        let rows = self.0.nrows();
        let embedding = (row < rows).then(|| self.0.row(row).to_slice()).flatten();
        embedding.map(|row| Some(Cow::Borrowed(row))).ok_or(RetrievalError::CandidateOutOfRange { row, rows })
    }

    fn matrix(&self) -> Option<&Array2<f32>> {
        Some(&self.0)
    }
}
