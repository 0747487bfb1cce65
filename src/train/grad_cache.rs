//! Gradients of a loss that looks at a whole batch, in the memory of a part of it (Gao et al. 2021, "Scaling
//! Deep Contrastive Learning Batch Size under Memory Limited Setup").
//!
//! First all items are embedded without a graph. The loss then has a small graph of its own, which ends at
//! the embeddings and gives their gradients. At last each piece of the batch is embedded once more, with a
//! graph, and the embeddings' gradients are carried on through it.

use std::ops::Range;

use candle_core::{Tensor, Var};

use super::model::{Batch, Pass};
use super::{Gradients, Mode, Prepared, TrainError, TrainableModel, side_by_side};

/// What may be computed twice to save memory. The default computes everything once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Layers keep their input alone, and are computed again on the way back.
    pub checkpointing: bool,
    /// Tokens that have a graph at one time; a batch of more goes through the model in pieces. An item is
    /// never cut.
    pub max_tokens: Option<usize>,
}

impl TrainableModel {
    /// The loss of a batch, and its gradients with respect to the parameters.
    ///
    /// `loss` is given the embeddings of all items, (items, dim) in f32 on the CPU, and makes a scalar of
    /// them. `seed` is that of [`Mode::Train`].
    ///
    /// On the CPU parts of a large batch go through the model at the same time, on threads of their own that
    /// share out the cores of rayon's pool. The numbers do not depend on how many these are.
    ///
    /// # Errors
    /// What `loss` says, a batch without items, a loss that is no scalar, and tensor operations that fail. A
    /// loss that is not finite is no error here.
    pub fn gradients(
        &self,
        items: &[&Prepared],
        seed: u64,
        memory: Memory,
        loss: impl FnOnce(&Tensor) -> Result<Tensor, TrainError>,
    ) -> Result<(f32, Gradients), TrainError> {
        if items.is_empty() {
            return Err(TrainError::Shape("a batch without items".to_owned()));
        }
        let mode = Mode::Train { seed };
        let pieces: Vec<Vec<Range<usize>>> = pieces(items, memory.max_tokens.unwrap_or(usize::MAX))
            .into_iter()
            .map(|piece| self.parts(items, piece))
            .collect();
        let ranges = pieces.iter().flatten().cloned().collect();
        let batches = side_by_side::map(ranges, |range| self.batch(items, range))?;

        // Graphs that need not make room for others are kept for the way back.
        let is_kept = pieces.len() == 1;
        let passes = side_by_side::map(batches.iter().collect(), |batch| match is_kept {
            true => self.embed_with_graph(batch, mode, memory.checkpointing),
            false => Ok(Pass { embeddings: self.embed_without_graph(batch, mode)?, sink: None }),
        })?;
        let embeddings: Vec<Tensor> = passes.iter().map(|pass| pass.embeddings.detach()).collect();
        let embeddings = Var::from_tensor(&Tensor::cat(&embeddings, 0)?)?;
        let loss = scalar(loss(&embeddings)?)?;
        let value = loss.to_scalar()?;
        let Some(slopes) = loss.backward()?.remove(&embeddings) else {
            return Ok((value, Gradients::default()));
        };
        drop((loss, embeddings));

        let mut sum = Gradients::default();
        let mut passes = passes.into_iter().map(|pass| is_kept.then_some(pass)).zip(&batches);
        for parts in pieces {
            let back = |(pass, batch): (Option<Pass>, &Batch<'_>)| {
                let pass = match pass {
                    Some(pass) => pass,
                    None => self.embed_with_graph(batch, mode, memory.checkpointing)?,
                };
                let slopes = slopes.narrow(0, batch.places.start, batch.places.len())?;
                // The derivative of this sum is `slopes` times that of the embeddings.
                let graph = (&pass.embeddings * slopes)?.sum_all()?.backward()?;
                let aside = pass.sink.map(|sink| sink.take()).unwrap_or_default();
                Ok(Gradients::collect(self.parameters(), &graph, &aside)?)
            };
            let of_piece = passes.by_ref().take(parts.len()).collect();
            side_by_side::each(of_piece, back, |gradients| Ok(sum.accumulate(&gradients)?))?;
        }
        Ok((value, sum))
    }

    /// A piece cut into parts that go through the model at the same time.
    fn parts(&self, items: &[&Prepared], piece: Range<usize>) -> Vec<Range<usize>> {
        if !self.is_on_cpu() {
            return vec![piece];
        }
        let costs: Vec<usize> = items[piece.clone()].iter().map(|item| item.item.cost()).collect();
        let trained = self.parameters().values().map(|var| var.elem_count()).sum();
        let parts = side_by_side::parts(&costs, trained).into_iter();
        parts.map(|part| piece.start + part.start..piece.start + part.end).collect()
    }
}

fn scalar(loss: Tensor) -> Result<Tensor, TrainError> {
    if loss.elem_count() == 1 {
        Ok(loss.flatten_all()?.get(0)?)
    } else {
        Err(TrainError::Shape(format!("the loss has shape {:?}, expected a scalar", loss.dims())))
    }
}

/// Cuts a batch into runs of at most `max_tokens`, or of a single item that is longer.
pub(super) fn pieces(items: &[&Prepared], max_tokens: usize) -> Vec<Range<usize>> {
    let lengths: Vec<usize> = items.iter().map(|item| item.num_tokens()).collect();
    runs(&lengths, max_tokens)
}

fn runs(lengths: &[usize], max_tokens: usize) -> Vec<Range<usize>> {
    let mut pieces: Vec<Range<usize>> = Vec::new();
    let mut room = 0;
    for (item, &length) in lengths.iter().enumerate() {
        match pieces.last_mut() {
            Some(piece) if length <= room => {
                piece.end = item + 1;
                room -= length;
            }
            _ => {
                pieces.push(item..item + 1);
                room = max_tokens.saturating_sub(length);
            }
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_hold_what_they_may_and_no_item_is_lost() {
        for (lengths, max_tokens, ends) in [
            (vec![], 10, vec![]),
            (vec![4, 4, 4], 10, vec![2, 3]),
            (vec![4, 4, 4], 12, vec![3]),
            (vec![40, 4, 4], 10, vec![1, 3]),
            (vec![4, 40, 4], 10, vec![1, 2, 3]),
            (vec![4, 4], usize::MAX, vec![2]),
            (vec![4, 4], 0, vec![1, 2]),
        ] {
            let starts = std::iter::once(0).chain(ends.iter().copied());
            let expected: Vec<Range<usize>> = starts.zip(ends.iter().copied()).map(|(a, b)| a..b).collect();
            assert_eq!(runs(&lengths, max_tokens), expected, "{lengths:?} by {max_tokens}");
        }
    }
}
