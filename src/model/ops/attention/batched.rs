//! Attention as tensor expressions, with a backward pass: what GPUs run where nothing better fits.

use std::collections::BTreeMap;

use candle_core::{D, DType, Device, Result, Tensor};

use super::scale;
use crate::model::ops::cuda;
use crate::model::segments::Segments;

/// Attention scores that may exist at one time. Longer inputs are worked off in blocks of
/// queries, so that memory grows with the length of a sequence and not with its square.
pub(super) const MAX_SCORES: usize = 1 << 25;

/// Segments of equal lengths are gathered and computed as one batch of tensors.
pub(super) struct BatchedSegments {
    batches: Vec<Batch>,
    /// Restores query order after the batches, where that is not theirs.
    restore: Option<Tensor>,
}

/// Segments of one shape, computed together.
struct Batch {
    count: usize,
    query_len: usize,
    key_len: usize,
    /// Where these are not all in order.
    query_rows: Option<Tensor>,
    key_rows: Option<Tensor>,
}

impl BatchedSegments {
    pub(super) fn new(queries: &Segments, keys: &Segments, device: &Device) -> Result<Self> {
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
                    query_rows: unless_all(&query_rows, queries.num_rows(), device)?,
                    key_rows: unless_all(&key_rows, keys.num_rows(), device)?,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { batches, restore: unless_all(&restore, queries.num_rows(), device)? })
    }

    pub(super) fn attention(&self, q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
        let (rows, heads, width) = q.dims3()?;
        if by_kernels([q, k, v]) {
            let out = Tensor::zeros((rows, heads, width), q.dtype(), q.device())?;
            for batch in &self.batches {
                let (queries, keys) = (batch.query_rows.as_ref(), batch.key_rows.as_ref());
                let padded = batch.key_len.next_multiple_of(cuda::ALIGNED);
                let q = cuda::heads_first(q, queries, batch.query_len, batch.query_len)?;
                let k = cuda::heads_first(k, keys, batch.key_len, padded)?;
                let v = cuda::heads_first(v, keys, batch.key_len, padded)?;
                let attended = batch.attend(&q, &k, &v, causal)?;
                cuda::rows_first(&out, &attended, queries)?;
            }
            return out.reshape((rows, heads * width));
        }
        let outputs = self
            .batches
            .iter()
            .map(|batch| {
                let gather = |x: &Tensor, rows: Option<&Tensor>, len: usize| -> Result<Tensor> {
                    let heads = x.dim(1)?;
                    let x = match rows {
                        Some(rows) => x.contiguous()?.index_select(rows, 0)?,
                        None => x.clone(),
                    };
                    x.reshape((batch.count, len, heads, width))?.transpose(1, 2)?.contiguous()
                };
                let q = gather(q, batch.query_rows.as_ref(), batch.query_len)?;
                let k = gather(k, batch.key_rows.as_ref(), batch.key_len)?;
                let v = gather(v, batch.key_rows.as_ref(), batch.key_len)?;
                batch.attend(&q, &k, &v, causal)?.transpose(1, 2)?.reshape(((), heads * width))
            })
            .collect::<Result<Vec<_>>>()?;
        let together = Tensor::cat(&outputs, 0)?;
        match &self.restore {
            Some(restore) => together.index_select(restore, 0),
            None => Ok(together),
        }
    }
}

/// The numbers `rows`, unless they are all of `count` in order.
fn unless_all(rows: &[u32], count: usize, device: &Device) -> Result<Option<Tensor>> {
    let are_all = rows.len() == count && (0..).zip(rows).all(|(place, &row): (u32, _)| place == row);
    if are_all { Ok(None) } else { Tensor::new(rows, device).map(Some) }
}

impl Batch {
    /// `q` (count, heads, query_len, width), `k` and `v` (count, key heads, key_len, width), to
    /// (count, heads, query_len, width). On GPUs there may be rows of zeros behind the keys and values.
    fn attend(&self, q: &Tensor, k: &Tensor, v: &Tensor, causal: bool) -> Result<Tensor> {
        let heads = q.dim(1)?;
        // The kernels need no further tensors of this size.
        let max_scores = if by_kernels([q, k, v]) { 4 * MAX_SCORES } else { MAX_SCORES };
        let scores_per_segment = heads * self.query_len * self.key_len;
        let segments = (max_scores / scores_per_segment).clamp(1, self.count);
        let rows = (max_scores / (heads * self.key_len)).clamp(1, self.query_len);
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
                    attend_block(&q, &k, &v, self.key_len, diagonal)
                })
                .collect::<Result<Vec<_>>>()?;
            outputs.push(Tensor::cat(&blocks, 2)?);
        }
        Tensor::cat(&outputs, 0)
    }
}

/// Whether the kernels of the GPU compute attention over these, of which no graph needs anything.
fn by_kernels(operands: [&Tensor; 3]) -> bool {
    operands.iter().all(|x| cuda::runs_on(x.device()) && !x.track_op())
}

/// One block of queries, (n, heads, rows, width), to the same.
fn attend_block(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    key_len: usize,
    diagonal: Option<usize>,
) -> Result<Tensor> {
    let (n, heads, rows, width) = q.dims4()?;
    let key_heads = k.dim(1)?;
    // Keys behind the block's last query need not be looked at.
    let seen = diagonal.map_or(key_len, |diagonal| diagonal + rows);
    let keys = if key_len < k.dim(2)? { seen.next_multiple_of(cuda::ALIGNED) } else { seen };
    let (k, v) = (k.narrow(2, 0, keys)?.contiguous()?, v.narrow(2, 0, keys)?.contiguous()?);
    let grouped = (n, key_heads, heads / key_heads * rows, width);
    let q = q.contiguous()?.reshape(grouped)?;
    if by_kernels([&q, &k, &v]) {
        let scores = q.matmul(&k.transpose(2, 3)?)?;
        scores.inplace_op1(&cuda::Softmax { scale: scale(width), diagonal, keys: seen, queries: rows })?;
        return scores.matmul(&v)?.reshape((n, heads, rows, width));
    }
    let q = (q / (width as f64).sqrt())?;
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
    weights.matmul(&v)?.reshape((n, heads, rows, width))
}

/// (rows, keys): 0 where row `i` sees key `j <= diagonal + i`, minus infinity elsewhere.
fn causal_mask(diagonal: usize, rows: usize, keys: usize, device: &Device) -> Result<Tensor> {
    let last_seen = Tensor::arange(diagonal as u32, (diagonal + rows) as u32, device)?;
    let key = Tensor::arange(0, keys as u32, device)?;
    let hidden = key.unsqueeze(0)?.broadcast_gt(&last_seen.unsqueeze(1)?)?;
    let infinity = Tensor::full(f32::NEG_INFINITY, (rows, keys), device)?;
    hidden.where_cond(&infinity, &infinity.zeros_like()?)
}
