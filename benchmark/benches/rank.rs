//! The largest data set of UVRB, ranked and scored: PEV-K's 14,427 queries and 15,000 documents, as 3584
//! random dimensions, to a depth of 1000. Prints the peak memory beside the size of the two matrices.
//!
//!     cargo bench -p uvrb --bench rank             # both sizes
//!     cargo bench -p uvrb --bench rank -- small    # 1000 x 1000
//!
//! `benchmark/peers/topk.py` compares the ranking with FAISS.

#![allow(clippy::expect_used, clippy::print_stderr, reason = "a program that measures and prints")]

use std::cell::OnceCell;
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ndarray::Array2;
use uvrb::metrics::{QueryScores, mean, score};
use uvrb::ranking::{DEPTH, RankableCorpus, UnitRows, rank};

/// Any numbers will do: the work does not depend on them, except that ties and sorted scores are rare.
fn random_vector(dim: usize, state: &mut u64) -> Vec<f32> {
    std::iter::repeat_with(|| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*state >> 40) as f32 / (1 << 24) as f32 - 0.5
    })
    .take(dim)
    .collect()
}

fn random_data(queries: usize, documents: usize, dim: usize) -> (Array2<f32>, RankableCorpus) {
    let mut state = 1;
    let ids: Vec<String> = (0..documents).map(|document| format!("video{document}.mp4")).collect();
    let mut corpus = RankableCorpus::builder(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    for (document, id) in ids.iter().enumerate() {
        corpus.insert(document, &random_vector(dim, &mut state), id).expect("a vector with a length");
    }
    let mut rows = UnitRows::new(queries);
    for query in 0..queries {
        rows.insert(query, &random_vector(dim, &mut state), "a query").expect("a vector with a length");
    }
    (rows.finish().0, corpus.finish())
}

/// Query i is looking for document i, where there is one.
fn rank_and_score(queries: &Array2<f32>, corpus: &RankableCorpus) -> QueryScores {
    let mut scores = Vec::with_capacity(queries.nrows());
    let mut grades = Vec::with_capacity(DEPTH);
    rank(queries.view(), corpus, |_| None, DEPTH, &mut |query, ranking| {
        grades.clear();
        grades.extend(ranking.iter().map(|ranked| u32::from(ranked.document == query)));
        scores.push(score(&grades, &[1]));
        Ok(())
    })
    .expect("finite vectors");
    mean(&scores)
}

fn ranking(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("rank");
    group.sample_size(10);
    for (name, queries, documents, dim) in [("small", 1000, 1000, 3584), ("pev-k", 14_427, 15_000, 3584)] {
        group.throughput(Throughput::Elements((queries * documents) as u64));
        // Made only if this size is asked for, and once.
        let data = OnceCell::new();
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let (queries, corpus) = data.get_or_init(|| random_data(queries, documents, dim));
            bencher.iter(|| rank_and_score(black_box(queries), black_box(corpus)));
        });
        if data.get().is_some() {
            let matrices = ((queries + documents) * dim * size_of::<f32>()) >> 20;
            let peak =
                peak_memory_mib().map_or("not known on this system".into(), |peak| format!("{peak} MiB"));
            eprintln!("peak memory: {peak}; the two matrices: {matrices} MiB");
        }
    }
    group.finish();
}

/// The most memory that this process ever had resident; Linux only.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? >> 10)
}

criterion_group!(benches, ranking);
criterion_main!(benches);
