//! Ranking against a naive scorer.

use gve::retrieval::{Match, RetrievalError, normalize, rank, rank_candidates};
use ndarray::{Array2, ArrayView2, s};

/// Small whole numbers: every inner product is exact in f32, whatever the order of additions, so results
/// can be compared bit by bit, and ties are many.
fn whole_numbers(rows: usize, dim: usize, seed: u64) -> Array2<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    Array2::from_shape_simple_fn((rows, dim), || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % 5) as f32 - 2.0
    })
}

fn naive(queries: ArrayView2<'_, f32>, corpus: ArrayView2<'_, f32>, k: usize) -> Vec<Vec<Match>> {
    let score = |q: usize, row: usize| queries.row(q).iter().zip(corpus.row(row)).map(|(a, b)| a * b).sum();
    let ranking = |q| {
        let mut all: Vec<Match> =
            (0..corpus.nrows()).map(|row| Match { row, score: score(q, row) }).collect();
        all.sort_by(|a, b| b.score.partial_cmp(&a.score).unwrap().then(a.row.cmp(&b.row)));
        all.truncate(k);
        all
    };
    (0..queries.nrows()).map(ranking).collect()
}

#[test]
fn rank_equals_the_naive_scorer() {
    for (queries, rows, dim) in [
        (1, 1, 1),
        (1, 1000, 64),
        (2, 33, 7),
        (5, 257, 19),
        (6, 2, 3),
        (6, 1, 3),
        (7, 513, 48),
        (64, 1500, 33),
        (1100, 70, 16),
    ] {
        let q = whole_numbers(queries, dim, 1);
        let c = whole_numbers(rows, dim, 2);
        for k in [0, 1, 3, 10, rows, rows + 5] {
            let got = rank(q.view(), c.view(), k).unwrap();
            assert_eq!(got, naive(q.view(), c.view(), k), "{queries} x {rows} x {dim}, k {k}");
        }
    }
}

#[test]
fn rank_does_not_depend_on_the_number_of_threads() {
    let real = |rows, seed: f32| {
        Array2::from_shape_fn((rows, 24), |(i, j)| ((i * 131 + j * 17) as f32 * 0.37 + seed).sin())
    };
    let corpus = real(3000, 0.1);
    // The work is cut by tiles of the corpus for few queries, by queries for many.
    for queries in [40, 700] {
        let queries = real(queries, 0.2);
        let expected = rank(queries.view(), corpus.view(), 17).unwrap();
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| rank(queries.view(), corpus.view(), 17)).unwrap(), expected);
        }
    }
}

/// Real numbers: one vector repeated at places that fall into all corners of the tiles must score the same
/// everywhere, or equal rows would not be ordered by row.
#[test]
fn duplicates_tie_exactly_wherever_they_stand() {
    let dim = 131;
    let mut corpus = Array2::from_shape_fn((1999, dim), |(i, j)| ((i * 131 + j * 17) as f32 * 0.37).sin());
    for mut row in corpus.rows_mut() {
        normalize(row.as_slice_mut().unwrap(), "row").unwrap();
    }
    let twins: Vec<usize> = (0..1999).filter(|i| i % 7 == 3 || *i > 1990).collect();
    let vector = corpus.row(3).to_owned();
    for &row in &twins {
        corpus.row_mut(row).assign(&vector);
    }
    for queries in [1, 2, 5, 6, 7, 8, 9, 17, 64, 1030] {
        let q = Array2::from_shape_fn((queries, dim), |(_, j)| vector[j]);
        for ranking in rank(q.view(), corpus.view(), twins.len()).unwrap() {
            assert!(
                ranking.iter().all(|m| m.score.to_bits() == ranking[0].score.to_bits()),
                "{queries} queries"
            );
            assert_eq!(ranking.iter().map(|m| m.row).collect::<Vec<_>>(), twins, "{queries} queries");
            assert!((ranking[0].score - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn a_batch_equals_its_single_queries() {
    let (q, c) = (
        Array2::from_shape_fn((20, 96), |(i, j)| ((i * 7 + j) as f32).cos()),
        Array2::from_shape_fn((500, 96), |(i, j)| ((i + j * 3) as f32).sin()),
    );
    let batch = rank(q.view(), c.view(), 500).unwrap();
    for (i, together) in batch.iter().enumerate() {
        let alone = &rank(q.slice(s![i..=i, ..]), c.view(), 500).unwrap()[0];
        let by_row = |ranking: &[Match]| {
            let mut r = ranking.to_vec();
            r.sort_by_key(|m| m.row);
            r
        };
        for (a, b) in by_row(together).iter().zip(by_row(alone)) {
            assert!(a.row == b.row && (a.score - b.score).abs() < 1e-4, "{a:?} and {b:?}");
        }
    }
}

#[test]
fn views_of_larger_arrays_are_ranked_like_copies() {
    let (q, c) = (whole_numbers(9, 40, 5), whole_numbers(100, 40, 6));
    let (qv, cv) = (q.slice(s![..;2, 3..20]), c.slice(s![..;-3, 3..20]));
    assert_eq!(rank(qv, cv, 5).unwrap(), naive(qv, cv, 5));
    assert_eq!(rank(qv.slice(s![..1, ..]), cv, 5).unwrap(), naive(qv.slice(s![..1, ..]), cv, 5));
}

#[test]
fn bad_input_is_an_error_and_empty_input_is_not() {
    let (q, mut c) = (whole_numbers(8, 16, 7), whole_numbers(900, 16, 8));
    let error = rank(q.view(), whole_numbers(5, 15, 1).view(), 3).unwrap_err();
    assert_eq!(error.to_string(), "the query has dimension 16, expected 15");
    assert_eq!(rank(q.view(), Array2::zeros((0, 16)).view(), 3).unwrap(), vec![Vec::new(); 8]);
    assert!(rank(Array2::zeros((0, 16)).view(), c.view(), 3).unwrap().is_empty());
    for bad in [f32::NAN, f32::INFINITY] {
        c[[877, 5]] = bad;
        for queries in [1, 8] {
            let error = rank(q.slice(s![..queries, ..]), c.view(), 3).unwrap_err();
            assert!(matches!(error, RetrievalError::NonFiniteScore { row: 877, .. }), "{error}");
        }
    }
}

#[test]
fn candidates_are_ranked_among_themselves() {
    let (q, c) = (whole_numbers(1, 12, 9), whole_numbers(50, 12, 10));
    let all = naive(q.view(), c.view(), 50).remove(0);
    let candidates = [40, 3, 17, 3, 22];
    let expected: Vec<Match> = all.into_iter().filter(|m| candidates.contains(&m.row)).collect();
    assert_eq!(rank_candidates(q.row(0), c.view(), &candidates, 10).unwrap(), expected);
    assert_eq!(rank_candidates(q.row(0), c.view(), &candidates, 2).unwrap(), expected[..2]);
    let error = rank_candidates(q.row(0), c.view(), &[50], 2).unwrap_err();
    assert_eq!(error.to_string(), "candidate row 50 is outside the corpus of 50 rows");
}
