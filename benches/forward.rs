//! The forward pass on the CPU, on the random checkpoint of the tests: the cost of everything around the
//! matrix products. For a model of real size beside its peers see `benchmark/peers`.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use candle_core::{DType, Device};
use criterion::{Criterion, criterion_group, criterion_main};
use gve::model::{PackedBatch, QwenVl, Visual};

/// Text tokens of a short query.
const QUERY: usize = 40;

fn queries(count: usize) -> PackedBatch<'static> {
    let positions: Vec<u32> = (0..count).flat_map(|_| 0..QUERY as u32).collect();
    PackedBatch {
        input_ids: positions.iter().map(|position| position % 500).collect(),
        position_ids: [positions.clone(), positions.clone(), positions],
        lengths: vec![QUERY; count],
        visuals: vec![],
    }
}

fn forward(c: &mut Criterion) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tiny-a/model");
    let model = QwenVl::load(&directory, DType::F32, &Device::Cpu).unwrap();
    let grid_thw = [4, 20, 36];
    let patch_len = model.config().vision.patch_len();
    let video = Visual { pixel_values: vec![0.1; 4 * 20 * 36 * patch_len], grid_thw };

    c.bench_function("vision: 8 frames of 180 tokens", |b| {
        b.iter(|| model.vision_embeds(&[&video]).unwrap())
    });
    for count in [1, 64] {
        let batch = queries(count);
        c.bench_function(&format!("language: {count} queries of {QUERY} tokens"), |b| {
            b.iter(|| model.last_hidden_states(&batch).unwrap());
        });
    }
}

criterion_group!(benches, forward);
criterion_main!(benches);
