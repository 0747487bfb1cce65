//! The kernels at the sizes of a small and of the released embedders. `cargo bench --bench kernels`; throughput counts floating
//! point operations, or values for the row kernels.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gve::model::kernels::*;
use half::{bf16, f16};

/// Values between -0.5 and 0.5 without a short period.
fn values(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 10_007) as f32 / 10_007.0 - 0.5).collect()
}

fn bench_linear(c: &mut Criterion) {
    let mut group = c.benchmark_group("linear");
    group.sample_size(10);
    for (rows, in_features, out_features) in [
        (2880, 640, 1920),
        (2880, 1720, 640),
        (743, 1024, 1024),
        (743, 1024, 256),
        (743, 1024, 5632),
        (32, 2048, 5504),
    ] {
        let shape = LinearShape { rows, in_features, out_features };
        let (x, weight, bias) =
            (values(rows * in_features), values(in_features * out_features), values(out_features));
        let weight_bf16: Vec<bf16> = weight.iter().map(|&v| bf16::from_f32(v)).collect();
        let weight_f16: Vec<f16> = weight.iter().map(|&v| f16::from_f32(v)).collect();
        let mut y = vec![0.0; rows * out_features];
        group.throughput(Throughput::Elements(2 * (rows * in_features * out_features) as u64));
        for (name, weight) in [
            ("f32", WeightRef::F32(&weight)),
            ("bf16", WeightRef::Bf16(&weight_bf16)),
            ("f16", WeightRef::F16(&weight_f16)),
        ] {
            let id = BenchmarkId::new(name, format!("{rows}x{in_features}x{out_features}"));
            group.bench_function(id, |b| {
                b.iter(|| linear(&x, weight, shape, Some(&bias), &mut y).expect("the operands fit"));
            });
        }
    }
    group.finish();
}

fn bench_attention(c: &mut Criterion) {
    let mut group = c.benchmark_group("attention");
    group.sample_size(10);
    for (count, len, heads, key_heads, head_dim, causal) in [
        (1, 743, 16, 4, 64, true),
        (45, 64, 10, 10, 64, false),
        (4, 720, 10, 10, 64, false),
        (64, 40, 16, 4, 64, true),
        (1, 8192, 16, 2, 128, true),
    ] {
        let rows = count * len;
        let segments: Vec<_> = (0..count).map(|i| AttentionSegment::within(i * len..(i + 1) * len)).collect();
        let (q, k) = (values(rows * heads * head_dim), values(rows * key_heads * head_dim));
        let q = Heads { values: &q, shape: HeadsShape::contiguous(rows, heads, head_dim) };
        let k = Heads { values: &k, shape: HeadsShape::contiguous(rows, key_heads, head_dim) };
        let mut out = vec![0.0; rows * heads * head_dim];
        let operations = 4 * count * len * len * heads * head_dim / if causal { 2 } else { 1 };
        group.throughput(Throughput::Elements(operations as u64));
        group.bench_function(format!("{count}x{len}_heads{heads}_{key_heads}_dim{head_dim}"), |b| {
            b.iter(|| attention(q, k, k, &segments, causal, 0.125, &mut out).expect("the operands fit"));
        });
    }
    group.finish();
}

fn bench_rows(c: &mut Criterion) {
    let mut group = c.benchmark_group("rows");
    let (rows, width, heads) = (2880, 640, 10);
    let x = values(rows * width);
    let weight = values(width);
    let mut out = x.clone();
    group.throughput(Throughput::Elements(x.len() as u64));
    group.bench_function("rms_norm", |b| {
        b.iter(|| rms_norm(&x, &weight, 1e-6, &mut out).expect("the operands fit"));
    });
    let angles = values(rows * width / heads / 2);
    let shape = HeadsShape::contiguous(rows, heads, width / heads);
    group.bench_function("apply_rope", |b| {
        b.iter(|| apply_rope(&mut out, shape, &angles, &angles).expect("the operands fit"));
    });
    group.bench_function("silu_mul", |b| b.iter(|| silu_mul(&mut out, &x).expect("the operands fit")));
    group.bench_function("add", |b| b.iter(|| add(&mut out, &x).expect("the operands fit")));
    group.finish();
}

criterion_group!(benches, bench_linear, bench_attention, bench_rows);
criterion_main!(benches);
