//! The operations the layers are made of, each on every device and in both directions.
//!
//! On the CPU they run on the hand-written [kernels](super::kernels), whose activations are f32 whatever the
//! weights are; elsewhere they are tensor expressions, and on NVIDIA GPUs [kernels](cuda) where no graph is recorded. All give the same numbers up to rounding, and
//! the same gradients, which the tests check. Whether a pass records a graph at all is decided by its input:
//! see [`parameter`].

mod attention;
mod checkpoint;
mod cpu;
mod cuda;
mod dropout;
#[cfg(test)]
mod elsewhere;
mod feed_forward;
mod layer_norm;
mod linear;
mod lora;
mod magnitude;
mod mlp;
mod norm;
mod parameter;
mod recycling;
mod residual;
mod rope;
mod trained_linear;

pub(super) use attention::{AttentionPlan, attention};
pub(crate) use checkpoint::GradientSink;
pub(super) use checkpoint::checkpointed;
pub(crate) use dropout::Dropout;
pub(super) use feed_forward::Mlp;
pub(super) use layer_norm::LayerNorm;
pub(super) use linear::Linear;
pub(super) use lora::Lora;
pub(super) use magnitude::Magnitude;
pub(super) use mlp::GatedMlp;
pub(super) use norm::RmsNorm;
pub(super) use parameter::parameter;
pub(super) use recycling::{Recycling, recycle};
pub(super) use residual::add;
pub(super) use rope::{RotaryTable, apply_rope, inverse_frequencies};
