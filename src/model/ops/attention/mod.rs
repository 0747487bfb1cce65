mod batched;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use self::batched::BatchedSegments;
use super::cpu::{View, hold, kernel};
use super::recycling::buffer;
use crate::model::kernels::{self, AttentionGradients, AttentionSegment, HeadsShape, Products};
use crate::model::segments::Segments;

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
            let in_graph = [q, k, v].iter().any(|x| x.track_op());
            let products = if in_graph { Products::Exact } else { products };
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
        let mut out = buffer(rows * heads * head_dim);
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

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::batched::MAX_SCORES;
    use super::*;
    use crate::model::ops::elsewhere::elsewhere;

    /// That tensors give what the kernel does: the outputs, and the gradients of q, k and v.
    fn both_ways(queries: &Segments, keys: &Segments, causal: bool, heads: (usize, usize), width: usize) {
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
        for elsewhere in elsewhere() {
            let [q, k, v] = [&q, &k, &v].map(|var| elsewhere.there(var));
            let batches = BatchedSegments::new(queries, keys, q.device()).unwrap();
            let tensors = outcome(elsewhere.here(&batches.attention(&q, &k, &v, causal).unwrap()));
            let names = ["value", "gradient of q", "gradient of k", "gradient of v"];
            for ((found, expected), name) in tensors.iter().zip(&kernel).zip(names) {
                elsewhere.assert_near(found, expected, 1e-5, &format!("attention, {name}"));
            }
            if !elsewhere.is_cpu() {
                let [q, k, v] = [q, k, v].map(|x| x.detach());
                let plan = AttentionPlan::new(queries, keys, causal, q.device()).unwrap();
                let planned = attention(&q, &k, &v, &plan, Products::Exact).unwrap();
                elsewhere.assert_near(&elsewhere.here(&planned), &kernel[0], 1e-5, "attention, as planned");
            }
        }
    }

    #[test]
    fn tensors_and_kernels_agree() {
        let sequences = Segments::from_lengths([5, 70, 1, 5, 130]);
        let last = Segments::from_lengths([1; 5]);
        for (queries, causal) in [(&sequences, true), (&sequences, false), (&last, true)] {
            both_ways(queries, &sequences, causal, (4, 2), 16);
        }
    }

    #[test]
    fn long_sequences_are_worked_off_in_blocks() {
        // 8 heads x 2100 x 2100 scores exceed what may exist at one time.
        let sequences = Segments::from_lengths([2100]);
        const { assert!(8 * 2100 * 2100 > MAX_SCORES) };
        both_ways(&sequences, &sequences, true, (8, 4), 8);
    }
}
