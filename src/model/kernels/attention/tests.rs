//! Attention against its definition in f64.

#[cfg(target_arch = "x86_64")]
use super::super::blocks::Bf16Unit;
use super::super::test_data::{assert_close, values};
use super::*;

/// A fused projection of queries, keys and values with a gap at the end of each row.
struct Fused {
    values: Vec<f32>,
    rows: usize,
    heads: usize,
    key_heads: usize,
    head_dim: usize,
    scale: f32,
}

impl Fused {
    fn new(rows: usize, heads: usize, key_heads: usize, head_dim: usize) -> Self {
        let stride = (heads + 2 * key_heads) * head_dim + 3;
        let values = values(rows * stride, 1).iter().map(|v| v * 4.0).collect();
        Self { values, rows, heads, key_heads, head_dim, scale: 0.3 }
    }

    fn operands(&self) -> [Heads<'_>; 3] {
        let row_stride = (self.heads + 2 * self.key_heads) * self.head_dim + 3;
        let part = |first_head: usize, heads| Heads {
            values: &self.values[first_head * self.head_dim..],
            shape: HeadsShape { rows: self.rows, heads, head_dim: self.head_dim, row_stride },
        };
        [
            part(0, self.heads),
            part(self.heads, self.key_heads),
            part(self.heads + self.key_heads, self.key_heads),
        ]
    }

    fn attend(&self, segments: &[AttentionSegment], causal: bool) -> Vec<f32> {
        let [q, k, v] = self.operands();
        let mut out = vec![0.0; self.rows * self.heads * self.head_dim];
        attention(q, k, v, segments, causal, self.scale, Products::Exact, &mut out).unwrap();
        out
    }

    fn reference(&self, segments: &[AttentionSegment], causal: bool) -> Vec<f64> {
        let [q, k, v] = self.operands();
        let dim = self.head_dim;
        let head = |x: Heads<'_>, row: usize, head: usize| -> Vec<f64> {
            let start = row * x.shape.row_stride + head * dim;
            x.values[start..start + dim].iter().map(|&v| f64::from(v)).collect()
        };
        let mut out = vec![0.0; self.rows * self.heads * dim];
        for AttentionSegment { queries, keys } in segments {
            for (row, h) in queries.clone().flat_map(|row| (0..self.heads).map(move |h| (row, h))) {
                let end = if causal { keys.end - (queries.end - 1 - row) } else { keys.end };
                let key_head = h * self.key_heads / self.heads;
                let query = head(q, row, h);
                let dot = |key| {
                    query.iter().zip(head(k, key, key_head)).map(|(a, b)| a * b).sum::<f64>()
                        * f64::from(self.scale)
                };
                let scores: Vec<f64> = (keys.start..end).map(dot).collect();
                let largest = scores.iter().fold(f64::NEG_INFINITY, |m, &s| m.max(s));
                let sum: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
                for (key, score) in (keys.start..end).zip(scores) {
                    let weight = (score - largest).exp() / sum;
                    for (i, value) in head(v, key, key_head).iter().enumerate() {
                        out[(row * self.heads + h) * dim + i] += weight * value;
                    }
                }
            }
        }
        out
    }
}

fn consecutive(lengths: &[usize]) -> Vec<AttentionSegment> {
    let starts = lengths.iter().scan(0, |end, len| {
        *end += len;
        Some(*end - len)
    });
    starts.zip(lengths).map(|(start, len)| AttentionSegment::within(start..start + len)).collect()
}

#[test]
fn segments_match_the_definition() {
    for (lengths, heads, key_heads, head_dim) in [
        (&[1, 2, 3, 1][..], 1, 1, 1),
        (&[40, 64, 1, 17], 4, 2, 16),
        (&[129, 5, 300], 3, 1, 20),
        (&[650], 2, 2, 64),
    ] {
        let fused = Fused::new(lengths.iter().sum(), heads, key_heads, head_dim);
        let segments = consecutive(lengths);
        for causal in [false, true] {
            assert_close(&fused.attend(&segments, causal), &fused.reference(&segments, causal), 1e-5);
        }
    }
}

/// By every unit, beside the definition on values that were rounded beforehand: what is left is the rounding of
/// the weights.
#[cfg(target_arch = "x86_64")]
#[test]
fn rounded_products_are_near_the_definition() {
    for unit in Bf16Unit::available() {
        for (lengths, heads, key_heads, head_dim) in [
            (&[1, 2, 3, 1][..], 1, 1, 1),
            (&[40, 64, 1, 17], 4, 2, 16),
            (&[129, 5, 300], 3, 1, 20),
            (&[650], 2, 2, 64),
            (&[33], 2, 1, 72),
        ] {
            let mut fused = Fused::new(lengths.iter().sum(), heads, key_heads, head_dim);
            fused.scale = 0.125;
            for value in &mut fused.values {
                *value = half::bf16::from_f32(*value / 4.0).to_f32();
            }
            let segments = consecutive(lengths);
            for causal in [false, true] {
                let [q, k, v] = fused.operands();
                let mut out = vec![0.0; fused.rows * heads * head_dim];
                let out_values = SharedMut::new(&mut out);
                let problem = Problem { q, k, v, causal, scale: fused.scale, out: out_values };
                for (segment, head) in segments.iter().flat_map(|s| (0..heads).map(move |head| (s, head))) {
                    // SAFETY: one after the other, and the unit is available.
                    unsafe { problem.compute_rounded(unit, segment, head) };
                }
                assert_close(&out, &fused.reference(&segments, causal), 4e-3);
            }
        }
    }
}

/// By every unit; sums in f32 take another order for a single row.
#[cfg(target_arch = "x86_64")]
#[test]
fn rounded_rows_do_not_depend_on_their_neighbours() {
    let fused = Fused::new(300, 4, 2, 32);
    for unit in Bf16Unit::available() {
        let attend = |segment: &AttentionSegment| {
            let [q, k, v] = fused.operands();
            let mut out = vec![0.0; fused.rows * fused.heads * fused.head_dim];
            let problem = Problem { q, k, v, causal: true, scale: 0.1, out: SharedMut::new(&mut out) };
            for head in 0..fused.heads {
                // SAFETY: one after the other, and the unit is available.
                unsafe { problem.compute_rounded(unit, segment, head) };
            }
            out
        };
        let all = attend(&AttentionSegment::within(0..300));
        let last = attend(&AttentionSegment { queries: 299..300, keys: 0..300 });
        let width = fused.heads * fused.head_dim;
        assert_eq!(all[299 * width..], last[299 * width..], "{unit:?}");
    }
}

#[test]
fn last_queries_alone_equal_those_among_all() {
    let fused = Fused::new(700, 4, 2, 32);
    let mut segments = consecutive(&[300, 400]);
    let all = fused.attend(&segments, true);
    segments[0].queries = 299..300;
    segments[1].queries = 695..700;
    let last = fused.attend(&segments, true);
    assert_close(&last, &fused.reference(&segments, true), 1e-5);
    for row in [299, 695, 699] {
        let range = row * 128..(row + 1) * 128;
        let want: Vec<f64> = all[range.clone()].iter().map(|&v| f64::from(v)).collect();
        assert_close(&last[range], &want, 1e-5);
    }
    assert!(last[..299 * 128].iter().all(|&v| v == 0.0), "rows without a segment are left alone");
}

#[test]
fn neither_threads_nor_other_segments_change_a_bit() {
    let fused = Fused::new(540, 4, 4, 24);
    let segments = consecutive(&[200, 300, 40]);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let all = pool(1).install(|| fused.attend(&segments, true));
    assert!(all == pool(3).install(|| fused.attend(&segments, true)));
    for segment in &segments {
        let alone = fused.attend(std::slice::from_ref(segment), true);
        let range = segment.queries.start * 96..segment.queries.end * 96;
        assert!(alone[range.clone()] == all[range]);
    }
}

#[test]
fn ill_fitting_operands_are_refused() {
    let fused = Fused::new(10, 4, 2, 8);
    let [q, k, v] = fused.operands();
    let run = |q, k, v, segments: &[AttentionSegment]| {
        attention(q, k, v, segments, true, 1.0, Products::Exact, &mut [0.0; 320])
    };
    let segment = |queries, keys| AttentionSegment { queries, keys };
    assert_eq!(run(q, k, v, &[segment(0..4, 0..5), segment(4..10, 4..10)]), Ok(()));
    for segments in [
        [segment(0..5, 0..5), segment(4..10, 4..10)],
        [segment(0..5, 0..4), segment(5..10, 0..10)],
        [segment(0..5, 0..5), segment(5..11, 0..10)],
        [segment(0..5, 0..5), segment(5..10, 5..11)],
        [segment(0..5, 0..5), segment(5..6, 5..5)],
    ] {
        assert!(matches!(run(q, k, v, &segments), Err(KernelError::Segment { .. })), "{segments:?}");
    }
    let three_heads = Heads { shape: HeadsShape { heads: 3, ..k.shape }, ..k };
    let short = Heads { values: &v.values[..40], ..v };
    let narrow = Heads { shape: HeadsShape { head_dim: 4, ..k.shape }, ..k };
    assert!(run(q, three_heads, three_heads, &[]).is_err());
    assert!(run(q, k, three_heads, &[]).is_err());
    assert!(run(q, k, short, &[]).is_err());
    assert!(run(q, narrow, v, &[]).is_err());
    assert!(attention(q, k, v, &[], true, 1.0, Products::Exact, &mut [0.0; 319]).is_err());
}
