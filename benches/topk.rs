//! Exact top-k over a corpus that does not fit the caches, for one query and for batches.
//!
//!     cargo bench --bench topk
//!
//! `benchmark/peers/topk.py` compares the same work with FAISS.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gve::retrieval::rank;
use ndarray::{Array2, s};

const ROWS: usize = 20_000;
const DIM: usize = 2048;

/// Any numbers will do: the work does not depend on them, except that ties and sorted scores are rare.
fn vectors(rows: usize, seed: u64) -> Array2<f32> {
    let mut state = seed;
    Array2::from_shape_simple_fn((rows, DIM), || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * 0.076
    })
}

fn topk(criterion: &mut Criterion) {
    let (corpus, queries) = (vectors(ROWS, 1), vectors(1000, 2));
    let mut group = criterion.benchmark_group("topk");
    group.sample_size(10);
    for batch in [1, 4, 16, 64, 1000] {
        let queries = queries.slice(s![..batch, ..]);
        group.throughput(Throughput::Elements((batch * ROWS) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(batch), &queries, |bencher, queries| {
            bencher.iter(|| rank(black_box(*queries), black_box(corpus.view()), 10));
        });
    }
    group.finish();
}

criterion_group!(benches, topk);
criterion_main!(benches);
