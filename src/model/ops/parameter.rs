//! The one rule of recording a graph.
//!
//! A pass over an input that is part of a graph records one, down to the trainable tensors; a pass over any
//! other input records nothing, whatever the layers are made of. So the layers need no mode: inference, the
//! first pass of gradient caching and the first pass of a checkpointed layer differ from a recorded pass in
//! their input alone.

use candle_core::{Result, Tensor};

/// `tensor` as a pass over `x` has to see it, in the precision of `x`.
pub(in crate::model) fn parameter(tensor: &Tensor, x: &Tensor) -> Result<Tensor> {
    if x.track_op() { tensor.to_dtype(x.dtype()) } else { tensor.detach().to_dtype(x.dtype()) }
}
