//! Exact rankings of a corpus by cosine, in blocks of queries.
//!
//! Equal scores are ordered as in `trec_eval`: the greater document id first, compared as bytes. A ranking
//! then does not depend on the order of files, and scoring a written run again gives the same numbers. The
//! corpus is kept in that order, so that the lower-row-first rule of [`gve::retrieval::rank`] is this rule.

use std::cmp::Ordering;
use std::ops::Range;

use gve::retrieval::{self, Feedback, RetrievalError};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Slice};
use rayon::prelude::*;

use crate::Error;
use crate::metrics::CUTOFFS;

/// How deep to rank: to the last cut-off.
pub const DEPTH: usize = CUTOFFS[CUTOFFS.len() - 1];

/// Queries ranked together, for each thread. Bounds the rankings held at a time to 16 MiB a thread at
/// [`DEPTH`].
const QUERY_BLOCK: usize = 1024;

/// A ranked document.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// Its row in the data set's corpus.
    pub document: usize,
    /// Its cosine with the query.
    pub score: f32,
}

/// Best first: the higher score, then the greater id.
pub(crate) fn best_first(left: (f32, &str), right: (f32, &str)) -> Ordering {
    // Scores are finite. A total order would tell -0.0 from 0.0, which are the same score.
    right.0.partial_cmp(&left.0).unwrap_or(Ordering::Equal).then_with(|| right.1.cmp(left.1))
}

/// Embeddings scaled to length 1, put in one at a time in any order, in one block of memory.
#[derive(Debug)]
pub struct UnitRows {
    values: Vec<f32>,
    dim: usize,
    filled: Vec<bool>,
}

impl UnitRows {
    /// Room for `rows` embeddings of whatever dimension the first has.
    pub fn new(rows: usize) -> Self {
        Self { values: Vec::new(), dim: 0, filled: vec![false; rows] }
    }

    /// Puts an embedding into `row`; `what` names it in errors.
    ///
    /// # Panics
    /// If there is no such row.
    ///
    /// # Errors
    /// [`RetrievalError::DimensionMismatch`] if it is not as wide as the first;
    /// [`RetrievalError::InvalidEmbedding`] if it has no length or holds NaN or infinity.
    pub fn insert(&mut self, row: usize, embedding: &[f32], what: &str) -> Result<(), Error> {
        if self.values.is_empty() {
            self.dim = embedding.len();
            self.values = vec![0.0; self.filled.len() * self.dim];
        }
        if embedding.len() != self.dim {
            let (what, got) = (format!("the embedding of {what}"), embedding.len());
            return Err(RetrievalError::DimensionMismatch { what, expected: self.dim, got }.into());
        }
        let slot = &mut self.values[row * self.dim..][..self.dim];
        slot.copy_from_slice(embedding);
        retrieval::normalize(slot, what)?;
        self.filled[row] = true;
        Ok(())
    }

    /// The embeddings that were put in, `[rows, dim]`, and the row that each was put into, ascending.
    pub fn finish(mut self) -> (Array2<f32>, Vec<usize>) {
        let rows: Vec<usize> = (0..self.filled.len()).filter(|&row| self.filled[row]).collect();
        for (to, &from) in rows.iter().enumerate() {
            self.values.copy_within(from * self.dim..(from + 1) * self.dim, to * self.dim);
        }
        self.values.truncate(rows.len() * self.dim);
        let matrix = Array2::from_shape_vec((rows.len(), self.dim), self.values);
        // The shape fits by construction; the fallback only spares a panic.
        (matrix.unwrap_or_default(), rows)
    }
}

/// Takes the embeddings of a corpus in any order.
#[derive(Debug)]
pub struct RankableCorpusBuilder {
    rows: UnitRows,
    /// The row of each document.
    row_of: Vec<usize>,
}

/// The embedded documents of a corpus in the order of their ids, the greatest first.
#[derive(Debug)]
pub struct RankableCorpus {
    /// `[embedded documents, dim]`, each of length 1.
    embeddings: Array2<f32>,
    /// The document of each row.
    documents: Vec<usize>,
    /// The row of each document, if it was embedded.
    row_of: Vec<Option<usize>>,
}

impl RankableCorpus {
    /// Room for the documents with these ids, in the order of the data set.
    pub fn builder(ids: &[&str]) -> RankableCorpusBuilder {
        let mut documents: Vec<usize> = (0..ids.len()).collect();
        documents.sort_unstable_by(|&a, &b| ids[b].cmp(ids[a]));
        let mut row_of = vec![0; ids.len()];
        for (row, &document) in documents.iter().enumerate() {
            row_of[document] = row;
        }
        RankableCorpusBuilder { rows: UnitRows::new(ids.len()), row_of }
    }

    /// Documents that have an embedding.
    pub fn len(&self) -> usize {
        self.documents.len()
    }

    /// Whether no document has an embedding.
    pub fn is_empty(&self) -> bool {
        self.documents.is_empty()
    }

    /// Values of each embedding; 0 where there is none.
    pub fn dim(&self) -> usize {
        self.embeddings.ncols()
    }

    /// The corpus with the first `dim` values of every embedding, of length 1 again.
    #[must_use]
    pub fn cut(&self, dim: usize) -> Self {
        let embeddings = retrieval::cut_rows(self.embeddings.view(), dim);
        Self { embeddings, documents: self.documents.clone(), row_of: self.row_of.clone() }
    }

    /// The rows of those of `documents` that have an embedding.
    fn rows_of(&self, documents: &[usize]) -> Result<Vec<usize>, RetrievalError> {
        let rows = self.row_of.len();
        let row_of = |&document: &usize| {
            self.row_of.get(document).ok_or(RetrievalError::CandidateOutOfRange { row: document, rows })
        };
        documents.iter().filter_map(|document| row_of(document).copied().transpose()).collect()
    }
}

impl RankableCorpusBuilder {
    /// Puts in the embedding of a document, by its index in the ids. One that is never put in is never
    /// ranked.
    ///
    /// # Errors
    /// Those of [`UnitRows::insert`].
    pub fn insert(&mut self, document: usize, embedding: &[f32], what: &str) -> Result<(), Error> {
        self.rows.insert(self.row_of[document], embedding, what)
    }

    /// The corpus of what was put in.
    pub fn finish(self) -> RankableCorpus {
        let (embeddings, rows) = self.rows.finish();
        let mut document_at = vec![0; self.row_of.len()];
        for (document, &row) in self.row_of.iter().enumerate() {
            document_at[row] = document;
        }
        let documents: Vec<usize> = rows.into_iter().map(|row| document_at[row]).collect();
        let mut row_of = vec![None; self.row_of.len()];
        for (row, &document) in documents.iter().enumerate() {
            row_of[document] = Some(row);
        }
        RankableCorpus { embeddings, documents, row_of }
    }
}

/// Takes the ranking of a query, by its row; documents best first.
pub type EmitRanking<'a> = dyn FnMut(usize, &[Ranked]) -> Result<(), Error> + 'a;

/// Ranks the corpus for every row of `queries`, `[queries, dim]` and normalised, and hands the best `k`
/// documents of each to `emit`, in the order of the rows.
///
/// `candidates` gives the documents to rank for a row, `None`: all. Every query with candidates is scored
/// against those alone. Works on all threads of the current rayon pool; beyond the two matrices it holds, for
/// each thread, the scores of 1024 queries and 512 documents and the rankings of 1024 queries.
///
/// # Errors
/// [`RetrievalError::DimensionMismatch`]; [`RetrievalError::CandidateOutOfRange`]; what `emit` returns.
pub fn rank<'c>(
    queries: ArrayView2<'_, f32>,
    corpus: &RankableCorpus,
    candidates: impl Fn(usize) -> Option<&'c [usize]> + Sync,
    k: usize,
    emit: &mut EmitRanking<'_>,
) -> Result<(), Error> {
    if corpus.is_empty() {
        // It has no dimension for queries to agree with.
        return (0..queries.nrows()).try_for_each(|row| emit(row, &[]));
    }
    let vectors = corpus.embeddings.view();
    let mut ranking = Vec::new();
    for block in blocks(queries.nrows(), QUERY_BLOCK * rayon::current_num_threads()) {
        let first = block.start;
        let matches = if block.clone().any(|row| candidates(row).is_some()) {
            let rank_one = |row| {
                let rows = match candidates(row) {
                    Some(documents) => corpus.rows_of(documents)?,
                    None => (0..corpus.len()).collect(),
                };
                retrieval::rank_candidates(queries.row(row), vectors, &rows, k)
            };
            block.into_par_iter().map(rank_one).collect::<Result<Vec<_>, _>>()?
        } else {
            retrieval::rank(queries.slice_axis(Axis(0), Slice::from(block)), vectors, k)?
        };
        for (offset, matches) in matches.iter().enumerate() {
            ranking.clear();
            ranking
                .extend(matches.iter().map(|m| Ranked { document: corpus.documents[m.row], score: m.score }));
            emit(first + offset, &ranking)?;
        }
    }
    Ok(())
}

/// Moves every row of `queries` towards what ranks first for it, of its own candidates where it has any.
///
/// # Errors
/// Those of [`rank`].
pub fn move_queries<'c>(
    queries: Array2<f32>,
    corpus: &RankableCorpus,
    candidates: impl Fn(usize) -> Option<&'c [usize]> + Sync,
    feedback: Feedback,
) -> Result<Array2<f32>, Error> {
    let mut moved = queries.clone();
    rank(queries.view(), corpus, candidates, feedback.documents, &mut |row, ranking| {
        let best = ranking.iter().filter_map(|ranked| corpus.row_of[ranked.document]);
        let query = feedback.moved(queries.row(row), corpus.embeddings.view(), best)?;
        moved.row_mut(row).assign(&ArrayView1::from(&query));
        Ok(())
    })?;
    Ok(moved)
}

/// `0..queries` in ranges of at most `max` and of about the same size: a last one of a few queries would be
/// scored by another kernel, which rounds differently.
fn blocks(queries: usize, max: usize) -> impl Iterator<Item = Range<usize>> {
    let count = queries.div_ceil(max);
    (0..count).map(move |block| block * queries / count..(block + 1) * queries / count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corpus(documents: &[(&str, Option<[f32; 2]>)]) -> RankableCorpus {
        let ids: Vec<&str> = documents.iter().map(|(id, _)| *id).collect();
        let mut builder = RankableCorpus::builder(&ids);
        // In any order: here backwards.
        for (document, (id, embedding)) in documents.iter().enumerate().rev() {
            if let Some(embedding) = embedding {
                builder.insert(document, embedding, id).unwrap();
            }
        }
        builder.finish()
    }

    fn rankings(
        queries: &Array2<f32>,
        corpus: &RankableCorpus,
        candidates: &[Option<Vec<usize>>],
        k: usize,
    ) -> Vec<Vec<usize>> {
        let mut all = Vec::new();
        let candidates = |row: usize| candidates.get(row)?.as_deref();
        rank(queries.view(), corpus, candidates, k, &mut |row, ranking| {
            assert_eq!(row, all.len());
            all.push(ranking.iter().map(|r| r.document).collect());
            Ok(())
        })
        .unwrap();
        all
    }

    const RIGHT: [f32; 2] = [2.0, 0.0];
    const UP: [f32; 2] = [0.0, 0.5];
    const BETWEEN: [f32; 2] = [3.0, 3.0];

    #[test]
    fn equal_scores_are_ordered_by_the_greater_id_and_failed_documents_are_absent() {
        let documents = [
            ("d9", Some(RIGHT)),
            ("d10", Some(RIGHT)),
            ("D", Some(RIGHT)),
            ("gone", None),
            ("é", Some(RIGHT)),
            ("up", Some(UP)),
            ("between", Some(BETWEEN)),
        ];
        let corpus = corpus(&documents);
        assert_eq!(corpus.len(), 6);
        let query = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0]]);
        let both = [vec![4, 0, 1, 2, 6, 5], vec![5, 6, 4, 0, 1, 2]];
        assert_eq!(rankings(&query, &corpus, &[], DEPTH), both);
        assert_eq!(rankings(&query, &corpus, &[], 3), both.map(|r| r[..3].to_vec()));
        // Its own list for one of them, the failed document and a repetition in it.
        let lists = [None, Some(vec![1, 3, 6, 4, 1])];
        assert_eq!(rankings(&query, &corpus, &lists, DEPTH), [vec![4, 0, 1, 2, 6, 5], vec![6, 4, 1]]);
        let none = self::corpus(&[("gone", None)]);
        assert!(none.is_empty());
        assert_eq!(rankings(&query, &none, &[None, Some(vec![0])], DEPTH), [vec![0; 0], vec![]]);
    }

    #[test]
    fn feedback_moves_each_query_towards_what_it_found() {
        let corpus = corpus(&[
            ("near", Some([3.0, 4.0])),
            ("gone", None),
            ("up", Some(UP)),
            ("left", Some([-1.0, 0.0])),
        ]);
        let queries = ndarray::arr2(&[[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]);
        let lists = [None, None, Some(vec![1, 3])];
        let candidates = |row: usize| lists[row].as_deref();
        let feedback = Feedback::of(1).with_weight(1.0);
        let moved = move_queries(queries.clone(), &corpus, candidates, feedback).unwrap();
        // Towards `near`, `up` and, of its own list, `left`, which undoes it.
        let (long, short) = (0.8_f32.sqrt(), 0.2_f32.sqrt());
        for (row, expected) in [[long, short], [0.0, 1.0], [1.0, 0.0]].into_iter().enumerate() {
            let gap = moved.row(row).iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(gap < 1e-6, "{moved}");
        }
        assert_eq!(rankings(&queries, &corpus, &lists, 9)[0], [0, 2, 3]);
        assert_eq!(rankings(&moved, &corpus, &lists, 9)[0], [0, 2, 3]);
        let none = self::corpus(&[("gone", None)]);
        assert_eq!(move_queries(queries.clone(), &none, |_| None, feedback).unwrap(), queries);
    }

    #[test]
    fn blocks_of_queries_change_nothing() {
        let block = QUERY_BLOCK * rayon::current_num_threads();
        let count = 2 * block + 1;
        let documents: Vec<(String, [f32; 2])> =
            (0..40_u8).map(|i| (format!("d{i}"), [f32::from(i % 7) - 3.0, f32::from(i % 5) + 0.5])).collect();
        let documents: Vec<(&str, Option<[f32; 2]>)> =
            documents.iter().map(|(id, v)| (&**id, Some(*v))).collect();
        let corpus = corpus(&documents);
        let queries = Array2::from_shape_fn((count, 2), |(i, j)| ((i * (3 + j)) % 11) as f32 - 4.9);
        // Three blocks, and a part of two of them by itself.
        let all = rankings(&queries, &corpus, &[], 10);
        assert_eq!(all.len(), count);
        let (from, to) = (block - 20, block + 20);
        let some = queries.slice(ndarray::s![from..to, ..]).to_owned();
        assert_eq!(rankings(&some, &corpus, &[], 10), all[from..to]);
    }

    #[test]
    fn what_cannot_be_ranked_is_named() {
        let mut rows = UnitRows::new(3);
        rows.insert(2, &[3.0, 4.0], "a").unwrap();
        for (embedding, reason) in [
            (&[1.0, 2.0, 3.0][..], "the embedding of document `x` has dimension 3, expected 2"),
            (&[0.0, 0.0], "the embedding of document `x` cannot be used: its length is 0"),
            (&[f32::NAN, 0.0], "the embedding of document `x` cannot be used: its length is NaN"),
        ] {
            assert_eq!(rows.insert(0, embedding, "document `x`").unwrap_err().to_string(), reason);
        }
        rows.insert(0, &[0.0, 2.0], "b").unwrap();
        assert_eq!(rows.finish(), (ndarray::arr2(&[[0.0, 1.0], [0.6, 0.8]]), vec![0, 2]));

        let corpus = corpus(&[("a", Some(UP))]);
        let query = ndarray::arr2(&[[1.0, 0.0]]);
        let outside = |_| Some(&[7_usize][..]);
        let error = rank(query.view(), &corpus, outside, 1, &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.to_string(), "candidate row 7 is outside the corpus of 1 rows");
        let stopped =
            rank(query.view(), &corpus, |_| None, 1, &mut |_, _| Err(Error::Settings("full".into())));
        assert_eq!(stopped.unwrap_err().to_string(), "full");
    }
}
