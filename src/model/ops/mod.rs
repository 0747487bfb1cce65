//! The operations the layers are made of, each on every device.
//!
//! On the CPU they run on the hand-written [kernels](super::kernels), whose activations are f32
//! whatever the weights are; elsewhere they are tensor expressions. Both paths give the same
//! numbers up to rounding, which the tests check.

mod attention;
mod cpu;
mod linear;
mod mlp;
mod norm;
mod residual;
mod rope;

pub(super) use attention::{AttentionPlan, attention};
pub(super) use linear::Linear;
pub(super) use mlp::GatedMlp;
pub(super) use norm::RmsNorm;
pub(super) use residual::add;
pub(super) use rope::{RotaryTable, apply_rope, inverse_frequencies};
