use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, D, DType, Device, Layout, Result, Shape, Tensor};

use super::cpu::{View, hold, kernel};
use crate::model::kernels::{self, AttentionGradients, AttentionSegment, HeadsShape, Products};
use crate::model::segments::Segments;

/// Attention scores that may exist at one time. Longer inputs are worked off in blocks of
/// queries, so that memory grows with the length of a sequence and not with its square.
const MAX_SCORES: usize = 1 << 25;

/// Who attends to whom: query segment `i` sees key segment `i`.
///
/// A causal query sees the keys up to its own place, counted from the end of the segment; so a
/// query segment that holds only the last row of its sequence sees all of it.
pub(in crate::model) struct AttentionPlan {
    causal: bool,
    work: Work,
}

/// The plan as the device wants it.
enum Work {
    Kernel(Arc<Vec<AttentionSegment>>),
    Tensors(BatchedSegments),
}

impl AttentionPlan {
    pub(in crate::model) fn new(
        queries: &Segments,
        keys: &Segments,
        causal: bool,
        device: &Device,
    ) -> Result<Self> {
        let work = if device.is_cpu() {
            let pairs = queries.ranges().zip(keys.ranges());
            let segments = pairs.map(|(queries, keys)| AttentionSegment { queries, keys });
            Work::Kernel(Arc::new(segments.collect()))
        } else {
            Work::Tensors(BatchedSegments::new(queries, keys, device)?)
        };
        Ok(Self { causal, work })
    }
}

/// Scaled dot-product attention over packed segments.
///
/// `q` is (query rows, heads, width); `k` and `v` are (key rows, key heads, width), each key head
/// serving `heads / key heads` query heads. `products` tells how these are multiplied on the CPU. Returns (query rows, heads * width).
pub(in crate::model) fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    plan: &AttentionPlan,
    products: Products,
) -> Result<Tensor> {
    match &plan.work {
        Work::Kernel(segments) => {
            // The backward pass is that of exact products.
            let products = if q.track_op() { Products::Exact } else { products };
            let op = Fused { segments: segments.clone(), causal: plan.causal, products };
            q.apply_op3(k, v, op)
        }
        Work::Tensors(batches) => batches.attention(q, k, v, plan.causal),
    }
}

/// Attention on the CPU. Scores are computed block by block in both directions; a graph keeps no more than
/// the operands.
struct Fused {
    segments: Arc<Vec<AttentionSegment>>,
    causal: bool,
    products: Products,
}

fn scale(head_dim: usize) -> f32 {
    1.0 / (head_dim as f32).sqrt()
}

impl CustomOp3 for Fused {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k) = (View::new(q, q_layout).heads()?, View::new(k, k_layout).heads()?);
        let v = View::new(v, v_layout).heads()?;
        let HeadsShape { rows, heads, head_dim, .. } = q.shape;
        let mut out = vec![0.0; rows * heads * head_dim];
        kernels::attention(q, k, v, &self.segments, self.causal, scale(head_dim), self.products, &mut out)
            .map_err(kernel)?;
        Ok((CpuStorage::F32(out), Shape::from((rows, heads * head_dim))))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (_, _, width) = q.dims3()?;
        let zeros = |x: &Tensor| vec![0.0; x.elem_count()];
        let (mut grad_q, mut grad_k, mut grad_v) = (zeros(q), zeros(k), zeros(v));
        kernels::attention_backward(
            hold(q).heads()?,
            hold(k).heads()?,
            hold(v).heads()?,
            &self.segments,
            self.causal,
            scale(width),
            hold(&grad).f32()?,
            AttentionGradients { q: &mut grad_q, k: &mut grad_k, v: &mut grad_v },
        )
        .map_err(kernel)?;
        let like = |x: &Tensor, values| Tensor::from_vec(values, x.shape(), &Device::Cpu).map(Some);
        Ok((like(q, grad_q)?, like(k, grad_k)?, like(v, grad_v)?))
    }
}

/// Segments of equal lengths are gathered and computed as one batch of tensors.
struct BatchedSegments {
    batches: Vec<Batch>,
    /// Restores query order after the batches.
    restore: Tensor,
}

/// Segments of one shape, computed together.
struct Batch {
    count: usize,
    query_len: usize,
    key_len: usize,
    query_rows: Tensor,
    key_rows: Tensor,
}

impl BatchedSegments {
    fn new(queries: &Segments, keys: &Segments, device: &Device) -> Result<Self> {
        let mut by_shape: BTreeMap<(usize, usize), (Vec<u32>, Vec<u32>)> = BTreeMap::new();
        for (query, key) in queries.ranges().zip(keys.ranges()) {
            let (query_rows, key_rows) = by_shape.entry((query.len(), key.len())).or_default();
            query_rows.extend(query.map(|row| row as u32));
            key_rows.extend(key.map(|row| row as u32));
        }
        let mut restore = vec![0u32; queries.num_rows()];
        let computed = by_shape.values().flat_map(|(query_rows, _)| query_rows);
        for (place, &row) in computed.enumerate() {
            restore[row as usize] = place as u32;
        }
        let batches = by_shape
            .into_iter()
            .filter(|((query_len, _), _)| *query_len > 0)
            .map(|((query_len, key_len), (query_rows, key_rows))| {
                Ok(Batch {
                    count: query_rows.len() / query_len,
                    query_len,
                    key_len,
                    query_rows: Tensor::new(query_rows, device)?,
                    key_rows: Tensor::new(key_rows, device)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { batches, restore: Tensor::new(restore, device)? })
    }

    fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
        let (_, heads, width) = q.dims3()?;
        let outputs = self
            .batches
            .iter()
            .map(|batch| {
                let gather = |x: &Tensor, rows: &Tensor, len: usize| -> Result<Tensor> {
                    let heads = x.dim(1)?;
                    x.contiguous()?
                        .index_select(rows, 0)?
                        .reshape((batch.count, len, heads, width))?
                        .transpose(1, 2)?
                        .contiguous()
                };
                let q = gather(q, &batch.query_rows, batch.query_len)?;
                let k = gather(k, &batch.key_rows, batch.key_len)?;
                let v = gather(v, &batch.key_rows, batch.key_len)?;
                batch.attend(&q, &k, &v, causal)?.reshape(((), heads * width))
            })
            .collect::<Result<Vec<_>>>()?;
        Tensor::cat(&outputs, 0)?.index_select(&self.restore, 0)
    }
}

impl Batch {
    /// `q` (count, heads, query_len, width), `k` and `v` (count, key heads, key_len, width), to
    /// (count, query_len, heads, width).
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
        let heads = q.dim(1)?;
        let scores_per_segment = heads * self.query_len * self.key_len;
        let segments = (MAX_SCORES / scores_per_segment).clamp(1, self.count);
        let rows = (MAX_SCORES / (heads * self.key_len)).clamp(1, self.query_len);
        let mut outputs = Vec::new();
        for first in (0..self.count).step_by(segments) {
            let n = segments.min(self.count - first);
            let (k, v) = (k.narrow(0, first, n)?, v.narrow(0, first, n)?);
            let blocks = (0..self.query_len)
                .step_by(rows)
                .map(|row| {
                    let q = q.narrow(0, first, n)?.narrow(2, row, rows.min(self.query_len - row))?;
                    // The last key that the block's first query sees.
                    let diagonal = causal.then(|| row + self.key_len - self.query_len);
                    attend_block(&q, &k, &v, diagonal)
                })
                .collect::<Result<Vec<_>>>()?;
            outputs.push(Tensor::cat(&blocks, 1)?);
        }
        Tensor::cat(&outputs, 0)
    }
}

/// One block of queries, (n, heads, rows, width) to (n, rows, heads, width).
fn attend_block(q: &Tensor, k: &Tensor, v: &Tensor, diagonal: Option<usize>) -> Result<Tensor> {
    let (n, heads, rows, width) = q.dims4()?;
    let key_heads = k.dim(1)?;
    // Keys behind the block's last query need not be looked at.
    let keys = diagonal.map_or(k.dim(2)?, |diagonal| diagonal + rows);
    let (k, v) = (k.narrow(2, 0, keys)?.contiguous()?, v.narrow(2, 0, keys)?.contiguous()?);
    let grouped = (n, key_heads, heads / key_heads * rows, width);
    let q = (q.contiguous()?.reshape(grouped)? / (width as f64).sqrt())?;
    let scores = q.matmul(&k.transpose(2, 3)?)?.to_dtype(DType::F32)?;
    let scores = match diagonal {
        Some(diagonal) => {
            let hidden = causal_mask(diagonal, rows, keys, q.device())?;
            scores.reshape((n, heads, rows, keys))?.broadcast_add(&hidden)?.reshape(scores.shape())?
        }
        None => scores,
    };
    // The largest score cancels out; a graph need not know of it.
    let weights = scores.broadcast_sub(&scores.detach().max_keepdim(D::Minus1)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?.to_dtype(v.dtype())?;
    weights.matmul(&v)?.reshape((n, heads, rows, width))?.transpose(1, 2)?.contiguous()
}

/// (rows, keys): 0 where row `i` sees key `j <= diagonal + i`, minus infinity elsewhere.
fn causal_mask(diagonal: usize, rows: usize, keys: usize, device: &Device) -> Result<Tensor> {
    let last_seen = Tensor::arange(diagonal as u32, (diagonal + rows) as u32, device)?;
    let key = Tensor::arange(0, keys as u32, device)?;
    let hidden = key.unsqueeze(0)?.broadcast_gt(&last_seen.unsqueeze(1)?)?;
    let infinity = Tensor::full(f32::NEG_INFINITY, (rows, keys), device)?;
    hidden.where_cond(&infinity, &infinity.zeros_like()?)
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;

    /// Largest differences between kernel and tensors: of the outputs, and of the gradients of q, k and v.
    fn both_ways(
        queries: &Segments,
        keys: &Segments,
        causal: bool,
        heads: (usize, usize),
        width: usize,
    ) -> [f32; 4] {
        let device = Device::Cpu;
        let random =
            |rows: usize, heads: usize| Var::randn(0f32, 1.0, (rows, heads, width), &device).unwrap();
        let q = random(queries.num_rows(), heads.0);
        let (k, v) = (random(keys.num_rows(), heads.1), random(keys.num_rows(), heads.1));
        let direction = Tensor::randn(0f32, 1.0, (queries.num_rows(), heads.0 * width), &device).unwrap();
        let outcome = |y: Tensor| {
            let grads = (&y * &direction).unwrap().sum_all().unwrap().backward().unwrap();
            let gradient = |x: &Var| grads.get(x).unwrap().clone();
            [y.detach(), gradient(&q), gradient(&k), gradient(&v)]
        };
        let plan = AttentionPlan::new(queries, keys, causal, &device).unwrap();
        let kernel = outcome(attention(&q, &k, &v, &plan, Products::Exact).unwrap());
        let batches = BatchedSegments::new(queries, keys, &device).unwrap();
        let tensors = outcome(batches.attention(&q, &k, &v, causal).unwrap());
        std::array::from_fn(|i| {
            assert_eq!(kernel[i].dims(), tensors[i].dims());
            let difference = (&kernel[i] - &tensors[i]).unwrap().abs().unwrap().flatten_all().unwrap();
            difference.max(0).unwrap().to_scalar().unwrap()
        })
    }

    #[test]
    fn tensors_and_kernels_agree() {
        let sequences = Segments::from_lengths([5, 70, 1, 5, 130]);
        let last = Segments::from_lengths([1; 5]);
        for (queries, causal) in [(&sequences, true), (&sequences, false), (&last, true)] {
            let differences = both_ways(queries, &sequences, causal, (4, 2), 16);
            assert!(differences.iter().all(|d| *d < 1e-5), "{differences:?}");
        }
    }

    #[test]
    fn long_sequences_are_worked_off_in_blocks() {
        // 8 heads x 2100 x 2100 scores exceed what may exist at one time.
        let sequences = Segments::from_lengths([2100]);
        const { assert!(8 * 2100 * 2100 > MAX_SCORES) };
        let differences = both_ways(&sequences, &sequences, true, (8, 4), 8);
        assert!(differences.iter().all(|d| *d < 1e-5), "{differences:?}");
    }
}
